//! Members and their rooms: joining, leaving, being lost and coming back.
//!
//! A membership is made here when the credential is right, and confirmed by the shard's `RoomJoined`. Between the
//! two it is `joining`, which tells a late `RoomLeft` of an earlier membership from a refusal of this one.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use super::session::millis;
use super::{Signalling, Timer};
use crate::bus::client::{Capabilities, CloseReason, Command, Event};
use crate::bus::shard::ShardCommand;
use crate::bus::spec::{MemberSpec, RoomSpec};
use crate::faults;
use crate::id::{MemberId, RoomId, SessionId, ShardId};
use crate::limits::MEMBERSHIPS_MAX;
use crate::time::Time;

/// A room that a shard has, or is about to have.
#[derive(Debug)]
pub(super) struct Room {
    shard: ShardId,
    spec: Arc<RoomSpec>,
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
    /// Its members and who speaks for them.
    pub(super) fn presences(&self) -> impl Iterator<Item = (&MemberId, Presence)> {
        self.members.iter().map(|(id, m)| (id, m.presence))
    }
}

/// Why a join goes no further.
enum Refusal {
    /// Wrong room, member or credential: told apart to nobody.
    Rejected,
    /// A limit.
    Evicted,
}

impl Signalling {
    /// `JoinRoom`.
    pub(super) fn join(
        &mut self,
        now: Time,
        id: SessionId,
        room: RoomId,
        member: MemberId,
        credential: &str,
        capabilities: Capabilities,
    ) {
        let admitted = self
            .admitted(&room, &member, credential)
            .ok_or(Refusal::Rejected)
            .and_then(|admitted| self.within_limits(id, &room).map(|()| admitted));
        let (spec, member_spec) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refuse_join(now, id, room, &refusal),
        };
        // One member per room and session: events name the room only.
        if let Some(other) = self.member_in(id, &room)
            && other != member
        {
            self.forget(now, id, &room);
            self.remove_member(now, &room, &other, CloseReason::Finished);
        }
        let Some(shard) = self.room_for(&room, &spec) else {
            return self.refuse_join(now, id, room, &Refusal::Evicted);
        };
        self.take_over(now, id, &room, &member, member_spec.reconnect_timeout_ms);
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
            let reconnect_timeout_ms = spec.member(&member)?.reconnect_timeout_ms;
            let until = now + millis(reconnect_timeout_ms);
            let membership = Membership {
                presence: Presence::Lost(until),
                joining: false,
                reconnect_timeout_ms,
            };
            Some((member, until, membership))
        };
        let mut room = Room {
            shard,
            spec: Arc::clone(&spec),
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
        let Some(shard) = self.rooms.get(room).map(|r| r.shard) else {
            return;
        };
        if !self.take_membership(room, member) {
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
            self.take_membership(room, member);
            self.drop_refused_room(room);
        }
        self.sessions
            .get(&session)
            .is_some_and(|s| !s.memberships.is_empty())
    }

    /// Room and member specs, if the credential is right. Takes as long for an unknown member as for a wrong
    /// credential, and tells them apart to nobody (threats.md rule 9).
    fn admitted(
        &self,
        room: &RoomId,
        member: &MemberId,
        credential: &str,
    ) -> Option<(Arc<RoomSpec>, Arc<MemberSpec>)> {
        let spec = match self.rooms.get(room) {
            Some(room) => Some(room.spec.clone()),
            None => (self.specs)(room),
        };
        let member_spec = spec.as_ref().and_then(|s| s.member(member)).cloned();
        let wanted = member_spec.as_ref().map_or("", |m| m.credential.as_str());
        let same = same_secret(wanted, credential);
        match (spec, member_spec) {
            (Some(spec), Some(member)) if same => Some((spec, member)),
            _ => None,
        }
    }

    fn within_limits(&self, id: SessionId, room: &RoomId) -> Result<(), Refusal> {
        let session = self.sessions.get(&id).ok_or(Refusal::Evicted)?;
        let again = session.member_in(room).is_some();
        let full = session.memberships.len() >= self.settings.rooms_per_session_max
            || self.memberships >= MEMBERSHIPS_MAX;
        match full && !again {
            true => Err(Refusal::Evicted),
            false => Ok(()),
        }
    }

    /// A failed join closes the socket of a session that is in no room, and is an event for any other.
    fn refuse_join(&mut self, now: Time, id: SessionId, room: RoomId, refusal: &Refusal) {
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
        if let Some(room) = self.rooms.get(id) {
            return Some(room.shard);
        }
        let shard = self.place()?;
        let state = self.shards.get_mut(usize::from(shard.0))?;
        if state.rooms >= self.settings.rooms_per_shard_max {
            return None;
        }
        state.rooms += 1;
        let room = Room {
            shard,
            spec: spec.clone(),
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
        reconnect_timeout_ms: u32,
    ) {
        let Some(found) = self.rooms.get_mut(room) else {
            return;
        };
        let fresh = Membership {
            presence: Presence::Here(id),
            joining: true,
            reconnect_timeout_ms,
        };
        let before = found.members.insert(member.clone(), fresh);
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
        self.take_membership(&room, &member);
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
            let presence = self
                .rooms
                .get(room)
                .and_then(|r| r.members.get(member))
                .map(|m| m.presence);
            self.take_membership(room, member);
            if let Some(Presence::Here(session)) = presence {
                self.forget(now, session, room);
                self.send_left(session, room.clone(), CloseReason::InternalError);
            }
        }
    }

    /// Removes the membership from its room. `false` if there was none.
    fn take_membership(&mut self, room: &RoomId, member: &MemberId) -> bool {
        let taken = self
            .rooms
            .get_mut(room)
            .and_then(|r| r.members.remove(member));
        let Some(membership) = taken else {
            return false;
        };
        self.memberships = self.memberships.saturating_sub(1);
        if let Presence::Lost(until) = membership.presence {
            self.unlose(until, room, member);
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
    fn drop_room_if_over(&mut self, id: &RoomId) {
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

    fn member_in(&self, id: SessionId, room: &RoomId) -> Option<MemberId> {
        self.sessions.get(&id)?.member_in(room).cloned()
    }

    fn is_roomless(&self, id: SessionId) -> bool {
        self.sessions
            .get(&id)
            .is_some_and(|s| s.memberships.is_empty())
    }

    /// The session no longer speaks in `room`; in no room at all, its join deadline runs again.
    fn forget(&mut self, now: Time, id: SessionId, room: &RoomId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.forget(now, room);
            self.rearm(id);
        }
    }

    fn send_left(&mut self, id: SessionId, room: RoomId, close_reason: CloseReason) {
        if self.sessions.contains_key(&id) {
            self.send_event(id, room, Event::RoomLeft { close_reason });
        }
    }
}

/// Constant time in the contents and, by hashing first, in the length.
fn same_secret(wanted: &str, given: &str) -> bool {
    let wanted = digest(&SHA256, wanted.as_bytes());
    let given = digest(&SHA256, given.as_bytes());
    wanted.as_ref().ct_eq(given.as_ref()).into()
}
