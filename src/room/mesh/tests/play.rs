//! Clients that do what they are told: they come, go, lose their sockets and patch their tracks at random, until all is
//! quiet and everybody must agree.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{World, answer_of, offer_of, report};
use crate::bus::client::{
    Command, ConnectionMode, Direction, Event, MediaDirection, MediaType, NegotiationRole,
    PeerState, PeerUpdate, ReceiverState, RoomState, SenderState, Track, TrackPatchCommand,
};
use crate::id::{PeerId, TrackId};
use crate::room::RoomError;

#[derive(Debug, Clone, Default)]
struct Connection {
    tracks: BTreeMap<TrackId, Track>,
    /// What is to be answered.
    role: Option<NegotiationRole>,
    stable: bool,
    local: Option<String>,
}

/// A client of a mesh.
#[derive(Debug, Default)]
pub(super) struct Client {
    peers: BTreeMap<PeerId, Connection>,
}

impl Client {
    /// A client that has one connection, of which it knows no more.
    pub(super) fn knowing(peer: PeerId) -> Client {
        let mut client = Client::default();
        client.peers.insert(peer, Connection::default());
        client
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::PeerCreated {
                peer_id,
                negotiation_role,
                tracks,
                ..
            } => {
                let tracks = tracks.into_iter().map(|t| (t.id, t)).collect();
                let role = Some(negotiation_role);
                let known = self.peers.insert(
                    peer_id,
                    Connection {
                        tracks,
                        role,
                        ..Connection::default()
                    },
                );
                assert!(known.is_none(), "{peer_id} was made twice");
            }
            Event::PeersRemoved { peer_ids } => {
                for id in peer_ids {
                    self.peers.remove(&id).expect("a known peer");
                }
            }
            Event::PeerUpdated {
                peer_id,
                updates,
                negotiation_role,
            } => {
                let peer = self.peers.get_mut(&peer_id).expect("a known peer");
                for update in updates {
                    peer.take(update);
                }
                if negotiation_role.is_some() {
                    peer.role = negotiation_role;
                    peer.stable = false;
                }
            }
            Event::SdpAnswerMade { peer_id, .. } => {
                self.peers.get_mut(&peer_id).expect("a known peer").stable = true;
            }
            Event::LocalDescriptionApplied { peer_id, sdp_offer } => {
                let peer = self.peers.get_mut(&peer_id).expect("a known peer");
                peer.stable |= sdp_offer.contains("answer");
            }
            Event::StateSynchronized { state } => self.synchronized(state),
            Event::IceCandidateDiscovered { peer_id, .. } => {
                assert!(self.peers.contains_key(&peer_id), "a candidate of no peer");
            }
            _ => {}
        }
    }

    fn synchronized(&mut self, state: RoomState) {
        self.peers.retain(|id, _| state.peers.contains_key(id));
        for (id, told) in state.peers {
            let peer = self
                .peers
                .get_mut(&id)
                .expect("only what it has said it knows");
            peer.tracks = tracks_of(&told);
            peer.stable =
                told.negotiation_role.is_none() && (peer.stable || told.remote_sdp.is_some());
            peer.role = told.negotiation_role;
        }
    }

    /// Everything it owes.
    fn owed(&mut self) -> Vec<Command> {
        let mut out = Vec::new();
        for (id, peer) in &mut self.peers {
            let tracks: Vec<Track> = peer.tracks.values().cloned().collect();
            match peer.role.take() {
                Some(NegotiationRole::Offerer) => out.push(offer_of(*id, &tracks)),
                Some(NegotiationRole::Answerer(_)) => out.push(answer_of(*id)),
                None => {}
            }
        }
        out
    }

    /// What it says when it is back.
    pub(super) fn synchronize(&self) -> Command {
        let peers = self
            .peers
            .iter()
            .map(|(id, peer)| (*id, peer.state(*id)))
            .collect();
        Command::SynchronizeMe {
            state: RoomState { peers },
        }
    }
}

