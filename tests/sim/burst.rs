//! Packets that are taken in together and forwarded one subscriber after another: nothing is lost, doubled or sent to
//! the wrong one, wherever forwarding stops and whatever comes in between. The clients compare every byte.

use std::net::SocketAddr;
use std::time::Duration;

use colchis::bus::client::CloseReason;
use colchis::bus::shard::ShardCommand;
use colchis::error::DropReason;
use colchis::id::MemberId;
use colchis::limits::{BURST_PACKETS_MAX, FORWARD_DATAGRAMS};
use colchis::time::Time;
use colchis::transmit::TransmitQueue;

use crate::network::Link;
use crate::world::World;

/// Everything of a flush, in order.
type Flush = Vec<(SocketAddr, Vec<u8>)>;

/// A room of `members` whose media flows, and of which nothing is under way.
fn call(members: usize) -> World {
    let mut world = World::new(21, 1, true);
    for _ in 0..members {
        let seat = world.seat(1, Link::clean(1_000), Link::clean(1_000));
        world.join(seat);
    }
    world.run_until(world.now + Duration::from_secs(5));
    publish(&mut world, false);
    world.run_until(world.now + Duration::from_millis(100));
    publish(&mut world, true);
    world
}

fn publish(world: &mut World, publishing: bool) {
    let seats = world.seats.iter_mut();
    seats.for_each(|seat| seat.client.publishing = publishing);
}

/// Whether it is SRTP (RFC 5761 section 4).
fn is_media(bytes: &[u8]) -> bool {
    matches!(bytes, [128..=191, kind, ..] if !(192..=223).contains(kind))
}

/// The next packets of a seat's media, `count` or some more.
fn media(world: &mut World, seat: usize, count: usize) -> Vec<Vec<u8>> {
    let (mut all, mut at) = (Vec::new(), world.now);
    while all.len() < count {
        let mut out = Vec::new();
        at = at.max(world.seats[seat].client.poll_timeout());
        let client = &mut world.seats[seat].client;
        client.handle_timeout(at, &mut world.rng, &mut out);
        all.extend(out.into_iter().filter(|bytes| is_media(bytes)));
    }
    all
}

fn take_in(world: &mut World, seat: usize, packets: Vec<Vec<u8>>, tx: &mut TransmitQueue) {
    let (now, from) = (world.now, world.seats[seat].client.address);
    for mut packet in packets {
        world.shard.take_in(now, from, &mut packet, 0, tx);
    }
}

fn flushed(tx: &mut TransmitQueue) -> Flush {
    let all = tx.iter().map(|(to, bytes)| (to, bytes.to_vec())).collect();
    tx.clear();
    all
}

/// Forwards in portions of `most` and somewhat more.
fn forward(world: &mut World, most: usize, tx: &mut TransmitQueue) -> Vec<Flush> {
    let mut portions = Vec::new();
    while world.shard.forward(world.now, tx, most) {
        portions.push(flushed(tx));
    }
    portions.push(flushed(tx));
    portions
}

/// Lets the clients judge what they are sent.
fn deliver(world: &mut World, flushes: Vec<Flush>) {
    let now: Time = world.now;
    for (to, bytes) in flushes.into_iter().flatten() {
        let seat = world.seats.iter_mut().find(|s| s.client.address == to);
        let client = &mut seat.expect("a member").client;
        client.handle_datagram(now, now, bytes, &mut Vec::new());
    }
    assert_eq!(world.faults(), Vec::<String>::new());
    for seat in &world.seats {
        let streams = seat.client.streams.values();
        assert_eq!(streams.map(|s| s.sink.missing()).sum::<u64>(), 0);
    }
    world.check_counters();
}

