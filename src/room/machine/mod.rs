//! The machine: media state of all rooms of a shard, in flat slabs, and the hot path through them.
//!
//! The description ([`crate::room::Room`]) is turned into this by `reconcile`; packets touch only this. Invariants: an
//! address or ufrag in a map names a live transport; a key in a fan-out names a live down track, which names its up
//! track; a transport's `ups` and `downs` are live. Nothing here allocates per packet.

mod adapt;
mod burst;
mod cost;
mod encodings;
mod feedback;
mod forward;
mod links;
mod peers;
mod receive;
mod timers;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use ahash::RandomState;
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use crate::error::DropReason;
use crate::id::{DownTrackKey, MemberId, RoomId, TransportKey, UpTrackKey};
use crate::limits::{
    DOWN_TRACKS_MAX, DTLS_DATAGRAM_BYTES_MAX, FAN_OUT_MAX, NACK_PER_PACKET_MAX, TRANSPORTS_MAX,
    UP_TRACKS_MAX,
};
use crate::media::{DownTrack, DownTrackStats, PublisherClock, UpTrack};
use crate::metrics::{RoomCost, ShardCounters};
use crate::room::machine::burst::Burst;
use crate::room::machine::cost::Costs;
use crate::room::slab::Slab;
use crate::time::{Anchor, Time};
use crate::transmit::TransmitQueue;
use crate::transport::TransportEvent;
use crate::transport::dtls::{DtlsContext, DtlsProvider};
use crate::transport::ice::IceCheck;
use crate::wire::demux::{Protocol, classify};
use crate::wire::stun;

pub use encodings::Encoding;
pub use links::{Link, MidRoute, Route};
pub use timers::TICK;

/// A published track, or one encoding of it, and who gets it.
#[derive(Debug)]
pub struct UpEntry {
    /// The track.
    pub track: UpTrack,
    /// Publisher.
    pub transport: TransportKey,
    /// Subscribers, ascending.
    pub fan_out: Vec<DownTrackKey>,
    /// All encodings of the published track, this one among them; only in the first one's entry, and only with simulcast.
    pub encodings: Vec<Encoding>,
}

impl UpEntry {
    /// A subscriber more. `false`: there are too many.
    fn join(&mut self, down: DownTrackKey) -> bool {
        let Err(at) = self.fan_out.binary_search(&down) else {
            return true;
        };
        if self.fan_out.len() >= FAN_OUT_MAX {
            return false;
        }
        self.fan_out.insert(at, down);
        true
    }

    /// A subscriber less. Without any, nobody waits for a key frame.
    fn leave(&mut self, down: DownTrackKey) {
        self.fan_out.retain(|d| *d != down);
        if self.fan_out.is_empty() {
            self.track.cancel_key_frame();
        }
    }
}

/// A subscription.
#[derive(Debug)]
#[repr(C)]
pub struct DownEntry {
    /// Subscriber.
    pub transport: TransportKey,
    /// What is forwarded, if the publisher is there: a published track, or one of its encodings.
    pub up: Option<UpTrackKey>,
    /// The encoding that takes over with its next key frame.
    pub next: Option<UpTrackKey>,
    /// The track.
    pub track: DownTrack,
    /// The published track that is played: its first encoding.
    pub plays: Option<UpTrackKey>,
    /// The best encoding that the subscriber's line can carry, as far as is known; `None`: any.
    pub ceiling: Option<UpTrackKey>,
}

/// What the machine needs beside packets.
pub struct Turn<'a> {
    /// Now.
    pub now: Time,
    /// Outgoing datagrams.
    pub tx: &'a mut TransmitQueue,
    /// Counters of the shard.
    pub counters: &'a mut ShardCounters,
}

/// What a machine is made with.
pub struct MachineConfig {
    /// Makes DTLS sessions with the server's certificate.
    pub dtls: Box<dyn DtlsProvider>,
    /// DTLS handshakes admitted per second.
    pub handshakes_per_s: u32,
}

/// What became of a transport by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has lost consent and may come back.
    ConsentLost,
    /// It will never carry media again.
    Ended,
}

