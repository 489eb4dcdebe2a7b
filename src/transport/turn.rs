//! STUN and TURN servers as a client is told them, with credentials of its own where a secret is shared with TURN.
//!
//! Credentials expire and need no word between the servers: user name is the time they end and who they are for, password
//! its HMAC-SHA1 (draft-uberti-behave-turn-rest-00, `use-auth-secret` of coturn). Invariant: secrets are never shown.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::bus::client::IceServer;
use crate::id::MemberId;

/// How clients show TURN servers that they may use them.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum TurnAuth {
    /// Not at all: there are none.
    #[default]
    None,
    /// The same user for all.
    Fixed {
        /// User.
        username: String,
        /// Password.
        password: String,
    },
    /// Credentials made with a secret that the TURN servers know too.
    Secret {
        /// The secret.
        secret: String,
        /// How long they are good, s.
        ttl_s: u32,
    },
}

/// Servers that clients are told.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct IceServers {
    /// `stun:` URLs.
    pub stun: Vec<String>,
    /// `turn:` and `turns:` URLs.
    pub turn: Vec<String>,
    /// Credentials for `turn`.
    pub auth: TurnAuth,
}

impl std::fmt::Debug for IceServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServers")
            .field("stun", &self.stun)
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}

impl IceServers {
    /// What `member` is told at `unix_s`, seconds since 1970.
    pub fn for_member(&self, member: &MemberId, unix_s: u64) -> Vec<IceServer> {
        let mut out = Vec::new();
        if !self.stun.is_empty() {
            out.push(IceServer {
                urls: self.stun.clone(),
                username: None,
                credential: None,
            });
        }
        let (username, credential) = match &self.auth {
            TurnAuth::None => return out,
            TurnAuth::Fixed { username, password } => (username.clone(), password.clone()),
            TurnAuth::Secret { secret, ttl_s } => {
                let username = format!("{}:{member}", unix_s + u64::from(*ttl_s));
                let password = password(secret, &username);
                (username, password)
            }
        };
        if !self.turn.is_empty() {
            out.push(IceServer {
                urls: self.turn.clone(),
                username: Some(username),
                credential: Some(credential),
            });
        }
        out
    }
}

fn password(secret: &str, username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, username.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(auth: TurnAuth) -> IceServers {
        IceServers {
            stun: vec!["stun:a:3478".to_owned()],
            turn: vec!["turn:b:3478".to_owned(), "turns:b:5349".to_owned()],
            auth,
        }
    }

    #[test]
    fn a_member_gets_credentials_that_end() {
        let secret = TurnAuth::Secret {
            secret: "north".to_owned(),
            ttl_s: 600,
        };
        let ann = MemberId::new("ann").unwrap();
        let told = servers(secret).for_member(&ann, 1_700_000_000);
        assert_eq!((told[0].username.as_ref(), told[0].urls.len()), (None, 1));
        assert_eq!(told[1].username.as_deref(), Some("1700000600:ann"));
        // printf 1700000600:ann | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            told[1].credential.as_deref(),
            Some("7frJsC9X1ENSUqDpiZimUxlaSY8=")
        );
    }

    #[test]
    fn one_user_for_all_or_none() {
        let ann = MemberId::new("ann").unwrap();
        let fixed = TurnAuth::Fixed {
            username: "u".to_owned(),
            password: "p".to_owned(),
        };
        let told = servers(fixed).for_member(&ann, 0);
        assert_eq!(told[1].credential.as_deref(), Some("p"));
        assert_eq!(servers(TurnAuth::None).for_member(&ann, 0).len(), 1);
        assert!(IceServers::default().for_member(&ann, 0).is_empty());
        assert!(
            !format!(
                "{:?}",
                servers(TurnAuth::Secret {
                    secret: "north".to_owned(),
                    ttl_s: 1
                })
            )
            .contains("north")
        );
    }
}
