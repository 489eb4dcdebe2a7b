//! `[timeouts]`: pings, idleness, reconnects. Members of a spec may have their own.

use serde::Deserialize;

/// Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Time between two pings, ms.
    pub ping_interval_ms: u32,
    /// A session silent for this long is lost, ms. At least 2 × `ping_interval_ms`: known clients crash on less.
    pub idle_timeout_ms: u32,
    /// A lost member's media stays up for this long, ms.
    pub reconnect_timeout_ms: u32,
    /// A session must have joined a room within this time, ms.
    pub join_timeout_ms: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            ping_interval_ms: 3_000,
            idle_timeout_ms: 10_000,
            reconnect_timeout_ms: 10_000,
            join_timeout_ms: 10_000,
        }
    }
}
