//! What the Control API costs: a room of 100 members applied again, and 100 who guess at once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Socket, connect};
use crate::percentiles;
use crate::server::Server;

const MEMBERS: usize = 100;
const APPLIES: usize = 21;
const GUESSES: usize = 100;
/// Of a secret nobody tells.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y29sY2hpcyB0ZXN0IHNhbHQ$50inHZ5eiulUxAeAfbZ+q9BpuqTP/J24e6pgbJXOEpk";

async fn rest(server: &Server, method: reqwest::Method, path: &str, body: Option<&Value>) -> Value {
    let http = reqwest::Client::builder().no_proxy().build();
    let url = format!("http://{}/v1/rooms/{path}", server.private);
    let mut request = http.expect("a client").request(method, url);
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    let text = answer.text().await.expect("a body");
    serde_json::from_str(&text).unwrap_or_default()
}

/// Everybody publishes to a hub and plays it.
fn big_room(policy: &str) -> Value {
    let member = json!({"kind": "Member", "credentials": {"plain": "x"}, "spec": {"pipeline": {
        "out": {"kind": "WebRtcPublishEndpoint", "spec": {"hub": "all", "video_settings": {"publish_policy": policy}}},
        "in": {"kind": "WebRtcPlayEndpoint", "spec": {"src": "local://big/all"}}}}});
    let mut pipeline = serde_json::Map::new();
    pipeline.insert("all".to_owned(), json!({"kind": "Hub"}));
    for n in 0..MEMBERS {
        pipeline.insert(format!("m{n}"), member.clone());
    }
    json!({"kind": "Room", "spec": {"pipeline": pipeline}})
}

/// A socket that asks to join; what is answered is left to the caller.
pub async fn join(address: SocketAddr, room: &str, member: &str, credential: &str) -> Socket {
    let mut socket = connect(address).await.expect("a socket");
    let data = json!({"member_id": member, "credential": credential});
    let command = json!({"command": "JoinRoom", "data": data});
    let frame = json!({"Command": {"room_id": room, "command": command}});
    socket.send(&frame).await.expect("sent");
    socket
}

/// A room of 100 members that are in, applied with another policy each time: until the answer, and until the shard has
/// done it (its figures come behind it).
pub async fn apply(server: &Server) -> Value {
    use reqwest::Method;
    let specs = [big_room("Optional"), big_room("Required")];
    rest(server, Method::POST, "big", Some(&specs[0])).await;
    let mut sockets = Vec::new();
    for n in 0..MEMBERS {
        let mut socket = join(server.public, "big", &format!("m{n}"), "x").await;
        loop {
            let message = socket.next().await.expect("an event");
            if message["data"]["event"]["event"] == "RoomJoined" {
                break;
            }
        }
        sockets.push(socket);
    }
    let (mut answered, mut done) = (Vec::new(), Vec::new());
    for n in 0..APPLIES {
        let started = Instant::now();
        rest(server, Method::PUT, "big", Some(&specs[(n + 1) % 2])).await;
        answered.push(started.elapsed());
        let stats = rest(server, Method::GET, "big/stats", None).await;
        done.push(started.elapsed());
        assert_eq!(
            stats["members"].as_object().map(serde_json::Map::len),
            Some(MEMBERS)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    json!({"answered": percentiles(answered), "done_in_the_shard": percentiles(done)})
}

/// 100 who show a wrong secret to a member with a hash, all at once: until the last is refused.
pub async fn wrong_joins(server: &Server) -> Value {
    let room = json!({"kind": "Room", "spec": {"pipeline": {
        "ann": {"kind": "Member", "credentials": {"hash": HASH}}}}});
    rest(server, reqwest::Method::POST, "vault", Some(&room)).await;
    let started = Instant::now();
    let guess = |n| {
        let address = server.public;
        tokio::spawn(async move {
            let mut socket = join(address, "vault", "ann", &format!("guess {n}")).await;
            while socket.next().await.is_ok() {}
        })
    };
    let guesses: Vec<_> = (0..GUESSES).map(guess).collect();
    for guess in guesses {
        guess.await.expect("a guess does not panic");
    }
    json!({"guesses": GUESSES, "all_refused_s": started.elapsed().as_secs_f64()})
}
