//! `[ice]`: STUN and TURN servers that clients are told.

use serde::Deserialize;

/// Servers of clients that cannot be reached, or cannot reach the server, directly.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ice {
    /// `stun:` URLs.
    pub stun: Vec<String>,
    /// `turn:` and `turns:` URLs.
    pub turn: Vec<String>,
    /// Secret shared with the TURN servers: each client gets credentials of its own, which expire.
    pub turn_secret: Option<String>,
    /// How long such credentials are good, s.
    pub turn_ttl_s: u32,
    /// User of the TURN servers, the same for all clients; instead of `turn_secret`.
    pub turn_username: Option<String>,
    /// Password of `turn_username`.
    pub turn_password: Option<String>,
}

impl Default for Ice {
    fn default() -> Self {
        Self {
            stun: Vec::new(),
            turn: Vec::new(),
            turn_secret: None,
            turn_ttl_s: 86_400,
            turn_username: None,
            turn_password: None,
        }
    }
}

impl std::fmt::Debug for Ice {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ice")
            .field("stun", &self.stun)
            .field("turn", &self.turn)
            .field("turn_ttl_s", &self.turn_ttl_s)
            .finish_non_exhaustive()
    }
}
