//! What a room is to be, as plain data: made by `config` (static specs, the open dev room), read by `shard`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bus::client::{IceServer, RpcSettings};
use crate::id::{EndpointId, MemberId, RoomId};

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
    /// Anybody with the room's credential joins under any free name, publishes to all and plays all.
    pub open: Option<Arc<MemberSpec>>,
    /// Members known beforehand.
    pub members: BTreeMap<MemberId, Arc<MemberSpec>>,
}

impl RoomSpec {
    /// The spec of `member`, if it may be in this room.
    pub fn member(&self, member: &MemberId) -> Option<&Arc<MemberSpec>> {
        self.members.get(member).or(self.open.as_ref())
    }
}

/// A member.
#[derive(Clone, PartialEq)]
pub struct MemberSpec {
    /// Secret the client must show. Never logged.
    pub credential: String,
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
    /// These endpoints of this room: play endpoint → (member, publish endpoint).
    Only(BTreeMap<EndpointId, (MemberId, EndpointId)>),
}

/// A publish endpoint: audio and video, each from device and from display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishSpec {
    /// Policy of its audio tracks.
    pub audio: PublishPolicy,
    /// Policy of its video tracks.
    pub video: PublishPolicy,
    /// No tracks for screens and their sound.
    pub device_only: bool,
}
