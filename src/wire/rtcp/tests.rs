//! RTCP: tables of packets, the `rtcp` package as oracle, and properties of random bytes.

use std::time::Duration;

use ::rtcp::goodbye::Goodbye;
use ::rtcp::packet::Packet as Theirs;
use ::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use ::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use ::rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use ::rtcp::receiver_report::ReceiverReport;
use ::rtcp::reception_report::ReceptionReport;
use ::rtcp::sender_report::SenderReport;
use ::rtcp::source_description::SourceDescription;
use ::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use ::rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use proptest::prelude::*;
use webrtc_util::marshal::{Marshal, Unmarshal};

use super::*;
use crate::limits::{RTCP_COMPOUND_MAX, TWCC_STATUSES_MAX};
use crate::time::Time;

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0x0102_0304,
    fraction_lost: 77,
    cumulative_lost: 1234,
    highest_sequence: 0x0001_ffff,
    jitter: 90,
    last_sr: 0xaabb_ccdd,
    delay_since_last_sr: 65_536,
};

fn one(bytes: &[u8]) -> Packet<'_> {
    let mut packets = Compound::parse(bytes).unwrap().packets();
    let first = packets.next().unwrap().unwrap();
    assert!(packets.next().is_none());
    first
}

fn theirs<T: Unmarshal>(bytes: &[u8]) -> T {
    T::unmarshal(&mut &bytes[..]).unwrap()
}

fn their_block(block: &ReportBlock) -> ReceptionReport {
    ReceptionReport {
        ssrc: block.ssrc,
        fraction_lost: block.fraction_lost,
        total_lost: block.cumulative_lost as u32,
        last_sequence_number: block.highest_sequence,
        jitter: block.jitter,
        last_sender_report: block.last_sr,
        delay: block.delay_since_last_sr,
    }
}

#[test]
fn sender_and_receiver_reports() {
    let info = SenderInfo {
        ntp: 0x1122_3344_5566_7788,
        rtp_timestamp: 9,
        packets: 10,
        octets: 11,
    };
    let negative = ReportBlock {
        cumulative_lost: -3,
        ..BLOCK
    };
    let mut out = [0; 200];
    let len = write_sender_report(&mut out, 7, &info, &[BLOCK, negative]).unwrap();
    let Packet::SenderReport {
        ssrc: 7,
        info: read,
        blocks,
    } = one(&out[..len])
    else {
        panic!("no sender report");
    };
    assert_eq!(read, info);
    assert_eq!(blocks.collect::<Vec<_>>(), [BLOCK, negative]);
    let len = write_sender_report(&mut out, 7, &info, &[BLOCK]).unwrap();
    let report: SenderReport = theirs(&out[..len]);
    assert_eq!(
        (report.ssrc, report.ntp_time, report.rtp_time),
        (7, info.ntp, 9)
    );
    assert_eq!((report.packet_count, report.octet_count), (10, 11));
    assert_eq!(report.reports, [their_block(&BLOCK)]);

    let len = write_receiver_report(&mut out, 8, &[BLOCK]).unwrap();
    let report: ReceiverReport = theirs(&out[..len]);
    assert_eq!(
        (report.ssrc, report.reports),
        (8, vec![their_block(&BLOCK)])
    );
    let Packet::ReceiverReport { ssrc: 8, blocks } = one(&out[..len]) else {
        panic!("no receiver report");
    };
    assert_eq!(blocks.collect::<Vec<_>>(), [BLOCK]);
    assert_eq!(write_receiver_report(&mut [0; 2000], 8, &[BLOCK; 32]), None);
    assert_eq!(write_receiver_report(&mut out[..31], 8, &[BLOCK]), None);
}

#[test]
fn lost_count_keeps_to_its_24_bits() {
    for (lost, read) in [(i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000), (-1, -1)] {
        let block = ReportBlock {
            cumulative_lost: lost,
            ..BLOCK
        };
        let mut out = [0; 32];
        write_receiver_report(&mut out, 1, &[block]).unwrap();
        let Packet::ReceiverReport { mut blocks, .. } = one(&out) else {
            panic!("no receiver report");
        };
        assert_eq!(blocks.next().unwrap().cumulative_lost, read);
    }
}

