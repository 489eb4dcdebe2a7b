//! Rubbish at the live port, outside and inside a call: counted, unanswered, and nobody else notices (G2, G3, G20).

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::call::pair;
use crate::client::{Client, Control, Options};
use crate::server::Server;

/// Every input that has crashed a parser of this field.
fn hostile() -> Vec<Vec<u8>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hostile");
    let mut files = Vec::new();
    for folder in std::fs::read_dir(root)
        .expect(root)
        .flatten()
        .filter(|e| e.path().is_dir())
    {
        let entries = std::fs::read_dir(folder.path())
            .expect("a folder")
            .flatten();
        files.extend(entries.map(|e| std::fs::read(e.path()).expect("a file")));
    }
    assert!(files.len() > 50, "the hostile inputs are missing");
    files.sort();
    files
}

/// A stream of bytes that repeats from run to run.
struct Junk(u64);

impl Junk {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn datagram(&mut self) -> Vec<u8> {
        let firsts = [0, 1, 20, 22, 23, 25, 63, 64, 127, 128, 144, 176, 191, 255];
        let len = 1 + self.next() as usize % 1400;
        let mut bytes: Vec<u8> = (0..len).map(|_| self.next() as u8).collect();
        bytes[0] = firsts[self.next() as usize % firsts.len()];
        bytes
    }
}

/// Sends without overrunning the receiver's socket: what the kernel drops tests nothing.
async fn pour(
    socket: &UdpSocket,
    to: std::net::SocketAddr,
    datagrams: impl Iterator<Item = Vec<u8>>,
) -> u64 {
    let mut sent = 0;
    for datagram in datagrams.filter(|d| !d.is_empty()) {
        socket
            .send_to(&datagram, to)
            .expect("loopback takes datagrams");
        sent += 1;
        if sent % 16 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_from_strangers_is_unanswered_counted_and_harmless() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    let before = server.metric(&["drops_in_total"]);
    let resident = server.resident_bytes();
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    stranger.set_nonblocking(true).expect("non-blocking");
    let mut junk = Junk(1);
    let mut all = hostile();
    for file in hostile() {
        all.extend((1..file.len().min(40)).map(|cut| file[..cut].to_vec()));
    }
    all.extend((0..4000).map(|_| junk.datagram()));
    let sent = pour(&stranger, server.media[0], all.into_iter()).await;
    let after = server.wait_metric(&["drops_in_total"], |v| v >= before + sent as f64);
    assert!(after >= before + sent as f64);
    let mut answer = [0; 2048];
    assert!(
        stranger.recv(&mut answer).is_err(),
        "a stranger was answered"
    );
    let grown = server.resident_bytes().saturating_sub(resident);
    assert!(grown <= 8 << 20, "resident memory grew by {grown} bytes");
    for (client, other) in [(&one, &two), (&two, &one)] {
        client.wait_media(&other.name, 20).await;
        client.assert_clean();
    }
    balanced(&server);
}

/// Rule 5: received = used + consumed + Σ drops, as told by the metrics.
fn balanced(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let metrics = server.metrics();
        let sum = |part: &str| -> f64 {
            metrics
                .iter()
                .filter(|(name, _)| name.contains(part))
                .map(|(_, v)| v)
                .sum()
        };
        let taken = sum("packets_used") + sum("shard_consumed") + sum("drops_in_total");
        if (sum("datagrams_in") - taken).abs() < 0.5 {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "counters do not add up: {metrics:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_inside_valid_srtp_harms_its_sender_at_most() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    let evil = Client::join(Options::new(server.public, "r1", 3)).await;
    evil.wait_media(&one.name, 5).await;
    evil.order(Control::Publish(false));
    let mut junk = Junk(2);
    for file in hostile() {
        evil.order(Control::HostileRtp(file.clone()));
        evil.order(Control::HostileRtcp(file.clone()));
        evil.order(Control::Datagram(file));
        evil.order(Control::Datagram(junk.datagram()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for (client, other) in [(&one, &two), (&two, &one)] {
        client.wait_media(&other.name, 20).await;
        client.look(|s| assert!(s.faults.is_empty(), "{}: {:?}", client.name, s.faults));
    }
    // What was sealed got through to the readers behind SRTP, and was refused there.
    server.wait_metric(&["drops_in_total", "rtp_"], |v| v >= 10.0);
    server.wait_metric(&["drops_in_total", "rtcp_malformed"], |v| v >= 10.0);
    assert_eq!(server.metric(&["rooms_panicked"]), 0.0);
    balanced(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_and_bad_tags_are_counted_exactly() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    one.order(Control::Publish(false));
    // What was under way has arrived when the counters stand still.
    let replays = server.metric(&["srtp_replay", "drops_in"]);
    let bad_tags = server.metric(&["srtp_auth", "drops_in"]);
    for _ in 0..5 {
        one.order(Control::Replay(20));
        one.order(Control::BadTag);
    }
    server.wait_metric(&["srtp_replay", "drops_in"], |v| v >= replays + 100.0);
    server.wait_metric(&["srtp_auth", "drops_in"], |v| v >= bad_tags + 5.0);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(server.metric(&["srtp_replay", "drops_in"]), replays + 100.0);
    assert_eq!(server.metric(&["srtp_auth", "drops_in"]), bad_tags + 5.0);
    one.order(Control::Publish(true));
    two.wait_media(&one.name, 20).await;
    two.assert_clean();
}
