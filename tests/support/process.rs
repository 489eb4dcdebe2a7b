//! A server process of a test: free addresses for it, and the wait until it listens.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long a start may take where every test runs a server on the same cores.
const START_MAX: Duration = Duration::from_secs(20);

/// An address of this host that nobody listens on.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

/// Waits until `child` listens on each of the addresses. When it ends instead, shows what it wrote to stderr, if that is
/// piped.
pub fn wait_listening(child: &mut Child, addresses: &[SocketAddr]) {
    let deadline = Instant::now() + START_MAX;
    while addresses.iter().any(|a| TcpStream::connect(a).is_err()) {
        if let Some(status) = child.try_wait().expect("child") {
            let mut text = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                let _ = stderr.read_to_string(&mut text);
            }
            panic!("the server ended at once ({status}): {text}");
        }
        assert!(
            Instant::now() < deadline,
            "the server did not listen within {START_MAX:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
