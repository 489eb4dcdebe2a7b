//! Client API 0.10: every message between a client and the signalling core (`docs/protocol.md`).
//!
//! Field names and tags are the wire format; `tests/protocol_oracle.rs` holds them against
//! `medea-client-api-proto`. Unknown fields inside objects are ignored, as that protocol's clients do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{MemberId, PeerId, RoomId, ShardId, TrackId};

/// Server → client.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "msg", content = "data")]
pub enum ServerMsg {
    /// Asks for a [`ClientMsg::Pong`] with the same number.
    Ping(u32),
    /// An event of one room.
    Event {
        /// Room the event belongs to.
        room_id: RoomId,
        /// The event.
        event: Event,
    },
    /// The first frame of every session, and again when a joined member has other timeouts.
    RpcSettings(RpcSettings),
}

/// Client → server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub enum ClientMsg {
    /// Answer to [`ServerMsg::Ping`].
    Pong(u32),
    /// A command for one room.
    Command {
        /// Room the command is for.
        room_id: RoomId,
        /// The command.
        command: Command,
    },
}

/// Timeouts a client must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcSettings {
    /// A session without any message for this long is idle. At least 2 × `ping_interval_ms`.
    pub idle_timeout_ms: u32,
    /// Time between two pings.
    pub ping_interval_ms: u32,
}

/// What a client asks for.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(tag = "command", content = "data")]
pub enum Command {
    /// Become a member of the room. Answered by `RoomJoined` or `RoomLeft{Rejected}`.
    JoinRoom {
        /// Who joins.
        member_id: MemberId,
        /// Secret of the member. Never logged.
        credential: String,
        /// Codecs the client can send and decode; empty lists mean "not said".
        #[serde(default)]
        capabilities: Capabilities,
    },
    /// Leave now; media stops at once.
    LeaveRoom {
        /// Who leaves.
        member_id: MemberId,
    },
    /// Offer asked for by `negotiation_role: "Offerer"`.
    MakeSdpOffer {
        /// Peer the offer is for.
        peer_id: PeerId,
        /// The description.
        sdp_offer: String,
        /// Which m-section carries which track. Two tracks (one each way) may share a mid.
        mids: BTreeMap<TrackId, String>,
        /// Whether a send track really has media.
        #[serde(default)]
        transceivers_statuses: BTreeMap<TrackId, bool>,
    },
    /// Answer to an offer given by `negotiation_role: {"Answerer": sdp}`.
    MakeSdpAnswer {
        /// Peer the answer is for.
        peer_id: PeerId,
        /// The description.
        sdp_answer: String,
        /// Whether a send track really has media.
        #[serde(default)]
        transceivers_statuses: BTreeMap<TrackId, bool>,
    },
    /// Trickled candidate.
    SetIceCandidate {
        /// Peer the candidate belongs to.
        peer_id: PeerId,
        /// The candidate.
        candidate: IceCandidate,
    },
    /// Statistics and states of a connection.
    AddPeerConnectionMetrics {
        /// Peer they belong to.
        peer_id: PeerId,
        /// Kept as JSON: types and units are those of webrtc-stats, unknown ones are tolerated.
        metrics: serde_json::Value,
    },
    /// Mute, enable or disable tracks.
    UpdateTracks {
        /// Peer of the tracks.
        peer_id: PeerId,
        /// One patch per track.
        tracks_patches: Vec<TrackPatchCommand>,
    },
    /// The client's own state after a reconnect. Answered by `StateSynchronized`.
    SynchronizeMe {
        /// State as the client has it.
        state: RoomState,
    },
}

impl std::fmt::Debug for Command {
    /// Names the command only: descriptions are long and credentials secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Command {
    /// The peer it is for, if it is for one.
    pub fn peer(&self) -> Option<PeerId> {
        match self {
            Command::MakeSdpOffer { peer_id, .. }
            | Command::MakeSdpAnswer { peer_id, .. }
            | Command::SetIceCandidate { peer_id, .. }
            | Command::AddPeerConnectionMetrics { peer_id, .. }
            | Command::UpdateTracks { peer_id, .. } => Some(*peer_id),
            Command::JoinRoom { .. }
            | Command::LeaveRoom { .. }
            | Command::SynchronizeMe { .. } => None,
        }
    }

