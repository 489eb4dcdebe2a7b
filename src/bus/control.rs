//! What crosses between the signalling core and the control thread, as plain data.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::bus::spec::MemberSpec;
use crate::id::{EndpointId, MemberId, RoomId, ShardId};
use crate::metrics::RoomCost;

/// Names a question until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Signalling → control: may this join go on? Each is answered once, within `JOIN_CHECK_MS`.
#[derive(Clone, PartialEq)]
pub enum Question {
    /// Whether the credential has this hash. It takes too long for the signalling core.
    Secret {
        /// Argon2 hash (PHC string).
        hash: Arc<str>,
        /// What the client showed.
        credential: String,
    },
    /// Whether this token is good for that member, and what it may do.
    Token {
        /// The room.
        room: RoomId,
        /// Who joins.
        member: MemberId,
        /// What the client showed.
        token: String,
    },
    /// Whether whoever made the room lets the member in.
    Join {
        /// The room.
        room: RoomId,
        /// Who joins.
        member: MemberId,
    },
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Secrets are never logged.
        match self {
            Self::Secret { .. } => f.write_str("Secret(..)"),
            Self::Token { room, member, .. } => write!(f, "Token({room}/{member})"),
            Self::Join { room, member } => write!(f, "Join({room}/{member})"),
        }
    }
}

/// Control → signalling.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It may.
    Yes,
    /// The token is good: the member is this one.
    Member(Arc<MemberSpec>),
    /// It may not.
    No,
    /// There is no time for the question now; the client may try again.
    Busy,
}

/// Why a member is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveReason {
    /// Its client left.
    Disconnected,
    /// Its client went away and did not come back in time.
    Lost,
    /// The server put it out.
    Kicked,
    /// The server went down.
    ServerShutdown,
}

/// Signalling → control: what has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A member is out. Not for one that the Control API has taken out.
    Left {
        /// The room.
        room: RoomId,
        /// Who.
        member: MemberId,
        /// Why.
        reason: LeaveReason,
    },
    /// The first member of a room is in.
    Occupied(RoomId),
    /// The last member of a room is out.
    Empty(RoomId),
    /// Media of an endpoint has started or stopped.
    Media(MediaNotice),
    /// Answer to a question for the figures of a room; `None`: nobody is in it.
    Stats {
        /// Names the question.
        ticket: Ticket,
        /// The figures.
        stats: Option<Box<RoomStats>>,
    },
}

/// Media of an endpoint has started or stopped, as the server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaNotice {
    /// The room.
    pub room: RoomId,
    /// The member.
    pub member: MemberId,
    /// Its publish or play endpoint.
    pub endpoint: EndpointId,
    /// Its video, else its audio.
    pub video: bool,
    /// What happened.
    pub change: MediaChange,
}

/// See [`MediaNotice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaChange {
    /// Packets flow.
    Started,
    /// Its client has muted or disabled it.
    Muted,
    /// Packets have stopped coming.
    NoMedia,
    /// The endpoint or its member is gone.
    Removed,
}

/// How a room does, as its shard sees it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RoomStats {
    /// The shard that carries it; `null`: nobody is in it.
    #[schema(value_type = Option<u16>)]
    pub shard: Option<ShardId>,
    /// Whether members are connected with each other: then the server sees no media.
    pub mesh: bool,
    /// What it costs its shard.
    pub cost: RoomCost,
    /// Who is in.
    #[schema(value_type = BTreeMap<String, MemberStats>)]
    pub members: BTreeMap<MemberId, MemberStats>,
}

impl RoomStats {
    /// Of a room that nobody is in.
    pub fn empty() -> Self {
        Self {
            shard: None,
            mesh: false,
            cost: RoomCost::default(),
            members: BTreeMap::new(),
        }
    }
}

/// How a member does.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MemberStats {
    /// Its client is there; else it is lost and may come back.
    pub present: bool,
    /// Its media transport is connected; `null`: it has none.
    pub connected: Option<bool>,
    /// Round trip to it, ms.
    pub round_trip_ms: Option<f64>,
    /// How well it sends, 1 to 4.
    pub quality_up: Option<u8>,
    /// How well it receives, 1 to 4.
    pub quality_down: Option<u8>,
    /// The line to it; `null`: it has no media transport.
    pub line: Option<LineStats>,
    /// What it sends.
    pub sends: Vec<TrackStats>,
    /// What it receives.
    pub receives: Vec<TrackStats>,
}

/// A track with media state.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TrackStats {
    /// Who sends it.
    #[schema(value_type = String)]
    pub publisher: MemberId,
    /// Its publish endpoint.
    #[schema(value_type = String)]
    pub endpoint: EndpointId,
    /// Video, else audio.
    pub video: bool,
    /// From a screen, else from a device.
    pub display: bool,
    /// Whether it is to flow.
    pub enabled: bool,
    /// Whether its publisher has muted it.
    pub muted: bool,
    /// Bits of the last second.
    pub bits_per_s: u64,
    /// Packets, retransmissions not counted.
    pub packets: u64,
    /// Of them lost on the way to the server, or as the receiver reports.
    pub lost: u64,
    /// Jitter, ms.
    pub jitter_ms: f64,
    /// Width and height in pixels, where the codec shows them.
    pub size: Option<(u16, u16)>,
    /// The encodings it is sent in (simulcast), in the order the client lists them; none if it is sent in one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encodings: Vec<EncodingStats>,
}

/// One encoding of a sent track.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EncodingStats {
    /// Its RTP stream id.
    pub rid: String,
    /// Bits of the last second; 0: the client has given it up for now.
    pub bits_per_s: u64,
    /// Width and height in pixels, where the codec shows them.
    pub size: Option<(u16, u16)>,
    /// Subscribers it is sent to.
    pub subscribers: u32,
}

/// The line to a member, as its feedback on what it receives shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LineStats {
    /// Packets stand in queues on the way so long, ms.
    pub queue_ms: f64,
    /// Share of packets lost in the last second, 0.0 to 1.0.
    pub loss: f64,
    /// It is too full for what is sent over it.
    pub congested: bool,
    /// Tracks it is sent in a smaller encoding than there is, because of that.
    pub lowered: u32,
}
