//! A configured server on free ports, with an API key; and the least a client needs to join.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{free_address, wait_listening};
use crate::ws::{Ws, WsEvent};

/// Key of the API.
pub const KEY: &str = "a key for tests only";
/// Key of signatures and tokens.
pub const SECRET: &str = "another key for tests";
/// How long anything may take where every test runs a server on the same cores.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A running `colchis serve`.
pub struct Server {
    child: Child,
    /// WebSocket.
    pub public: SocketAddr,
    /// Control API.
    pub private: SocketAddr,
    /// Configuration and specs.
    pub dir: PathBuf,
}

impl Server {
    /// With `more` behind the least configuration.
    pub fn start(name: &str, more: &str) -> Server {
        Self::start_with(name, "", more)
    }

    /// With `private` in that section.
    pub fn start_with(name: &str, private_more: &str, more: &str) -> Server {
        let dir = std::env::temp_dir().join(format!("colchis-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("rooms")).expect("a directory");
        let (public, private) = (free_address(), free_address());
        let config = format!(
            "[public]\nlisten = \"{public}\"\n[private]\nlisten = \"{private}\"\napi_key = \"{KEY}\"\n{private_more}\
             [media]\nudp_port = 0\n[callbacks]\nsigning_key = \"{SECRET}\"\ntimeout_ms = 2000\n{more}"
        );
        let path = dir.join("colchis.toml");
        std::fs::write(&path, config.replace("$DIR", &dir.display().to_string())).expect("written");
        let child = Command::new(env!("CARGO_BIN_EXE_colchis"))
            .args(["serve", "--config"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let mut server = Server {
            child,
            public,
            private,
            dir,
        };
        wait_listening(&mut server.child, &[public, private]);
        server
    }

    /// `http://…` of the private listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.private)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the child has not been waited for, so the id is its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Ends it politely.
    pub async fn stop(&mut self) {
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return assert!(status.success(), "{status}");
            }
            assert!(Instant::now() < deadline, "SIGTERM does not end it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// One socket of a member.
pub struct Member {
    ws: Ws,
    room: String,
}

/// How an attempt to join ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    Yes,
    /// Reason of the close frame.
    No(String),
}

impl Member {
    /// Connects and asks to join.
    pub async fn join(
        server: &Server,
        room: &str,
        member: &str,
        credential: &str,
    ) -> (Member, Joined) {
        let ws = Ws::connect(server.public, None).expect("an upgrade");
        let data = json!({"member_id": member, "credential": credential});
        let command = json!({"command": "JoinRoom", "data": data});
        ws.send(json!({"Command": {"room_id": room, "command": command}}).to_string());
        let mut member = Member {
            ws,
            room: room.to_owned(),
        };
        let joined = member.until(|event| event["event"] == "RoomJoined").await;
        let joined = match joined {
            Ok(_) => Joined::Yes,
            Err(reason) => Joined::No(reason),
        };
        (member, joined)
    }

    /// Joins by the URL that the API answered.
    pub async fn join_by_sid(server: &Server, sid: &str) -> (Member, Joined) {
        let (url, token) = sid.split_once("?token=").expect("a token");
        let mut parts = url.rsplit('/');
        let (member, room) = (parts.next().expect("member"), parts.next().expect("room"));
        Self::join(server, room, member, token).await
    }

    /// The first event that `wanted` is true for; the reason of the close frame if the socket is closed before.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.ws.next(PATIENCE).await {
                Some(WsEvent::Json(message)) if message["msg"] == "Ping" => {
                    self.ws.send(json!({"Pong": message["data"]}).to_string());
                }
                Some(WsEvent::Json(message)) if message["msg"] == "Event" => {
                    let event = &message["data"]["event"];
                    if message["data"]["room_id"] == self.room.as_str() && wanted(event) {
                        return Ok(event.clone());
                    }
                }
                Some(WsEvent::Json(_)) => {}
                Some(WsEvent::Closed(Some((_, text)))) => {
                    let reason: Value = serde_json::from_str(&text).unwrap_or_default();
                    return Err(reason["reason"].as_str().unwrap_or_default().to_owned());
                }
                Some(WsEvent::Closed(None)) => return Err("cut".to_owned()),
                None => break,
            }
        }
        panic!("nothing of the kind within {PATIENCE:?}");
    }

    /// How the socket is closed.
    pub async fn closed(&mut self) -> String {
        self.until(|_| false).await.expect_err("a close frame")
    }

    /// Closes it.
    pub fn close(&self, code: Option<u16>) {
        self.ws.close(code);
    }
}
