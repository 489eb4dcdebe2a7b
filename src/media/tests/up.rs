//! What an UpTrack makes of a publisher's packets.

use std::time::Duration;

use super::kit::*;
use crate::error::DropReason;
use crate::media::UpTrack;
use crate::time::Time;
use crate::wire::sdp::CodecFormat;

const RTT: Duration = Duration::from_millis(40);

fn frame(sequence: u16) -> Sent {
    let payload = vp8(
        sequence.is_multiple_of(50),
        true,
        sequence,
        0,
        &[sequence as u8; 20],
    );
    let mut sent = Sent::video(sequence, u32::from(sequence) * 3000, payload);
    sent.header.marker = true;
    sent
}

fn nacks(up: &mut UpTrack, now: Time) -> Vec<u16> {
    let mut list = Vec::new();
    up.nacks(now, RTT, &mut list);
    list
}

#[test]
fn a_lost_packet_is_asked_for_and_its_retransmission_is_the_packet() {
    let mut up = video_up(1);
    take(&mut up, ms(0), &frame(10)).unwrap();
    let after = take(&mut up, ms(66), &frame(12)).unwrap();
    assert_eq!(up.poll_timeout(), Some(ms(66)));
    assert_eq!(nacks(&mut up, ms(66)), [11]);
    let lost = frame(11);
    let recovered = take(&mut up, ms(106), &lost.rtx(900)).unwrap();
    assert!(recovered.recovered);
    assert_eq!(recovered.payload, lost.payload);
    assert_eq!(recovered.fields.timestamp, lost.header.timestamp);
    assert_eq!(recovered.fields.sequence + 1, after.fields.sequence);
    assert_eq!(recovered.fields.codec, CodecFormat::Vp8);
    assert!(recovered.fields.marker);
    assert_eq!(nacks(&mut up, ms(500)), [0u16; 0]);
    assert_eq!(
        take(&mut up, ms(110), &lost.rtx(901)).unwrap_err(),
        DropReason::RtxDuplicate
    );
    assert_eq!(
        take(&mut up, ms(111), &lost).unwrap_err(),
        DropReason::RtpDuplicate
    );
    let stats = up.stats(ms(120));
    assert_eq!((stats.packets, stats.lost, stats.recovered), (2, 1, 1));
}

#[test]
fn what_is_no_media_is_told_apart() {
    let mut up = video_up(1);
    assert_eq!(
        take(&mut up, ms(0), &frame(9).rtx(1)).unwrap_err(),
        DropReason::RtpTooOld,
        "a retransmission before any media"
    );
    take(&mut up, ms(0), &frame(10)).unwrap();
    let mut unknown = frame(11);
    unknown.header.payload_type = 33;
    let mut short = frame(11).rtx(1);
    short.payload.truncate(1);
    let mut probe = frame(11).rtx(2);
    probe.payload.clear();
    probe.padding = 200;
    let mut bad_padding = frame(11);
    bad_padding.payload = vec![0xff];
    bad_padding.header.padding = true;
    let mut bad_bytes = bad_padding.bytes();
    bad_bytes[0] |= 0x20;
    let table = [
        (unknown, DropReason::RtpUnknownPayloadType),
        (short, DropReason::RtxMalformed),
        (probe, DropReason::RtpPaddingOnly),
    ];
    for (sent, reason) in table {
        assert_eq!(take(&mut up, ms(1), &sent).unwrap_err(), reason);
    }
    let header = crate::wire::rtp::RtpHeader::parse(&bad_bytes).unwrap();
    assert_eq!(
        up.handle_rtp(ms(1), &bad_bytes, &header, &Default::default())
            .unwrap_err(),
        DropReason::RtpMalformed
    );
}

#[test]
fn padding_only_packets_leave_no_hole_and_are_not_lost() {
    let mut up = video_up(1);
    let first = take(&mut up, ms(0), &frame(10)).unwrap();
    for sequence in 11..15 {
        let mut padding = frame(sequence);
        padding.payload.clear();
        padding.padding = 100;
        assert_eq!(
            take(&mut up, ms(1), &padding).unwrap_err(),
            DropReason::RtpPaddingOnly
        );
    }
    let next = take(&mut up, ms(2), &frame(15)).unwrap();
    assert_eq!(next.fields.sequence, first.fields.sequence + 1);
    assert_eq!(nacks(&mut up, ms(3)), [0u16; 0]);
    assert_eq!(
        up.cached(next.fields.sequence).unwrap().payload,
        frame(15).payload
    );
}

