//! `[private]`: where operators and control services connect.

use std::net::SocketAddr;

use serde::Deserialize;

/// Listener for health, metrics and the Control API. Never expose it to the internet.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Private {
    /// Address and port; loopback by default.
    pub listen: SocketAddr,
    /// Bearer key of the Control API; left out: nobody may use it.
    pub api_key: Option<String>,
    /// Whether the gRPC API may be used without the key: services written for it have none to show.
    pub grpc_without_key: bool,
}

impl Default for Private {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8081).into(),
            api_key: None,
            grpc_without_key: false,
        }
    }
}

impl std::fmt::Debug for Private {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Private")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}
