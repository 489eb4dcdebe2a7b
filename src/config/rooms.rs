//! `[rooms]`: rooms known at start.

use std::path::PathBuf;

use serde::Deserialize;

/// Static specs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    /// Directory of room specs, `*.yaml`, `*.yml` and `*.toml`, one room each. Left out: no rooms.
    pub specs: Option<PathBuf>,
}
