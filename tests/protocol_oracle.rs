//! Client API 0.10 held against `medea-client-api-proto`, which existing clients are built on.
//!
//! What we send must parse there and come out again field by field as we wrote it; what it produces must be
//! understood here. Random messages, so that no combination of optional fields goes untried.

use std::collections::{BTreeMap, HashMap};

use colchis::bus::client as ours;
use colchis::id::{MemberId, PeerId, RoomId, ShardId, TrackId};
use medea_client_api_proto as oracle;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

// --- what we send ---------------------------------------------------------------------------

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n".to_owned()),
        "\\PC{0,12}",
    ]
}

fn member() -> impl Strategy<Value = MemberId> {
    "[^/\\p{Cc}]{1,20}".prop_map(|s| MemberId::new(&s).unwrap())
}

fn source_kind() -> impl Strategy<Value = ours::MediaSourceKind> {
    prop_oneof![
        Just(ours::MediaSourceKind::Device),
        Just(ours::MediaSourceKind::Display)
    ]
}

fn codec() -> impl Strategy<Value = ours::Codec> {
    (
        text(),
        any::<u32>(),
        option::of(any::<u16>()),
        btree_map(text(), text(), 0..3),
    )
        .prop_map(
            |(mime_type, clock_rate, channels, parameters)| ours::Codec {
                mime_type,
                clock_rate,
                channels,
                parameters,
            },
        )
}

fn encoding() -> impl Strategy<Value = ours::EncodingParameters> {
    (
        text(),
        any::<bool>(),
        option::of(codec()),
        option::of(any::<u32>()),
        option::of(any::<u8>()),
        option::of(prop_oneof![
            Just("L1T3".to_owned()),
            Just("S3T3".to_owned())
        ]),
    )
        .prop_map(
            |(rid, active, codec, max_bitrate, scale_resolution_down_by, scalability_mode)| {
                ours::EncodingParameters {
                    rid,
                    active,
                    codec,
                    max_bitrate,
                    scale_resolution_down_by,
                    scalability_mode,
                }
            },
        )
}

fn media_type() -> impl Strategy<Value = ours::MediaType> {
    (
        any::<bool>(),
        source_kind(),
        option::of(vec(encoding(), 0..3)),
    )
        .prop_map(|(required, source_kind, video)| match video {
            None => ours::MediaType::Audio(ours::AudioSettings {
                required,
                source_kind,
            }),
            Some(encoding_parameters) => ours::MediaType::Video(ours::VideoSettings {
                required,
                source_kind,
                encoding_parameters,
            }),
        })
}

fn media_direction() -> impl Strategy<Value = ours::MediaDirection> {
    (any::<bool>(), any::<bool>()).prop_map(|(p, r)| ours::MediaDirection::from_enabled(p, r))
}

fn track() -> impl Strategy<Value = ours::Track> {
    let direction = (
        option::of(member()),
        vec(member(), 0..3),
        option::of(text()),
    )
        .prop_map(|(sender, receivers, mid)| match sender {
            Some(sender) => ours::Direction::Recv { sender, mid },
            None => ours::Direction::Send { receivers, mid },
        });
    (
        any::<u32>(),
        direction,
        media_direction(),
        any::<bool>(),
        media_type(),
    )
        .prop_map(
            |(id, direction, media_direction, muted, media_type)| ours::Track {
                id: TrackId(id),
                direction,
                media_direction,
                muted,
                media_type,
            },
        )
}

fn role() -> impl Strategy<Value = ours::NegotiationRole> {
    option::of(text()).prop_map(|offer| match offer {
        None => ours::NegotiationRole::Offerer,
        Some(sdp) => ours::NegotiationRole::Answerer(sdp),
    })
}

fn mode() -> impl Strategy<Value = ours::ConnectionMode> {
    prop_oneof![
        Just(ours::ConnectionMode::Mesh),
        Just(ours::ConnectionMode::Sfu)
    ]
}

