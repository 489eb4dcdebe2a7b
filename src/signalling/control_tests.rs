//! What the control thread is asked, told, and changes while people are in their rooms.

use std::sync::Arc;

use serde_json::json;

use super::tests::{SECRET, Seen, World, left, member, room};
use super::*;
use crate::bus::client::Capabilities;
use crate::bus::control::{Answer, LeaveReason};
use crate::bus::spec::{Credential, MemberSpec, RoomSpec};

const HASH: &str = "$argon2id$a hash";

fn rpc(ping_interval_ms: u32) -> RpcSettings {
    RpcSettings {
        idle_timeout_ms: 10_000,
        ping_interval_ms,
    }
}

fn plain() -> MemberSpec {
    MemberSpec::new(SECRET, rpc(3_000), 10_000)
}

fn spec(name: &str, members: &[(&str, MemberSpec)]) -> Arc<RoomSpec> {
    let members = members
        .iter()
        .map(|(name, spec)| (member(name), Arc::new(spec.clone())));
    Arc::new(RoomSpec {
        members: members.collect(),
        ..RoomSpec::new(room(name))
    })
}

fn world(name: &str, members: &[(&str, MemberSpec)]) -> World {
    let mut w = World::new(1);
    w.core
        .handle_configure(w.now, room(name), Some(spec(name, members)));
    w
}

fn told_left(name: &str, who: &str, reason: LeaveReason) -> Seen {
    Seen::Told(Notice::Left {
        room: room(name),
        member: member(who),
        reason,
    })
}

#[test]
fn whoever_made_the_room_is_asked_and_may_refuse() {
    let asked = MemberSpec {
        asks_join: true,
        tells_leave: true,
        ..plain()
    };
    let question = Question::Join {
        room: room("c"),
        member: member("ann"),
    };
    let mut w = world("c", &[("ann", asked)]);
    let id = w.open();
    w.ask_join(id, "c", "ann", SECRET);
    assert_eq!(w.seen(), [Seen::Asked(0, question.clone())]);
    w.core.handle_answer(w.now, Ticket(0), Answer::No);
    assert_eq!(w.seen(), [Seen::Closed(id.0, CloseReason::Rejected)]);

    let id = w.open();
    w.ask_join(id, "c", "ann", SECRET);
    assert_eq!(w.seen(), [Seen::Asked(1, question)]);
    w.core.handle_answer(w.now, Ticket(1), Answer::Yes);
    assert_eq!(w.seen(), [Seen::Join(0, id.0, "c")]);
    w.confirm(id, "c", "ann");
    w.seen();
    // Back after a lost socket, it is not asked for again.
    w.core.handle_closed(w.now, id, SocketEnd::Abnormal);
    let id = w.open_after(&[Seen::Lost(0, id.0)]);
    w.ask_join(id, "c", "ann", SECRET);
    assert_eq!(w.seen(), [Seen::Join(0, id.0, "c")]);
    w.core.handle_closed(w.now, id, SocketEnd::Code(1000));
    let out = [
        told_left("c", "ann", LeaveReason::Disconnected),
        Seen::Leave(0, CloseReason::Finished),
    ];
    assert_eq!(w.seen(), out);
}

#[test]
fn a_member_let_in_after_its_client_has_gone_is_told_to_have_left() {
    let asked = MemberSpec {
        asks_join: true,
        ..plain()
    };
    let mut w = world("c", &[("ann", asked)]);
    let id = w.open();
    w.ask_join(id, "c", "ann", SECRET);
    w.seen();
    w.core.handle_closed(w.now, id, SocketEnd::Abnormal);
    assert_eq!(w.seen(), []);
    w.core.handle_answer(w.now, Ticket(0), Answer::Yes);
    assert_eq!(w.seen(), [told_left("c", "ann", LeaveReason::Lost)]);
}

#[test]
fn nobody_answers() {
    let asked = MemberSpec {
        asks_join: true,
        ..plain()
    };
    let mut w = world("c", &[("ann", asked), ("bob", plain())]);
    let id = w.open();
    w.ask_join(id, "c", "bob", SECRET);
    w.confirm(id, "c", "bob");
    w.ask_join(id, "c", "ann", SECRET);
    w.seen();
    let other = w.joined("r1", "ann");
    w.ask_join(other, "c", "ann", SECRET);
    w.seen();
    let seen = w.pass_alive(other, 31_000);
    assert!(seen.contains(&left(other, "c", "Evicted")), "{seen:?}");
}

#[test]
fn hashes_and_tokens_are_asked_for_and_unknown_members_take_as_long() {
    let hashed = MemberSpec {
        credential: Credential::Hash(HASH.into()),
        ..plain()
    };
    let mut w = world("c", &[("ann", hashed), ("bob", plain())]);
    let hash_of = |seen: Vec<Seen>| match seen.as_slice() {
        [Seen::Asked(_, Question::Secret { hash, .. })] => hash.to_string(),
        other => panic!("{other:?}"),
    };
    let id = w.open();
    w.ask_join(id, "c", "ann", "x");
    assert_eq!(hash_of(w.seen()), HASH);
    w.core.handle_answer(w.now, Ticket(0), Answer::Yes);
    assert_eq!(w.seen(), [Seen::Join(0, id.0, "c")]);
    // A wrong secret of a member without hash, an unknown member, an unknown room.
    for (name, who) in [("c", "bob"), ("c", "zoe"), ("nowhere", "ann")] {
        let id = w.open();
        w.ask_join(id, name, who, "x");
        assert!(hash_of(w.seen()).starts_with("$argon2id$v=19$m=19456"));
    }
}

