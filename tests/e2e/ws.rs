//! WebSocket of the test client: tungstenite on a thread of its own, channels towards the async side.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// What the socket tells.
#[derive(Debug)]
pub enum WsEvent {
    /// A text frame, decoded.
    Json(Value),
    /// The socket is gone; code and reason if the server gave them.
    Closed(Option<(u16, String)>),
}

/// What the socket is told.
#[derive(Debug)]
pub enum WsCommand {
    /// Send this text.
    Text(String),
    /// Close with this code; `None` cuts the connection without a word.
    Close(Option<u16>),
}

/// Handle of a socket.
#[derive(Debug)]
pub struct Ws {
    commands: std::sync::mpsc::Sender<WsCommand>,
    /// Frames in order.
    pub events: mpsc::UnboundedReceiver<WsEvent>,
}

impl Ws {
    /// Connects to `/ws` of the server.
    ///
    /// # Errors
    /// The HTTP answer, if it is not an upgrade.
    pub fn connect(server: SocketAddr, subprotocol: Option<&str>) -> Result<Ws, Box<Error>> {
        Self::connect_from(server, subprotocol, None)
    }

    /// As [`Ws::connect`], with an Origin header.
    ///
    /// # Errors
    /// The HTTP answer, if it is not an upgrade.
    pub fn connect_from(
        server: SocketAddr,
        subprotocol: Option<&str>,
        origin: Option<&str>,
    ) -> Result<Ws, Box<Error>> {
        let stream = TcpStream::connect(server).map_err(|e| Box::new(Error::Io(e)))?;
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let mut request = format!("ws://{server}/ws")
            .into_client_request()
            .expect("a good URL");
        let headers = request.headers_mut();
        if let Some(name) = subprotocol {
            headers.insert(
                "Sec-WebSocket-Protocol",
                HeaderValue::from_str(name).expect("header"),
            );
        }
        if let Some(origin) = origin {
            headers.insert("Origin", HeaderValue::from_str(origin).expect("header"));
        }
        let config = WebSocketConfig::default().max_message_size(Some(1 << 20));
        let (socket, _) = tungstenite::client::client_with_config(request, stream, Some(config))
            .map_err(|e| match e {
                tungstenite::HandshakeError::Failure(e) => Box::new(e),
                tungstenite::HandshakeError::Interrupted(_) => unreachable!("the socket blocks"),
            })?;
        let (commands, inbox) = std::sync::mpsc::channel();
        let (outbox, events) = mpsc::unbounded_channel();
        std::thread::spawn(move || run(socket, &inbox, &outbox));
        Ok(Ws { commands, events })
    }

    /// Sends a text frame.
    pub fn send(&self, text: impl Into<String>) {
        // A closed socket has told so by an event; what is still said to it is lost, as on the wire.
        let _ = self.commands.send(WsCommand::Text(text.into()));
    }

    /// Closes the socket.
    pub fn close(&self, code: Option<u16>) {
        let _ = self.commands.send(WsCommand::Close(code));
    }

    /// The next event within `timeout`.
    pub async fn next(&mut self, timeout: Duration) -> Option<WsEvent> {
        tokio::time::timeout(timeout, self.events.recv())
            .await
            .ok()
            .flatten()
    }
}

fn run(
    mut socket: WebSocket<TcpStream>,
    inbox: &std::sync::mpsc::Receiver<WsCommand>,
    outbox: &mpsc::UnboundedSender<WsEvent>,
) {
    socket
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(5)))
        .expect("read timeout");
    loop {
        loop {
            match inbox.try_recv() {
                Ok(WsCommand::Text(text)) => {
                    let _ = socket.send(Message::text(text));
                }
                Ok(WsCommand::Close(Some(code))) => {
                    let _ = socket.close(Some(CloseFrame {
                        code: code.into(),
                        reason: "".into(),
                    }));
                }
                Ok(WsCommand::Close(None)) | Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    let _ = socket.get_ref().shutdown(std::net::Shutdown::Both);
                    return;
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
            }
        }
        let event = match socket.read() {
            Ok(Message::Text(text)) => {
                WsEvent::Json(serde_json::from_str(&text).expect("the server speaks JSON"))
            }
            Ok(Message::Close(frame)) => {
                WsEvent::Closed(frame.map(|f| (u16::from(f.code), f.reason.to_string())))
            }
            Ok(_) => continue,
            Err(Error::Io(e))
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                continue;
            }
            Err(_) => WsEvent::Closed(None),
        };
        let closed = matches!(event, WsEvent::Closed(_));
        if closed {
            let _ = socket.flush();
        }
        if outbox.send(event).is_err() || closed {
            return;
        }
    }
}
