//! What the signalling side refuses, and how it says so; nobody else in the call notices.

use std::time::Duration;

use serde_json::{Value, json};

use crate::call::pair;
use crate::client::{Client, Control, Options};
use crate::server::Server;
use crate::stack::Identity;
use crate::support::signal::Signal;
use crate::ws::{Ws, WsEvent};

const PATIENCE: Duration = Duration::from_secs(10);

/// The next frame that is not a ping; pings are answered.
async fn next(ws: &mut Ws) -> WsEvent {
    loop {
        match ws
            .next(PATIENCE)
            .await
            .expect("the server says something within 10 s")
        {
            WsEvent::Json(message) if message["msg"] == "Ping" => {
                ws.send(json!({"Pong": message["data"]}).to_string());
            }
            other => return other,
        }
    }
}

/// The close frame, whatever comes before it.
async fn close_of(ws: &mut Ws) -> Option<(u16, String)> {
    loop {
        if let WsEvent::Closed(frame) = next(ws).await {
            return frame;
        }
    }
}

fn command(room: &str, command: &Value) -> String {
    json!({"Command": {"room_id": room, "command": command}}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_and_oversized_input_is_refused_and_harms_nobody() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    wrong_credential(&server).await;
    bad_json(&server).await;
    oversized(&server).await;
    bad_descriptions(&server).await;
    for client in [&one, &two] {
        let other = if client.name == "m1" { "m2" } else { "m1" };
        client.wait_media(other, 20).await;
        client.assert_clean();
    }
    let (status, stderr) = {
        drop((one, two));
        server.stop()
    };
    assert!(status.success());
    assert!(
        !stderr.contains("not-the-credential"),
        "credentials are never logged: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}

async fn wrong_credential(server: &Server) {
    let mut ws = Ws::connect(server.public, None).expect("a socket");
    let WsEvent::Json(first) = next(&mut ws).await else {
        panic!("RpcSettings comes first")
    };
    assert_eq!(first["msg"], "RpcSettings");
    let signal = Signal::new("m9", Identity::new("m9").credentials, false, 1);
    ws.send(command("r1", &signal.join("not-the-credential")));
    let frame = close_of(&mut ws).await.expect("a close frame");
    assert_eq!(frame.0, 1000);
    let reason: Value = serde_json::from_str(&frame.1).expect("the reason is JSON");
    assert_eq!(reason, json!({"reason": "Rejected"}));
}

async fn bad_json(server: &Server) {
    let mut ws = Ws::connect(server.public, None).expect("a socket");
    for text in [
        "{",
        "[]",
        "null",
        "{\"Pong\":-1}",
        "{\"Command\":{}}",
        "\u{0}\u{1}",
        &"[".repeat(20_000),
    ] {
        ws.send(text.to_owned());
    }
    // It may close the socket or bear with it; if it bears with it, a good join still works.
    let credential = Server::dev_credential(server.public);
    let signal = Signal::new("m8", Identity::new("m8").credentials, false, 1);
    ws.send(command("r1", &signal.join(&credential)));
    loop {
        match next(&mut ws).await {
            WsEvent::Closed(_) => return,
            WsEvent::Json(message) if message["data"]["event"]["event"] == "RoomJoined" => break,
            WsEvent::Json(_) => {}
        }
    }
    ws.send(command("r1", &signal.leave()));
    loop {
        match next(&mut ws).await {
            WsEvent::Closed(_) => return,
            WsEvent::Json(message) if message["data"]["event"]["event"] == "RoomLeft" => return,
            WsEvent::Json(_) => {}
        }
    }
}

async fn oversized(server: &Server) {
    let mut ws = Ws::connect(server.public, None).expect("a socket");
    ws.send(format!("{{\"Pong\":0{}}}", " ".repeat(600 * 1024)));
    match close_of(&mut ws).await {
        Some((code, _)) => assert_eq!(code, 1009, "message too big"),
        None => panic!("a frame over the limit is answered by a close frame"),
    }
}

/// A member that answers every request for an offer with nonsense: only it may suffer.
async fn bad_descriptions(server: &Server) {
    let nonsense = [
        "",
        "v=0",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
        "\u{0}\u{ffff}",
        &"a=".repeat(100_000),
    ];
    for sdp in nonsense {
        let mut ws = Ws::connect(server.public, None).expect("a socket");
        let signal = Signal::new("m7", Identity::new("m7").credentials, true, 1);
        ws.send(command(
            "r1",
            &signal.join(&Server::dev_credential(server.public)),
        ));
        let peer = loop {
            match next(&mut ws).await {
                WsEvent::Json(m) if m["data"]["event"]["event"] == "PeerCreated" => {
                    break m["data"]["event"]["data"]["peer_id"].clone();
                }
                WsEvent::Json(_) => {}
                WsEvent::Closed(frame) => panic!("closed before a peer: {frame:?}"),
            }
        };
        let offer = json!({"command": "MakeSdpOffer", "data": {
            "peer_id": peer, "sdp_offer": sdp, "mids": {}, "transceivers_statuses": {}}});
        ws.send(command("r1", &offer));
        ws.send(command("r1", &signal.leave()));
        loop {
            match next(&mut ws).await {
                WsEvent::Closed(_) => break,
                WsEvent::Json(m) if m["data"]["event"]["event"] == "RoomLeft" => break,
                WsEvent::Json(m) => {
                    assert_ne!(
                        m["data"]["event"]["event"], "LocalDescriptionApplied",
                        "{sdp:?} was taken"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_are_checked() {
    let server = Server::start(1);
    let refusal = Ws::connect(server.public, Some("chat.v9")).expect_err("an unknown subprotocol");
    let tungstenite::Error::Http(answer) = *refusal else {
        panic!("{refusal}")
    };
    assert_eq!(answer.status(), 400);
    let refusal = Ws::connect_from(server.public, None, Some("https://evil.example"))
        .expect_err("a foreign page");
    let tungstenite::Error::Http(answer) = *refusal else {
        panic!("{refusal}")
    };
    assert_eq!(answer.status(), 403);
    let own = format!("http://{}", server.public);
    assert!(Ws::connect_from(server.public, None, Some(&own)).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_socket_of_a_member_closes_the_first() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    let again = Client::join(Options {
        publish: true,
        ..Options::new(server.public, "r1", 1)
    })
    .await;
    one.wait("the close frame", |s| s.closed.is_some()).await;
    one.look(|s| {
        let frame = s.closed.clone().flatten().expect("a close frame");
        assert_eq!(
            (frame.0, frame.1.as_str()),
            (1000, "{\"reason\":\"Reconnected\"}")
        );
    });
    again
        .wait("its place", |s| s.signal.joined == Some(true))
        .await;
    again.wait_media(&two.name, 10).await;
    two.order(Control::CloseSocket(Some(1000)));
    again
        .wait("the leaver's tracks to go", |s| {
            s.signal.tracks.values().all(|t| t.send)
        })
        .await;
    again.assert_clean();
}
