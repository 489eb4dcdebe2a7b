//! Rooms that remove themselves: empty for `ttl_empty`, or open for `max_duration`. And whom callbacks go to.

use std::time::Duration;

use super::{Change, Outcome, Store, edit};
use crate::bus::control::Notice;
use crate::control::fid::Fid;
use crate::control::spec::element::{Endpoint, Publish, RoomChild};
use crate::id::RoomId;
use crate::time::Time;

/// An occasion for a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A member wants in.
    Join,
    /// A member is out.
    Leave,
    /// Media of an endpoint starts.
    Start,
    /// Media of an endpoint stops.
    Stop,
}

impl Store {
    /// Who is in which room.
    pub fn handle_notice(&mut self, now: Time, notice: &Notice) {
        let (id, empty) = match notice {
            Notice::Occupied(id) => (id, false),
            Notice::Empty(id) => (id, true),
            Notice::Left { .. } | Notice::Media(_) | Notice::Stats { .. } => return,
        };
        self.unschedule(id);
        if let Some(room) = self.rooms.get_mut(id) {
            room.empty_since = empty.then_some(now);
            if !empty {
                room.opened_at.get_or_insert(now);
            }
        }
        self.schedule(id);
    }

    /// When [`Store::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// Removes every room whose time is over; signalling has to hear of it.
    pub fn handle_timeout(&mut self, now: Time) -> Vec<Change> {
        let mut outcome = Outcome::default();
        while let Some((due, id)) = self.deadlines.first().cloned()
            && due <= now
        {
            self.replace(now, &id, None, &mut outcome);
        }
        outcome.changes
    }

    /// Where a callback about `fid` goes.
    pub fn callback(&self, fid: &Fid, occasion: Occasion) -> Option<String> {
        let room = &self.rooms.get(fid.room())?.element;
        let (Fid::Member(_, member) | Fid::Endpoint(_, member, _)) = fid else {
            return None;
        };
        let Some(RoomChild::Member(member)) = room.spec.pipeline.get(member.as_str()) else {
            return None;
        };
        match occasion {
            Occasion::Join => member.on_join.clone(),
            Occasion::Leave => member.on_leave.clone(),
            Occasion::Start | Occasion::Stop => {
                let super::Element::Endpoint(endpoint) = edit::find(room, fid)? else {
                    return None;
                };
                let (on_start, on_stop) = match endpoint {
                    Endpoint::WebRtcPublishEndpoint {
                        spec:
                            Publish {
                                on_start, on_stop, ..
                            },
                    } => (on_start, on_stop),
                    Endpoint::WebRtcPlayEndpoint { spec } => (spec.on_start, spec.on_stop),
                };
                match occasion {
                    Occasion::Start => on_start,
                    _ => on_stop,
                }
            }
        }
    }

    fn due(&self, id: &RoomId) -> Option<Time> {
        let room = self.rooms.get(id)?;
        let after = |since: Option<Time>, ms: Option<u32>| {
            Some(since? + Duration::from_millis(u64::from(ms?)))
        };
        let empty = after(room.empty_since, room.compiled.ttl_empty_ms);
        let over = after(room.opened_at, room.compiled.max_duration_ms);
        empty.into_iter().chain(over).min()
    }

    pub(super) fn schedule(&mut self, id: &RoomId) {
        if let Some(due) = self.due(id) {
            self.deadlines.insert((due, id.clone()));
        }
    }

    /// Before anything that `due` depends on changes.
    pub(super) fn unschedule(&mut self, id: &RoomId) {
        if let Some(due) = self.due(id) {
            self.deadlines.remove(&(due, id.clone()));
        }
    }
}
