//! Sessions that only ping: how long the signalling core leaves others waiting.
//!
//! They are a process of their own: in that of the load they would wait for its two thousand clients instead.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tungstenite::Message;

use crate::client::Socket;
use crate::control::join;
use crate::server::Server;

/// Makes this program a process of bystanders of the server at the address that follows.
pub const ARGUMENT: &str = "--bystanders";
const BYSTANDERS: usize = 4;
/// Pause between two pings of one.
const PAUSE: Duration = Duration::from_millis(20);

pub struct Bystanders {
    process: Child,
}

impl Bystanders {
    /// Each in a room of its own, pinging over its WebSocket all the time.
    pub fn start(server: &Server) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new(program)
            .args([ARGUMENT, &server.public.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        // A byte says that they are in.
        let out = process.stdout.as_mut().expect("piped");
        out.read_exact(&mut [0]).expect("they come in");
        Self { process }
    }

    /// Round trips, all of them.
    pub fn stop(mut self) -> Vec<Duration> {
        drop(self.process.stdin.take());
        let mut text = String::new();
        let mut out = self.process.stdout.take().expect("piped");
        out.read_to_string(&mut text).expect("text");
        self.process.wait().expect("it ends");
        let times: Vec<u64> = serde_json::from_str(&text).expect("microseconds");
        times.into_iter().map(Duration::from_micros).collect()
    }
}

/// The process of bystanders: until its input ends.
pub async fn run(server: SocketAddr) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for n in 0..BYSTANDERS {
        let socket = join(server, &format!("quiet{n}"), "quiet", "dev").await;
        tasks.push(tokio::spawn(watch(socket, Arc::clone(&stop))));
    }
    print!(" ");
    std::io::stdout().flush().expect("somebody reads");
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    end.await.expect("it does not panic").expect("an end");
    stop.store(true, Ordering::Relaxed);
    let mut all: Vec<u64> = Vec::new();
    for task in tasks {
        let times = task.await.expect("a bystander does not panic");
        all.extend(times.iter().map(|t| t.as_micros() as u64));
    }
    println!("{}", serde_json::to_string(&all).expect("numbers"));
}

async fn watch(mut socket: Socket, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let ping = Message::Ping(b"p".as_slice().into());
        socket
            .send_message(ping)
            .await
            .expect("the socket stays open");
        loop {
            match socket.next_message().await.expect("the socket stays open") {
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
