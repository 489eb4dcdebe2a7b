//! What the Control API has declared: rooms with their members, hubs and endpoints, as written and as compiled.
//!
//! A request changes all it names or nothing: it works on a copy of the room, which takes the old one's place when it
//! compiles. What signalling has to hear comes out as [`Change`]s. Invariant: every room of the store compiles.

mod edit;
mod lifetime;
mod statics;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use lifetime::Occasion;
pub use statics::FileChanges;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use serde::Deserialize;

use crate::bus::spec::RoomSpec;
use crate::config::Timeouts;
use crate::control::error::{ControlError, ErrorCode};
use crate::control::fid::Fid;
use crate::control::spec::element::{
    Credentials, Endpoint, Grants, Hub, Member, RoomChild, RoomElement,
};
use crate::control::spec::{Compiled, SpecBook, compile};
use crate::id::{MemberId, RoomId};
use crate::limits::{CONTROL_IDS_MAX, DECLARED_ROOMS_MAX};
use crate::time::Time;

/// Characters of a URL that need no escape (RFC 3986 section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An element, with everything below it.
#[derive(Debug, Clone, PartialEq)]
pub enum Element {
    /// A room.
    Room(RoomElement),
    /// A member.
    Member(Member),
    /// A hub.
    Hub(Hub),
    /// An endpoint.
    Endpoint(Endpoint),
}

/// What whoever made a room answers to `on_join` besides yes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct JoinAnswer {
    /// See [`Member::grants`].
    pub grants: Option<Grants>,
    /// See [`Member::metadata`].
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// How an element is put where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It must not be there yet.
    Create,
    /// It becomes what is said; what is not said goes.
    Apply,
    /// What is said is added; what is not said stays.
    Append,
}

/// What signalling has to hear.
#[derive(Debug, Clone)]
pub struct Change {
    /// The room.
    pub room: RoomId,
    /// What it is now; `None`: it is gone.
    pub spec: Option<Arc<RoomSpec>>,
}

/// What a request has done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// URL by member, for those that the request named.
    pub sids: BTreeMap<MemberId, String>,
    /// What looks wrong.
    pub warnings: Vec<ControlError>,
    /// What signalling has to hear.
    pub changes: Vec<Change>,
    /// How it was before.
    undo: Vec<(RoomId, Option<Declared>)>,
}

/// Who has declared a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Api,
    File,
}

#[derive(Debug, Clone)]
struct Declared {
    element: RoomElement,
    compiled: Compiled,
    origin: Origin,
    /// Since when nobody is in it; `None`: somebody is.
    empty_since: Option<Time>,
    /// When its first member came.
    opened_at: Option<Time>,
}

/// Everything declared. See the module's head.
pub struct Store {
    timeouts: Timeouts,
    /// Where clients dial, without room and member.
    url: String,
    rooms: BTreeMap<RoomId, Declared>,
    deadlines: BTreeSet<(Time, RoomId)>,
    rng: ChaCha20Rng,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("rooms", &self.rooms.len())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// With the rooms of static specs. `url`: where clients dial, e.g. `wss://sfu.example.org/ws`.
    pub fn new(timeouts: Timeouts, url: String, book: &SpecBook, rng: ChaCha20Rng) -> Self {
        let mut store = Self {
            timeouts,
            url,
            rooms: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            rng,
        };
        store.apply_files(Time::ZERO, book);
        store
    }

    /// What signalling starts with.
    pub fn specs(&self) -> Vec<Arc<RoomSpec>> {
        let specs = self.rooms.values();
        specs.map(|r| Arc::clone(&r.compiled.spec)).collect()
    }

