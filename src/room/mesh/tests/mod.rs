//! Pairs of members as their clients see them, one scenario each.

mod play;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::bus::client::{
    Capabilities, CloseReason, Command, ConnectionMode, Direction, Event, IceCandidate,
    MediaDirection, NegotiationRole, PeerUpdate, RoomState, RpcSettings, Track, TrackPatchCommand,
};
use crate::bus::shard::ShardEvent;
use crate::bus::spec::{MemberSpec, P2pPolicy, PublishSpec, RoomSpec};
use crate::id::{EndpointId, MemberId, PeerId, RoomId, SessionId, ShardId, TrackId};
use crate::limits::{
    DTLS_HANDSHAKES_PER_S, ICE_CANDIDATES_MAX, MEMBERS_PER_ROOM_MAX, MESH_MEMBERS_MAX,
    SWITCH_GRACE_MS, SWITCH_MAX_MS,
};
use crate::metrics::ShardCounters;
use crate::room::machine::{Machine, MachineConfig};
use crate::room::negotiation::NegotiationConfig;
use crate::room::{Context, Room, RoomConfig, RoomError};
use crate::time::{Anchor, Time};
use crate::transmit::TransmitQueue;
use crate::transport::dtls::tests::identity;
use crate::transport::dtls::{DimplProvider, DtlsSettings};
use play::Client;

const ANN: u64 = 1;
const BOB: u64 = 2;

fn name(client: u64) -> MemberId {
    MemberId::new(&format!("m{client:02}")).unwrap()
}

fn spec() -> Arc<RoomSpec> {
    spec_of(P2pPolicy::Always)
}

fn spec_of(p2p: P2pPolicy) -> Arc<RoomSpec> {
    let rpc = RpcSettings {
        idle_timeout_ms: 10_000,
        ping_interval_ms: 3_000,
    };
    let member = MemberSpec {
        publish: BTreeMap::from([(EndpointId::new("camera").unwrap(), PublishSpec::default())]),
        force_relay: true,
        ..MemberSpec::new("", rpc, 10_000)
    };
    Arc::new(RoomSpec {
        p2p,
        open: Some(Arc::new(member)),
        ..RoomSpec::new(RoomId::new("mesh").unwrap())
    })
}

/// A room alone; sessions are named as the clients that have them, times 1000, and a number of their own.
struct World {
    room: Room,
    machine: Machine,
    config: RoomConfig,
    rng: ChaCha20Rng,
    events: VecDeque<ShardEvent>,
    tx: TransmitQueue,
    counters: ShardCounters,
    sessions: BTreeMap<u64, SessionId>,
    next_session: u64,
    spec: Arc<RoomSpec>,
    now: Time,
}

impl World {
    fn new() -> World {
        World::with(spec())
    }

