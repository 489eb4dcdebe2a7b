//! The shard as a state machine: datagrams, commands and time in; datagrams and events out.
//!
//! One core owns one [`Shard`] with its rooms and their media. It does no IO, reads no clock, and two shards given the
//! same seed and inputs send the same bytes. A panic in one room's code closes that room only (threats.md rule 10).

mod links;
mod packets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;

use crate::bus::client::{Capabilities, CloseReason, Command, Event};
use crate::bus::control::Ticket;
use crate::bus::shard::{ShardCommand, ShardEvent};
use crate::bus::spec::RoomSpec;
use crate::faults;
use crate::id::{MemberId, RoomId, SessionId, ShardId};
use crate::limits::{COSTLY_ROOMS_MAX, ROOMS_PER_SHARD_MAX, SHARD_EVENTS_MAX};
use crate::metrics::{Busy, Forwarding, Sent, ShardCounters, ShardSnapshot};
use crate::room::machine::{Fate, Machine, MachineConfig, TICK, Turn};
use crate::room::{Context, Room, RoomConfig, RoomError};
use crate::time::{Anchor, Time};
use crate::transmit::TransmitQueue;

/// What a shard is made with.
pub struct ShardConfig {
    /// Which shard it is.
    pub id: ShardId,
    /// Settings of its rooms.
    pub room: RoomConfig,
    /// Settings of its transports.
    pub machine: MachineConfig,
}

/// Each room is measured once in this time,
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// a share of them at a time.
const MEASURE_TICKS: usize = 50;

/// Who joins, and as what.
struct Joining<'a> {
    session: SessionId,
    member: &'a MemberId,
    spec: &'a Arc<RoomSpec>,
    capabilities: Capabilities,
}

/// One core's rooms and media.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    config: RoomConfig,
    rooms: BTreeMap<RoomId, Room>,
    machine: Machine,
    rng: ChaCha20Rng,
    counters: ShardCounters,
    events: VecDeque<ShardEvent>,
    last_tick: Time,
    /// A round of measuring is under way; when it began, and the room it has come to.
    measuring: bool,
    measured_at: Time,
    measured: Option<RoomId>,
    /// Rooms that are going over between mesh and server.
    switching: BTreeSet<RoomId>,
    /// Rooms that play media of other rooms.
    importers: BTreeSet<RoomId>,
    /// Rooms that have changed, of which others that are linked with them have yet to hear.
    unlinked: BTreeSet<RoomId>,
    /// It has started anew and signalling does not know yet: what it is told is for rooms that are gone.
    awaits_resume: bool,
}

impl Shard {
    /// A shard without rooms. All its randomness comes from `rng`.
    pub fn new(config: ShardConfig, anchor: Anchor, mut rng: ChaCha20Rng) -> Self {
        Self {
            id: config.id,
            config: config.room,
            rooms: BTreeMap::new(),
            machine: Machine::new(config.machine, anchor, &mut rng),
            rng,
            counters: ShardCounters::default(),
            events: VecDeque::new(),
            last_tick: Time::ZERO,
            measuring: false,
            measured_at: Time::ZERO,
            measured: None,
            switching: BTreeSet::new(),
            importers: BTreeSet::new(),
            unlinked: BTreeSet::new(),
            awaits_resume: false,
        }
    }

    /// Starts anew, without any room, after a fault outside every room (threats.md rule 10). What was not sent yet is
    /// for nobody any more.
    pub fn restart(&mut self) {
        self.counters.restarts += 1;
        self.awaits_resume = true;
        self.events.clear();
        self.events.push_back(ShardEvent::Restarted(self.id));
        self.switching.clear();
        self.importers.clear();
        self.unlinked.clear();
        let rooms = std::mem::take(&mut self.rooms);
        let machine = self.machine.emptied(&mut self.rng);
        // Whatever the fault has left behind may panic once more on its way out.
        let gone = catch_unwind(AssertUnwindSafe(|| drop((rooms, machine))));
        if gone.is_err() {
            tracing::error!("what a fault left of a shard could not be taken down cleanly");
        }
    }

