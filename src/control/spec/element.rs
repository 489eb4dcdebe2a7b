//! The elements as they are written. Unknown keys are refused.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A room.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomElement {
    /// `Room`
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Whether members are connected with each other; else as its publish endpoints say.
    pub p2p: Option<P2p>,
    /// Members that are connected with each other at most, where `p2p` is `IfPossible`.
    pub p2p_max_members: Option<usize>,
    /// Its members.
    #[serde(default)]
    pub spec: Pipeline<Member>,
}

/// Named children.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline<T> {
    /// By id.
    #[serde(default = "BTreeMap::new")]
    pub pipeline: BTreeMap<String, T>,
}

impl<T> Default for Pipeline<T> {
    fn default() -> Self {
        Self {
            pipeline: BTreeMap::new(),
        }
    }
}

/// A member.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// `Member`
    pub kind: String,
    /// Its secret.
    pub credentials: Option<Credentials>,
    /// e.g. `10s`
    pub idle_timeout: Option<String>,
    /// e.g. `10s`
    pub reconnect_timeout: Option<String>,
    /// e.g. `3s`
    pub ping_interval: Option<String>,
    /// Its endpoints.
    #[serde(default)]
    pub spec: Pipeline<Endpoint>,
}

/// A secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// As the client shows it.
    pub plain: Option<String>,
    /// Its Argon2 hash.
    pub hash: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// What a member sends or receives.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Endpoint {
    /// Sends.
    WebRtcPublishEndpoint {
        /// How.
        #[serde(default)]
        spec: Publish,
    },
    /// Receives.
    WebRtcPlayEndpoint {
        /// What.
        spec: Play,
    },
}

/// A publish endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Publish {
    /// Mesh or SFU. All endpoints of a room say the same, or nothing.
    pub p2p: Option<P2p>,
    /// Clients use relays only.
    pub force_relay: bool,
    /// Audio tracks.
    pub audio_settings: Settings,
    /// Video tracks.
    pub video_settings: Settings,
}

/// A play endpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Play {
    /// `local://room/member/endpoint`
    pub src: String,
    /// Clients use relays only.
    #[serde(default)]
    pub force_relay: bool,
}

/// Settings of one kind of media.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether it may, must or must not be sent.
    pub publish_policy: Policy,
}

/// Mesh or SFU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum P2p {
    /// SFU.
    #[default]
    Never,
    /// Mesh while the room is small.
    IfPossible,
    /// Mesh.
    Always,
}

/// Whether a kind of media may, must or must not be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Policy {
    /// May.
    #[default]
    #[serde(alias = "OPTIONAL")]
    Optional,
    /// Must.
    #[serde(alias = "REQUIRED")]
    Required,
    /// Must not.
    #[serde(alias = "DISABLED")]
    Disabled,
}

/// `500ms`, `10s`, `2m` or `1h` in milliseconds.
pub fn duration_ms(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is no duration; write it like \"10s\", \"500ms\" or \"2m\"");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}
