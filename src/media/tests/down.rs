//! What a subscriber sees: one uninterrupted stream, and the same bytes again when it asks.

use super::kit::*;
use crate::error::DropReason;
use crate::limits::{DATAGRAM_BYTES_MAX, RTX_BURST_BYTES};
use crate::media::{DownNegotiated, PublisherClock, Stamp, UpTrack};
use crate::time::micros_to_ntp;
use crate::wire::codec::vp8::Vp8Descriptor;
use crate::wire::rtcp::SenderInfo;
use crate::wire::rtp::{ExtensionKind, Extensions};

fn key(sequence: u16, timestamp: u32, picture: u16) -> Sent {
    Sent::video(
        sequence,
        timestamp,
        vp8(true, true, picture, picture as u8, b"key"),
    )
}

fn delta(sequence: u16, timestamp: u32, picture: u16) -> Sent {
    Sent::video(
        sequence,
        timestamp,
        vp8(false, true, picture, picture as u8, b"delta"),
    )
}

fn picture(got: &Got) -> (u16, u8) {
    let descriptor = Vp8Descriptor::parse(&got.payload).unwrap();
    (
        descriptor.picture_id.unwrap().value,
        descriptor.tl0_pic_idx.unwrap(),
    )
}

#[test]
fn video_starts_at_a_key_frame_with_the_subscribers_numbers() {
    let (mut up, mut down) = (video_up(1), down());
    assert_eq!(
        relay(&mut up, &mut down, ms(0), &delta(10, 0, 1)).unwrap_err(),
        DropReason::AwaitingKeyFrame
    );
    assert!(down.awaits_key_frame(up.source()));
    let got = relay(&mut up, &mut down, ms(33), &key(11, 3000, 2)).unwrap();
    assert!(!down.awaits_key_frame(up.source()));
    assert_eq!(got.header.ssrc, DOWN_SSRC);
    assert_eq!(got.header.payload_type, DOWN_VP8_PT);
    assert_eq!((got.header.sequence, got.header.timestamp), (100, 50_000));
    assert_eq!(picture(&got), (2, 2));
    let got = relay(&mut up, &mut down, ms(66), &delta(12, 6000, 3)).unwrap();
    assert_eq!((got.header.sequence, got.header.timestamp), (101, 53_000));
    // A packet from before the key frame is not for this subscriber.
    assert_eq!(
        relay(&mut up, &mut down, ms(67), &delta(9, 0, 0)).unwrap_err(),
        DropReason::RtpTooOld
    );
}

#[test]
fn a_publisher_that_rejoins_goes_on_where_it_stopped() {
    let (mut first, mut second, mut down) = (video_up(1), video_up(2), down());
    relay(&mut first, &mut down, ms(0), &key(60_000, 9, 0x7ffe)).unwrap();
    let last = relay(&mut first, &mut down, ms(33), &delta(60_001, 3009, 0x7fff)).unwrap();
    assert_eq!(
        relay(&mut second, &mut down, ms(1000), &delta(5, 777, 40)).unwrap_err(),
        DropReason::AwaitingKeyFrame
    );
    let got = relay(&mut second, &mut down, ms(1033), &key(6, 3777, 41)).unwrap();
    assert_eq!(got.header.sequence, last.header.sequence + 1);
    assert_eq!(got.header.timestamp, last.header.timestamp + 90_000);
    assert_eq!(picture(&got), (0, 0), "0x7fff and 255 wrap");
    let got = relay(&mut second, &mut down, ms(1066), &delta(8, 9777, 43)).unwrap();
    assert_eq!(got.header.sequence, last.header.sequence + 3);
    assert_eq!(got.header.timestamp, last.header.timestamp + 96_000);
    assert_eq!(picture(&got), (2, 2));
    let late = relay(&mut second, &mut down, ms(1070), &delta(7, 6777, 42)).unwrap();
    assert_eq!(late.header.sequence, last.header.sequence + 2);
    assert_eq!(picture(&late), (1, 1));
}

/// Has `up` told that its RTP clock says `rtp` when the publisher's wall clock says `at_ms` of 1900.
fn report(up: &mut UpTrack, clock: &mut PublisherClock, at_ms: u64, rtp: u32) {
    let info = SenderInfo {
        ntp: micros_to_ntp(at_ms * 1000),
        rtp_timestamp: rtp,
        packets: 0,
        octets: 0,
    };
    up.handle_sender_report(ms(at_ms), &info, clock);
}

