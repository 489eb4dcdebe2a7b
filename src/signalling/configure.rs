//! What the Control API changes while people are in their rooms: specs, kicks, draining.

use std::sync::Arc;

use super::Signalling;
use super::membership::Presence;
use crate::bus::client::CloseReason;
use crate::bus::control::{LeaveReason, Notice, Ticket};
use crate::bus::shard::ShardCommand;
use crate::bus::spec::RoomSpec;
use crate::id::{MemberId, RoomId};
use crate::time::Time;

impl Signalling {
    /// A room is declared, declared anew, or taken back (`None`). Members it does not have any more are out, and
    /// nobody is told of them by a [`Notice`]: whoever took them out knows.
    pub fn handle_configure(&mut self, now: Time, id: RoomId, spec: Option<Arc<RoomSpec>>) {
        self.book.set(id.clone(), spec.clone());
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if let Some(spec) = &spec {
            room.spec = Arc::clone(spec);
        }
        room.from_template = false;
        let shard = room.shard();
        let out: Vec<MemberId> = room
            .presences()
            .filter(|(member, _)| spec.as_ref().is_none_or(|s| s.member(member).is_none()))
            .map(|(member, _)| member.clone())
            .collect();
        for member in out {
            self.kick(now, &id, &member, None);
        }
        let Some(spec) = spec else {
            return;
        };
        self.apply_timeouts(now, &id, &spec);
        if self.rooms.contains_key(&id) {
            let command = ShardCommand::Configure { room: id, spec };
            self.command_shard(now, shard, command);
        }
    }

    /// Every member of every room is out, e.g. because the time of a drain is over.
    pub fn handle_evict_all(&mut self, now: Time) {
        let all: Vec<(RoomId, MemberId)> = self
            .rooms
            .iter()
            .flat_map(|(id, room)| room.presences().map(|(m, _)| (id.clone(), m.clone())))
            .collect();
        for (room, member) in all {
            self.kick(now, &room, &member, Some(LeaveReason::Kicked));
        }
    }

    /// Asks the shard of a room how it does; the answer comes as a [`Notice`] with this ticket.
    pub fn handle_stats(&mut self, now: Time, ticket: Ticket, room: RoomId) {
        match self.rooms.get(&room).map(super::membership::Room::shard) {
            Some(shard) => self.command_shard(now, shard, ShardCommand::Stats { ticket, room }),
            None => self.tell(Notice::Stats {
                ticket,
                stats: None,
            }),
        }
    }

    /// Whether new members are let in. Those who are here may come back in any case.
    pub fn handle_drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Everybody who is in a room hears of the end by its socket; whoever made the room, by this.
    pub(super) fn tell_shutdown(&mut self) {
        let rooms = self.rooms.iter();
        let notices: Vec<(RoomId, MemberId)> = rooms
            .flat_map(|(id, room)| room.told_members().map(|m| (id.clone(), m.clone())))
            .collect();
        for (room, member) in notices {
            self.tell_left(&room, &member, LeaveReason::ServerShutdown);
        }
    }

    /// Puts a member out; its client is told, and the control thread for `reason`, if there is one.
    fn kick(&mut self, now: Time, room: &RoomId, member: &MemberId, reason: Option<LeaveReason>) {
        let presence = self.rooms.get(room).and_then(|r| r.presence(member));
        if let Some(Presence::Here(session)) = presence {
            self.forget(now, session, room);
            self.send_left(session, room.clone(), CloseReason::Evicted);
            if self.is_roomless(session) {
                self.close_output(session, CloseReason::Evicted);
                self.end_session(now, session, None);
            }
        }
        self.take_out(now, room, member, CloseReason::Evicted, reason);
    }

    /// Sessions of the room's members get its timeouts.
    fn apply_timeouts(&mut self, now: Time, id: &RoomId, spec: &RoomSpec) {
        let Some(room) = self.rooms.get_mut(id) else {
            return;
        };
        let mut sessions = Vec::new();
        for (member, presence) in room.set_members(spec) {
            if let (Presence::Here(session), Some(found)) = (presence, spec.member(&member)) {
                sessions.push((session, found.rpc));
            }
        }
        for (session, rpc) in sessions {
            self.apply_rpc(now, session, rpc);
        }
    }

    /// Whether the member is in the room, lost or not.
    pub(super) fn is_member(&self, room: &RoomId, member: &MemberId) -> bool {
        self.rooms.get(room).is_some_and(|r| r.has(member))
    }
}
