//! What a subscriber has lost comes again at a pace its line can take, and all of it comes.

use colchis::error::DropReason;
use colchis::transport::pacer::BURST;

use crate::configure::{call, pass};
use crate::network::Link;

/// A large picture, as of a screen.
const PACKETS: usize = 60;
const BYTES: usize = 1000;
/// Pictures of the simulated camera are 200 ms apart: media of 2.4 Mbit/s, and 2.5 times that for what comes again.
const PACE_BPS: u64 = 6_000_000;

#[test]
fn a_lost_picture_comes_again_spread_out_and_whole() {
    let mut world = call();
    world.seats[0].client.picture = (PACKETS, BYTES);
    pass(&mut world, 4_000);
    let clean = world.seats[1].down;
    world.seats[1].client.lossless = false;
    world.seats[1].down = Link {
        loss_permille: 1000,
        ..clean
    };
    pass(&mut world, 200);
    world.seats[1].down = clean;
    let window = BURST;
    let (mut most, mut all) = (0, 0);
    for _ in 0..100 {
        let before = world.seats[1].client.tally.rtx;
        world.run_until(world.now + window);
        let came = world.seats[1].client.tally.rtx - before;
        most = most.max(came);
        all += came;
    }
    assert!(all >= PACKETS as u64, "only {all} packets came again");
    // What a burst and the pace of this window let through, and the datagram over it.
    let allowed = PACE_BPS * 2 * window.as_millis() as u64 / 8_000 / BYTES as u64 + 1;
    assert!(most <= allowed, "{most} of {all} packets within {window:?}");
    pass(&mut world, 1_000);
    let missing: u64 = world.seats[1]
        .client
        .current_streams()
        .filter(|s| s.video)
        .map(|s| s.sink.missing())
        .sum();
    assert_eq!(missing, 0, "{:?}", world.counters());
    assert_eq!(world.counters().drops_out[DropReason::RtxPaced as usize], 0);
    assert_eq!(world.faults(), Vec::<String>::new());
}
