//! `[public]`: where clients connect.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// Listener for WebSocket signalling and the demo page.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Public {
    /// Address and port of HTTP and WebSocket.
    pub listen: SocketAddr,
    /// Certificate chain, PEM. With `tls_key`: HTTPS and WSS only.
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM (PKCS#8, PKCS#1 or SEC1).
    pub tls_key: Option<PathBuf>,
    /// Web origins that may open a WebSocket, e.g. `https://call.example.org`; empty: the server's own host only; `*`: any.
    pub origins: Vec<String>,
    /// Where clients dial, e.g. `wss://sfu.example.org/ws`: what the Control API answers. Left out: made from `listen`.
    pub url: Option<String>,
    /// Whether the demo page is served at `/`.
    pub page: bool,
}

impl Default for Public {
    fn default() -> Self {
        Self {
            listen: ([0, 0, 0, 0], 8080).into(),
            tls_cert: None,
            tls_key: None,
            origins: Vec::new(),
            url: None,
            page: false,
        }
    }
}
