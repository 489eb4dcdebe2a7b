//! The world around one shard: clock, event queue, network, signalling core and clients; invariants after each step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use colchis::bus::client::{CloseReason, Command, Event, RpcSettings};
use colchis::bus::control::MediaNotice;
use colchis::bus::shard::{ShardCommand, ShardEvent};
use colchis::bus::spec::{MemberSpec, PublishSpec, RoomSpec};
use colchis::id::{EndpointId, MemberId, RoomId, SessionId};
use colchis::metrics::{Busy, ShardCounters, ShardSnapshot};
use colchis::shard::Shard;
use colchis::time::{Anchor, Time};
use colchis::transmit::TransmitQueue;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use serde_json::Value;

use crate::client::FakeClient;
use crate::network::Link;

/// Calls of the shard's timer without time passing: more is a livelock.
const TIMER_CALLS_MAX: u32 = 64;
/// Copies that are made before they are sent: few, so that forwarding is often interrupted.
const FORWARDED_AT_ONCE: usize = 3;
/// The shard's socket.
pub const SERVER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    40_000,
);

/// Something under way.
enum Happening {
    ToServer {
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    ToClient {
        to: SocketAddr,
        sent_at: Time,
        bytes: Vec<u8>,
    },
    Command(Box<ShardCommand>),
    Event {
        session: SessionId,
        event: Value,
    },
}

struct Queued {
    at: Time,
    order: u64,
    what: Happening,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A client and what surrounds it.
pub struct Seat {
    /// The client.
    pub client: FakeClient,
    /// Client → server.
    pub up: Link,
    /// Server → client.
    pub down: Link,
    /// Session that speaks for it.
    pub session: Option<SessionId>,
    /// Should be a member now, as far as its own wishes go.
    pub present: bool,
    /// Sends hostile packets: may spoil its own call, never another's.
    pub evil: bool,
    /// Delay of its WebSocket, µs.
    pub signal_us: u64,
}

/// See the module.
pub struct World {
    /// Virtual time.
    pub now: Time,
    /// Every choice of the world.
    pub rng: ChaCha20Rng,
    /// The shard under test.
    pub shard: Shard,
    /// Clients.
    pub seats: Vec<Seat>,
    /// FNV-1a of everything the shard sent and said, with times.
    pub hash: u64,
    /// Steps taken.
    pub steps: u64,
    /// Rooms the shard has closed.
    pub rooms_closed: u32,
    /// What the shard has told of media that starts and stops.
    pub media: Vec<(Time, MediaNotice)>,
    tx: TransmitQueue,
    queue: BinaryHeap<Reverse<Queued>>,
    order: u64,
    specs: Vec<Arc<RoomSpec>>,
    next_session: u64,
    next_port: u16,
    /// Sessions the shard may speak to, by what it was told.
    live: BTreeMap<SessionId, usize>,
    /// Addresses that sent nothing authentic: nothing may go there.
    strangers: BTreeSet<SocketAddr>,
    timer_calls: u32,
}

impl World {
    /// A shard without rooms; `device_only` rooms have no screen tracks.
    pub fn new(seed: u64, rooms: u16, device_only: bool) -> World {
        crate::dtls::reseed(seed);
        let anchor = Anchor {
            instant: crate::dtls::anchor_instant(),
            ntp: 0xE000_0000_0000_0000,
        };
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let shard_rng = ChaCha20Rng::seed_from_u64(rng.next_u64());
        let specs = (1..=rooms)
            .map(|n| Arc::new(room_spec(n, device_only)))
            .collect();
        World {
            now: Time::from_millis(1000),
            rng,
            shard: crate::make_shard(SERVER, anchor, shard_rng),
            seats: Vec::new(),
            hash: 0xCBF2_9CE4_8422_2325,
            steps: 0,
            rooms_closed: 0,
            media: Vec::new(),
            tx: TransmitQueue::default(),
            queue: BinaryHeap::new(),
            order: 0,
            specs,
            next_session: 1,
            next_port: 10_000,
            live: BTreeMap::new(),
            strangers: BTreeSet::new(),
            timer_calls: 0,
        }
    }

    /// A client for room `room` (from 1) that has not joined yet.
    pub fn seat(&mut self, room: u16, up: Link, down: Link) -> usize {
        let index = self.seats.len();
        let number = index as u16 + 1;
        let anchor = Anchor {
            instant: crate::dtls::anchor_instant(),
            ntp: 0xE000_0000_0000_0000,
        };
        let address = self.new_address(number);
        let mut client = FakeClient::new(room, number, address, anchor, self.rng.next_u64());
        client.lossless = down.is_clean();
        let signal_us = 1_000 + u64::from(self.rng.next_u32() % 40_000);
        let seat = Seat {
            client,
            up,
            down,
            session: None,
            present: false,
            evil: false,
            signal_us,
        };
        self.seats.push(seat);
        index
    }