    /// The wire name.
    pub fn name(&self) -> &'static str {
        match self {
            Command::JoinRoom { .. } => "JoinRoom",
            Command::LeaveRoom { .. } => "LeaveRoom",
            Command::MakeSdpOffer { .. } => "MakeSdpOffer",
            Command::MakeSdpAnswer { .. } => "MakeSdpAnswer",
            Command::SetIceCandidate { .. } => "SetIceCandidate",
            Command::AddPeerConnectionMetrics { .. } => "AddPeerConnectionMetrics",
            Command::UpdateTracks { .. } => "UpdateTracks",
            Command::SynchronizeMe { .. } => "SynchronizeMe",
        }
    }
}

/// What the server tells a client.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", content = "data")]
pub enum Event {
    /// The join succeeded.
    RoomJoined {
        /// Who joined.
        member_id: MemberId,
        /// The member was still there (lost, or on another socket).
        is_reconnect: bool,
        /// Shard that carries the room. Beyond the base protocol; its clients ignore it.
        shard: ShardId,
    },
    /// The member is out; the socket stays for other rooms.
    RoomLeft {
        /// Why.
        close_reason: CloseReason,
    },
    /// Make an `RTCPeerConnection`.
    PeerCreated {
        /// Its id.
        peer_id: PeerId,
        /// Who offers.
        negotiation_role: NegotiationRole,
        /// Mesh or SFU.
        connection_mode: ConnectionMode,
        /// Tracks to send and receive.
        tracks: Vec<Track>,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
        /// Use relayed candidates only.
        force_relay: bool,
        /// How often to send statistics, ms.
        stats_scrape_interval_ms: u32,
    },
    /// The remote answer to the client's offer.
    SdpAnswerMade {
        /// Peer it is for.
        peer_id: PeerId,
        /// The description.
        sdp_answer: String,
    },
    /// The server has taken the client's offer or answer.
    LocalDescriptionApplied {
        /// Peer it is for.
        peer_id: PeerId,
        /// The client's description, as it was sent.
        sdp_offer: String,
    },
    /// A remote candidate.
    IceCandidateDiscovered {
        /// Peer it is for.
        peer_id: PeerId,
        /// The candidate.
        candidate: IceCandidate,
    },
    /// Close these connections.
    PeersRemoved {
        /// Their ids.
        peer_ids: Vec<PeerId>,
    },
    /// Tracks came, went or changed.
    PeerUpdated {
        /// Peer they belong to.
        peer_id: PeerId,
        /// What changed, in order.
        updates: Vec<PeerUpdate>,
        /// `Some` asks for a negotiation.
        negotiation_role: Option<NegotiationRole>,
    },
    /// Quality of the connection with another member.
    ConnectionQualityUpdated {
        /// The other member.
        partner_member_id: MemberId,
        /// 1 poor … 4 high.
        quality_score: ConnectionQualityScore,
    },
    /// The authoritative state, after a reconnect.
    StateSynchronized {
        /// State of the room as the member sees it.
        state: RoomState,
    },
}

/// Who makes the offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NegotiationRole {
    /// The client.
    Offerer,
    /// The server; the offer is inside.
    Answerer(String),
}

/// How the members of a room are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionMode {
    /// With each other.
    Mesh,
    /// With the server.
    Sfu,
}

/// Why a member is out, or a socket closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseReason {
    /// As asked.
    Finished,
    /// The member came in on another socket.
    Reconnected,
    /// No message for too long.
    Idle,
    /// Wrong member, room or credential.
    Rejected,
    /// A fault of the server.
    InternalError,
    /// Removed by the server: a limit was reached, or it is going down.
    Evicted,
}