    /// Puts an element where it belongs.
    ///
    /// # Errors
    /// Its parent is not there, it is there already ([`Mode::Create`]), or the room would not compile. Then nothing has
    /// changed.
    pub fn put(
        &mut self,
        now: Time,
        fid: &Fid,
        element: Element,
        mode: Mode,
    ) -> Result<Outcome, ControlError> {
        let id = fid.room();
        let known = self.rooms.get(id);
        let before = known.map(|r| &r.element);
        let mut after = edit::edited(before, fid, element, mode)?;
        if before.is_none() && self.rooms.len() >= DECLARED_ROOMS_MAX {
            return Err(ControlError::new(
                ErrorCode::LimitReached,
                fid.to_string(),
                format!("{DECLARED_ROOMS_MAX} rooms are declared; delete some, or set ttl_empty"),
            ));
        }
        self.fill_credentials(id, &mut after);
        let compiled = compile(&after, &self.timeouts)?;
        let mut outcome = Outcome {
            warnings: compiled.warnings.clone(),
            sids: self.sids(&after, fid),
            ..Outcome::default()
        };
        self.replace(now, id, Some((after, compiled, Origin::Api)), &mut outcome);
        Ok(outcome)
    }

    /// What `on_join` has answered of a member takes the place of what it had. A member that is gone stays gone.
    ///
    /// # Errors
    /// The room would not compile. Then nothing has changed.
    pub fn amend(
        &mut self,
        now: Time,
        room: &RoomId,
        member: &MemberId,
        answer: &JoinAnswer,
    ) -> Result<Outcome, ControlError> {
        let mut outcome = Outcome::default();
        let Some(declared) = self.rooms.get(room) else {
            return Ok(outcome);
        };
        let (mut after, origin) = (declared.element.clone(), declared.origin);
        if let Some(RoomChild::Member(found)) = after.spec.pipeline.get_mut(member.as_str()) {
            found.grants = answer.grants.or(found.grants);
            found.metadata = answer.metadata.clone().or(found.metadata.take());
        }
        if after == declared.element {
            return Ok(outcome);
        }
        let compiled = compile(&after, &self.timeouts)?;
        // What only the application reads changes nothing for anybody in the room.
        let same = compiled.spec == declared.compiled.spec;
        self.replace(now, room, Some((after, compiled, origin)), &mut outcome);
        if same {
            outcome.changes.clear();
        }
        Ok(outcome)
    }

    /// Takes elements out, and what is below them. What is not there is no error.
    ///
    /// # Errors
    /// None is named, or too many are.
    pub fn delete(&mut self, now: Time, fids: &[Fid]) -> Result<Outcome, ControlError> {
        check_count(fids)?;
        let mut outcome = Outcome::default();
        let mut edited: BTreeMap<RoomId, Option<RoomElement>> = BTreeMap::new();
        for fid in fids {
            let id = fid.room();
            let Some(declared) = self.rooms.get(id) else {
                continue;
            };
            let entry = edited.entry(id.clone());
            let room = entry.or_insert_with(|| Some(declared.element.clone()));
            edit::remove(room, fid);
        }
        for (id, room) in edited {
            let next = match room {
                None => None,
                // What compiled goes on compiling with less in it.
                Some(room) => Some((compile(&room, &self.timeouts)?, room)),
            };
            let origin = self.rooms.get(&id).map_or(Origin::Api, |r| r.origin);
            let next = next.map(|(compiled, room)| (room, compiled, origin));
            self.replace(now, &id, next, &mut outcome);
        }
        Ok(outcome)
    }

    /// Elements by full id; those that are not there are left out. No id: every room.
    ///
    /// # Errors
    /// Too many are named.
    pub fn get(&self, fids: &[Fid]) -> Result<BTreeMap<Fid, Element>, ControlError> {
        if fids.is_empty() {
            let all = self.rooms.iter();
            return Ok(all
                .map(|(id, r)| (Fid::Room(id.clone()), Element::Room(r.element.clone())))
                .collect());
        }
        check_count(fids)?;
        let found = fids.iter().filter_map(|fid| {
            let room = &self.rooms.get(fid.room())?.element;
            Some((fid.clone(), edit::find(room, fid)?))
        });
        Ok(found.collect())
    }

