//! Scenarios with virtual time: what a client and a shard would notice.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::bus::control::{Notice, Question};
use crate::bus::spec::{MemberSpec, RoomSpec};
use crate::limits::{SESSION_BAD_FRAMES_MAX, SESSION_COMMANDS_BURST};
use crate::metrics::{ShardCounters, ShardSnapshot};

pub(super) const SECRET: &str = "open sesame";

fn member_spec(ping_interval_ms: u32) -> Arc<MemberSpec> {
    let rpc = RpcSettings {
        idle_timeout_ms: 10_000,
        ping_interval_ms,
    };
    Arc::new(MemberSpec::new(SECRET, rpc, 10_000))
}

/// Rooms whose name begins with `r` are open; in them, `slow` is a member with its own ping interval.
fn book() -> RoomBook {
    RoomBook::default().with_template(Box::new(|id| {
        id.as_str().starts_with('r').then(|| {
            Arc::new(RoomSpec {
                open: Some(member_spec(3_000)),
                members: [(member("slow"), member_spec(4_000))].into(),
                ..RoomSpec::new(id.clone())
            })
        })
    }))
}

pub(super) fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

pub(super) fn member(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

/// What came out, in words short enough for a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    Sent(u64, Value),
    Closed(u64, CloseReason),
    Join(u16, u64, &'static str),
    Client(u16, &'static str),
    Lost(u16, u64),
    Leave(u16, CloseReason),
    Shutdown(u16),
    Resume(u16),
    Report(u16),
    Configure(u16),
    Stats(u16),
    Asked(u64, Question),
    Told(Notice),
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) core: Signalling,
}

impl World {
    pub(super) fn new(shards: u16) -> Self {
        let core = Signalling::new(SignallingSettings::default(), shards, book());
        Self {
            now: Time::from_millis(1),
            core,
        }
    }

    pub(super) fn seen(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.core.poll_output())
            .map(|output| match output {
                SignallingOutput::Send { session, text } => {
                    Seen::Sent(session.0, serde_json::from_str(&text).unwrap())
                }
                SignallingOutput::Close {
                    session,
                    code,
                    reason,
                } => {
                    assert_eq!(code, 1000);
                    Seen::Closed(session.0, reason)
                }
                SignallingOutput::Shard { shard, command } => match command {
                    ShardCommand::Join { session, room, .. } => {
                        Seen::Join(shard.0, session.0, room.as_str().to_owned().leak())
                    }
                    ShardCommand::Client { command, .. } => Seen::Client(shard.0, command.name()),
                    ShardCommand::Lost { session, .. } => Seen::Lost(shard.0, session.0),
                    ShardCommand::Leave { reason, .. } => Seen::Leave(shard.0, reason),
                    ShardCommand::Shutdown => Seen::Shutdown(shard.0),
                    ShardCommand::Resume => Seen::Resume(shard.0),
                    ShardCommand::Report => Seen::Report(shard.0),
                    ShardCommand::Configure { .. } => Seen::Configure(shard.0),
                    ShardCommand::Stats { .. } => Seen::Stats(shard.0),
                },
                SignallingOutput::Ask { ticket, question } => Seen::Asked(ticket.0, question),
                SignallingOutput::Tell(notice) => Seen::Told(notice),
            })
            // Comings and goings of rooms are of interest to one test only.
            .filter(|seen| !matches!(seen, Seen::Told(Notice::Occupied(_) | Notice::Empty(_))))
            .collect()
    }

    pub(super) fn open(&mut self) -> SessionId {
        let id = self.core.handle_open(self.now).unwrap();
        let settings =
            json!({"msg":"RpcSettings","data":{"idle_timeout_ms":10000,"ping_interval_ms":3000}});
        assert_eq!(self.seen(), [Seen::Sent(id.0, settings)]);
        id
    }

    /// The next command for a shard.
    pub(super) fn next_for_shard(&mut self) -> Option<SignallingOutput> {
        std::iter::from_fn(|| self.core.poll_output())
            .find(|output| matches!(output, SignallingOutput::Shard { .. }))
    }

    /// Opens another session; what came out before was this.
    pub(super) fn open_after(&mut self, before: &[Seen]) -> SessionId {
        assert_eq!(self.seen(), before);
        self.open()
    }

    pub(super) fn frame(&mut self, id: SessionId, frame: Value) {
        self.core.handle_frame(self.now, id, &frame.to_string());
    }

    pub(super) fn command(&mut self, id: SessionId, room: &str, command: Value) {
        self.frame(id, json!({"Command":{"room_id":room,"command":command}}));
    }

    pub(super) fn ask_join(&mut self, id: SessionId, room: &str, name: &str, credential: &str) {
        let data = json!({"member_id":name,"credential":credential});
        self.command(id, room, json!({"command":"JoinRoom","data":data}));
    }

    pub(super) fn ask_leave(&mut self, id: SessionId, room: &str, name: &str) {
        let data = json!({ "member_id": name });
        self.command(id, room, json!({"command":"LeaveRoom","data":data}));
    }

    pub(super) fn event(&mut self, id: SessionId, name: &str, event: Event) {
        let event = ShardEvent::Client {
            session: id,
            room: room(name),
            event,
        };
        self.core.handle_shard_event(self.now, event);
    }

    pub(super) fn confirm(&mut self, id: SessionId, name: &str, who: &str) {
        let joined = Event::RoomJoined {
            member_id: member(who),
            is_reconnect: false,
            shard: ShardId(0),
        };
        self.event(id, name, joined);
    }

    /// Joined and confirmed, outputs thrown away.
    pub(super) fn joined(&mut self, name: &str, who: &str) -> SessionId {
        let id = self.open();
        self.ask_join(id, name, who, SECRET);
        self.confirm(id, name, who);
        self.seen();
        id
    }

    /// Lets `ms` pass, firing each deadline at its time.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(due) = self.core.poll_timeout()
            && due <= end
        {
            self.now = self.now.max(due);
            self.core.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// The same for a client that answers every ping: what else came out.
    pub(super) fn pass_alive(&mut self, id: SessionId, ms: u64) -> Vec<Seen> {
        let mut all = Vec::new();
        for _ in 0..ms / 1000 {
            self.pass(1000);
            self.frame(id, json!({"Pong":0}));
            all.extend(self.seen());
        }
        all.retain(|seen| !matches!(seen, Seen::Sent(_, v) if v["msg"] == "Ping"));
        all
    }
}

pub(super) fn left(id: SessionId, name: &str, reason: &str) -> Seen {
    let event = json!({"event":"RoomLeft","data":{"close_reason":reason}});
    Seen::Sent(
        id.0,
        json!({"msg":"Event","data":{"room_id":name,"event":event}}),
    )
}

fn ping(id: SessionId, n: u32) -> Seen {
    Seen::Sent(id.0, json!({"msg":"Ping","data":n}))
}

#[test]
fn join_goes_to_the_shard_and_its_answer_to_the_client() {
    let mut w = World::new(1);
    let id = w.open();
    w.ask_join(id, "r1", "ann", SECRET);
    assert_eq!(w.seen(), [Seen::Join(0, 0, "r1")]);
    w.confirm(id, "r1", "ann");
    let data = json!({"member_id":"ann","is_reconnect":false,"shard":0});
    let event = json!({"event":"RoomJoined","data":data});
    let message = json!({"msg":"Event","data":{"room_id":"r1","event":event}});
    assert_eq!(w.seen(), [Seen::Sent(0, message)]);
    let data = json!({"peer_id":1,"tracks_patches":[]});
    w.command(id, "r1", json!({"command":"UpdateTracks","data":data}));
    assert_eq!(w.seen(), [Seen::Client(0, "UpdateTracks")]);
}

#[test]
fn failed_join_closes_a_roomless_socket_and_is_an_event_for_others() {
    for (name, who, credential) in [
        ("r1", "ann", "wrong"),
        ("r1", "ann", ""),
        ("nowhere", "ann", SECRET),
        ("r1", "ann", "open sesame "),
    ] {
        let mut w = World::new(1);
        let id = w.open();
        w.ask_join(id, name, who, credential);
        assert_eq!(
            w.seen(),
            [Seen::Closed(id.0, CloseReason::Rejected)],
            "{name} {credential}"
        );
        assert_eq!(
            (w.core.counters().sessions, w.core.counters().rooms),
            (0, 0)
        );

        let id = w.joined("r2", "bob");
        w.ask_join(id, name, who, credential);
        assert_eq!(w.seen(), [left(id, name, "Rejected")]);
        assert_eq!(w.pass_alive(id, 60_000), [], "still in r2");
    }
}

#[test]
fn guessing_credentials_beside_a_good_room_is_bounded() {
    let mut w = World::new(1);
    let id = w.joined("r1", "ann");
    for _ in 0..=SESSION_BAD_FRAMES_MAX {
        w.ask_join(id, "r2", "bob", "guess");
    }
    assert!(w.seen().contains(&Seen::Closed(id.0, CloseReason::Evicted)));
}

#[test]
fn pings_count_up_and_silence_means_lost_then_left() {
    let mut w = World::new(1);
    let id = w.joined("r1", "ann");
    w.pass(9_999);
    assert_eq!(w.seen(), [ping(id, 0), ping(id, 1), ping(id, 2)]);
    w.pass(1);
    assert_eq!(
        w.seen(),
        [Seen::Closed(id.0, CloseReason::Idle), Seen::Lost(0, id.0)]
    );
    assert_eq!(w.core.counters().lost, 1);
    w.pass(9_999);
    assert_eq!(w.seen(), []);
    w.pass(1);
    assert_eq!(w.seen(), [Seen::Leave(0, CloseReason::Idle)]);
    assert_eq!(w.core.counters().lost, 0);
}

#[test]
fn pongs_keep_a_session_for_ever() {
    let mut w = World::new(1);
    let id = w.joined("r1", "ann");
    assert_eq!(w.pass_alive(id, 300_000), []);
}

#[test]
fn no_successful_join_in_time_closes() {
    let mut w = World::new(1);
    let id = w.open();
    assert_eq!(w.pass_alive(id, 9_000), []);
    w.ask_join(id, "r1", "ann", SECRET);
    assert_eq!(w.seen(), [Seen::Join(0, id.0, "r1")]);
    // The shard never answers.
    let closed = w.pass_alive(id, 1_000);
    assert_eq!(
        closed,
        [
            Seen::Closed(id.0, CloseReason::Rejected),
            Seen::Leave(0, CloseReason::Rejected)
        ]
    );
}

#[test]
fn close_codes_decide_between_left_and_lost() {
    for (end, expected) in [
        (SocketEnd::Code(1000), Seen::Leave(0, CloseReason::Finished)),
        (SocketEnd::Code(1001), Seen::Lost(0, 0)),
        (SocketEnd::Code(3000), Seen::Lost(0, 0)),
        (SocketEnd::Code(3999), Seen::Lost(0, 0)),
        (SocketEnd::Abnormal, Seen::Lost(0, 0)),
        (SocketEnd::Stalled, Seen::Leave(0, CloseReason::Evicted)),
    ] {
        let mut w = World::new(1);
        let id = w.joined("r1", "ann");
        w.core.handle_closed(w.now, id, end);
        assert_eq!(w.seen(), [expected], "{end:?}");
        w.core.handle_closed(w.now, id, end);
        assert_eq!(w.seen(), [], "twice is once");
    }
}

#[test]
fn leave_is_answered_and_the_socket_may_be_used_again() {
    let mut w = World::new(1);
    let id = w.joined("r1", "ann");
    w.ask_leave(id, "r1", "bob");
    assert_eq!(w.seen(), [], "not for somebody else");
    w.ask_leave(id, "r1", "ann");
    assert_eq!(
        w.seen(),
        [
            Seen::Leave(0, CloseReason::Finished),
            left(id, "r1", "Finished")
        ]
    );
    w.ask_join(id, "r1", "ann", SECRET);
    assert_eq!(w.seen(), [Seen::Join(0, id.0, "r1")]);
    // The shard's own answer to the leave is of the membership before, and changes nothing.
    let finished = Event::RoomLeft {
        close_reason: CloseReason::Finished,
    };
    w.event(id, "r1", finished);
    assert_eq!(w.seen(), []);
    w.confirm(id, "r1", "ann");
    assert_eq!(w.seen().len(), 1);
    w.ask_leave(id, "r1", "ann");
    w.seen();
    assert_eq!(
        w.pass_alive(id, 10_000),
        [Seen::Closed(id.0, CloseReason::Finished)]
    );
}

#[test]
fn lost_member_comes_back_on_another_socket() {
    let mut w = World::new(1);
    let first = w.joined("r1", "ann");
    w.core.handle_closed(w.now, first, SocketEnd::Abnormal);
    assert_eq!(w.seen(), [Seen::Lost(0, first.0)]);
    w.pass(9_000);
    let second = w.open();
    w.ask_join(second, "r1", "ann", SECRET);
    assert_eq!(w.seen(), [Seen::Join(0, second.0, "r1")]);
    w.confirm(second, "r1", "ann");
    w.seen();
    assert_eq!(w.pass_alive(second, 60_000), [], "the old timeout is off");
    assert_eq!(w.core.counters().lost, 0);
}

#[test]
fn second_socket_of_a_member_closes_the_first() {
    let mut w = World::new(1);
    let first = w.joined("r1", "ann");
    let second = w.open();
    w.ask_join(second, "r1", "ann", SECRET);
    assert_eq!(
        w.seen(),
        [
            Seen::Closed(first.0, CloseReason::Reconnected),
            Seen::Join(0, second.0, "r1")
        ]
    );
    w.core.handle_closed(w.now, first, SocketEnd::Code(1000));
    assert_eq!(
        w.seen(),
        [],
        "the first one's end says nothing about the member"
    );
    // With another room on it, the first socket stays for that.
    w.confirm(second, "r1", "ann");
    w.ask_join(second, "r2", "ann", SECRET);
    w.confirm(second, "r2", "ann");
    w.seen();
    let third = w.open();
    w.ask_join(third, "r2", "ann", SECRET);
    assert_eq!(
        w.seen(),
        [
            left(second, "r2", "Reconnected"),
            Seen::Join(0, third.0, "r2")
        ]
    );
    assert_eq!(w.pass_alive(second, 8_000), []);
}

#[test]
fn wrong_credential_does_not_disturb_the_real_member() {
    let mut w = World::new(1);
    let real = w.joined("r1", "ann");
    let thief = w.open();
    w.ask_join(thief, "r1", "ann", "guess");
    assert_eq!(w.seen(), [Seen::Closed(thief.0, CloseReason::Rejected)]);
    assert_eq!(w.pass_alive(real, 20_000), []);
}

#[test]
fn rooms_go_to_the_least_busy_shard_and_stay_there() {
    let mut w = World::new(3);
    let snapshot = |shard, busy_ratio| {
        ShardEvent::Snapshot(Box::new(ShardSnapshot {
            shard: ShardId(shard),
            counters: ShardCounters::default(),
            rooms: 0,
            members: 0,
            transports: 0,
            up_tracks: 0,
            down_tracks: 0,
            busy_ratio,
            busy: Default::default(),
            costly: Vec::new(),
            cpu_s: 0.0,
            udp: "trains",
        }))
    };
    for (shard, busy) in [(0, 0.8), (1, 0.013), (2, 0.011)] {
        w.core.handle_shard_event(w.now, snapshot(shard, busy));
    }
    let id = w.open();
    for (name, shard) in [("r1", 1), ("r2", 2), ("r3", 1), ("r4", 2)] {
        w.ask_join(id, name, "ann", SECRET);
        let Some(Seen::Join(to, _, _)) = w.seen().pop() else {
            panic!("{name} did not go to a shard");
        };
        assert_eq!(to, shard, "{name}");
    }
    let other = w.open();
    w.ask_join(other, "r2", "bob", SECRET);
    assert_eq!(w.seen(), [Seen::Join(2, other.0, "r2")]);
    // The shard goes on having the room until it says otherwise.
    w.ask_leave(id, "r1", "ann");
    w.seen();
    assert_eq!(w.core.counters().rooms, 4);
    let closed = |shard| ShardEvent::RoomClosed {
        shard: ShardId(shard),
        room: room("r1"),
    };
    w.core.handle_shard_event(w.now, closed(0));
    assert_eq!(w.core.counters().rooms, 4, "not that shard's room");
    w.core.handle_shard_event(w.now, closed(1));
    assert_eq!(w.core.counters().rooms, 3);
}

#[test]
fn room_closed_while_a_join_is_on_its_way_keeps_the_join() {
    let mut w = World::new(1);
    let id = w.joined("r1", "ann");
    w.ask_leave(id, "r1", "ann");
    w.ask_join(id, "r1", "ann", SECRET);
    w.seen();
    let closed = ShardEvent::RoomClosed {
        shard: ShardId(0),
        room: room("r1"),
    };
    w.core.handle_shard_event(w.now, closed.clone());
    w.confirm(id, "r1", "ann");
    assert_eq!(w.seen().len(), 1, "joined after all");
    // A confirmed member of a room that its shard closed is out, and told.
    w.core.handle_shard_event(w.now, closed);
    assert_eq!(w.seen(), [left(id, "r1", "InternalError")]);
    assert_eq!(w.core.counters().rooms, 0);
}

#[test]
fn dead_shard_puts_its_members_out_and_no_others() {
    let mut w = World::new(2);
    let ann = w.joined("r1", "ann");
    let bob = w.joined("r2", "bob");
    w.core
        .handle_shard_event(w.now, ShardEvent::Stopped(ShardId(0)));
    assert_eq!(w.seen(), [left(ann, "r1", "InternalError")]);
    assert_eq!(w.pass_alive(bob, 8_000), []);
    assert_eq!(w.core.counters().rooms, 1);
}

#[test]
fn limits_of_the_configuration_hold() {
    let mut w = World::new(1);
    w.core = Signalling::new(
        SignallingSettings {
            sessions_max: 2,
            rooms_per_session_max: 1,
            rooms_per_shard_max: 1,
            commands_per_s: 10,
            ..SignallingSettings::default()
        },
        1,
        book(),
    );
    let ann = w.joined("r1", "ann");
    let bob = w.open();
    assert_eq!(
        w.core.handle_open(w.now),
        Err(SignallingError::TooManySessions(2))
    );
    w.ask_join(ann, "r1b", "ann", SECRET);
    assert_eq!(w.seen(), [left(ann, "r1b", "Evicted")], "one room each");
    w.ask_join(bob, "r2", "bob", SECRET);
    assert_eq!(
        w.seen(),
        [Seen::Closed(bob.0, CloseReason::Evicted)],
        "one room in all"
    );
    for _ in 0..60 {
        w.frame(ann, json!({ "Pong": 1 }));
    }
    assert!(
        w.seen()
            .contains(&Seen::Closed(ann.0, CloseReason::Evicted)),
        "50 at once"
    );
}

#[test]
fn rule10_a_shard_that_starts_anew_loses_its_rooms_and_takes_new_ones() {
    let mut w = World::new(2);
    let ann = w.joined("r1", "ann");
    let bob = w.joined("r2", "bob");
    let restarted = ShardEvent::Restarted(ShardId(0));
    w.core.handle_shard_event(w.now, restarted);
    assert_eq!(
        w.seen(),
        [left(ann, "r1", "InternalError"), Seen::Resume(0)]
    );
    w.ask_join(ann, "r1", "ann", SECRET);
    assert_eq!(
        w.seen(),
        [Seen::Join(0, ann.0, "r1")],
        "the shard is used again"
    );
    assert_eq!(
        w.pass_alive(bob, 8_000),
        [],
        "the other shard's members notice nothing"
    );
}

#[test]
fn rule10_a_core_that_starts_anew_learns_from_the_shards_and_members_come_back() {
    let mut w = World::new(2);
    let ann = w.joined("r1", "ann");
    w.joined("r1", "bob");
    w.core.restart();
    assert_eq!(w.seen(), [Seen::Report(0), Seen::Report(1)]);
    assert_eq!(w.core.handle_open(w.now), Err(SignallingError::Restarting));
    // Said to a session of before.
    w.confirm(ann, "r1", "ann");
    let present = ShardEvent::Present {
        shard: ShardId(1),
        spec: book().templated(&room("r1")).unwrap(),
        members: vec![member("ann"), member("bob")],
    };
    w.core.handle_shard_event(w.now, present);
    for shard in [0, 1] {
        w.core
            .handle_shard_event(w.now, ShardEvent::Reported(ShardId(shard)));
    }
    assert_eq!(w.seen(), []);
    assert_eq!((w.core.counters().rooms, w.core.counters().lost), (1, 2));
    let again = w.open();
    assert!(again > ann, "sessions are never named twice");
    w.ask_join(again, "r1", "ann", SECRET);
    assert_eq!(
        w.seen(),
        [Seen::Join(1, again.0, "r1")],
        "the room stays where it is"
    );
    w.confirm(again, "r1", "ann");
    assert_eq!(w.seen().len(), 1);
    assert_eq!(w.core.counters().lost, 1);
    // Who does not come back in time has left.
    let seen = w.pass_alive(again, 11_000);
    assert_eq!(seen, [Seen::Leave(1, CloseReason::Idle)]);
}

#[test]
fn a_core_and_a_shard_that_start_anew_together_do_not_wait_for_each_other() {
    let mut w = World::new(1);
    w.core.restart();
    w.seen();
    w.core
        .handle_shard_event(w.now, ShardEvent::Restarted(ShardId(0)));
    assert_eq!(w.seen(), [Seen::Resume(0)]);
    assert!(w.core.handle_open(w.now).is_ok());
}

#[test]
fn join_refused_by_the_shard_leaves_nothing_behind() {
    let mut w = World::new(1);
    let id = w.open();
    w.ask_join(id, "r1", "ann", SECRET);
    w.seen();
    let full = Event::RoomLeft {
        close_reason: CloseReason::Evicted,
    };
    w.event(id, "r1", full);
    assert_eq!(w.seen(), [Seen::Closed(id.0, CloseReason::Evicted)]);
    assert_eq!(
        w.core.counters(),
        SignallingCounters {
            sessions_opened: 1,
            frames_in: 1,
            ..SignallingCounters::default()
        }
    );
    assert_eq!(w.core.poll_timeout(), None);
}

#[test]
fn full_shard_refuses_joins_but_loses_no_leave() {
    let mut w = World::new(1);
    let ann = w.joined("r1", "ann");
    let bob = w.joined("r1", "bob");
    let leave = ShardCommand::Leave {
        room: room("r1"),
        member: member("ann"),
        reason: CloseReason::Finished,
    };
    w.core.handle_closed(w.now, ann, SocketEnd::Code(1000));
    assert_eq!(w.seen(), [Seen::Leave(0, CloseReason::Finished)]);
    w.core.handle_shard_full(w.now, ShardId(0), leave);
    // Behind a waiting command nothing may overtake: the join is refused, the loss waits too.
    let eve = w.open();
    w.ask_join(eve, "r1", "eve", SECRET);
    assert_eq!(w.seen(), [Seen::Closed(eve.0, CloseReason::Evicted)]);
    w.core.handle_closed(w.now, bob, SocketEnd::Abnormal);
    assert_eq!(w.seen(), []);
    w.pass(10);
    assert_eq!(
        w.seen(),
        [Seen::Leave(0, CloseReason::Finished), Seen::Lost(0, bob.0)]
    );
    // A join that the channel itself did not take.
    let dan = w.open();
    w.ask_join(dan, "r9", "dan", SECRET);
    let Some(SignallingOutput::Shard { shard, command }) = w.next_for_shard() else {
        panic!("no join");
    };
    w.core.handle_shard_full(w.now, shard, command);
    assert_eq!(w.seen(), [Seen::Closed(dan.0, CloseReason::Evicted)]);
    assert_eq!(w.core.counters().rooms, 1, "r9 is not kept");
}

#[test]
fn member_with_other_timeouts_is_told() {
    let mut w = World::new(1);
    let id = w.open();
    w.ask_join(id, "r1", "slow", SECRET);
    let settings =
        json!({"msg":"RpcSettings","data":{"idle_timeout_ms":10000,"ping_interval_ms":4000}});
    assert_eq!(
        w.seen(),
        [Seen::Sent(id.0, settings), Seen::Join(0, id.0, "r1")]
    );
    w.pass(3_999);
    assert_eq!(w.seen(), []);
    w.pass(1);
    assert_eq!(w.seen(), [ping(id, 0)]);
}

#[test]
fn nonsense_is_ignored_up_to_a_budget() {
    let mut w = World::new(1);
    let id = w.joined("r1", "ann");
    let nonsense = [
        "",
        "{",
        "null",
        "[]",
        "{\"Pong\":-1}",
        "{\"Command\":{}}",
        "{\"Command\":{\"room_id\":\"\"}}",
        "{\"Command\":{\"room_id\":\"r1\",\"command\":{\"command\":\"Explode\",\"data\":{}}}}",
    ];
    for text in nonsense
        .iter()
        .cycle()
        .take(SESSION_BAD_FRAMES_MAX as usize)
    {
        w.core.handle_frame(w.now, id, text);
        assert_eq!(w.seen(), [], "{text}");
    }
    w.core.handle_binary(w.now, id);
    assert_eq!(
        w.seen(),
        [
            Seen::Closed(id.0, CloseReason::Evicted),
            Seen::Leave(0, CloseReason::Evicted)
        ]
    );
    assert_eq!(
        w.core.counters().frames_bad,
        u64::from(SESSION_BAD_FRAMES_MAX) + 1
    );
}

#[test]
fn flood_is_evicted() {
    let mut w = World::new(1);
    let id = w.joined("r1", "ann");
    for _ in 0..SESSION_COMMANDS_BURST {
        w.frame(id, json!({"Pong":1}));
    }
    assert!(w.seen().contains(&Seen::Closed(id.0, CloseReason::Evicted)));
}

#[test]
fn shutdown_closes_everything_and_stops_every_shard() {
    let mut w = World::new(2);
    let ann = w.joined("r1", "ann");
    w.core.handle_shutdown(w.now);
    assert_eq!(
        w.seen(),
        [
            Seen::Closed(ann.0, CloseReason::Evicted),
            Seen::Shutdown(0),
            Seen::Shutdown(1)
        ]
    );
    assert_eq!(
        w.core.handle_open(w.now),
        Err(SignallingError::ShuttingDown)
    );
    w.core
        .handle_shard_event(w.now, ShardEvent::Stopped(ShardId(0)));
    assert_eq!((w.seen(), w.core.poll_timeout()), (vec![], None));
}

#[test]
fn thousands_of_members_come_and_go_and_nothing_remains() {
    let mut w = World::new(2);
    for n in 0..2_000_u32 {
        let id = w.joined(&format!("r{}", n % 100), &format!("m{n}"));
        let end = match n % 3 {
            0 => SocketEnd::Code(1000),
            1 => SocketEnd::Abnormal,
            _ => SocketEnd::Stalled,
        };
        w.core.handle_closed(w.now, id, end);
        w.pass(7);
        w.seen();
    }
    w.pass(20_000);
    w.seen();
    for n in 0..100 {
        for shard in 0..2 {
            let event = ShardEvent::RoomClosed {
                shard: ShardId(shard),
                room: room(&format!("r{n}")),
            };
            w.core.handle_shard_event(w.now, event);
        }
    }
    let counters = w.core.counters();
    assert_eq!(
        (counters.sessions, counters.rooms, counters.lost),
        (0, 0, 0)
    );
    assert_eq!((w.core.memberships, w.core.timers.len()), (0, 0));
    assert!(w.core.shards.iter().all(|s| s.rooms == 0));
}