/// Reason text of a WebSocket close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseDescription {
    /// Why.
    pub reason: CloseReason,
}

/// One change of a peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum PeerUpdate {
    /// A new track; needs a negotiation.
    Added(Track),
    /// A track is gone.
    Removed(TrackId),
    /// A track changed without negotiation.
    Updated(TrackPatchEvent),
    /// Restart ICE with the next offer.
    IceRestart,
}

/// An ICE candidate as browsers write it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IceCandidate {
    /// RFC 8839 candidate attribute without `a=`.
    pub candidate: String,
    /// Index of the m-section.
    #[serde(default)]
    pub sdp_m_line_index: Option<u16>,
    /// Its mid.
    #[serde(default)]
    pub sdp_mid: Option<String>,
}

/// One media track as the client sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Track {
    /// Its id.
    pub id: TrackId,
    /// Which way, and with whom.
    pub direction: Direction,
    /// Whether media flows, and who stops it.
    pub media_direction: MediaDirection,
    /// The publisher sends silence or black.
    pub muted: bool,
    /// Audio or video, and its settings.
    pub media_type: MediaType,
}

/// Patch asked for by a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct TrackPatchCommand {
    /// The track.
    pub id: TrackId,
    /// Stop or start the media of one's own side.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Mute or unmute.
    #[serde(default)]
    pub muted: Option<bool>,
}

/// Patch told by the server; `None` means unchanged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackPatchEvent {
    /// The track.
    pub id: TrackId,
    /// New direction.
    pub media_direction: Option<MediaDirection>,
    /// New receivers of a send track.
    pub receivers: Option<Vec<MemberId>>,
    /// New mute state.
    pub muted: Option<bool>,
    /// New encodings of a send track.
    pub encoding_parameters: Option<Vec<EncodingParameters>>,
}

impl TrackPatchEvent {
    /// A patch that changes nothing yet.
    pub fn new(id: TrackId) -> Self {
        Self {
            id,
            media_direction: None,
            receivers: None,
            muted: None,
            encoding_parameters: None,
        }
    }
}

/// Whether media flows, from the publisher's and the receiver's wishes (SEND is the publisher's, RECV the receiver's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaDirection {
    /// Both sides want it.
    SendRecv,
    /// The receiver has disabled it.
    SendOnly,
    /// The publisher has disabled it.
    RecvOnly,
    /// Both have disabled it.
    Inactive,
}

impl MediaDirection {
    /// From the publisher's and the receiver's `enabled`.
    pub fn from_enabled(publisher: bool, receiver: bool) -> Self {
        match (publisher, receiver) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }
}

/// STUN or TURN server for the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:` / `turn:` URLs.
    pub urls: Vec<String>,
    /// TURN user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Direction of a track, from the client's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Direction {
    /// The client sends.
    Send {
        /// Members that receive it.
        receivers: Vec<MemberId>,
        /// m-section, once negotiated.
        mid: Option<String>,
    },
    /// The client receives.
    Recv {
        /// Member that sends it.
        sender: MemberId,
        /// m-section, once negotiated.
        mid: Option<String>,
    },
}

/// Audio or video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MediaType {
    /// Audio.
    Audio(AudioSettings),
    /// Video.
    Video(VideoSettings),
}

impl MediaType {
    /// Whether the client must not disable it.
    pub fn required(&self) -> bool {
        match self {
            MediaType::Audio(a) => a.required,
            MediaType::Video(v) => v.required,
        }
    }

    /// Where the media comes from.
    pub fn source_kind(&self) -> MediaSourceKind {
        match self {
            MediaType::Audio(a) => a.source_kind,
            MediaType::Video(v) => v.source_kind,
        }
    }

    /// Whether this is video.
    pub fn is_video(&self) -> bool {
        matches!(self, MediaType::Video(_))
    }
}

/// Settings of an audio track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioSettings {
    /// Must not be disabled.
    pub required: bool,
    /// Microphone or system sound.
    pub source_kind: MediaSourceKind,
}

