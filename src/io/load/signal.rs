//! The sockets of a load's signalling: one WebSocket for each client, all on one tokio thread.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use super::LoadError;
use crate::limits::LOAD_MESSAGE_BYTES_MAX;

/// tokio's stream as tungstenite wants one: it says "would block" instead of waiting.
struct Stream(TcpStream);

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A WebSocket to the server.
pub struct Socket(WebSocket<Stream>);

fn broken(error: impl std::fmt::Display) -> LoadError {
    LoadError::Socket(error.to_string())
}

impl Socket {
    /// Connects to `address` and asks for `url`, speaking `protocol` if there is one.
    pub async fn connect(
        address: SocketAddr,
        url: &str,
        protocol: Option<&str>,
    ) -> Result<Self, LoadError> {
        let tcp = TcpStream::connect(address).await.map_err(broken)?;
        tcp.set_nodelay(true).map_err(broken)?;
        let mut request = url.into_client_request().map_err(broken)?;
        if let Some(protocol) = protocol {
            let value = protocol.parse().map_err(broken)?;
            request
                .headers_mut()
                .insert("sec-websocket-protocol", value);
        }
        let config = WebSocketConfig::default().max_message_size(Some(LOAD_MESSAGE_BYTES_MAX));
        let mut done = tungstenite::client::client_with_config(request, Stream(tcp), Some(config));
        loop {
            match done {
                Ok((socket, _)) => return Ok(Self(socket)),
                Err(HandshakeError::Failure(error)) => return Err(broken(error)),
                Err(HandshakeError::Interrupted(waiting)) => {
                    let ready = waiting.get_ref().get_ref().0.readable().await;
                    ready.map_err(broken)?;
                    done = waiting.handshake();
                }
            }
        }
    }

    /// Sends a JSON value.
    pub async fn send(&mut self, value: &Value) -> Result<(), LoadError> {
        self.send_message(Message::text(value.to_string())).await
    }

    /// Sends any message.
    pub async fn send_message(&mut self, message: Message) -> Result<(), LoadError> {
        let mut sent = self.0.send(message);
        loop {
            match sent {
                Ok(()) => return Ok(()),
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    let ready = self.0.get_ref().0.writable().await;
                    ready.map_err(broken)?;
                    sent = self.0.flush();
                }
                Err(error) => return Err(broken(error)),
            }
        }
    }

    /// The next message, whatever it is.
    pub async fn next_message(&mut self) -> Result<Message, LoadError> {
        loop {
            match self.0.read() {
                Ok(message) => return Ok(message),
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    let ready = self.0.get_ref().0.readable().await;
                    ready.map_err(broken)?;
                }
                Err(error) => return Err(broken(error)),
            }
        }
    }

    /// The next JSON value. Pings of Colchis' protocol are answered here.
    pub async fn next(&mut self) -> Result<Value, LoadError> {
        loop {
            let text = match self.next_message().await? {
                Message::Text(text) => text,
                Message::Close(frame) => {
                    return Err(broken(format!("closed by the server: {frame:?}")));
                }
                _ => continue,
            };
            let value: Value = serde_json::from_str(&text).map_err(broken)?;
            if value["msg"] != "Ping" {
                return Ok(value);
            }
            self.send(&json!({"Pong": value["data"]})).await?;
        }
    }
}
