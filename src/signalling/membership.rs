//! Members and their rooms: joining, leaving, being lost and coming back.
//!
//! A membership is made here when the credential is right, and confirmed by the shard's `RoomJoined`. Between the
//! two it is `joining`, which tells a late `RoomLeft` of an earlier membership from a refusal of this one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::admission::{Join, Refusal};
use super::session::millis;
use super::{Signalling, Timer};
use crate::bus::client::{CloseReason, Command, Event};
use crate::bus::control::{LeaveReason, Notice};
use crate::bus::shard::ShardCommand;
use crate::bus::spec::{MemberSpec, RoomSpec};
use crate::faults;
use crate::id::{MemberId, RoomId, SessionId, ShardId};
use crate::time::Time;

/// A room that a shard has, or is about to have.
#[derive(Debug)]
pub(super) struct Room {
    shard: ShardId,
    pub(super) spec: Arc<RoomSpec>,
    /// Nobody has declared it.
    pub(super) from_template: bool,
    members: BTreeMap<MemberId, Membership>,
    /// The shard has closed it, but a join may be on its way there.
    closed: bool,
}

#[derive(Debug)]
struct Membership {
    presence: Presence,
    /// The shard has not answered the last join yet.
    joining: bool,
    reconnect_timeout_ms: u32,
    /// The control thread is told when it ends.
    tells_leave: bool,
}

/// Who speaks for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// This session speaks for the member.
    Here(SessionId),
    /// Nobody does; the member is out at this time.
    Lost(Time),
}

impl Room {
    /// Its shard, if that has it.
    pub(super) fn shard(&self) -> ShardId {
        self.shard
    }

    /// Whether `member` is in, lost members included.
    pub(super) fn has(&self, member: &MemberId) -> bool {
        self.members.contains_key(member)
    }

    /// Members of whom the control thread is told when they are out.
    pub(super) fn told_members(&self) -> impl Iterator<Item = &MemberId> {
        let told = self.members.iter().filter(|(_, m)| m.tells_leave);
        told.map(|(id, _)| id)
    }

    /// Who speaks for `member`, if it is in.
    pub(super) fn presence(&self, member: &MemberId) -> Option<Presence> {
        Some(self.members.get(member)?.presence)
    }

    /// What another spec says of its members takes effect; who speaks for them.
    pub(super) fn set_members(&mut self, spec: &RoomSpec) -> Vec<(MemberId, Presence)> {
        let mut out = Vec::new();
        for (id, membership) in &mut self.members {
            if let Some(found) = spec.member(id) {
                membership.reconnect_timeout_ms = found.reconnect_timeout_ms;
                membership.tells_leave = found.tells_leave;
            }
            out.push((id.clone(), membership.presence));
        }
        out
    }

    /// Its members and who speaks for them.
    pub(super) fn presences(&self) -> impl Iterator<Item = (&MemberId, Presence)> {
        self.members.iter().map(|(id, m)| (id, m.presence))
    }
}

impl Signalling {
    /// A member that may: its room is placed, its shard told.
    pub(super) fn enter(
        &mut self,
        now: Time,
        join: Join,
        spec: Arc<RoomSpec>,
        member_spec: &MemberSpec,
    ) {
        let Join {
            session: id,
            room,
            member,
            capabilities,
        } = join;
        // One member per room and session: events name the room only.
        if let Some(other) = self.member_in(id, &room)
            && other != member
        {
            self.forget(now, id, &room);
            self.remove_member(now, &room, &other, CloseReason::Finished);
        }
        let Some(shard) = self.room_for(&room, &spec) else {
            if member_spec.asks_join {
                self.tell_left(&room, &member, LeaveReason::Kicked);
            }
            return self.refuse_join(now, id, room, Refusal::Evicted);
        };
        self.take_over(now, id, &room, &member, member_spec);
        self.apply_rpc(now, id, member_spec.rpc);
        let command = ShardCommand::Join {
            session: id,
            room,
            member,
            spec,
            capabilities,
        };
        self.command_shard(now, shard, command);
    }

