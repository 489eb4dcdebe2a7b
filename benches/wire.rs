//! Cost of the readers on the per-packet path, and of a STUN check with its answer.
//!
//! Budgets: demux and the RTP view are a few nanoseconds, so that the cost of a packet is its crypto and its copies.

use std::hint::black_box;

use colchis::time::Time;
use colchis::wire::codec::{CodecKind, is_key_frame};
use colchis::wire::demux::classify;
use colchis::wire::rtcp::{
    Arrival, Compound, CompoundWriter, Packet, ReportBlock, write_nack, write_receiver_report,
    write_transport_feedback,
};
use colchis::wire::rtp::{
    ExtensionKind, ExtensionMap, Extensions, HeaderFields, HeaderWriter, RtpHeader,
};
use colchis::wire::stun;
use criterion::{Criterion, criterion_group, criterion_main};

/// Ids as Chromium numbers them.
fn map() -> ExtensionMap {
    [
        (2, ExtensionKind::AbsSendTime),
        (3, ExtensionKind::TransportCc),
        (4, ExtensionKind::Mid),
        (13, ExtensionKind::VideoOrientation),
    ]
    .into_iter()
    .collect()
}

fn fields() -> HeaderFields {
    HeaderFields {
        payload_type: 96,
        sequence: 1,
        timestamp: 2,
        ssrc: 3,
        ..HeaderFields::default()
    }
}

/// A 1200-byte VP8 packet with the elements a browser sends.
fn packet() -> Vec<u8> {
    let mut writer = HeaderWriter::new(fields());
    writer.push(2, &[1, 2, 3]);
    writer.push(3, &[0, 9]);
    writer.push(4, b"1");
    let mut packet = vec![0x11; 1200];
    let len = writer.write(&mut packet).expect("the header fits");
    packet[len..len + 5].copy_from_slice(&[0x90, 0x80, 0x92, 0x34, 0x01]);
    packet
}

fn rtp(c: &mut Criterion) {
    let (packet, map) = (packet(), map());
    c.bench_function("wire/demux", |b| b.iter(|| classify(black_box(&packet))));
    c.bench_function("wire/rtp_parse", |b| {
        b.iter(|| RtpHeader::parse(black_box(&packet)));
    });
    c.bench_function("wire/rtp_parse_locate", |b| {
        b.iter(|| {
            let packet = black_box(&packet[..]);
            let header = RtpHeader::parse(packet).ok()?;
            let found = Extensions::locate(packet, &header, &map).ok()?;
            found.transport_sequence(packet)
        });
    });
    c.bench_function("wire/vp8_key_frame", |b| {
        let header = RtpHeader::parse(&packet).expect("our own packet");
        let payload = header.payload(&packet).expect("our own packet");
        b.iter(|| is_key_frame(CodecKind::Vp8, black_box(payload), None));
    });
    let mut slot = [0; 1500];
    c.bench_function("wire/rtp_write_header", |b| {
        b.iter(|| {
            let mut writer = HeaderWriter::new(black_box(fields()));
            writer.push(4, black_box(b"1"));
            writer.push(3, black_box(&[0, 9]));
            writer.write(black_box(&mut slot))
        });
    });
}

fn rtcp(c: &mut Criterion) {
    let mut out = [0; 1200];
    let mut writer = CompoundWriter::new(&mut out);
    writer.push(|out| write_receiver_report(out, 1, &[ReportBlock::default(); 2]));
    writer.push(|out| write_nack(out, 1, 2, &[5, 6, 9, 40]));
    let len = writer.len();
    c.bench_function("wire/rtcp_rr_nack", |b| {
        b.iter(|| {
            let compound = Compound::parse(black_box(&out[..len])).ok()?;
            let mut lost = 0u32;
            for packet in compound.packets() {
                if let Ok(Packet::Nack(nack)) = packet {
                    lost += nack.sequences().map(u32::from).sum::<u32>();
                }
            }
            Some(lost)
        });
    });
    let arrivals: Vec<_> = (0..100)
        .map(|i| Arrival {
            sequence: i + i / 10,
            at: Time::from_micros(1_000_000 + 700 * i),
        })
        .collect();
    let mut out = [0; 1200];
    c.bench_function("wire/twcc_write_100", |b| {
        b.iter(|| write_transport_feedback(&mut out, (1, 2), 0, 0, black_box(&arrivals)));
    });
    let written = write_transport_feedback(&mut out, (1, 2), 0, 0, &arrivals).expect("it fits");
    c.bench_function("wire/twcc_read_100", |b| {
        b.iter(|| {
            let compound = Compound::parse(black_box(&out[..written.len])).ok()?;
            let Some(Ok(Packet::TransportFeedback(feedback))) = compound.packets().next() else {
                return None;
            };
            Some(feedback.statuses().filter_map(|s| s.delta_ticks).count())
        });
    });
}

fn stun_check(c: &mut Criterion) {
    let password = b"VOkJxbRl1RmTxUk/WvJxBt";
    let role = stun::Role::Controlling(7);
    let mut request = [0; 200];
    let id = *b"transaction!";
    let len = stun::write_binding_request(&mut request, &id, "abcd:efgh", password, 1, role, true)
        .expect("it fits");
    let from = ([203, 0, 113, 9], 5000).into();
    let mut out = [0; 100];
    c.bench_function("wire/stun_check", |b| {
        b.iter(|| stun::parse(black_box(&request[..len])).is_ok_and(|m| m.verify(password)));
    });
    c.bench_function("wire/stun_check_answer", |b| {
        b.iter(|| {
            let message = stun::parse(black_box(&request[..len])).ok()?;
            message.verify(password).then(|| {
                stun::write_binding_success(&mut out, &message.transaction_id, from, password)
            })
        });
    });
}

criterion_group!(benches, rtp, rtcp, stun_check);
criterion_main!(benches);
