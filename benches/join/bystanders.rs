//! Sessions that only ping: how long the signalling core leaves others waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tungstenite::Message;

use crate::client::Socket;
use crate::control::join;
use crate::server::Server;

const BYSTANDERS: usize = 4;
/// Pause between two pings of one.
const PAUSE: Duration = Duration::from_millis(20);

pub struct Bystanders {
    tasks: Vec<JoinHandle<Vec<Duration>>>,
    stop: Arc<AtomicBool>,
}

impl Bystanders {
    /// Each in a room of its own, pinging over its WebSocket all the time.
    pub async fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for n in 0..BYSTANDERS {
            let socket = join(server.public, &format!("quiet{n}"), "quiet", "dev").await;
            let stop = Arc::clone(&stop);
            tasks.push(tokio::spawn(watch(socket, stop)));
        }
        Self { tasks, stop }
    }

    /// Round trips, all of them.
    pub async fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.expect("a bystander does not panic"));
        }
        all
    }
}

async fn watch(mut socket: Socket, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let ping = Message::Ping(b"p".as_slice().into());
        socket.send(ping).await.expect("the socket stays open");
        loop {
            match socket.next().await.expect("the socket stays open") {
                Message::Pong(_) => break,
                // Any frame is a sign of life: the WebSocket pings are enough.
                _ => continue,
            }
        }
        times.push(sent.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    times
}