    /// `LeaveRoom`. Answered here: the shard's own `RoomLeft` finds no membership any more and goes no further.
    pub(super) fn leave(&mut self, now: Time, id: SessionId, room: &RoomId, member: &MemberId) {
        if self.member_in(id, room).as_ref() != Some(member) {
            return;
        }
        self.forget(now, id, room);
        self.remove_member(now, room, member, CloseReason::Finished);
        self.send_left(id, room.clone(), CloseReason::Finished);
    }

    /// Any other command: the shard's business, if the session is in that room.
    pub(super) fn pass_on(&mut self, now: Time, id: SessionId, room: RoomId, command: Command) {
        let Some(member) = self.member_in(id, &room) else {
            // Late commands of a room just left are normal; the frame budget bounds the rest.
            return;
        };
        let Some(shard) = self.rooms.get(&room).map(|r| r.shard) else {
            return;
        };
        if let Command::SetIceCandidate { candidate, .. } = &command {
            faults::hear(&candidate.candidate);
        }
        faults::trip(faults::Point::Signalling);
        let command = ShardCommand::Client {
            session: id,
            room,
            member,
            command,
        };
        self.command_shard(now, shard, command);
    }

    /// An event of a shard for a client.
    pub(super) fn handle_client_event(
        &mut self,
        now: Time,
        id: SessionId,
        room: RoomId,
        event: Event,
    ) {
        match &event {
            Event::RoomJoined { member_id, .. } => {
                let confirmed = self.confirm_join(id, &room, member_id);
                if confirmed {
                    self.send_event(id, room, event);
                }
            }
            Event::RoomLeft { close_reason } => self.handle_left(now, id, room, *close_reason),
            _ if self.member_in(id, &room).is_some() => self.send_event(id, room, event),
            // The session is gone, or has left the room: the shard does not know yet.
            _ => {}
        }
    }

    /// The shard has no such room any more. Whoever was confirmed in it is out; joins on their way make it anew.
    pub(super) fn handle_room_closed(&mut self, now: Time, shard: ShardId, id: &RoomId) {
        let Some(room) = self.rooms.get_mut(id).filter(|r| r.shard == shard) else {
            return;
        };
        room.closed = true;
        let out: Vec<MemberId> = room
            .members
            .iter()
            .filter(|(_, m)| !m.joining)
            .map(|(member, _)| member.clone())
            .collect();
        self.put_out(now, id, &out);
        self.drop_room_if_over(id);
    }

    /// A shard has stopped without being asked: its rooms are gone, their members are told.
    pub(super) fn handle_shard_gone(&mut self, now: Time, shard: ShardId) {
        self.end_rooms_of(now, shard);
        self.bury_shard(shard);
    }

    /// A shard has started anew after a fault. What was sent to it before it hears of this is for rooms that are gone.
    pub(super) fn handle_shard_restarted(&mut self, now: Time, shard: ShardId) {
        self.end_rooms_of(now, shard);
        self.renew_shard(shard);
        self.command_shard(now, shard, ShardCommand::Resume);
    }

    /// After a restart of this core: a room that a shard carries, whose members have lost their sessions.
    pub(super) fn handle_present(
        &mut self,
        now: Time,
        shard: ShardId,
        spec: Arc<RoomSpec>,
        members: Vec<MemberId>,
    ) {
        let Some(state) = self.shards.get_mut(usize::from(shard.0)) else {
            return;
        };
        state.rooms += 1;
        let id = spec.id.clone();
        let lost = |member: MemberId| {
            let member_spec = spec.member(&member)?;
            let reconnect_timeout_ms = member_spec.reconnect_timeout_ms;
            let until = now + millis(reconnect_timeout_ms);
            let membership = Membership {
                presence: Presence::Lost(until),
                joining: false,
                reconnect_timeout_ms,
                tells_leave: member_spec.tells_leave,
            };
            Some((member, until, membership))
        };
        // Declared meanwhile, or not any more: what is declared counts.
        let declared = self.book.declared(&id).cloned();
        let mut room = Room {
            shard,
            from_template: declared.is_none(),
            spec: declared.unwrap_or_else(|| Arc::clone(&spec)),
            members: BTreeMap::new(),
            closed: false,
        };
        for (member, until, membership) in members.into_iter().filter_map(lost) {
            self.timers
                .insert((until, Timer::Lost(id.clone(), member.clone())));
            self.counters.lost += 1;
            self.memberships += 1;
            room.members.insert(member, membership);
        }
        self.rooms.insert(id, room);
    }

