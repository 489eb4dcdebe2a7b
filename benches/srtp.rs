//! SRTP of a 1200-byte packet: the bare copy and AEAD seal, ours with header rewrite, opening, and the dear profile.
//!
//! Budget: header rewrite + copy + seal at most 1.3 × the bare copy + AES-128-GCM seal of the same run; no allocation.

#[path = "../tests/support/counting.rs"]
mod counting;

use std::hint::black_box;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use colchis::transport::srtp::{Inbound, MasterKey, Outbound, SrtpProfile};
use colchis::wire::rtp::{HeaderFields, HeaderWriter};
use counting::allocations;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const PACKET: usize = 1200;
const EXTENSION: [u8; 3] = [1, 2, 3];

fn master(profile: SrtpProfile) -> MasterKey {
    let key = vec![1; profile.key_len()];
    let salt = vec![2; profile.salt_len()];
    MasterKey::new(profile, &key, &salt).expect("lengths are the profile's")
}

/// Writes the header a subscriber gets: new SSRC, sequence, timestamp and one extension. Returns its length.
fn rewrite(slot: &mut [u8], sequence: u16) -> usize {
    let mut writer = HeaderWriter::new(HeaderFields {
        payload_type: 96,
        sequence,
        timestamp: u32::from(sequence) * 3000,
        ssrc: 0x1234_5678,
        ..HeaderFields::default()
    });
    writer.push(2, &EXTENSION);
    writer.write(slot).expect("the slot has room")
}

fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp");
    group.throughput(Throughput::Elements(1));
    let payload = vec![0x5a; PACKET - 20];
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[1; 16]).expect("16 bytes"));
    let mut slot = vec![0; 1500];
    let mut counter = 0u64;
    group.bench_function("bare_copy_gcm128", |b| {
        b.iter(|| {
            counter += 1;
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&counter.to_be_bytes());
            let (header, body) = slot.split_at_mut(20);
            let (body, tag) = body.split_at_mut(PACKET - 20);
            body.copy_from_slice(black_box(&payload));
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_scatter(nonce, Aad::from(&*header), body, &[], &mut tag[..16])
        });
    });
    for profile in SrtpProfile::ALL {
        let mut outbound = Outbound::new(profile, &master(profile)).expect("a good key");
        let name = profile.name();
        let mut sequence = 0u16;
        group.bench_function(format!("rewrite_copy_seal/{name}"), |b| {
            b.iter(|| {
                sequence = sequence.wrapping_add(1);
                let header_len = rewrite(&mut slot, sequence);
                let len = header_len + payload.len();
                slot[header_len..len].copy_from_slice(black_box(&payload));
                outbound.seal_rtp(&mut slot, header_len, len)
            });
        });
        group.bench_function(format!("rewrite_seal_from/{name}"), |b| {
            b.iter(|| {
                sequence = sequence.wrapping_add(1);
                let header_len = rewrite(&mut slot, sequence);
                outbound.seal_rtp_from(&mut slot, header_len, black_box(&payload))
            });
        });
        let before = allocations();
        for _ in 0..1000 {
            sequence = sequence.wrapping_add(1);
            let header_len = rewrite(&mut slot, sequence);
            let sealed = outbound.seal_rtp_from(&mut slot, header_len, &payload);
            assert!(sealed.is_ok());
        }
        let counted = allocations() - before;
        println!("srtp/rewrite_seal_from/{name}: {counted} allocations in 1000 packets");
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp");
    group.throughput(Throughput::Elements(1));
    for profile in SrtpProfile::ALL {
        let master = master(profile);
        let mut outbound = Outbound::new(profile, &master).expect("a good key");
        // One turn of sequence numbers, sealed beforehand; a fresh receiver for each turn.
        let packets: Vec<Vec<u8>> = (0..4096)
            .map(|sequence| {
                let mut slot = vec![0x5a; PACKET + 16];
                let header_len = rewrite(&mut slot, sequence);
                let len = outbound.seal_rtp(&mut slot, header_len, PACKET);
                slot.truncate(len.expect("room for the tag"));
                slot
            })
            .collect();
        let mut inbound = Inbound::new(profile, &master).expect("a good key");
        let mut next = 0;
        let mut buffer = vec![0; PACKET + 16];
        group.bench_function(format!("copy_open/{}", profile.name()), |b| {
            b.iter(|| {
                if next == packets.len() {
                    next = 0;
                    inbound = Inbound::new(profile, &master).expect("a good key");
                }
                let packet = &packets[next];
                next += 1;
                buffer[..packet.len()].copy_from_slice(packet);
                inbound.open_rtp(&mut buffer[..packet.len()], 20)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