fn tracks_of(state: &PeerState) -> BTreeMap<TrackId, Track> {
    let senders = state.senders.values().map(|s| Track {
        id: s.id,
        direction: Direction::Send {
            receivers: s.receivers.clone(),
            mid: s.mid.clone(),
        },
        media_direction: s.media_direction,
        muted: s.muted,
        media_type: s.media_type.clone(),
    });
    let receivers = state.receivers.values().map(|r| Track {
        id: r.id,
        direction: Direction::Recv {
            sender: r.sender_id.clone(),
            mid: r.mid.clone(),
        },
        media_direction: r.media_direction,
        muted: r.muted,
        media_type: r.media_type.clone(),
    });
    senders.chain(receivers).map(|t| (t.id, t)).collect()
}

impl Connection {
    fn take(&mut self, update: PeerUpdate) {
        match update {
            PeerUpdate::Added(track) => {
                let known = self.tracks.insert(track.id, track);
                assert!(known.is_none(), "a track was added twice");
            }
            PeerUpdate::Removed(id) => {
                self.tracks.remove(&id).expect("a known track");
            }
            PeerUpdate::Updated(patch) => {
                let track = self.tracks.get_mut(&patch.id).expect("a known track");
                track.media_direction = patch.media_direction.unwrap_or(track.media_direction);
                track.muted = patch.muted.unwrap_or(track.muted);
            }
            PeerUpdate::IceRestart => {}
        }
    }