    /// An address nobody has used.
    pub fn new_address(&mut self, number: u16) -> SocketAddr {
        self.next_port += 1;
        SocketAddr::from(([198, 51, 100, number as u8], self.next_port))
    }

    fn push(&mut self, at: Time, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Queued {
            at,
            order: self.order,
            what,
        }));
    }

    /// Rooms there can be.
    pub fn rooms(&self) -> u16 {
        self.specs.len() as u16
    }

    /// The spec of room `room` (from 1).
    pub fn spec(&self, room: u16) -> Arc<RoomSpec> {
        Arc::clone(&self.specs[usize::from(room) - 1])
    }

    /// Gives room `room` (from 1) another spec, as the Control API would.
    pub fn configure(&mut self, room: u16, spec: RoomSpec) {
        let spec = Arc::new(spec);
        self.specs[usize::from(room) - 1] = Arc::clone(&spec);
        let id = spec.id.clone();
        let configure = ShardCommand::Configure { room: id, spec };
        self.push(self.now, Happening::Command(Box::new(configure)));
    }

    // --- what clients and the signalling core do ---------------------------------------------

    /// Joins (or comes back with) a new session.
    pub fn join(&mut self, seat: usize) {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let spec = Arc::clone(&self.specs[usize::from(self.seats[seat].client.room) - 1]);
        let member = self.member(seat);
        self.seats[seat].session = Some(session);
        self.seats[seat].present = true;
        self.seats[seat].client.signal.left = None;
        let (room, capabilities) = (spec.id.clone(), Default::default());
        self.command(
            seat,
            ShardCommand::Join {
                session,
                room,
                member,
                spec,
                capabilities,
            },
        );
    }

    /// Leaves for good: its client forgets everything.
    pub fn leave(&mut self, seat: usize) {
        let (room, member) = (self.room(seat), self.member(seat));
        self.command(
            seat,
            ShardCommand::Leave {
                room,
                member,
                reason: CloseReason::Finished,
            },
        );
        self.seats[seat].present = false;
    }

    /// The WebSocket is gone; media goes on.
    pub fn lose(&mut self, seat: usize) {
        let (room, member) = (self.room(seat), self.member(seat));
        if let Some(session) = self.seats[seat].session.take() {
            self.command(
                seat,
                ShardCommand::Lost {
                    session,
                    room,
                    member,
                },
            );
        }
    }

    /// A command of the client as it would come over its socket.
    pub fn client_command(&mut self, seat: usize, command: Value) {
        let Some(session) = self.seats[seat].session else {
            return;
        };
        let command: Command =
            serde_json::from_value(command).expect("the client speaks the protocol");
        let (room, member) = (self.room(seat), self.member(seat));
        self.command(
            seat,
            ShardCommand::Client {
                session,
                room,
                member,
                command,
            },
        );
    }

    fn command(&mut self, seat: usize, command: ShardCommand) {
        let at = self.now + Duration::from_micros(self.seats[seat].signal_us);
        self.push(at, Happening::Command(Box::new(command)));
    }

    fn member(&self, seat: usize) -> MemberId {
        MemberId::new(&self.seats[seat].client.signal.member).expect("a member id")
    }

    fn room(&self, seat: usize) -> RoomId {
        self.specs[usize::from(self.seats[seat].client.room) - 1]
            .id
            .clone()
    }

    /// Datagrams of a client go into its link.
    pub fn send_from(&mut self, seat: usize, datagrams: Vec<Vec<u8>>) {
        let (from, link) = (self.seats[seat].client.address, self.seats[seat].up);
        for bytes in datagrams {
            for time in link.carry(&mut self.rng).into_iter().flatten() {
                let at = self.now + time;
                self.push(
                    at,
                    Happening::ToServer {
                        from,
                        bytes: bytes.clone(),
                    },
                );
            }
        }
    }

    /// A datagram that carries somebody's source address, true or not; arrives at once.
    pub fn inject(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        if !self.seats.iter().any(|s| s.client.address == from) {
            self.strangers.insert(from);
        }
        self.push(self.now, Happening::ToServer { from, bytes });
    }

    // --- the loop -----------------------------------------------------------------------------

