//! Media of other rooms of the same shard: what a room lets others play, what it plays of them, and who wants what.
//!
//! The shard carries exports and demands between rooms after each change ([`crate::shard`]). A member of another room is
//! known here by a name of its own (`RoomSpec::imports`), so that everything else treats its tracks like any others.

use std::collections::BTreeMap;

use crate::id::{MemberId, RoomId, UpTrackKey};
use crate::room::Room;
use crate::room::codecs::CodecSet;
use crate::room::model::{Member, Source};

/// A track of another room.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The publisher wants it to flow.
    pub enabled: bool,
    /// The publisher sends silence or black.
    pub muted: bool,
    /// The publisher must not disable it.
    pub required: bool,
    /// Its media.
    pub up: Option<UpTrackKey>,
}

/// Tracks by publisher, and source.
pub type Imports = BTreeMap<(MemberId, Source), Imported>;

/// Who receives a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Receivers {
    /// Members, by the names they have in the publisher's room.
    pub members: Vec<MemberId>,
    /// Any of them wants it to flow.
    pub wanted: bool,
    /// Codecs all of them can decode.
    pub decodable: CodecSet,
}

impl Default for Receivers {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            wanted: false,
            decodable: CodecSet::ALL,
        }
    }
}

impl Receivers {
    /// One more.
    pub(super) fn add(&mut self, id: MemberId, wants: bool, decodes: CodecSet) {
        self.members.push(id);
        self.wanted |= wants;
        self.decodable = self.decodable.intersect(decodes);
    }
}

/// Receivers by publisher, and source.
pub type Demand = BTreeMap<(MemberId, Source), Receivers>;

impl Room {
    /// What `importer` plays of this room, by the names it has there.
    pub fn exports(&self, importer: &Room) -> Imports {
        let mut out = Imports::new();
        for (name, (room, member)) in &importer.spec().imports {
            if room != self.id() || !self.runs_sfu() {
                continue;
            }
            let peer = self.members.get(member).and_then(|m| m.peer.as_ref());
            for send in peer.iter().flat_map(|p| p.sends.values()) {
                let imported = Imported {
                    enabled: send.enabled,
                    muted: send.muted,
                    required: send.required,
                    up: send.up,
                };
                out.insert((name.clone(), send.source.clone()), imported);
            }
        }
        out
    }

    /// Takes in what it plays of `from`; whether that is something else than before.
    pub fn set_imports(&mut self, from: &RoomId, imports: Imports) -> bool {
        let spec = self.spec().clone();
        let of_room =
            |name: &MemberId| spec.imports.get(name).is_some_and(|(room, _)| room == from);
        let mut next = self.imported.clone();
        // Names that the spec does not have any more go, whichever room they were of.
        next.retain(|(name, _), _| !of_room(name) && spec.imports.contains_key(name));
        next.extend(imports);
        let changed = next != self.imported;
        self.imported = next;
        changed
    }

    /// Who receives what of `from` here, by the names members have there.
    pub fn demand_of(&self, from: &RoomId) -> Demand {
        let mut out = Demand::new();
        for ((name, source), receivers) in &self.demanded {
            let Some((room, member)) = self.spec().imports.get(name) else {
                continue;
            };
            if room == from && !receivers.members.is_empty() {
                out.insert((member.clone(), source.clone()), receivers.clone());
            }
        }
        out
    }

    /// Takes in who receives what in `importer`; whether that is something else than before.
    pub fn set_foreign(&mut self, importer: &RoomId, demand: Demand) -> bool {
        let before = match demand.is_empty() {
            true => self.foreign.remove(importer),
            false => self.foreign.insert(importer.clone(), demand.clone()),
        };
        before.unwrap_or_default() != demand
    }

    /// Whether anybody in `importer` receives anything of this room.
    pub fn has_foreign(&self, importer: &RoomId) -> bool {
        self.foreign.contains_key(importer)
    }

    /// Whether anybody in another room wants `key` to flow.
    pub(super) fn wanted_elsewhere(&self, key: &(MemberId, Source)) -> bool {
        let mut all = self.foreign.values().filter_map(|demand| demand.get(key));
        all.any(|receivers| receivers.wanted)
    }

    /// Whether `member` plays anything of another room.
    pub(super) fn plays_import(&self, member: &Member) -> bool {
        let plays = |(name, source): &(MemberId, Source)| {
            member.spec.play.plays(name, &source.endpoint, None)
        };
        self.imported.keys().any(plays)
    }
}