/// A transport with something its room has to act on, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Room of the peer.
    pub room: RoomId,
    /// Member of the peer.
    pub member: MemberId,
    /// The transport.
    pub transport: TransportKey,
    /// What became of it.
    pub fate: Fate,
}

/// Media state of a shard.
#[derive(Debug)]
pub struct Machine {
    pub(super) transports: Slab<TransportKey, Link>,
    pub(super) ups: Slab<UpTrackKey, UpEntry>,
    pub(super) downs: Slab<DownTrackKey, DownEntry>,
    /// Publishers' clocks by transport: beside the links, so that a subscriber's reports can read them.
    clocks: Vec<PublisherClock>,
    by_address: HashMap<SocketAddr, TransportKey, RandomState>,
    by_ufrag: HashMap<String, TransportKey, RandomState>,
    dtls: DtlsContext,
    anchor: Anchor,
    next_up_id: u32,
    notices: VecDeque<Notice>,
    costs: Costs,
    /// Where an unfinished tick goes on; 0: none is under way.
    tick_at: usize,
    /// NACK list under construction, so that no packet allocates.
    nack_scratch: Vec<u16>,
    /// Packets that were taken in and wait to be forwarded.
    burst: Burst,
}

impl Machine {
    /// A machine without media. Hash keys come from `rng`.
    pub fn new(config: MachineConfig, anchor: Anchor, rng: &mut ChaCha20Rng) -> Self {
        let dtls = DtlsContext::new(config.dtls).with_handshakes_per_s(config.handshakes_per_s);
        Self::with_dtls(dtls, anchor, rng)
    }

    /// Becomes a machine without any media; what there was is returned, to be dropped.
    pub fn emptied(&mut self, rng: &mut ChaCha20Rng) -> impl Sized + use<> {
        let provider = self.dtls.share();
        let fresh = Self::with_dtls(provider, self.anchor, rng);
        std::mem::replace(self, fresh)
    }

    fn with_dtls(dtls: DtlsContext, anchor: Anchor, rng: &mut ChaCha20Rng) -> Self {
        let mut hasher = || {
            let mut seed = || rng.next_u64();
            RandomState::with_seeds(seed(), seed(), seed(), seed())
        };
        Self {
            transports: Slab::new(TRANSPORTS_MAX),
            ups: Slab::new(UP_TRACKS_MAX),
            downs: Slab::new(DOWN_TRACKS_MAX),
            clocks: Vec::new(),
            by_address: HashMap::with_hasher(hasher()),
            by_ufrag: HashMap::with_hasher(hasher()),
            dtls,
            anchor,
            next_up_id: 0,
            notices: VecDeque::new(),
            costs: Costs::new(),
            tick_at: 0,
            nack_scratch: Vec::with_capacity(NACK_PER_PACKET_MAX),
            burst: Burst::new(),
        }
    }

    /// Whether a transport can carry media.
    pub fn is_connected(&self, key: TransportKey) -> bool {
        let link = self.transports.get(key);
        link.and_then(Link::media_address).is_some()
    }

    /// Round trip to a peer, once known.
    pub fn round_trip(&self, key: TransportKey) -> Option<Duration> {
        self.transports.get(key)?.transport.round_trip()
    }

    /// What a subscriber reports of a subscription, if it has reported.
    pub fn reported(&self, down: DownTrackKey, now: Time) -> Option<DownTrackStats> {
        let entry = self.downs.get(down)?;
        let up = self.ups.get(entry.up?)?;
        entry
            .track
            .is_reported()
            .then(|| entry.track.stats(now, up.track.clock_rate()))
    }

    /// What goes out on a subscription.
    pub fn down_stats(&self, down: DownTrackKey, now: Time) -> Option<DownTrackStats> {
        let entry = self.downs.get(down)?;
        let up = entry.up.and_then(|up| self.ups.get(up));
        let clock_rate = up.map_or(1, |up| up.track.clock_rate());
        Some(entry.track.stats(now, clock_rate))
    }

