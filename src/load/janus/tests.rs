//! Conversations as Janus 1.1.2 holds them: its messages are recorded, its descriptions shortened.

use super::link::PLUGIN;
use super::*;
use crate::load::Crowd;
use crate::transport::dtls::{DtlsRole, Fingerprint, HashFunction};
use crate::wire::sdp::IceParams;

const SESSION: u64 = 8_579_880_353_488_336;
const HANDLE: u64 = 2_607_480_764_089_010;
const DIGEST: &str = "41:F2:6D:62:90:85:54:49:78:6B:45:17:FF:FA:40:0F:68:B3:A2:C0:66:78:92:65:C2:85:55:D0:3D:4D:F0:C1";

/// A description as Janus makes it: `recvonly` in answers, `sendonly` in offers.
fn description(direction: &str, setup: &str, candidates: &[&str]) -> String {
    let mut lines = vec![
        "v=0".to_owned(),
        "o=- 46 2 IN IP4 192.0.2.2".to_owned(),
        "s=VideoRoom 100000".to_owned(),
        "t=0 0".to_owned(),
        "a=group:BUNDLE 0 1".to_owned(),
        "a=ice-options:trickle".to_owned(),
        format!("a=fingerprint:sha-256 {DIGEST}"),
        "a=extmap-allow-mixed".to_owned(),
        "a=msid-semantic: WMS *".to_owned(),
    ];
    let sections = [
        (0, "audio", "111", &["rtpmap:111 opus/48000/2"][..]),
        (
            1,
            "video",
            "96 97",
            &[
                "rtpmap:96 VP8/90000",
                "rtcp-fb:96 nack pli",
                "rtcp-fb:96 transport-cc",
                "extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
                "rtpmap:97 rtx/90000",
                "fmtp:97 apt=96",
            ][..],
        ),
    ];
    for (mid, media, formats, own) in sections {
        lines.push(format!("m={media} 9 UDP/TLS/RTP/SAVPF {formats}"));
        lines.push("c=IN IP4 192.0.2.2".to_owned());
        let common = [
            direction.to_owned(),
            format!("mid:{mid}"),
            "rtcp-mux".to_owned(),
            "ice-ufrag:Zg5i".to_owned(),
            "ice-pwd:IROmqJrySBaAGrwk8zjeYc".to_owned(),
            format!("setup:{setup}"),
            "extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid".to_owned(),
            format!("msid:janus janus{mid}"),
            format!("ssrc:{} cname:janus", 1_442_823_518 + mid),
        ];
        lines.extend(common.iter().map(|line| format!("a={line}")));
        lines.extend(own.iter().map(|line| format!("a={line}")));
        lines.extend(candidates.iter().map(|line| format!("a=candidate:{line}")));
        lines.push("a=end-of-candidates".to_owned());
    }
    lines.push(String::new());
    lines.join("\r\n")
}

const HOST: &str = "1 1 udp 2015363327 192.0.2.2 23589 typ host";

fn member(publishes: bool) -> Member {
    let seat = Seat {
        room: 2,
        place: if publishes { 1 } else { 3 },
        publishes,
    };
    let ice = IceParams {
        ufrag: "ld000000".to_owned(),
        pwd: "password-of-load-client-00000000".to_owned(),
    };
    let fingerprint = Fingerprint::from_digest(HashFunction::Sha256, &[7; 32]).unwrap();
    let describer = Describer::new("x", ice, fingerprint, 1000);
    let kinds = Kinds {
        audio: true,
        video: true,
    };
    Member::new(seat, 3, kinds, describer)
}

fn opened(id: u64) -> Value {
    json!({"janus": "success", "transaction": "1", "data": {"id": id}})
}

fn event(data: Value) -> Value {
    json!({"janus": "event", "session_id": SESSION, "transaction": "3", "sender": HANDLE,
        "plugindata": {"plugin": PLUGIN, "data": data}})
}

fn no_feed() -> Value {
    event(json!({"videoroom": "event", "error_code": 428, "error": "No such feed (1)"}))
}

/// A member of whom the join has been asked, which is returned.
fn joining(member: &mut Member) -> Value {
    let create = member.begin(Time::ZERO);
    assert_eq!(create, json!({"janus": "create", "transaction": "1"}));
    let attach = member.handle(Time::ZERO, &opened(SESSION)).unwrap();
    let wanted = json!({"janus": "attach", "transaction": "2", "session_id": SESSION,
        "plugin": "janus.plugin.videoroom"});
    assert_eq!(attach, [wanted]);
    let mut join = member.handle(Time::ZERO, &opened(HANDLE)).unwrap();
    assert_eq!(join.len(), 1);
    let ack = json!({"janus": "ack", "session_id": SESSION, "transaction": "3"});
    assert!(member.handle(Time::ZERO, &ack).unwrap().is_empty());
    join.remove(0)
}