#[test]
fn tokens_open_rooms_that_nobody_has_declared() {
    let template: Template = Box::new(|id| Some(Arc::new(RoomSpec::new(id.clone()))));
    let mut w = World::new(1);
    w.core = Signalling::new(
        SignallingSettings::default(),
        1,
        RoomBook::default().with_token_template(template),
    );
    w.core
        .handle_configure(w.now, room("d"), Some(spec("d", &[("ann", plain())])));
    let ids: Vec<SessionId> = (0..3).map(|_| w.open()).collect();
    for (ticket, who) in [(0, "ann"), (1, "bob")] {
        w.ask_join(ids[ticket as usize], "t", who, "a token");
        assert!(matches!(w.seen()[..], [Seen::Asked(n, Question::Token { .. })] if n == ticket));
        let answer = Answer::Member(Arc::new(plain()));
        w.core.handle_answer(w.now, Ticket(ticket), answer);
        assert_eq!(w.seen(), [Seen::Join(0, ids[ticket as usize].0, "t")]);
    }
    assert_eq!(w.core.rooms[&room("t")].spec.members.len(), 2);
    w.ask_leave(ids[0], "t", "ann");
    assert_eq!(w.core.rooms[&room("t")].spec.members.len(), 1);
    // A declared room is not opened by a token.
    w.seen();
    w.ask_join(ids[2], "d", "ann", "a token");
    assert_eq!(w.seen(), [Seen::Closed(ids[2].0, CloseReason::Rejected)]);
}

#[test]
fn a_room_that_is_taken_back_puts_its_members_out_and_nobody_is_told() {
    let told = MemberSpec {
        tells_leave: true,
        ..plain()
    };
    let mut w = world("c", &[("ann", told.clone()), ("bob", told)]);
    let ann = w.joined("c", "ann");
    let bob = w.joined("c", "bob");
    let only_bob = spec("c", &[("bob", plain())]);
    w.core.handle_configure(w.now, room("c"), Some(only_bob));
    let seen = [
        left(ann, "c", "Evicted"),
        Seen::Closed(ann.0, CloseReason::Evicted),
        Seen::Leave(0, CloseReason::Evicted),
        Seen::Configure(0),
    ];
    assert_eq!(w.seen(), seen);
    w.core.handle_configure(w.now, room("c"), None);
    let seen = [
        left(bob, "c", "Evicted"),
        Seen::Closed(bob.0, CloseReason::Evicted),
        Seen::Leave(0, CloseReason::Evicted),
    ];
    assert_eq!(w.seen(), seen);
    let id = w.open();
    w.ask_join(id, "c", "bob", SECRET);
    assert_eq!(w.seen(), [Seen::Closed(id.0, CloseReason::Rejected)]);
}

#[test]
fn another_spec_changes_timeouts_and_credentials_of_those_who_are_in() {
    let mut w = world("c", &[("ann", plain())]);
    let ann = w.joined("c", "ann");
    let next = MemberSpec::new("another", rpc(4_000), 1_000);
    w.core
        .handle_configure(w.now, room("c"), Some(spec("c", &[("ann", next)])));
    let settings =
        json!({"msg":"RpcSettings","data":{"idle_timeout_ms":10000,"ping_interval_ms":4000}});
    assert_eq!(w.seen(), [Seen::Sent(ann.0, settings), Seen::Configure(0)]);
    w.core.handle_closed(w.now, ann, SocketEnd::Abnormal);
    w.seen();
    w.pass(1_001);
    assert_eq!(w.seen(), [Seen::Leave(0, CloseReason::Idle)]);
    let id = w.open();
    w.ask_join(id, "c", "ann", SECRET);
    assert_eq!(w.seen(), [Seen::Closed(id.0, CloseReason::Rejected)]);
}

#[test]
fn a_draining_server_lets_only_those_in_who_are_there() {
    let mut w = world("c", &[("ann", plain()), ("bob", plain())]);
    let ann = w.joined("c", "ann");
    w.core.handle_drain(true);
    let id = w.open();
    w.ask_join(id, "c", "bob", SECRET);
    assert_eq!(w.seen(), [Seen::Closed(id.0, CloseReason::Evicted)]);
    w.core.handle_closed(w.now, ann, SocketEnd::Abnormal);
    let id = w.open_after(&[Seen::Lost(0, ann.0)]);
    w.ask_join(id, "c", "ann", SECRET);
    assert_eq!(w.seen(), [Seen::Join(0, id.0, "c")]);
    w.core.handle_evict_all(w.now);
    assert!(w.seen().contains(&Seen::Closed(id.0, CloseReason::Evicted)));
    w.core.handle_drain(false);
    let id = w.open();
    w.ask_join(id, "c", "bob", SECRET);
    assert_eq!(w.seen(), [Seen::Join(0, id.0, "c")]);
}

#[test]
fn capabilities_reach_the_shard() {
    let mut w = World::new(1);
    let id = w.open();
    let codec = json!({"mime_type":"video/VP8","clock_rate":90000,"channels":null,"parameters":{}});
    let data = json!({"member_id":"ann","credential":SECRET,"capabilities":{"video_rx":[codec]}});
    w.command(id, "r1", json!({"command":"JoinRoom","data":data}));
    let Some(SignallingOutput::Shard {
        command: ShardCommand::Join { capabilities, .. },
        ..
    }) = w.next_for_shard()
    else {
        panic!("no join");
    };
    assert_ne!(capabilities, Capabilities::default());
    assert_eq!(capabilities.video_rx[0].mime_type, "video/VP8");
}