    fn state(&self, id: PeerId) -> PeerState {
        let mode = ConnectionMode::Mesh;
        let mut state = PeerState {
            id,
            connection_mode: mode,
            senders: BTreeMap::new(),
            receivers: BTreeMap::new(),
            force_relay: false,
            ice_servers: Vec::new(),
            negotiation_role: None,
            local_sdp: self.local.clone(),
            remote_sdp: None,
            restart_ice: false,
            ice_candidates: Vec::new(),
            stats_scrape_interval_ms: 0,
        };
        for (id, t) in &self.tracks {
            let (id, media_type, muted, media_direction): (_, MediaType, _, _) =
                (*id, t.media_type.clone(), t.muted, t.media_direction);
            match t.direction.clone() {
                Direction::Send { receivers, mid } => {
                    let sender = SenderState {
                        id,
                        connection_mode: mode,
                        mid,
                        media_type,
                        receivers,
                        muted,
                        media_direction,
                    };
                    state.senders.insert(id, sender);
                }
                Direction::Recv { sender, mid } => {
                    let receiver = ReceiverState {
                        id,
                        connection_mode: mode,
                        mid,
                        media_type,
                        sender_id: sender,
                        muted,
                        media_direction,
                    };
                    state.receivers.insert(id, receiver);
                }
            }
        }
        state
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join(u64),
    Lose(u64),
    Leave(u64),
    /// Comes back, with what it had or as a reloaded page.
    Back(u64, bool),
    Patch(u64, usize, Option<bool>, Option<bool>),
    Report(u64, bool),
    /// Does what it owes.
    Do(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 1..5_u64;
    prop_oneof![
        who.clone().prop_map(Step::Join),
        who.clone().prop_map(Step::Lose),
        who.clone().prop_map(Step::Leave),
        (who.clone(), any::<bool>()).prop_map(|(c, reload)| Step::Back(c, reload)),
        (
            who.clone(),
            0..40_usize,
            any::<Option<bool>>(),
            any::<Option<bool>>()
        )
            .prop_map(|(c, n, e, m)| Step::Patch(c, n, e, m)),
        (who.clone(), any::<bool>()).prop_map(|(c, failed)| Step::Report(c, failed)),
        who.prop_map(Step::Do),
    ]
}

/// The room and its clients, whose commands arrive at once and whose answers take as long as chance wants.
struct Play {
    world: World,
    clients: BTreeMap<u64, Client>,
}

impl Play {
    fn hear(&mut self) {
        for (client, event) in self.world.told() {
            self.clients.get_mut(&client).expect("a member").hear(event);
        }
    }

    fn send(&mut self, client: u64, commands: Vec<Command>) {
        for command in commands {
            // What is late (a peer that is gone by now) is refused; nothing else may be.
            let result = self.world.command(client, command);
            assert!(
                matches!(
                    result,
                    Ok(()) | Err(RoomError::NoSuchPeer(_) | RoomError::NotAsked(_))
                ),
                "{result:?}"
            );
            self.hear();
        }
    }

    fn is_here(&self, client: u64) -> bool {
        self.world.sessions.contains_key(&client)
    }

    fn back(&mut self, client: u64, reload: bool) {
        if reload {
            self.clients.insert(client, Client::default());
        }
        self.world.join(client).expect("a member");
        let state = self.clients[&client].synchronize();
        self.send(client, vec![state]);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join(c) if !self.clients.contains_key(&c) => {
                self.clients.insert(c, Client::default());
                self.world.join(c).expect("there is room");
                self.hear();
            }
            Step::Lose(c) => self.world.lose(c),
            Step::Leave(c) => {
                self.clients.remove(&c);
                self.world.leave(c);
                self.hear();
            }
            Step::Back(c, reload) if self.clients.contains_key(&c) && !self.is_here(c) => {
                self.back(c, reload);
            }
            Step::Patch(c, n, enabled, muted) if self.is_here(c) => {
                let peers = &self.clients[&c].peers;
                let all = peers
                    .iter()
                    .flat_map(|(id, p)| p.tracks.keys().map(|t| (*id, *t)));
                let all: Vec<(PeerId, TrackId)> = all.collect();
                if let Some((peer_id, id)) = all.get(n % all.len().max(1)).copied() {
                    let tracks_patches = vec![TrackPatchCommand { id, enabled, muted }];
                    self.send(
                        c,
                        vec![Command::UpdateTracks {
                            peer_id,
                            tracks_patches,
                        }],
                    );
                }
            }
            Step::Report(c, failed) if self.is_here(c) => {
                let state = if failed { "Failed" } else { "Connected" };
                let reports = self.clients[&c]
                    .peers
                    .keys()
                    .map(|id| report(*id, state))
                    .collect();
                self.send(c, reports);
            }
            Step::Do(c) if self.is_here(c) => {
                let owed = self.clients.get_mut(&c).expect("a member").owed();
                self.send(c, owed);
            }
            _ => {}
        }
    }

    /// Everybody comes back and does what is owed, until nothing is.
    fn settle(&mut self) {
        let all: Vec<u64> = self.clients.keys().copied().collect();
        for client in &all {
            if !self.is_here(*client) {
                self.back(*client, false);
            }
        }
        for _ in 0..20 {
            for client in &all {
                self.step(&Step::Do(*client));
            }
        }
    }

    /// Each pair of members has one connection, stable, with the same tracks seen from both sides.
    fn agree(&self) {
        for (client, state) in &self.clients {
            assert_eq!(
                state.peers.len(),
                self.clients.len() - 1,
                "connections of {client}"
            );
            for peer in state.peers.values() {
                assert!(peer.stable && peer.role.is_none(), "{client}: {peer:?}");
                assert_eq!(peer.tracks.len(), 8);
            }
        }
        let mut seen: BTreeMap<TrackId, Vec<(MediaDirection, bool)>> = BTreeMap::new();
        let tracks = self
            .clients
            .values()
            .flat_map(|c| c.peers.values())
            .flat_map(|p| p.tracks.values());
        for track in tracks {
            seen.entry(track.id)
                .or_default()
                .push((track.media_direction, track.muted));
        }
        for (id, views) in seen {
            assert_eq!(views.len(), 2, "{id} has two sides");
            assert_eq!(views[0], views[1], "{id} looks the same from both");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_happens_everybody_agrees_in_the_end(steps in proptest::collection::vec(step(), 0..60)) {
        let mut play = Play { world: World::new(), clients: BTreeMap::new() };
        for step in &steps {
            play.step(step);
        }
        play.settle();
        play.agree();
    }
}