#[test]
fn padding_behind_media_is_cut() {
    let mut up = video_up(1);
    let mut sent = frame(10);
    sent.padding = 17;
    let taken = take(&mut up, ms(0), &sent).unwrap();
    assert_eq!(taken.payload, sent.payload);
}

#[test]
fn another_ssrc_is_another_source_and_the_old_one_is_over() {
    let mut up = video_up(1);
    let before = take(&mut up, ms(0), &frame(10)).unwrap();
    let mut other = frame(5000);
    other.header.ssrc = 77;
    let after = take(&mut up, ms(10), &other).unwrap();
    assert_ne!(before.fields.source, after.fields.source);
    assert_eq!(up.ssrc(), Some(77));
    assert_eq!(
        take(&mut up, ms(11), &frame(11)).unwrap_err(),
        DropReason::RtpTooOld
    );
    assert!(up.cached(before.fields.sequence).is_none());
    assert_eq!(nacks(&mut up, ms(20)), [0u16; 0]);
}

#[test]
fn a_sequence_jump_is_another_source() {
    let mut up = video_up(1);
    let before = take(&mut up, ms(0), &frame(10)).unwrap();
    assert_eq!(
        take(&mut up, ms(1), &frame(30_000)).unwrap_err(),
        DropReason::RtpTooOld
    );
    let after = take(&mut up, ms(2), &frame(30_001)).unwrap();
    assert_ne!(before.fields.source, after.fields.source);
    assert_eq!(nacks(&mut up, ms(20)), [0u16; 0]);
}

#[test]
fn a_disabled_track_passes_nothing_and_asks_for_nothing() {
    let mut up = video_up(1);
    let before = take(&mut up, ms(0), &frame(10)).unwrap();
    up.set_enabled(false);
    up.request_key_frame();
    assert_eq!(
        take(&mut up, ms(1), &frame(11)).unwrap_err(),
        DropReason::TrackDisabled
    );
    assert_eq!(
        take(&mut up, ms(2), &frame(15)).unwrap_err(),
        DropReason::TrackDisabled
    );
    assert_eq!(up.poll_timeout(), None);
    assert!(!up.key_frame_due(ms(3)));
    up.set_enabled(true);
    let after = take(&mut up, ms(4), &frame(16)).unwrap();
    assert_ne!(before.fields.source, after.fields.source);
}

#[test]
fn too_much_loss_asks_for_a_key_frame_which_ends_the_asking() {
    let mut up = video_up(1);
    take(&mut up, ms(0), &frame(1)).unwrap();
    take(&mut up, ms(10), &frame(1001)).unwrap();
    assert_eq!(nacks(&mut up, ms(10)), [0u16; 0]);
    assert!(up.key_frame_due(ms(10)));
    assert!(!up.key_frame_due(ms(11)));
    assert_eq!(up.poll_timeout(), Some(ms(510)));
    take(&mut up, ms(20), &frame(1050)).unwrap();
    up.nacks(ms(20), RTT, &mut Vec::new());
    assert!(!up.key_frame_due(ms(600)), "1050 was a key frame");
}

#[test]
fn stats_show_codec_size_rates_and_loudness() {
    let mut up = video_up(1);
    for i in 0..60u16 {
        take(&mut up, ms(u64::from(i) * 33), &frame(i)).unwrap();
    }
    let stats = up.stats(ms(1980));
    assert_eq!(stats.codec, Some(CodecFormat::Vp8));
    assert_eq!(stats.size, Some((640, 360)));
    assert!((29..=31).contains(&stats.rates.frames_per_s), "{stats:?}");
    assert_eq!(stats.audio_level, None);
    let mut up = audio_up(2);
    let taken = take(&mut up, ms(0), &Sent::audio(1, 1)).unwrap();
    assert!(taken.fields.key_frame);
    assert_eq!(taken.fields.audio_level, Some(0x80 | 30));
    assert_eq!(up.stats(ms(0)).audio_level, Some(30));
}
