//! The public listener over real sockets, with a stand-in for the shard: what browsers and attackers would notice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use colchis::bus::client::{Command, Event, RpcSettings};
use colchis::bus::shard::{ShardCommand, ShardEvent};
use colchis::bus::spec::{MemberSpec, RoomSpec};
use colchis::id::{PeerId, ShardId};
use colchis::io::channel::{EventLink, MovableInbox, Sender, channel};
use colchis::io::clock::Clock;
use colchis::io::listener::PublicListener;
use colchis::io::signalling::{self, SignallingRequest, SignallingThread, Site};
use colchis::limits::{WS_MESSAGE_BYTES_MAX, WS_WRITE_BUFFER_BYTES_MAX};
use colchis::signalling::{RoomBook, SignallingSettings};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Error, Message, WebSocket};

const SECRET: &str = "sesame";
/// Long enough for a busy machine; only failures wait so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running signalling core. Ends it when dropped, and so tests that it ends.
struct Server {
    address: SocketAddr,
    requests: Sender<SignallingRequest>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = PublicListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address();
        let (shard, commands) = channel(1024).unwrap();
        let (event_link, events) = channel(1024).unwrap();
        let (requests, request_inbox) = channel(4).unwrap();
        let thread = SignallingThread {
            listeners: vec![(listener, tls)],
            site: Site {
                serve_page: true,
                dev_credential: Some(SECRET.into()),
                origins: Vec::new(),
            },
            settings: SignallingSettings::default(),
            book: RoomBook::default().with_template(Box::new(|id| {
                Some(Arc::new(RoomSpec {
                    open: Some(Arc::new(member_spec())),
                    ..RoomSpec::new(id.clone())
                }))
            })),
            shards: vec![shard],
            events,
            requests: request_inbox,
            clock: Clock::start(),
            observer: Box::new(|_| true),
        };
        let signalling = std::thread::spawn(move || {
            let core = rustix::thread::sched_getcpu();
            signalling::spawn(thread, core).unwrap().join().unwrap();
        });
        let shard = std::thread::spawn(move || {
            glommio::LocalExecutor::default().run(stand_in(commands, event_link));
        });
        Self {
            address,
            requests,
            threads: vec![signalling, shard],
        }
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn http(&self, request: &str) -> String {
        let mut stream = self.tcp();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn connect(&self) -> Client<TcpStream> {
        let url = format!("ws://{}/ws", self.address);
        let (socket, _) = tungstenite::client(url, self.tcp()).unwrap();
        Client::greeted(socket)
    }

    fn joined(&self, member: &str) -> Client<TcpStream> {
        let mut client = self.connect();
        client.join("r", member, SECRET);
        assert_eq!(client.event()["event"], "RoomJoined");
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.requests.try_send(SignallingRequest::Shutdown).ok();
        for thread in self.threads.drain(..) {
            let result = thread.join();
            assert!(std::thread::panicking() || result.is_ok());
        }
    }
}

fn member_spec() -> MemberSpec {
    let rpc = RpcSettings {
        idle_timeout_ms: 10_000,
        ping_interval_ms: 3_000,
    };
    MemberSpec::new(SECRET, rpc, 10_000)
}

/// Confirms joins. To `SynchronizeMe` it answers with far more than a socket's buffers take, and to a metrics
/// command with a small event.
async fn stand_in(commands: MovableInbox<ShardCommand>, events: EventLink) {
    let commands = commands.listen();
    loop {
        commands.wait().await;
        while let Some(command) = commands.try_recv() {
            let reply = |session, room, event| {
                let _ = events.try_send(ShardEvent::Client {
                    session,
                    room,
                    event,
                });
            };
            match command {
                ShardCommand::Join {
                    session,
                    room,
                    member,
                    ..
                } => reply(
                    session,
                    room,
                    Event::RoomJoined {
                        member_id: member,
                        is_reconnect: false,
                        shard: ShardId(0),
                    },
                ),
                ShardCommand::Client {
                    session,
                    room,
                    command: Command::SynchronizeMe { .. },
                    ..
                } => {
                    for _ in 0..200 {
                        reply(session, room.clone(), answer(&"x".repeat(100_000)));
                    }
                }
                ShardCommand::Client { session, room, .. } => reply(session, room, answer("ok")),
                ShardCommand::Shutdown => {
                    events.try_send(ShardEvent::Stopped(ShardId(0))).unwrap();
                    return;
                }
                ShardCommand::Lost { .. }
                | ShardCommand::Leave { .. }
                | ShardCommand::Configure { .. }
                | ShardCommand::Stats { .. }
                | ShardCommand::Resume
                | ShardCommand::Report => {}
            }
        }
    }
}

fn answer(sdp: &str) -> Event {
    Event::SdpAnswerMade {
        peer_id: PeerId(0),
        sdp_answer: sdp.to_owned(),
    }
}

struct Client<S> {
    socket: WebSocket<S>,
}

impl<S: Read + Write> Client<S> {
    /// The first frame of every session is RpcSettings.
    fn greeted(socket: WebSocket<S>) -> Self {
        let mut client = Self { socket };
        assert_eq!(client.frame()["msg"], "RpcSettings");
        client
    }