    /// Seconds since 1970 (for what expires outside: TURN credentials).
    pub fn unix_s(&self, now: Time) -> u64 {
        self.anchor.to_unix_s(now)
    }

    /// Transports, up tracks and down tracks that live.
    pub fn sizes(&self) -> (u32, u32, u32) {
        (
            self.transports.len() as u32,
            self.ups.len() as u32,
            self.downs.len() as u32,
        )
    }

    /// Divides `busy`, the time spent on packets within the last `elapsed`, among the rooms whose packets they were.
    pub fn attribute(&mut self, busy: Duration, elapsed: Duration) {
        self.costs.attribute(busy, elapsed);
    }

    /// What a room costs.
    pub fn cost(&self, room: &RoomId) -> RoomCost {
        self.costs.of(room)
    }

    /// The `most` rooms that cost most in the last second, the costliest first.
    pub fn costliest(&self, most: usize) -> Vec<(RoomId, RoomCost)> {
        self.costs.costliest(most)
    }

    /// A room is closed: what it has cost is forgotten.
    pub fn forget_cost(&mut self, room: &RoomId) {
        self.costs.close(room);
    }

    /// User fragments and addresses that lead to a transport, for tests: none may be left behind.
    pub fn routes(&self) -> (usize, usize) {
        (self.by_ufrag.len(), self.by_address.len())
    }

    /// Takes one datagram in. `Ok(true)`: media that will be used, see [`forward`](Self::forward); `Ok(false)`: anything else that
    /// was.
    ///
    /// # Errors
    /// Why it went no further.
    pub fn handle_datagram(
        &mut self,
        from: SocketAddr,
        datagram: &mut [u8],
        pad: u8,
        turn: &mut Turn<'_>,
    ) -> Result<bool, DropReason> {
        if datagram.is_empty() || datagram.len() > DTLS_DATAGRAM_BYTES_MAX {
            return Err(DropReason::BadLength);
        }
        let protocol = classify(datagram).ok_or(DropReason::UnknownProtocol)?;
        if protocol == Protocol::Stun {
            return self.receive_stun(from, datagram, turn).map(|()| false);
        }
        let known = self.by_address.get(&from).copied();
        let key = known.ok_or(DropReason::UnknownSource)?;
        if let Some(link) = self.transports.get(key) {
            self.costs.received(link.cost);
        }
        match protocol {
            Protocol::Rtp => self
                .receive_rtp(key, from, datagram, pad, turn)
                .map(|()| true),
            Protocol::Rtcp => self.receive_rtcp(key, from, datagram, turn).map(|()| false),
            Protocol::Dtls => self.receive_dtls(key, from, datagram, turn).map(|()| false),
            Protocol::Stun => Ok(false),
        }
    }

    /// A check: by the ufrag it names, whatever its source.
    fn receive_stun(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let message = stun::parse(datagram).map_err(|_| DropReason::StunMalformed)?;
        let ufrag = message.local_ufrag().ok_or(DropReason::StunMalformed)?;
        let ufrag = std::str::from_utf8(ufrag).map_err(|_| DropReason::StunUnknownUfrag)?;
        let known = self.by_ufrag.get(ufrag).copied();
        let key = known.ok_or(DropReason::StunUnknownUfrag)?;
        // A member that spoofs another's source must not get its datagrams, nor keep the server from taking them.
        let owner = self.by_address.get(&from).filter(|owner| **owner != key);
        let owner = owner.and_then(|owner| self.transports.get(*owner));
        if owner.is_some_and(|link| link.transport.owns_address(turn.now, from)) {
            return Err(DropReason::StunAddressTaken);
        }
        let link = self
            .transports
            .get_mut(key)
            .ok_or(DropReason::StunUnknownUfrag)?;
        self.costs.received(link.cost);
        let check =
            link.transport
                .handle_stun(turn.now, from, &message, &mut self.dtls, turn.tx)?;
        if let IceCheck::New {
            evicted: Some(evicted),
        } = check
            && self.by_address.get(&evicted) == Some(&key)
        {
            self.by_address.remove(&evicted);
        }
        // An address whose owner has fallen silent (a NAT gave its port to somebody else) belongs to the newcomer.
        if check != IceCheck::Refused && self.by_address.get(&from) != Some(&key) {
            self.by_address.insert(from, key);
        }
        self.take_transport_events(key, turn);
        Ok(())
    }

