//! A connection that fails begins anew where it can: other ICE credentials, the same peer, keys and streams.

use std::collections::BTreeMap;

use colchis::bus::spec::PlaySpec;
use colchis::error::DropReason;
use colchis::limits::{CONSENT_TIMEOUT_MS, ICE_RETURN_TIMEOUT_MS, ICE_SILENCE_MS};
use serde_json::json;

use crate::configure::{call, name, pass, received, spec};
use crate::network::Link;
use crate::world::World;

/// The client says that its `RTCPeerConnection` has failed.
fn report_failed(world: &mut World, seat: usize) {
    let peer = world.seats[seat].client.signal.peer;
    let metrics = json!({"peer_id": peer, "metrics": {"PeerConnectionState": "Failed"}});
    world.client_command(
        seat,
        json!({"command": "AddPeerConnectionMetrics", "data": metrics}),
    );
}

/// The server's credentials, as the client knows them.
fn ufrag(world: &World, seat: usize) -> Option<String> {
    let remote = world.seats[seat].client.signal.remote.as_ref();
    remote.map(|r| r.ufrag.clone())
}

fn ssrcs(world: &World, seat: usize) -> Vec<u32> {
    let streams = world.seats[seat].client.streams.keys();
    streams.copied().collect()
}

/// Nothing of a member's media arrives, in either direction; its socket works.
fn cut(world: &mut World, seat: usize) {
    let nothing = Link {
        loss_permille: 1000,
        ..Link::clean(5_000)
    };
    (world.seats[seat].up, world.seats[seat].down) = (nothing, nothing);
    world.seats[seat].client.lossless = false;
    for other in &mut world.seats {
        // What others receive has gaps now.
        other.client.lossless = false;
    }
}

fn mend(world: &mut World, seat: usize) {
    let clean = Link::clean(5_000);
    (world.seats[seat].up, world.seats[seat].down) = (clean, clean);
}

/// What must not change while a connection begins anew.
fn identity(world: &World, seat: usize) -> (Option<u64>, u64, Vec<u32>) {
    let client = &world.seats[seat].client;
    (
        client.signal.peer,
        client.tally.handshakes,
        ssrcs(world, seat),
    )
}

#[test]
fn a_connection_that_has_failed_begins_anew_with_the_same_keys_and_streams() {
    let mut world = call();
    let (before, streams) = (ufrag(&world, 0), ssrcs(&world, 0));
    let handshakes = world.seats[0].client.tally.handshakes;
    let peer = world.seats[0].client.signal.peer;
    for _ in 0..20 {
        // Said again and again it begins anew a few times, and no more.
        report_failed(&mut world, 0);
        pass(&mut world, 400);
    }
    assert_ne!(ufrag(&world, 0), before, "other credentials");
    let count = received(&world, 0);
    pass(&mut world, 7_000);
    assert!(received(&world, 0) > count + 150, "media goes on");
    assert_eq!(ssrcs(&world, 0), streams);
    assert_eq!(world.seats[0].client.tally.handshakes, handshakes);
    assert_eq!(world.seats[0].client.signal.peer, peer, "the same peer");
    assert!(world.faults().is_empty(), "{:?}", world.faults());
    for seat in 0..2 {
        world.leave(seat);
    }
    pass(&mut world, 1_000);
    assert_eq!(
        world.shard.machine().routes(),
        (0, 0),
        "nothing is left behind"
    );
}

