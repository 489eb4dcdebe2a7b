//! `[callbacks]`: how whoever made a room is asked and told.

use serde::Deserialize;

/// Callbacks of room specs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Callbacks {
    /// Key of the signature of `http://` and `https://` callbacks; left out: they have none.
    pub signing_key: Option<String>,
    /// One try ends after this time, ms; a member whose `on_join` is not answered in it is refused.
    pub timeout_ms: u32,
    /// Times a callback that is no question is tried, with growing pauses.
    pub tries: u32,
}

impl Default for Callbacks {
    fn default() -> Self {
        Self {
            signing_key: None,
            timeout_ms: 5_000,
            tries: 5,
        }
    }
}

impl std::fmt::Debug for Callbacks {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callbacks")
            .field("timeout_ms", &self.timeout_ms)
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}
