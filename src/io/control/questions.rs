//! Answers whether a credential is good: Argon2 hashes and tokens, on a thread of its own with the lowest priority, so
//! that neither calls nor pings wait for those who guess.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, TrySendError};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use crate::bus::control::{Answer, Question, Ticket};
use crate::config::Timeouts;
use crate::control::secret;
use crate::control::token::{self, Claims};
use crate::io::channel::{SendError, Sender};
use crate::io::signalling::SignallingRequest;
use crate::limits::SECRET_CHECKS_MAX;

/// Pause before a full channel is tried again.
const PAUSE: Duration = Duration::from_millis(5);
/// Seconds by which the clocks of whoever made a token and of this host may differ.
const LEEWAY_S: u64 = 30;
/// Lowest priority there is (setpriority(2)).
const NICEST: i32 = 19;

/// Keys of tokens.
#[derive(Clone, Default)]
pub struct TokenKeys {
    hs256: Option<DecodingKey>,
    eddsa: Option<DecodingKey>,
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKeys(..)")
    }
}

impl TokenKeys {
    /// From the configuration: a shared secret, a public key in PEM, or both.
    ///
    /// # Errors
    /// The PEM is no public key.
    pub fn new(hs256: Option<&str>, eddsa_pem: Option<&[u8]>) -> Result<Self, String> {
        let eddsa = match eddsa_pem {
            None => None,
            Some(pem) => Some(DecodingKey::from_ed_pem(pem).map_err(|e| e.to_string())?),
        };
        Ok(Self {
            hs256: hs256.map(|key| DecodingKey::from_secret(key.as_bytes())),
            eddsa,
        })
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.hs256.is_none() && self.eddsa.is_none()
    }

    /// What a token says, if it is good now.
    fn claims(&self, token: &str) -> Option<Claims> {
        let tries = [
            (Algorithm::HS256, &self.hs256),
            (Algorithm::EdDSA, &self.eddsa),
        ];
        // The token's header names the algorithm, but only that of a key we have counts (RFC 8725 section 3.1).
        let header = jsonwebtoken::decode_header(token).ok()?;
        let (algorithm, key) = tries.into_iter().find(|(a, _)| *a == header.alg)?;
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<Claims>(token, key.as_ref()?, &validation).ok()?;
        Some(decoded.claims)
    }
}

/// The thread's inbox.
#[derive(Clone)]
pub(super) struct Questions(crossbeam_channel::Sender<(Ticket, Question)>);

impl Questions {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn spawn(
        keys: TokenKeys,
        timeouts: Timeouts,
        signalling: Sender<SignallingRequest>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = crossbeam_channel::bounded(SECRET_CHECKS_MAX);
        let work = move || {
            // Refused only without the right to be nice, which everybody has.
            let _ = rustix::process::nice(NICEST);
            answer_all(&receiver, &keys, &timeouts, &signalling);
        };
        std::thread::Builder::new()
            .name("credentials".to_owned())
            .spawn(work)?;
        Ok(Self(sender))
    }

    /// `false`: too many wait.
    pub(super) fn ask(&self, ticket: Ticket, question: Question) -> bool {
        match self.0.try_send((ticket, question)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

fn answer_all(
    questions: &Receiver<(Ticket, Question)>,
    keys: &TokenKeys,
    timeouts: &Timeouts,
    signalling: &Sender<SignallingRequest>,
) {
    while let Ok((ticket, question)) = questions.recv() {
        let answer = match question {
            Question::Secret { hash, credential } => match secret::has_hash(&credential, &hash) {
                true => Answer::Yes,
                false => Answer::No,
            },
            Question::Token {
                room,
                member,
                token,
            } => keys
                .claims(&token)
                .filter(|claims| claims.is_for(&room, &member))
                .map_or(Answer::No, |claims| {
                    Answer::Member(Arc::new(token::member_spec(&claims, timeouts)))
                }),
            // Not for this thread.
            Question::Join { .. } => Answer::No,
        };
        let mut request = SignallingRequest::Answer { ticket, answer };
        while let Err(SendError::Full(back)) = signalling.try_send(request) {
            request = back;
            std::thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use rcgen::{KeyPair, PKCS_ED25519};
    use serde_json::json;

    #[test]
    fn a_token_counts_under_the_algorithm_of_its_key_only() {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let public = pair.public_key_pem();
        let keys = TokenKeys::new(None, Some(public.as_bytes())).unwrap();
        assert!(!keys.is_empty());
        let claims = json!({"room": "r", "member": "m", "exp": 4_000_000_000_u64});
        let private = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap();
        let good = encode(&Header::new(Algorithm::EdDSA), &claims, &private).unwrap();
        assert_eq!(keys.claims(&good).unwrap().room, "r");
        // The public key, which everybody may know, as a shared secret (RFC 8725 section 2.1).
        let secret = EncodingKey::from_secret(public.as_bytes());
        let confused = encode(&Header::new(Algorithm::HS256), &claims, &secret).unwrap();
        assert_eq!(keys.claims(&confused), None);
        let (head, _) = good.rsplit_once('.').unwrap();
        assert_eq!(keys.claims(&format!("{head}.AAAA")), None);
        assert!(TokenKeys::new(None, Some(b"no key".as_slice())).is_err());
    }
}
