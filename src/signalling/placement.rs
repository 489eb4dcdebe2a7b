//! Which shard a new room goes to, and what waits for a shard that is behind.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Signalling, SignallingOutput, Timer};
use crate::bus::client::{CloseReason, Event};
use crate::bus::shard::ShardCommand;
use crate::bus::spec::RoomSpec;
use crate::id::{RoomId, SessionId, ShardId};
use crate::limits::SHARD_BACKLOG_MAX;
use crate::time::Time;

/// How long to wait before a full shard is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// What is known of one shard.
#[derive(Debug, Default)]
pub(super) struct ShardState {
    /// Share of the last second its loop was busy, 0.0–1.0.
    pub(super) busy_ratio: f64,
    /// Rooms placed on it.
    pub(super) rooms: usize,
    /// It is gone: no room is placed on it.
    dead: bool,
    /// Leaves and losses that a full channel did not take. They must arrive, or members would stay for ever.
    backlog: VecDeque<ShardCommand>,
    /// When they are tried again: the shard's entry in `timers`.
    retry_at: Option<Time>,
}

impl ShardState {
    /// Whether commands wait for it.
    pub(super) fn is_behind(&self) -> bool {
        self.retry_at.is_some()
    }
}

impl Signalling {
    /// The least busy shard; of equally busy ones that with the fewest rooms. Five percent more or less are equal:
    /// otherwise the noise of idle shards would decide, and rooms of one second would pile up on one shard.
    pub(super) fn place(&self) -> Option<ShardId> {
        let load = |shard: &ShardState| ((shard.busy_ratio * 20.0) as u32, shard.rooms);
        let (n, _) = self
            .shards
            .iter()
            .enumerate()
            .filter(|(_, shard)| !shard.dead)
            .min_by_key(|(_, shard)| load(shard))?;
        u16::try_from(n).ok().map(ShardId)
    }

    /// The shard of a room that plays media of `id`, or whose media `id` plays: such rooms see each other on one shard
    /// only.
    pub(super) fn linked_shard(&self, id: &RoomId, spec: &RoomSpec) -> Option<ShardId> {
        if !self.book.has_imports() {
            return None;
        }
        let mut rooms = self.rooms.iter();
        let (_, room) = rooms.find(|(other, room)| {
            *other != id && (spec.imports_from(other) || room.spec.imports_from(id))
        })?;
        Some(room.shard())
    }

    /// Sends a command to a shard, behind what already waits for it.
    pub(super) fn command_shard(&mut self, now: Time, shard: ShardId, command: ShardCommand) {
        let waiting = self
            .shards
            .get(usize::from(shard.0))
            .is_some_and(ShardState::is_behind);
        match waiting {
            true => self.handle_shard_full(now, shard, command),
            false => self
                .outputs
                .push_back(SignallingOutput::Shard { shard, command }),
        }
    }

    /// The shard's channel did not take `command`. What a client asked for is refused by closing its session as
    /// `Evicted`; what must not be lost is tried again.
    pub fn handle_shard_full(&mut self, now: Time, shard: ShardId, command: ShardCommand) {
        match command {
            ShardCommand::Join {
                session,
                room,
                member,
                ..
            } => {
                // The shard has never heard of this session: nothing to take back there.
                let had_others = self.undo_join(now, session, &room, &member);
                self.refuse_for_load(now, session, had_others, room);
            }
            ShardCommand::Client { session, .. } => {
                if self.sessions.contains_key(&session) {
                    self.evict(now, session);
                }
            }
            command => self.keep(now, shard, command),
        }
    }

    fn refuse_for_load(&mut self, now: Time, session: SessionId, had_others: bool, room: RoomId) {
        if !self.sessions.contains_key(&session) {
            return;
        }
        match had_others {
            true => self.send_event(
                session,
                room,
                Event::RoomLeft {
                    close_reason: CloseReason::Evicted,
                },
            ),
            false => self.evict(now, session),
        }
    }

    fn keep(&mut self, now: Time, shard: ShardId, command: ShardCommand) {
        let Some(state) = self.shards.get_mut(usize::from(shard.0)) else {
            return;
        };
        // Two per member at most (lost, then left), so the bound is out of reach while the maps keep theirs.
        if state.retry_at.is_none() {
            state.retry_at = Some(now + RETRY);
            self.timers.insert((now + RETRY, Timer::Backlog(shard)));
        }
        if state.backlog.len() < SHARD_BACKLOG_MAX {
            state.backlog.push_back(command);
        }
    }

    /// Tries everything that waits for `shard` again, in order.
    pub(super) fn retry_backlog(&mut self, shard: ShardId) {
        if let Some(state) = self.shards.get_mut(usize::from(shard.0)) {
            state.retry_at = None;
            for command in std::mem::take(&mut state.backlog) {
                self.outputs
                    .push_back(SignallingOutput::Shard { shard, command });
            }
        }
    }

    /// Forgets what was placed on the shard and what waits for it. `false` if it is gone for good.
    pub(super) fn renew_shard(&mut self, shard: ShardId) -> bool {
        let Some(state) = self.shards.get_mut(usize::from(shard.0)) else {
            return false;
        };
        if let Some(due) = state.retry_at {
            self.timers.remove(&(due, Timer::Backlog(shard)));
        }
        *state = ShardState {
            dead: state.dead,
            ..ShardState::default()
        };
        !state.dead
    }

    /// The shard is gone for good.
    pub(super) fn bury_shard(&mut self, shard: ShardId) {
        self.renew_shard(shard);
        if let Some(state) = self.shards.get_mut(usize::from(shard.0)) {
            state.dead = true;
        }
    }
}
