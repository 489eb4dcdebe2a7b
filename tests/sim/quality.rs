//! Members hear how well the others are connected, when that changes.

use std::time::Duration;

use crate::network::Link;
use crate::world::World;

fn pass(world: &mut World, seconds: u64) {
    world.run_until(world.now + Duration::from_secs(seconds));
}

/// What `seat` was last told of its partner.
fn told(world: &World, seat: usize) -> Vec<&str> {
    let quality = &world.seats[seat].client.signal.quality;
    quality.values().map(String::as_str).collect()
}

#[test]
fn a_bad_way_up_is_told_to_who_receives_and_passes() {
    let mut world = World::new(3, 1, true);
    let clean = Link::clean(10_000);
    for _ in 0..2 {
        let seat = world.seat(1, clean, clean);
        world.join(seat);
    }
    pass(&mut world, 8);
    assert_eq!(
        (told(&world, 0), told(&world, 1)),
        (vec!["High"], vec!["High"])
    );
    world.seats[0].up = Link {
        loss_permille: 250,
        ..clean
    };
    pass(&mut world, 8);
    assert_eq!(
        told(&world, 0),
        ["High"],
        "what comes to the first is as good as before"
    );
    let seen = told(&world, 1);
    assert!(
        seen != ["High"] && seen.len() == 1,
        "a quarter of what it sends is lost: {seen:?}"
    );
    world.seats[0].up = clean;
    pass(&mut world, 8);
    assert_eq!(told(&world, 1), ["High"], "and well again");
}