fn ice_server() -> impl Strategy<Value = ours::IceServer> {
    (vec(text(), 0..3), option::of(text()), option::of(text())).prop_map(
        |(urls, username, credential)| ours::IceServer {
            urls,
            username,
            credential,
        },
    )
}

fn candidate() -> impl Strategy<Value = ours::IceCandidate> {
    (text(), option::of(any::<u16>()), option::of(text())).prop_map(
        |(candidate, sdp_m_line_index, sdp_mid)| ours::IceCandidate {
            candidate,
            sdp_m_line_index,
            sdp_mid,
        },
    )
}

fn close_reason() -> impl Strategy<Value = ours::CloseReason> {
    use ours::CloseReason::*;
    proptest::sample::select(vec![
        Finished,
        Reconnected,
        Idle,
        Rejected,
        InternalError,
        Evicted,
    ])
}

fn patch() -> impl Strategy<Value = ours::TrackPatchEvent> {
    (
        any::<u32>(),
        option::of(media_direction()),
        option::of(vec(member(), 0..3)),
        option::of(any::<bool>()),
        option::of(vec(encoding(), 0..2)),
    )
        .prop_map(
            |(id, media_direction, receivers, muted, encoding_parameters)| ours::TrackPatchEvent {
                id: TrackId(id),
                media_direction,
                receivers,
                muted,
                encoding_parameters,
            },
        )
}

fn update() -> impl Strategy<Value = ours::PeerUpdate> {
    prop_oneof![
        track().prop_map(ours::PeerUpdate::Added),
        any::<u32>().prop_map(|id| ours::PeerUpdate::Removed(TrackId(id))),
        patch().prop_map(ours::PeerUpdate::Updated),
        Just(ours::PeerUpdate::IceRestart),
    ]
}

fn sender_state() -> impl Strategy<Value = ours::SenderState> {
    (
        any::<u32>(),
        mode(),
        option::of(text()),
        media_type(),
        vec(member(), 0..3),
        any::<bool>(),
        media_direction(),
    )
        .prop_map(
            |(id, connection_mode, mid, media_type, receivers, muted, media_direction)| {
                ours::SenderState {
                    id: TrackId(id),
                    connection_mode,
                    mid,
                    media_type,
                    receivers,
                    muted,
                    media_direction,
                }
            },
        )
}

fn receiver_state() -> impl Strategy<Value = ours::ReceiverState> {
    (sender_state(), member()).prop_map(|(s, sender_id)| ours::ReceiverState {
        id: s.id,
        connection_mode: s.connection_mode,
        mid: s.mid,
        media_type: s.media_type,
        sender_id,
        muted: s.muted,
        media_direction: s.media_direction,
    })
}

fn by_id<T>(items: Vec<T>, id: impl Fn(&T) -> TrackId) -> BTreeMap<TrackId, T> {
    items.into_iter().map(|item| (id(&item), item)).collect()
}

fn peer_state() -> impl Strategy<Value = ours::PeerState> {
    (
        (
            any::<u32>(),
            mode(),
            any::<bool>(),
            any::<bool>(),
            any::<u32>(),
        ),
        vec(sender_state(), 0..3),
        vec(receiver_state(), 0..3),
        vec(ice_server(), 0..2),
        (option::of(role()), option::of(text()), option::of(text())),
        // A set on the other side: two equal ones would not come back.
        proptest::collection::btree_set(candidate(), 0..2),
    )
        .prop_map(
            |(
                (id, mode, force_relay, restart_ice, scrape),
                senders,
                receivers,
                ice_servers,
                (role, local, remote),
                candidates,
            )| {
                ours::PeerState {
                    id: PeerId(id),
                    connection_mode: mode,
                    senders: by_id(senders, |s| s.id),
                    receivers: by_id(receivers, |r| r.id),
                    force_relay,
                    ice_servers,
                    negotiation_role: role,
                    local_sdp: local,
                    remote_sdp: remote,
                    restart_ice,
                    ice_candidates: candidates.into_iter().collect(),
                    stats_scrape_interval_ms: scrape,
                }
            },
        )
}