    /// Which shard it is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Takes a command in.
    pub fn handle_command(&mut self, now: Time, command: ShardCommand, tx: &mut TransmitQueue) {
        if self.awaits_resume && !matches!(command, ShardCommand::Resume | ShardCommand::Shutdown) {
            return;
        }
        self.forward(now, tx, usize::MAX);
        self.act(now, command, tx);
        self.carry_links(now, tx);
    }

    fn act(&mut self, now: Time, command: ShardCommand, tx: &mut TransmitQueue) {
        match command {
            ShardCommand::Resume => self.awaits_resume = false,
            ShardCommand::Report => self.report(),
            ShardCommand::Join {
                session,
                room,
                member,
                spec,
                capabilities,
            } => {
                let joining = Joining {
                    session,
                    member: &member,
                    spec: &spec,
                    capabilities,
                };
                self.join(now, &room, joining, tx);
            }
            ShardCommand::Client {
                session,
                room,
                member,
                command,
            } => {
                // Signalling is behind: answers would only wait longer. The client's command is refused, and counted.
                if self.events.len() > SHARD_EVENTS_MAX {
                    self.counters.commands_refused += 1;
                    return;
                }
                if let Command::SetIceCandidate { candidate, .. } = &command {
                    faults::hear(&candidate.candidate);
                }
                let name = command.name();
                let result = self.with_room(now, tx, &room, |room, cx| {
                    room.command(session, &member, command, cx)
                });
                if let Some(Err(error)) = result {
                    self.counters.commands_refused += 1;
                    tracing::debug!(%room, %member, command = name, %error, "command refused");
                }
            }
            ShardCommand::Lost {
                session,
                room,
                member,
            } => {
                self.with_room(now, tx, &room, |room, _| room.lost(session, &member));
            }
            ShardCommand::Leave {
                room,
                member,
                reason,
            } => {
                self.with_room(now, tx, &room, |room, cx| room.leave(&member, reason, cx));
                self.close_if_empty(&room);
            }
            ShardCommand::Configure { room, spec } => {
                self.with_room(now, tx, &room, |room, cx| room.configure(&spec, cx));
                self.close_if_empty(&room);
            }
            ShardCommand::Stats { ticket, room } => self.tell_stats(now, ticket, &room, tx),
            ShardCommand::Shutdown => self.shutdown(now, tx),
        }
    }

    fn tell_stats(&mut self, now: Time, ticket: Ticket, room: &RoomId, tx: &mut TransmitQueue) {
        let stats = self.with_room(now, tx, room, |room, cx| Box::new(room.stats(cx)));
        self.events.push_back(ShardEvent::Stats { ticket, stats });
    }

    fn join(&mut self, now: Time, room_id: &RoomId, joining: Joining<'_>, tx: &mut TransmitQueue) {
        let Joining {
            session,
            member,
            spec,
            capabilities,
        } = joining;
        let known = self.rooms.contains_key(room_id);
        if !known && self.rooms.len() < ROOMS_PER_SHARD_MAX {
            let room = Room::new(Arc::clone(spec));
            self.rooms.insert(room_id.clone(), room);
        }
        let result = self.with_room(now, tx, room_id, |room, cx| {
            room.join(session, member, spec, capabilities, cx)
        });
        let refusal = match result {
            Some(Ok(())) => return,
            Some(Err(error)) => error,
            None => RoomError::Full,
        };
        tracing::info!(room = %room_id, %member, error = %refusal, "join refused");
        self.events.push_back(ShardEvent::Client {
            session,
            room: room_id.clone(),
            event: Event::RoomLeft {
                close_reason: match refusal {
                    RoomError::NotInSpec(_) => CloseReason::Rejected,
                    _ => CloseReason::Evicted,
                },
            },
        });
        self.close_if_empty(room_id);
    }

    /// Tells a signalling core that knows nothing which rooms there are. Their members are lost: it has no session.
    fn report(&mut self) {
        for room in self.rooms.values_mut() {
            room.lose_all();
            self.events.push_back(ShardEvent::Present {
                shard: self.id,
                spec: Arc::clone(room.spec()),
                members: room.members().map(|(id, _)| id.clone()).collect(),
            });
        }
        self.events.push_back(ShardEvent::Reported(self.id));
    }

