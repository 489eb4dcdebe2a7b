//! Starts the server's own binary on free ports, reads its metrics, ends it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::support::process::wait_listening;

/// How long an HTTP answer may take where every test runs a server on the same two cores.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// A running `colchis dev`.
pub struct Server {
    child: Option<Child>,
    /// Page and WebSocket.
    pub public: SocketAddr,
    /// Health and metrics.
    pub private: SocketAddr,
    /// UDP ports, one per shard.
    pub media: Vec<SocketAddr>,
}

/// Ports nobody listens on, from a range the kernel does not hand out; each call gets new ones.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = (std::process::id() as u16 % 400) * 20;
    for _ in 0..500 {
        let base = 20_000 + (seed + NEXT.fetch_add(count + 1, Ordering::Relaxed)) % 11_000;
        let free = (base..base + count).all(|port| {
            TcpListener::bind(("127.0.0.1", port)).is_ok()
                && UdpSocket::bind(("0.0.0.0", port)).is_ok()
        });
        if free {
            return base;
        }
    }
    panic!("no {count} free ports in a row");
}

impl Server {
    /// `colchis dev` with `shards` shards on free loopback ports; returns when the page answers.
    pub fn start(shards: u16) -> Server {
        let base = free_ports(2 + shards);
        let public = SocketAddr::from(([127, 0, 0, 1], base));
        let private = SocketAddr::from(([127, 0, 0, 1], base + 1));
        let media = (0..shards)
            .map(|i| SocketAddr::from(([127, 0, 0, 1], base + 2 + i)))
            .collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_colchis"));
        command.arg("dev").arg("--listen").arg(public.to_string());
        command.arg("--private-listen").arg(private.to_string());
        command.arg("--udp-port").arg((base + 2).to_string());
        command.arg("--shards").arg(shards.to_string());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || for _line in BufReader::new(stdout).lines() {});
        let server = Server {
            child: Some(child),
            public,
            private,
            media,
        };
        server.wait_ready()
    }

    fn wait_ready(mut self) -> Server {
        let child = self.child.as_mut().expect("not stopped");
        wait_listening(child, &[self.public, self.private]);
        self
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("not stopped").id()
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("statm");
        let pages: u64 = statm
            .split(' ')
            .nth(1)
            .and_then(|f| f.parse().ok())
            .expect("statm");
        pages * 4096
    }

    /// `GET path` on a listener; (status, body).
    pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).expect("listening");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("timeout");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|e| {
            panic!("GET {path} of {address}: {e} (waited {ANSWER_MAX:?} at most)")
        });
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .expect("status");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }

    /// The credential of every room in dev mode, as the page learns it.
    pub fn dev_credential(public: SocketAddr) -> String {
        let (status, body) = Self::get(public, "/dev.json");
        assert_eq!(status, 200, "{body}");
        let json: serde_json::Value = serde_json::from_str(&body).expect("dev.json is JSON");
        json["credential"]
            .as_str()
            .expect("dev.json has a credential")
            .to_owned()
    }

    /// Every sample of `/metrics`: name with labels → value.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, body) = Self::get(self.private, "/metrics");
        assert_eq!(status, 200, "{body}");
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// Waits until the counters satisfy `done`: they are told once a second.
    pub fn wait_metric(&self, parts: &[&str], done: impl Fn(f64) -> bool) -> f64 {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let value = self.metric(parts);
            if done(value) {
                return value;
            }
            assert!(
                Instant::now() < deadline,
                "{parts:?} is {value}: {:#?}",
                self.metrics()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sum of the samples whose name contains every part.
    pub fn metric(&self, parts: &[&str]) -> f64 {
        let metrics = self.metrics();
        metrics
            .iter()
            .filter(|(name, _)| parts.iter().all(|p| name.contains(p)))
            .map(|(_, v)| v)
            .sum()
    }

    /// Ends the server politely and returns its exit status and what it wrote to stderr.
    pub fn stop(mut self) -> (ExitStatus, String) {
        let mut child = self.child.take().expect("not stopped");
        // SAFETY: a plain system call; the child has not been waited for, so the id is its own.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        let deadline = Instant::now() + Duration::from_secs(10);
        while child.try_wait().expect("child").is_none() {
            assert!(
                Instant::now() < deadline,
                "SIGTERM did not end the server within 10 s"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut stderr = String::new();
        let _ = child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut stderr);
        (child.wait().expect("child"), stderr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