    /// Makes a request not to have been.
    pub fn undo(&mut self, outcome: Outcome) {
        for (id, before) in outcome.undo.into_iter().rev() {
            self.unschedule(&id);
            match before {
                Some(declared) => {
                    self.rooms.insert(id.clone(), declared);
                    self.schedule(&id);
                }
                None => {
                    self.rooms.remove(&id);
                }
            }
        }
    }

    /// Rooms declared.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    fn replace(
        &mut self,
        now: Time,
        id: &RoomId,
        next: Option<(RoomElement, Compiled, Origin)>,
        outcome: &mut Outcome,
    ) {
        self.unschedule(id);
        let before = self.rooms.remove(id);
        outcome.changes.push(Change {
            room: id.clone(),
            spec: next
                .as_ref()
                .map(|(_, compiled, _)| Arc::clone(&compiled.spec)),
        });
        if let Some((element, compiled, origin)) = next {
            let declared = Declared {
                element,
                compiled,
                origin,
                empty_since: before.as_ref().map_or(Some(now), |b| b.empty_since),
                opened_at: before.as_ref().and_then(|b| b.opened_at),
            };
            self.rooms.insert(id.clone(), declared);
            self.schedule(id);
        }
        outcome.undo.push((id.clone(), before));
    }

    /// Members without credentials keep those they had, or get random ones.
    fn fill_credentials(&mut self, id: &RoomId, room: &mut RoomElement) {
        let known = self.rooms.get(id).map(|r| &r.element.spec.pipeline);
        for (name, child) in &mut room.spec.pipeline {
            let RoomChild::Member(member) = child else {
                continue;
            };
            if member.credentials.is_some() {
                continue;
            }
            let before = known.and_then(|k| match k.get(name) {
                Some(RoomChild::Member(before)) => before.credentials.clone(),
                _ => None,
            });
            member.credentials = Some(before.unwrap_or_else(|| random_secret(&mut self.rng)));
        }
    }

    /// Where the clients of the members that `fid` names dial.
    fn sids(&self, room: &RoomElement, fid: &Fid) -> BTreeMap<MemberId, String> {
        let named = |name: &str| match fid {
            Fid::Room(_) => true,
            Fid::Member(_, member) => member.as_str() == name,
            Fid::Endpoint(..) => false,
        };
        let members = room.spec.pipeline.iter().filter(|(name, _)| named(name));
        members
            .filter_map(|(name, child)| match child {
                RoomChild::Member(member) => {
                    let id = MemberId::new(name).ok()?;
                    Some((id, self.sid(&room.id, name, member)))
                }
                RoomChild::Hub(_) => None,
            })
            .collect()
    }

    fn sid(&self, room: &str, name: &str, member: &Member) -> String {
        let escape = |text| utf8_percent_encode(text, ESCAPED);
        let mut sid = format!("{}/{}/{}", self.url, escape(room), escape(name));
        let plain = member.credentials.as_ref().and_then(|c| c.plain.as_deref());
        if let Some(plain) = plain {
            sid.push_str(&format!("?token={}", escape(plain)));
        }
        sid
    }
}

fn check_count(fids: &[Fid]) -> Result<(), ControlError> {
    match fids.len() {
        0 => Err(ControlError::new(
            ErrorCode::EmptyElementsList,
            "-",
            "no element is named; name at least one",
        )),
        n if n > CONTROL_IDS_MAX => Err(ControlError::new(
            ErrorCode::LimitReached,
            "-",
            format!("{n} elements are named; name at most {CONTROL_IDS_MAX} at a time"),
        )),
        _ => Ok(()),
    }
}

/// 160 bits in letters and digits.
fn random_secret(rng: &mut ChaCha20Rng) -> Credentials {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letter = |_| {
        let index = (rng.next_u32() % 32) as usize;
        char::from(LETTERS.get(index).copied().unwrap_or(b'a'))
    };
    Credentials {
        plain: Some((0..32).map(letter).collect()),
        hash: None,
    }
}
