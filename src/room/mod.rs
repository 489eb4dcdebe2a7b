//! Rooms: members, peers, tracks, negotiation, and the reconcile that turns the description into machine state.
//!
//! [`Room`] is the description, [`machine::Machine`] the media state of a whole shard. A change of the description is
//! followed by [`Room::refresh`]: tracks, then media, then what clients are told. All of it is idempotent.

mod announce;
pub mod codecs;
mod commands;
mod configure;
mod describe;
pub mod imports;
pub mod machine;
pub mod mesh;
pub mod model;
pub mod negotiation;
mod quality;
mod reconcile;
mod report;
pub mod slab;
mod stats;
mod synchronize;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use crate::bus::client::{CloseReason, Event, IceServer};
use crate::bus::shard::ShardEvent;
use crate::bus::spec::{MemberSpec, RoomSpec};
use crate::id::{
    DownTrackKey, EndpointId, MemberId, PeerId, RoomId, SessionId, ShardId, Ssrc, TrackId,
    TransportKey, UpTrackKey,
};
use crate::limits::USED_SSRCS_MAX;
use crate::metrics::ShardCounters;
use crate::room::machine::{Machine, Turn};
use crate::room::mesh::{Pair, PairKey, Switch};
use crate::room::model::{Member, Peer, Phase};
use crate::room::negotiation::{Negotiation, NegotiationConfig, NegotiationError};
use crate::time::Time;
use crate::transmit::TransmitQueue;
use crate::transport::turn::IceServers;
use crate::wire::codec::CodecKind;
use crate::wire::sdp::IceParams;

/// Why a command was refused. The session survives.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The room has its full number of members.
    #[error("the room is full; wait for a member to leave, or raise the limit")]
    Full,
    /// The spec has no such member.
    #[error("the room's spec has no member {0}; add it, or open the room")]
    NotInSpec(MemberId),
    /// The session does not speak for the member.
    #[error("member {0} is not joined on this session; send JoinRoom first")]
    NotJoined(MemberId),
    /// After a reconnect the client must say what it has.
    #[error("member {0} has reconnected; send SynchronizeMe first")]
    AwaitsSync(MemberId),
    /// There was no reconnect.
    #[error("the client is in step already; SynchronizeMe is for after a reconnect")]
    InSync,
    /// Unknown peer.
    #[error("no peer {0}; use the id of PeerCreated")]
    NoSuchPeer(PeerId),
    /// Unknown track.
    #[error("no track {0}; use an id of PeerCreated or PeerUpdated")]
    NoSuchTrack(TrackId),
    /// A description nobody asked for.
    #[error("{0} was not asked for; wait for a negotiation_role")]
    NotAsked(&'static str),
    /// A text that is passed on to another member, longer than any honest one.
    #[error("the {0} is too long to be passed on")]
    TooLong(&'static str),
    /// A text that cannot be one.
    #[error("that is no session description; it begins with \"v=0\"")]
    NoDescription,
    /// JoinRoom and LeaveRoom are signalling's.
    #[error("this command is not for a room")]
    NotForRoom,
    /// The description is of no use.
    #[error("session description: {0}")]
    Negotiation(#[from] NegotiationError),
}

/// What every room of a shard has in common.
#[derive(Debug, Clone)]
pub struct RoomConfig {
    /// SHA-256 fingerprint of the server's certificate.
    pub fingerprint: [u8; 32],
    /// Candidate lines (RFC 8839 section 5.1 without `a=`) of the shard's port.
    pub candidates: Vec<String>,
    /// Codecs allowed, most preferred first.
    pub codecs: Vec<CodecKind>,
    /// STUN and TURN servers that clients are told.
    pub ice_servers: IceServers,
    /// Members of one room at most.
    pub members_max: usize,
}

/// What a room may touch while it handles something.
pub struct Context<'a> {
    /// Now.
    pub now: Time,
    /// Which shard this is.
    pub shard: ShardId,
    /// Settings of all rooms.
    pub config: &'a RoomConfig,
    /// Media state of the shard.
    pub machine: &'a mut Machine,
    /// Randomness of the shard.
    pub rng: &'a mut ChaCha20Rng,
    /// Where events go.
    pub events: &'a mut VecDeque<ShardEvent>,
    /// Where datagrams go.
    pub tx: &'a mut TransmitQueue,
    /// Counters of the shard.
    pub counters: &'a mut ShardCounters,
}

impl Context<'_> {
    /// What the machine needs beside packets.
    fn machine_and_turn(&mut self) -> (&mut Machine, Turn<'_>) {
        let turn = Turn {
            now: self.now,
            tx: self.tx,
            counters: self.counters,
        };
        (self.machine, turn)
    }

    /// Takes a peer's transport and media down.
    pub fn remove_peer(&mut self, peer: &Peer) {
        let (machine, mut turn) = self.machine_and_turn();
        machine.remove_peer(peer, &mut turn);
    }

    /// STUN and TURN servers of a member: its own, then those of the configuration.
    pub fn ice_servers(&self, id: &MemberId, spec: &MemberSpec) -> Vec<IceServer> {
        let unix_s = self.machine.unix_s(self.now);
        let common = self.config.ice_servers.for_member(id, unix_s);
        spec.ice_servers.iter().cloned().chain(common).collect()
    }

    /// An event for the client of `session`.
    pub fn send(&mut self, session: SessionId, room: &RoomId, event: Event) {
        self.events.push_back(ShardEvent::Client {
            session,
            room: room.clone(),
            event,
        });
    }

    /// Ties a subscription to what it plays, or to nothing.
    pub fn connect(&mut self, down: DownTrackKey, up: Option<UpTrackKey>) {
        let (machine, mut turn) = self.machine_and_turn();
        machine.connect(down, up, &mut turn);
    }

    /// A random SSRC (RFC 3550 section 8.1) that is not in `used`, and is from now on: under one key an SSRC must never
    /// name two streams (RFC 7714 section 8.4). Zero means "none" in feedback, so it is never given out.
    pub fn new_ssrc(&mut self, used: &mut BTreeSet<Ssrc>) -> Ssrc {
        loop {
            let ssrc = Ssrc(self.rng.next_u32());
            if ssrc.0 != 0 && used.insert(ssrc) {
                return ssrc;
            }
        }
    }
}