#[test]
fn a_client_asked_to_offer_that_fails_again_keeps_the_credentials_it_uses() {
    let mut world = call();
    // Without its tracks the peer has to negotiate twice to have them again, and the second time it offers.
    let nothing = spec(
        &world,
        &[
            (0, &|_| {}),
            (1, &|m| {
                m.publish.clear();
                m.play = PlaySpec::Only(BTreeMap::new());
            }),
        ],
    );
    world.configure(1, nothing);
    pass(&mut world, 2_000);
    let (before, peer) = (ufrag(&world, 1), world.seats[1].client.signal.peer);
    let strangers = world.counters().drops_in[DropReason::StunUnknownUfrag as usize];
    world.seats[1].signal_us = 4_000_000;
    let all = spec(&world, &[(0, &|_| {}), (1, &|_| {})]);
    world.configure(1, all);
    // The offer for what it receives is under way until 4 s, its answer until 8 s, the request to offer until 12 s.
    pass(&mut world, 3_000);
    report_failed(&mut world, 1);
    pass(&mut world, 3_000);
    report_failed(&mut world, 1);
    pass(&mut world, 1_000);
    report_failed(&mut world, 1);
    pass(&mut world, 5_500);
    assert_eq!(ufrag(&world, 1), before, "not answered yet");
    pass(&mut world, 12_000);
    assert_ne!(ufrag(&world, 1), before);
    let dropped = world.counters().drops_in[DropReason::StunUnknownUfrag as usize];
    assert_eq!(dropped, strangers, "its checks were answered all the time");
    assert_eq!(world.seats[1].client.signal.peer, peer);
    let count = received(&world, 1);
    pass(&mut world, 1_000);
    assert!(received(&world, 1) > count + 20);
    assert!(world.faults().is_empty(), "{:?}", world.faults());
}

#[test]
fn a_connection_without_consent_is_begun_anew_by_the_server() {
    let mut world = call();
    let (before, same) = (ufrag(&world, 0), identity(&world, 0));
    cut(&mut world, 0);
    pass(&mut world, CONSENT_TIMEOUT_MS + 5_000);
    assert_ne!(
        ufrag(&world, 0),
        before,
        "it was told of other credentials over its socket"
    );
    let others = received(&world, 1);
    mend(&mut world, 0);
    let count = received(&world, 0);
    pass(&mut world, 4_000);
    assert_eq!(identity(&world, 0), same);
    assert!(received(&world, 0) > count + 60, "it receives again");
    assert!(received(&world, 1) > others + 60, "and is received again");
    assert!(world.faults().is_empty(), "{:?}", world.faults());
}

#[test]
fn a_member_whose_socket_was_away_too_hears_of_the_restart_when_it_comes_back() {
    let mut world = call();
    let (before, same) = (ufrag(&world, 0), identity(&world, 0));
    cut(&mut world, 0);
    world.lose(0);
    pass(&mut world, CONSENT_TIMEOUT_MS + 5_000);
    assert_eq!(ufrag(&world, 0), before, "nobody to tell");
    mend(&mut world, 0);
    world.join(0);
    let count = received(&world, 0);
    pass(&mut world, 4_000);
    assert_ne!(ufrag(&world, 0), before);
    assert_eq!(identity(&world, 0), same);
    assert!(received(&world, 0) > count + 60);
    assert!(world.faults().is_empty(), "{:?}", world.faults());
}

#[test]
fn a_member_that_comes_back_to_a_silent_connection_need_not_wait_for_its_end() {
    let mut world = call();
    let (before, same) = (ufrag(&world, 0), identity(&world, 0));
    world.lose(0);
    pass(&mut world, 2_000);
    world.join(0);
    pass(&mut world, 500);
    assert_eq!(
        ufrag(&world, 0),
        before,
        "nothing is wrong with a connection that is heard of"
    );
    world.lose(0);
    cut(&mut world, 0);
    pass(&mut world, ICE_SILENCE_MS + 500);
    world.join(0);
    pass(&mut world, 500);
    assert_ne!(ufrag(&world, 0), before);
    mend(&mut world, 0);
    let count = received(&world, 0);
    pass(&mut world, 4_000);
    assert!(received(&world, 0) > count + 60);
    assert_eq!(identity(&world, 0), same);
    assert!(world.faults().is_empty(), "{:?}", world.faults());
}

#[test]
fn a_connection_that_does_not_come_back_is_replaced() {
    let mut world = call();
    let (peer, name) = (world.seats[0].client.signal.peer, name(&world, 0));
    cut(&mut world, 0);
    pass(
        &mut world,
        CONSENT_TIMEOUT_MS + ICE_RETURN_TIMEOUT_MS + 2_000,
    );
    assert_ne!(world.seats[0].client.signal.peer, peer, "{name}");
    mend(&mut world, 0);
    pass(&mut world, 4_000);
    assert!(received(&world, 0) > 20);
    for seat in 0..2 {
        world.leave(seat);
    }
    pass(&mut world, 1_000);
    assert_eq!(world.shard.machine().routes(), (0, 0));
}
