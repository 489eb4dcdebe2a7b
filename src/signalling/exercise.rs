//! The signalling core run over arbitrary scripts to its end: what the fuzz target and its replays call.
//!
//! A function returns for whatever bytes; a panic is a finding. After each step the invariants of the module's head
//! are checked, and in the end, when everybody has gone and the shards have closed their rooms, nothing may remain.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::membership::Presence;
use super::{RoomBook, Signalling, SignallingOutput, SignallingSettings, SocketEnd, Timer};
use crate::bus::client::{ClientMsg, CloseReason, Event, RpcSettings};
use crate::bus::control::{Answer, Notice, Ticket};
use crate::bus::shard::{ShardCommand, ShardEvent};
use crate::bus::spec::{MemberSpec, RoomSpec};
use crate::id::{RoomId, SessionId, ShardId};
use crate::time::Time;

/// Shards of the exercise.
const SHARDS: u16 = 2;
/// Lines of a script that are run. More say nothing new.
const LINES_MAX: usize = 2_000;
/// Credential of every member of rooms whose name is not empty.
const CREDENTIAL: &str = "c";

/// Reads `bytes` as one message of a client, and then as a script (see [`script`]).
pub fn client(bytes: &[u8]) {
    let _ = serde_json::from_slice::<ClientMsg>(bytes);
    script(bytes);
}

/// Runs lines of the form *operation, session digit, rest* against a fresh core:
/// `o` open a session, `f` text frame, `b` binary frame, `c` close (rest: code, or none), `w` wait (half a second per
/// byte of rest), `j` / `l` the shard answers the oldest unanswered join with RoomJoined / RoomLeft, `e` an event of a
/// room, `r` the shard closes a room, `x` the shard's channel gives the newest command back, `d` a shard dies, `a` the
/// control thread answers the oldest question (digit: 0 yes, 1 no, else busy), `k` it declares a room (digit 0) or takes
/// it back, `m` it drains (digit 0) or no more, `v` it puts everybody out. Joins of rooms whose name begins with `t` are
/// asked for.
pub fn script(bytes: &[u8]) {
    let mut run = Run::new();
    for line in bytes.split(|b| *b == b'\n').take(LINES_MAX) {
        run.step(line);
        run.check();
    }
    run.end();
}

struct Run {
    core: Signalling,
    now: Time,
    sessions: Vec<SessionId>,
    /// Joins that the stand-in for the shards has not answered.
    joins: Vec<ShardCommand>,
    /// The newest command and its shard.
    newest: Option<(ShardId, ShardCommand)>,
    /// Questions that the stand-in for the control thread has not answered.
    questions: Vec<Ticket>,
    /// Rooms of which it has heard that somebody is in.
    occupied: BTreeSet<RoomId>,
}

impl Run {
    fn new() -> Self {
        let template = Box::new(|id: &RoomId| Some(Arc::new(spec(id))));
        Self {
            core: Signalling::new(
                SignallingSettings::default(),
                SHARDS,
                RoomBook::default().with_template(template),
            ),
            now: Time::from_millis(1),
            sessions: Vec::new(),
            joins: Vec::new(),
            newest: None,
            questions: Vec::new(),
            occupied: BTreeSet::new(),
        }
    }