fn room_state() -> impl Strategy<Value = ours::RoomState> {
    vec(peer_state(), 0..3).prop_map(|peers| ours::RoomState {
        peers: peers.into_iter().map(|p| (p.id, p)).collect(),
    })
}

fn event() -> impl Strategy<Value = ours::Event> {
    use ours::ConnectionQualityScore::*;
    let peer = || any::<u32>().prop_map(PeerId);
    prop_oneof![
        (member(), any::<bool>(), any::<u16>()).prop_map(|(member_id, is_reconnect, shard)| {
            ours::Event::RoomJoined {
                member_id,
                is_reconnect,
                shard: ShardId(shard),
            }
        }),
        close_reason().prop_map(|close_reason| ours::Event::RoomLeft { close_reason }),
        (
            peer(),
            role(),
            mode(),
            vec(track(), 0..3),
            vec(ice_server(), 0..2),
            any::<bool>(),
            any::<u32>()
        )
            .prop_map(
                |(peer_id, role, mode, tracks, ice_servers, force_relay, scrape)| {
                    ours::Event::PeerCreated {
                        peer_id,
                        negotiation_role: role,
                        connection_mode: mode,
                        tracks,
                        ice_servers,
                        force_relay,
                        stats_scrape_interval_ms: scrape,
                    }
                }
            ),
        (peer(), text()).prop_map(|(peer_id, sdp_answer)| ours::Event::SdpAnswerMade {
            peer_id,
            sdp_answer
        }),
        (peer(), text()).prop_map(
            |(peer_id, sdp_offer)| ours::Event::LocalDescriptionApplied { peer_id, sdp_offer }
        ),
        (peer(), candidate()).prop_map(|(peer_id, candidate)| {
            ours::Event::IceCandidateDiscovered { peer_id, candidate }
        }),
        vec(peer(), 0..3).prop_map(|peer_ids| ours::Event::PeersRemoved { peer_ids }),
        (peer(), vec(update(), 0..4), option::of(role())).prop_map(
            |(peer_id, updates, negotiation_role)| ours::Event::PeerUpdated {
                peer_id,
                updates,
                negotiation_role
            }
        ),
        (
            member(),
            proptest::sample::select(vec![Poor, Low, Medium, High])
        )
            .prop_map(|(partner_member_id, quality_score)| {
                ours::Event::ConnectionQualityUpdated {
                    partner_member_id,
                    quality_score,
                }
            }),
        room_state().prop_map(|state| ours::Event::StateSynchronized { state }),
    ]
}

fn server_msg() -> impl Strategy<Value = ours::ServerMsg> {
    prop_oneof![
        1 => any::<u32>().prop_map(ours::ServerMsg::Ping),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(idle, ping)| {
            ours::ServerMsg::RpcSettings(ours::RpcSettings {
                idle_timeout_ms: idle,
                ping_interval_ms: ping,
            })
        }),
        8 => (member(), event()).prop_map(|(room, event)| ours::ServerMsg::Event {
            room_id: RoomId::new(room.as_str()).unwrap(),
            event,
        }),
    ]
}

/// Takes out what is ours alone; such clients ignore it.
fn without_superset(mut frame: Value) -> Value {
    if frame.pointer("/data/event/event") == Some(&json!("RoomJoined"))
        && let Some(Value::Object(data)) = frame.pointer_mut("/data/event/data")
    {
        assert!(data.remove("shard").is_some());
    }
    frame
}

proptest! {
    #[test]
    fn what_we_send_means_the_same_to_its_clients(message in server_msg()) {
        let text = serde_json::to_string(&message).unwrap();
        let understood: oracle::ServerMsg = serde_json::from_str(&text)
            .map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
        let again = serde_json::to_value(&understood).unwrap();
        let sent = without_superset(serde_json::from_str(&text).unwrap());
        prop_assert_eq!(again, sent);
    }
}

