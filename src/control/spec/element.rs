//! The elements as they are written, in files and over the Control API. Unknown keys are refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::media::Codec;

/// The element at the root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind")]
pub enum RootElement {
    /// A conference.
    Room(RoomElement),
}

/// A conference.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoomElement {
    /// Its id; over the API the path says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Whether members are connected with each other; else as its publish endpoints say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p2p: Option<P2p>,
    /// Members that are connected with each other at most, where `p2p` is `IfPossible`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p2p_max_members: Option<usize>,
    /// Codecs of its media, most preferred first; else those of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codecs: Option<Vec<Codec>>,
    /// What it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<RoomLimits>,
    /// The room is removed when nobody has been in it for this long, e.g. `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_empty: Option<String>,
    /// The room is closed and removed this long after its first member came, e.g. `4h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<String>,
    /// Its members and hubs.
    #[serde(default)]
    pub spec: Pipeline<RoomChild>,
}

/// What a room may use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoomLimits {
    /// Members at a time.
    pub members: Option<usize>,
}

/// Named children.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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

/// What a room is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind")]
#[expect(
    clippy::large_enum_variant,
    reason = "a room has hundreds of members and a few hubs"
)]
pub enum RoomChild {
    /// Somebody who may join.
    Member(Member),
    /// Where endpoints publish to and play from without knowing of each other.
    Hub(Hub),
}

/// A meeting point: what is published to it is played by everybody who plays it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hub {}

/// Somebody who may join.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its secret. Over the API a random one is made where this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Asked before the member comes in, `https://`, `http://` or `grpc://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_join: Option<String>,
    /// Told when the member is out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_leave: Option<String>,
    /// A silent client is lost after this time, e.g. `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<String>,
    /// A lost client may come back for this long, e.g. `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnect_timeout: Option<String>,
    /// Time between two pings, e.g. `3s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping_interval: Option<String>,
    /// What the application wants to keep of it: an object of at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// What it may do with its endpoints; everything if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Grants>,
    /// Its endpoints.
    #[serde(default)]
    pub spec: Pipeline<Endpoint>,
}

/// What a member may do with its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Send.
    pub publish: bool,
    /// Receive.
    pub subscribe: bool,
}

impl Default for Grants {
    fn default() -> Self {
        Self {
            publish: true,
            subscribe: true,
        }
    }
}

/// A secret: one of the two.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// As the client shows it; empty: nothing has to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<String>,
    /// Its Argon2 hash, as a PHC string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// What a member sends or receives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Publish {
    /// Mesh or SFU. All endpoints of a room say the same, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p2p: Option<P2p>,
    /// The hub of the room it publishes to, by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Clients use relays only.
    #[serde(skip_serializing_if = "is_false")]
    pub force_relay: bool,
    /// Kinds of media it sends; audio and video if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<Kind>>,
    /// Audio tracks.
    pub audio_settings: Settings,
    /// Video tracks.
    pub video_settings: VideoSettings,
    /// Told when its media starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_start: Option<String>,
    /// Told when its media stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_stop: Option<String>,
}

/// A play endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Play {
    /// `local://room/member/endpoint`, or `local://room/hub`.
    pub src: String,
    /// Clients use relays only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force_relay: bool,
    /// Told when its media starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_start: Option<String>,
    /// Told when its media stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_stop: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Settings of one kind of media.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether it may, must or must not be sent.
    pub publish_policy: Policy,
}

/// Settings of video.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VideoSettings {
    /// Whether it may, must or must not be sent.
    pub publish_policy: Policy,
    /// How the camera is to be encoded, in rooms through the server: up to three encodings (simulcast), of which
    /// everybody gets the best that comes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encodings: Vec<Encoding>,
}

/// An encoding, as `RTCRtpEncodingParameters` of the W3C's WebRTC say it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Encoding {
    /// Bit/s at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bitrate: Option<u32>,
    /// Width and height are divided by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_resolution_down_by: Option<u8>,
    /// Layers, e.g. `L1T3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scalability_mode: Option<String>,
}

/// A kind of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Microphones and the sound of screens.
    Audio,
    /// Cameras and screens.
    Video,
}

/// Mesh or SFU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