    fn step(&mut self, line: &[u8]) {
        let digit = line.get(1).map_or(0, |b| usize::from(b.wrapping_sub(b'0')));
        let session = match self.sessions.len() {
            0 => SessionId(u64::MAX),
            n => self
                .sessions
                .get(digit % n)
                .copied()
                .unwrap_or(SessionId(0)),
        };
        let rest = line.get(2..).unwrap_or_default();
        let text = String::from_utf8_lossy(rest);
        match line.first() {
            Some(b'o') => self.sessions.extend(self.core.handle_open(self.now).ok()),
            Some(b'f') => self.core.handle_frame(self.now, session, &text),
            Some(b'b') => self.core.handle_binary(self.now, session),
            Some(b'c') => {
                let end = text.parse().map_or(SocketEnd::Abnormal, SocketEnd::Code);
                self.core.handle_closed(self.now, session, end);
            }
            Some(b'w') => self.wait(rest.len() as u64 * 500),
            Some(b'j') => self.answer_join(true),
            Some(b'l') => self.answer_join(false),
            Some(b'e') => self.event(session, &text),
            Some(b'r') => self.room_closed(&text, digit),
            Some(b'x') => {
                if let Some((shard, command)) = self.newest.take() {
                    self.core.handle_shard_full(self.now, shard, command);
                }
            }
            Some(b'a') if !self.questions.is_empty() => {
                let answer = match digit {
                    0 => Answer::Yes,
                    1 => Answer::No,
                    _ => Answer::Busy,
                };
                let ticket = self.questions.remove(0);
                self.core.handle_answer(self.now, ticket, answer);
            }
            Some(b'k') => {
                if let Ok(id) = RoomId::new(&text) {
                    let declared = (digit == 0).then(|| Arc::new(spec(&id)));
                    self.core.handle_configure(self.now, id, declared);
                }
            }
            Some(b'm') => self.core.handle_drain(digit == 0),
            Some(b'v') => self.core.handle_evict_all(self.now),
            Some(b'd') => {
                let shard = ShardId(digit as u16 % (SHARDS + 1));
                let stopped = ShardEvent::Stopped(shard);
                self.core.handle_shard_event(self.now, stopped);
            }
            _ => {}
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                SignallingOutput::Shard { shard, command } => {
                    if matches!(command, ShardCommand::Join { .. }) {
                        self.joins.push(command.clone());
                    }
                    self.newest = Some((shard, command));
                }
                SignallingOutput::Send { text, .. } => assert!(text.starts_with("{\"msg\":")),
                SignallingOutput::Close { session, .. } => {
                    assert!(
                        !self.core.sessions.contains_key(&session),
                        "closed, yet there"
                    );
                }
                SignallingOutput::Ask { ticket, .. } => self.questions.push(ticket),
                SignallingOutput::Tell(Notice::Occupied(room)) => {
                    assert!(self.occupied.insert(room), "occupied twice");
                }
                SignallingOutput::Tell(Notice::Empty(room)) => {
                    assert!(self.occupied.remove(&room), "empty twice");
                }
                SignallingOutput::Tell(_) => {}
            }
        }
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(due) = self.core.poll_timeout()
            && due <= end
        {
            self.now = self.now.max(due);
            self.core.handle_timeout(self.now);
            let next = self.core.poll_timeout();
            assert!(
                next.is_none_or(|next| next > self.now),
                "a deadline is stuck"
            );
            self.drain();
        }
        self.now = end;
    }

    fn answer_join(&mut self, joined: bool) {
        if self.joins.is_empty() {
            return;
        }
        let ShardCommand::Join {
            session,
            room,
            member,
            ..
        } = self.joins.remove(0)
        else {
            return;
        };
        let event = match joined {
            true => Event::RoomJoined {
                member_id: member,
                is_reconnect: false,
                shard: ShardId(0),
            },
            false => Event::RoomLeft {
                close_reason: CloseReason::Evicted,
            },
        };
        self.tell(session, room, event);
    }

    fn event(&mut self, session: SessionId, text: &str) {
        if let Ok(room) = RoomId::new(text) {
            let event = Event::PeersRemoved {
                peer_ids: Vec::new(),
            };
            self.tell(session, room, event);
        }
    }

    fn tell(&mut self, session: SessionId, room: RoomId, event: Event) {
        let event = ShardEvent::Client {
            session,
            room,
            event,
        };
        self.core.handle_shard_event(self.now, event);
    }

    fn room_closed(&mut self, text: &str, digit: usize) {
        if let Ok(room) = RoomId::new(text) {
            let event = ShardEvent::RoomClosed {
                shard: ShardId(digit as u16 % SHARDS),
                room,
            };
            self.core.handle_shard_event(self.now, event);
        }
    }

    fn check(&self) {
        let core = &self.core;
        let (mut members, mut lost) = (0, 0);
        for (id, room) in &core.rooms {
            for (member, presence) in room.presences() {
                members += 1;
                match presence {
                    Presence::Here(session) => {
                        let speaks = core.sessions.get(&session).and_then(|s| s.member_in(id));
                        assert_eq!(speaks, Some(member), "spoken for by nobody");
                    }
                    Presence::Lost(until) => {
                        lost += 1;
                        let timer = (until, Timer::Lost(id.clone(), member.clone()));
                        assert!(core.timers.contains(&timer), "lost for ever");
                    }
                }
            }
        }
        let spoken: usize = core.sessions.values().map(|s| s.memberships.len()).sum();
        assert_eq!(members, core.memberships);
        assert_eq!(members, spoken + lost);
        assert_eq!(lost as u64, core.counters.lost);
        assert_eq!(
            core.shards.iter().map(|s| s.rooms).sum::<usize>(),
            core.rooms.len()
        );
        for (id, session) in &core.sessions {
            assert!(
                core.timers
                    .contains(&(session.deadline, Timer::Session(*id)))
            );
        }
        let backlogs = core.shards.iter().filter(|s| s.is_behind()).count();
        assert_eq!(
            core.timers.len(),
            core.sessions.len() + lost + backlogs + core.pending.len()
        );
    }

    fn end(mut self) {
        for session in std::mem::take(&mut self.sessions) {
            self.core
                .handle_closed(self.now, session, SocketEnd::Abnormal);
        }
        self.drain();
        self.wait(3_600_000);
        let rooms: Vec<RoomId> = self.core.rooms.keys().cloned().collect();
        for room in rooms {
            for shard in 0..usize::from(SHARDS) {
                self.room_closed(room.as_str(), shard);
            }
        }
        self.check();
        assert!(self.core.sessions.is_empty() && self.core.rooms.is_empty());
        assert!(self.core.timers.is_empty() && self.core.pending.is_empty());
        assert!(self.occupied.is_empty());
    }
}

