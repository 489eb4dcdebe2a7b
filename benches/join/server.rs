//! A server process of this checkout, and what it costs.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running `colchis dev`, which wants no key.
pub struct Server {
    child: Child,
    pub public: SocketAddr,
    pub private: SocketAddr,
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

impl Server {
    pub fn start() -> Self {
        let (public, private) = (free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_colchis"));
        command.args(["dev", "--listen", &public.to_string()]);
        command.args(["--private-listen", &private.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the binary starts");
        let deadline = Instant::now() + Duration::from_secs(15);
        while TcpStream::connect(public).is_err() || TcpStream::connect(private).is_err() {
            assert!(Instant::now() < deadline, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            child,
            public,
            private,
        }
    }

    /// CPU time of all its threads so far (proc(5), ticks of 10 ms).
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("/proc");
        let fields = stat.rsplit(')').next().expect("a name in brackets");
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|f| f.parse::<u64>().ok())
            .sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