#[test]
fn another_encoding_of_a_camera_goes_on_at_the_instant_its_clock_says() {
    let (mut large, mut small, mut down) = (video_up(1), video_up(2), down());
    let mut clock = PublisherClock::default();
    report(&mut large, &mut clock, 0, 1000);
    report(&mut small, &mut clock, 500, 70_000);
    relay(&mut large, &mut down, ms(1000), &key(1, 91_000, 1)).unwrap();
    let last = relay(&mut large, &mut down, ms(1100), &delta(2, 100_000, 2)).unwrap();
    let source = large.source();
    assert!(down.flows(source) && !down.flows(small.source()));
    // Taken 100 ms after the last one, but 30 ms longer on its way: the clock counts, not the arrival.
    let got = relay(&mut small, &mut down, ms(1230), &key(9, 133_000, 3)).unwrap();
    assert_eq!(got.header.timestamp, last.header.timestamp + 9000);
    assert_eq!(got.header.sequence, last.header.sequence + 1);
    assert!(down.flows(small.source()));
    // What was sent of the first one is still known as its own.
    assert_eq!(down.source_of(last.header.sequence), Some(source));
    assert_eq!(down.source_of(got.header.sequence), Some(small.source()));
    assert_eq!(down.source_of(got.header.sequence + 1), None);
}

#[test]
fn the_same_picture_in_another_encoding_is_a_later_one_to_the_subscriber() {
    let (mut large, mut small, mut down) = (video_up(1), video_up(2), down());
    let mut clock = PublisherClock::default();
    report(&mut large, &mut clock, 0, 0);
    report(&mut small, &mut clock, 0, 0);
    let last = relay(&mut large, &mut down, ms(1000), &key(1, 90_000, 1)).unwrap();
    let got = relay(&mut small, &mut down, ms(1001), &key(1, 90_000, 1)).unwrap();
    assert_eq!(got.header.timestamp, last.header.timestamp + 1);
}

#[test]
fn a_clock_that_makes_no_sense_is_not_followed() {
    let (mut large, mut small, mut down) = (video_up(1), video_up(2), down());
    let mut clock = PublisherClock::default();
    report(&mut large, &mut clock, 0, 0);
    report(&mut small, &mut clock, 0, 1 << 31);
    let last = relay(&mut large, &mut down, ms(1000), &key(1, 90_000, 1)).unwrap();
    let got = relay(&mut small, &mut down, ms(1100), &key(1, 99_000, 1)).unwrap();
    assert_eq!(
        got.header.timestamp,
        last.header.timestamp + 9000,
        "by its arrival"
    );
}

#[test]
fn disable_and_enable_leave_no_gap_in_numbers_and_keep_the_timeline() {
    let (mut up, mut down) = (video_up(1), down());
    relay(&mut up, &mut down, ms(0), &key(10, 0, 1)).unwrap();
    down.set_enabled(false);
    for i in 1..100u16 {
        let sent = delta(10 + i, u32::from(i) * 3000, 1 + i);
        assert_eq!(
            relay(&mut up, &mut down, ms(0), &sent).unwrap_err(),
            DropReason::SubscriberDisabled
        );
    }
    down.set_enabled(true);
    assert_eq!(
        relay(&mut up, &mut down, ms(3300), &delta(110, 300_000, 101)).unwrap_err(),
        DropReason::AwaitingKeyFrame
    );
    let got = relay(&mut up, &mut down, ms(3333), &key(111, 303_000, 102)).unwrap();
    assert_eq!(got.header.sequence, 101);
    assert_eq!(got.header.timestamp, 50_000 + 303_000);
    assert_eq!(picture(&got), (2, 2));
}

#[test]
fn audio_starts_and_resumes_at_once() {
    let (mut up, mut down) = (audio_up(1), down());
    let got = relay(&mut up, &mut down, ms(0), &Sent::audio(65_535, 960)).unwrap();
    assert_eq!(got.header.payload_type, DOWN_OPUS_PT);
    assert_eq!(got.header.sequence, 100);
    down.set_enabled(false);
    assert!(relay(&mut up, &mut down, ms(20), &Sent::audio(0, 1920)).is_err());
    down.set_enabled(true);
    let got = relay(&mut up, &mut down, ms(40), &Sent::audio(1, 2880)).unwrap();
    assert_eq!(
        (got.header.sequence, got.header.timestamp),
        (101, 50_000 + 1920)
    );
    up.set_enabled(false);
    assert!(relay(&mut up, &mut down, ms(60), &Sent::audio(2, 3840)).is_err());
    up.set_enabled(true);
    let got = relay(&mut up, &mut down, ms(80), &Sent::audio(3, 4800)).unwrap();
    assert_eq!(
        (got.header.sequence, got.header.timestamp),
        (102, 50_000 + 1920 + 1920)
    );
}

