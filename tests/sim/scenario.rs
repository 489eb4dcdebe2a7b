//! What a seed does to a shard: members come, go, mute, get lost, move; strangers and evil members send rubbish.
//!
//! After the storm a calm follows in which every member must hear and see every other; then all leave, and nothing
//! may be left behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use colchis::bus::spec::{PlaySpec, PublishPolicy, RoomSpec};
use colchis::time::Time;
use rand_core::RngCore;

use crate::client::{Stream, timestamp_base};
use crate::network::Link;
use crate::support::sdp::Kind;
use crate::world::World;

/// Length of the calm.
const CALM: Duration = Duration::from_secs(12);
/// Lip-sync: audio and video of one member may be this far apart, µs (ITU-R BT.1359: 45 ms is the first to be seen).
const LIP_SYNC_US: i64 = 40_000;

/// What a run came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of everything the shard sent and said.
    pub hash: u64,
    /// Events of the world.
    pub steps: u64,
    /// Datagrams the shard took in.
    pub datagrams_in: u64,
    /// Media packets clients received.
    pub received: u64,
    /// Media packets that came by retransmission.
    pub recovered: u64,
    /// Packets that came with padding.
    pub padded: u64,
    /// Handshakes finished.
    pub handshakes: u64,
    /// Datagrams dropped.
    pub drops: u64,
}

/// Runs one seed for `seconds` of virtual time, calm included.
///
/// # Panics
/// When an invariant breaks.
pub fn run(seed: u64, seconds: u64) -> Outcome {
    let mut world = World::new(seed, 1 + (seed % 2) as u16, !seed.is_multiple_of(4));
    let end = world.now + Duration::from_secs(seconds);
    people(&mut world);
    let storm = end - CALM;
    while world.now < storm {
        let pause = 100_000 + u64::from(world.rng.next_u32() % 1_500_000);
        let until = (world.now + Duration::from_micros(pause)).min(storm);
        world.run_until(until);
        act(&mut world);
        rejoin_failed(&mut world);
        crate::description::check(&world.shard);
        assert_no_faults(&world);
    }
    calm(&mut world, end);
    let mut outcome = outcome(&world);
    all_leave(&mut world);
    outcome.hash = world.hash;
    outcome
}

fn people(world: &mut World) {
    let rooms = 1 + world.rng.next_u32() % 2;
    let count = 3 + world.rng.next_u32() % 4;
    for n in 0..count {
        let room = 1 + (n % rooms) as u16;
        let room = room.min(world.rooms());
        let (up, down) = (Link::draw(&mut world.rng), Link::draw(&mut world.rng));
        let seat = world.seat(room, up, down);
        // Evil ones are few, and never alone in their room.
        world.seats[seat].evil = n > 0 && world.rng.next_u32().is_multiple_of(6);
    }
    world.join(0);
}

fn assert_no_faults(world: &World) {
    let faults = world.faults();
    let first = faults.iter().take(4).collect::<Vec<_>>();
    assert!(
        faults.is_empty(),
        "{:?}: {} faults: {first:#?}",
        world.now,
        faults.len()
    );
}

fn act(world: &mut World) {
    let draw = world.rng.next_u32();
    let seat = (draw / 64) as usize % world.seats.len();
    let joined = world.seats[seat].client.signal.joined.is_some();
    let listening = world.seats[seat].session.is_some();
    match draw % 20 {
        _ if !world.seats[seat].present => world.join(seat),
        0 => world.leave(seat),
        1 => lose_and_return(world, seat, false),
        2 => lose_and_return(world, seat, true),
        3..=8 if joined && listening => patch(world, seat),
        9 => {
            let number = world.seats[seat].client.number;
            let (now, address) = (world.now, world.new_address(number));
            world.seats[seat].client.lossless = false;
            world.seats[seat].client.move_to(now, address);
        }
        10 => {
            let mut out = Vec::new();
            world.seats[seat].client.ask_key_frames(&mut out);
            world.send_from(seat, out);
        }
        11..=13 => crate::attack::stranger(world),
        14..=15 => crate::attack::spoof(world, seat),
        16 => crate::attack::replay(world, seat),
        17..=18 if world.seats[seat].evil => crate::attack::evil(world, seat),
        19 => reconfigure(world, seat),
        _ => {}
    }
}

