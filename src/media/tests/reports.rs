//! Sender and receiver reports: lip-sync and round trips as a browser computes them.

use std::time::{Duration, Instant};

use super::kit::*;
use crate::media::PublisherClock;
use crate::time::{Anchor, Time, micros_to_ntp, ntp_to_micros};
use crate::wire::rtcp::{ReportBlock, SenderInfo};

/// An anchor with some wall time.
pub fn anchor() -> Anchor {
    #[allow(clippy::disallowed_methods)]
    // Any instant will do: nothing here compares with the clock.
    let instant = Instant::now();
    Anchor {
        instant,
        ntp: micros_to_ntp(3_900_000_000_000_000),
    }
}

/// A receiver report's block for the media stream.
pub fn block(last_sr: u32, delay_since_last_sr: u32) -> ReportBlock {
    ReportBlock {
        ssrc: DOWN_SSRC,
        fraction_lost: 25,
        cumulative_lost: 3,
        highest_sequence: 100,
        jitter: 90,
        last_sr,
        delay_since_last_sr,
    }
}

/// The publisher's report: its wall clock is years off ours; RTP clocks start anywhere.
fn info(at_us: u64, rtp_start: u32, clock_rate: u64) -> SenderInfo {
    SenderInfo {
        ntp: micros_to_ntp(1_000_000_000_000 + at_us),
        rtp_timestamp: rtp_start.wrapping_add((at_us * clock_rate / 1_000_000) as u32),
        packets: 1,
        octets: 1,
    }
}

/// Media instant of an RTP timestamp as a receiver derives it from a sender report, µs of the report's clock.
fn instant_us(report: &SenderInfo, timestamp: u32, clock_rate: i64) -> i64 {
    let ticks = i64::from(timestamp.wrapping_sub(report.rtp_timestamp) as i32);
    ntp_to_micros(report.ntp) as i64 + ticks * 1_000_000 / clock_rate
}

#[test]
fn audio_and_video_captured_together_are_played_together() {
    let anchor = anchor();
    let mut clock = PublisherClock::default();
    let (mut audio, mut video) = (audio_up(1), video_up(2));
    let (mut audio_down, mut video_down) = (down(), down());
    assert!(
        audio_down
            .sender_report(ms(0), &audio, &clock, &anchor)
            .is_none()
    );
    let mut worst = 0;
    for second in 0..30u64 {
        let at_us = second * 1_000_000;
        // Captured at the same instant, travelling differently.
        let (audio_way, video_way) = (20 + second * 7 % 23, 90 + second * 31 % 170);
        let audio_ts = 4_000_000_000u32.wrapping_add((at_us * 48 / 1000) as u32);
        let video_ts = 77u32.wrapping_add((at_us * 90 / 1000) as u32);
        let a = Sent::audio(second as u16, audio_ts);
        let v = Sent::video(second as u16, video_ts, vp8(second == 0, true, 1, 1, b""));
        let got_a = relay(
            &mut audio,
            &mut audio_down,
            ms(second * 1000 + audio_way),
            &a,
        )
        .unwrap();
        let got_v = relay(
            &mut video,
            &mut video_down,
            ms(second * 1000 + video_way),
            &v,
        )
        .unwrap();
        let arrived = |way| ms(second * 1000 + way);
        audio.handle_sender_report(
            arrived(audio_way),
            &info(at_us, 4_000_000_000, 48_000),
            &mut clock,
        );
        let early = info(at_us.saturating_sub(300_000), 77, 90_000);
        video.handle_sender_report(arrived(video_way), &early, &mut clock);
        let now = |offset| ms(second * 1000 + offset);
        let sr_a = audio_down
            .sender_report(now(400), &audio, &clock, &anchor)
            .unwrap();
        let sr_v = video_down
            .sender_report(now(900), &video, &clock, &anchor)
            .unwrap();
        let apart = instant_us(&sr_a, got_a.header.timestamp, 48_000)
            - instant_us(&sr_v, got_v.header.timestamp, 90_000);
        worst = worst.max(apart.abs());
    }
    assert!(worst < 1000, "{worst} µs apart");
}

#[test]
fn a_new_source_is_reported_by_its_own_mapping_only() {
    let anchor = anchor();
    let mut clock = PublisherClock::default();
    let (mut first, mut second, mut down) = (audio_up(1), audio_up(2), down());
    relay(&mut first, &mut down, ms(0), &Sent::audio(1, 960)).unwrap();
    first.handle_sender_report(ms(0), &info(0, 0, 48_000), &mut clock);
    let report = down
        .sender_report(ms(100), &first, &clock, &anchor)
        .unwrap();
    assert_eq!(report.ntp, anchor.to_ntp(ms(100)));
    assert_eq!((report.packets, report.octets), (1, 4));
    assert!(
        down.sender_report(ms(100), &second, &clock, &anchor)
            .is_none()
    );
    relay(&mut second, &mut down, ms(200), &Sent::audio(9, 55)).unwrap();
    assert!(
        down.sender_report(ms(200), &first, &clock, &anchor)
            .is_none()
    );
    assert!(
        down.sender_report(ms(200), &second, &clock, &anchor)
            .is_none(),
        "no report of it yet"
    );
}

#[test]
fn the_round_trip_is_what_the_report_took() {
    let anchor = anchor();
    let mut down = down();
    let sent = ms(5000);
    let last_sr = (anchor.to_ntp(sent) >> 16) as u32;
    let held = 65_536 / 2;
    let arrived = sent + Duration::from_millis(500 + 80);
    assert_eq!(down.rtt(), None);
    down.handle_report_block(arrived, &block(last_sr, held), &anchor);
    let rtt = down.rtt().unwrap();
    assert!((rtt.as_micros() as i64 - 80_000).abs() < 100, "{rtt:?}");
    // A report from the future, or of a broken client, changes nothing.
    down.handle_report_block(arrived, &block(last_sr, 60 * 65_536), &anchor);
    down.handle_report_block(Time::ZERO, &block(last_sr, 0), &anchor);
    assert_eq!(down.rtt(), Some(rtt));
    let stats = down.stats(arrived, 90_000);
    assert_eq!((stats.fraction_lost, stats.lost), (25, 3));
    assert_eq!(stats.jitter, Duration::from_millis(1));
}
