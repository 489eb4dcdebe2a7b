//! The signalling core as a state machine: sessions, credentials, which room lives on which shard, who is lost.
//!
//! Frames, closed sockets and shard events come in with `now`; frames to send, sockets to close and shard commands
//! come out of [`Signalling::poll_output`]. It follows Client API 0.10 (`docs/protocol.md`); media is none of its
//! business, so its restart would cost none. Invariants: a member is spoken for by at most one session; a room is
//! on one shard for as long as that shard has it; every map is bounded by a constant of `limits`, and every
//! session and lost member has exactly one deadline in `timers`.

mod admission;
mod book;
mod budget;
mod configure;
#[cfg(test)]
mod control_tests;
pub mod exercise;
mod membership;
mod placement;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::bus::client::{
    ClientMsg, CloseDescription, CloseReason, Command, Event, RpcSettings, ServerMsg,
};
use crate::bus::control::{Notice, Question, Ticket};
use crate::bus::shard::{ShardCommand, ShardEvent};
use crate::id::{MemberId, RoomId, SessionId, ShardId};
use crate::limits::{
    ROOMS_PER_SESSION_MAX, ROOMS_PER_SHARD_MAX, SESSION_COMMANDS_PER_S, SESSIONS_MAX,
};
use crate::metrics::SignallingCounters;
use crate::time::Time;

use admission::Pending;
pub use admission::same_secret;
use membership::Room;
use placement::ShardState;
use session::Session;

pub use book::{RoomBook, Template};

/// WebSocket close code of everything the server ends on purpose; the reason is in the text.
pub const CLOSE_CODE: u16 = 1000;

/// What does not depend on the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignallingSettings {
    /// Ping interval and idle timeout of a session until a member with others joins.
    pub rpc: RpcSettings,
    /// A session in no room for this long is closed, ms.
    pub join_timeout_ms: u32,
    /// Sessions at a time.
    pub sessions_max: usize,
    /// Rooms of one session.
    pub rooms_per_session_max: usize,
    /// Rooms of one shard.
    pub rooms_per_shard_max: usize,
    /// Commands of one session per second.
    pub commands_per_s: u32,
}

impl Default for SignallingSettings {
    fn default() -> Self {
        Self {
            rpc: RpcSettings {
                idle_timeout_ms: 10_000,
                ping_interval_ms: 3_000,
            },
            join_timeout_ms: 10_000,
            sessions_max: SESSIONS_MAX,
            rooms_per_session_max: ROOMS_PER_SESSION_MAX,
            rooms_per_shard_max: ROOMS_PER_SHARD_MAX,
            commands_per_s: SESSION_COMMANDS_PER_S,
        }
    }
}

/// What `io` is to do.
#[derive(Debug, Clone)]
pub enum SignallingOutput {
    /// Send a text frame.
    Send {
        /// To this session.
        session: SessionId,
        /// JSON.
        text: String,
    },
    /// Close the socket; the session is already forgotten here.
    Close {
        /// This session.
        session: SessionId,
        /// Always [`CLOSE_CODE`].
        code: u16,
        /// Becomes the reason text, see [`close_text`].
        reason: CloseReason,
    },
    /// Give the command to the shard; if it is full, call [`Signalling::handle_shard_full`].
    Shard {
        /// The shard.
        shard: ShardId,
        /// The command.
        command: ShardCommand,
    },
    /// Ask the control thread; the answer comes by [`Signalling::handle_answer`].
    Ask {
        /// Names the question.
        ticket: Ticket,
        /// The question.
        question: Question,
    },
    /// Tell the control thread.
    Tell(Notice),
}

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketEnd {
    /// With this close code from the client (RFC 6455 section 7.4).
    Code(u16),
    /// Without a close frame, with one that has no code, or for a fault of the transport.
    Abnormal,
    /// The client did not read what was sent to it and the write buffer is full.
    Stalled,
}

/// Why a session was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignallingError {
    /// As many are open as may be.
    #[error("{0} sessions are open, which is the limit; raise limits.sessions, or add a server")]
    TooManySessions(usize),
    /// The core has started anew and does not know its rooms yet.
    #[error("the signalling core is starting anew; try again in a second")]
    Restarting,
    /// [`Signalling::handle_shutdown`] was called.
    #[error("the server is going down; connect to another one")]
    ShuttingDown,
}

/// Who a deadline belongs to. Ordered, so that equal deadlines fire in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Backlog(ShardId),
    Session(SessionId),
    Lost(RoomId, MemberId),
    Pending(Ticket),
}