/// A conference.
#[derive(Debug)]
pub struct Room {
    id: RoomId,
    spec: Arc<RoomSpec>,
    members: BTreeMap<MemberId, Member>,
    next_peer: u32,
    next_track: u32,
    /// Members that send each other media.
    pairs: BTreeMap<PairKey, Pair>,
    /// The pair that a peer is an end of.
    mesh_peers: BTreeMap<PeerId, PairKey>,
    /// Members are connected with each other, or going over to it.
    mesh: bool,
    /// They are going over, to each other or to the server.
    switch: Option<Switch>,
    /// Members whose negotiation cannot go on; closed at the end of the turn.
    failed: Vec<MemberId>,
    /// Tracks of other rooms that are played here.
    imported: imports::Imports,
    /// Who receives them.
    demanded: imports::Demand,
    /// Who receives this room's tracks in other rooms.
    foreign: BTreeMap<RoomId, imports::Demand>,
    /// Endpoints whose media is watched for starts and stops.
    watched: BTreeMap<(MemberId, EndpointId, bool), watch::Watched>,
}

impl Room {
    /// A room nobody is in.
    pub fn new(spec: Arc<RoomSpec>) -> Self {
        Self {
            id: spec.id.clone(),
            spec,
            members: BTreeMap::new(),
            next_peer: 0,
            next_track: 0,
            pairs: BTreeMap::new(),
            mesh_peers: BTreeMap::new(),
            mesh: false,
            switch: None,
            failed: Vec::new(),
            imported: BTreeMap::new(),
            demanded: BTreeMap::new(),
            foreign: BTreeMap::new(),
            watched: BTreeMap::new(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &RoomId {
        &self.id
    }

    /// What it is to be.
    pub fn spec(&self) -> &Arc<RoomSpec> {
        &self.spec
    }

    /// Takes every session for lost; media goes on.
    pub fn lose_all(&mut self) {
        for member in self.members.values_mut() {
            member.session = None;
            member.awaits_sync = false;
        }
    }

    /// Whether nobody is in, lost members included.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Members, lost ones included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Members by id.
    pub fn members(&self) -> impl Iterator<Item = (&MemberId, &Member)> {
        self.members.iter()
    }

    /// Brings tracks, media and clients in line with the description.
    pub fn refresh(&mut self, cx: &mut Context<'_>) {
        self.update_mode(cx.now);
        self.drop_other_mode(cx);
        if self.runs_mesh() {
            self.refresh_mesh(cx);
        }
        if !self.runs_sfu() {
            return;
        }
        self.drop_worn_peers(cx);
        self.refresh_tracks(cx);
        self.reconcile(cx);
        self.announce_all(cx);
        self.close_failed(cx);
    }

    /// A transport has lost consent: ICE begins anew. A member that is away hears of it when it comes back.
    pub fn consent_lost(&mut self, id: &MemberId, transport: TransportKey, cx: &mut Context<'_>) {
        if self.has_transport(id, transport) {
            self.restart_ice(id, cx);
        }
    }

    fn has_transport(&self, id: &MemberId, transport: TransportKey) -> bool {
        let peer = self.members.get(id).and_then(|m| m.peer.as_ref());
        peer.is_some_and(|p| p.transport == transport)
    }

    /// A transport ended of itself (gone, closed, failed): the member gets a fresh peer.
    pub fn transport_ended(
        &mut self,
        id: &MemberId,
        transport: TransportKey,
        cx: &mut Context<'_>,
    ) {
        if !self.has_transport(id, transport) {
            return;
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let another = member.fresh_peers.admit(cx.now);
        self.drop_peer(id, cx);
        if another {
            self.refresh(cx);
        } else {
            // A client that ends every transport it gets would keep the shard busy for ever.
            self.leave(id, CloseReason::Evicted, cx);
        }
    }

    /// Takes a member's peer down; its client is told. The next refresh makes another.
    fn drop_peer(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let listener = member.listener();
        let Some(peer) = member.peer.take() else {
            return;
        };
        cx.remove_peer(&peer);
        if let Some(session) = listener.filter(|_| peer.announced) {
            let event = Event::PeersRemoved {
                peer_ids: vec![peer.id],
            };
            cx.send(session, &self.id, event);
        }
    }

    /// Peers that have used up the SSRCs of their transport's keys are replaced.
    fn drop_worn_peers(&mut self, cx: &mut Context<'_>) {
        let worn = |member: &Member| {
            let peer = member.peer.as_ref();
            peer.is_some_and(|p| p.used_ssrcs.len() >= USED_SSRCS_MAX)
        };
        let ids: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| worn(member))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            self.drop_peer(&id, cx);
        }
    }

    /// Closes every member, as `reason`.
    pub fn close(&mut self, reason: CloseReason, cx: &mut Context<'_>) {
        self.pairs.clear();
        self.mesh_peers.clear();
        for (_, member) in std::mem::take(&mut self.members) {
            if let Some(session) = member.session {
                let event = Event::RoomLeft {
                    close_reason: reason,
                };
                cx.send(session, &self.id, event);
            }
            if let Some(peer) = member.peer {
                cx.remove_peer(&peer);
            }
        }
    }

    /// Closes members whose negotiation failed by a fault of ours.
    fn close_failed(&mut self, cx: &mut Context<'_>) {
        while let Some(id) = self.failed.pop() {
            self.leave(&id, CloseReason::InternalError, cx);
        }
    }

    fn next_track_id(&mut self) -> TrackId {
        self.next_track += 1;
        TrackId(self.next_track)
    }

    /// A peer with a transport of its own, or `None` when the shard has no more.
    fn new_peer(&mut self, member: &MemberId, cx: &mut Context<'_>) -> Option<Peer> {
        let (transport, ice) = cx.machine.add_transport(cx.now, &self.id, member, cx.rng)?;
        let config = NegotiationConfig {
            session_id: cx.rng.next_u64() >> 2,
            ice: IceParams {
                ufrag: ice.ufrag,
                pwd: ice.pwd,
            },
            fingerprint: cx.config.fingerprint,
            candidates: cx.config.candidates.clone(),
            codecs: self
                .spec
                .codecs
                .as_ref()
                .unwrap_or(&cx.config.codecs)
                .clone(),
            extensions: NegotiationConfig::EXTENSIONS.to_vec(),
            simulcast: true,
        };
        self.next_peer += 1;
        Some(Peer {
            id: PeerId(self.next_peer),
            transport,
            negotiation: Negotiation::new(config),
            phase: Phase::Stable,
            announced: false,
            renegotiate: false,
            refused: 0,
            changed: BTreeSet::new(),
            sends: BTreeMap::new(),
            recvs: BTreeMap::new(),
            recv_ids: BTreeMap::new(),
            echo: BTreeSet::new(),
            used_ssrcs: BTreeSet::new(),
            retired_downs: Vec::new(),
            removed: Vec::new(),
            parted: false,
        })
    }
}