#[test]
fn close_frames_are_understood() {
    for (reason, theirs) in [
        (ours::CloseReason::Finished, oracle::CloseReason::Finished),
        (
            ours::CloseReason::Reconnected,
            oracle::CloseReason::Reconnected,
        ),
        (ours::CloseReason::Idle, oracle::CloseReason::Idle),
        (ours::CloseReason::Rejected, oracle::CloseReason::Rejected),
        (
            ours::CloseReason::InternalError,
            oracle::CloseReason::InternalError,
        ),
        (ours::CloseReason::Evicted, oracle::CloseReason::Evicted),
    ] {
        let text = colchis::signalling::close_text(reason);
        let read: oracle::CloseDescription = serde_json::from_str(&text).unwrap();
        assert_eq!(read.reason, theirs, "{text}");
        // RFC 6455 section 5.5: a control frame carries 125 bytes, two of them the code.
        assert!(text.len() <= 123);
    }
}

// --- what we take ---------------------------------------------------------------------------

fn their_codec() -> oracle::Codec {
    oracle::Codec {
        mime_type: "audio/opus".into(),
        clock_rate: 48_000,
        channels: Some(2),
        parameters: HashMap::from([("useinbandfec".into(), "1".into())]),
    }
}

fn their_join() -> oracle::Command {
    oracle::Command::JoinRoom {
        member_id: "ann".into(),
        credential: "sesame".into(),
        capabilities: oracle::Capabilities {
            audio_rx: vec![their_codec()],
            ..oracle::Capabilities::default()
        },
    }
}

fn their_offer(peer_id: oracle::PeerId) -> oracle::Command {
    oracle::Command::MakeSdpOffer {
        peer_id,
        sdp_offer: "v=0".into(),
        mids: HashMap::from([
            (oracle::TrackId(1), "0".to_owned()),
            (oracle::TrackId(22), "1".into()),
        ]),
        transceivers_statuses: HashMap::from([
            (oracle::TrackId(1), true),
            (oracle::TrackId(22), false),
        ]),
    }
}

/// Every command but `SynchronizeMe`, each optional field once there and once not.
fn their_commands() -> Vec<oracle::Command> {
    let peer_id = oracle::PeerId(7);
    let patch = |enabled, muted| oracle::TrackPatchCommand {
        id: oracle::TrackId(3),
        enabled,
        muted,
    };
    let candidate = |sdp_m_line_index, sdp_mid| oracle::Command::SetIceCandidate {
        peer_id,
        candidate: oracle::IceCandidate {
            candidate: "candidate:1 1 UDP 1 127.0.0.1 9 typ host".into(),
            sdp_m_line_index,
            sdp_mid,
        },
    };
    let metrics = |metrics| oracle::Command::AddPeerConnectionMetrics { peer_id, metrics };
    vec![
        their_join(),
        their_offer(peer_id),
        oracle::Command::UpdateTracks {
            peer_id,
            tracks_patches: vec![patch(Some(true), None), patch(None, Some(false))],
        },
        oracle::Command::LeaveRoom {
            member_id: "ann".into(),
        },
        oracle::Command::MakeSdpAnswer {
            peer_id,
            sdp_answer: "v=0".into(),
            transceivers_statuses: HashMap::from([(oracle::TrackId(1), true)]),
        },
        candidate(Some(0), Some("0".into())),
        candidate(None, None),
        metrics(oracle::PeerMetrics::IceConnectionState(
            oracle::IceConnectionState::Checking,
        )),
        metrics(oracle::PeerMetrics::RtcStats(Vec::new())),
    ]
}

