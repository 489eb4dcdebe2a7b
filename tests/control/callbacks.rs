//! Whoever made a room is asked and told: over gRPC by the public crate's own service, over HTTP with a signature.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use medea_control_api_proto::grpc::callback;
use medea_control_api_proto::grpc::callback::callback_server::{Callback, CallbackServer};
use serde_json::{Value, json};

use crate::server::{Joined, Member, PATIENCE, SECRET, Server};
use crate::ways::Rest;

/// What has come, in words.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, line: String) {
        self.0.lock().expect("whole").push(line);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().expect("whole").clone()
    }

    /// Waits for `count` lines.
    async fn wait(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        while self.all().len() < count && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.all()
    }
}

struct Service {
    log: Log,
}

#[tonic::async_trait]
impl Callback for Service {
    async fn on_event(
        &self,
        request: tonic::Request<callback::Request>,
    ) -> Result<tonic::Response<callback::Response>, tonic::Status> {
        use callback::request::Event;
        let request = request.into_inner();
        // It parses with the crate's own types.
        medea_control_api_proto::callback::Request::try_from(request.clone())
            .unwrap_or_else(|e| panic!("{request:?}: {e}"));
        let what = match request.event.expect("an event") {
            Event::OnJoin(_) => "joins".to_owned(),
            Event::OnLeave(leave) => format!("leaves {:?}", leave.reason()),
        };
        self.log.push(format!("{} {what}", request.fid));
        match request.fid.ends_with("unwanted") {
            true => Err(tonic::Status::permission_denied("no")),
            false => Ok(tonic::Response::new(callback::Response {})),
        }
    }
}

/// A callback service; its URL and what comes.
async fn grpc_service() -> (String, Log) {
    let log = Log::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("grpc://{}", listener.local_addr().expect("its address"));
    let service = CallbackServer::new(Service { log: log.clone() });
    let app = axum::Router::new().route_service("/callback.Callback/OnEvent", service);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, log)
}

fn member(url: &str) -> Value {
    json!({"kind": "Member", "credentials": {"plain": "x"}, "on_join": url, "on_leave": url,
           "reconnect_timeout": "300ms"})
}

fn room(url: &str, names: &[&str]) -> Value {
    let pipeline: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), member(url)))
        .collect();
    json!({"kind": "Room", "spec": {"pipeline": pipeline}})
}

#[tokio::test]
async fn a_grpc_service_is_asked_and_told_in_order() {
    let mut server = Server::start("grpc-callbacks", "");
    let (url, log) = grpc_service().await;
    let rest = Rest::new(&server);
    let names = ["ann", "bob", "cem", "dan", "unwanted"];
    assert_eq!(
        rest.call("POST", "/c", Some(&room(&url, &names))).await.0,
        201
    );
    let (_, refused) = Member::join(&server, "c", "unwanted", "x").await;
    assert_eq!(refused, Joined::No("Rejected".into()));
    let (ann, joined) = Member::join(&server, "c", "ann", "x").await;
    assert_eq!(joined, Joined::Yes);
    ann.close(Some(1000));
    assert_eq!(log.wait(3).await[2], "c/ann leaves Disconnected");
    let (bob, _) = Member::join(&server, "c", "bob", "x").await;
    bob.close(Some(3000));
    // A member that the API itself takes out is no news to it.
    let (mut cem, _) = Member::join(&server, "c", "cem", "x").await;
    assert_eq!(rest.call("DELETE", "/c/cem", None).await.0, 204);
    assert_eq!(cem.closed().await, "Evicted");
    let (_dan, _) = Member::join(&server, "c", "dan", "x").await;
    log.wait(7).await;
    server.stop().await;
    let mut all = log.wait(8).await;
    let lost = all
        .iter()
        .position(|l| l == "c/bob leaves Lost")
        .expect("bob is lost");
    assert!(lost > 3, "after it has joined: {all:?}");
    all.remove(lost);
    let want = [
        "c/unwanted joins",
        "c/ann joins",
        "c/ann leaves Disconnected",
        "c/bob joins",
        "c/cem joins",
        "c/dan joins",
        "c/dan leaves Shutdown",
    ];
    assert_eq!(all, want);
}

