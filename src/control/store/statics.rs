//! Rooms of spec files: read at start and again at SIGHUP, when only what differs is touched.

use super::{Origin, Outcome, Store};
use crate::control::spec::SpecBook;
use crate::id::RoomId;
use crate::time::Time;

/// What reading the files again has changed.
#[derive(Debug, Default)]
pub struct FileChanges {
    /// Rooms that are new.
    pub added: Vec<RoomId>,
    /// Rooms that are something else now.
    pub changed: Vec<RoomId>,
    /// Rooms whose file is gone.
    pub removed: Vec<RoomId>,
    /// Rooms that the API has declared meanwhile; the files have no say.
    pub kept: Vec<RoomId>,
    /// What signalling has to hear.
    pub outcome: Outcome,
}

impl Store {
    /// Brings the rooms of files in line with the files. Rooms of the API are left alone.
    pub fn apply_files(&mut self, now: Time, book: &SpecBook) -> FileChanges {
        let mut changes = FileChanges::default();
        let gone: Vec<RoomId> = self
            .rooms
            .iter()
            .filter(|(id, room)| {
                room.origin == Origin::File && !book.rooms().any(|(other, _)| other == *id)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.replace(now, &id, None, &mut changes.outcome);
            changes.removed.push(id);
        }
        for (id, room) in book.rooms() {
            let list = match self.rooms.get(id) {
                Some(known) if known.origin == Origin::Api => {
                    changes.kept.push(id.clone());
                    continue;
                }
                Some(known) if known.element == room.element => continue,
                Some(_) => &mut changes.changed,
                None => &mut changes.added,
            };
            list.push(id.clone());
            let next = (room.element.clone(), room.compiled.clone(), Origin::File);
            self.replace(now, id, Some(next), &mut changes.outcome);
        }
        changes
    }
}