    /// Runs until `end`.
    pub fn run_until(&mut self, end: Time) {
        loop {
            let queue = self.queue.peek().map_or(Time::MAX, |Reverse(q)| q.at);
            let shard = self.shard.poll_timeout().unwrap_or(Time::MAX);
            let client = self
                .seats
                .iter()
                .map(|s| s.client.poll_timeout())
                .min()
                .unwrap_or(Time::MAX);
            let next = queue.min(shard).min(client);
            if next > end {
                self.now = self.now.max(end);
                return;
            }
            self.timer_calls = if next > self.now { 0 } else { self.timer_calls };
            self.now = self.now.max(next);
            self.steps += 1;
            if shard == next {
                self.timer_calls += 1;
                assert!(
                    self.timer_calls < TIMER_CALLS_MAX,
                    "{:?}: the shard's timer never advances",
                    self.now
                );
                self.shard.handle_timeout(self.now, &mut self.tx);
                self.drain();
            } else if queue == next {
                let Some(Reverse(queued)) = self.queue.pop() else {
                    return;
                };
                self.happen(queued.what);
            } else {
                self.client_timers();
            }
            self.check_counters();
            if self.steps.is_multiple_of(256) {
                self.check_sizes();
            }
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::ToServer { from, mut bytes } => {
                // Some are padded, as those of a batch whose sizes differ are.
                let pad = (bytes.len() % 3) as u8;
                self.shard
                    .take_in(self.now, from, &mut bytes, pad, &mut self.tx);
                self.forward();
            }
            Happening::ToClient { to, sent_at, bytes } => {
                let Some(seat) = self.seats.iter().position(|s| s.client.address == to) else {
                    return; // An address some client has left.
                };
                let mut out = Vec::new();
                self.seats[seat]
                    .client
                    .handle_datagram(self.now, sent_at, bytes, &mut out);
                self.send_from(seat, out);
            }
            Happening::Command(mut command) => {
                // Signalling sends a join with the spec of that moment, and never behind a newer one.
                if let ShardCommand::Join { room, spec, .. } = command.as_mut()
                    && let Some(now) = self.specs.iter().find(|s| s.id == *room)
                {
                    *spec = Arc::clone(now);
                }
                self.note_command(&command);
                self.shard.handle_command(self.now, *command, &mut self.tx);
                self.drain();
            }
            Happening::Event { session, event } => self.tell_client(session, &event),
        }
    }

    /// Forwards in portions, as a real shard does; not yet if more comes in the same moment: that is one batch.
    fn forward(&mut self) {
        let next = self.queue.peek().map(|Reverse(next)| next);
        let batch = next.is_some_and(|next| {
            next.at <= self.now && matches!(next.what, Happening::ToServer { .. })
        });
        if batch && !self.shard.is_full() {
            return;
        }
        while self
            .shard
            .forward(self.now, &mut self.tx, FORWARDED_AT_ONCE)
        {
            self.drain();
        }
        self.drain();
    }

    fn client_timers(&mut self) {
        for seat in 0..self.seats.len() {
            if self.seats[seat].client.poll_timeout() <= self.now {
                let mut out = Vec::new();
                self.seats[seat]
                    .client
                    .handle_timeout(self.now, &mut self.rng, &mut out);
                self.send_from(seat, out);
            }
        }
    }

    fn note_command(&mut self, command: &ShardCommand) {
        match command {
            ShardCommand::Join {
                session, member, ..
            } => {
                let seat = self
                    .seats
                    .iter()
                    .position(|s| s.client.signal.member == member.as_str());
                let seat = seat.expect("a known member");
                self.live.retain(|_, s| *s != seat);
                self.live.insert(*session, seat);
            }
            ShardCommand::Lost { session, .. } => {
                self.live.remove(session);
            }
            _ => {}
        }
    }

    fn tell_client(&mut self, session: SessionId, event: &Value) {
        let Some(seat) = self.seats.iter().position(|s| s.session == Some(session)) else {
            return; // Said before the socket went.
        };
        let commands = self.seats[seat].client.signal.handle(event);
        for command in commands {
            self.client_command(seat, command);
        }
        let now = self.now;
        if self.seats[seat].client.signal.left.is_some() {
            self.seats[seat].session = None;
        }
        self.seats[seat].client.refresh(now);
    }