    fn end_rooms_of(&mut self, now: Time, shard: ShardId) {
        self.reporting.remove(&shard);
        let rooms: Vec<RoomId> = self
            .rooms
            .iter()
            .filter(|(_, room)| room.shard == shard)
            .map(|(id, _)| id.clone())
            .collect();
        for id in rooms {
            let members: Vec<MemberId> = match self.rooms.get_mut(&id) {
                Some(room) => {
                    room.closed = true;
                    room.members.keys().cloned().collect()
                }
                None => continue,
            };
            self.put_out(now, &id, &members);
            self.drop_room_if_over(&id);
        }
    }

    /// The member is out: told to the shard. Its session has been told, or is gone.
    pub(super) fn remove_member(
        &mut self,
        now: Time,
        room: &RoomId,
        member: &MemberId,
        reason: CloseReason,
    ) {
        let told = Some(leave_reason(reason));
        self.take_out(now, room, member, reason, told);
    }

    /// The same, with a word of its own for the control thread, or none.
    pub(super) fn take_out(
        &mut self,
        now: Time,
        room: &RoomId,
        member: &MemberId,
        reason: CloseReason,
        told: Option<LeaveReason>,
    ) {
        let Some(shard) = self.rooms.get(room).map(|r| r.shard) else {
            return;
        };
        if !self.take_membership(room, member, told) {
            return;
        }
        self.drop_room_if_over(room);
        let command = ShardCommand::Leave {
            room: room.clone(),
            member: member.clone(),
            reason,
        };
        self.command_shard(now, shard, command);
    }

    /// The member's session is gone: media stays up for the member's reconnect timeout.
    pub(super) fn lose_member(
        &mut self,
        now: Time,
        session: SessionId,
        room: &RoomId,
        member: &MemberId,
    ) {
        let Some(found) = self.rooms.get_mut(room) else {
            return;
        };
        let shard = found.shard;
        let Some(membership) = found.members.get_mut(member) else {
            return;
        };
        if membership.presence != Presence::Here(session) {
            return;
        }
        let until = now + millis(membership.reconnect_timeout_ms);
        membership.presence = Presence::Lost(until);
        self.counters.lost += 1;
        self.timers
            .insert((until, Timer::Lost(room.clone(), member.clone())));
        let command = ShardCommand::Lost {
            session,
            room: room.clone(),
            member: member.clone(),
        };
        self.command_shard(now, shard, command);
    }

    /// The reconnect timeout of a lost member has passed.
    pub(super) fn lost_timeout(&mut self, now: Time, room: &RoomId, member: &MemberId) {
        self.remove_member(now, room, member, CloseReason::Idle);
    }

    /// A join that its shard's channel did not take. Whether the session is still in another room.
    pub(super) fn undo_join(
        &mut self,
        now: Time,
        session: SessionId,
        room: &RoomId,
        member: &MemberId,
    ) -> bool {
        let speaks = self
            .rooms
            .get(room)
            .and_then(|r| r.members.get(member))
            .is_some_and(|m| m.presence == Presence::Here(session));
        if speaks {
            self.forget(now, session, room);
            self.take_membership(room, member, Some(LeaveReason::Kicked));
            self.drop_refused_room(room);
        }
        self.sessions
            .get(&session)
            .is_some_and(|s| !s.memberships.is_empty())
    }

    /// A failed join closes the socket of a session that is in no room, and is an event for any other.
    pub(super) fn refuse_join(&mut self, now: Time, id: SessionId, room: RoomId, refusal: Refusal) {
        let reason = match refusal {
            Refusal::Rejected => CloseReason::Rejected,
            Refusal::Evicted => CloseReason::Evicted,
        };
        match refusal {
            Refusal::Rejected => self.counters.joins_rejected += 1,
            Refusal::Evicted => self.counters.evicted += 1,
        }
        if let Some(member) = self.member_in(id, &room) {
            // The client takes `RoomLeft` for the end of the membership it had, so that it is.
            self.forget(now, id, &room);
            self.remove_member(now, &room, &member, reason);
        } else if self.is_roomless(id) {
            self.close_output(id, reason);
            self.end_session(now, id, None);
            return;
        }
        self.send_left(id, room, reason);
        // Guessing credentials behind a good membership is bounded like any other nonsense.
        self.strike(now, id);
    }

