//! A room is given another spec while media flows: what stays goes on, what goes stops, and whoever asked is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use colchis::bus::client::EncodingParameters;
use colchis::bus::control::MediaChange;
use colchis::bus::spec::{MemberSpec, PlayEndpoint, PlaySource, PlaySpec, RoomSpec};
use colchis::id::{EndpointId, MemberId};

use crate::network::Link;
use crate::support::sdp::Kind;
use crate::world::World;

pub fn pass(world: &mut World, ms: u64) {
    world.run_until(world.now + Duration::from_millis(ms));
}

/// What members of the room are like at first.
pub fn like() -> MemberSpec {
    let world = World::new(11, 1, true);
    MemberSpec::clone(world.spec(1).open.as_ref().expect("an open room"))
}

/// Two members in a room, media both ways.
pub fn call() -> World {
    let mut world = World::new(11, 1, true);
    let clean = Link::clean(5_000);
    for _ in 0..2 {
        let seat = world.seat(1, clean, clean);
        world.join(seat);
    }
    pass(&mut world, 4_000);
    assert!(received(&world, 0) > 20 && received(&world, 1) > 20);
    world
}

/// Media packets of the present streams.
pub fn received(world: &World, seat: usize) -> u64 {
    let streams = world.seats[seat].client.current_streams();
    streams.map(|s| s.sink.received).sum()
}

pub fn name(world: &World, seat: usize) -> MemberId {
    MemberId::new(&world.seats[seat].client.signal.member).unwrap()
}

/// What makes a member other than it was at first.
pub type Change<'a> = &'a dyn Fn(&mut MemberSpec);

