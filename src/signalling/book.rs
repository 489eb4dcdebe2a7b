//! Which rooms there may be: those of the Control API and of static specs, and those made from a template.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bus::spec::RoomSpec;
use crate::id::RoomId;

/// Makes the spec of a room that nobody has declared, or refuses it.
pub type Template = Box<dyn Fn(&RoomId) -> Option<Arc<RoomSpec>> + Send>;

/// Rooms by id. Bounded by whoever fills it.
#[derive(Default)]
pub struct RoomBook {
    declared: BTreeMap<RoomId, Arc<RoomSpec>>,
    template: Option<Template>,
    by_token: bool,
    /// Declared rooms of which a member has a hash for a credential.
    hashed: usize,
    /// Declared rooms that play media of other rooms.
    importing: usize,
}

impl RoomBook {
    /// Declared rooms only.
    pub fn new(declared: impl IntoIterator<Item = Arc<RoomSpec>>) -> Self {
        let mut book = Self::default();
        for spec in declared {
            book.set(spec.id.clone(), Some(spec));
        }
        book
    }

    /// Besides, whatever `template` makes; who may join is in what it makes.
    #[must_use]
    pub fn with_template(mut self, template: Template) -> Self {
        self.template = Some(template);
        self
    }

    /// Besides, whatever `template` makes; who may join is said by a token.
    #[must_use]
    pub fn with_token_template(mut self, template: Template) -> Self {
        self.by_token = true;
        self.with_template(template)
    }

    /// The declared room.
    pub(super) fn declared(&self, id: &RoomId) -> Option<&Arc<RoomSpec>> {
        self.declared.get(id)
    }

    /// A room that nobody has declared.
    pub(super) fn templated(&self, id: &RoomId) -> Option<Arc<RoomSpec>> {
        self.template.as_ref()?(id)
    }

    /// Whether the members of rooms that nobody has declared show tokens.
    pub(super) fn is_by_token(&self) -> bool {
        self.by_token
    }

    /// Declares a room, or takes it back.
    pub(super) fn set(&mut self, id: RoomId, spec: Option<Arc<RoomSpec>>) {
        self.hashed += usize::from(spec.as_ref().is_some_and(|s| s.has_hashes()));
        self.importing += usize::from(spec.as_ref().is_some_and(|s| !s.imports.is_empty()));
        let before = match spec {
            Some(spec) => self.declared.insert(id, spec),
            None => self.declared.remove(&id),
        };
        self.hashed -= usize::from(before.as_ref().is_some_and(|s| s.has_hashes()));
        self.importing -= usize::from(before.is_some_and(|s| !s.imports.is_empty()));
    }

    /// Whether any declared room plays media of another one.
    pub(super) fn has_imports(&self) -> bool {
        self.importing > 0
    }

    /// Whether any credential of a declared room takes long to check.
    pub(super) fn has_hashes(&self) -> bool {
        self.hashed > 0
    }
}
