//! Specs as they are written, right and wrong.

use super::*;
use crate::bus::spec::{Credential, P2pPolicy, PlaySpec, PublishPolicy, RoomSpec};
use crate::id::MemberId;

const CALL: &str = "
kind: Room
id: call
spec:
  pipeline:
    ann:
      kind: Member
      credentials: { plain: secret-a }
      idle_timeout: 20s
      spec:
        pipeline:
          publish:
            kind: WebRtcPublishEndpoint
            spec: { p2p: Never, video_settings: { publish_policy: Required } }
    bob:
      kind: Member
      credentials: { plain: secret-b }
      spec:
        pipeline:
          play-ann:
            kind: WebRtcPlayEndpoint
            spec: { src: local://call/ann/publish }
";

fn spec(book: &SpecBook) -> &RoomSpec {
    let (_, room) = book.rooms().next().unwrap();
    &room.compiled.spec
}

fn add(format: Format, text: &str) -> Result<SpecBook, SpecError> {
    let mut book = SpecBook::default();
    book.add("call.yaml", format, text, &Timeouts::default())?;
    Ok(book)
}

#[test]
fn a_room_of_two() {
    let book = add(Format::Yaml, CALL).unwrap();
    let room = spec(&book);
    let ann = &room.members[&MemberId::new("ann").unwrap()];
    let bob = &room.members[&MemberId::new("bob").unwrap()];
    assert_eq!(ann.credential, Credential::Plain("secret-a".into()));
    assert_eq!(ann.rpc.idle_timeout_ms, 20_000);
    let publish = ann.publish.values().next().unwrap();
    assert_eq!(publish.video, PublishPolicy::Required);
    let PlaySpec::Only(play) = &bob.play else {
        panic!("bob plays everyone");
    };
    assert_eq!(play.len(), 1);
    assert!(room.open.is_none(), "nobody else gets in");
    assert!(
        !format!("{room:?}").contains("secret"),
        "secrets stay out of logs"
    );
}

#[test]
fn a_mesh_is_said_by_the_room_or_by_its_endpoints() {
    let by_endpoint = CALL.replace("p2p: Never", "p2p: Always");
    let by_room = CALL
        .replace("p2p: Never, ", "")
        .replace("id: call", "id: call\np2p: Always");
    for (text, want) in [
        (CALL.to_owned(), P2pPolicy::Never),
        (by_endpoint, P2pPolicy::Always),
        (by_room, P2pPolicy::Always),
        (
            CALL.replace("p2p: Never", "p2p: IfPossible"),
            P2pPolicy::IfPossible,
        ),
    ] {
        let book = add(Format::Yaml, &text).unwrap();
        let room = spec(&book);
        assert_eq!(room.p2p, want);
    }
}

#[test]
fn the_same_in_toml() {
    let text = r#"
kind = "Room"
id = "call"
[spec.pipeline.ann]
kind = "Member"
credentials = { plain = "secret" }
[spec.pipeline.ann.spec.pipeline.publish]
kind = "WebRtcPublishEndpoint"
"#;
    assert_eq!(add(Format::Toml, text).unwrap().len(), 1);
}

#[test]
fn faults_name_file_element_and_cure() {
    let cases = [
        (CALL.replace("kind: Room", "kind: Hall"), "call.yaml: -: "),
        (
            CALL.replace("{ plain: secret-b }", "{ hash: x }"),
            "call/bob: credentials.hash: no PHC string",
        ),
        (
            CALL.replace("      credentials: { plain: secret-b }\n", ""),
            "call/bob: no credentials",
        ),
        (
            CALL.replace("20s", "5s"),
            "call/ann: idle_timeout must be at least 2 x",
        ),
        (
            CALL.replace("20s", "soon"),
            "call/ann: idle_timeout: \"soon\" is no duration",
        ),
        (
            CALL.replace("id: call", "id: call\np2p_max_members: 17"),
            "call: p2p_max_members is 17; it is from 2 to 16",
        ),
        (
            CALL.replace("id: call", "id: call\np2p: Always"),
            "call/ann/publish: p2p is Never, elsewhere in the room it is Always",
        ),
        (
            CALL.replace("call/ann/publish }", "call/ann/other }"),
            "call/bob/play-ann: src names ann/other",
        ),
        (
            CALL.replace("local://call/ann/publish", "local://hall/hub"),
            "call/bob/play-ann: src",
        ),
        (
            CALL.replace("local://call/ann", "local://hall/ann")
                .replace("    bob:", "    ann@hall:"),
            "call/ann@hall: a member of another room",
        ),
        (
            CALL.replace("local://call/ann/publish", "ann"),
            "is not local://room/member/endpoint",
        ),
        (CALL.replace("id: call", "id: \"\""), "identifier is empty"),
        (CALL.replace("publish_policy", "policy"), "call.yaml: -: "),
        ("kind: [".to_owned(), "call.yaml: -: "),
    ];
    for (text, part) in cases {
        let error = add(Format::Yaml, &text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}\nwanted: {part}");
        assert!(!error.contains('\n'), "one line: {error}");
    }
}

#[test]
fn a_room_is_in_one_file() {
    let mut book = add(Format::Yaml, CALL).unwrap();
    let again = book.add("two.yaml", Format::Yaml, CALL, &Timeouts::default());
    assert!(
        again
            .unwrap_err()
            .to_string()
            .starts_with("two.yaml: call: another file")
    );
}

#[test]
fn media_of_another_room_is_played_by_a_name_of_its_own() {
    let book = add(
        Format::Yaml,
        &CALL.replace("local://call/ann", "local://hall/ann"),
    )
    .unwrap();
    let room = spec(&book);
    let id = |name| MemberId::new(name).unwrap();
    let origin = (RoomId::new("hall").unwrap(), id("ann"));
    assert_eq!(room.imports, [(id("ann@hall"), origin)].into());
    assert!(room.imports_from(&RoomId::new("hall").unwrap()));
}

#[test]
fn what_a_member_is_granted_limits_its_endpoints() {
    let with = |grants: &str| {
        let text = CALL.replace(
            "      idle_timeout: 20s\n",
            &format!("      idle_timeout: 20s\n      grants: {grants}\n"),
        );
        let text = text.replace(
            "{ plain: secret-b }",
            &format!("{{ plain: secret-b }}\n      grants: {grants}"),
        );
        let book = add(Format::Yaml, &text).unwrap();
        let (_, room) = book.rooms().next().unwrap();
        assert!(room.compiled.warnings.is_empty(), "nothing looks wrong");
        let member = |name: &str| room.compiled.spec.members[&MemberId::new(name).unwrap()].clone();
        let PlaySpec::Only(play) = &member("bob").play else {
            panic!("bob plays everyone");
        };
        (member("ann").publish.len(), play.len())
    };
    assert_eq!(with("{}"), (1, 1));
    assert_eq!(with("{ publish: false }"), (0, 1));
    assert_eq!(with("{ subscribe: false }"), (1, 0));
    assert_eq!(with("{ publish: false, subscribe: false }"), (0, 0));
}

#[test]
fn kinds_and_encodings_of_an_endpoint() {
    let with = |publish: &str| {
        let text = CALL.replace(
            "{ p2p: Never, video_settings: { publish_policy: Required } }",
            publish,
        );
        let book = add(Format::Yaml, &text).map_err(|e| e.to_string())?;
        let ann = MemberId::new("ann").unwrap();
        Ok::<_, String>(
            spec(&book).members[&ann]
                .publish
                .values()
                .next()
                .cloned()
                .unwrap(),
        )
    };
    let audio = with("{ kinds: [audio] }").unwrap();
    assert_eq!(
        (audio.audio, audio.video),
        (PublishPolicy::Optional, PublishPolicy::Disabled)
    );
    let slow =
        "{ video_settings: { encodings: [{ max_bitrate: 300000, scale_resolution_down_by: 2 }] } }";
    let slow = with(slow).unwrap();
    assert_eq!(slow.encodings.len(), 1);
    assert_eq!(
        (
            slow.encodings[0].max_bitrate,
            slow.encodings[0].scale_resolution_down_by
        ),
        (Some(300_000), Some(2))
    );
    let told = |encodings: &str| -> Vec<(String, Option<u8>)> {
        let publish = with(&format!(
            "{{ video_settings: {{ encodings: [{encodings}] }} }}"
        ));
        let encodings = publish.unwrap().encodings.into_iter();
        encodings
            .map(|e| (e.rid, e.scale_resolution_down_by))
            .collect()
    };
    let three =
        [("q", Some(4)), ("h", Some(2)), ("f", None)].map(|(rid, scale)| (rid.to_owned(), scale));
    let best_first = "{}, { scale_resolution_down_by: 2 }, { scale_resolution_down_by: 4 }";
    assert_eq!(told(best_first), three, "the smallest is told first");
    assert_eq!(told("{}"), [("f".to_owned(), None)]);
    for (wrong, word) in [
        (
            "{ kinds: [audio], video_settings: { publish_policy: Required } }",
            "kinds",
        ),
        (
            "{ video_settings: { encodings: [{}, {}, {}, {}] } }",
            "three at most",
        ),
        (
            "{ video_settings: { encodings: [{ max_bitrate: 0 }] } }",
            "max_bitrate",
        ),
        ("{ audio_settings: { encodings: [{}] } }", "encodings"),
        ("{ kinds: [smell] }", "smell"),
    ] {
        let error = with(wrong).unwrap_err();
        assert!(error.contains(word), "{wrong}: {error}");
    }
}

#[test]
fn metadata_is_kept_up_to_a_limit() {
    let with = |bytes: usize| {
        let word = "x".repeat(bytes);
        let text = CALL.replace(
            "      idle_timeout: 20s\n",
            &format!(
                "      idle_timeout: 20s\n      metadata: {{ word: {word}, list: [1, null] }}\n"
            ),
        );
        add(Format::Yaml, &text)
            .map(drop)
            .map_err(|e| e.to_string())
    };
    assert_eq!(with(4000), Ok(()));
    assert!(with(4096).unwrap_err().contains("4096"));
}
