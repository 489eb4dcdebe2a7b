//! Requests and what becomes of them.

use rand_core::SeedableRng;
use serde_json::json;

use super::*;
use crate::bus::control::Notice;
use crate::control::store::lifetime::Occasion;

fn store() -> Store {
    let url = "ws://sfu.test/ws".to_owned();
    let rng = ChaCha20Rng::seed_from_u64(1);
    Store::new(Timeouts::default(), url, &SpecBook::default(), rng)
}

fn fid(text: &str) -> Fid {
    Fid::parse(text).unwrap()
}

fn room(value: serde_json::Value) -> Element {
    Element::Room(serde_json::from_value(value).unwrap())
}

fn member(value: serde_json::Value) -> Element {
    Element::Member(serde_json::from_value(value).unwrap())
}

fn publish() -> Element {
    Element::Endpoint(serde_json::from_value(json!({"kind": "WebRtcPublishEndpoint"})).unwrap())
}

fn call() -> Element {
    room(json!({"spec": {"pipeline": {
        "ann": {"kind": "Member", "credentials": {"plain": "s e"}, "spec": {"pipeline": {
            "out": {"kind": "WebRtcPublishEndpoint"}}}},
        "bob": {"kind": "Member", "spec": {"pipeline": {
            "in": {"kind": "WebRtcPlayEndpoint", "spec": {"src": "local://call/ann/out"}}}}},
    }}}))
}

fn put(store: &mut Store, at: &str, element: Element, mode: Mode) -> Result<Outcome, ErrorCode> {
    store
        .put(Time::ZERO, &fid(at), element, mode)
        .map_err(|e| e.code)
}

#[test]
fn a_room_is_created_once_and_says_where_to_dial() {
    let mut store = store();
    let outcome = put(&mut store, "call", call(), Mode::Create).unwrap();
    let sids: Vec<&String> = outcome.sids.values().collect();
    assert_eq!(sids[0], "ws://sfu.test/ws/call/ann?token=s%20e");
    assert!(
        sids[1].starts_with("ws://sfu.test/ws/call/bob?token=") && sids[1].len() > 50,
        "a random secret: {}",
        sids[1]
    );
    assert!(outcome.warnings.is_empty());
    assert_eq!(outcome.changes.len(), 1);
    let again = put(&mut store, "call", call(), Mode::Create).unwrap_err();
    assert_eq!(again, ErrorCode::RoomAlreadyExists);
}

#[test]
fn applying_twice_changes_nothing_and_keeps_random_secrets() {
    let mut store = store();
    put(&mut store, "call", call(), Mode::Create).unwrap();
    let first = store.get(&[fid("call")]).unwrap();
    put(&mut store, "call", call(), Mode::Apply).unwrap();
    assert_eq!(store.get(&[fid("call")]).unwrap(), first);
}

#[test]
fn apply_takes_out_what_is_not_said_and_append_does_not() {
    let more = || room(json!({"spec": {"pipeline": {"cem": {"kind": "Member"}}}}));
    let members = |store: &Store| store.specs()[0].members.len();
    let mut store = store();
    put(&mut store, "call", call(), Mode::Create).unwrap();
    put(&mut store, "call", more(), Mode::Append).unwrap();
    assert_eq!(members(&store), 3);
    put(&mut store, "call", more(), Mode::Apply).unwrap();
    assert_eq!(members(&store), 1);
}

#[test]
fn a_request_that_fails_changes_nothing() {
    let mut store = store();
    put(&mut store, "call", call(), Mode::Create).unwrap();
    let before = store.get(&[]).unwrap();
    let wrong = member(json!({"idle_timeout": "1s"}));
    let error = put(&mut store, "call/ann", wrong, Mode::Apply).unwrap_err();
    assert_eq!(error, ErrorCode::InvalidSpec);
    assert_eq!(store.get(&[]).unwrap(), before);
    let outcome = store.delete(Time::ZERO, &[fid("call")]).unwrap();
    assert!(store.is_empty());
    store.undo(outcome);
    assert_eq!(store.get(&[]).unwrap(), before);
}

#[test]
fn elements_go_where_they_belong() {
    let mut store = store();
    put(&mut store, "call", call(), Mode::Create).unwrap();
    let cases = [
        ("hall/ann", member(json!({})), ErrorCode::RoomNotFound),
        (
            "call/ann",
            member(json!({})),
            ErrorCode::MemberAlreadyExists,
        ),
        ("call/zoe/out", publish(), ErrorCode::MemberNotFound),
        ("call/ann/out", publish(), ErrorCode::EndpointAlreadyExists),
        ("call/ann", publish(), ErrorCode::ElementIdMismatch),
        ("call", member(json!({})), ErrorCode::ElementIdMismatch),
        (
            "hall",
            room(json!({"id": "call"})),
            ErrorCode::ElementIdMismatch,
        ),
    ];
    for (at, element, code) in cases {
        assert_eq!(
            put(&mut store, at, element, Mode::Create).unwrap_err(),
            code,
            "{at}"
        );
    }
    put(&mut store, "call/ann/more", publish(), Mode::Create).unwrap();
    assert_eq!(store.get(&[fid("call/ann/more")]).unwrap().len(), 1);
}

#[test]
fn deleting_is_idempotent_and_a_source_that_is_gone_is_a_warning() {
    let mut store = store();
    put(&mut store, "call", call(), Mode::Create).unwrap();
    for _ in 0..2 {
        store
            .delete(Time::ZERO, &[fid("call/ann/out"), fid("call/nobody")])
            .unwrap();
    }
    let outcome = put(&mut store, "call/cem", member(json!({})), Mode::Create).unwrap();
    assert!(outcome.warnings[0].message.contains("ann/out"));
    let none = store.delete(Time::ZERO, &[]).unwrap_err();
    assert_eq!(none.code, ErrorCode::EmptyElementsList);
}

