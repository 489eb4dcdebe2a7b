//! `[rooms]`: rooms known at start, and rooms that tokens open.

use std::path::PathBuf;

use serde::Deserialize;

/// Static specs and tokens.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    /// Directory of room specs, `*.yaml`, `*.yml` and `*.toml`, one room each. Left out: no rooms.
    pub specs: Option<PathBuf>,
    /// Key of tokens (JWT) signed with HS256: whoever shows a good one joins a room that nobody has declared.
    pub token_hs256_key: Option<String>,
    /// Public key (PEM) of tokens signed with EdDSA.
    pub token_eddsa_key: Option<PathBuf>,
    /// Spec file that rooms opened by tokens are made like; it has no members.
    pub token_template: Option<PathBuf>,
}

impl std::fmt::Debug for Rooms {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rooms")
            .field("specs", &self.specs)
            .field("token_template", &self.token_template)
            .finish_non_exhaustive()
    }
}
