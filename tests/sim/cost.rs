//! The shard's time is divided among its rooms by their packets, and a closed room is in no figure any more.

use std::time::Duration;

use colchis::id::RoomId;
use colchis::metrics::{Busy, RoomCost};

use crate::network::Link;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// What each room has cost, after the shard was told that packets took it `busy` of the last second.
fn costs(world: &mut World, busy: Duration) -> Vec<(RoomId, RoomCost)> {
    world.shard.attribute(busy, SECOND);
    world.shard.snapshot(Busy::default(), 0.0).costly
}

#[test]
fn a_room_with_more_copies_costs_more_and_all_rooms_what_the_shard_works() {
    let mut world = World::new(11, 2, true);
    let clean = Link::clean(10_000);
    for room in [1, 1, 2, 2, 2, 2] {
        let seat = world.seat(room, clean, clean);
        world.join(seat);
    }
    world.run_until(world.now + 5 * SECOND);
    let busy = Duration::from_millis(600);
    let told = costs(&mut world, busy);
    let [(_, large), (_, small)] = told.as_slice() else {
        panic!("two rooms: {told:?}");
    };
    // Four who all see each other are 12 copies, two are 2.
    assert!(large.busy_ratio > 3.0 * small.busy_ratio, "{told:?}");
    let sum = large.busy_ratio + small.busy_ratio;
    assert!((sum - 0.6).abs() < 1e-6, "{sum}");
    assert!((large.busy_s + small.busy_s - 0.6).abs() < 1e-6);
    let counters = *world.shard.counters();
    assert_eq!(
        large.datagrams_sent + small.datagrams_sent,
        counters.packets_forwarded + counters.packets_retransmitted
    );
    assert_eq!(
        large.datagrams_received + small.datagrams_received,
        counters.datagrams_in
    );

    for seat in 2..6 {
        world.leave(seat);
    }
    world.run_until(world.now + 5 * SECOND);
    let told = costs(&mut world, busy);
    assert_eq!(told.len(), 1, "the other room is closed: {told:?}");
    assert!((told[0].1.busy_ratio - 0.6).abs() < 1e-6, "{told:?}");
}