/// The state machine. See the module's head.
pub struct Signalling {
    settings: SignallingSettings,
    book: RoomBook,
    shards: Vec<ShardState>,
    sessions: BTreeMap<SessionId, Session>,
    rooms: BTreeMap<RoomId, Room>,
    /// Joins that wait for the control thread.
    pending: BTreeMap<Ticket, Pending>,
    next_ticket: u64,
    timers: BTreeSet<(Time, Timer)>,
    outputs: VecDeque<SignallingOutput>,
    counters: SignallingCounters,
    /// Members in all rooms.
    memberships: usize,
    next_session: u64,
    shutting_down: bool,
    /// No new members; those who are here may come back.
    draining: bool,
    /// Shards that have yet to say which rooms they carry, after a restart of this core.
    reporting: BTreeSet<ShardId>,
}

impl Signalling {
    /// For shards `0..shards`.
    pub fn new(settings: SignallingSettings, shards: u16, book: RoomBook) -> Self {
        Self {
            settings,
            book,
            shards: (0..shards).map(|_| ShardState::default()).collect(),
            sessions: BTreeMap::new(),
            rooms: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_ticket: 0,
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            counters: SignallingCounters::default(),
            memberships: 0,
            next_session: 0,
            shutting_down: false,
            draining: false,
            reporting: BTreeSet::new(),
        }
    }

    /// Starts anew after a fault: no session, no room, until the shards have said what they carry. Their media goes on;
    /// members have their reconnect timeout to come back (threats.md rule 10).
    pub fn restart(&mut self) {
        self.counters.restarts += 1;
        self.sessions.clear();
        self.forget_rooms();
        self.outputs.clear();
        self.reporting.clear();
        for n in 0..self.shards.len() {
            let shard = ShardId(n as u16);
            if self.renew_shard(shard) {
                self.reporting.insert(shard);
                self.outputs.push_back(SignallingOutput::Shard {
                    shard,
                    command: ShardCommand::Report,
                });
            }
        }
    }

    fn forget_rooms(&mut self) {
        self.rooms.clear();
        self.pending.clear();
        self.memberships = 0;
        self.timers.clear();
        self.counters.lost = 0;
    }

    /// A WebSocket has been opened; `RpcSettings` is its first frame.
    pub fn handle_open(&mut self, now: Time) -> Result<SessionId, SignallingError> {
        if self.shutting_down {
            return Err(SignallingError::ShuttingDown);
        }
        if !self.reporting.is_empty() {
            return Err(SignallingError::Restarting);
        }
        if self.sessions.len() >= self.settings.sessions_max {
            return Err(SignallingError::TooManySessions(self.sessions.len()));
        }
        let id = SessionId(self.next_session);
        self.next_session += 1;
        self.counters.sessions_opened += 1;
        let session = Session::new(now, &self.settings);
        self.timers.insert((session.deadline, Timer::Session(id)));
        self.sessions.insert(id, session);
        self.send(id, &ServerMsg::RpcSettings(self.settings.rpc));
        Ok(id)
    }

    /// A whole text message of a client. Anything that is no message of the protocol is counted and ignored; a
    /// client that sends many of them is closed as `Evicted`.
    pub fn handle_frame(&mut self, now: Time, id: SessionId, text: &str) {
        if !self.admit_frame(now, id) {
            return;
        }
        match serde_json::from_str::<ClientMsg>(text) {
            // Any frame is a sign of life; the number is for clients that measure.
            Ok(ClientMsg::Pong(_)) => {}
            Ok(ClientMsg::Command { room_id, command }) => {
                self.handle_command(now, id, room_id, command);
            }
            Err(_) => self.bad_frame(now, id),
        }
    }

    /// A binary message: not part of the protocol, counted like text that does not parse.
    pub fn handle_binary(&mut self, now: Time, id: SessionId) {
        if self.admit_frame(now, id) {
            self.bad_frame(now, id);
        }
    }

    /// A WebSocket ping or pong: a sign of life that costs budget.
    pub fn handle_control(&mut self, now: Time, id: SessionId) {
        self.admit_frame(now, id);
    }

