//! One WebSocket conversation: sign of life, pings, budgets, and the rooms it speaks in.

use std::time::Duration;

use super::budget::Budget;
use super::{Signalling, SignallingSettings, Timer};
use crate::bus::client::{CloseReason, RpcSettings, ServerMsg};
use crate::id::{MemberId, RoomId, SessionId};
use crate::limits::SESSION_BAD_FRAMES_MAX;
use crate::time::Time;

/// State of one session.
#[derive(Debug)]
pub(super) struct Session {
    /// What the client was told last.
    pub(super) rpc: RpcSettings,
    /// Rooms it is in or joins, and as whom. At most `ROOMS_PER_SESSION_MAX`, so a list is quicker than a map.
    pub(super) memberships: Vec<(RoomId, MemberId)>,
    /// Whether one of the joins has succeeded since it was last in no room.
    pub(super) joined: bool,
    /// Whether any join ever has.
    pub(super) ever_joined: bool,
    /// Since when it is in no room: it may not stay so for long.
    pub(super) roomless_since: Time,
    /// Frames that were no messages, and refused joins beside good ones.
    pub(super) bad_frames: u32,
    /// Its entry in `timers`. May be earlier than needed (then it is set anew), never later.
    pub(super) deadline: Time,
    budget: Budget,
    heard_at: Time,
    next_ping: Time,
    ping_number: u32,
}

impl Session {
    pub(super) fn new(now: Time, settings: &SignallingSettings) -> Self {
        let mut session = Self {
            rpc: settings.rpc,
            memberships: Vec::new(),
            joined: false,
            ever_joined: false,
            roomless_since: now,
            bad_frames: 0,
            deadline: now,
            budget: Budget::new(now, settings.commands_per_s),
            heard_at: now,
            next_ping: now + millis(settings.rpc.ping_interval_ms),
            ping_number: 0,
        };
        session.deadline = session.due(settings);
        session
    }

    /// The member it speaks for in `room`.
    pub(super) fn member_in(&self, room: &RoomId) -> Option<&MemberId> {
        self.memberships
            .iter()
            .find(|(r, _)| r == room)
            .map(|(_, member)| member)
    }

    /// It no longer speaks in `room`.
    pub(super) fn forget(&mut self, now: Time, room: &RoomId) {
        self.memberships.retain(|(r, _)| r != room);
        if self.memberships.is_empty() {
            self.joined = false;
            self.roomless_since = now;
        }
    }

    fn idle_at(&self) -> Time {
        self.heard_at + millis(self.rpc.idle_timeout_ms)
    }

    fn join_deadline(&self, settings: &SignallingSettings) -> Time {
        match self.joined {
            true => Time::MAX,
            false => self.roomless_since + millis(settings.join_timeout_ms),
        }
    }

    fn due(&self, settings: &SignallingSettings) -> Time {
        self.next_ping
            .min(self.idle_at())
            .min(self.join_deadline(settings))
    }
}

impl Signalling {
    /// Notes the sign of life and spends budget. `false` if the session is not, or no longer, there.
    pub(super) fn admit_frame(&mut self, now: Time, id: SessionId) -> bool {
        self.counters.frames_in += 1;
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        session.heard_at = now;
        if session.budget.take(now) {
            return true;
        }
        self.evict(now, id);
        false
    }

    /// Counts what was no message, and closes the session when there are too many.
    pub(super) fn bad_frame(&mut self, now: Time, id: SessionId) {
        self.counters.frames_bad += 1;
        self.strike(now, id);
    }

    /// One fault more; too many close the session.
    pub(super) fn strike(&mut self, now: Time, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.bad_frames += 1;
            if session.bad_frames > SESSION_BAD_FRAMES_MAX {
                self.evict(now, id);
            }
        }
    }

    /// Closes the session for a limit; its members are out.
    pub(super) fn evict(&mut self, now: Time, id: SessionId) {
        self.counters.evicted += 1;
        self.close_output(id, CloseReason::Evicted);
        self.end_session(now, id, Some(CloseReason::Evicted));
    }

    /// Forgets the session. Its members leave for `leave`'s reason, or are lost.
    pub(super) fn end_session(&mut self, now: Time, id: SessionId, leave: Option<CloseReason>) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.timers.remove(&(session.deadline, Timer::Session(id)));
        self.drop_pending_of(id, leave);
        for (room, member) in session.memberships {
            match leave {
                Some(reason) => self.remove_member(now, &room, &member, reason),
                None => self.lose_member(now, id, &room, &member),
            }
        }
    }

    /// Tells the client other timeouts, if they are others.
    pub(super) fn apply_rpc(&mut self, now: Time, id: SessionId, rpc: RpcSettings) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.rpc == rpc {
            return;
        }
        session.rpc = rpc;
        session.next_ping = now + millis(rpc.ping_interval_ms);
        self.send(id, &ServerMsg::RpcSettings(rpc));
        self.rearm(id);
    }

    /// Ping, or end, or nothing yet.
    pub(super) fn session_timeout(&mut self, now: Time, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let idle = now >= session.idle_at();
        let roomless = now >= session.join_deadline(&self.settings);
        // The entry is out of `timers` already; `end_session` must not look for another one.
        if idle || roomless {
            let reason = match (idle, session.ever_joined) {
                (true, _) => CloseReason::Idle,
                (false, true) => CloseReason::Finished,
                (false, false) => CloseReason::Rejected,
            };
            // Idle members are lost, not gone. Whoever only waits for a join to be answered is in no room.
            self.close_output(id, reason);
            self.end_session(now, id, (!idle).then_some(reason));
            return;
        }
        let mut ping = None;
        if now >= session.next_ping {
            ping = Some(session.ping_number);
            session.ping_number = session.ping_number.wrapping_add(1);
            session.next_ping = now + millis(session.rpc.ping_interval_ms);
        }
        if let Some(number) = ping {
            self.send(id, &ServerMsg::Ping(number));
        }
        self.rearm(id);
    }

    /// Sets the session's timer to what it needs now.
    pub(super) fn rearm(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        self.timers.remove(&(session.deadline, Timer::Session(id)));
        session.deadline = session.due(&self.settings);
        self.timers.insert((session.deadline, Timer::Session(id)));
    }
}

pub(super) fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}