#[test]
fn a_publisher_joins_and_offers() {
    let mut member = member(true);
    let join = joining(&mut member);
    let body = json!({"request": "join", "ptype": "publisher", "room": 100_002, "id": 2});
    let wanted = json!({"janus": "message", "transaction": "3", "session_id": SESSION,
        "handle_id": HANDLE, "body": body});
    assert_eq!(join, wanted);

    let joined = event(json!({"videoroom": "joined", "room": 100_002, "id": 2, "publishers": []}));
    let offered = member.handle(Time::ZERO, &joined).unwrap();
    let [configure, trickle] = offered.as_slice() else {
        panic!("{offered:?}");
    };
    assert_eq!(configure["body"]["request"], "configure");
    assert_eq!(configure["jsep"]["type"], "offer");
    let offer = configure["jsep"]["sdp"].as_str().unwrap();
    assert_eq!(offer.matches("a=sendonly").count(), 2, "{offer}");
    assert_eq!(trickle["janus"], "trickle");
    assert_eq!(trickle["candidate"], json!({"completed": true}));
    assert_eq!(trickle["handle_id"], HANDLE);

    let mut configured = event(json!({"videoroom": "event", "configured": "ok"}));
    let sdp = description("recvonly", "active", &[HOST]);
    configured["jsep"] = json!({"type": "answer", "sdp": sdp});
    assert!(member.handle(Time::ZERO, &configured).unwrap().is_empty());
    let (remote, sending) = member.take_connection().unwrap();
    assert_eq!(remote.address.to_string(), "192.0.2.2:23589");
    assert_eq!(remote.ice.ufrag, "Zg5i");
    assert_eq!(remote.role, DtlsRole::Passive, "Janus begins");
    assert!(!remote.controls && !remote.lite);
    let found: Vec<_> = sending.iter().map(|s| (s.video, s.payload_type)).collect();
    assert_eq!(found, [(false, 111), (true, 96)]);
    assert_eq!(sending[1].transport_cc_id, Some(3));
    assert!(member.take_connection().is_none());
}

#[test]
fn a_subscriber_asks_for_all_and_answers() {
    let mut member = member(false);
    let join = joining(&mut member);
    let body = json!({"request": "join", "ptype": "subscriber", "room": 100_002,
        "streams": [{"feed": 1}, {"feed": 2}, {"feed": 3}]});
    assert_eq!(join["body"], body);

    let mut attached = event(json!({"videoroom": "attached", "room": 100_002, "streams": []}));
    let sdp = description("sendonly", "actpass", &[HOST]);
    attached["jsep"] = json!({"type": "offer", "sdp": sdp});
    let answered = member.handle(Time::ZERO, &attached).unwrap();
    let [start, trickle] = answered.as_slice() else {
        panic!("{answered:?}");
    };
    assert_eq!(start["body"], json!({"request": "start"}));
    assert_eq!(start["jsep"]["type"], "answer");
    let answer = start["jsep"]["sdp"].as_str().unwrap();
    for (line, count) in [("a=recvonly", 2), ("a=setup:active", 2), ("m=", 2)] {
        assert_eq!(answer.matches(line).count(), count, "{line}: {answer}");
    }
    assert_eq!(trickle["janus"], "trickle");
    let (remote, sending) = member.take_connection().unwrap();
    assert_eq!(remote.role, DtlsRole::Active);
    assert!(remote.controls, "Janus has offered");
    assert!(sending.is_empty());
}

#[test]
fn a_subscriber_that_is_early_asks_again() {
    let mut member = member(false);
    let join = joining(&mut member);
    let mut now = Time::from_millis(10);
    for _ in 0..RETRIES_MAX {
        assert!(member.handle(now, &no_feed()).unwrap().is_empty());
        assert!(member.handle_timeout(now).is_empty(), "not yet");
        now = now + RETRY;
        assert!(member.poll_timeout() <= now);
        let again = member.handle_timeout(now);
        let joins = again.iter().filter(|r| r["body"] == join["body"]);
        assert_eq!(joins.count(), 1);
    }
    let error = member.handle(now, &no_feed()).unwrap_err();
    assert_eq!(error.to_string(), "Janus: No such feed (1) (error 428)");
}

#[test]
fn sessions_are_kept() {
    let mut member = member(false);
    joining(&mut member);
    for _ in 0..3 {
        let due = member.poll_timeout();
        let requests = member.handle_timeout(due);
        assert_eq!(requests.len(), 1);
        let keepalive = &requests[0];
        assert_eq!(keepalive["janus"], "keepalive");
        assert_eq!(keepalive["session_id"], SESSION);
        assert!(keepalive["handle_id"].is_null(), "it is of the session");
        assert_eq!(member.poll_timeout(), due + KEEPALIVE);
    }
}

