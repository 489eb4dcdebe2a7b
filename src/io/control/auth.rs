//! Who may use the Control API: whoever shows the configured key (RFC 6750 section 2.1).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::rest::Problem;
use crate::control::error::{ControlError, ErrorCode};
use crate::signalling::same_secret;

/// What has to be shown. Never logged.
#[derive(Clone)]
pub(super) enum Key {
    /// Nothing: dev mode.
    None,
    /// No key is configured, so nobody may.
    Unset,
    /// This text, in `Authorization: Bearer`.
    Bearer(Arc<str>),
}

impl Key {
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
        match same_secret(wanted, given) {
            true => Ok(()),
            false => Err(ControlError::new(
                ErrorCode::Unauthorized,
                "-",
                "the key is missing or wrong; send Authorization: Bearer with private.api_key",
            )),
        }
    }
}

/// Lets requests with the key through.
pub(super) async fn require(State(key): State<Key>, request: Request, next: Next) -> Response {
    match key.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => Problem(error).into_response(),
    }
}
