//! `[private]`: where operators connect.

use std::net::SocketAddr;

use serde::Deserialize;

/// Listener for health and metrics. Never expose it to the internet.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Private {
    /// Address and port; loopback by default.
    pub listen: SocketAddr,
}

impl Default for Private {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8081).into(),
        }
    }
}