    fn with(spec: Arc<RoomSpec>) -> World {
        let anchor = Anchor {
            instant: std::time::Instant::now(),
            ntp: 0,
        };
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let provider = DimplProvider::new(DtlsSettings::default(), &identity(0), anchor).unwrap();
        let machine_config = MachineConfig {
            dtls: Box::new(provider),
            handshakes_per_s: DTLS_HANDSHAKES_PER_S,
        };
        World {
            room: Room::new(Arc::clone(&spec)),
            machine: Machine::new(machine_config, anchor, &mut rng),
            config: RoomConfig {
                fingerprint: [0; 32],
                candidates: Vec::new(),
                codecs: NegotiationConfig::CODECS.to_vec(),
                ice_servers: Default::default(),
                members_max: MEMBERS_PER_ROOM_MAX,
            },
            rng,
            events: VecDeque::new(),
            tx: TransmitQueue::default(),
            counters: ShardCounters::default(),
            sessions: BTreeMap::new(),
            next_session: 0,
            spec,
            now: Time::from_millis(1),
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Room, &mut Context<'_>) -> T) -> T {
        let mut cx = Context {
            now: self.now,
            shard: ShardId(0),
            config: &self.config,
            machine: &mut self.machine,
            rng: &mut self.rng,
            events: &mut self.events,
            tx: &mut self.tx,
            counters: &mut self.counters,
        };
        act(&mut self.room, &mut cx)
    }

    fn join(&mut self, client: u64) -> Result<(), RoomError> {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.sessions.insert(client, session);
        let spec = Arc::clone(&self.spec);
        let capabilities = Capabilities::default();
        self.act(|room, cx| room.join(session, &name(client), &spec, capabilities, cx))
    }

    fn lose(&mut self, client: u64) {
        if let Some(session) = self.sessions.remove(&client) {
            self.act(|room, _| room.lost(session, &name(client)));
        }
    }

    fn leave(&mut self, client: u64) {
        self.sessions.remove(&client);
        self.act(|room, cx| room.leave(&name(client), CloseReason::Finished, cx));
    }

    fn command(&mut self, client: u64, command: Command) -> Result<(), RoomError> {
        let session = self.sessions[&client];
        self.act(|room, cx| room.command(session, &name(client), command, cx))
    }

    /// Events for clients that are connected, oldest first; joins are left out.
    fn told(&mut self) -> Vec<(u64, Event)> {
        let events = std::mem::take(&mut self.events);
        let to = |event| match event {
            ShardEvent::Client { session, event, .. } => {
                let client = self.sessions.iter().find(|(_, s)| **s == session)?;
                Some((*client.0, event))
            }
            _ => None,
        };
        let told = events.into_iter().filter_map(to);
        told.filter(|(_, event)| !matches!(event, Event::RoomJoined { .. }))
            .collect()
    }
}

fn candidate(n: usize) -> IceCandidate {
    IceCandidate {
        candidate: format!("candidate:{n}"),
        sdp_m_line_index: Some(0),
        sdp_mid: None,
    }
}

/// Ann and Bob in the room and connected; their peers and Ann's tracks.
fn connected() -> (World, PeerId, PeerId, Vec<Track>) {
    let mut w = World::new();
    w.join(ANN).unwrap();
    w.join(BOB).unwrap();
    let told = w.told();
    let [
        (
            ANN,
            Event::PeerCreated {
                peer_id: ann,
                negotiation_role,
                connection_mode,
                tracks,
                force_relay,
                ..
            },
        ),
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert_eq!(*negotiation_role, NegotiationRole::Offerer);
    assert_eq!(*connection_mode, ConnectionMode::Mesh);
    assert!(*force_relay, "the member's own policy");
    assert_eq!(tracks.len(), 8, "four tracks each way");
    let offer = offer_of(*ann, tracks);
    w.command(ANN, offer).unwrap();
    let told = w.told();
    let [
        (ANN, Event::LocalDescriptionApplied { .. }),
        (
            BOB,
            Event::PeerCreated {
                peer_id: bob,
                negotiation_role,
                tracks: bobs,
                ..
            },
        ),
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert_eq!(
        *negotiation_role,
        NegotiationRole::Answerer("v=0 offer".into())
    );
    same_tracks_from_both_sides(tracks, bobs);
    w.command(BOB, answer_of(*bob)).unwrap();
    let told = w.told();
    assert!(
        matches!(
            told.as_slice(),
            [
                (BOB, Event::LocalDescriptionApplied { .. }),
                (ANN, Event::SdpAnswerMade { .. })
            ]
        ),
        "{told:?}"
    );
    let (ann, bob, tracks) = (*ann, *bob, tracks.clone());
    (w, ann, bob, tracks)
}

fn same_tracks_from_both_sides(anns: &[Track], bobs: &[Track]) {
    for (mine, theirs) in anns.iter().zip(bobs) {
        assert_eq!(mine.id, theirs.id, "a track has one id on both sides");
        let mid = match &theirs.direction {
            Direction::Send { mid, .. } | Direction::Recv { mid, .. } => mid.clone(),
        };
        assert_eq!(
            mid,
            Some(theirs.id.0.to_string()),
            "the offerer says where it is"
        );
        assert_ne!(
            matches!(mine.direction, Direction::Send { .. }),
            matches!(theirs.direction, Direction::Send { .. }),
        );
    }
}

fn offer_of(peer_id: PeerId, tracks: &[Track]) -> Command {
    Command::MakeSdpOffer {
        peer_id,
        sdp_offer: "v=0 offer".into(),
        mids: tracks.iter().map(|t| (t.id, t.id.0.to_string())).collect(),
        transceivers_statuses: BTreeMap::new(),
    }
}

fn answer_of(peer_id: PeerId) -> Command {
    Command::MakeSdpAnswer {
        peer_id,
        sdp_answer: "v=0 answer".into(),
        transceivers_statuses: BTreeMap::new(),
    }
}

fn report(peer_id: PeerId, state: &str) -> Command {
    Command::AddPeerConnectionMetrics {
        peer_id,
        metrics: serde_json::json!({ "PeerConnectionState": state }),
    }
}

#[test]
fn who_reports_loss_is_told_of_a_worse_connection() {
    let (mut w, ann, ..) = connected();
    let stats = |received: u32, lost: u32| Command::AddPeerConnectionMetrics {
        peer_id: ann,
        metrics: serde_json::json!({"RtcStats": [
            {"type": "inbound-rtp", "packetsReceived": received, "packetsLost": lost, "jitter": 0.001},
            {"type": "candidate-pair", "nominated": true, "currentRoundTripTime": 0.01}]}),
    };
    let mut told = Vec::new();
    for (received, lost) in [(100, 0), (200, 0), (300, 50)] {
        w.command(ANN, stats(received, lost)).unwrap();
        for (who, event) in w.told() {
            let Event::ConnectionQualityUpdated {
                partner_member_id,
                quality_score,
            } = event
            else {
                panic!("{event:?}");
            };
            told.push((who, partner_member_id.to_string(), quality_score));
        }
    }
    use crate::bus::client::ConnectionQualityScore::{High, Poor};
    let partner = "m02".to_owned();
    assert_eq!(told, [(ANN, partner.clone(), High), (ANN, partner, Poor)]);
}

#[test]
fn two_members_are_connected_with_each_other_and_the_server_carries_no_media() {
    let (mut w, ..) = connected();
    assert_eq!(w.machine.sizes(), (0, 0, 0));
    w.leave(BOB);
    let told = w.told();
    assert!(
        matches!(told.as_slice(), [(ANN, Event::PeersRemoved { .. })]),
        "{told:?}"
    );
    assert!(w.room.pairs.is_empty() && w.room.mesh_peers.is_empty());
}

#[test]
fn candidates_pass_and_wait_for_a_peer_that_is_not_there_yet() {
    let mut w = World::new();
    w.join(ANN).unwrap();
    w.join(BOB).unwrap();
    let told = w.told();
    let [
        (
            ANN,
            Event::PeerCreated {
                peer_id: ann,
                tracks,
                ..
            },
        ),
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    let set = |peer_id, n| Command::SetIceCandidate {
        peer_id,
        candidate: candidate(n),
    };
    w.command(ANN, set(*ann, 1)).unwrap();
    w.command(ANN, set(*ann, 1)).unwrap();
    assert_eq!(w.told(), [], "Bob knows of no peer yet");
    w.command(ANN, offer_of(*ann, tracks)).unwrap();
    let told = w.told();
    let [
        _,
        (BOB, Event::PeerCreated { peer_id: bob, .. }),
        (BOB, Event::IceCandidateDiscovered { .. }),
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    w.command(BOB, set(*bob, 7)).unwrap();
    let discovered = Event::IceCandidateDiscovered {
        peer_id: *ann,
        candidate: candidate(7),
    };
    assert_eq!(w.told(), [(ANN, discovered)]);
    for n in 100..200 {
        w.command(BOB, set(*bob, n)).unwrap();
    }
    assert_eq!(w.told().len(), ICE_CANDIDATES_MAX - 1, "bounded");
}

#[test]
fn patches_reach_the_other_and_come_back_as_the_authoritative_state() {
    let (mut w, ann, bob, tracks) = connected();
    let sent = tracks
        .iter()
        .find(|t| matches!(t.direction, Direction::Send { .. }))
        .unwrap()
        .id;
    let patch = |peer_id, enabled, muted| Command::UpdateTracks {
        peer_id,
        tracks_patches: vec![TrackPatchCommand {
            id: sent,
            enabled,
            muted,
        }],
    };
    let state = |told: &[(u64, Event)]| -> Vec<(u64, MediaDirection, bool)> {
        told.iter()
            .map(|(client, event)| match event {
                Event::PeerUpdated {
                    updates,
                    negotiation_role: None,
                    ..
                } => match updates.as_slice() {
                    [PeerUpdate::Updated(p)] => {
                        (*client, p.media_direction.unwrap(), p.muted.unwrap())
                    }
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            })
            .collect()
    };
    use MediaDirection::{Inactive, RecvOnly, SendRecv};
    w.command(ANN, patch(ann, None, Some(true))).unwrap();
    assert_eq!(
        state(&w.told()),
        [(ANN, SendRecv, true), (BOB, SendRecv, true)]
    );
    w.command(ANN, patch(ann, Some(false), None)).unwrap();
    assert_eq!(
        state(&w.told()),
        [(ANN, RecvOnly, true), (BOB, RecvOnly, true)]
    );
    w.command(BOB, patch(bob, Some(false), None)).unwrap();
    assert_eq!(
        state(&w.told()),
        [(ANN, Inactive, true), (BOB, Inactive, true)]
    );
    // Bob cannot mute what Ann sends; he is told how it is.
    w.command(BOB, patch(bob, None, Some(false))).unwrap();
    assert_eq!(state(&w.told()), [(BOB, Inactive, true)]);
    let unknown = Command::UpdateTracks {
        peer_id: ann,
        tracks_patches: vec![TrackPatchCommand {
            id: TrackId(999),
            enabled: None,
            muted: None,
        }],
    };
    assert!(matches!(
        w.command(ANN, unknown),
        Err(RoomError::NoSuchTrack(_))
    ));
    // Ann's peer is hers alone.
    assert!(matches!(
        w.command(BOB, patch(ann, Some(true), None)),
        Err(RoomError::NoSuchPeer(_))
    ));
}

#[test]
fn ice_is_restarted_when_both_have_failed() {
    let (mut w, ann, bob, tracks) = connected();
    w.command(ANN, report(ann, "Failed")).unwrap();
    w.command(ANN, report(ann, "Connected")).unwrap();
    w.command(BOB, report(bob, "Failed")).unwrap();
    assert_eq!(w.told(), [], "one side alone may recover");
    w.command(ANN, report(ann, "Failed")).unwrap();
    let restart = |to, peer_id, role| {
        let event = Event::PeerUpdated {
            peer_id,
            updates: vec![PeerUpdate::IceRestart],
            negotiation_role: Some(role),
        };
        (to, event)
    };
    assert_eq!(w.told(), [restart(ANN, ann, NegotiationRole::Offerer)]);
    w.command(ANN, offer_of(ann, &tracks)).unwrap();
    let answerer = NegotiationRole::Answerer("v=0 offer".into());
    assert_eq!(w.told()[1], restart(BOB, bob, answerer));
    w.command(BOB, answer_of(bob)).unwrap();
    assert_eq!(w.told().len(), 2, "and that is all");
}

#[test]
fn descriptions_nobody_asked_for_or_that_are_none_are_refused() {
    let (mut w, ann, bob, tracks) = connected();
    assert!(matches!(
        w.command(ANN, offer_of(ann, &tracks)),
        Err(RoomError::NotAsked(_))
    ));
    assert!(matches!(
        w.command(BOB, answer_of(bob)),
        Err(RoomError::NotAsked(_))
    ));
    w.command(ANN, report(ann, "Failed")).unwrap();
    w.command(BOB, report(bob, "Failed")).unwrap();
    let rubbish = Command::MakeSdpOffer {
        peer_id: ann,
        sdp_offer: "<script>".into(),
        mids: BTreeMap::new(),
        transceivers_statuses: BTreeMap::new(),
    };
    assert!(matches!(
        w.command(ANN, rubbish),
        Err(RoomError::NoDescription)
    ));
    let Command::MakeSdpOffer { mut mids, .. } = offer_of(ann, &tracks) else {
        unreachable!();
    };
    mids.values_mut().for_each(|mid| *mid = "x".repeat(65));
    let long = Command::MakeSdpOffer {
        peer_id: ann,
        sdp_offer: "v=0".into(),
        mids,
        transceivers_statuses: BTreeMap::new(),
    };
    assert!(matches!(
        w.command(ANN, long),
        Err(RoomError::TooLong("mid"))
    ));
    let long = Command::SetIceCandidate {
        peer_id: ann,
        candidate: IceCandidate {
            candidate: "c".repeat(2_000),
            ..candidate(1)
        },
    };
    assert!(matches!(
        w.command(ANN, long),
        Err(RoomError::TooLong("candidate"))
    ));
    w.command(ANN, offer_of(ann, &tracks)).unwrap();
}

#[test]
fn an_offer_made_while_the_other_was_away_is_in_its_state() {
    let (mut w, ann, bob, tracks) = connected();
    w.command(ANN, report(ann, "Failed")).unwrap();
    w.command(BOB, report(bob, "Failed")).unwrap();
    w.lose(BOB);
    w.command(ANN, offer_of(ann, &tracks)).unwrap();
    w.told();
    w.join(BOB).unwrap();
    let known = Client::knowing(bob);
    w.command(BOB, known.synchronize()).unwrap();
    let told = w.told();
    let [(BOB, Event::StateSynchronized { state })] = told.as_slice() else {
        panic!("{told:?}");
    };
    let state = &state.peers[&bob];
    let answerer = NegotiationRole::Answerer("v=0 offer".into());
    assert_eq!(state.negotiation_role, Some(answerer));
    assert_eq!((state.senders.len(), state.receivers.len()), (4, 4));
    assert!(state.restart_ice && state.force_relay);
    w.command(BOB, answer_of(bob)).unwrap();
}

#[test]
fn a_reloaded_page_gets_a_new_pair() {
    let (mut w, ann, bob, _) = connected();
    w.lose(BOB);
    w.join(BOB).unwrap();
    w.command(
        BOB,
        Command::SynchronizeMe {
            state: RoomState::default(),
        },
    )
    .unwrap();
    let told = w.told();
    assert_eq!(
        told[0],
        (
            ANN,
            Event::PeersRemoved {
                peer_ids: vec![ann]
            }
        )
    );
    assert_eq!(
        told[1],
        (
            BOB,
            Event::StateSynchronized {
                state: RoomState::default()
            }
        )
    );
    let [
        (
            ANN,
            Event::PeerCreated {
                peer_id,
                negotiation_role: NegotiationRole::Offerer,
                ..
            },
        ),
    ] = &told[2..]
    else {
        panic!("{told:?}");
    };
    assert!(*peer_id > ann && *peer_id > bob);
}

#[test]
fn a_room_is_as_large_as_the_configuration_says() {
    let mut w = World::with(spec_of(P2pPolicy::Never));
    w.config.members_max = 2;
    w.join(ANN).unwrap();
    w.join(BOB).unwrap();
    assert!(matches!(w.join(3), Err(RoomError::Full)));
    w.join(ANN).expect("who is in can come back");
}

#[test]
fn a_mesh_is_small() {
    let mut w = World::new();
    for client in 1..=MESH_MEMBERS_MAX as u64 {
        w.join(client).unwrap();
    }
    assert!(matches!(w.join(99), Err(RoomError::Full)));
    let pairs = MESH_MEMBERS_MAX * (MESH_MEMBERS_MAX - 1) / 2;
    assert_eq!(
        (w.room.pairs.len(), w.room.mesh_peers.len()),
        (pairs, 2 * pairs)
    );
}

/// Peers that are made and removed, by client.
fn comings(told: &[(u64, Event)]) -> Vec<(u64, &'static str)> {
    let what = |(client, event): &(u64, Event)| match event {
        Event::PeerCreated {
            connection_mode: ConnectionMode::Mesh,
            ..
        } => Some((*client, "+mesh")),
        Event::PeerCreated { .. } => Some((*client, "+sfu")),
        Event::PeersRemoved { .. } => Some((*client, "-")),
        _ => None,
    };
    told.iter().filter_map(what).collect()
}

#[test]
fn a_third_member_brings_the_server_in_and_the_old_connection_goes_last() {
    let mut w = World::with(spec_of(P2pPolicy::IfPossible));
    w.join(ANN).unwrap();
    w.join(BOB).unwrap();
    let told = w.told();
    assert_eq!(comings(&told), [(ANN, "+mesh")]);
    let [
        (
            ANN,
            Event::PeerCreated {
                peer_id, tracks, ..
            },
        ),
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    w.command(ANN, offer_of(*peer_id, tracks)).unwrap();
    let told = w.told();
    let bob = told.iter().find_map(|(_, event)| match event {
        Event::PeerCreated { peer_id, .. } => Some(*peer_id),
        _ => None,
    });
    w.command(BOB, answer_of(bob.unwrap())).unwrap();
    w.told();
    w.join(3).unwrap();
    assert_eq!(
        comings(&w.told()),
        [(ANN, "+sfu"), (BOB, "+sfu"), (3, "+sfu")]
    );
    assert!(w.room.is_switching());
    // The transports of this test never connect: the old pair stays until the deadline.
    for _ in 0..SWITCH_MAX_MS / 500 - 1 {
        w.now = w.now + Duration::from_millis(500);
        w.act(Room::handle_timeout);
        assert_eq!(comings(&w.told()), []);
    }
    w.now = w.now + Duration::from_millis(500);
    w.act(Room::handle_timeout);
    assert_eq!(comings(&w.told()), [(ANN, "-"), (BOB, "-")]);
    assert!(!w.room.is_switching() && w.room.pairs.is_empty());
    assert_eq!(w.machine.sizes().0, 3);
    // The third leaves: back to each other, and the server goes when both say that it works.
    w.leave(3);
    let told = w.told();
    assert_eq!(comings(&told), [(ANN, "+mesh")]);
    assert!(w.room.is_switching());
    let key = w.room.pairs.keys().next().unwrap().clone();
    for peer in w.room.mesh_peers.keys().copied().collect::<Vec<_>>() {
        let client = if w.room.pairs[&key].end(super::Side::First).peer == peer {
            ANN
        } else {
            BOB
        };
        w.command(client, report(peer, "Connected")).unwrap();
    }
    w.act(Room::handle_timeout);
    assert_eq!(comings(&w.told()), [], "not before the first pictures");
    w.now = w.now + Duration::from_millis(SWITCH_GRACE_MS);
    w.act(Room::handle_timeout);
    assert_eq!(comings(&w.told()), [(ANN, "-"), (BOB, "-")]);
    assert_eq!(w.machine.sizes(), (0, 0, 0));
}

#[test]
fn who_comes_and_goes_at_once_changes_nothing_for_good() {
    let mut w = World::with(spec_of(P2pPolicy::IfPossible));
    w.join(ANN).unwrap();
    w.join(BOB).unwrap();
    w.told();
    for _ in 0..5 {
        w.join(3).unwrap();
        w.leave(3);
    }
    w.now = w.now + Duration::from_millis(SWITCH_MAX_MS);
    w.act(Room::handle_timeout);
    assert_eq!((w.room.pairs.len(), w.machine.sizes()), (1, (0, 0, 0)));
    assert!(!w.room.is_switching());
}
