//! Pacing of what the server sends again: a lost key frame must not leave as one burst that is lost like the first one.
//!
//! Media is never held: it goes on at the pace its publisher sent it at, and publishers pace (RFC 8836 section 3,
//! libwebrtc at 2.5 times their rate). What a subscriber asks for again has no such pace: up to `RTX_BURST_BYTES` of it
//! may be asked for at once, and would leave as trains at the speed of the server's line. This meter lets it go at a
//! multiple of the rate the subscriber has been taking media at; what has to wait is the caller's to keep. Invariant:
//! over any span, bytes let through ≤ pace × (span + [`BURST`]) + one datagram. A leaky bucket as a meter (ITU-T I.371).

use std::time::Duration;

use crate::limits::{RTX_PACE_FACTOR_PERCENT, RTX_PACE_MIN_BPS};
use crate::time::Time;

/// How far ahead of its pace a burst may get: what a queue on the way can be trusted to take.
pub const BURST: Duration = Duration::from_millis(20);

/// Meter of one transport.
#[derive(Debug, Clone)]
pub struct Pacer {
    bits_per_s: u64,
    /// When all that was let through would have left at its pace.
    clear_at: Time,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            bits_per_s: RTX_PACE_MIN_BPS,
            clear_at: Time::ZERO,
        }
    }
}

impl Pacer {
    /// The peer takes media at this rate, bit/s.
    pub fn set_media_rate(&mut self, bits_per_s: u64) {
        let pace = bits_per_s.saturating_mul(RTX_PACE_FACTOR_PERCENT) / 100;
        self.bits_per_s = pace.max(RTX_PACE_MIN_BPS);
    }

    /// Bits per second let through.
    pub fn pace(&self) -> u64 {
        self.bits_per_s
    }

    /// Whether a datagram may leave now.
    pub fn admits(&self, now: Time) -> bool {
        self.clear_at <= now + BURST
    }

    /// A datagram of `bytes` leaves.
    pub fn spend(&mut self, now: Time, bytes: usize) {
        let us = (bytes as u64).saturating_mul(8_000_000) / self.bits_per_s;
        self.clear_at = self.clear_at.max(now) + Duration::from_micros(us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES: usize = 1200;

    /// Datagrams that leave when as many as may are sent at `now`.
    fn burst(pacer: &mut Pacer, now: Time) -> usize {
        let mut count = 0;
        while pacer.admits(now) {
            pacer.spend(now, BYTES);
            count += 1;
        }
        count
    }

    #[test]
    fn a_burst_is_short_and_what_follows_keeps_the_pace() {
        let mut pacer = Pacer::default();
        pacer.set_media_rate(2_000_000);
        assert_eq!(pacer.pace(), 5_000_000, "2.5 times");
        // 20 ms of 5 Mbit/s are 12,500 bytes, and the datagram that goes over it.
        assert_eq!(burst(&mut pacer, Time::from_millis(1000)), 11);
        assert_eq!(burst(&mut pacer, Time::from_millis(1000)), 0);
        let later: usize = (1..=50)
            .map(|tick| burst(&mut pacer, Time::from_millis(1000 + 20 * tick)))
            .sum();
        let sent_bps = later * BYTES * 8;
        assert!((4_900_000..=5_100_000).contains(&sent_bps), "{sent_bps}");
        // Idleness is no credit.
        assert_eq!(burst(&mut pacer, Time::from_millis(60_000)), 11);
    }

    #[test]
    fn whoever_takes_little_is_still_helped_soon() {
        let mut pacer = Pacer::default();
        pacer.set_media_rate(20_000);
        assert_eq!(pacer.pace(), RTX_PACE_MIN_BPS);
        assert!(burst(&mut pacer, Time::ZERO) >= 2);
    }

    proptest! {
        #[test]
        fn no_span_sees_more_than_its_share(
            rate in 0_u64..50_000_000,
            asked in prop::collection::vec((0_u64..50_000, 40_usize..1400), 1..200),
        ) {
            let mut pacer = Pacer::default();
            pacer.set_media_rate(rate);
            let mut now = Time::from_millis(10);
            let (begin, mut sent) = (now, 0_u64);
            for (wait_us, bytes) in asked {
                now = now + Duration::from_micros(wait_us);
                if pacer.admits(now) {
                    pacer.spend(now, bytes);
                    sent += bytes as u64;
                }
                let span = now.since(begin) + BURST;
                let share = pacer.pace() as u128 * span.as_micros() / 8_000_000;
                prop_assert!(u128::from(sent) <= share + 1400 + 200);
            }
        }
    }
}