#[test]
fn copies_of_a_subscriber_are_neighbours_and_forwarding_goes_on_where_it_stopped() {
    for most in [1, 5, FORWARD_DATAGRAMS, usize::MAX] {
        let mut world = call(5);
        let mut tx = TransmitQueue::default();
        let packets = media(&mut world, 0, 9);
        let count = packets.len();
        let before = world.counters().packets_forwarded;
        take_in(&mut world, 0, packets, &mut tx);
        assert!(tx.is_empty(), "nothing leaves before it is forwarded");
        let portions = forward(&mut world, most, &mut tx);
        let copies: Vec<&(SocketAddr, Vec<u8>)> = portions.iter().flatten().collect();
        assert_eq!(copies.len(), 4 * count);
        assert_eq!(
            world.counters().packets_forwarded,
            before + 4 * count as u64
        );
        for portion in &portions {
            assert!(portion.len() < most.saturating_add(count), "{most}");
        }
        // Audio and video are a run each.
        let changes = copies.windows(2).filter(|w| w[0].0 != w[1].0).count();
        assert!(changes < 2 * 4, "{changes} changes of the destination");
        assert!(portions.len() > 1 || most > copies.len(), "{most}");
        deliver(&mut world, portions);
    }
}

#[test]
fn tracks_of_several_publishers_are_not_mixed() {
    let mut world = call(4);
    let mut tx = TransmitQueue::default();
    let from_one = media(&mut world, 1, 6);
    let from_two = media(&mut world, 2, 6);
    let count = from_one.len() + from_two.len();
    let mut rest = from_two.into_iter();
    for packet in from_one {
        take_in(&mut world, 1, vec![packet], &mut tx);
        take_in(&mut world, 2, rest.next().into_iter().collect(), &mut tx);
    }
    take_in(&mut world, 2, rest.collect(), &mut tx);
    let portions = forward(&mut world, 2, &mut tx);
    assert_eq!(portions.iter().flatten().count(), 3 * count);
    deliver(&mut world, portions);
}

#[test]
fn more_than_a_burst_holds_is_forwarded_first() {
    let mut world = call(3);
    let mut tx = TransmitQueue::default();
    let packets = media(&mut world, 0, 2 * BURST_PACKETS_MAX + 1);
    let count = packets.len();
    take_in(&mut world, 0, packets, &mut tx);
    assert!(!tx.is_empty());
    let portions = forward(&mut world, usize::MAX, &mut tx);
    assert_eq!(portions.iter().flatten().count(), 2 * count);
    deliver(&mut world, portions);
}

#[test]
fn who_leaves_meanwhile_has_had_everything_and_the_others_lose_nothing() {
    let mut world = call(4);
    let mut tx = TransmitQueue::default();
    let packets = media(&mut world, 0, 9);
    let count = packets.len();
    take_in(&mut world, 0, packets, &mut tx);
    assert!(world.shard.forward(world.now, &mut tx, 1));
    let leave = ShardCommand::Leave {
        room: world.spec(1).id.clone(),
        member: MemberId::new(&world.seats[2].client.signal.member).unwrap(),
        reason: CloseReason::Finished,
    };
    world.shard.handle_command(world.now, leave, &mut tx);
    let sent = flushed(&mut tx);
    assert!(!world.shard.forward(world.now, &mut tx, 1) && tx.is_empty());
    let (media, _): (Flush, Flush) = sent.into_iter().partition(|(_, bytes)| is_media(bytes));
    assert_eq!(media.len(), 3 * count, "the command has waited for them");
    deliver(&mut world, vec![media]);
}

#[test]
fn without_room_for_a_copy_no_number_is_given_out() {
    let mut world = call(3);
    let mut tx = TransmitQueue::with_slots(5);
    let packets = media(&mut world, 0, 9);
    let copies = 2 * packets.len();
    take_in(&mut world, 0, packets, &mut tx);
    assert!(!world.shard.forward(world.now, &mut tx, usize::MAX));
    let full = world.counters().drops_out[DropReason::TransmitFull as usize];
    assert_eq!((tx.len(), full as usize), (5, copies - 5));
}
