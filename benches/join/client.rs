//! A WebSocket on tokio, and a member that answers every negotiation.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use crate::support::sdp::Credentials;
use crate::support::signal::Signal;

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

/// A socket to `/ws`.
pub struct Socket(WebSocket<Stream>);

impl Socket {
    pub async fn connect(server: SocketAddr) -> Result<Self, String> {
        let tcp = TcpStream::connect(server)
            .await
            .map_err(|e| e.to_string())?;
        tcp.set_nodelay(true).map_err(|e| e.to_string())?;
        let request = format!("ws://{server}/ws");
        let request = request.into_client_request().map_err(|e| e.to_string())?;
        let config = WebSocketConfig::default().max_message_size(Some(1 << 20));
        let mut done = tungstenite::client::client_with_config(request, Stream(tcp), Some(config));
        loop {
            match done {
                Ok((socket, _)) => return Ok(Self(socket)),
                Err(HandshakeError::Failure(error)) => return Err(error.to_string()),
                Err(HandshakeError::Interrupted(waiting)) => {
                    let ready = waiting.get_ref().get_ref().0.readable().await;
                    ready.map_err(|e| e.to_string())?;
                    done = waiting.handshake();
                }
            }
        }
    }

    pub async fn send(&mut self, message: Message) -> Result<(), String> {
        match self.0.send(message) {
            Ok(()) => Ok(()),
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => self.flush().await,
            Err(error) => Err(error.to_string()),
        }
    }

    async fn flush(&mut self) -> Result<(), String> {
        loop {
            self.0
                .get_ref()
                .0
                .writable()
                .await
                .map_err(|e| e.to_string())?;
            match self.0.flush() {
                Ok(()) => return Ok(()),
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The next message.
    pub async fn next(&mut self) -> Result<Message, String> {
        loop {
            match self.0.read() {
                Ok(message) => return Ok(message),
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    let ready = self.0.get_ref().0.readable().await;
                    ready.map_err(|e| e.to_string())?;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The next message of the protocol; pings are answered.
    pub async fn next_json(&mut self) -> Result<Value, String> {
        loop {
            let message = self.next().await?;
            if let Message::Close(frame) = &message {
                return Err(format!("closed: {frame:?}"));
            }
            let Message::Text(text) = message else {
                continue;
            };
            let value: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            if value["msg"] == "Ping" {
                let pong = json!({"Pong": value["data"]}).to_string();
                self.send(Message::text(pong)).await?;
                continue;
            }
            return Ok(value);
        }
    }
}

/// Somebody in a room.
pub struct Member {
    socket: Socket,
    signal: Signal,
    room: String,
    /// From `JoinRoom` to `RoomJoined`.
    pub joined_in: Duration,
}

impl Member {
    pub async fn join(server: SocketAddr, room: usize, seat: usize) -> Result<Self, String> {
        let credentials = Credentials {
            ufrag: format!("u{room:05}{seat:02}"),
            pwd: format!("password-of-member-{room:05}-{seat:02}"),
            fingerprint: ["AB"; 32].join(":"),
        };
        let name = format!("m{seat}");
        let mut member = Self {
            socket: Socket::connect(server).await?,
            signal: Signal::new(&name, credentials, true, (seat as u32 + 1) << 16),
            room: format!("r{room}"),
            joined_in: Duration::ZERO,
        };
        let started = Instant::now();
        let join = member.signal.join("dev");
        member.command(join).await?;
        while member.signal.joined.is_none() {
            member.step().await?;
        }
        member.joined_in = started.elapsed();
        Ok(member)
    }

    async fn command(&mut self, command: Value) -> Result<(), String> {
        let frame = json!({"Command": {"room_id": self.room, "command": command}});
        self.socket.send(Message::text(frame.to_string())).await
    }

    async fn step(&mut self) -> Result<(), String> {
        let message = self.socket.next_json().await?;
        let event = &message["data"]["event"];
        if event["event"].is_string() {
            for command in self.signal.handle(event) {
                self.command(command).await?;
            }
        }
        Ok(())
    }

    /// Whether it knows its own four tracks with all receivers, and the four of each other member, with their sections.
    fn knows(&self, others: usize) -> bool {
        let tracks = self.signal.tracks.values();
        let (sent, received): (Vec<_>, Vec<_>) = tracks.partition(|t| t.send);
        sent.len() == 4
            && sent.iter().all(|t| t.receivers.len() == others)
            && received.len() == 4 * others
            && received.iter().all(|t| t.mid.is_some())
    }

    /// Goes on until it knows everything about `others`, then stays until everybody does.
    pub async fn settle(
        &mut self,
        others: usize,
        deadline: Instant,
        done: &Barrier,
    ) -> Result<(), String> {
        let settled = loop {
            if self.knows(others) {
                break Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.step()).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => break Err(fault),
                Err(_) => {
                    let tracks = self.signal.tracks.len();
                    break Err(format!(
                        "{}/{}: {tracks} tracks",
                        self.room, self.signal.member
                    ));
                }
            }
        };
        let wait = done.wait();
        tokio::pin!(wait);
        loop {
            tokio::select! {
                _ = &mut wait => return settled,
                stepped = self.step(), if settled.is_ok() => stepped?,
            }
        }
    }
}