    /// The rooms, and beside them everything they may touch.
    fn split<'a>(
        &'a mut self,
        now: Time,
        tx: &'a mut TransmitQueue,
    ) -> (&'a mut BTreeMap<RoomId, Room>, Context<'a>) {
        let cx = Context {
            now,
            shard: self.id,
            config: &self.config,
            machine: &mut self.machine,
            rng: &mut self.rng,
            events: &mut self.events,
            tx,
            counters: &mut self.counters,
        };
        (&mut self.rooms, cx)
    }

    /// Runs `act` on a room behind a panic guard; `None` when there is no such room, or no more. Rooms that are linked
    /// with it hear of it at the end of the turn.
    fn with_room<T>(
        &mut self,
        now: Time,
        tx: &mut TransmitQueue,
        id: &RoomId,
        act: impl FnOnce(&mut Room, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let done = self.guarded(now, tx, id, act);
        self.note_linked(id);
        done
    }

    fn guarded<T>(
        &mut self,
        now: Time,
        tx: &mut TransmitQueue,
        id: &RoomId,
        act: impl FnOnce(&mut Room, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let (rooms, mut cx) = self.split(now, tx);
        let room = rooms.get_mut(id)?;
        // The room is thrown away after a panic, and every slab operation of the machine is complete in itself.
        let acted = catch_unwind(AssertUnwindSafe(|| act(room, &mut cx)));
        let switching = room.is_switching();
        match acted {
            Ok(value) => {
                self.note_switching(id, switching);
                Some(value)
            }
            Err(_) => {
                self.close_panicked(now, tx, id);
                None
            }
        }
    }

    fn note_switching(&mut self, id: &RoomId, switching: bool) {
        match (switching, self.switching.contains(id)) {
            (true, false) => {
                self.switching.insert(id.clone());
            }
            (false, true) => {
                self.switching.remove(id);
            }
            _ => {}
        }
    }

    /// Closes a room whose code panicked; the rest of the shard goes on.
    fn close_panicked(&mut self, now: Time, tx: &mut TransmitQueue, id: &RoomId) {
        tracing::error!(room = %id, "a fault in this room's code; the room is closed, others go on");
        self.counters.rooms_panicked += 1;
        self.switching.remove(id);
        let (rooms, mut cx) = self.split(now, tx);
        let Some(mut room) = rooms.remove(id) else {
            return;
        };
        let closed = catch_unwind(AssertUnwindSafe(|| {
            room.close(CloseReason::InternalError, &mut cx);
        }));
        if closed.is_err() {
            tracing::error!(room = %id, "closing the room failed too; its transports end with their consent");
        }
        let mut turn = Turn {
            now,
            tx,
            counters: &mut self.counters,
        };
        self.machine.remove_room(id, &mut turn);
        self.room_closed(id);
    }

    fn close_if_empty(&mut self, id: &RoomId) {
        if self.rooms.get(id).is_some_and(Room::is_empty) {
            self.rooms.remove(id);
            self.switching.remove(id);
            self.room_closed(id);
        }
    }

    fn room_closed(&mut self, id: &RoomId) {
        self.note_linked(id);
        self.machine.forget_cost(id);
        self.events.push_back(ShardEvent::RoomClosed {
            shard: self.id,
            room: id.clone(),
        });
    }

    fn shutdown(&mut self, now: Time, tx: &mut TransmitQueue) {
        let ids: Vec<RoomId> = self.rooms.keys().cloned().collect();
        for id in ids {
            self.with_room(now, tx, &id, |room, cx| {
                room.close(CloseReason::Evicted, cx)
            });
            self.close_if_empty(&id);
        }
        self.events.push_back(ShardEvent::Stopped(self.id));
    }

    /// Lets time do its work: retries, reports, consent.
    pub fn handle_timeout(&mut self, now: Time, tx: &mut TransmitQueue) {
        if self.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        self.forward(now, tx, usize::MAX);
        self.last_tick = now;
        loop {
            let mut turn = Turn {
                now,
                tx,
                counters: &mut self.counters,
            };
            let machine = &mut self.machine;
            let ticked = catch_unwind(AssertUnwindSafe(|| machine.tick(&mut turn)));
            if ticked.is_ok() {
                break;
            }
            // The tick has moved on past the transport that panicked: its room is closed, the others go on.
            match self.machine.ticked_room() {
                Some(room) => self.close_panicked(now, tx, &room),
                None => break,
            }
        }
        self.drain_machine(now, tx);
        for room in self.switching.clone() {
            self.with_room(now, tx, &room, Room::handle_timeout);
        }
        self.measure_rooms(now, tx);
        self.carry_links(now, tx);
    }

    /// Measures some rooms: each once in a second, spread over the ticks.
    fn measure_rooms(&mut self, now: Time, tx: &mut TransmitQueue) {
        if !self.measuring {
            if now.since(self.measured_at) < MEASURE_INTERVAL {
                return;
            }
            self.measured_at = now;
            self.measured = None;
        }
        let share = self.rooms.len().div_ceil(MEASURE_TICKS).max(1);
        let next = match &self.measured {
            Some(last) => self.rooms.range((Excluded(last.clone()), Unbounded)),
            None => self.rooms.range::<RoomId, _>(..),
        };
        let ids: Vec<RoomId> = next.take(share).map(|(id, _)| id.clone()).collect();
        self.measuring = ids.len() == share;
        self.measured = ids.last().cloned();
        for id in ids {
            self.with_room(now, tx, &id, |room, cx| {
                room.measure(cx);
                room.watch_media(cx);
            });
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None`: not before something happens.
    pub fn poll_timeout(&self) -> Option<Time> {
        let switching = (!self.switching.is_empty()).then(|| self.last_tick + TICK);
        let media = self.machine.next_tick(self.last_tick);
        switching.into_iter().chain(media).min()
    }

    /// What the machine found out about members: their transports failed.
    fn drain_machine(&mut self, now: Time, tx: &mut TransmitQueue) {
        while let Some(notice) = self.machine.poll_notice() {
            self.with_room(now, tx, &notice.room, |room, cx| match notice.fate {
                Fate::ConsentLost => room.consent_lost(&notice.member, notice.transport, cx),
                Fate::Ended => room.transport_ended(&notice.member, notice.transport, cx),
            });
        }
    }

    /// The next event for signalling.
    pub fn poll_event(&mut self) -> Option<ShardEvent> {
        self.events.pop_front()
    }

    /// Counters since the start.
    pub fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    /// Adds what came of sending a batch, and how long the copies took since what they answer was read.
    pub fn count_sent(&mut self, sent: &Sent, took: &Forwarding) {
        self.counters.sent.add(sent);
        self.counters.forwarding.add(took);
    }

    /// Rooms by id, for tests and the simulation's invariants.
    pub fn rooms(&self) -> impl Iterator<Item = (&RoomId, &Room)> {
        self.rooms.iter()
    }

    /// Media state, for tests and the simulation's invariants.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Divides `packets`, the time spent on packets within the last `elapsed`, among the rooms whose packets they were.
    pub fn attribute(&mut self, packets: Duration, elapsed: Duration) {
        self.machine.attribute(packets, elapsed);
    }

    /// What the shard tells once a second. `busy`: how long its loop has worked since its start; `busy_ratio`: share of the
    /// last second, 0.0–1.0. What only the thread around it knows is left empty.
    pub fn snapshot(&self, busy: Busy, busy_ratio: f64) -> ShardSnapshot {
        let (transports, up_tracks, down_tracks) = self.machine.sizes();
        ShardSnapshot {
            shard: self.id,
            counters: self.counters,
            rooms: self.rooms.len() as u32,
            members: self.rooms.values().map(Room::len).sum::<usize>() as u32,
            transports,
            up_tracks,
            down_tracks,
            busy_ratio,
            busy,
            costly: self.machine.costliest(COSTLY_ROOMS_MAX),
            cpu_s: 0.0,
            udp: "",
        }
    }
}
