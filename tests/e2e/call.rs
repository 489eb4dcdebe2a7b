//! Calls as members have them: media both ways, late joiners, leavers, mutes, lost sockets, new addresses.

use std::time::Duration;

use dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use webrtc_util::marshal::Marshal;

use crate::client::{Client, Control, Options};
use crate::server::Server;
use crate::support::sdp::Kind;
use crate::support::signal::Signal;

/// Two members in room `room` that hear and see each other.
pub async fn pair(server: &Server, room: &str, first: u16) -> [Client; 2] {
    let one = Client::join(Options::new(server.public, room, first)).await;
    let two = Client::join(Options::new(server.public, room, first + 1)).await;
    one.wait_media(&two.name, 10).await;
    two.wait_media(&one.name, 10).await;
    [one, two]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_hear_and_see_each_other_come_and_go() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    for client in [&one, &two] {
        client.look(|s| assert_eq!(s.profile, Some("AEAD_AES_128_GCM")));
        client
            .wait("reports and feedback", |s| {
                s.twcc > 0 && s.reports.len() >= 2
            })
            .await;
        client
            .wait("sender reports", |s| {
                s.streams.values().filter(|s| s.report.is_some()).count() >= 2
            })
            .await;
        client.look(|s| {
            let video = s
                .streams
                .values()
                .find(|s| s.video)
                .expect("a video stream");
            assert_eq!(
                video.sink.starts_with_key_frame(),
                Some(true),
                "video begins with a key frame"
            );
        });
    }
    let late = Client::join(Options::new(server.public, "r1", 3)).await;
    for other in [&one, &two] {
        late.wait_media(&other.name, 10).await;
        other.wait_media(&late.name, 10).await;
    }
    let seconds = late.look(|s| s.join_to_media).expect("media came");
    println!("join to first video packet: {seconds:?}");
    late.command(|s| s.leave());
    late.wait("the goodbye", |s| {
        s.signal.left.is_some() || s.closed.is_some()
    })
    .await;
    let gone = late.name.clone();
    for other in [&one, &two] {
        other
            .wait("the leaver's tracks to go", |s| {
                !s.signal
                    .tracks
                    .values()
                    .any(|t| t.sender.as_deref() == Some(&gone))
            })
            .await;
    }
    one.wait_media(&two.name, 10).await;
    two.wait_media(&one.name, 10).await;
    for client in [&one, &two, &late] {
        client.assert_clean();
    }
    drop((one, two, late));
    let (status, stderr) = server.stop();
    assert!(
        status.success(),
        "SIGTERM ends the server with {status}: {stderr}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_srtp_profile_carries_a_call() {
    let server = Server::start(1);
    let profiles = [
        (Profile::Srtp_Aead_Aes_128_Gcm, "AEAD_AES_128_GCM"),
        (Profile::Srtp_Aead_Aes_256_Gcm, "AEAD_AES_256_GCM"),
        (
            Profile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            "AES_CM_128_HMAC_SHA1_80",
        ),
    ];
    let mut clients = Vec::new();
    for (number, (profile, _)) in (1..).zip(profiles) {
        let options = Options {
            profiles: vec![profile],
            ..Options::new(server.public, "r1", number)
        };
        clients.push(Client::join(options).await);
    }
    for client in &clients {
        for other in clients.iter().filter(|o| o.name != client.name) {
            client.wait_media(&other.name, 10).await;
        }
    }
    for (client, (_, name)) in clients.iter().zip(profiles) {
        client.look(|s| assert_eq!(s.profile, Some(name)));
        client.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_and_key_frames_are_answered() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    let (ssrc, sequence) = two.look(|s| {
        let (ssrc, stream) = s.streams.iter().find(|(_, s)| s.video).expect("video");
        (*ssrc, stream.sink.highest() as u16)
    });
    // A decoder that has lost its reference.
    let asked = one.look(|s| s.key_frames_asked);
    let keys = two.look(|s| s.streams[&ssrc].sink.key_frames);
    let pli = PictureLossIndication {
        sender_ssrc: 1,
        media_ssrc: ssrc,
    };
    two.order(Control::Rtcp(pli.marshal().expect("PLI").to_vec()));
    one.wait("a request for a key frame", |s| s.key_frames_asked > asked)
        .await;
    two.wait("the key frame", |s| s.streams[&ssrc].sink.key_frames > keys)
        .await;
    // A packet said to be lost comes again, the same bytes (the sink compares), by RTX.
    let lost = [sequence, sequence.wrapping_sub(1)];
    let nacks = nack_pairs_from_sequence_numbers(&lost);
    let nack = TransportLayerNack {
        sender_ssrc: 1,
        media_ssrc: ssrc,
        nacks,
    };
    two.order(Control::Rtcp(nack.marshal().expect("NACK").to_vec()));
    two.wait("the retransmission", |s| s.rtx_received >= 1)
        .await;
    two.look(|s| {
        assert!(
            s.streams[&ssrc].sink.duplicates >= 1,
            "it is the packet that was asked for"
        )
    });
    two.assert_clean();
    one.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mute_and_camera_off_reach_the_others_and_end() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    let from_one = |s: &crate::client::State,
                    kind: Kind,
                    test: &dyn Fn(&crate::support::signal::TrackInfo) -> bool| {
        s.signal
            .tracks
            .values()
            .any(|t| !t.send && t.kind == kind && !t.display && test(t))
    };
    one.command(|s| s.update_send(Kind::Audio, None, Some(true)));
    two.wait("the mute", |s| from_one(s, Kind::Audio, &|t| t.muted))
        .await;
    one.command(|s| s.update_send(Kind::Video, Some(false), None));
    two.wait("camera off", |s| {
        from_one(s, Kind::Video, &|t| t.media_direction == "RecvOnly")
    })
    .await;
    one.wait("its own camera off", |s| {
        s.signal
            .tracks
            .values()
            .any(|t| t.send && t.kind == Kind::Video && t.media_direction == "RecvOnly")
    })
    .await;
    // Nothing of the camera comes any more, the microphone goes on.
    let stopped = two.look(|s| s.received("m1", true));
    let before = two.look(|s| s.received("m1", false));
    two.wait("a second of microphone", |s| {
        s.received("m1", false) > before + 40
    })
    .await;
    let now = two.look(|s| s.received("m1", true));
    assert!(
        now <= stopped + 4,
        "{} video packets after camera off",
        now - stopped
    );
    one.command(|s| s.update_send(Kind::Video, Some(true), None));
    one.command(|s| s.update_send(Kind::Audio, None, Some(false)));
    two.wait("the camera", |s| s.received("m1", true) > now + 10)
        .await;
    two.wait("the unmute", |s| from_one(s, Kind::Audio, &|t| !t.muted))
        .await;
    one.wait_media(&two.name, 10).await;
    for client in [&one, &two] {
        client.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_socket_costs_no_media_and_the_member_comes_back() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    one.order(Control::CloseSocket(None));
    tokio::time::sleep(Duration::from_millis(300)).await;
    two.wait_media(&one.name, 20).await;
    let before = one.look(|s| s.received("m2", true));
    one.order(Control::Rejoin);
    one.wait("the reconnect", |s| {
        s.signal.joined == Some(true) && s.signal.state.is_some()
    })
    .await;
    one.wait("media of before", |s| s.received("m2", true) > before + 10)
        .await;
    two.wait_media(&one.name, 10).await;
    let handshakes = server.wait_metric(&["handshakes_completed"], |v| v >= 2.0);
    assert_eq!(handshakes, 2.0, "the transport stayed");
    one.assert_clean();
    two.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_address_is_followed_after_its_check() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    one.order(Control::MoveAddress);
    one.wait("the new address", |s| {
        s.mapped.is_some() && s.mapped == Some(s.local)
    })
    .await;
    one.wait_media(&two.name, 20).await;
    two.wait_media(&one.name, 20).await;
    one.look(|s| assert!(s.faults.is_empty(), "{:?}", s.faults));
    two.look(|s| assert!(s.faults.is_empty(), "{:?}", s.faults));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rooms_share_nothing() {
    let server = Server::start(2);
    let [one, two] = pair(&server, "r1", 1).await;
    let [three, four] = pair(&server, "r2", 3).await;
    let shards = [&one, &three].map(|c| c.look(|s| (s.signal.shard, s.remote)));
    assert_ne!(
        shards[0].0, shards[1].0,
        "the second room is on the other shard"
    );
    assert_ne!(shards[0].1, shards[1].1, "and so on its port");
    for (client, other) in [(&one, "m2"), (&two, "m1"), (&three, "m4"), (&four, "m3")] {
        client.wait_media(other, 10).await;
        client.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_what_a_room_costs_while_it_is_there() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    let room = "room=\"r1\"";
    let share = server.wait_metric(&["colchis_room_busy_ratio", room], |v| v > 0.0);
    assert!(share < 1.0, "{share}");
    let sent = server.wait_metric(&["colchis_room_datagrams_sent", room], |v| v >= 40.0);
    let (status, body) = Server::get(server.private, "/v1/rooms/r1/stats");
    let stats: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let cost = &stats["cost"];
    assert_eq!(status, 200, "{body}");
    assert!(cost["datagrams_sent"].as_f64() >= Some(sent), "{body}");
    assert!(cost["datagrams_received"].as_f64() > Some(40.0), "{body}");
    assert!(cost["bytes_sent"].as_f64() > Some(40.0 * 100.0), "{body}");
    assert!(cost["busy_s"].as_f64() > Some(0.0), "{body}");
    for client in [&one, &two] {
        client.command(Signal::leave);
    }
    server.wait_metric(&["colchis_room_", room], |v| v == 0.0);
    let told = server.metrics();
    assert!(!told.keys().any(|k| k.contains(room)), "{told:?}");
}
