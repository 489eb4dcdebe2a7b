//! Rooms that play media of other rooms of this shard: after each change, what one lets the other play and who wants it
//! is carried between them. Rooms of different shards do not see each other; signalling places linked rooms together.

use std::collections::BTreeSet;

use super::Shard;
use crate::id::RoomId;
use crate::limits::LINK_ROUNDS_MAX;
use crate::room::Room;
use crate::room::imports::Imports;
use crate::time::Time;
use crate::transmit::TransmitQueue;

impl Shard {
    /// A room has changed, come or gone: others may have to know.
    pub(super) fn note_linked(&mut self, id: &RoomId) {
        let imports = self
            .rooms
            .get(id)
            .is_some_and(|room| !room.spec().imports.is_empty());
        if imports {
            self.importers.insert(id.clone());
        }
        if !self.importers.is_empty() {
            self.unlinked.insert(id.clone());
        }
    }

    /// Carries what has changed between rooms, until nothing changes any more.
    pub(super) fn carry_links(&mut self, now: Time, tx: &mut TransmitQueue) {
        // A change goes there and back; anything longer waits for the next call.
        for _ in 0..LINK_ROUNDS_MAX {
            let changed = std::mem::take(&mut self.unlinked);
            if changed.is_empty() {
                return;
            }
            for (source, importer) in self.pairs_of(&changed) {
                self.carry(now, tx, &source, &importer);
            }
        }
    }

    /// (source, importer) of every link that one of `changed` is an end of.
    fn pairs_of(&mut self, changed: &BTreeSet<RoomId>) -> BTreeSet<(RoomId, RoomId)> {
        let mut pairs = BTreeSet::new();
        for importer in &self.importers {
            let spec = self.rooms.get(importer).map(|room| room.spec());
            let sources = spec.iter().flat_map(|s| s.imports.values());
            for (source, _) in sources {
                if changed.contains(source) || changed.contains(importer) {
                    pairs.insert((source.clone(), importer.clone()));
                }
            }
            // What it does not import any more, it does not want any more.
            if changed.contains(importer) {
                let wanted = self.rooms.iter().filter(|(_, r)| r.has_foreign(importer));
                pairs.extend(wanted.map(|(source, _)| (source.clone(), importer.clone())));
            }
        }
        let rooms = &self.rooms;
        self.importers.retain(|id| {
            let spec = rooms.get(id).map(Room::spec);
            spec.is_some_and(|s| !s.imports.is_empty())
        });
        pairs
    }

    fn carry(&mut self, now: Time, tx: &mut TransmitQueue, source: &RoomId, importer: &RoomId) {
        let exports = match (self.rooms.get(source), self.rooms.get(importer)) {
            (Some(from), Some(to)) => from.exports(to),
            _ => Imports::new(),
        };
        let taken = self.guarded(now, tx, importer, |room, cx| {
            let changed = room.set_imports(source, exports);
            if changed {
                room.refresh(cx);
            }
            (changed, room.demand_of(source))
        });
        let (changed, demand) = taken.unwrap_or_default();
        if changed {
            self.unlinked.insert(importer.clone());
        }
        self.guarded(now, tx, source, |room, cx| {
            if room.set_foreign(importer, demand) {
                room.refresh(cx);
            }
        });
    }
}