    /// The shard of `room`, which is placed now if it is new. `None` if there is no place.
    fn room_for(&mut self, id: &RoomId, spec: &Arc<RoomSpec>) -> Option<ShardId> {
        if let Some(room) = self.rooms.get_mut(id) {
            // A token may have brought another member.
            room.spec = spec.clone();
            return Some(room.shard);
        }
        let shard = self.linked_shard(id, spec).or_else(|| self.place())?;
        let state = self.shards.get_mut(usize::from(shard.0))?;
        if state.rooms >= self.settings.rooms_per_shard_max {
            return None;
        }
        state.rooms += 1;
        let room = Room {
            shard,
            spec: spec.clone(),
            from_template: self.book.declared(id).is_none(),
            members: BTreeMap::new(),
            closed: false,
        };
        self.rooms.insert(id.clone(), room);
        Some(shard)
    }

    /// `id` speaks for the member from now on, whoever did before.
    fn take_over(
        &mut self,
        now: Time,
        id: SessionId,
        room: &RoomId,
        member: &MemberId,
        member_spec: &MemberSpec,
    ) {
        let Some(found) = self.rooms.get_mut(room) else {
            return;
        };
        let fresh = Membership {
            presence: Presence::Here(id),
            joining: true,
            reconnect_timeout_ms: member_spec.reconnect_timeout_ms,
            tells_leave: member_spec.tells_leave,
        };
        let first = found.members.is_empty();
        let before = found.members.insert(member.clone(), fresh);
        if first {
            self.tell(Notice::Occupied(room.clone()));
        }
        match before.map(|m| m.presence) {
            Some(Presence::Here(old)) if old != id => {
                self.forget(now, old, room);
                match self.is_roomless(old) {
                    true => {
                        self.close_output(old, CloseReason::Reconnected);
                        self.end_session(now, old, None);
                    }
                    false => self.send_left(old, room.clone(), CloseReason::Reconnected),
                }
            }
            Some(Presence::Here(_)) => return,
            Some(Presence::Lost(until)) => self.unlose(until, room, member),
            None => self.memberships += 1,
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.memberships.push((room.clone(), member.clone()));
        }
    }