/// Answers of an HTTP service, and what came.
#[derive(Clone, Default)]
struct Http {
    log: Log,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

async fn take(State(http): State<Http>, headers: HeaderMap, body: String) -> StatusCode {
    let signature = headers["colchis-signature"]
        .to_str()
        .expect("text")
        .to_owned();
    let (time, tag) = signature.split_once(",v1=").expect("t=…,v1=…");
    let time = time.strip_prefix("t=").expect("t=");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let wanted = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    let hex: String = wanted.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(tag, hex, "{body}");
    let event: Value = serde_json::from_str(&body).expect("JSON");
    let at = event["at"].as_str().expect("a time");
    assert!(at.ends_with('Z') && at.len() >= 20, "RFC 3339: {at}");
    let status = http
        .answers
        .lock()
        .expect("whole")
        .pop_front()
        .unwrap_or(204);
    let reason = event["reason"].as_str().unwrap_or_default();
    let line = format!("{} {} {reason} {status}", event["fid"], event["event"]);
    http.log.push(line.replace('"', ""));
    StatusCode::from_u16(status).expect("a status")
}

#[tokio::test]
async fn an_http_service_is_told_again_until_it_has_heard() {
    let server = Server::start("http-callbacks", "");
    let http = Http::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!(
        "http://{}/hook",
        listener.local_addr().expect("its address")
    );
    let app = axum::Router::new()
        .route("/hook", axum::routing::post(take))
        .with_state(http.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let rest = Rest::new(&server);
    rest.call("POST", "/c", Some(&room(&url, &["ann", "bob"])))
        .await;
    // A join is asked for once.
    http.answers
        .lock()
        .expect("whole")
        .extend([500, 204, 500, 503, 204]);
    let (_, joined) = Member::join(&server, "c", "ann", "x").await;
    assert_eq!(joined, Joined::No("Rejected".into()));
    let (ann, joined) = Member::join(&server, "c", "ann", "x").await;
    assert_eq!(joined, Joined::Yes);
    ann.close(Some(1000));
    http.log.wait(3).await;
    // Behind the news that is still not heard, nothing of the room overtakes.
    let (_bob, joined) = Member::join(&server, "c", "bob", "x").await;
    assert_eq!(joined, Joined::Yes);
    let want = [
        "c/ann on_join  500",
        "c/ann on_join  204",
        "c/ann on_leave disconnected 500",
        "c/ann on_leave disconnected 503",
        "c/ann on_leave disconnected 204",
        "c/bob on_join  204",
    ];
    assert_eq!(http.log.wait(6).await, want);
}

#[tokio::test]
async fn a_service_that_does_not_answer_lets_nobody_in() {
    let server = Server::start("silent-callbacks", "");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    let rest = Rest::new(&server);
    rest.call("POST", "/c", Some(&room(&url, &["ann"]))).await;
    let started = Instant::now();
    let (_, joined) = Member::join(&server, "c", "ann", "x").await;
    assert_eq!(joined, Joined::No("Rejected".into()));
    assert!(started.elapsed() >= Duration::from_millis(1_900));
}

/// A service that answers `on_join` with this body, as JSON.
async fn answering(answers: &'static [(&'static str, &'static str)]) -> String {
    let take = move |body: String| async move {
        let event: Value = serde_json::from_str(&body).expect("JSON");
        let fid = event["fid"].as_str().expect("a full id");
        let (kind, text) = answers
            .iter()
            .find(|(name, _)| fid.ends_with(name))
            .map_or(("text/plain", "fine"), |(_, text)| {
                ("application/json", *text)
            });
        ([("content-type", kind)], text)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    let app = axum::Router::new().route("/", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Directions of the tracks of the member's first peer.
async fn ways(member: &mut Member) -> Vec<String> {
    let created = |event: &Value| event["event"] == "PeerCreated";
    let event = member.until(created).await.expect("a peer");
    let tracks = &event["data"]["tracks"];
    let tracks = tracks.as_array().expect("tracks").iter();
    tracks
        .flat_map(|t| t["direction"].as_object().expect("a direction").keys())
        .cloned()
        .collect()
}

#[tokio::test]
async fn a_service_may_answer_what_a_member_is_granted_and_known_for() {
    let server = Server::start("answering-callbacks", "");
    let url = answering(&[
        (
            "listener",
            r#"{"grants": {"publish": false}, "metadata": {"seat": 7}, "unknown": 1}"#,
        ),
        ("wrong", r#"{"grants": "all"}"#),
        ("empty", ""),
    ])
    .await;
    let rest = Rest::new(&server);
    let pipeline: serde_json::Map<String, Value> = ["speaker", "listener", "wrong", "empty"]
        .iter()
        .map(|name| {
            let mut member = member(&url);
            member["spec"] = json!({"pipeline": {
                "camera": {"kind": "WebRtcPublishEndpoint", "spec": {}},
                "other": {"kind": "WebRtcPlayEndpoint", "spec": {"src": "local://c/speaker/camera"}}}});
            ((*name).to_owned(), member)
        })
        .collect();
    let room = json!({"kind": "Room", "spec": {"pipeline": pipeline}});
    assert_eq!(rest.call("POST", "/c", Some(&room)).await.0, 201);

    let (mut speaker, joined) = Member::join(&server, "c", "speaker", "x").await;
    assert_eq!(joined, Joined::Yes);
    assert_eq!(ways(&mut speaker).await, ["Send"; 4]);

    let (mut listener, joined) = Member::join(&server, "c", "listener", "x").await;
    assert_eq!(joined, Joined::Yes);
    let (_, shown) = rest.call("GET", "/c/listener", None).await;
    let shown = shown.to_string();
    assert!(shown.contains(r#""metadata":{"seat":7}"#), "{shown}");
    assert!(shown.contains(r#""publish":false"#), "{shown}");
    assert_eq!(ways(&mut listener).await, ["Recv"; 4], "it sends nothing");

    let (_, joined) = Member::join(&server, "c", "wrong", "x").await;
    assert_eq!(
        joined,
        Joined::No("Rejected".into()),
        "an answer nobody understands is no yes"
    );
    let (_, joined) = Member::join(&server, "c", "empty", "x").await;
    assert_eq!(joined, Joined::Yes);
}
