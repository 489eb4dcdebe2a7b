//! One member of a call: socket, signalling, transport and marked media, all in one task.
//!
//! Tests look at [`State`] and give orders through [`Control`]; nothing here shares code with the server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::server::Server;
use crate::stack::Identity;
use crate::support::media::Sink;
use crate::support::signal::Signal;
use crate::worker::Worker;
use crate::ws::Ws;

const TICK: Duration = Duration::from_millis(10);

/// Orders to a client.
pub enum Control {
    /// A command of the client for its room.
    Command(Value),
    /// Datagram from the client's media socket as it is.
    Datagram(Vec<u8>),
    /// Bytes that look like an RTP header from afar: sealed with the right keys, then sent.
    HostileRtp(Vec<u8>),
    /// The same for RTCP.
    HostileRtcp(Vec<u8>),
    /// Plain RTCP packet: sealed, then sent.
    Rtcp(Vec<u8>),
    /// Send the last `n` sealed media datagrams again, byte for byte.
    Replay(usize),
    /// Send the last sealed media datagram with a flipped bit in its tag.
    BadTag,
    /// From now on a new socket with a new port; the next check tells the server.
    MoveAddress,
    /// Close the WebSocket: `Some(code)` politely, `None` by cutting it.
    CloseSocket(Option<u16>),
    /// Open a new WebSocket and join again.
    Rejoin,
    /// Send media or not.
    Publish(bool),
}

/// What a client sees of one received stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// Player.
    pub sink: Sink,
    /// Video, not audio.
    pub video: bool,
    /// Sender's name, from the track list or the description.
    pub sender: Option<String>,
    /// Last sender report: (NTP, RTP timestamp).
    pub report: Option<(u64, u32)>,
}

/// Everything a test may look at.
pub struct State {
    /// Protocol side.
    pub signal: Signal,
    /// Close frame of the socket, `Some(None)` for a cut.
    pub closed: Option<Option<(u16, String)>>,
    /// Mapped address of the last authentic check.
    pub mapped: Option<SocketAddr>,
    /// Our media socket.
    pub local: SocketAddr,
    /// Server's media address.
    pub remote: Option<SocketAddr>,
    /// SRTP profile once secured.
    pub profile: Option<&'static str>,
    /// When the join was sent and when the first video packet came.
    pub join_to_media: Option<Duration>,
    /// Streams by SSRC.
    pub streams: BTreeMap<u32, Stream>,
    /// SSRCs of every description so far.
    pub named: BTreeSet<u32>,
    /// Things a user would notice.
    pub faults: Vec<String>,
    /// Key frames asked of us.
    pub key_frames_asked: u32,
    /// Packets asked again of us.
    pub nacked: u32,
    /// Transport-wide feedback packets received.
    pub twcc: u32,
    /// Reports about our streams: SSRC → (fraction lost, highest sequence).
    pub reports: BTreeMap<u32, (u8, u32)>,
    /// Packets sent by kind (audio, video).
    pub sent: [u32; 2],
    /// RTX packets received.
    pub rtx_received: u32,
}

impl State {
    /// Different media packets received from `sender`, audio or video.
    pub fn received(&self, sender: &str, video: bool) -> u64 {
        self.streams
            .values()
            .filter(|s| s.video == video && s.sender.as_deref() == Some(sender))
            .map(|s| s.sink.received)
            .sum()
    }

    /// Packets missing between the first and the last of every stream.
    pub fn missing(&self) -> u64 {
        self.streams.values().map(|s| s.sink.missing()).sum()
    }
}

/// A running client.
pub struct Client {
    /// What it sees.
    pub state: Arc<Mutex<State>>,
    /// Its name.
    pub name: String,
    control: mpsc::UnboundedSender<Control>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How to make a client.
pub struct Options {
    /// Page and signalling address.
    pub server: SocketAddr,
    /// Room.
    pub room: String,
    /// Number in the marks; unique per member and life.
    pub number: u16,
    /// Credential.
    pub credential: String,
    /// Send camera and microphone.
    pub publish: bool,
    /// Offered SRTP profiles.
    pub profiles: Vec<SrtpProtectionProfile>,
}

impl Options {
    /// A publisher that offers what browsers offer.
    pub fn new(server: SocketAddr, room: &str, number: u16) -> Self {
        Self {
            server,
            room: room.to_owned(),
            number,
            credential: Server::dev_credential(server),
            publish: true,
            profiles: vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ],
        }
    }
}

/// Name of the member with mark number `number`.
pub fn member_name(number: u16) -> String {
    format!("m{number}")
}

impl Client {
    /// Connects and joins; the call goes on in a task.
    pub async fn join(options: Options) -> Client {
        let name = member_name(options.number);
        let identity = Identity::new(&name);
        let socket = UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("a media socket");
        let signal = Signal::new(
            &name,
            identity.credentials.clone(),
            options.publish,
            0x1000_0000 + (u32::from(options.number) << 12),
        );
        let state = Arc::new(Mutex::new(State {
            signal,
            closed: None,
            mapped: None,
            local: socket.local_addr().expect("bound"),
            remote: None,
            profile: None,
            join_to_media: None,
            streams: BTreeMap::new(),
            named: BTreeSet::new(),
            faults: Vec::new(),
            key_frames_asked: 0,
            nacked: 0,
            twcc: 0,
            reports: BTreeMap::new(),
            sent: [0; 2],
            rtx_received: 0,
        }));
        let (control, orders) = mpsc::unbounded_channel();
        let ws = Ws::connect(options.server, None).expect("the server takes WebSockets");
        let worker = Worker::new(Arc::clone(&state), identity, socket, ws, options);
        let task = tokio::spawn(worker.run(orders));
        Client {
            state,
            name,
            control,
            task,
        }
    }

    /// Gives an order.
    pub fn order(&self, control: Control) {
        self.control
            .send(control)
            .unwrap_or_else(|_| panic!("{} has stopped", self.name));
    }

    /// Sends a command of this member.
    pub fn command(&self, make: impl FnOnce(&Signal) -> Value) {
        let command = self.look(|s| make(&s.signal));
        self.order(Control::Command(command));
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().expect("the client did not panic"))
    }

    /// Waits until `done`, at most 15 seconds.
    pub async fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            assert!(
                !self.task.is_finished(),
                "{}: stopped while waiting for {what}",
                self.name
            );
            if self.look(&done) {
                return;
            }
            if Instant::now() > deadline {
                let seen = self.look(|s| {
                    format!("{:?} closed {:?} mapped {:?} profile {:?} faults {:?} left {:?} streams {:?}",
                        s.signal.joined, s.closed, s.mapped, s.profile, s.faults, s.signal.left,
                        s.streams.iter().map(|(k, v)| (k, v.video, &v.sender, v.sink.received)).collect::<Vec<_>>())
                });
                panic!("{}: waited 15 s for {what}; {seen}", self.name);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Waits until `packets` more video and audio packets of `sender` have come.
    pub async fn wait_media(&self, sender: &str, packets: u64) {
        let before = self.look(|s| [s.received(sender, false), s.received(sender, true)]);
        self.wait(&format!("{packets} packets of {sender}"), |s| {
            s.received(sender, false) >= before[0] + packets
                && s.received(sender, true) >= before[1] + packets
        })
        .await;
    }

    /// Fails if a user would have noticed anything.
    pub fn assert_clean(&self) {
        self.look(|s| {
            assert!(s.faults.is_empty(), "{}: {:?}", self.name, s.faults);
            assert_eq!(s.missing(), 0, "{}: packets are missing", self.name);
        });
    }
}