    /// `RoomJoined` of the shard: whether it is for a membership that still waits for it.
    fn confirm_join(&mut self, id: SessionId, room: &RoomId, member: &MemberId) -> bool {
        let Some(found) = self.rooms.get_mut(room) else {
            return false;
        };
        found.closed = false;
        let Some(membership) = found.members.get_mut(member) else {
            return false;
        };
        if membership.presence != Presence::Here(id) {
            return false;
        }
        membership.joining = false;
        self.counters.joins += 1;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.joined = true;
            session.ever_joined = true;
        }
        self.rearm(id);
        true
    }

    /// `RoomLeft` of the shard: the membership is over there already.
    fn handle_left(&mut self, now: Time, id: SessionId, room: RoomId, reason: CloseReason) {
        let Some(member) = self.member_in(id, &room) else {
            return;
        };
        let joining = self
            .rooms
            .get(&room)
            .and_then(|r| r.members.get(&member))
            .is_some_and(|m| m.joining);
        if joining && matches!(reason, CloseReason::Finished | CloseReason::Reconnected) {
            return;
        }
        self.forget(now, id, &room);
        self.take_membership(&room, &member, Some(leave_reason(reason)));
        match joining {
            true => self.drop_refused_room(&room),
            false => self.drop_room_if_over(&room),
        }
        if joining && self.is_roomless(id) {
            self.close_output(id, reason);
            self.end_session(now, id, None);
            return;
        }
        self.send_left(id, room, reason);
        self.rearm(id);
    }

    /// Ends memberships after a fault of their shard, and tells those who listen.
    fn put_out(&mut self, now: Time, room: &RoomId, members: &[MemberId]) {
        for member in members {
            let presence = self.rooms.get(room).and_then(|r| r.presence(member));
            self.take_membership(room, member, Some(LeaveReason::Kicked));
            if let Some(Presence::Here(session)) = presence {
                self.forget(now, session, room);
                self.send_left(session, room.clone(), CloseReason::InternalError);
            }
        }
    }

    /// Removes the membership from its room; for a reason that the control thread is told, if it wants to be.
    /// `false` if there was none.
    fn take_membership(
        &mut self,
        id: &RoomId,
        member: &MemberId,
        reason: Option<LeaveReason>,
    ) -> bool {
        let Some(room) = self.rooms.get_mut(id) else {
            return false;
        };
        let Some(membership) = room.members.remove(member) else {
            return false;
        };
        let empty = room.members.is_empty();
        if room.from_template {
            forget_token_member(&mut room.spec, member);
        }
        self.memberships = self.memberships.saturating_sub(1);
        if let Presence::Lost(until) = membership.presence {
            self.unlose(until, id, member);
        }
        if let Some(reason) = reason.filter(|_| membership.tells_leave) {
            self.tell_left(id, member, reason);
        }
        if empty {
            self.tell(Notice::Empty(id.clone()));
        }
        true
    }

    fn unlose(&mut self, until: Time, room: &RoomId, member: &MemberId) {
        self.counters.lost = self.counters.lost.saturating_sub(1);
        self.timers
            .remove(&(until, Timer::Lost(room.clone(), member.clone())));
    }

    /// Forgets an empty room that its shard has closed. One that its shard still has keeps its place, so that
    /// nobody joins it elsewhere meanwhile.
    pub(super) fn drop_room_if_over(&mut self, id: &RoomId) {
        if self
            .rooms
            .get(id)
            .is_some_and(|r| r.closed && r.members.is_empty())
        {
            self.drop_room(id);
        }
    }

    /// Forgets an empty room whose first join was refused: its shard never had it, and will not report it.
    fn drop_refused_room(&mut self, id: &RoomId) {
        if self.rooms.get(id).is_some_and(|r| r.members.is_empty()) {
            self.drop_room(id);
        }
    }

    fn drop_room(&mut self, id: &RoomId) {
        if let Some(room) = self.rooms.remove(id)
            && let Some(shard) = self.shards.get_mut(usize::from(room.shard.0))
        {
            shard.rooms = shard.rooms.saturating_sub(1);
        }
    }

    pub(super) fn member_in(&self, id: SessionId, room: &RoomId) -> Option<MemberId> {
        self.sessions.get(&id)?.member_in(room).cloned()
    }

    pub(super) fn is_roomless(&self, id: SessionId) -> bool {
        self.sessions
            .get(&id)
            .is_some_and(|s| s.memberships.is_empty())
    }

    /// The session no longer speaks in `room`; in no room at all, its join deadline runs again.
    pub(super) fn forget(&mut self, now: Time, id: SessionId, room: &RoomId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.forget(now, room);
            self.rearm(id);
        }
    }

    pub(super) fn send_left(&mut self, id: SessionId, room: RoomId, close_reason: CloseReason) {
        if self.sessions.contains_key(&id) {
            self.send_event(id, room, Event::RoomLeft { close_reason });
        }
    }
}

/// A member that came with a token is known as long as it is there.
fn forget_token_member(spec: &mut Arc<RoomSpec>, member: &MemberId) {
    if spec.members.contains_key(member) {
        Arc::make_mut(spec).members.remove(member);
    }
}

/// What a reason told to a client means to whoever made the room.
pub(super) fn leave_reason(reason: CloseReason) -> LeaveReason {
    match reason {
        CloseReason::Finished | CloseReason::Reconnected => LeaveReason::Disconnected,
        CloseReason::Idle => LeaveReason::Lost,
        CloseReason::Rejected | CloseReason::InternalError | CloseReason::Evicted => {
            LeaveReason::Kicked
        }
    }
}