    /// The socket is gone. Close code 1000 means "left", a stalled reader is evicted; anything else is "lost".
    /// Ignored for a session that was closed from this side.
    pub fn handle_closed(&mut self, now: Time, id: SessionId, end: SocketEnd) {
        match end {
            SocketEnd::Code(CLOSE_CODE) => self.end_session(now, id, Some(CloseReason::Finished)),
            SocketEnd::Code(_) | SocketEnd::Abnormal => self.end_session(now, id, None),
            SocketEnd::Stalled => {
                self.counters.evicted += 1;
                self.end_session(now, id, Some(CloseReason::Evicted));
            }
        }
    }

    /// What a shard has to say.
    pub fn handle_shard_event(&mut self, now: Time, event: ShardEvent) {
        match event {
            ShardEvent::Client {
                session,
                room,
                event,
            } => self.handle_client_event(now, session, room, event),
            ShardEvent::RoomClosed { shard, room } => self.handle_room_closed(now, shard, &room),
            ShardEvent::Snapshot(snapshot) => {
                if let Some(shard) = self.shards.get_mut(usize::from(snapshot.shard.0)) {
                    shard.busy_ratio = snapshot.busy_ratio;
                }
            }
            ShardEvent::Restarted(shard) => self.handle_shard_restarted(now, shard),
            ShardEvent::Present {
                shard,
                spec,
                members,
            } => self.handle_present(now, shard, spec, members),
            ShardEvent::Media(notice) => self.tell(Notice::Media(notice)),
            ShardEvent::Stats { ticket, stats } => self.tell(Notice::Stats { ticket, stats }),
            ShardEvent::Reported(shard) => {
                self.reporting.remove(&shard);
            }
            ShardEvent::Stopped(shard) => self.handle_shard_gone(now, shard),
        }
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((due, _)) = self.timers.first()
            && *due <= now
        {
            match self.timers.pop_first() {
                Some((_, Timer::Session(id))) => self.session_timeout(now, id),
                Some((_, Timer::Lost(room, member))) => self.lost_timeout(now, &room, &member),
                Some((_, Timer::Backlog(shard))) => self.retry_backlog(shard),
                Some((_, Timer::Pending(ticket))) => self.pending_timeout(now, ticket),
                None => {}
            }
        }
    }

    /// When [`Signalling::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// The next thing to do; call until `None` after every input.
    pub fn poll_output(&mut self) -> Option<SignallingOutput> {
        self.outputs.pop_front()
    }

    /// The server goes down: every socket is closed as `Evicted`, every shard told to stop. Nothing opens any more.
    pub fn handle_shutdown(&mut self, _now: Time) {
        self.shutting_down = true;
        self.tell_shutdown();
        for id in std::mem::take(&mut self.sessions).into_keys() {
            self.close_output(id, CloseReason::Evicted);
        }
        self.forget_rooms();
        self.reporting.clear();
        for (n, shard) in self.shards.iter_mut().enumerate() {
            *shard = ShardState::default();
            self.outputs.push_back(SignallingOutput::Shard {
                shard: ShardId(n as u16),
                command: ShardCommand::Shutdown,
            });
        }
    }

    /// Counters, with the sizes of this moment.
    pub fn counters(&self) -> SignallingCounters {
        SignallingCounters {
            sessions: self.sessions.len() as u64,
            rooms: self.rooms.len() as u64,
            ..self.counters
        }
    }

    fn handle_command(&mut self, now: Time, id: SessionId, room: RoomId, command: Command) {
        match command {
            Command::JoinRoom {
                member_id,
                credential,
                capabilities,
            } => self.join(now, id, room, member_id, credential, capabilities),
            Command::LeaveRoom { member_id } => self.leave(now, id, &room, &member_id),
            command => self.pass_on(now, id, room, command),
        }
    }

    fn send_event(&mut self, session: SessionId, room_id: RoomId, event: Event) {
        self.send(session, &ServerMsg::Event { room_id, event });
    }

    fn send(&mut self, session: SessionId, message: &ServerMsg) {
        // Plain data with string keys: this serialisation has no way to fail.
        if let Ok(text) = serde_json::to_string(message) {
            self.outputs
                .push_back(SignallingOutput::Send { session, text });
        }
    }

    fn tell(&mut self, notice: Notice) {
        self.outputs.push_back(SignallingOutput::Tell(notice));
    }

    fn close_output(&mut self, session: SessionId, reason: CloseReason) {
        self.outputs.push_back(SignallingOutput::Close {
            session,
            code: CLOSE_CODE,
            reason,
        });
    }
}

/// Reason text of a close frame, e.g. `{"reason":"Idle"}`.
pub fn close_text(reason: CloseReason) -> String {
    serde_json::to_string(&CloseDescription { reason }).unwrap_or_default()
}
