//! Rooms that come by files and go by themselves, and a server that wants to be empty.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{Joined, Member, PATIENCE, Server};
use crate::ways::Rest;

/// Waits until the rooms are these.
async fn rooms_are(rest: &Rest, want: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, body) = rest.call("GET", "", None).await;
        let elements = body["elements"].as_object().expect("elements");
        let found: Vec<&str> = elements.keys().map(String::as_str).collect();
        if found == want {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, not {want:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn file(server: &Server, name: &str, secret: &str) {
    let text = format!(
        "kind: Room\nid: {name}\nspec: {{ pipeline: {{ ann: {{ kind: Member, credentials: {{ plain: {secret} }} }} }} }}\n"
    );
    std::fs::write(server.dir.join(format!("rooms/{name}.yaml")), text).expect("written");
}

#[tokio::test]
async fn spec_files_are_applied_again_by_what_differs() {
    let server = Server::start("files", "[rooms]\nspecs = \"$DIR/rooms\"\n");
    let rest = Rest::new(&server);
    rooms_are(&rest, &[]).await;
    file(&server, "one", "x");
    file(&server, "two", "x");
    server.signal(libc::SIGHUP);
    rooms_are(&rest, &["one", "two"]).await;
    let (mut ann, joined) = Member::join(&server, "one", "ann", "x").await;
    assert_eq!(joined, Joined::Yes);
    // A fault anywhere changes nothing.
    std::fs::write(server.dir.join("rooms/bad.yaml"), "kind: Hall").expect("written");
    std::fs::remove_file(server.dir.join("rooms/one.yaml")).expect("removed");
    server.signal(libc::SIGHUP);
    tokio::time::sleep(Duration::from_millis(300)).await;
    rooms_are(&rest, &["one", "two"]).await;
    std::fs::remove_file(server.dir.join("rooms/bad.yaml")).expect("removed");
    file(&server, "two", "other");
    server.signal(libc::SIGHUP);
    rooms_are(&rest, &["two"]).await;
    assert_eq!(ann.closed().await, "Evicted");
    let (_, joined) = Member::join(&server, "two", "ann", "other").await;
    assert_eq!(joined, Joined::Yes);
}

#[tokio::test]
async fn rooms_go_when_their_time_is_over() {
    let server = Server::start("lifetimes", "");
    let rest = Rest::new(&server);
    let member = json!({"ann": {"kind": "Member", "credentials": {"plain": "x"}}});
    let brief = json!({"kind": "Room", "ttl_empty": "500ms", "spec": {"pipeline": member}});
    let short = json!({"kind": "Room", "max_duration": "800ms", "spec": {"pipeline": member}});
    rest.call("POST", "/brief", Some(&brief)).await;
    rest.call("POST", "/short", Some(&short)).await;
    let (ann, _) = Member::join(&server, "brief", "ann", "x").await;
    let (mut other, _) = Member::join(&server, "short", "ann", "x").await;
    assert_eq!(other.closed().await, "Evicted");
    rooms_are(&rest, &["brief"]).await;
    ann.close(Some(1000));
    rooms_are(&rest, &[]).await;
}

#[tokio::test]
async fn a_draining_server_lets_nobody_new_in_and_puts_out_who_stays() {
    let server = Server::start("drain", "");
    let rest = Rest::new(&server);
    let member = json!({"kind": "Member", "credentials": {"plain": "x"}});
    let call = json!({"kind": "Room", "spec": {"pipeline": {"ann": member, "bob": member}}});
    rest.call("POST", "/call", Some(&call)).await;
    let (mut ann, _) = Member::join(&server, "call", "ann", "x").await;
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("client");
    let drain = |method: reqwest::Method, body: &'static str| {
        let request = http.request(method, server.url("/v1/drain"));
        request.bearer_auth(crate::server::KEY).body(body).send()
    };
    let started = drain(reqwest::Method::POST, "{\"deadline_s\": 1}").await;
    assert_eq!(started.expect("an answer").status(), 204);
    let ready = http
        .get(server.url("/readyz"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(ready.status(), 503);
    let (_, joined) = Member::join(&server, "call", "bob", "x").await;
    assert_eq!(joined, Joined::No("Evicted".into()));
    assert_eq!(ann.closed().await, "Evicted");
    let stopped = drain(reqwest::Method::DELETE, "").await;
    assert_eq!(stopped.expect("an answer").status(), 204);
    let (_, joined) = Member::join(&server, "call", "bob", "x").await;
    assert_eq!(joined, Joined::Yes);
}
