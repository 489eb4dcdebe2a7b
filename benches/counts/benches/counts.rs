//! Instructions of one packet's way through the shard, counted by valgrind: the same on every machine, whatever else runs.
//! A count above its ceiling is an error. `scripts/counts.sh`.
//!
//! valgrind has no AVX-512, so the cipher's count is that of AVX2 machines.

use std::hint::black_box;

use colchis::media::{
    DownCodec, DownNegotiated, DownTrack, DownTrackConfig, Received, Stamp, UpCodec, UpTrack,
    UpTrackConfig,
};
use colchis::time::Time;
use colchis::transport::srtp::{MasterKey, Outbound, SrtpProfile};
use colchis::wire::demux::classify;
use colchis::wire::rtp::{
    ExtensionKind, ExtensionMap, Extensions, HeaderFields, HeaderWriter, RtpHeader,
};
use colchis::wire::sdp::CodecFormat;
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

const PAYLOAD_BYTES: usize = 1184;
const SUBSCRIBERS: u32 = 32;
/// Packets before the one that counts: whatever is set up once is set up by then.
const WARM_UP: u16 = 64;

fn extensions() -> ExtensionMap {
    [
        (2, ExtensionKind::AbsSendTime),
        (3, ExtensionKind::TransportCc),
        (4, ExtensionKind::Mid),
    ]
    .into_iter()
    .collect()
}

/// A publisher's VP8 packet.
fn packet(sequence: u16) -> Vec<u8> {
    let mut header = HeaderWriter::new(HeaderFields {
        payload_type: 96,
        sequence,
        timestamp: u32::from(sequence / 8) * 3000,
        ssrc: 1,
        ..HeaderFields::default()
    });
    header.push(2, &[1, 2, 3]);
    header.push(3, &[4, 5]);
    let mut packet = vec![0; 100];
    let len = header.write(&mut packet).expect("room for a header");
    packet.truncate(len);
    let [p0, p1] = ((sequence / 8) | 0x8000).to_be_bytes();
    let key = if sequence == 0 { 0x10 } else { 0x11 };
    packet.extend_from_slice(&[0x90, 0x80, p0, p1, key, 0, 0, 0x9d, 1, 0x2a]);
    packet.resize(len + PAYLOAD_BYTES, 0x5a);
    packet
}

struct Room {
    up: UpTrack,
    downs: Vec<(DownTrack, Outbound)>,
    next: u16,
    slot: Vec<u8>,
    payload: Vec<u8>,
}

fn outbound() -> Outbound {
    let profile = SrtpProfile::AeadAes256Gcm;
    let key = MasterKey::new(profile, &[7; 32], &[9; 12]).expect("lengths of the profile");
    Outbound::new(profile, &key).expect("a key")
}

fn down(ssrc: u32) -> DownTrack {
    let mut down = DownTrack::new(DownTrackConfig {
        ssrc,
        rtx_ssrc: Some(ssrc + 1000),
        first_sequence: 1,
        first_timestamp: 1,
        first_rtx_sequence: 1,
    });
    down.set_negotiated(&DownNegotiated {
        codecs: vec![DownCodec {
            format: CodecFormat::Vp8,
            payload_type: 100,
            rtx_payload_type: Some(101),
        }],
        extensions: extensions(),
        mid: "s12".to_owned(),
    });
    down
}

impl Room {
    fn new() -> Self {
        Self {
            up: UpTrack::new(UpTrackConfig {
                id: 1,
                video: true,
                codecs: vec![UpCodec {
                    format: CodecFormat::Vp8,
                    payload_type: 96,
                    rtx_payload_type: Some(97),
                }],
                nack: true,
            }),
            downs: (0..SUBSCRIBERS).map(|n| (down(n), outbound())).collect(),
            next: 0,
            slot: vec![0; 1500],
            payload: vec![0; 1500],
        }
    }

