//! What crosses between the signalling core and the control thread, as plain data.

use std::sync::Arc;

use crate::bus::spec::MemberSpec;
use crate::id::{EndpointId, MemberId, RoomId};

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
