//! How soon a newcomer sees a picture once it can be sent one.

use std::time::Duration;

use colchis::time::Time;

use crate::network::Link;
use crate::world::World;

const LINK_US: u64 = 20_000;

/// Joins a newcomer; how long it had its keys and no picture.
fn newcomer_waits(world: &mut World) -> Duration {
    let link = Link::clean(LINK_US);
    let late = world.seat(1, link, link);
    world.join(late);
    let end = world.now + Duration::from_secs(3);
    let (mut keys, mut picture): (Option<Time>, Option<Time>) = (None, None);
    while picture.is_none() {
        assert!(world.now < end, "no picture within 3 s, keys {keys:?}");
        world.run_until(world.now + Duration::from_millis(5));
        let client = &world.seats[late].client;
        if client.tally.handshakes > 0 {
            keys.get_or_insert(world.now);
        }
        if client
            .streams
            .values()
            .any(|s| s.video && s.sink.received > 0)
        {
            picture = Some(world.now);
        }
    }
    let waited = picture.unwrap_or_default().since(keys.unwrap_or_default());
    world.leave(late);
    waited
}

/// A key frame that is asked for before the newcomer has its keys is lost on it, and the next request would have to
/// wait half a second: the newcomer would stare at a black tile.
#[test]
fn the_first_picture_comes_one_round_trip_and_one_frame_after_the_keys() {
    let mut world = World::new(5, 1, true);
    let link = Link::clean(LINK_US);
    let first = world.seat(1, link, link);
    world.join(first);
    // Newcomers at every phase of the publisher's camera.
    for n in 0..10 {
        world.run_until(world.now + Duration::from_millis(1_500 + 10 * n));
        let waited = newcomer_waits(&mut world);
        // To the publisher and back again are 80 ms, its next frame is at most 100 ms away, and timers have their grain.
        assert!(
            waited <= Duration::from_millis(250),
            "newcomer {n} waited {waited:?} for a picture"
        );
    }
}
