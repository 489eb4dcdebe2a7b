//! One table of requests, through REST and through gRPC.

use serde_json::json;

use crate::server::Server;
use crate::ways::Verb::{Apply, Create};
use crate::ways::{Done, El, Grpc, Member, Rest, Verb, Way};

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y29sY2hpcyB0ZXN0IHNhbHQ$50inHZ5eiulUxAeAfbZ+q9BpuqTP/J24e6pgbJXOEpk";

fn publish() -> El {
    El::Publish {
        p2p: 0,
        policy: 0,
        relay: false,
    }
}

fn with(plain: &'static str, endpoints: Vec<(&'static str, El)>) -> Member {
    Member {
        plain: Some(plain),
        endpoints,
        ..Member::default()
    }
}

fn call() -> El {
    let play = El::Play {
        src: "local://call/ann/out",
    };
    El::Room(vec![
        ("ann", with("a", vec![("out", publish())])),
        ("bob", with("b", vec![("in", play)])),
    ])
}

fn asks(url: &str) -> El {
    El::Member(Member {
        on_join: url.to_owned(),
        ..with("x", Vec::new())
    })
}

fn play(src: &'static str) -> El {
    El::Play { src }
}

/// Step, full id, element, and what comes of it: members that get a URL, or the number of the code.
type Case = (Verb, &'static str, El, Result<&'static [&'static str], u32>);

fn ok(verb: Verb, fid: &'static str, el: El, sids: &'static [&'static str]) -> Case {
    (verb, fid, el, Ok(sids))
}

fn no(verb: Verb, fid: &'static str, el: El, code: u32) -> Case {
    (verb, fid, el, Err(code))
}

fn member(plain: &'static str) -> El {
    El::Member(with(plain, Vec::new()))
}

fn rooms() -> Vec<Case> {
    let mesh = |p2p| {
        let out = El::Publish {
            p2p,
            policy: 0,
            relay: false,
        };
        El::Room(vec![("one", with("1", vec![("out", out)]))])
    };
    vec![
        ok(Create, "call", call(), &["ann", "bob"]),
        no(Create, "call", call(), 1016),
        ok(Apply, "call", call(), &["ann", "bob"]),
        ok(Create, "mesh", mesh(2), &["one"]),
        ok(Apply, "mesh", mesh(1), &["one"]),
    ]
}

fn members() -> Vec<Case> {
    let idle = |ms| {
        El::Member(Member {
            idle_ms: Some(ms),
            ..with("x", Vec::new())
        })
    };
    let hash = |text| {
        El::Member(Member {
            hash: Some(text),
            ..Member::default()
        })
    };
    vec![
        ok(Create, "call/cem", member("c"), &["cem"]),
        no(Create, "call/cem", member("c"), 1017),
        ok(Apply, "call/cem", member("d"), &["cem"]),
        no(Create, "nowhere/cem", member("c"), 1003),
        no(Create, "call/stats", member("x"), 3002),
        ok(Create, "call/dan", hash(HASH), &["dan"]),
        no(Apply, "call/dan", hash("no hash"), 3002),
        ok(Create, "call/eve", idle(20_000), &["eve"]),
        // Known clients crash on less than two pings.
        no(Apply, "call/eve", idle(5_000), 3002),
        no(Create, "call/fay", asks("ftp://x/y"), 1021),
        no(Create, "call/fay", asks("http:///y"), 1022),
        ok(Create, "call/fay", asks("grpc://127.0.0.1:9090"), &["fay"]),
    ]
}

fn endpoints() -> Vec<Case> {
    let like = |policy, relay| El::Publish {
        p2p: 0,
        policy,
        relay,
    };
    vec![
        ok(Create, "call/cem/out", publish(), &[]),
        no(Create, "call/cem/out", publish(), 1018),
        ok(Apply, "call/cem/out", like(1, true), &[]),
        ok(Apply, "call/cem/out", like(2, false), &[]),
        no(Create, "call/zoe/out", publish(), 1004),
        ok(Create, "call/cem/in", play("local://call/ann/out"), &[]),
        // Not there yet.
        ok(Create, "call/cem/late", play("local://call/zoe/out"), &[]),
        ok(Create, "call/cem/far", play("local://hall/ann/out"), &[]),
        no(Create, "call/cem/bad", play("http://call/ann/out"), 1008),
        no(Create, "call/cem/hub", play("local://hall/hub"), 1008),
    ]
}

/// A refusal names the element that it is about.
fn shown<'a>(done: &'a Done, fid: &str) -> Result<Vec<&'a str>, u32> {
    match done {
        Ok(sids) => Ok(sids.keys().map(String::as_str).collect()),
        Err((code, element)) => {
            assert_eq!(element, fid);
            Err(*code)
        }
    }
}

async fn run(mut way: Way, server: &Server) {
    let cases = [rooms(), members(), endpoints()];
    for (verb, fid, el, want) in cases.into_iter().flatten() {
        let done = way.put(verb, fid, &el).await;
        assert_eq!(
            shown(&done, fid),
            want.map(<[&str]>::to_vec),
            "{verb:?} {fid} {el:?}"
        );
        for (member, sid) in done.iter().flatten() {
            let room = fid.split('/').next().expect("a room");
            let start = format!("ws://{}/ws/{room}/{member}", server.public);
            assert!(sid.starts_with(&start), "{sid}");
            // Who has a hash shows what only its client knows.
            assert_eq!(sid.contains("?token="), member != "dan", "{sid}");
        }
    }
    let all = [
        "call",
        "call/ann",
        "call/ann/out",
        "mesh",
        "nowhere",
        "call/nobody",
    ];
    let there = ["call", "call/ann", "call/ann/out", "mesh"];
    assert_eq!(way.get(&all).await, Ok(there.map(str::to_owned).to_vec()));
    assert_eq!(
        way.get(&["a/b/c/d"]).await.is_err(),
        matches!(way, Way::Grpc(_))
    );
    for _ in 0..2 {
        let gone = ["call/ann/out", "call/bob", "mesh"];
        assert_eq!(way.delete(&gone).await, Ok(()), "idempotent");
    }
    assert_eq!(
        way.get(&all).await,
        Ok(vec!["call".to_owned(), "call/ann".to_owned()])
    );
    assert_eq!(way.delete(&["call"]).await, Ok(()));
    assert_eq!(way.get(&all).await, Ok(Vec::new()));
}

#[tokio::test]
async fn both_ways_answer_the_same() {
    let server = Server::start("table", "");
    run(Way::Rest(Rest::new(&server)), &server).await;
    run(Way::Grpc(Grpc::new(&server).await), &server).await;
}

#[tokio::test]
async fn what_one_way_declares_the_other_shows() {
    let server = Server::start("both", "");
    let rest = Rest::new(&server);
    let mut grpc = Way::Grpc(Grpc::new(&server).await);
    grpc.put(Verb::Create, "call", &call())
        .await
        .expect("created");
    let (status, body) = rest.call("GET", "/call/ann,bob", None).await;
    assert_eq!(status, 200);
    let ann = &body["elements"]["call/ann"];
    assert_eq!(ann["credentials"]["plain"], "a");
    assert_eq!(
        ann["spec"]["pipeline"]["out"]["kind"],
        "WebRtcPublishEndpoint"
    );
    assert_eq!(
        body["elements"].as_object().map(serde_json::Map::len),
        Some(2)
    );
    let hub = json!({"kind": "Hub"});
    assert_eq!(rest.call("POST", "/call/lobby", Some(&hub)).await.0, 201);
    // Hubs are nothing the gRPC API has a word for.
    let found = grpc.get(&["call", "call/lobby"]).await;
    assert_eq!(found, Ok(vec!["call".to_owned()]));
    // Appending keeps, applying does not.
    let more = json!({"kind": "Room", "spec": {"pipeline": {"cem": {"kind": "Member"}}}});
    let members = |body: serde_json::Value| {
        let pipeline = &body["elements"]["call"]["spec"]["pipeline"];
        pipeline.as_object().map_or(0, serde_json::Map::len)
    };
    rest.call("PUT", "/call?policy=append", Some(&more)).await;
    assert_eq!(members(rest.call("GET", "/call", None).await.1), 4);
    rest.call("PUT", "/call", Some(&more)).await;
    assert_eq!(members(rest.call("GET", "/call", None).await.1), 1);
}

#[tokio::test]
async fn nobody_gets_in_without_the_key() {
    let server = Server::start("key", "");
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("client");
    for key in [None, Some("wrong"), Some("a key for tests onlz"), Some("")] {
        let mut request = http.get(server.url("/v1/rooms"));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 401, "{key:?}");
        let kind = answer.headers()["content-type"].clone();
        assert_eq!(kind, "application/problem+json");
    }
    use medea_control_api_proto::grpc::api::control_api_client::ControlApiClient;
    use medea_control_api_proto::grpc::api::{IdRequest, Ping};
    let mut grpc = ControlApiClient::connect(server.url(""))
        .await
        .expect("connected");
    let refused = grpc
        .get(IdRequest { fid: Vec::new() })
        .await
        .expect_err("no key");
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let open = Server::start_with("open", "grpc_without_key = true\n", "");
    let mut grpc = ControlApiClient::connect(open.url(""))
        .await
        .expect("connected");
    assert!(grpc.get(IdRequest { fid: Vec::new() }).await.is_ok());
    let mut nonce = 0;
    // Ready when both cores have reported.
    for _ in 0..100 {
        nonce += 1;
        match grpc.healthz(Ping { nonce }).await {
            Ok(pong) => return assert_eq!(pong.into_inner().nonce, nonce),
            Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("never healthy");
}

#[tokio::test]
async fn what_cannot_be_read_is_a_problem_with_a_code() {
    let server = Server::start("malformed", "");
    let rest = Rest::new(&server);
    let cases = [
        (
            json!({"kind": "Room", "spce": {}}),
            400,
            "malformed_request",
        ),
        (json!({"kind": "Hall"}), 400, "malformed_request"),
        (
            json!({"kind": "Room", "id": "other"}),
            400,
            "element_id_mismatch",
        ),
        (
            json!({"kind": "Room", "ttl_empty": "soon"}),
            422,
            "invalid_duration",
        ),
        (
            json!({"kind": "Room", "codecs": ["VP8"]}),
            422,
            "invalid_spec",
        ),
        (
            json!({"kind": "Room", "limits": {"members": 0}}),
            422,
            "invalid_spec",
        ),
    ];
    for (body, status, code) in cases {
        let (got, answer) = rest.call("POST", "/room", Some(&body)).await;
        assert_eq!(
            (got, answer["code"].as_str()),
            (status, Some(code)),
            "{body}"
        );
    }
    let (status, answer) = rest.call("GET", "/nowhere", None).await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (404, Some("room_not_found"))
    );
    let (status, answer) = rest.call("PUT", "/r?policy=both", Some(&json!({}))).await;
    assert_eq!(status, 400, "{answer}");
}
