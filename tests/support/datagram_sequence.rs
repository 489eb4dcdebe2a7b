//! Many datagrams, one after another, into the media state of a whole shard: what fuzzing and `tests/hostile.rs` share.
//!
//! Any bytes are a script (see [`run`]). Whatever the script: nothing panics, and nobody is answered who has not shown
//! the password of a transport.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use colchis::error::DropReason;
use colchis::id::{MemberId, RoomId};
use colchis::metrics::ShardCounters;
use colchis::room::machine::{Machine, MachineConfig, Turn};
use colchis::time::{Anchor, Time};
use colchis::transmit::TransmitQueue;
use colchis::transport::dtls::{
    DimplProvider, DtlsIdentity, DtlsSettings, Fingerprint, HashFunction,
};
use colchis::transport::ice::IceCredentials;
use colchis::wire::stun;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// A clock for tests that is not read by anything they compare.
pub fn anchor() -> Anchor {
    Anchor {
        instant: Instant::now(),
        ntp: 0,
    }
}

/// The DTLS library with a certificate made once in this process.
pub fn provider() -> DimplProvider {
    static IDENTITY: std::sync::LazyLock<DtlsIdentity> =
        std::sync::LazyLock::new(|| colchis::io::identity::generate().expect("a certificate"));
    DimplProvider::new(DtlsSettings::default(), &IDENTITY, anchor()).expect("DTLS")
}

/// A machine with one transport for each of two members, each in a room of its own, and what is needed to feed it.
pub struct Bench {
    /// The media state of a shard.
    pub machine: Machine,
    /// What it wants sent.
    pub tx: TransmitQueue,
    /// What it counted.
    pub counters: ShardCounters,
    /// Its time.
    pub now: Time,
}

impl Bench {
    /// A fresh one, with the credentials of both transports.
    pub fn new() -> (Bench, Vec<IceCredentials>) {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let config = MachineConfig {
            dtls: Box::new(provider()),
            handshakes_per_s: colchis::limits::DTLS_HANDSHAKES_PER_S,
        };
        let mut machine = Machine::new(config, anchor(), &mut rng);
        let print = Fingerprint::of(HashFunction::Sha256, b"the client's certificate");
        let credentials = ["ann", "bob"]
            .iter()
            .map(|member| {
                let room = RoomId::new(member).expect("an id");
                let member = MemberId::new(member).expect("an id");
                let added = machine.add_transport(Time::ZERO, &room, &member, &mut rng);
                let (key, credentials) = added.expect("there is room");
                let remote = IceCredentials {
                    ufrag: "remote".to_owned(),
                    pwd: "remote password of 24 ch".to_owned(),
                };
                machine.set_remote(key, remote, &[print]);
                credentials
            })
            .collect();
        let bench = Bench {
            machine,
            tx: TransmitQueue::with_slots(64),
            counters: ShardCounters::default(),
            now: Time::from_millis(1),
        };
        (bench, credentials)
    }

    /// One datagram.
    pub fn feed(&mut self, from: SocketAddr, datagram: &mut [u8]) -> Result<bool, DropReason> {
        let mut turn = Turn {
            now: self.now,
            tx: &mut self.tx,
            counters: &mut self.counters,
        };
        self.machine.handle_datagram(from, datagram, 0, &mut turn)
    }

    /// An authenticated check of a client; the answer is left in `tx`.
    pub fn check(
        &mut self,
        from: SocketAddr,
        credentials: &IceCredentials,
    ) -> Result<bool, DropReason> {
        let mut out = [0; 548];
        let username = format!("{}:remote", credentials.ufrag);
        let password = credentials.pwd.as_bytes();
        let role = stun::Role::Controlling(7);
        let id = [9; 12];
        let len = stun::write_binding_request(&mut out, &id, &username, password, 1, role, true)
            .expect("it fits");
        self.feed(from, &mut out[..len])
    }

    fn tick(&mut self) {
        let mut turn = Turn {
            now: self.now,
            tx: &mut self.tx,
            counters: &mut self.counters,
        };
        self.machine.tick(&mut turn);
    }
}

/// The address of client `n`.
pub fn address(n: u8) -> SocketAddr {
    ([198, 51, 100, n], 40_000).into()
}

/// Runs a script: a step is an operation byte, a length byte and that many bytes. The operation's low two bits say what
/// (0 or 3: the bytes as a datagram; 1: a right check; 2: time passes), the next two from which of four addresses, the
/// next which transport.
pub fn run(script: &[u8]) {
    let (mut bench, credentials) = Bench::new();
    let mut shown = [false; 4];
    let mut rest = script;
    while let [operation, len, tail @ ..] = rest {
        let (bytes, after) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = after;
        let client = (operation >> 2) & 3;
        match operation & 3 {
            1 => {
                let transport = usize::from((operation >> 4) & 1);
                if bench
                    .check(address(client), &credentials[transport])
                    .is_ok()
                {
                    shown[usize::from(client)] = true;
                }
            }
            2 => {
                bench.now = bench.now + Duration::from_millis(u64::from(*len) * 100);
                bench.tick();
            }
            _ => {
                let _ = bench.feed(address(client), &mut bytes.to_vec());
            }
        }
        for (to, _) in bench.tx.iter() {
            let answered = (0..4).find(|n| address(*n) == to).expect("one of the four");
            assert!(shown[usize::from(answered)], "{to} was answered");
        }
        bench.tx.clear();
        while bench.machine.poll_notice().is_some() {}
    }
}
