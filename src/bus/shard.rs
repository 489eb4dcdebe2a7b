//! Commands to a shard and events from it. Plain data over bounded channels (`docs/architecture.md`).

use std::sync::Arc;

use crate::bus::client::{Capabilities, CloseReason, Command, Event};
use crate::bus::control::{MediaNotice, RoomStats, Ticket};
use crate::bus::spec::RoomSpec;
use crate::id::{MemberId, RoomId, SessionId, ShardId};
use crate::metrics::ShardSnapshot;

/// Signalling or control → shard.
#[derive(Debug, Clone)]
pub enum ShardCommand {
    /// A member whose credential has been checked comes in; also when it was lost, or is on another session.
    Join {
        /// Session that speaks for the member from now on.
        session: SessionId,
        /// The room; made from `spec` if it is not there.
        room: RoomId,
        /// Who joins.
        member: MemberId,
        /// What the room is to be.
        spec: Arc<RoomSpec>,
        /// What the client can send and decode.
        capabilities: Capabilities,
    },
    /// A command of a joined member, except JoinRoom and LeaveRoom.
    Client {
        /// Session it came from; ignored if it no longer speaks for the member.
        session: SessionId,
        /// The room.
        room: RoomId,
        /// The member.
        member: MemberId,
        /// The command.
        command: Command,
    },
    /// The session is gone; media stays up until `Leave`.
    Lost {
        /// Session that is gone.
        session: SessionId,
        /// The room.
        room: RoomId,
        /// The member.
        member: MemberId,
    },
    /// The member is out.
    Leave {
        /// The room.
        room: RoomId,
        /// The member.
        member: MemberId,
        /// Why; told to the client if a session still speaks for it.
        reason: CloseReason,
    },
    /// The room is to be something else from now on. Ignored if it is not there: the next join brings its spec.
    Configure {
        /// The room.
        room: RoomId,
        /// What it is to be.
        spec: Arc<RoomSpec>,
    },
    /// Say how a room does.
    Stats {
        /// Names the question.
        ticket: Ticket,
        /// The room.
        room: RoomId,
    },
    /// Signalling has heard `Restarted`: commands count again.
    Resume,
    /// Signalling has started anew and knows nothing: say which rooms there are, and take every session for lost.
    Report,
    /// Close everything; the shard reports `Stopped` when done.
    Shutdown,
}

/// Shard → signalling and control.
#[derive(Debug, Clone)]
pub enum ShardEvent {
    /// An event for the client of `session`.
    Client {
        /// Session that speaks for the member.
        session: SessionId,
        /// The room.
        room: RoomId,
        /// The event. `RoomLeft` ends the membership.
        event: Event,
    },
    /// The room has no members any more, or was closed after a fault.
    RoomClosed {
        /// Shard that carried it.
        shard: ShardId,
        /// The room.
        room: RoomId,
    },
    /// The shard has started anew after a fault, without any room. It ignores commands until `Resume`.
    Restarted(ShardId),
    /// Answer to `Report`: a room it carries.
    Present {
        /// The shard.
        shard: ShardId,
        /// What the room is to be.
        spec: Arc<RoomSpec>,
        /// Its members, all of them lost.
        members: Vec<MemberId>,
    },
    /// Answer to `Report`: that was all.
    Reported(ShardId),
    /// Media of an endpoint has started or stopped; for endpoints that ask for it.
    Media(MediaNotice),
    /// Answer to `Stats`; `None`: there is no such room.
    Stats {
        /// Names the question.
        ticket: Ticket,
        /// How it does.
        stats: Option<Box<RoomStats>>,
    },
    /// Counters and load, once a second.
    Snapshot(Box<ShardSnapshot>),
    /// Answer to `Shutdown`.
    Stopped(ShardId),
}
