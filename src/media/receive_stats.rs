//! Loss and jitter of one received stream for receiver reports (RFC 3550 section 6.4.1, appendices A.3 and A.8).
//!
//! Retransmissions are not counted as received: the report tells the publisher about its path, not about our repair.

use std::time::Duration;

use crate::time::Time;
use crate::wire::rtcp::ReportBlock;

/// Receiver-side statistics of one SSRC.
#[derive(Debug, Clone, Default)]
pub struct ReceiveStats {
    first: Option<u64>,
    newest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Relative transit time of the newest packet, in timestamp units.
    transit: Option<u32>,
    /// Interarrival jitter × 16, as A.8 keeps it.
    jitter_16: u32,
    last_report: Option<(u64, Time)>,
}

impl ReceiveStats {
    /// A packet that was not retransmitted and not a duplicate came in.
    #[inline]
    pub fn handle_packet(&mut self, now: Time, sequence: u64, timestamp: u32, clock_rate: u32) {
        let first = self.first.get_or_insert(sequence);
        *first = (*first).min(sequence);
        self.newest = self.newest.max(sequence);
        self.received += 1;
        let arrival = now.as_micros().wrapping_mul(u64::from(clock_rate)) / 1_000_000;
        let transit = (arrival as u32).wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let step = (transit.wrapping_sub(before) as i32).unsigned_abs();
            // A.8 with integers; a step over a second is a new timeline, not jitter.
            if step < clock_rate {
                self.jitter_16 += step;
                self.jitter_16 -= (self.jitter_16 - step + 8) >> 4;
            }
        }
    }

    /// The publisher's sender report with NTP timestamp `ntp` came in.
    pub fn handle_sender_report(&mut self, now: Time, ntp: u64) {
        self.last_report = Some((ntp, now));
    }

    /// Packets lost on the way here, before retransmission. Negative after duplicates.
    pub fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    /// Packets received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Interarrival jitter.
    pub fn jitter(&self, clock_rate: u32) -> Duration {
        let us = u64::from(self.jitter_16 >> 4) * 1_000_000 / u64::from(clock_rate.max(1));
        Duration::from_micros(us)
    }

    /// The report block for `ssrc`, and the start of the next interval. `None` before the first packet.
    pub fn report_block(&mut self, now: Time, ssrc: u32) -> Option<ReportBlock> {
        self.first?;
        let expected = self.expected();
        let expected_now = expected - self.expected_before.min(expected);
        let received_now = self.received - self.received_before;
        self.expected_before = expected;
        self.received_before = self.received;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or(0);
        let (last_sr, delay) = match self.last_report {
            Some((ntp, at)) => {
                let us = u64::try_from(now.since(at).as_micros()).unwrap_or(u64::MAX);
                let units = u128::from(us) * 65_536 / 1_000_000;
                ((ntp >> 16) as u32, u32::try_from(units).unwrap_or(u32::MAX))
            }
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: self.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: self.newest as u32,
            jitter: self.jitter_16 >> 4,
            last_sr,
            delay_since_last_sr: delay,
        })
    }

    fn expected(&self) -> u64 {
        self.first
            .map_or(0, |first| self.newest.saturating_sub(first) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn loss_is_told_per_interval_and_in_all() {
        let mut stats = ReceiveStats::default();
        assert!(stats.report_block(ms(0), 1).is_none());
        for sequence in (0..100u64).filter(|s| s % 4 != 3) {
            stats.handle_packet(
                ms(sequence * 20),
                65_536 + sequence,
                sequence as u32 * 960,
                48_000,
            );
        }
        let block = stats.report_block(ms(2000), 1).unwrap();
        assert_eq!(
            block.cumulative_lost, 24,
            "the last one is not known to be lost"
        );
        assert_eq!(block.fraction_lost, (24 * 256 / 99) as u8);
        assert_eq!(block.highest_sequence, 65_536 + 98);
        assert_eq!(block.jitter, 0);
        for sequence in 99..200u64 {
            stats.handle_packet(
                ms(sequence * 20),
                65_536 + sequence,
                sequence as u32 * 960,
                48_000,
            );
        }
        let block = stats.report_block(ms(4000), 1).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 24));
    }

    #[test]
    fn jitter_approaches_the_mean_deviation() {
        let mut stats = ReceiveStats::default();
        for i in 0..500u64 {
            let late = if i % 2 == 0 { 0 } else { 10 };
            stats.handle_packet(ms(i * 20 + late), i, i as u32 * 1800, 90_000);
        }
        let jitter = stats.jitter(90_000);
        assert!((jitter.as_millis() as i64 - 10).abs() <= 1, "{jitter:?}");
    }

    #[test]
    fn the_delay_since_the_sender_report_is_told() {
        let mut stats = ReceiveStats::default();
        stats.handle_packet(ms(0), 5, 0, 48_000);
        stats.handle_sender_report(ms(1000), 0x1234_5678_9abc_def0);
        let block = stats.report_block(ms(1500), 9).unwrap();
        assert_eq!(block.last_sr, 0x5678_9abc);
        assert_eq!(block.delay_since_last_sr, 32_768);
    }
}