fn decode(command: &oracle::Command) -> ours::Command {
    let message = oracle::ClientMsg::Command {
        room_id: "r".into(),
        command: command.clone(),
    };
    let text = serde_json::to_string(&message).unwrap();
    match serde_json::from_str(&text) {
        Ok(ours::ClientMsg::Command { room_id, command }) => {
            assert_eq!(room_id.as_str(), "r");
            command
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_command_of_its_clients_is_understood() {
    let commands = their_commands();
    for command in &commands {
        let name = serde_json::to_value(command).unwrap()["command"].clone();
        assert_eq!(decode(command).name(), name);
    }
    let pong = serde_json::to_string(&oracle::ClientMsg::Pong(5)).unwrap();
    assert_eq!(
        serde_json::from_str::<ours::ClientMsg>(&pong).unwrap(),
        ours::ClientMsg::Pong(5)
    );

    let ours::Command::JoinRoom {
        member_id,
        credential,
        capabilities,
    } = decode(&commands[0])
    else {
        panic!("not a join");
    };
    assert_eq!((member_id.as_str(), credential.as_str()), ("ann", "sesame"));
    let codec = &capabilities.audio_rx[0];
    assert_eq!(
        (codec.mime_type.as_str(), codec.clock_rate, codec.channels),
        ("audio/opus", 48_000, Some(2))
    );
    assert_eq!(codec.parameters["useinbandfec"], "1");

    let ours::Command::MakeSdpOffer {
        peer_id,
        sdp_offer,
        mids,
        transceivers_statuses,
    } = decode(&commands[1])
    else {
        panic!("not an offer");
    };
    assert_eq!((peer_id, sdp_offer.as_str()), (PeerId(7), "v=0"));
    assert_eq!(
        mids,
        BTreeMap::from([(TrackId(1), "0".to_owned()), (TrackId(22), "1".to_owned())])
    );
    assert_eq!(
        transceivers_statuses,
        BTreeMap::from([(TrackId(1), true), (TrackId(22), false)])
    );

    let ours::Command::UpdateTracks { tracks_patches, .. } = decode(&commands[2]) else {
        panic!("not a patch");
    };
    let seen: Vec<_> = tracks_patches
        .iter()
        .map(|p| (p.id, p.enabled, p.muted))
        .collect();
    assert_eq!(
        seen,
        [
            (TrackId(3), Some(true), None),
            (TrackId(3), None, Some(false))
        ]
    );
}

proptest! {
    /// `SynchronizeMe` carries the richest structure a client sends.
    #[test]
    fn state_of_its_clients_is_understood(state in room_state()) {
        let value = serde_json::to_value(&state).unwrap();
        let theirs: oracle::state::Room = serde_json::from_value(value).unwrap();
        let ours::Command::SynchronizeMe { state: back } =
            decode(&oracle::Command::SynchronizeMe { state: theirs })
        else {
            return Err(TestCaseError::fail("not SynchronizeMe"));
        };
        prop_assert_eq!(sorted(back), sorted(state));
    }

    /// JSON objects have no order: `data` may come before `command`, maps with number keys inside or not.
    #[test]
    fn order_of_keys_does_not_matter(n in 0..9_usize, extra in any::<bool>()) {
        let command = their_commands().swap_remove(n);
        let value = serde_json::to_value(&command).unwrap();
        let extra = if extra { r#""note":[1,{}],"# } else { "" };
        let text = format!(
            r#"{{"Command":{{"command":{{{extra}"data":{},"command":{}}},"room_id":"r"}}}}"#,
            value["data"], value["command"]
        );
        let understood: ours::ClientMsg = serde_json::from_str(&text)
            .map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
        let ours::ClientMsg::Command { command: again, .. } = understood else {
            return Err(TestCaseError::fail("not a command"));
        };
        prop_assert_eq!(again, decode(&command));
    }
}

/// Candidates are a set on the other side.
fn sorted(mut state: ours::RoomState) -> ours::RoomState {
    state
        .peers
        .values_mut()
        .for_each(|p| p.ice_candidates.sort());
    state
}