#[test]
fn ends_and_nonsense_are_told() {
    let ends = [
        json!({"janus": "hangup", "sender": HANDLE, "reason": "DTLS alert"}),
        json!({"janus": "timeout", "session_id": SESSION}),
        json!({"janus": "error", "error": {"code": 458, "reason": "No such session"}}),
        json!({"janus": "success", "data": {"id": "x"}}),
        json!({"janus": "event", "sender": HANDLE, "plugindata":
            {"plugin": PLUGIN, "data": {"videoroom": "destroyed", "room": 100_002}}}),
        json!({"janus": "event", "plugindata": {"data": {"videoroom": "attached"}},
            "jsep": {"type": "offer", "sdp": 5}}),
        json!({"janus": "event", "plugindata": {"data": {"videoroom": "event"}},
            "jsep": {"type": "answer", "sdp": description("recvonly", "active", &[])}}),
    ];
    for end in ends {
        let mut member = member(true);
        joining(&mut member);
        assert!(member.handle(Time::ZERO, &end).is_err(), "{end}");
    }
    let idle = [
        json!({"janus": "webrtcup", "session_id": SESSION, "sender": HANDLE}),
        json!({"janus": "media", "type": "video", "receiving": true}),
        json!({"janus": "slowlink", "uplink": true}),
        event(json!({"videoroom": "event", "publishers": [{"id": 1}]})),
        json!(null),
    ];
    for message in idle {
        let mut member = member(true);
        joining(&mut member);
        assert!(member.handle(Time::ZERO, &message).unwrap().is_empty());
    }
}

#[test]
fn candidates_that_lead_nowhere_are_passed_over() {
    let candidates = [
        "1 1 tcp 1015021823 192.0.2.2 9 typ host tcptype active",
        "2 1 udp 2015363583 4f1c7cf0-9d5f.local 20000 typ host",
        "3 1 udp 2015363583 fe80::fc:ff:fe00:1 20001 typ host",
        HOST,
    ];
    let describer = member(true).describer;
    let sdp = description("recvonly", "active", &candidates);
    let (remote, _) = describer.learn(&sdp).unwrap();
    assert_eq!(remote.address.to_string(), "192.0.2.2:23589");
}

fn crowd() -> Crowd {
    Crowd {
        rooms: 2,
        publishers: 3,
        subscribers: 1,
        all_to_all: false,
    }
}

fn answer(data: &Value) -> Value {
    json!({"janus": "success", "session_id": SESSION, "transaction": "4", "sender": HANDLE,
        "plugindata": {"plugin": PLUGIN, "data": data}})
}

#[test]
fn rooms_are_made_anew() {
    let mut rooms = Rooms::make(crowd());
    assert_eq!(rooms.begin()["janus"], "create");
    let attach = rooms.handle(&opened(SESSION)).unwrap().unwrap();
    assert_eq!(attach["janus"], "attach");
    let mut request = rooms.handle(&opened(HANDLE)).unwrap();
    let mut asked = Vec::new();
    while let Some(message) = request {
        let body = &message["body"];
        asked.push((body["request"].clone(), body["room"].clone()));
        request = if body["request"] == "destroy" {
            let room = &body["room"];
            rooms.handle(&answer(&json!({"videoroom": "event", "error_code": 426,
                "error": format!("No such room ({room})")})))
        } else {
            assert_eq!(body["publishers"], 3);
            rooms.handle(&answer(
                &json!({"videoroom": "created", "permanent": false}),
            ))
        }
        .unwrap();
    }
    assert!(rooms.done());
    let wanted = [
        ("destroy", 100_000),
        ("create", 100_000),
        ("destroy", 100_001),
        ("create", 100_001),
    ];
    assert_eq!(asked, wanted.map(|(r, n)| (json!(r), json!(n))));
}

#[test]
fn rooms_are_removed() {
    let mut rooms = Rooms::remove(crowd());
    rooms.begin();
    rooms.handle(&opened(SESSION)).unwrap();
    let first = rooms.handle(&opened(HANDLE)).unwrap().unwrap();
    assert_eq!(first["body"]["request"], "destroy");
    let gone = answer(&json!({"videoroom": "destroyed", "room": 100_000, "permanent": false}));
    assert!(rooms.handle(&gone).unwrap().is_some());
    assert!(!rooms.done());
    assert!(rooms.handle(&gone).unwrap().is_none());
    assert!(rooms.done());
}

#[test]
fn rooms_that_cannot_be_made_are_told() {
    let mut rooms = Rooms::make(crowd());
    rooms.begin();
    let denied = answer(&json!({"videoroom": "event", "error_code": 433, "error": "Unauthorized"}));
    let error = rooms.handle(&denied).unwrap_err();
    assert_eq!(error.to_string(), "Janus: Unauthorized (error 433)");
}
