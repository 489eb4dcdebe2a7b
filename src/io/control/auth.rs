//! Who may use the Control API: whoever shows the configured key (RFC 6750 section 2.1).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::rest::Problem;
use crate::control::error::{ControlError, ErrorCode};

/// What has to be shown. Never logged.
#[derive(Clone)]
pub(super) enum Key {
    /// Nothing: dev mode.
    None,
    /// No key is configured, so nobody may.
    Unset,
    /// A text with this hash, in `Authorization: Bearer`.
    Bearer(Arc<[u8; 32]>),
}

impl Key {
    pub(super) fn bearer(key: &str) -> Self {
        Self::Bearer(Arc::new(hash(key)))
    }

    /// Whether a request with these headers may go on.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), ControlError> {
        let wanted = match self {
            Self::None => return Ok(()),
            Self::Unset => {
                return Err(ControlError::new(
                    ErrorCode::ApiDisabled,
                    "-",
                    "no key is configured; set private.api_key to use the Control API",
                ));
            }
            Self::Bearer(wanted) => wanted,
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.strip_prefix("Bearer "))
            .unwrap_or_default();
        // Constant time in the contents and, by hashing first, in the length.
        match bool::from(wanted.as_slice().ct_eq(&hash(given))) {
            true => Ok(()),
            false => Err(ControlError::new(
                ErrorCode::Unauthorized,
                "-",
                "the key is missing or wrong; send Authorization: Bearer with private.api_key",
            )),
        }
    }
}

fn hash(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

/// Lets requests with the key through.
pub(super) async fn require(State(key): State<Key>, request: Request, next: Next) -> Response {
    match key.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => Problem(error).into_response(),
    }
}
