//! A whole shard forwarding one publisher's video to N subscribers, in ns and allocations per (packet × subscriber),
//! beside the bare cost of the same copies and seals in the same run.
//!
//! `cargo bench --bench shard`. The clients are those of the simulation: real ICE, DTLS and SRTP; nothing is sent.

#[path = "../tests/support/counting.rs"]
mod counting;

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "../tests/sim/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../tests/sim/dtls.rs"]
mod dtls;
#[path = "../tests/sim/make.rs"]
mod make;
#[path = "../tests/sim/network.rs"]
#[allow(dead_code)]
mod network;
#[path = "../tests/sim/world.rs"]
#[allow(dead_code)]
mod world;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use colchis::limits::FORWARD_DATAGRAMS;
use colchis::shard::Shard;
use colchis::time::Time;
use colchis::transmit::TransmitQueue;
use colchis::transport::srtp::{MasterKey, Outbound, SrtpProfile};
use colchis::wire::rtp::RtpHeader;
use counting::allocations;
use make::make_shard;
use network::Link;
use world::World;

/// Payload of a packet, bytes: with header and tag about 1200 on the wire.
const PAYLOAD: usize = 1160;
/// Packets of one round.
const PACKETS: usize = 400;
/// Rounds; the median counts.
const ROUNDS: usize = 15;
/// Virtual time for joining, handshakes and first key frames.
const SETUP: Duration = Duration::from_secs(6);

/// A room of `subscribers` + 1 members whose media flows.
fn call(subscribers: usize) -> World {
    let mut world = World::new(1, 1, true);
    for _ in 0..=subscribers {
        let seat = world.seat(1, Link::clean(1_000), Link::clean(1_000));
        world.join(seat);
    }
    let end = world.now + SETUP;
    world.run_until(end);
    world
}

/// What the publisher's next packets look like.
struct Publisher {
    header: RtpHeader,
}

impl Publisher {
    fn of(world: &World) -> Self {
        let newest = world.seats[0].client.history.iter().rev();
        let header = newest
            .filter_map(|sealed| RtpHeader::parse(sealed).ok())
            .find(|header| header.header_len > 12 && header.payload_type != 111)
            .expect("the publisher has sent video");
        Self { header }
    }

    /// A sealed delta packet of VP8, in sequence.
    fn next(&mut self, world: &mut World) -> Vec<u8> {
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(1500);
        let mut plain = vec![0x80, self.header.payload_type];
        plain.extend(self.header.sequence.to_be_bytes());
        plain.extend(self.header.timestamp.to_be_bytes());
        plain.extend(self.header.ssrc.to_be_bytes());
        // VP8 descriptor with a 15-bit picture id, and a delta frame's first byte.
        plain.extend([0x90, 0x80, 0x80, self.header.sequence as u8, 0x01]);
        plain.resize(12 + PAYLOAD, 0x5a);
        let mut out = Vec::new();
        world.seats[0].client.seal_hostile(&plain, &mut out);
        out.pop().expect("keys are there")
    }
}

/// How packets of a batch are forwarded.
#[derive(Clone, Copy)]
enum Way {
    /// Each to all subscribers before the next, all copies of the batch leaving at the end.
    OneByOne,
    /// All to one subscriber before the next, copies leaving in portions: as a shard does it.
    Together,
}

/// Takes a batch in and forwards it.
fn handle(
    shard: &mut Shard,
    batch: &mut [Vec<u8>],
    (now, from): (Time, SocketAddr),
    way: Way,
    tx: &mut TransmitQueue,
) {
    for packet in batch {
        shard.take_in(now, from, packet, 0, tx);
        if let Way::OneByOne = way {
            shard.forward(now, tx, usize::MAX);
        }
    }
    while shard.forward(now, tx, FORWARD_DATAGRAMS) {
        black_box(tx.len());
        tx.clear();
    }
    black_box(tx.len());
    tx.clear();
}

/// ns and allocations per (packet × subscriber), and copies sent per packet.
fn forward(subscribers: usize, batch: usize, way: Way) -> (f64, f64, f64) {
    let mut world = call(subscribers);
    let mut publisher = Publisher::of(&world);
    let from = world.seats[0].client.address;
    let mut tx = TransmitQueue::default();
    let mut times = Vec::new();
    let (mut made, mut copies) = (0, 0);
    for round in 0..ROUNDS {
        let mut packets: Vec<Vec<u8>> = (0..PACKETS).map(|_| publisher.next(&mut world)).collect();
        let now = world.now + Duration::from_millis(round as u64);
        let before = world.shard.counters().packets_forwarded;
        let allocated = allocations();
        let start = Instant::now();
        for packets in packets.chunks_mut(batch) {
            handle(&mut world.shard, packets, (now, from), way, &mut tx);
        }
        let took = start.elapsed();
        let sent = world.shard.counters().packets_forwarded - before;
        if round > 0 {
            made += allocations() - allocated;
            copies += sent;
        }
        times.push(took.as_nanos() as f64 / sent.max(1) as f64);
    }
    times.sort_by(f64::total_cmp);
    let per_copy = copies as f64;
    (
        times[ROUNDS / 2],
        made as f64 / per_copy,
        per_copy / (PACKETS * (ROUNDS - 1)) as f64,
    )
}

/// ns for a copy of the payload and its seal, nothing else: the floor.
fn bare(profile: SrtpProfile, subscribers: usize) -> f64 {
    let key = vec![7; profile.key_len()];
    let salt = vec![9; profile.salt_len()];
    let master = MasterKey::new(profile, &key, &salt).expect("lengths of the profile");
    let mut seals: Vec<Outbound> = (0..subscribers)
        .map(|_| Outbound::new(profile, &master).expect("keys"))
        .collect();
    let mut payload = vec![0x5a; 12 + PAYLOAD];
    payload[0] = 0x80;
    let mut slots = vec![[0_u8; 1500]; subscribers];
    let mut times = Vec::new();
    let mut sequence = 0_u16;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..PACKETS {
            sequence = sequence.wrapping_add(1);
            payload[2..4].copy_from_slice(&sequence.to_be_bytes());
            for (seal, slot) in seals.iter_mut().zip(&mut slots) {
                slot[..payload.len()].copy_from_slice(&payload);
                let sealed = seal.seal_rtp(slot, 12, payload.len());
                black_box(sealed.expect("sealed"));
            }
        }
        times.push(start.elapsed().as_nanos() as f64 / (PACKETS * subscribers) as f64);
    }
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn main() {
    println!(
        "whole shard, one publisher, {PAYLOAD}-byte payloads; per (packet × subscriber), medians of {ROUNDS} rounds"
    );
    println!(
        "{:>12} {:>6} {:>12} {:>10} {:>14} {:>12} {:>10} {:>8}",
        "subscribers", "batch", "forwarded", "ns", "copy+seal ns", "ratio", "allocs", "copies"
    );
    for subscribers in [1, 8, 32, 128] {
        for (batch, way) in [(1, Way::Together), (8, Way::OneByOne), (8, Way::Together)] {
            let (ns, allocations, copies) = forward(subscribers, batch, way);
            let floor = bare(SrtpProfile::AeadAes256Gcm, subscribers);
            let name = match way {
                Way::OneByOne => "one by one",
                Way::Together => "together",
            };
            println!(
                "{subscribers:>12} {batch:>6} {name:>12} {ns:>10.0} {floor:>14.0} {:>12.2} {allocations:>10.3} {copies:>8.1}",
                ns / floor
            );
        }
    }
}
