//! What one packet costs per subscriber: taking it in, deciding, rewriting, sealing; in ns and allocations.
//!
//! The bound of the project: rewrite + seal of a 1200-byte packet ≤ 1.3 × copy + AES-128-GCM seal in the same run.

#[path = "../tests/support/counting.rs"]
mod counting;

use std::hint::black_box;
use std::time::Duration;

use colchis::media::*;
use colchis::time::Time;
use colchis::transport::srtp::{MasterKey, Outbound, SrtpProfile};
use colchis::wire::rtp::{
    ExtensionKind, ExtensionMap, Extensions, HeaderFields, HeaderWriter, RtpHeader,
};
use colchis::wire::sdp::CodecFormat;
use counting::allocations;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const PAYLOAD_BYTES: usize = 1200;
const SUBSCRIBERS: usize = 32;

fn extensions() -> ExtensionMap {
    [
        (1, ExtensionKind::AudioLevel),
        (2, ExtensionKind::AbsSendTime),
        (3, ExtensionKind::TransportCc),
        (4, ExtensionKind::Mid),
        (13, ExtensionKind::VideoOrientation),
    ]
    .into_iter()
    .collect()
}

/// A publisher's VP8 packet of [`PAYLOAD_BYTES`] with the extensions Chromium sends.
fn packet(sequence: u16) -> Vec<u8> {
    let mut header = HeaderWriter::new(HeaderFields {
        marker: sequence.is_multiple_of(8),
        payload_type: 96,
        sequence,
        timestamp: u32::from(sequence / 8) * 3000,
        ssrc: 1,
        ..HeaderFields::default()
    });
    header.push(4, b"1");
    header.push(2, &[1, 2, 3]);
    header.push(3, &[4, 5]);
    let mut packet = vec![0; 200];
    let len = header.write(&mut packet).unwrap();
    packet.truncate(len);
    let [p0, p1] = ((sequence / 8) | 0x8000).to_be_bytes();
    let key = if sequence == 0 { 0x10 } else { 0x11 };
    packet.extend_from_slice(&[0x90, 0xc0, p0, p1, sequence as u8, key, 0, 0, 0x9d, 1, 0x2a]);
    packet.resize(len + PAYLOAD_BYTES, 0x5a);
    packet
}

fn up_track() -> UpTrack {
    UpTrack::new(UpTrackConfig {
        id: 1,
        video: true,
        codecs: vec![UpCodec {
            format: CodecFormat::Vp8,
            payload_type: 96,
            rtx_payload_type: Some(97),
        }],
        nack: true,
    })
}

fn down_track(ssrc: u32) -> DownTrack {
    let mut down = DownTrack::new(DownTrackConfig {
        ssrc,
        rtx_ssrc: Some(ssrc + 1000),
        first_sequence: 1,
        first_timestamp: 1,
        first_rtx_sequence: 1,
    });
    down.set_negotiated(&DownNegotiated {
        codecs: vec![
            DownCodec {
                format: CodecFormat::H264_CBP,
                payload_type: 102,
                rtx_payload_type: Some(103),
            },
            DownCodec {
                format: CodecFormat::Vp8,
                payload_type: 100,
                rtx_payload_type: Some(101),
            },
        ],
        extensions: extensions(),
        mid: "s12".to_owned(),
    });
    down
}

/// One room: a publisher's packets in, [`SUBSCRIBERS`] copies out.
struct Room {
    up: UpTrack,
    downs: Vec<(DownTrack, Outbound)>,
    packets: Vec<Vec<u8>>,
    next: usize,
    now_us: u64,
    slot: Vec<u8>,
}

impl Room {
    fn new() -> Self {
        let key = MasterKey::new(SrtpProfile::AeadAes128Gcm, &[7; 16], &[9; 12]).unwrap();
        let outbound = || Outbound::new(SrtpProfile::AeadAes128Gcm, &key).unwrap();
        Self {
            up: up_track(),
            downs: (0..SUBSCRIBERS)
                .map(|i| (down_track(i as u32), outbound()))
                .collect(),
            packets: (0..=u16::MAX).map(packet).collect(),
            next: 0,
            now_us: 0,
            slot: vec![0; 1500],
        }
    }