    fn take(&mut self, packet: &[u8], fan_out: bool) {
        let now = Time::from_micros(u64::from(self.next) * 500);
        black_box(classify(packet));
        let header = RtpHeader::parse(packet).expect("a header");
        let located = Extensions::locate(packet, &header, &extensions()).expect("extensions");
        let received = self.up.handle_rtp(now, packet, &header, &located);
        let received = received.expect("a good packet");
        if fan_out {
            let stamp = Stamp {
                now,
                transport_sequence: Some(self.next),
                padding: false,
            };
            let payload = &mut self.payload[..received.payload.len()];
            payload.copy_from_slice(received.payload);
            for (down, seal) in &mut self.downs {
                copy(down, seal, &received, payload, &stamp, &mut self.slot);
            }
        }
        self.next += 1;
    }
}

/// As the shard makes a copy (`room::machine::receive`).
fn copy(
    down: &mut DownTrack,
    seal: &mut Outbound,
    received: &Received<'_>,
    payload: &mut [u8],
    stamp: &Stamp,
    slot: &mut [u8],
) {
    let rewrite = down.forward(&received.fields).expect("it is forwarded");
    let header = down.write_header(&rewrite, &received.fields, &[], stamp, slot);
    rewrite.patch.apply(payload);
    let sealed = seal.seal_rtp_from(slot, header.expect("a header"), payload);
    black_box(sealed.expect("a sealed packet"));
}

fn warm() -> (Room, Vec<u8>) {
    let mut room = Room::new();
    for sequence in 0..WARM_UP {
        room.take(&packet(sequence), true);
    }
    (room, packet(WARM_UP))
}

/// About a tenth above what was counted when it was set: compilers differ a little.
fn ceiling(instructions: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    let callgrind = Callgrind::with_args(["--cache-sim=no"]);
    config.tool(callgrind_limit(callgrind, instructions));
    config
}

fn callgrind_limit(mut callgrind: Callgrind, instructions: u64) -> Callgrind {
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    callgrind
}

#[library_benchmark(config = ceiling(1_900))]
#[bench::one(warm())]
fn demux_and_take_in((mut room, packet): (Room, Vec<u8>)) -> Room {
    room.take(black_box(&packet), false);
    room
}

#[library_benchmark(config = ceiling(175_000))]
#[bench::one(warm())]
fn fan_out_to_32((mut room, packet): (Room, Vec<u8>)) -> Room {
    room.take(black_box(&packet), true);
    room
}

fn sealer() -> (Outbound, Vec<u8>, Vec<u8>) {
    let mut seal = outbound();
    let mut slot = packet(1);
    slot.resize(1500, 0);
    let payload = vec![7; PAYLOAD_BYTES];
    seal.seal_rtp_from(&mut slot, 28, &payload)
        .expect("sealing");
    slot[3] = 2;
    (seal, slot, payload)
}

#[library_benchmark(config = ceiling(5_750))]
#[bench::one(sealer())]
fn seal_1200((mut seal, mut slot, payload): (Outbound, Vec<u8>, Vec<u8>)) -> (Outbound, Vec<u8>) {
    black_box(
        seal.seal_rtp_from(&mut slot, 28, &payload)
            .expect("sealing"),
    );
    (seal, slot)
}

fn decider() -> (Room, Vec<u8>, Time) {
    let (room, packet) = warm();
    (room, packet, Time::from_micros(u64::from(WARM_UP) * 500))
}

#[library_benchmark(config = ceiling(20_300))]
#[bench::one(decider())]
fn rewrite_for_32((mut room, packet, now): (Room, Vec<u8>, Time)) -> Room {
    let header = RtpHeader::parse(&packet).expect("a header");
    let located = Extensions::locate(&packet, &header, &extensions()).expect("extensions");
    let received = room
        .up
        .handle_rtp(now, &packet, &header, &located)
        .expect("a good packet");
    let stamp = Stamp {
        now,
        transport_sequence: Some(1),
        padding: false,
    };
    for (down, _) in &mut room.downs {
        let rewrite = down.forward(&received.fields).expect("it is forwarded");
        black_box(down.write_header(&rewrite, &received.fields, &[], &stamp, &mut room.slot));
    }
    room
}

library_benchmark_group!(
    name = hot_path,
    benchmarks = [demux_and_take_in, rewrite_for_32, seal_1200, fan_out_to_32]
);
main!(library_benchmark_groups = hot_path);
