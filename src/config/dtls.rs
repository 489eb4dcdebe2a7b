//! `[dtls]`: the handshake of media.

use serde::Deserialize;

/// DTLS of all transports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dtls {
    /// Also offer DTLS 1.3. Off until its one open flaw is guarded (docs/decisions/0001).
    pub dtls13: bool,
}