#[test]
fn a_codec_the_subscriber_has_not_negotiated_is_not_sent() {
    let (mut up, mut down) = (video_up(1), down());
    relay(&mut up, &mut down, ms(0), &key(10, 0, 1)).unwrap();
    let mut av1 = delta(11, 3000, 2);
    av1.header.payload_type = 45;
    assert_eq!(
        relay(&mut up, &mut down, ms(33), &av1).unwrap_err(),
        DropReason::CodecNotNegotiated
    );
    assert_eq!(
        relay(&mut up, &mut down, ms(66), &delta(12, 6000, 3)).unwrap_err(),
        DropReason::AwaitingKeyFrame
    );
    let got = relay(&mut up, &mut down, ms(99), &key(13, 9000, 4)).unwrap();
    assert_eq!(got.header.sequence, 101);
}

#[test]
fn extensions_arrive_under_the_subscribers_ids() {
    let (mut up, mut down) = (video_up(1), down());
    let mut sent = key(10, 0, 1);
    let descriptor: Vec<u8> = (0..40).collect();
    sent.elements = vec![(13, vec![1]), (12, descriptor.clone()), (3, vec![9, 9])];
    let got = relay(&mut up, &mut down, ms(1500), &sent).unwrap();
    let located = Extensions::locate(&got.bytes, &got.header, &down_extensions()).unwrap();
    assert_eq!(located.mid(&got.bytes), Some(&b"s3"[..]));
    assert_eq!(located.video_orientation(&got.bytes), Some(1));
    assert_eq!(
        located.dependency_descriptor(&got.bytes),
        Some(&descriptor[..])
    );
    assert_eq!(located.transport_sequence(&got.bytes), Some(0x1234));
    assert_eq!(
        located.abs_send_time(&got.bytes),
        Some(3 << 17),
        "1.5 s in 6.18"
    );
    assert!(!located.contains(ExtensionKind::AudioLevel));
    // What was kept for retransmission carries them too.
    let again = resend(&up, &mut down, ms(1600), got.header.sequence).unwrap();
    let located = Extensions::locate(&again.bytes, &again.header, &down_extensions()).unwrap();
    assert_eq!(
        located.dependency_descriptor(&again.bytes),
        Some(&descriptor[..])
    );

    let (mut up, mut down) = (audio_up(2), super::kit::down());
    let got = relay(&mut up, &mut down, ms(0), &Sent::audio(1, 1)).unwrap();
    let located = Extensions::locate(&got.bytes, &got.header, &down_extensions()).unwrap();
    assert_eq!(
        located.audio_level(&got.bytes).map(|l| (l.level, l.voice)),
        Some((30, true))
    );
    // A subscriber without extensions gets a plain header.
    down.set_negotiated(&DownNegotiated {
        codecs: vec![crate::media::DownCodec {
            format: crate::wire::sdp::CodecFormat::Opus,
            payload_type: 8,
            rtx_payload_type: None,
        }],
        ..DownNegotiated::default()
    });
    let got = relay(&mut up, &mut down, ms(20), &Sent::audio(2, 961)).unwrap();
    assert_eq!((got.header.header_len, got.header.payload_type), (12, 8));
}

#[test]
fn a_nack_is_answered_in_the_retransmission_stream_with_the_same_payload() {
    let (mut first, mut second, mut down) = (video_up(1), video_up(2), down());
    relay(&mut first, &mut down, ms(0), &key(10, 0, 1000)).unwrap();
    let sent: Vec<Got> = (0..20u16)
        .map(|i| {
            let packet = match i {
                0 => key(500, 0, 7),
                _ => delta(500 + i, u32::from(i) * 3000, 7 + i),
            };
            relay(&mut second, &mut down, ms(100), &packet).unwrap()
        })
        .collect();
    for (i, got) in sent.iter().enumerate() {
        let again = resend(&second, &mut down, ms(200), got.header.sequence).unwrap();
        assert_eq!(again.header.ssrc, DOWN_RTX_SSRC);
        assert_eq!(again.header.payload_type, DOWN_RTX_PT);
        assert_eq!(again.header.sequence, 7 + i as u16);
        assert_eq!(again.header.timestamp, got.header.timestamp);
        assert_eq!(again.header.marker, got.header.marker);
        assert_eq!(again.payload[..2], got.header.sequence.to_be_bytes());
        assert_eq!(again.payload[2..], got.payload, "picture ids as first sent");
    }
    // The packet of the publisher's earlier track is gone with it, the future does not exist.
    for (sequence, up) in [
        (100, &second),
        (100 + 21, &second),
        (99, &second),
        (130, &first),
    ] {
        assert_eq!(
            resend(up, &mut down, ms(500), sequence).unwrap_err(),
            DropReason::RtxNotCached,
            "{sequence}"
        );
    }
}