    /// Takes the next packet in and gives it to `each` subscriber.
    fn turn(
        &mut self,
        mut each: impl FnMut(&mut DownTrack, &mut Outbound, &Received<'_>, &Stamp, &mut [u8]),
    ) {
        let packet = &self.packets[self.next % self.packets.len()];
        self.next += 1;
        self.now_us += 500;
        let now = Time::from_micros(self.now_us);
        let header = RtpHeader::parse(packet).unwrap();
        let located = Extensions::locate(packet, &header, &extensions()).unwrap();
        let received = self.up.handle_rtp(now, packet, &header, &located).unwrap();
        let stamp = Stamp {
            now,
            transport_sequence: Some(self.next as u16),
            padding: false,
        };
        for (down, outbound) in &mut self.downs {
            each(down, outbound, &received, &stamp, &mut self.slot);
        }
    }
}

fn forward_and_write(
    down: &mut DownTrack,
    received: &Received<'_>,
    stamp: &Stamp,
    slot: &mut [u8],
) -> Written {
    let rewrite = down.forward(&received.fields).unwrap();
    down.write_packet(
        &rewrite,
        &received.fields,
        received.descriptor,
        received.payload,
        stamp,
        slot,
    )
    .unwrap()
}

fn per_subscriber(c: &mut Criterion) {
    let mut group = c.benchmark_group("media/per_subscriber_x32");
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64));

    let mut room = Room::new();
    group.bench_function("floor: copy + gcm seal", |b| {
        b.iter(|| {
            room.turn(|_, outbound, received, _, slot| {
                // A fixed header; the number changes so that the roll-over counter keeps up.
                slot[..12].copy_from_slice(&[0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
                slot[2..4].copy_from_slice(&(received.fields.sequence as u16).to_be_bytes());
                let len = 12 + received.payload.len();
                slot[12..len].copy_from_slice(received.payload);
                black_box(outbound.seal_rtp(slot, 12, len).unwrap());
            });
        });
    });
    let mut room = Room::new();
    group.bench_function("forward + write header", |b| {
        b.iter(|| {
            room.turn(|down, _, received, stamp, slot| {
                let rewrite = down.forward(&received.fields).unwrap();
                let fields = &received.fields;
                black_box(down.write_header(&rewrite, fields, &[], stamp, slot));
            });
        });
    });
    let mut room = Room::new();
    group.bench_function("forward + write packet", |b| {
        b.iter(|| {
            room.turn(|down, _, received, stamp, slot| {
                black_box(forward_and_write(down, received, stamp, slot));
            });
        });
    });
    let mut room = Room::new();
    group.bench_function("forward + write packet + gcm seal", |b| {
        b.iter(|| {
            room.turn(|down, outbound, received, stamp, slot| {
                let written = forward_and_write(down, received, stamp, slot);
                let sealed = outbound.seal_rtp(slot, written.header_len, written.len);
                black_box(sealed.unwrap());
            });
        });
    });
    group.finish();
}

fn per_packet(c: &mut Criterion) {
    let mut group = c.benchmark_group("media/per_packet");
    group.throughput(Throughput::Elements(1));
    let mut room = Room::new();
    room.downs.clear();
    group.bench_function("parse + locate + take in + cache", |b| {
        b.iter(|| room.turn(|_, _, _, _, _| {}));
    });
    group.finish();
}

/// Not a time: forwards and resends after a warm-up must not allocate at all.
fn no_allocations(_: &mut Criterion) {
    const TURNS: u64 = 20_000;
    let mut room = Room::new();
    let mut work = |turns: u64| {
        for _ in 0..turns {
            room.turn(|down, outbound, received, stamp, slot| {
                let written = forward_and_write(down, received, stamp, slot);
                let sealed = outbound.seal_rtp(slot, written.header_len, written.len);
                black_box(sealed.unwrap());
            });
        }
    };
    work(1000);
    let before = allocations();
    work(TURNS);
    let made = allocations() - before;
    println!(
        "media/allocations: {made} in {} packets x subscribers",
        TURNS * SUBSCRIBERS as u64
    );
    assert_eq!(made, 0, "forwarding must not allocate");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = no_allocations, per_packet, per_subscriber
}
criterion_main!(benches);
