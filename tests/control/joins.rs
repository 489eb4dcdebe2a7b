//! Who gets into a room: by plain credential, by hash, by token; and who is put out.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::server::{Joined, Member, SECRET, Server};
use crate::ways::Rest;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y29sY2hpcyB0ZXN0IHNhbHQ$50inHZ5eiulUxAeAfbZ+q9BpuqTP/J24e6pgbJXOEpk";

fn no(reason: &str) -> Joined {
    Joined::No(reason.to_owned())
}

/// The peer that `member` is given receives what `sender` sends, and nothing else.
async fn receives_from(member: &mut Member, sender: &str) {
    let created = member
        .until(|e| e["event"] == "PeerCreated")
        .await
        .expect("a peer");
    let tracks = created["data"]["tracks"].as_array().expect("tracks");
    assert!(
        tracks
            .iter()
            .all(|t| t["direction"]["Recv"]["sender"] == sender),
        "{tracks:?}"
    );
}

#[tokio::test]
async fn members_join_by_the_url_they_are_given_and_by_what_a_hash_knows() {
    let server = Server::start("joins", "");
    let rest = Rest::new(&server);
    let call = json!({"kind": "Room", "spec": {"pipeline": {
        "ann": {"kind": "Member"}, "bob": {"kind": "Member", "credentials": {"hash": HASH}},
        "cem": {"kind": "Member", "credentials": {"plain": ""}}}}});
    let (status, body) = rest.call("POST", "/call", Some(&call)).await;
    assert_eq!(status, 201);
    let sid = body["sids"]["ann"].as_str().expect("a URL");
    let (_ann, joined) = Member::join_by_sid(&server, sid).await;
    assert_eq!(
        joined,
        Joined::Yes,
        "at once: the answer comes when signalling knows"
    );
    for (name, credential, want) in [
        ("bob", "sesame", Joined::Yes),
        ("bob", "Sesame", no("Rejected")),
        ("nobody", "sesame", no("Rejected")),
        ("cem", "", Joined::Yes),
        ("ann", "", no("Rejected")),
    ] {
        let (_, joined) = Member::join(&server, "call", name, credential).await;
        assert_eq!(joined, want, "{name} {credential:?}");
    }
}

#[tokio::test]
async fn members_and_rooms_that_are_taken_back_are_put_out() {
    let server = Server::start("kicks", "");
    let rest = Rest::new(&server);
    let member = json!({"kind": "Member", "credentials": {"plain": "x"}});
    let call = json!({"kind": "Room", "spec": {"pipeline": {"ann": member, "bob": member}}});
    rest.call("POST", "/call", Some(&call)).await;
    let (mut ann, _) = Member::join(&server, "call", "ann", "x").await;
    let (mut bob, _) = Member::join(&server, "call", "bob", "x").await;
    rest.call("DELETE", "/call/ann", None).await;
    assert_eq!(ann.closed().await, "Evicted");
    let (_, joined) = Member::join(&server, "call", "ann", "x").await;
    assert_eq!(joined, no("Rejected"));
    rest.call("DELETE", "/call", None).await;
    assert_eq!(bob.closed().await, "Evicted");
    rest.call("POST", "/call", Some(&call)).await;
    let (_, joined) = Member::join(&server, "call", "ann", "x").await;
    assert_eq!(
        joined,
        Joined::Yes,
        "and may come when there is a room again"
    );
}

#[tokio::test]
async fn a_change_reaches_those_who_are_in() {
    let server = Server::start("changes", "");
    let rest = Rest::new(&server);
    let publish = json!({"kind": "WebRtcPublishEndpoint"});
    let play = json!({"kind": "WebRtcPlayEndpoint", "spec": {"src": "local://call/ann/out"}});
    let with = |name: &str, endpoint: &Value| json!({"kind": "Member", "credentials": {"plain": "x"}, "spec": {"pipeline": {name: endpoint}}});
    let call = json!({"kind": "Room", "spec": {"pipeline": {
        "ann": with("out", &publish), "bob": {"kind": "Member", "credentials": {"plain": "x"}}}}});
    rest.call("POST", "/call", Some(&call)).await;
    let (mut bob, _) = Member::join(&server, "call", "bob", "x").await;
    let (mut ann, _) = Member::join(&server, "call", "ann", "x").await;
    let created = ann
        .until(|e| e["event"] == "PeerCreated")
        .await
        .expect("a peer");
    let tracks = created["data"]["tracks"]
        .as_array()
        .expect("tracks")
        .clone();
    assert_eq!(tracks.len(), 4, "audio and video, from device and display");
    // An endpoint for somebody who is there.
    let (status, _) = rest.call("POST", "/call/bob/in", Some(&play)).await;
    assert_eq!(status, 201);
    receives_from(&mut bob, "ann").await;
    let told = ann
        .until(|e| e["event"] == "PeerUpdated")
        .await
        .expect("an update");
    assert_eq!(
        told["data"]["updates"][0]["Updated"]["receivers"],
        json!(["bob"]),
        "{told}"
    );
    let (status, stats) = rest.call("GET", "/call/stats", None).await;
    assert_eq!(
        (status, &stats["members"]["bob"]["present"]),
        (200, &json!(true)),
        "{stats}"
    );
}

fn token(claims: &Value, key: &[u8]) -> String {
    let header = Header::new(Algorithm::HS256);
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(key)).expect("signed")
}

#[tokio::test]
async fn tokens_open_rooms() {
    let server = Server::start(
        "tokens",
        &format!("[rooms]\ntoken_hs256_key = \"{SECRET}\"\n"),
    );
    let far = 4_000_000_000_u64;
    let good = json!({"room": "t", "member": "ann", "exp": far});
    let key = SECRET.as_bytes();
    let cases = [
        (token(&good, key), Joined::Yes),
        (token(&good, b"another key of nobody"), no("Rejected")),
        (
            token(
                &json!({"room": "t", "member": "ann", "exp": 1_000_000}),
                key,
            ),
            no("Rejected"),
        ),
        (
            token(&json!({"room": "t", "member": "ann"}), key),
            no("Rejected"),
        ),
        (
            token(&json!({"room": "u", "member": "ann", "exp": far}), key),
            no("Rejected"),
        ),
        (
            token(&json!({"room": "t", "member": "bob", "exp": far}), key),
            no("Rejected"),
        ),
        (
            token(
                &json!({"room": "t", "member": "ann", "exp": far, "nbf": far - 1}),
                key,
            ),
            no("Rejected"),
        ),
        ("not a token".to_owned(), no("Rejected")),
    ];
    for (token, want) in cases {
        let (_, joined) = Member::join(&server, "t", "ann", &token).await;
        assert_eq!(joined, want, "{token}");
    }
    // No algorithm but those of our keys counts.
    let none = "eyJhbGciOiJub25lIn0.eyJyb29tIjoidCIsIm1lbWJlciI6ImFubiIsImV4cCI6NDAwMDAwMDAwMH0.";
    let (_, joined) = Member::join(&server, "t", "ann", none).await;
    assert_eq!(joined, no("Rejected"));
    let listener = json!({"room": "t", "member": "bob", "publish": false, "exp": far});
    let (_ann, _) = Member::join(&server, "t", "ann", &token(&good, key)).await;
    let (mut bob, joined) = Member::join(&server, "t", "bob", &token(&listener, key)).await;
    assert_eq!(joined, Joined::Yes);
    receives_from(&mut bob, "ann").await;
}
