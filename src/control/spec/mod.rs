//! Room specs: the elements of the Control API as text (YAML, TOML, JSON), checked and compiled into a
//! [`RoomSpec`](crate::bus::spec::RoomSpec).
//!
//! Pure: `io` reads the files. Every error names the file and the element (`room/member/endpoint`).

mod compile;
pub mod element;

use std::collections::BTreeMap;

use crate::config::Timeouts;
use crate::control::error::ControlError;
use crate::id::RoomId;

pub use compile::{Compiled, codec_kind, compile};
use element::{RoomElement, RootElement};

/// Why a spec is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {element}: {message}")]
pub struct SpecError {
    /// Name of the file.
    pub file: String,
    /// Full id of the element, or `-` when the text cannot be read at all.
    pub element: String,
    /// What is wrong, and the cure.
    pub message: String,
}

/// How a spec is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.yaml`, `.yml`
    Yaml,
    /// `.toml`
    Toml,
}

/// A room of a spec file.
#[derive(Debug, Clone)]
pub struct BookRoom {
    /// As written.
    pub element: RoomElement,
    /// As the server runs it.
    pub compiled: Compiled,
}

/// Rooms of spec files by id.
#[derive(Debug, Clone, Default)]
pub struct SpecBook {
    rooms: BTreeMap<RoomId, BookRoom>,
}

impl SpecBook {
    /// Adds the room of one file.
    ///
    /// # Errors
    /// The first fault of the text, or that the room is there already.
    pub fn add(
        &mut self,
        file: &str,
        format: Format,
        text: &str,
        timeouts: &Timeouts,
    ) -> Result<(), SpecError> {
        let element = read(file, format, text)?;
        let compiled = check(&element, timeouts).map_err(|error| SpecError {
            file: file.to_owned(),
            element: error.element,
            message: error.message,
        })?;
        let id = compiled.spec.id.clone();
        if self.rooms.contains_key(&id) {
            return Err(SpecError {
                file: file.to_owned(),
                element: id.to_string(),
                message: "another file has this room already; give it another id".to_owned(),
            });
        }
        self.rooms.insert(id, BookRoom { element, compiled });
        Ok(())
    }

    /// Rooms by id.
    pub fn rooms(&self) -> impl Iterator<Item = (&RoomId, &BookRoom)> {
        self.rooms.iter()
    }

    /// Rooms in the book.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether the book has no rooms.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}

/// A file is complete: what would only be a warning over the API is an error in it.
fn check(element: &RoomElement, timeouts: &Timeouts) -> Result<Compiled, ControlError> {
    let compiled = compile(element, timeouts)?;
    match compiled.warnings.first() {
        None => Ok(compiled),
        Some(warning) => Err(warning.clone()),
    }
}

fn read(file: &str, format: Format, text: &str) -> Result<RoomElement, SpecError> {
    let read = match format {
        Format::Yaml => serde_saphyr::from_str(text).map_err(|e| e.to_string()),
        Format::Toml => toml::from_str(text).map_err(|e| e.to_string()),
    };
    let RootElement::Room(room) = read.map_err(|cause| SpecError {
        file: file.to_owned(),
        element: "-".to_owned(),
        message: cause.trim().replace('\n', " "),
    })?;
    Ok(room)
}

#[cfg(test)]
mod tests;