/// The room's spec with these members.
pub fn spec(world: &World, members: &[(usize, Change<'_>)]) -> RoomSpec {
    let members = members.iter().map(|(seat, change)| {
        let mut member = like();
        change(&mut member);
        (name(world, *seat), Arc::new(member))
    });
    RoomSpec {
        open: None,
        members: members.collect(),
        ..RoomSpec::clone(&world.spec(1))
    }
}

#[test]
fn what_is_played_no_more_stops_and_the_rest_goes_on() {
    let mut world = call();
    let handshakes = world.seats[0].client.tally.handshakes;
    let deaf = spec(
        &world,
        &[
            (0, &|_| {}),
            (1, &|m| m.play = PlaySpec::Only(BTreeMap::new())),
        ],
    );
    world.configure(1, deaf);
    pass(&mut world, 1_000);
    let tracks = &world.seats[1].client.signal.tracks;
    assert!(
        tracks.values().all(|t| t.send),
        "it receives nothing: {tracks:?}"
    );
    let before = received(&world, 0);
    pass(&mut world, 1_000);
    assert!(received(&world, 0) > before + 20, "the other one goes on");
    assert_eq!(received(&world, 1), 0);
    // And everything as it was.
    let again = spec(
        &world,
        &[(0, &|_| {}), (1, &|m| m.play = PlaySpec::Everyone)],
    );
    world.configure(1, again);
    pass(&mut world, 2_000);
    assert!(received(&world, 1) > 20, "it receives again");
    assert_eq!(
        world.seats[0].client.tally.handshakes, handshakes,
        "nobody had to connect anew"
    );
    assert!(world.faults().is_empty(), "{:?}", world.faults());
}

#[test]
fn an_endpoint_comes_and_goes() {
    let mut world = call();
    let silent = spec(&world, &[(0, &|m| m.publish.clear()), (1, &|_| {})]);
    world.configure(1, silent);
    pass(&mut world, 1_500);
    let send = |world: &World, seat: usize| {
        let tracks = world.seats[seat].client.signal.tracks.values();
        tracks.filter(|t| t.send).count()
    };
    assert_eq!((send(&world, 0), send(&world, 1)), (0, 2));
    assert_eq!(received(&world, 1), 0);
    let before = received(&world, 0);
    pass(&mut world, 1_000);
    assert!(received(&world, 0) > before + 20, "it still receives");
    let again = spec(&world, &[(0, &|_| {}), (1, &|_| {})]);
    world.configure(1, again);
    pass(&mut world, 2_000);
    assert_eq!(send(&world, 0), 2);
    assert!(received(&world, 1) > 20, "and is received again");
    assert!(world.faults().is_empty(), "{:?}", world.faults());
}

#[test]
fn who_is_not_in_the_spec_any_more_is_out() {
    let mut world = call();
    let alone = spec(&world, &[(0, &|_| {})]);
    world.configure(1, alone);
    pass(&mut world, 1_000);
    assert_eq!(
        world.seats[1].client.signal.left.as_deref(),
        Some("Evicted")
    );
    assert!(world.seats[0].client.signal.left.is_none());
    let tracks = &world.seats[0].client.signal.tracks;
    assert!(tracks.values().all(|t| t.send), "it has nobody to receive");
}

#[test]
fn whoever_plays_a_hub_receives_what_is_published_to_it() {
    let mut world = call();
    let hub = EndpointId::new("lobby").unwrap();
    let plays = |m: &mut MemberSpec| {
        let play = PlayEndpoint {
            source: PlaySource::Hub(hub.clone()),
            tells: false,
        };
        m.play = PlaySpec::Only(BTreeMap::from([(EndpointId::new("in").unwrap(), play)]));
    };
    let both = |m: &mut MemberSpec| {
        plays(m);
        m.publish
            .values_mut()
            .for_each(|p| p.hub = Some(hub.clone()));
    };
    // The second one publishes to nobody.
    let one = spec(&world, &[(0, &both), (1, &plays)]);
    world.configure(1, one);
    pass(&mut world, 1_000);
    let (first, second) = (received(&world, 0), received(&world, 1));
    pass(&mut world, 1_000);
    assert_eq!((received(&world, 0), first), (0, 0), "never its own");
    assert!(received(&world, 1) > second + 20);
    let all = spec(&world, &[(0, &both), (1, &both)]);
    world.configure(1, all);
    pass(&mut world, 2_000);
    assert!(received(&world, 0) > 20);
    assert!(world.faults().is_empty(), "{:?}", world.faults());
}

#[test]
fn how_a_camera_is_to_be_encoded_is_told_to_those_who_are_there() {
    let mut world = call();
    let limits = |world: &World| -> Vec<Vec<u64>> {
        let tracks = world.seats[0].client.signal.tracks.values();
        let cameras = tracks.filter(|t| t.send && t.kind == Kind::Video);
        cameras.map(|t| t.max_bitrates.clone()).collect()
    };
    assert_eq!(limits(&world), [[0_u64; 0]]);
    let negotiations = world.seats[0].client.signal.negotiations;
    let encodings = |max_bitrate: u32| {
        vec![EncodingParameters {
            rid: "f".to_owned(),
            active: true,
            codec: None,
            max_bitrate: Some(max_bitrate),
            scale_resolution_down_by: None,
            scalability_mode: None,
        }]
    };
    for bitrate in [300_000, 100_000] {
        let limited = |m: &mut MemberSpec| {
            let publishes = m.publish.values_mut();
            publishes.for_each(|p| p.encodings = encodings(bitrate));
        };
        let slower = spec(&world, &[(0, &limited), (1, &|_| {})]);
        world.configure(1, slower);
        pass(&mut world, 500);
        assert_eq!(limits(&world), [[u64::from(bitrate)]]);
    }
    // Nothing has to be negotiated for it, and one that comes back is told the same.
    assert_eq!(world.seats[0].client.signal.negotiations, negotiations);
    world.leave(0);
    pass(&mut world, 500);
    world.join(0);
    pass(&mut world, 2_000);
    assert_eq!(limits(&world), [[100_000]]);
    assert!(world.faults().is_empty(), "{:?}", world.faults());
}

#[test]
fn media_that_starts_and_stops_is_told() {
    let mut world = call();
    let endpoint = |name: &str| EndpointId::new(name).unwrap();
    let source = PlaySource::Endpoint(name(&world, 0), endpoint("camera"));
    let told = spec(
        &world,
        &[
            (0, &|m| m.publish.values_mut().for_each(|p| p.tells = true)),
            (1, &|m| {
                let play = PlayEndpoint {
                    source: source.clone(),
                    tells: true,
                };
                m.play = PlaySpec::Only(BTreeMap::from([(endpoint("in"), play)]));
            }),
        ],
    );
    world.configure(1, told);
    let seen = |world: &mut World, ms: u64| {
        pass(world, ms);
        let mut seen: Vec<String> = world
            .media
            .drain(..)
            .map(|(_, n)| {
                let kind = if n.video { "video" } else { "audio" };
                format!("{} {kind} {:?}", n.endpoint, n.change)
            })
            .collect();
        seen.sort();
        seen
    };
    let all = |change: MediaChange| {
        let names = ["camera audio", "camera video", "in audio", "in video"];
        names.map(|name| format!("{name} {change:?}")).to_vec()
    };
    assert_eq!(seen(&mut world, 4_000), all(MediaChange::Started));
    let mute = |world: &mut World, muted| {
        let signal = &world.seats[0].client.signal;
        let command = signal.update_send(Kind::Audio, None, Some(muted));
        world.client_command(0, command);
    };
    mute(&mut world, true);
    let audio = |change: MediaChange| {
        let names = ["camera audio", "in audio"];
        names.map(|name| format!("{name} {change:?}")).to_vec()
    };
    assert_eq!(seen(&mut world, 2_500), audio(MediaChange::Muted));
    mute(&mut world, false);
    assert_eq!(seen(&mut world, 2_500), audio(MediaChange::Started));
    world.seats[0].client.publishing = false;
    assert_eq!(seen(&mut world, 6_000), all(MediaChange::NoMedia));
    world.seats[0].client.publishing = true;
    assert_eq!(seen(&mut world, 3_000), all(MediaChange::Started));
    world.leave(0);
    assert_eq!(seen(&mut world, 3_000), all(MediaChange::Removed));
}

/// A speaker in the first room, a hearer in the second that plays it, and the spec that links the two.
fn linked_rooms() -> (World, usize, usize, RoomSpec) {
    let mut world = World::new(12, 2, true);
    let clean = Link::clean(5_000);
    let speaker = world.seat(1, clean, clean);
    let hearer = world.seat(2, clean, clean);
    world.seats[hearer].client.hears_rooms = true;
    let (there, here) = (name(&world, speaker), name(&world, hearer));
    let known_as = MemberId::new(&format!("{there}@r1")).unwrap();
    let endpoint = |name: &str| EndpointId::new(name).unwrap();
    let play = PlayEndpoint {
        source: PlaySource::Endpoint(known_as.clone(), endpoint("camera")),
        tells: false,
    };
    let member = MemberSpec {
        play: PlaySpec::Only(BTreeMap::from([(endpoint("in"), play)])),
        ..like()
    };
    let other = world.spec(1).id.clone();
    let spec = RoomSpec {
        open: None,
        members: BTreeMap::from([(here, Arc::new(member))]),
        imports: BTreeMap::from([(known_as, (other, there))]),
        ..RoomSpec::clone(&world.spec(2))
    };
    world.configure(2, spec.clone());
    (world, speaker, hearer, spec)
}

/// Who receives the tracks of `seat`, as it was told.
fn receivers(world: &World, seat: usize) -> Vec<String> {
    let tracks = world.seats[seat].client.signal.tracks.values();
    tracks.flat_map(|t| t.receivers.clone()).collect()
}

fn sends_only(world: &World, seat: usize) -> bool {
    let mut tracks = world.seats[seat].client.signal.tracks.values();
    tracks.all(|t| t.send)
}

#[test]
fn media_of_another_room_is_played() {
    let (mut world, speaker, hearer, _) = linked_rooms();
    // Whoever comes first waits for the other.
    world.join(hearer);
    pass(&mut world, 1_000);
    assert_eq!(received(&world, hearer), 0);
    world.join(speaker);
    pass(&mut world, 4_000);
    assert!(
        received(&world, hearer) > 40,
        "{}",
        received(&world, hearer)
    );
    let known_as = format!("{}@{}", name(&world, hearer), world.spec(2).id);
    assert_eq!(receivers(&world, speaker), [known_as.clone(), known_as]);
    // A mute there is a mute here.
    let signal = &world.seats[speaker].client.signal;
    let mute = signal.update_send(Kind::Audio, None, Some(true));
    world.client_command(speaker, mute);
    pass(&mut world, 500);
    let tracks = world.seats[hearer].client.signal.tracks.values();
    assert_eq!(tracks.filter(|t| !t.send && t.muted).count(), 1);
    assert!(world.faults().is_empty(), "{:?}", world.faults());
}

#[test]
fn rooms_are_linked_and_parted_while_media_flows() {
    let (mut world, speaker, hearer, linked) = linked_rooms();
    world.join(speaker);
    world.join(hearer);
    pass(&mut world, 4_000);
    let deaf = RoomSpec {
        imports: BTreeMap::new(),
        members: BTreeMap::new(),
        open: world.spec(1).open.clone(),
        ..linked.clone()
    };
    world.configure(2, deaf);
    pass(&mut world, 500);
    assert_eq!(receivers(&world, speaker), Vec::<String>::new());
    assert!(sends_only(&world, hearer));
    world.configure(2, linked);
    pass(&mut world, 1_000);
    let before = received(&world, hearer);
    pass(&mut world, 1_000);
    assert!(received(&world, hearer) > before + 20);
    // The other room goes.
    world.leave(speaker);
    pass(&mut world, 500);
    assert!(sends_only(&world, hearer));
    assert!(world.faults().is_empty(), "{:?}", world.faults());
}