    fn receive_dtls(
        &mut self,
        key: TransportKey,
        from: SocketAddr,
        datagram: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let link = self
            .transports
            .get_mut(key)
            .ok_or(DropReason::UnknownSource)?;
        let done = link
            .transport
            .handle_dtls(turn.now, from, datagram, &mut self.dtls, turn.tx);
        self.take_transport_events(key, turn);
        done
    }

    /// Acts on what a transport has to say.
    fn take_transport_events(&mut self, key: TransportKey, turn: &mut Turn<'_>) {
        while let Some(event) = self
            .transports
            .get_mut(key)
            .and_then(|link| link.transport.poll_event())
        {
            match event {
                TransportEvent::AddressChanged { .. } => {}
                // Back from lost consent it missed pictures; before the handshake this does nothing.
                TransportEvent::IceConnected(_) => self.subscriber_connected(key, turn),
                TransportEvent::DtlsConnected { .. } => {
                    turn.counters.handshakes_completed += 1;
                    self.subscriber_connected(key, turn);
                }
                TransportEvent::Failed(error) => {
                    turn.counters.handshakes_failed += 1;
                    self.note(key, Fate::Ended, &error);
                }
                TransportEvent::ConsentLost => self.note(key, Fate::ConsentLost, &"no consent"),
                TransportEvent::Gone => self.note(key, Fate::Ended, &"no consent for too long"),
                TransportEvent::Closed => self.note(key, Fate::Ended, &"closed by the peer"),
            }
        }
    }

    fn note(&mut self, key: TransportKey, fate: Fate, why: &dyn std::fmt::Display) {
        if let Some(link) = self.transports.get(key) {
            tracing::info!(room = %link.room, member = %link.member, ?fate, %why, "transport");
            // Polled each turn, and at most two for each transport: bounded as they are.
            self.notices.push_back(Notice {
                room: link.room.clone(),
                member: link.member.clone(),
                transport: key,
                fate,
            });
        }
    }

    /// A subscriber can be sent to: video it is subscribed to has to start at a key frame.
    fn subscriber_connected(&mut self, key: TransportKey, turn: &mut Turn<'_>) {
        let listed = |machine: &Self, at| {
            let link = machine.transports.get(key)?;
            link.downs.get(at).copied()
        };
        let mut at = 0;
        while let Some((ssrc, down)) = listed(self, at) {
            at += 1;
            // Each subscription is listed once more under its retransmissions' SSRC.
            let track = self.downs.get(down).map(|d| d.track.ssrc());
            if track == Some(ssrc.0) {
                self.start(down, turn);
            }
        }
    }

    /// Asks the publisher of a subscription for a key frame. Not before the subscriber can take it: the picture would
    /// be lost on it, and the next request would have to wait (`KEY_FRAME_INTERVAL_MS`).
    pub(super) fn start(&mut self, down: DownTrackKey, turn: &mut Turn<'_>) {
        let Some(entry) = self.downs.get(down) else {
            return;
        };
        let link = self.transports.get(entry.transport);
        if link.and_then(Link::media_address).is_none() {
            return;
        }
        let Some(up_key) = entry.next.or(entry.up) else {
            return;
        };
        let Some(up) = self.ups.get_mut(up_key) else {
            return;
        };
        up.track.request_key_frame();
        let publisher = up.transport;
        self.answer_publisher(publisher, up_key, turn);
    }

    /// The next transport that its owner has to do something about.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Room that datagrams from this address belong to.
    pub fn room_of(&self, from: SocketAddr) -> Option<RoomId> {
        let key = self.by_address.get(&from)?;
        Some(self.transports.get(*key)?.room.clone())
    }
}
