//! A publisher's wall clock against ours, and RTP timestamps against both: what lip-sync needs.
//!
//! A receiver aligns audio and video by the (NTP, RTP) pairs of sender reports (RFC 3550 section 6.4.1). Our reports
//! carry our own clock, so the publisher's pairs are moved by one offset per publisher: whatever error the offset
//! has, audio and video share it. Invariant: the offset moves slowly once known, unless the clock was stepped.

use crate::time::{Time, ntp_to_micros};

/// Offsets of the last reports; the smallest had the least queueing.
const SAMPLES: usize = 16;
/// The offset moves by at most this per report, µs: far below what anybody notices as lip-sync error.
const SLEW_US: i64 = 500;
/// A difference over this is a stepped clock, µs.
const STEP_US: i64 = 500_000;

/// Offset between a publisher's NTP clock and our [`Time`]. One per publisher, shared by its tracks.
#[derive(Debug, Clone, Default)]
pub struct PublisherClock {
    samples: [i64; SAMPLES],
    count: usize,
    offset_us: Option<i64>,
}

impl PublisherClock {
    /// A sender report with NTP timestamp `ntp` arrived at `now`.
    pub fn handle_sender_report(&mut self, now: Time, ntp: u64) {
        let sample = now.as_micros() as i64 - ntp_to_micros(ntp) as i64;
        let stepped = self
            .offset_us
            .is_none_or(|offset| (sample - offset).abs() > STEP_US);
        if stepped {
            self.samples = [sample; SAMPLES];
            self.count = 1;
            self.offset_us = Some(sample);
            return;
        }
        let at = self.count % SAMPLES;
        if let Some(slot) = self.samples.get_mut(at) {
            *slot = sample;
        }
        self.count = self.count.wrapping_add(1);
        let least = self.samples.iter().copied().min().unwrap_or(sample);
        self.offset_us = self
            .offset_us
            .map(|offset| offset + (least - offset).clamp(-SLEW_US, SLEW_US));
    }

    /// Microseconds of our time at the publisher's `ntp`; may be negative. `None` before the first report.
    pub fn to_local_micros(&self, ntp: u64) -> Option<i64> {
        Some(ntp_to_micros(ntp) as i64 + self.offset_us?)
    }
}

/// An (NTP, RTP) pair of a publisher's sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpMapping {
    /// Publisher's NTP timestamp.
    pub ntp: u64,
    /// RTP timestamp of the same instant.
    pub rtp: u32,
}

impl RtpMapping {
    /// RTP timestamp at NTP time 0 of the publisher, on an RTP clock of `clock_rate` Hz; wraps like every timestamp.
    pub fn origin(&self, clock_rate: u32) -> u32 {
        let ticks = (u128::from(self.ntp) * u128::from(clock_rate)) >> 32;
        self.rtp.wrapping_sub(ticks as u32)
    }

    /// RTP timestamp at `now`, on the publisher's RTP clock of `clock_rate` Hz.
    pub fn rtp_at(&self, now: Time, clock: &PublisherClock, clock_rate: u32) -> Option<u32> {
        let since_us = now.as_micros() as i64 - clock.to_local_micros(self.ntp)?;
        let ticks = i128::from(since_us) * i128::from(clock_rate) / 1_000_000;
        Some(self.rtp.wrapping_add(ticks as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::micros_to_ntp;
    use std::time::Duration;

    /// NTP of a publisher whose clock says 1,000,000 s when ours says 0.
    fn ntp(us: u64) -> u64 {
        micros_to_ntp(1_000_000_000_000 + us)
    }

    #[test]
    fn audio_and_video_of_one_instant_stay_together() {
        let mut clock = PublisherClock::default();
        let mut delay = 20_000;
        for i in 0..50u64 {
            delay = 20_000 + (delay * 7 + i * 1313) % 30_000;
            clock
                .handle_sender_report(Time::from_micros(i * 1_000_000 + delay), ntp(i * 1_000_000));
        }
        let audio = RtpMapping {
            ntp: ntp(49_000_000),
            rtp: 7,
        };
        let video = RtpMapping {
            ntp: ntp(48_500_000),
            rtp: u32::MAX - 10,
        };
        let now = Time::from_millis(50_000);
        let audio_ticks = audio.rtp_at(now, &clock, 48_000).unwrap().wrapping_sub(7);
        let video_ticks = video.rtp_at(now, &clock, 90_000).unwrap().wrapping_add(11);
        let apart_us = i64::from(video_ticks) * 1000 / 90 - i64::from(audio_ticks) * 1000 / 48;
        assert!((apart_us - 500_000).abs() <= 40, "{apart_us}");
    }

    #[test]
    fn the_offset_settles_on_the_least_delay_without_jumps() {
        let mut clock = PublisherClock::default();
        clock.handle_sender_report(Time::from_micros(80_000), ntp(0));
        let mut before = clock.to_local_micros(ntp(0)).unwrap();
        assert_eq!(before, 80_000, "within a microsecond of rounding");
        for i in 1..200u64 {
            clock.handle_sender_report(
                Time::from_micros(i * 1_000_000 + 10_000),
                ntp(i * 1_000_000),
            );
            let offset = clock.to_local_micros(ntp(0)).unwrap();
            assert!((offset - before).abs() <= SLEW_US);
            before = offset;
        }
        assert!((before - 10_000).abs() <= 2, "{before}");
    }

    #[test]
    fn a_stepped_clock_is_followed_at_once() {
        let mut clock = PublisherClock::default();
        clock.handle_sender_report(Time::from_millis(10), ntp(0));
        let later = Time::from_millis(10) + Duration::from_secs(1);
        clock.handle_sender_report(later, ntp(3_600_000_000));
        let local = clock.to_local_micros(ntp(3_600_000_000)).unwrap();
        assert!((local - 1_010_000).abs() <= 2, "{local}");
    }

    #[test]
    fn hostile_reports_do_not_overflow() {
        let mut clock = PublisherClock::default();
        clock.handle_sender_report(Time::MAX, 0);
        clock.handle_sender_report(Time::ZERO, u64::MAX);
        let mapping = RtpMapping { ntp: 0, rtp: 0 };
        assert!(mapping.rtp_at(Time::MAX, &clock, 90_000).is_some());
    }
}