/// Sealing other bytes under a sequence number already used would give the authentication key of GCM away.
#[test]
fn without_a_retransmission_stream_nothing_is_sent_twice() {
    let (mut up, mut down) = (video_up(1), down_with(None));
    relay(&mut up, &mut down, ms(0), &key(10, 0, 1)).unwrap();
    assert_eq!(
        resend(&up, &mut down, ms(100), 100).unwrap_err(),
        DropReason::RtxNotNegotiated
    );
    let (mut up, mut down) = (audio_up(1), super::kit::down());
    relay(&mut up, &mut down, ms(0), &Sent::audio(1, 0)).unwrap();
    assert_eq!(
        resend(&up, &mut down, ms(100), 100).unwrap_err(),
        DropReason::RtxNotNegotiated
    );
}

#[test]
fn a_packet_lost_on_the_way_here_is_forwarded_late_in_its_place_and_can_be_resent() {
    let (mut up, mut down) = (video_up(1), down());
    relay(&mut up, &mut down, ms(0), &key(10, 0, 1)).unwrap();
    relay(&mut up, &mut down, ms(33), &delta(12, 6000, 3)).unwrap();
    assert_eq!(
        resend(&up, &mut down, ms(40), 101).unwrap_err(),
        DropReason::RtxNotCached
    );
    let recovered = relay(&mut up, &mut down, ms(90), &delta(11, 3000, 2).rtx(1)).unwrap();
    assert_eq!(
        (recovered.header.sequence, recovered.header.timestamp),
        (101, 53_000)
    );
    assert_eq!(picture(&recovered), (2, 2));
    let again = resend(&up, &mut down, ms(200), 101).unwrap();
    assert_eq!(again.payload[2..], recovered.payload);
}

#[test]
fn retransmissions_are_budgeted() {
    let (mut up, mut down) = (video_up(1), down());
    let body = vec![7; 1100];
    for i in 0..200u16 {
        let sent = Sent::video(10 + i, 0, vp8(i == 0, true, 1, 1, &body));
        relay(&mut up, &mut down, ms(0), &sent).unwrap();
    }
    resend(&up, &mut down, ms(100), 110).unwrap();
    assert_eq!(
        resend(&up, &mut down, ms(120), 110).unwrap_err(),
        DropReason::RtxRepeated
    );
    resend(&up, &mut down, ms(200), 110).unwrap();
    let mut sent = 0;
    let refused = (110..300).find(
        |sequence| match resend(&up, &mut down, ms(1000), *sequence) {
            Ok(got) => {
                sent += got.payload.len() as u64;
                false
            }
            Err(reason) => {
                assert_eq!(reason, DropReason::RtxBudget);
                true
            }
        },
    );
    assert!(refused.is_some());
    assert!(
        sent <= RTX_BURST_BYTES && sent > RTX_BURST_BYTES * 9 / 10,
        "{sent}"
    );
}

#[test]
fn the_mid_is_announced_until_the_subscriber_reports() {
    let (mut up, mut down) = (audio_up(1), down());
    let anchor = super::reports::anchor();
    let mid = |got: &Got| {
        Extensions::locate(&got.bytes, &got.header, &down_extensions())
            .unwrap()
            .contains(ExtensionKind::Mid)
    };
    assert!(mid(
        &relay(&mut up, &mut down, ms(0), &Sent::audio(1, 0)).unwrap()
    ));
    assert!(mid(&relay(
        &mut up,
        &mut down,
        ms(20),
        &Sent::audio(2, 960)
    )
    .unwrap()));
    down.handle_report_block(ms(30), &super::reports::block(0, 0), &anchor);
    assert!(!mid(&relay(
        &mut up,
        &mut down,
        ms(40),
        &Sent::audio(3, 1920)
    )
    .unwrap()));
}

#[test]
fn a_packet_that_would_not_fit_a_datagram_is_refused() {
    let (mut up, mut down) = (video_up(1), down());
    let payload = vp8(true, true, 1, 1, &vec![0; DATAGRAM_BYTES_MAX - 45]);
    let taken = take(&mut up, ms(0), &Sent::video(10, 0, payload)).unwrap();
    let rewrite = down.forward(&taken.fields).unwrap();
    let stamp = Stamp {
        now: ms(0),
        transport_sequence: None,
        padding: false,
    };
    for slot in [0usize, 11, 12, 40, DATAGRAM_BYTES_MAX] {
        assert_eq!(
            down.write_packet(
                &rewrite,
                &taken.fields,
                &[],
                &taken.payload,
                &stamp,
                &mut vec![0; slot]
            ),
            Err(DropReason::Oversize)
        );
    }
}