    fn frame(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next event; pings are answered.
    fn event(&mut self) -> Value {
        loop {
            let frame = self.frame();
            match frame["msg"].as_str().unwrap() {
                "Ping" => self.send(json!({"Pong":frame["data"]})),
                "Event" => return frame["data"]["event"].clone(),
                other => panic!("{other}"),
            }
        }
    }

    fn send(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).unwrap();
    }

    fn command(&mut self, room: &str, command: Value) {
        self.send(json!({"Command":{"room_id":room,"command":command}}));
    }

    fn join(&mut self, room: &str, member: &str, credential: &str) {
        let data = json!({"member_id":member,"credential":credential});
        self.command(room, json!({"command":"JoinRoom","data":data}));
    }

    /// Whether a command still comes back as an event.
    fn talks(&mut self) -> bool {
        let data = json!({"peer_id":0,"metrics":{}});
        self.command(
            "r",
            json!({"command":"AddPeerConnectionMetrics","data":data}),
        );
        self.event()["data"]["sdp_answer"] == "ok"
    }

    /// Code and text of the close frame that must come.
    fn closed(&mut self) -> (CloseCode, String) {
        loop {
            match self.socket.read() {
                Ok(Message::Close(Some(frame))) => return (frame.code, frame.reason.to_string()),
                Ok(_) => {}
                Err(error) => panic!("no close frame: {error}"),
            }
        }
    }
}

fn frame(payload: &[u8], opcode: OpCode, is_final: bool) -> Message {
    let header = FrameHeader {
        is_final,
        opcode,
        mask: Some([1, 2, 3, 4]),
        ..FrameHeader::default()
    };
    Message::Frame(Frame::from_payload(header, payload.to_vec().into()))
}

#[test]
fn members_join_and_talk_and_wrong_credentials_do_not() {
    let server = Server::start(None);
    let mut ann = server.joined("ann");
    assert!(ann.talks());
    let mut eve = server.connect();
    eve.join("r", "ann", "guess");
    let (code, text) = eve.closed();
    assert_eq!(
        (code, text.as_str()),
        (CloseCode::Normal, r#"{"reason":"Rejected"}"#)
    );
    assert!(ann.talks());
    let mut again = server.joined("ann");
    assert_eq!(ann.closed().1, r#"{"reason":"Reconnected"}"#);
    assert!(again.talks());
}

#[test]
fn fragments_with_control_frames_between_are_one_message() {
    let server = Server::start(None);
    let mut ann = server.joined("ann");
    let text = r#"{"Command":{"room_id":"r","command":{"command":"AddPeerConnectionMetrics","data":{"peer_id":0,"metrics":{}}}}}"#;
    let (a, b) = text.split_at(40);
    let (b, c) = b.split_at(1);
    for part in [
        frame(a.as_bytes(), OpCode::Data(Data::Text), false),
        frame(b"are you there?", OpCode::Control(Control::Ping), true),
        frame(b.as_bytes(), OpCode::Data(Data::Continue), false),
        frame(b"", OpCode::Data(Data::Continue), false),
        frame(c.as_bytes(), OpCode::Data(Data::Continue), true),
    ] {
        ann.socket.write(part).unwrap();
    }
    ann.socket.flush().unwrap();
    assert_eq!(ann.event()["data"]["sdp_answer"], "ok");
}

#[test]
fn faults_of_one_socket_close_that_socket_with_their_code() {
    let server = Server::start(None);
    let mut ann = server.joined("ann");
    let large = vec![b' '; WS_MESSAGE_BYTES_MAX + 1];
    let half = vec![b' '; WS_MESSAGE_BYTES_MAX / 2 + 1];
    let cases: [(&str, Vec<Message>, CloseCode); 5] = [
        (
            "one large frame",
            vec![frame(&large, OpCode::Data(Data::Text), true)],
            CloseCode::Size,
        ),
        (
            "large by fragments",
            vec![
                frame(&half, OpCode::Data(Data::Text), false),
                frame(&half, OpCode::Data(Data::Continue), true),
            ],
            CloseCode::Size,
        ),
        (
            "not UTF-8",
            vec![frame(&[0xff, 0xfe], OpCode::Data(Data::Text), true)],
            CloseCode::Invalid,
        ),
        (
            "no such opcode",
            vec![frame(b"", OpCode::Data(Data::Reserved(5)), true)],
            CloseCode::Protocol,
        ),
        (
            "continuation of nothing",
            vec![frame(b"", OpCode::Data(Data::Continue), true)],
            CloseCode::Protocol,
        ),
    ];
    for (name, parts, code) in cases {
        let mut client = server.joined("bob");
        for part in parts {
            client.socket.write(part).unwrap();
        }
        client.socket.flush().unwrap();
        assert_eq!(client.closed().0, code, "{name}");
        assert!(ann.talks(), "{name}");
    }
}

#[test]
fn nonsense_is_ignored_and_a_flood_of_it_evicted() {
    let server = Server::start(None);
    let mut ann = server.joined("ann");
    for text in ["", "{", "[1,2", "{\"Pong\":{}}", "null"] {
        ann.socket.send(Message::text(text)).unwrap();
    }
    assert!(ann.talks());
    for _ in 0..100 {
        let _ = ann.socket.send(Message::binary(vec![0; 10]));
    }
    assert_eq!(
        ann.closed(),
        (CloseCode::Normal, r#"{"reason":"Evicted"}"#.to_owned())
    );
}

#[test]
fn stalled_reader_is_evicted_and_nobody_waits_for_it() {
    let server = Server::start(None);
    let mut ann = server.joined("ann");
    let mut stalled = server.joined("bob");
    let data = json!({"state":{"peers":{}}});
    stalled.command("r", json!({"command":"SynchronizeMe","data":data}));
    let asked = Instant::now();
    assert!(ann.talks());
    assert!(asked.elapsed() < Duration::from_secs(5));
    // What was sent before the bound was reached is there, then the end: never all of it.
    let mut bytes = 0;
    loop {
        match stalled.socket.read() {
            Ok(Message::Text(text)) => bytes += text.len(),
            Ok(Message::Close(Some(frame))) => {
                assert_eq!(frame.reason.as_str(), r#"{"reason":"Evicted"}"#);
                break;
            }
            Ok(_) => {}
            Err(Error::Protocol(_) | Error::Io(_) | Error::ConnectionClosed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        (WS_WRITE_BUFFER_BYTES_MAX..200 * 100_000).contains(&bytes),
        "{bytes}"
    );
    assert!(ann.talks());
}

#[test]
fn slow_handshakes_are_ended_in_time() {
    let server = Server::start(None);
    let started = Instant::now();
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|n| {
            let mut stream = server.tcp();
            let head = &b"GET /ws HTTP/1.1\r\nHost: h\r\n"[..n % 28];
            stream.write_all(head).unwrap();
            stream
        })
        .collect();
    let mut ann = server.joined("ann");
    for stream in &mut slow {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(
            answer.starts_with(b"HTTP/1.1 408"),
            "{:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    let passed = started.elapsed();
    assert!((4..9).contains(&passed.as_secs()), "{passed:?}");
    assert!(ann.talks());
}

#[test]
fn page_is_served_whole_and_only_what_belongs_to_it() {
    let server = Server::start(None);
    let page = server.http("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(page.trim_end().ends_with("</html>"));
    assert!(page.contains("\r\nContent-Security-Policy: default-src 'self';"));
    let dev = server.http("GET /dev.json HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(
        dev.ends_with(r#"{"credential":"sesame","ws":"/ws"}"#),
        "{dev}"
    );
    assert!(
        server
            .http("GET /../etc/passwd HTTP/1.1\r\n\r\n")
            .starts_with("HTTP/1.1 404")
    );
    assert!(server.http("nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    let evil = server.http(
        "GET /ws HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.example\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert!(evil.starts_with("HTTP/1.1 403"), "{evil}");
    let mut request = format!("ws://{}/ws", server.address)
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", "colchis.v99".parse().unwrap());
    let refused = tungstenite::client(request, server.tcp());
    assert!(refused.is_err());
}

#[test]
fn shutdown_tells_every_client() {
    let server = Server::start(None);
    let mut clients = [server.joined("ann"), server.joined("bob"), server.connect()];
    let address = server.address;
    let reader = std::thread::spawn(move || clients.each_mut().map(|c| c.closed().1));
    drop(server);
    for reason in reader.join().unwrap() {
        assert_eq!(reason, r#"{"reason":"Evicted"}"#);
    }
    assert!(
        TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn tls_carries_the_same_conversation() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("colchis-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = colchis::io::tls::load(&cert, &key).unwrap();
    let error = colchis::io::tls::load(&key, &key).unwrap_err().to_string();
    assert!(
        error.contains("key.pem") && error.contains("cure:"),
        "{error}"
    );
    let error = colchis::io::tls::load(&cert, &folder.join("none"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("none") && error.contains("cure:"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();

    let server = Server::start(Some(config));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let session = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let tls = rustls::StreamOwned::new(session, server.tcp());
    let (socket, _) = tungstenite::client("ws://localhost/ws", tls).unwrap();
    let mut ann = Client::greeted(socket);
    ann.join("r", "ann", SECRET);
    assert_eq!(ann.event()["event"], "RoomJoined");
    // Far more than a TLS record, both ways.
    let data = json!({"peer_id":0,"metrics":{"long":"x".repeat(300_000)}});
    ann.command(
        "r",
        json!({"command":"AddPeerConnectionMetrics","data":data}),
    );
    assert_eq!(ann.event()["data"]["sdp_answer"], "ok");
    let data = json!({"state":{"peers":{}}});
    ann.command("r", json!({"command":"SynchronizeMe","data":data}));
    assert_eq!(
        ann.event()["data"]["sdp_answer"].as_str().unwrap().len(),
        100_000
    );
    // Plain bytes at a TLS port end that connection only.
    let mut plain = server.tcp();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
}