#[test]
fn cname_and_goodbye() {
    let mut out = [0xcc; 300];
    for cname in [&b""[..], b"a", b"abc", b"abcd", &[b'x'; 255]] {
        let len = write_sdes_cname(&mut out, 5, cname).unwrap();
        let Packet::Sdes(sdes) = one(&out[..len]) else {
            panic!("no source description");
        };
        assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(5, cname)]);
        let description: SourceDescription = theirs(&out[..len]);
        assert_eq!(&description.chunks[0].items[0].text[..], cname);
    }
    assert_eq!(write_sdes_cname(&mut out, 5, &[0; 256]), None);

    let len = write_bye(&mut out, &[3, 4]).unwrap();
    let Packet::Bye(bye) = one(&out[..len]) else {
        panic!("no goodbye");
    };
    assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [3, 4]);
    let goodbye: Goodbye = theirs(&out[..len]);
    assert_eq!(goodbye.sources, [3, 4]);
}

#[test]
fn several_chunks_of_a_description() {
    // NAME only; then PRIV and CNAME; sizes need padding.
    let bytes = [
        0x82, 202, 0, 6, 0, 0, 0, 1, 2, 1, b'n', 0, //
        0, 0, 0, 2, 8, 2, 1, b'p', 1, 3, b'a', b'b', b'c', 0, 0, 0,
    ];
    let Packet::Sdes(sdes) = one(&bytes) else {
        panic!("no source description");
    };
    assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(2, &b"abc"[..])]);
    let mut cut = bytes;
    cut[21] = 200; // The CNAME claims more than there is.
    let mut packets = Compound::parse(&cut).unwrap().packets();
    assert_eq!(packets.next().unwrap().unwrap_err(), RtcpError::BadCount);
}

#[test]
fn key_frame_requests() {
    let mut out = [0; 20];
    write_pli(&mut out, 1, 2).unwrap();
    assert!(matches!(
        one(&out[..12]),
        Packet::Pli {
            sender_ssrc: 1,
            media_ssrc: 2
        }
    ));
    let pli: PictureLossIndication = theirs(&out[..12]);
    assert_eq!((pli.sender_ssrc, pli.media_ssrc), (1, 2));

    write_fir(&mut out, 1, 2, 200).unwrap();
    let Packet::Fir(fir) = one(&out) else {
        panic!("no FIR");
    };
    let entries: Vec<_> = fir.entries().map(|e| (e.ssrc, e.sequence)).collect();
    assert_eq!(entries, [(2, 200)]);
    let fir: FullIntraRequest = theirs(&out);
    assert_eq!((fir.fir[0].ssrc, fir.fir[0].sequence_number), (2, 200));
}

#[test]
fn bitrate_estimates_round_down() {
    for (bps, read) in [
        (0, 0),
        (1, 1),
        (262_143, 262_143),
        (262_145, 262_144),
        (2_500_000, 2_500_000),
        (u64::MAX, u64::MAX >> 46 << 46),
    ] {
        let mut out = [0; 28];
        let len = write_remb(&mut out, 1, bps, &[2, 3]).unwrap();
        let Packet::Remb(remb) = one(&out[..len]) else {
            panic!("no REMB");
        };
        assert_eq!(remb.bitrate_bps, read, "{bps}");
        assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [2, 3]);
        let estimate: ReceiverEstimatedMaximumBitrate = theirs(&out[..len]);
        // The package reads a zero as something else.
        assert!(
            bps == 0 || (estimate.bitrate - read as f32).abs() <= read as f32 * 1e-6,
            "{bps}"
        );
    }
    // Exponent 63 with a full mantissa is beyond 64 bits.
    let huge = [
        0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 0, 0xff, 0xff, 0xff,
    ];
    let Packet::Remb(remb) = one(&huge) else {
        panic!("no REMB");
    };
    assert_eq!(remb.bitrate_bps, u64::MAX);
}