#[test]
fn rooms_remove_themselves() {
    let mut store = store();
    let id = RoomId::new("brief").unwrap();
    let brief = room(json!({"ttl_empty": "10s", "max_duration": "1m"}));
    put(&mut store, "brief", brief, Mode::Create).unwrap();
    let at = |s: u64| Time::from_millis(s * 1000);
    assert_eq!(store.poll_timeout(), Some(at(10)));
    store.handle_notice(at(5), &Notice::Occupied(id.clone()));
    assert!(store.handle_timeout(at(11)).is_empty(), "somebody is in it");
    store.handle_notice(at(20), &Notice::Empty(id.clone()));
    store.handle_notice(at(25), &Notice::Occupied(id.clone()));
    assert!(store.handle_timeout(at(64)).is_empty());
    let gone = store.handle_timeout(at(65));
    assert_eq!(gone.len(), 1);
    assert!(gone[0].spec.is_none() && store.is_empty());
    assert_eq!(store.poll_timeout(), None);
}

#[test]
fn files_are_applied_by_what_differs() {
    let book = |texts: &[&str]| {
        let mut book = SpecBook::default();
        for text in texts {
            let yaml = crate::control::spec::Format::Yaml;
            book.add("f", yaml, text, &Timeouts::default()).unwrap();
        }
        book
    };
    let (a, b) = ("{kind: Room, id: a}", "{kind: Room, id: b}");
    let mut store = store();
    store.apply_files(Time::ZERO, &book(&[a, b]));
    put(&mut store, "mine", room(json!({})), Mode::Create).unwrap();
    let changes = store.apply_files(
        Time::ZERO,
        &book(&[
            "{kind: Room, id: a, p2p: Always}",
            "{kind: Room, id: mine, p2p: Always}",
        ]),
    );
    let names = |ids: &[RoomId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&changes.changed), ["a"]);
    assert_eq!(names(&changes.removed), ["b"]);
    assert_eq!(names(&changes.kept), ["mine"]);
    assert!(changes.added.is_empty());
    assert_eq!(changes.outcome.changes.len(), 2);
}

#[test]
fn callbacks_are_found_by_element() {
    let mut store = store();
    let with = room(json!({"spec": {"pipeline": {"ann": {
        "kind": "Member", "on_join": "grpc://c:1", "on_leave": "http://c/left", "spec": {"pipeline": {
            "out": {"kind": "WebRtcPublishEndpoint", "spec": {"on_start": "https://c/start"}}}}}}}}));
    put(&mut store, "r", with, Mode::Create).unwrap();
    let url = |at: &str, occasion| store.callback(&fid(at), occasion);
    assert_eq!(url("r/ann", Occasion::Join).unwrap(), "grpc://c:1");
    assert_eq!(url("r/ann", Occasion::Leave).unwrap(), "http://c/left");
    assert_eq!(
        url("r/ann/out", Occasion::Start).unwrap(),
        "https://c/start"
    );
    assert_eq!(url("r/ann/out", Occasion::Stop), None);
}

#[test]
fn an_endpoint_too_many_is_refused() {
    let pipeline: serde_json::Map<String, serde_json::Value> = (0..=1024)
        .map(|n| (format!("e{n}"), json!({"kind": "WebRtcPublishEndpoint"})))
        .collect();
    let crowded = member(json!({"spec": {"pipeline": pipeline}}));
    let mut store = store();
    put(&mut store, "r", room(json!({})), Mode::Create).unwrap();
    let error = put(&mut store, "r/ann", crowded, Mode::Create).unwrap_err();
    assert_eq!(error, ErrorCode::LimitReached);
}

#[test]
fn an_answer_to_a_join_takes_the_place_of_what_the_member_had() {
    let mut store = store();
    put(&mut store, "call", call(), Mode::Create).unwrap();
    let (room, ann) = (RoomId::new("call").unwrap(), MemberId::new("ann").unwrap());
    let mut answer = |value: serde_json::Value| {
        let answer: JoinAnswer = serde_json::from_value(value).unwrap();
        let outcome = store.amend(Time::ZERO, &room, &ann, &answer).unwrap();
        let Some(Element::Member(now)) = store
            .get(&[fid("call/ann")])
            .unwrap()
            .remove(&fid("call/ann"))
        else {
            panic!("ann is there");
        };
        (outcome.changes, now)
    };
    assert!(answer(json!({})).0.is_empty());
    let (changes, now) = answer(json!({"metadata": {"name": "Ann"}}));
    assert!(changes.is_empty(), "nobody in the room has to hear of it");
    assert_eq!(
        serde_json::Value::from(now.metadata.unwrap()),
        json!({"name": "Ann"})
    );
    let (changes, now) = answer(json!({"grants": {"publish": false}}));
    let spec = changes[0].spec.as_ref().unwrap();
    assert!(spec.members[&ann].publish.is_empty());
    assert!(now.metadata.is_some(), "what is not answered stays");
    assert_eq!(
        now.grants,
        Some(Grants {
            publish: false,
            subscribe: true
        })
    );
    assert!(
        answer(json!({"grants": {"publish": false}})).0.is_empty(),
        "said already"
    );
    assert_eq!(answer(json!({"grants": {}})).0.len(), 1, "and back");
    let nobody = MemberId::new("zoe").unwrap();
    let outcome = store.amend(Time::ZERO, &room, &nobody, &JoinAnswer::default());
    assert!(outcome.unwrap().changes.is_empty());
}
