//! WebSocket frames as clients may cut them (RFC 6455 section 5.4), byte by byte on a real socket: a message in
//! fragments with control frames between, an extension offered, and what no client may send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::Server;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

struct Raw {
    stream: TcpStream,
    /// Head of the answer to the upgrade.
    answer: String,
}

impl Raw {
    fn connect(server: &Server) -> Raw {
        let mut stream = TcpStream::connect(server.public).expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a read timeout");
        write!(
            stream,
            "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
            server.public
        )
        .expect("a request");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the answer's head");
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).expect("text");
        Raw { stream, answer }
    }

    /// One frame; payloads of less than 126 bytes, or less than 64 KiB.
    fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            len @ ..126 => frame.push(MASKED | len as u8),
            len => {
                frame.push(MASKED | 126);
                frame.extend((len as u16).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
        self.stream.write_all(&frame).expect("the frame is taken");
    }

    /// The next frame that is no Ping of the protocol: opcode and payload.
    fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            let (opcode, payload) = self.frame();
            let text = serde_json::from_slice::<Value>(&payload).unwrap_or_default();
            if text["msg"] != "Ping" {
                return (opcode, payload);
            }
        }
    }

    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).expect("a frame");
        assert_eq!(head[0] & 0x70, 0, "no extension was agreed on");
        assert_eq!(head[1] & MASKED, 0, "a server does not mask");
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len).expect("a length");
                usize::from(u16::from_be_bytes(len))
            }
            127 => panic!("larger than these tests expect"),
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).expect("a payload");
        (head[0] & 0x0F, payload)
    }

    fn event(&mut self) -> Value {
        let (opcode, payload) = self.next();
        assert_eq!(opcode, TEXT, "{payload:?}");
        serde_json::from_slice(&payload).expect("JSON")
    }

    /// Code of the close frame.
    fn close_code(&mut self) -> u16 {
        loop {
            let (opcode, payload) = self.next();
            if opcode == CLOSE {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

fn join(server: &Server) -> Vec<u8> {
    let credential = Server::dev_credential(server.public);
    let capabilities = json!({"audio_tx": [], "audio_rx": [], "video_tx": [], "video_rx": []});
    let data = json!({"member_id": "ann", "credential": credential, "capabilities": capabilities});
    let command = json!({"room_id": "r1", "command": {"command": "JoinRoom", "data": data}});
    json!({"Command": command}).to_string().into_bytes()
}

#[test]
fn a_message_in_fragments_is_one_message_whatever_control_frames_come_between() {
    let server = Server::start(1);
    let mut raw = Raw::connect(&server);
    let answer = raw.answer.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(
        !answer.contains("sec-websocket-extensions"),
        "what is offered need not be taken: {answer}"
    );
    assert_eq!(raw.event()["msg"], "RpcSettings");

    let message = join(&server);
    let pieces: Vec<&[u8]> = message.chunks(7).collect();
    for (at, piece) in pieces.iter().enumerate() {
        let opcode = if at == 0 { TEXT } else { CONTINUATION };
        let last = at + 1 == pieces.len();
        raw.send(opcode | if last { FIN } else { 0 }, piece);
        if !last && at % 4 == 0 {
            raw.send(FIN | PING, &[at as u8]);
            assert_eq!(raw.next(), (PONG, vec![at as u8]), "answered at once");
            raw.send(FIN | PONG, b"nobody asked");
        }
    }
    let event = raw.event();
    assert_eq!(event["data"]["event"]["event"], "RoomJoined", "{event}");

    // The same byte by byte: TCP knows nothing of frames.
    let leave = json!({"Command": {"room_id": "r1", "command": {"command": "LeaveRoom", "data": {"member_id": "ann"}}}});
    let leave = leave.to_string().into_bytes();
    let mut frame = vec![FIN | TEXT, MASKED | leave.len() as u8];
    frame.extend(MASK);
    frame.extend(leave.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    for byte in frame {
        raw.stream.write_all(&[byte]).expect("a byte");
    }
    loop {
        let event = raw.event();
        if event["data"]["event"]["event"] == "RoomLeft" {
            break;
        }
    }
    let (status, stderr) = server.stop();
    assert!(status.success(), "{status}: {stderr}");
}

#[test]
fn frames_that_break_the_protocol_close_the_socket_with_the_right_code() {
    let server = Server::start(1);
    let cases: [(&str, u8, &[u8], u16); 5] = [
        (
            "compressed, though nobody agreed",
            FIN | RSV1 | TEXT,
            b"{}",
            1002,
        ),
        ("a continuation of nothing", FIN | CONTINUATION, b"{}", 1002),
        ("a control frame in fragments", PING, b"", 1002),
        ("an opcode nobody knows", FIN | 3, b"", 1002),
        ("text that is no UTF-8", FIN | TEXT, &[0xFF, 0xFE], 1007),
    ];
    for (what, first, payload, code) in cases {
        let mut raw = Raw::connect(&server);
        assert_eq!(raw.event()["msg"], "RpcSettings");
        raw.send(first, payload);
        assert_eq!(raw.close_code(), code, "{what}");
    }
    let (status, stderr) = server.stop();
    assert!(status.success(), "{status}: {stderr}");
}
