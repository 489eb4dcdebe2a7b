//! What a room is to be, as plain data: made by `control` (Control API, static specs, the open dev room), read by
//! `signalling` and `shard`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bus::client::{EncodingParameters, IceServer, RpcSettings};
use crate::id::{EndpointId, MemberId, RoomId};
use crate::wire::codec::CodecKind;

/// Whether members talk through the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum P2pPolicy {
    /// Always through the SFU.
    #[default]
    Never,
    /// Mesh while the room is small.
    IfPossible,
    /// Always mesh.
    Always,
}

/// Members of a mesh where nothing else is said: two, for which a server has nothing to spare.
pub const P2P_MAX_MEMBERS: usize = 2;

/// Whether a client may or must send a kind of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublishPolicy {
    /// The client decides.
    #[default]
    Optional,
    /// The client must not disable it.
    Required,
    /// The track does not exist.
    Disabled,
}

/// A room.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomSpec {
    /// Its id.
    pub id: RoomId,
    /// Mesh or SFU.
    pub p2p: P2pPolicy,
    /// Members that are connected with each other at most, where [`P2pPolicy::IfPossible`] decides.
    pub p2p_max_members: usize,
    /// Codecs of its media, most preferred first; `None`: as the server is configured.
    pub codecs: Option<Vec<CodecKind>>,
    /// Members at a time; `None`: as many as the server allows.
    pub members_max: Option<usize>,
    /// Anybody with the room's credential joins under any free name, publishes to all and plays all.
    pub open: Option<Arc<MemberSpec>>,
    /// Members known beforehand.
    pub members: BTreeMap<MemberId, Arc<MemberSpec>>,
    /// Members of other rooms whose media is played here, by the name they have here.
    pub imports: BTreeMap<MemberId, (RoomId, MemberId)>,
}

impl RoomSpec {
    /// A room of `id` that nobody may join: through the server, everything else as configured.
    pub fn new(id: RoomId) -> Self {
        Self {
            id,
            p2p: P2pPolicy::Never,
            p2p_max_members: P2P_MAX_MEMBERS,
            codecs: None,
            members_max: None,
            open: None,
            members: BTreeMap::new(),
            imports: BTreeMap::new(),
        }
    }

    /// Whether media of `other` is played here.
    pub fn imports_from(&self, other: &RoomId) -> bool {
        self.imports.values().any(|(room, _)| room == other)
    }

    /// Whether the credential of any member is known by its hash only.
    pub fn has_hashes(&self) -> bool {
        let mut all = self.members.values().chain(&self.open);
        all.any(|m| matches!(m.credential, Credential::Hash(_)))
    }

    /// The spec of `member`, if it may be in this room.
    pub fn member(&self, member: &MemberId) -> Option<&Arc<MemberSpec>> {
        self.members.get(member).or(self.open.as_ref())
    }
}

/// What an unknown member's credential is compared with where known ones have hashes, so that both take as long.
pub const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgb3duIHNhbHQ$zJ0rL3Q/1En2KyhBLegbopjASHCp33zDVNKjj/TOVYk";

/// What a client must show to be let in. Never logged.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// This text.
    Plain(String),
    /// A text with this Argon2 hash (PHC string, RFC 9106).
    Hash(Arc<str>),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// A member.
#[derive(Clone, PartialEq)]
pub struct MemberSpec {
    /// What its client must show.
    pub credential: Credential,
    /// Who made the room is asked before it comes in, and may refuse it.
    pub asks_join: bool,
    /// Who made the room is told when it is out.
    pub tells_leave: bool,
    /// Ping interval and idle timeout of its sessions.
    pub rpc: RpcSettings,
    /// How long a lost member's media stays up, ms.
    pub reconnect_timeout_ms: u32,
    /// What it may send.
    pub publish: BTreeMap<EndpointId, PublishSpec>,
    /// What it receives.
    pub play: PlaySpec,
    /// STUN and TURN servers its client is told.
    pub ice_servers: Vec<IceServer>,
    /// Its client uses relayed candidates only.
    pub force_relay: bool,
}

impl MemberSpec {
    /// A member that shows `plain`, sends nothing and receives everything.
    pub fn new(plain: &str, rpc: RpcSettings, reconnect_timeout_ms: u32) -> Self {
        Self {
            credential: Credential::Plain(plain.to_owned()),
            asks_join: false,
            tells_leave: false,
            rpc,
            reconnect_timeout_ms,
            publish: BTreeMap::new(),
            play: PlaySpec::Everyone,
            ice_servers: Vec::new(),
            force_relay: false,
        }
    }
}

impl std::fmt::Debug for MemberSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberSpec")
            .field("publish", &self.publish)
            .field("play", &self.play)
            .finish_non_exhaustive()
    }
}

/// What a member receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaySpec {
    /// Every publish endpoint of every other member.
    Everyone,
    /// These play endpoints.
    Only(BTreeMap<EndpointId, PlayEndpoint>),
}

/// A play endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayEndpoint {
    /// What it plays.
    pub source: PlaySource,
    /// Who made the room is told when it starts and stops.
    pub tells: bool,
}

/// What a play endpoint plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaySource {
    /// A publish endpoint of a member of the room, or of one of another room by its name here ([`RoomSpec::imports`]).
    Endpoint(MemberId, EndpointId),
    /// All that is published to a hub of the room, except by the member itself.
    Hub(EndpointId),
}

/// A publish endpoint: audio and video, each from device and from display.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishSpec {
    /// Policy of its audio tracks.
    pub audio: PublishPolicy,
    /// Policy of its video tracks.
    pub video: PublishPolicy,
    /// How the camera is to be encoded; empty: as the client likes.
    pub encodings: Vec<EncodingParameters>,
    /// No tracks for screens and their sound.
    pub device_only: bool,
    /// The hub it publishes to.
    pub hub: Option<EndpointId>,
    /// Who made the room is told when it starts and stops.
    pub tells: bool,
}

impl PlaySpec {
    /// Whether `endpoint` of `publisher`, which publishes to `hub`, is received.
    pub fn plays(
        &self,
        publisher: &MemberId,
        endpoint: &EndpointId,
        hub: Option<&EndpointId>,
    ) -> bool {
        let wants = |play: &PlayEndpoint| match &play.source {
            PlaySource::Endpoint(m, e) => m == publisher && e == endpoint,
            PlaySource::Hub(wanted) => hub == Some(wanted),
        };
        match self {
            Self::Everyone => true,
            Self::Only(list) => list.values().any(wants),
        }
    }
}