    fn drain(&mut self) {
        let sent: Vec<(SocketAddr, Vec<u8>)> = self
            .tx
            .iter()
            .map(|(to, bytes)| (to, bytes.to_vec()))
            .collect();
        self.tx.clear();
        for (to, bytes) in sent {
            self.mix(&self.now.as_micros().to_be_bytes());
            self.mix(&to.port().to_be_bytes());
            self.mix(&bytes);
            assert!(
                !self.strangers.contains(&to),
                "{:?}: {} bytes to a stranger",
                self.now,
                bytes.len()
            );
            let link = self
                .seats
                .iter()
                .find(|s| s.client.address == to)
                .map(|s| s.down);
            let Some(link) = link else { continue };
            for time in link.carry(&mut self.rng).into_iter().flatten() {
                let (at, bytes) = (self.now + time, bytes.clone());
                self.push(
                    at,
                    Happening::ToClient {
                        to,
                        sent_at: self.now,
                        bytes,
                    },
                );
            }
        }
        while let Some(event) = self.shard.poll_event() {
            self.take_event(event);
        }
    }

    fn take_event(&mut self, event: ShardEvent) {
        match event {
            ShardEvent::Client {
                session,
                room,
                event,
            } => {
                let Some(seat) = self.live.get(&session).copied() else {
                    panic!(
                        "{:?}: {event:?} for session {session}, which is not there",
                        self.now
                    );
                };
                assert_eq!(room, self.room(seat), "events name the member's room");
                if matches!(event, Event::RoomLeft { .. }) {
                    self.live.remove(&session);
                }
                let json = serde_json::to_value(&event).expect("an event is JSON");
                self.mix(json.to_string().as_bytes());
                let at = self.now + Duration::from_micros(self.seats[seat].signal_us);
                self.push(
                    at,
                    Happening::Event {
                        session,
                        event: json,
                    },
                );
            }
            ShardEvent::RoomClosed { .. } => self.rooms_closed += 1,
            ShardEvent::Media(notice) => self.media.push((self.now, notice)),
            ShardEvent::Stats { .. } => {}
            ShardEvent::Restarted(_) => {
                self.live.clear();
                self.push(self.now, Happening::Command(Box::new(ShardCommand::Resume)));
            }
            ShardEvent::Snapshot(_)
            | ShardEvent::Stopped(_)
            | ShardEvent::Present { .. }
            | ShardEvent::Reported(_) => {}
        }
    }

    fn mix(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash = (self.hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01B3);
            self.hash ^= self.hash >> 29;
        }
    }

    // --- invariants ---------------------------------------------------------------------------

    /// Counters of the shard now.
    pub fn counters(&self) -> ShardCounters {
        *self.shard.counters()
    }

    /// Rule 5: received = used + consumed + Σ drops.
    pub fn check_counters(&self) {
        let counters = self.counters();
        assert!(
            counters.balanced(),
            "{:?}: counters do not add up: {counters:?}",
            self.now
        );
    }

    /// Sizes of the shard now.
    pub fn snapshot(&self) -> ShardSnapshot {
        self.shard.snapshot(Busy::default(), 0.0)
    }

    fn check_sizes(&self) {
        let snapshot = self.snapshot();
        let seats = self.seats.len() as u32;
        let rooms = self.specs.len() as u32;
        assert!(snapshot.rooms <= rooms, "{snapshot:?}");
        // Each room of the simulation is among the costliest, so a closed one that is still counted shows.
        assert!(
            snapshot.costly.len() <= snapshot.rooms as usize,
            "{snapshot:?}"
        );
        assert!(
            snapshot.members <= seats && snapshot.transports <= seats,
            "{snapshot:?}"
        );
        // Camera, microphone, screen and its sound.
        assert!(snapshot.up_tracks <= 4 * seats, "{snapshot:?}");
        assert!(snapshot.down_tracks <= 4 * seats * seats, "{snapshot:?}");
    }

    /// Faults of all clients that behave.
    pub fn faults(&self) -> Vec<String> {
        let honest = self.seats.iter().filter(|s| !s.evil);
        honest
            .flat_map(|s| {
                s.client
                    .faults
                    .iter()
                    .map(|f| format!("{}: {f}", s.client.signal.member))
            })
            .collect()
    }
}

fn room_spec(number: u16, device_only: bool) -> RoomSpec {
    let camera = EndpointId::new("camera").expect("an id");
    let rpc = RpcSettings {
        idle_timeout_ms: 10_000,
        ping_interval_ms: 3_000,
    };
    let member = MemberSpec {
        publish: BTreeMap::from([(
            camera,
            PublishSpec {
                device_only,
                ..PublishSpec::default()
            },
        )]),
        ..MemberSpec::new("", rpc, 10_000)
    };
    RoomSpec {
        open: Some(Arc::new(member)),
        ..RoomSpec::new(RoomId::new(&format!("r{number}")).expect("an id"))
    }
}