#[test]
fn nack_names_runs_in_few_words() {
    // (lost, entries)
    let table: [(&[u16], usize); 5] = [
        (&[7], 1),
        (&[7, 8, 23], 1),
        (&[7, 24], 2),
        (&[65_534, 65_535, 0, 1], 1),
        (&[1, 100, 101, 200], 3),
    ];
    for (lost, entries) in table {
        let mut out = [0; 64];
        let len = write_nack(&mut out, 1, 2, lost).unwrap();
        assert_eq!(len, 12 + 4 * entries, "{lost:?}");
        let Packet::Nack(nack) = one(&out[..len]) else {
            panic!("no NACK");
        };
        assert_eq!((nack.sender_ssrc, nack.media_ssrc), (1, 2));
        assert_eq!(nack.sequences().collect::<Vec<_>>(), lost);
        assert_eq!(write_nack(&mut out[..len - 1], 1, 2, lost), None);
    }
    assert_eq!(write_nack(&mut [0; 64], 1, 2, &[]), None);
}

#[test]
fn framing_is_checked() {
    let rr = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let parse = |bytes: &[u8]| Compound::parse(bytes).map(|c| c.packets().count());
    assert_eq!(parse(&rr), Ok(1));
    assert_eq!(parse(&[]), Err(RtcpError::Truncated));
    assert_eq!(parse(&rr[..7]), Err(RtcpError::Truncated));
    assert_eq!(parse(&[rr, rr].concat()), Ok(2));
    assert_eq!(
        parse(&[&rr[..], &[0x80]].concat()),
        Err(RtcpError::Truncated)
    );
    assert_eq!(parse(&[0x40, 201, 0, 0]), Err(RtcpError::Version(1)));
    let many = rr.repeat(RTCP_COMPOUND_MAX + 5);
    assert_eq!(parse(&many), Ok(RTCP_COMPOUND_MAX), "the rest is ignored");
}