/// Settings of a video track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoSettings {
    /// Must not be disabled.
    pub required: bool,
    /// Camera or screen.
    pub source_kind: MediaSourceKind,
    /// Simulcast or SVC encodings; empty: one, as the client likes.
    pub encoding_parameters: Vec<EncodingParameters>,
}

/// Where media comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MediaSourceKind {
    /// Camera or microphone.
    Device,
    /// Screen or its sound.
    Display,
}

/// One encoding of a video track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodingParameters {
    /// RTP stream id.
    pub rid: String,
    /// Whether it is sent.
    pub active: bool,
    /// Codec, if fixed.
    pub codec: Option<Codec>,
    /// Bitrate limit, bit/s.
    pub max_bitrate: Option<u32>,
    /// Resolution divisor.
    pub scale_resolution_down_by: Option<u8>,
    /// e.g. `L1T3`.
    pub scalability_mode: Option<String>,
}

/// A codec a client can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codec {
    /// e.g. `video/VP8`.
    pub mime_type: String,
    /// Hz.
    pub clock_rate: u32,
    /// Audio channels.
    #[serde(default)]
    pub channels: Option<u16>,
    /// fmtp parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

/// Codecs a client can send and decode. An empty list means "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Capabilities {
    /// Audio it can send.
    #[serde(default)]
    pub audio_tx: Vec<Codec>,
    /// Audio it can decode.
    #[serde(default)]
    pub audio_rx: Vec<Codec>,
    /// Video it can send.
    #[serde(default)]
    pub video_tx: Vec<Codec>,
    /// Video it can decode.
    #[serde(default)]
    pub video_rx: Vec<Codec>,
}

/// 1 poor … 4 high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConnectionQualityScore {
    /// Nearly all users are dissatisfied.
    Poor,
    /// Many users are dissatisfied.
    Low,
    /// Some users are dissatisfied.
    Medium,
    /// Users are satisfied.
    High,
}

/// State of a room as one member sees it (`SynchronizeMe`, `StateSynchronized`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoomState {
    /// Its connections.
    pub peers: BTreeMap<PeerId, PeerState>,
}

/// State of one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerState {
    /// Its id.
    pub id: PeerId,
    /// Mesh or SFU.
    pub connection_mode: ConnectionMode,
    /// Tracks sent by the client.
    pub senders: BTreeMap<TrackId, SenderState>,
    /// Tracks received by the client.
    pub receivers: BTreeMap<TrackId, ReceiverState>,
    /// Use relayed candidates only.
    pub force_relay: bool,
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// `Some` while a negotiation is under way.
    pub negotiation_role: Option<NegotiationRole>,
    /// The client's description.
    pub local_sdp: Option<String>,
    /// The server's description.
    pub remote_sdp: Option<String>,
    /// ICE is to be restarted.
    pub restart_ice: bool,
    /// The server's candidates.
    pub ice_candidates: Vec<IceCandidate>,
    /// How often to send statistics, ms.
    pub stats_scrape_interval_ms: u32,
}

/// State of a track sent by the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SenderState {
    /// Its id.
    pub id: TrackId,
    /// Mesh or SFU.
    pub connection_mode: ConnectionMode,
    /// m-section, once negotiated.
    pub mid: Option<String>,
    /// Audio or video.
    pub media_type: MediaType,
    /// Members that receive it.
    pub receivers: Vec<MemberId>,
    /// Mute state.
    pub muted: bool,
    /// Whether media flows.
    pub media_direction: MediaDirection,
}

/// State of a track received by the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiverState {
    /// Its id.
    pub id: TrackId,
    /// Mesh or SFU.
    pub connection_mode: ConnectionMode,
    /// m-section, once negotiated.
    pub mid: Option<String>,
    /// Audio or video.
    pub media_type: MediaType,
    /// Member that sends it.
    pub sender_id: MemberId,
    /// Mute state.
    pub muted: bool,
    /// Whether media flows.
    pub media_direction: MediaDirection,
}