/// The room of `seat` is given another spec: less to send, nothing to receive, media that must be sent, or all of it.
fn reconfigure(world: &mut World, seat: usize) {
    let room = world.seats[seat].client.room;
    let draw = world.rng.next_u32();
    let policy = |n: u32| match n % 3 {
        0 => PublishPolicy::Optional,
        1 => PublishPolicy::Required,
        _ => PublishPolicy::Disabled,
    };
    let play = match draw.is_multiple_of(8) {
        true => PlaySpec::Only(BTreeMap::new()),
        false => PlaySpec::Everyone,
    };
    give(world, room, policy(draw / 2), policy(draw / 8), play);
}

/// The room is as it was in the beginning.
fn restore(world: &mut World, room: u16) {
    let optional = PublishPolicy::Optional;
    give(world, room, optional, optional, PlaySpec::Everyone);
}

/// Another spec for the members of a room.
fn give(world: &mut World, room: u16, audio: PublishPolicy, video: PublishPolicy, play: PlaySpec) {
    let whole = world.spec(room);
    let open = whole.open.as_deref();
    let mut member = open.expect("rooms of the simulation are open").clone();
    for publish in member.publish.values_mut() {
        (publish.audio, publish.video) = (audio, video);
    }
    member.play = play;
    let spec = RoomSpec {
        open: Some(Arc::new(member)),
        ..RoomSpec::clone(&whole)
    };
    world.configure(room, spec);
}

/// The socket goes; the member comes back, with what it had or as a reloaded page.
fn lose_and_return(world: &mut World, seat: usize, reload: bool) {
    world.lose(seat);
    let pause = u64::from(world.rng.next_u32() % 3_000_000);
    world.run_until(world.now + Duration::from_micros(pause));
    if reload {
        let signal = &mut world.seats[seat].client.signal;
        signal.reload();
        world.seats[seat].client.drop_peer();
    }
    world.join(seat);
}

/// A page whose connection has failed leaves and joins again.
fn rejoin_failed(world: &mut World) {
    let failed = |seat: &crate::world::Seat| seat.client.failed && seat.session.is_some();
    for seat in 0..world.seats.len() {
        if failed(&world.seats[seat]) {
            lose_and_return(world, seat, true);
        }
    }
}

fn patch(world: &mut World, seat: usize) {
    let draw = world.rng.next_u32();
    let kind = if draw & 1 == 0 {
        Kind::Audio
    } else {
        Kind::Video
    };
    let on = draw & 2 == 0;
    let signal = &world.seats[seat].client.signal;
    if signal.peer.is_none() {
        return;
    }
    let command = match draw / 4 % 3 {
        0 => signal.update_send(kind, None, Some(on)),
        1 => signal.update_send(kind, Some(on), None),
        _ => signal.update_recv(kind, on),
    };
    world.client_command(seat, command);
}

/// Everybody comes (back), enables everything, on good links; then all must hear and see all.
fn calm(world: &mut World, end: Time) {
    for room in 1..=world.rooms() {
        restore(world, room);
    }
    for seat in 0..world.seats.len() {
        world.seats[seat].up = Link::clean(10_000);
        world.seats[seat].down = Link::clean(15_000);
        if !world.seats[seat].present || world.seats[seat].session.is_none() {
            world.join(seat);
        }
    }
    rejoin_failed(world);
    world.run_until(end - Duration::from_secs(8));
    for seat in 0..world.seats.len() {
        let signal = &world.seats[seat].client.signal;
        let all = [Kind::Audio, Kind::Video];
        let commands = all.map(|k| {
            [
                signal.update_send(k, Some(true), Some(false)),
                signal.update_recv(k, true),
            ]
        });
        for command in commands.into_iter().flatten() {
            world.client_command(seat, command);
        }
    }
    world.run_until(end - Duration::from_secs(4));
    let before = heard(world);
    world.run_until(end);
    assert_no_faults(world);
    let after = heard(world);
    for (pair, [audio, video]) in expected_pairs(world)
        .into_iter()
        .map(|p| (p, after.get(&p).copied().unwrap_or_default()))
    {
        let [audio_before, video_before] = before.get(&pair).copied().unwrap_or_default();
        assert!(
            audio > audio_before + 20 && video > video_before + 10,
            "{} hears of {}: audio {audio_before} → {audio}, video {video_before} → {video}",
            world.seats[pair.0].client.signal.member,
            world.seats[pair.1].client.signal.member,
        );
    }
    lip_sync(world);
}