#[test]
fn padding_is_cut() {
    let padded = [0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
    let Packet::ReceiverReport { ssrc: 1, blocks } = one(&padded) else {
        panic!("no receiver report");
    };
    assert_eq!(blocks.count(), 0);
    for count in [0, 12] {
        let mut bad = padded;
        bad[11] = count;
        assert_eq!(Compound::parse(&bad).unwrap_err(), RtcpError::BadPadding);
    }
}

#[test]
fn chromium_pads_its_transport_feedback_to_a_word_only() {
    // P bit; one packet (a run of one small delta), its delta, one byte of padding.
    let feedback = [
        0xaf, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 1, 0, 0, 0, 0, 0x20, 1, 4, 1,
    ];
    let Packet::TransportFeedback(view) = one(&feedback) else {
        panic!("no transport feedback");
    };
    assert_eq!(view.statuses().count(), 1);
}

#[test]
fn a_wrong_body_does_not_hide_the_next_packet() {
    let mut bytes = vec![0x84, 206, 0, 1, 0, 0, 0, 1]; // The 8-byte FIR.
    let mut pli = [0; 12];
    write_pli(&mut pli, 1, 2).unwrap();
    bytes.extend(pli);
    let mut packets = Compound::parse(&bytes).unwrap().packets();
    assert_eq!(packets.next().unwrap().unwrap_err(), RtcpError::Truncated);
    assert!(matches!(packets.next(), Some(Ok(Packet::Pli { .. }))));
    assert!(packets.next().is_none());
}

#[test]
fn unknown_types_are_skipped() {
    for (packet_type, count) in [(204, 1), (207, 0), (205, 8), (206, 2)] {
        let bytes = [0x80 | count, packet_type, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        match one(&bytes) {
            Packet::Unknown {
                packet_type: p,
                count: c,
            } => {
                assert_eq!((p, c), (packet_type, count));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn compound_writer_drops_what_does_not_fit() {
    let mut out = [0; 30];
    let mut writer = CompoundWriter::new(&mut out);
    assert!(writer.is_empty());
    assert!(writer.push(|out| write_receiver_report(out, 1, &[])));
    assert!(writer.push(|out| write_pli(out, 1, 2)));
    assert!(
        !writer.push(|out| write_pli(out, 1, 3)),
        "10 bytes are left"
    );
    assert!(writer.push(|out| write_bye(out, &[1])));
    let len = writer.len();
    assert_eq!(len, 28);
    let read: Vec<_> = Compound::parse(&out[..len])
        .unwrap()
        .packets()
        .map(Result::unwrap)
        .collect();
    assert!(matches!(
        read[..],
        [
            Packet::ReceiverReport { .. },
            Packet::Pli { media_ssrc: 2, .. },
            Packet::Bye(_)
        ]
    ));
}

// --- transport-wide feedback ----------------------------------------------------------------

fn feedback(bytes: &[u8]) -> TransportFeedback<'_> {
    match one(bytes) {
        Packet::TransportFeedback(feedback) => feedback,
        other => panic!("{other:?}"),
    }
}

/// Arrival ticks a reader works out, by sequence number.
fn ticks_of(feedback: &TransportFeedback<'_>) -> Vec<(u16, Option<i64>)> {
    let mut now = i64::from(feedback.reference_time) * 256;
    feedback
        .statuses()
        .map(|status| {
            let at = status.delta_ticks.map(|delta| {
                now += i64::from(delta);
                now
            });
            (status.sequence, at)
        })
        .collect()
}

fn arrival(sequence: u64, us: u64) -> Arrival {
    Arrival {
        sequence,
        at: Time::from_micros(us),
    }
}

#[test]
fn every_chunk_form_is_read() {
    // Base 10; a run of 3 lost; one-bit vector; two-bit vector; reference time −1.
    let bytes = [
        0xaf,
        205,
        0,
        9,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        2, //
        0,
        10,
        0,
        24,
        0xff,
        0xff,
        0xff,
        5, //
        0x00,
        0x03,
        0b1010_0000,
        0b0000_0001,
        0b1101_1000,
        0x00, //
        4,
        255, // one-bit: the first and the last of 14
        8,
        0xff,
        0xfe, // two-bit: small 8, large −2
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        8,
    ];
    let feedback = feedback(&bytes);
    assert_eq!(feedback.base_sequence, 10);
    assert_eq!(feedback.reference_time, -1);
    assert_eq!(feedback.feedback_count, 5);
    let received: Vec<_> = feedback
        .statuses()
        .filter_map(|s| Some((s.sequence, s.delta_ticks?)))
        .collect();
    assert_eq!(received, [(13, 4), (26, 255), (27, 8), (28, -2)]);
    assert_eq!(feedback.statuses().count(), 24);
}

#[test]
fn feedback_that_contradicts_itself_is_refused() {
    let good = [
        0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0, 2, 0, 0, 0, 5, 0x20, 0x02, 1, 2,
    ];
    assert_eq!(feedback(&good).statuses().count(), 2);
    // (offset, value): more statuses than chunks; more deltas than bytes; an endless run.
    for (at, value) in [(15, 3), (20, 0x40), (21, 0)] {
        let mut bad = good;
        bad[at] = value;
        let mut packets = Compound::parse(&bad).unwrap().packets();
        assert_eq!(
            packets.next().unwrap().unwrap_err(),
            RtcpError::BadCount,
            "{at}"
        );
    }
    let mut many = good;
    many[14..16].copy_from_slice(&(TWCC_STATUSES_MAX as u16 + 1).to_be_bytes());
    let mut packets = Compound::parse(&many).unwrap().packets();
    assert_eq!(packets.next().unwrap().unwrap_err(), RtcpError::BadCount);
}

#[test]
fn arrivals_are_told_to_the_tick() {
    let arrivals = [
        arrival(65_534, 1_000_100),
        arrival(65_535, 1_000_349),
        arrival(65_537, 1_100_000),
        arrival(65_540, 1_099_000),
    ];
    let mut out = [0; 100];
    let written = write_transport_feedback(&mut out, (1, 2), 9, 65_533, &arrivals).unwrap();
    assert_eq!(written.consumed, 4);
    let feedback = feedback(&out[..written.len]);
    assert_eq!((feedback.sender_ssrc, feedback.media_ssrc), (1, 2));
    assert_eq!(
        (feedback.base_sequence, feedback.feedback_count),
        (65_533, 9)
    );
    assert_eq!(
        ticks_of(&feedback),
        [
            (65_533, None),
            (65_534, Some(4000)),
            (65_535, Some(4001)),
            (0, None),
            (1, Some(4400)),
            (2, None),
            (3, None),
            (4, Some(4396)),
        ]
    );
}

#[test]
fn long_runs_take_one_chunk() {
    let arrivals: Vec<_> = (0..100).map(|i| arrival(i, 64_000 + i * 1000)).collect();
    let mut out = [0; 200];
    let written = write_transport_feedback(&mut out, (1, 2), 0, 0, &arrivals).unwrap();
    assert_eq!(written.len, (20usize + 2 + 100).next_multiple_of(4));
}

#[test]
fn a_silence_of_eight_seconds_ends_the_packet() {
    let arrivals = [arrival(1, 0), arrival(2, 8_191_750), arrival(3, 17_000_000)];
    let mut out = [0; 100];
    let written = write_transport_feedback(&mut out, (1, 2), 0, 1, &arrivals).unwrap();
    assert_eq!(written.consumed, 2);
    let far = [arrival(TWCC_STATUSES_MAX as u64, 0)];
    assert_eq!(write_transport_feedback(&mut out, (1, 2), 0, 0, &far), None);
    assert_eq!(
        write_transport_feedback(&mut out, (1, 2), 0, 5, &arrivals),
        None,
        "before base"
    );
    assert_eq!(write_transport_feedback(&mut out, (1, 2), 0, 0, &[]), None);
    assert_eq!(
        write_transport_feedback(&mut out[..20], (1, 2), 0, 1, &arrivals),
        None
    );
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let step = prop_oneof![6 => Just(1u64), 2 => 2..40u64, 1 => 100..500u64];
    let time = prop_oneof![6 => 0..3000i64, 2 => -50_000..200_000i64, 1 => 0..9_000_000i64];
    let start = (any::<u16>(), 1_000_000_000..2_000_000_000i64);
    (start, proptest::collection::vec((step, time), 1..300)).prop_map(|((base, us), steps)| {
        let (mut sequence, mut us) = (u64::from(base), us);
        steps
            .into_iter()
            .map(|(step, later)| {
                us += later;
                let told = arrival(sequence, us as u64);
                sequence += step;
                told
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn feedback_round_trips_in_any_space(arrivals in arrivals(), lead in 0..50u64, space in 0..1500usize) {
        let base = arrivals[0].sequence.saturating_sub(lead);
        let mut out = vec![0xcc; space];
        let mut rest = &arrivals[..];
        let mut base = base;
        while let Some(written) = write_transport_feedback(&mut out, (1, 2), 0, base, rest) {
            prop_assert!(written.len <= space && written.len % 4 == 0);
            let (told, later) = rest.split_at(written.consumed);
            let feedback = feedback(&out[..written.len]);
            let read: Vec<_> = ticks_of(&feedback)
                .into_iter()
                .filter_map(|(sequence, at)| Some((sequence, at? & 0xffff_ffff)))
                .collect();
            let expected: Vec<_> = told
                .iter()
                .map(|a| (a.sequence as u16, (a.at.as_micros() / TWCC_TICK_US) as i64))
                .collect();
            prop_assert_eq!(read, expected);
            // The package must read the same statuses and deltas.
            let package: TransportLayerCc = theirs(&out[..written.len]);
            prop_assert_eq!(package.packet_status_count, feedback.status_count);
            let deltas: Vec<_> = feedback.statuses().filter_map(|s| s.delta_ticks).map(i64::from).collect();
            let package: Vec<_> = package.recv_deltas.iter().map(|d| d.delta / 250).collect();
            prop_assert_eq!(package, deltas);
            base = told.last().map_or(base, |a| a.sequence + 1);
            rest = later;
            if rest.is_empty() { break; }
        }
    }

    #[test]
    fn a_packet_of_normal_size_is_well_used(arrivals in arrivals()) {
        let mut out = [0; 1200];
        let first = &arrivals[0];
        let written = write_transport_feedback(&mut out, (1, 2), 0, first.sequence, &arrivals).unwrap();
        if let Some(next) = arrivals.get(written.consumed) {
            // It stopped for a reason: no space (within one chunk and delta), too long a silence, too many statuses.
            let last = &arrivals[written.consumed - 1];
            let ticks = |a: &Arrival| (a.at.as_micros() / TWCC_TICK_US) as i64;
            let silent = i16::try_from(ticks(next) - ticks(last)).is_err();
            let full = written.len + 20 > out.len();
            let long = next.sequence - first.sequence >= TWCC_STATUSES_MAX as u64;
            prop_assert!(silent || full || long, "{written:?} of {}", arrivals.len());
        }
    }

    #[test]
    fn nack_oracle(lost in proptest::collection::btree_set(0..600u16, 1..100), offset in any::<u16>()) {
        let lost: Vec<u16> = lost.into_iter().map(|s| s.wrapping_add(offset)).collect();
        let mut out = [0; 1200];
        let len = write_nack(&mut out, 1, 2, &lost).unwrap();
        let package: TransportLayerNack = theirs(&out[..len]);
        let read: Vec<u16> = package.nacks.iter().flat_map(|n| n.packet_list()).collect();
        prop_assert_eq!(&read, &lost);
        // And what the package writes, we read.
        let package = TransportLayerNack {
            sender_ssrc: 1,
            media_ssrc: 2,
            nacks: nack_pairs_from_sequence_numbers(&lost),
        };
        let bytes = package.marshal().unwrap();
        let Packet::Nack(nack) = one(&bytes) else { panic!("no NACK") };
        prop_assert_eq!(nack.sequences().collect::<Vec<_>>(), lost);
    }

    #[test]
    fn compound_of_the_package_is_read(ssrc in any::<u32>(), ntp in any::<u64>(), lost in 0..0x7f_ffffu32) {
        let packets: Vec<Box<dyn Theirs + Send + Sync>> = vec![
            Box::new(SenderReport { ssrc, ntp_time: ntp, ..SenderReport::default() }),
            Box::new(ReceiverReport {
                ssrc,
                reports: vec![ReceptionReport { ssrc, total_lost: lost, ..ReceptionReport::default() }],
                ..ReceiverReport::default()
            }),
            Box::new(PictureLossIndication { sender_ssrc: ssrc, media_ssrc: 2 }),
        ];
        let bytes = ::rtcp::packet::marshal(&packets).unwrap();
        let read: Vec<_> = Compound::parse(&bytes).unwrap().packets().map(Result::unwrap).collect();
        let [Packet::SenderReport { info, .. }, Packet::ReceiverReport { mut blocks, .. }, Packet::Pli { sender_ssrc, .. }] = read[..] else {
            panic!("{read:?}");
        };
        prop_assert_eq!(info.ntp, ntp);
        prop_assert_eq!(blocks.next().unwrap().cumulative_lost, lost as i32);
        prop_assert_eq!(sender_ssrc, ssrc);
    }

    #[test]
    fn whatever_comes_is_read_to_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..400), types in proptest::collection::vec(200..208u8, 20)) {
        let mut bytes = bytes;
        // Make plausible headers, or nearly everything would be refused at once.
        let mut at = 0;
        for kind in types {
            let Some([flags, packet_type, l0, l1]) = bytes.get_mut(at..).and_then(|b| b.first_chunk_mut()) else { break };
            *flags = 0x80 | (*flags & 0x3f);
            *packet_type = kind;
            (*l0, *l1) = (0, *l1 % 16);
            at += 4 + 4 * usize::from(*l1);
        }
        crate::wire::exercise::rtcp(&bytes);
    }
}

#[test]
fn feedback_count_and_reference_time_wrap() {
    let late = Time::from_millis(64) + Duration::from_millis(64 * (1 << 24));
    let arrivals = [Arrival {
        sequence: 0,
        at: late,
    }];
    let mut out = [0; 32];
    let written = write_transport_feedback(&mut out, (1, 2), 255, 0, &arrivals).unwrap();
    let feedback = feedback(&out[..written.len]);
    assert_eq!((feedback.reference_time, feedback.feedback_count), (1, 255));
}
