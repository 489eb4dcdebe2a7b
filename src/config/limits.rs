//! `[limits]`: how much one server takes on. Each can be lowered; what it is without is the most there can be.

use serde::Deserialize;

use crate::limits::{
    DTLS_HANDSHAKES_PER_S, MEMBERS_PER_ROOM_MAX, ROOMS_PER_SESSION_MAX, ROOMS_PER_SHARD_MAX,
    SESSION_COMMANDS_PER_S, SESSIONS_MAX,
};

/// Bounds that an operator may lower. All others are constants of `src/limits.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// WebSockets at a time. More: HTTP 503.
    pub sessions: usize,
    /// Rooms one WebSocket may be in. More: the join is refused.
    pub rooms_per_session: usize,
    /// Commands per second of one WebSocket on average, and five times as many at once. More: closed as `Evicted`.
    pub commands_per_s: u32,
    /// Rooms of one shard. More: joins are refused.
    pub rooms_per_shard: usize,
    /// Members of one room. More: joins are refused.
    pub members_per_room: usize,
    /// DTLS handshakes begun per second and shard. More: clients wait and try again.
    pub handshakes_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: SESSIONS_MAX,
            rooms_per_session: ROOMS_PER_SESSION_MAX,
            commands_per_s: SESSION_COMMANDS_PER_S,
            rooms_per_shard: ROOMS_PER_SHARD_MAX,
            members_per_room: MEMBERS_PER_ROOM_MAX,
            handshakes_per_s: DTLS_HANDSHAKES_PER_S,
        }
    }
}

impl Limits {
    /// Keys with their values and the most each may be.
    pub fn bounds(&self) -> [(&'static str, usize, usize); 6] {
        let most = Limits::default();
        [
            ("limits.sessions", self.sessions, most.sessions),
            (
                "limits.rooms_per_session",
                self.rooms_per_session,
                most.rooms_per_session,
            ),
            (
                "limits.commands_per_s",
                self.commands_per_s as usize,
                most.commands_per_s as usize,
            ),
            (
                "limits.rooms_per_shard",
                self.rooms_per_shard,
                most.rooms_per_shard,
            ),
            (
                "limits.members_per_room",
                self.members_per_room,
                most.members_per_room,
            ),
            (
                "limits.handshakes_per_s",
                self.handshakes_per_s as usize,
                most.handshakes_per_s as usize,
            ),
        ]
    }
}
