//! What a fault costs (threats.md rule 10): a room its own call, a shard its rooms; and a member its own time only.

use std::time::Duration;

use colchis::faults::{Point, arm};

use crate::network::Link;
use crate::world::World;

/// Two rooms of two members each, media flowing.
fn calls() -> World {
    let mut world = World::new(11, 2, true);
    for room in [1, 1, 2, 2] {
        let link = Link::clean(20_000);
        let seat = world.seat(room, link, link);
        world.join(seat);
    }
    pass(&mut world, 4);
    for seat in 0..4 {
        assert!(video(&world, seat) > 20, "seat {seat} sees nobody");
    }
    world
}

fn pass(world: &mut World, seconds: u64) {
    world.run_until(world.now + Duration::from_secs(seconds));
}

/// Video packets a seat has received.
fn video(world: &World, seat: usize) -> u64 {
    let streams = world.seats[seat].client.streams.values();
    streams.filter(|s| s.video).map(|s| s.sink.received).sum()
}

fn left(world: &World, seat: usize) -> Option<&str> {
    world.seats[seat].client.signal.left.as_deref()
}

/// A fault in room 1 or 2: that room is closed and can be joined again, the other does not lose a packet.
fn costs_one_room(point: Point, provoke: impl FnOnce(&mut World)) {
    let mut world = calls();
    arm(point);
    provoke(&mut world);
    pass(&mut world, 2);
    assert_eq!(world.counters().rooms_panicked, 1, "{point:?}");
    let closed: Vec<usize> = (0..4)
        .filter(|seat| left(&world, *seat).is_some())
        .collect();
    assert!(
        closed == [0, 1] || closed == [2, 3],
        "{point:?} closed {closed:?}"
    );
    let others: Vec<usize> = (0..4).filter(|seat| !closed.contains(seat)).collect();
    let before: Vec<u64> = others.iter().map(|seat| video(&world, *seat)).collect();
    for seat in &closed {
        assert_eq!(left(&world, *seat), Some("InternalError"));
        world.seats[*seat].client.signal.reload();
        world.seats[*seat].client.drop_peer();
        world.join(*seat);
    }
    let gone: Vec<u64> = closed.iter().map(|seat| video(&world, *seat)).collect();
    pass(&mut world, 4);
    for (seat, before) in closed.iter().zip(gone) {
        assert!(
            video(&world, *seat) > before + 20,
            "seat {seat} is back and sees nobody"
        );
    }
    for (seat, before) in others.iter().zip(before) {
        assert!(
            video(&world, *seat) > before + 30,
            "seat {seat} noticed: {before} → {}",
            video(&world, *seat)
        );
        let streams = world.seats[*seat].client.streams.values();
        let missing: u64 = streams.map(|s| s.sink.missing()).sum();
        assert_eq!(missing, 0, "seat {seat} lost packets");
    }
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[test]
fn rule10_a_fault_at_a_command_costs_its_room_only() {
    costs_one_room(Point::Room, |world| {
        let kind = crate::support::sdp::Kind::Audio;
        let mute = world.seats[0]
            .client
            .signal
            .update_send(kind, None, Some(true));
        world.client_command(0, mute);
    });
}

#[test]
fn rule10_a_fault_at_a_packet_costs_its_room_only() {
    costs_one_room(Point::Media, |_| {});
}

#[test]
fn rule10_a_fault_of_forwarding_costs_its_room_only() {
    costs_one_room(Point::Forward, |_| {});
}

#[test]
fn rule10_a_fault_of_the_clock_costs_its_room_only() {
    costs_one_room(Point::Tick, |_| {});
}

#[test]
fn rule10_a_shard_starts_anew_and_its_members_come_back() {
    let mut world = calls();
    world.shard.restart();
    pass(&mut world, 1);
    let sizes = world.snapshot();
    assert_eq!(
        (sizes.rooms, sizes.transports, sizes.down_tracks),
        (0, 0, 0)
    );
    assert_eq!(world.counters().restarts, 1);
    for seat in 0..4 {
        world.seats[seat].client.signal.reload();
        world.seats[seat].client.drop_peer();
        world.join(seat);
    }
    let before: Vec<u64> = (0..4).map(|seat| video(&world, seat)).collect();
    pass(&mut world, 4);
    for (seat, before) in before.into_iter().enumerate() {
        assert!(
            video(&world, seat) > before + 20,
            "seat {seat} is back and sees nobody"
        );
    }
}
