//! A member that answers every negotiation, over the load generator's socket.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use colchis::io::load::signal::Socket;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::sdp::Credentials;
use crate::support::signal::Signal;

/// A socket to `/ws` of `server`.
pub async fn connect(server: SocketAddr) -> Result<Socket, String> {
    let socket = Socket::connect(server, &format!("ws://{server}/ws"), None).await;
    socket.map_err(|e| e.to_string())
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
            socket: connect(server).await?,
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
        self.socket.send(&frame).await.map_err(|e| e.to_string())
    }

    async fn step(&mut self) -> Result<(), String> {
        let message = self.socket.next().await.map_err(|e| e.to_string())?;
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
