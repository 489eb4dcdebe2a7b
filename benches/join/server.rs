//! A server process of this checkout, and what it costs.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::process::{free_address, wait_listening};

/// A running `colchis dev`, which wants no key.
pub struct Server {
    child: Child,
    pub public: SocketAddr,
    pub private: SocketAddr,
}

impl Server {
    pub fn start() -> Self {
        let (public, private) = (free_address(), free_address());
        let mut command = Command::new(env!("CARGO_BIN_EXE_colchis"));
        command.args(["dev", "--listen", &public.to_string()]);
        command.args(["--private-listen", &private.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary starts");
        wait_listening(&mut child, &[public, private]);
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