/// (receiver, sender) → audio and video packets.
fn heard(world: &World) -> BTreeMap<(usize, usize), [u64; 2]> {
    let mut out = BTreeMap::new();
    for (at, seat) in world.seats.iter().enumerate() {
        for stream in seat.client.streams.values() {
            let sender = world
                .seats
                .iter()
                .position(|s| s.client.signal.member == stream.sender);
            let Some(sender) = sender else { continue };
            let entry: &mut [u64; 2] = out.entry((at, sender)).or_default();
            entry[usize::from(stream.video)] += stream.sink.received;
        }
    }
    out
}

fn expected_pairs(world: &World) -> Vec<(usize, usize)> {
    let seats = &world.seats;
    let honest = |at: usize| !seats[at].evil;
    let all = (0..seats.len()).flat_map(|a| (0..seats.len()).map(move |b| (a, b)));
    all.filter(|(a, b)| a != b && honest(*a) && honest(*b))
        .filter(|(a, b)| seats[*a].client.room == seats[*b].client.room)
        .collect()
}

/// Difference between when a stream's last packet was captured and when its sender report says so, µs.
fn skew(stream: &Stream, number: u16) -> Option<i64> {
    let (ntp, rtp) = stream.report?;
    let (source, received) = stream.last?;
    let rate = if stream.video { 90_000 } else { 48_000 };
    let captured = i64::from(source.wrapping_sub(timestamp_base(number, stream.video)));
    let since_report = i64::from(received.wrapping_sub(rtp) as i32) * 1_000_000 / rate;
    let told = colchis::time::ntp_to_micros(ntp.wrapping_sub(0xE000_0000_0000_0000)) as i64;
    Some(told + since_report - captured * 1_000_000 / rate)
}

fn lip_sync(world: &World) {
    for seat in world.seats.iter().filter(|s| !s.evil) {
        for video in seat.client.current_streams().filter(|s| s.video) {
            let Some(sender) = world
                .seats
                .iter()
                .find(|s| s.client.signal.member == video.sender)
            else {
                continue;
            };
            let audio = seat
                .client
                .current_streams()
                .find(|s| !s.video && s.sender == video.sender);
            let number = sender.client.number;
            let Some((video_skew, audio_skew)) =
                skew(video, number).zip(audio.and_then(|a| skew(a, number)))
            else {
                continue;
            };
            let apart = video_skew - audio_skew;
            assert!(
                apart.abs() < LIP_SYNC_US,
                "{}: lips of {} are {apart} µs off",
                seat.client.signal.member,
                video.sender
            );
        }
    }
}

fn outcome(world: &World) -> Outcome {
    let counters = world.counters();
    let tallies = world.seats.iter().map(|s| s.client.tally);
    Outcome {
        hash: world.hash,
        steps: world.steps,
        datagrams_in: counters.datagrams_in,
        received: tallies.clone().map(|t| t.received).sum(),
        recovered: tallies.clone().map(|t| t.rtx).sum(),
        padded: tallies.clone().map(|t| t.padded).sum(),
        handshakes: tallies.map(|t| t.handshakes).sum(),
        drops: counters.drops_in.iter().sum(),
    }
}

/// Everybody leaves: every slab is empty again (G12 in small).
fn all_leave(world: &mut World) {
    for seat in 0..world.seats.len() {
        world.leave(seat);
    }
    world.run_until(world.now + Duration::from_secs(2));
    let s = world.snapshot();
    let left = [s.rooms, s.members, s.transports, s.up_tracks, s.down_tracks];
    assert_eq!(
        left, [0; 5],
        "rooms, members, transports, up and down tracks left behind"
    );
    assert_no_faults(world);
}