fn spec(id: &RoomId) -> RoomSpec {
    let rpc = RpcSettings {
        idle_timeout_ms: 10_000,
        ping_interval_ms: 3_000,
    };
    let asked = id.as_str().starts_with('t');
    let member = MemberSpec {
        asks_join: asked,
        tells_leave: asked,
        ..MemberSpec::new(CREDENTIAL, rpc, 5_000)
    };
    RoomSpec {
        open: Some(Arc::new(member)),
        ..RoomSpec::new(id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line() -> impl Strategy<Value = String> {
        let session = 0..4_u8;
        let room = "[rst]";
        let member = "[ab]";
        prop_oneof![
            2 => Just("o0".to_owned()),
            4 => (session.clone(), room, member, any::<bool>()).prop_map(|(s, r, m, good)| {
                let credential = if good { CREDENTIAL } else { "no" };
                format!(r#"f{s}{{"Command":{{"room_id":"{r}","command":{{"command":"JoinRoom","data":{{"member_id":"{m}","credential":"{credential}"}}}}}}}}"#)
            }),
            1 => (session.clone(), room, member).prop_map(|(s, r, m)| {
                format!(r#"f{s}{{"Command":{{"room_id":"{r}","command":{{"command":"LeaveRoom","data":{{"member_id":"{m}"}}}}}}}}"#)
            }),
            1 => session.clone().prop_map(|s| format!("f{s}{{\"Pong\":1}}")),
            1 => session.clone().prop_map(|s| format!("f{s}nonsense")),
            3 => Just("j0".to_owned()),
            2 => (0..3_u8).prop_map(|n| format!("a{n}")),
            1 => (0..2_u8, room).prop_map(|(n, r)| format!("k{n}{r}")),
            1 => prop_oneof![Just("m0"), Just("m1"), Just("m1"), Just("v0")].prop_map(str::to_owned),
            1 => Just("l0".to_owned()),
            1 => (session.clone(), room).prop_map(|(s, r)| format!("e{s}{r}")),
            1 => (session.clone(), room).prop_map(|(s, r)| format!("r{s}{r}")),
            1 => Just("x0".to_owned()),
            1 => session.clone().prop_map(|s| format!("d{s}")),
            1 => (session, proptest::sample::select(vec!["1000", "1001", ""])).prop_map(|(s, c)| format!("c{s}{c}")),
            2 => (0..12_usize).prop_map(|n| format!("w0{}", ".".repeat(n))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn whatever_happens_nothing_is_forgotten_or_kept(lines in proptest::collection::vec(line(), 0..60)) {
            script(lines.join("\n").as_bytes());
        }
    }
}
