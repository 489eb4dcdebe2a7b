//! Whether a peer's line can carry what it is sent, told from its transport-wide feedback.
//!
//! Two signs, each on its own: packets stand in a queue on the way ever longer (their one-way delay stays over the least
//! seen lately), or many are lost. No bandwidth is computed: what is sent comes in a few encodings far apart, so all there
//! is to know is whether the next one down is due. The delay of a feedback is the *least* of its packets', so that the burst
//! of a key frame, or a receiver whose processor is busy, is no queue. Clocks need not agree: only differences count.
//! Invariant: without feedback nothing is known, neither that a line is full nor that it is free. RFC 8836; draft-ietf-rmcat-gcc-02 section 4 has the same signs.

use std::time::Duration;

use crate::time::Time;
use crate::transport::twcc::TwccReport;

/// Queueing that no call should have to bear.
const QUEUE_MAX: Duration = Duration::from_millis(120);
/// It has to last as long: a burst is over by then.
const QUEUE_PATIENCE: Duration = Duration::from_millis(400);
/// A queue that has shrunk to this share of its longest, percent, is on its way out.
const DRAINING_PERCENT: u32 = 70;
/// Packets lost, per thousand, of a line that is too full (draft-ietf-rmcat-gcc-02 section 6: a tenth).
const LOSS_MAX_PERMILLE: u32 = 100;
/// Losses are counted over this time,
const LOSS_WINDOW: Duration = Duration::from_secs(1);
/// and mean something from so many packets on.
const LOSS_PACKETS_MIN: u32 = 20;
/// The least delay is that of the last one to two of these.
const BASE_WINDOW: Duration = Duration::from_secs(10);
/// What was seen longer ago than this says nothing of now.
const STALE: Duration = Duration::from_secs(2);

/// What is known of a peer's line.
#[derive(Debug, Clone, Default)]
pub struct Congestion {
    /// Least delay of this window and of the one before, µs between two clocks.
    base: [Option<i64>; 2],
    base_since: Time,
    queue: Duration,
    /// Since when the queue is too long, and its longest since.
    over: Option<(Time, Duration)>,
    received: u32,
    lost: u32,
    loss_since: Time,
    loss_permille: u32,
    heard: Option<Time>,
}

impl Congestion {
    /// The peer's feedback, as [`super::twcc::TwccSender`] has read it.
    pub fn handle_report(&mut self, now: Time, report: &TwccReport) {
        if self.is_stale(now) {
            // What was counted before the pause says nothing of now.
            (self.received, self.lost, self.loss_since) = (0, 0, now);
            (self.base_since, self.over, self.loss_permille) = (now, None, 0);
        }
        self.heard = Some(now);
        self.count_losses(now, report);
        let Some(delay) = report.delay_us else {
            return;
        };
        if now.since(self.base_since) >= BASE_WINDOW {
            self.base = [None, self.base[0]];
            self.base_since = now;
        }
        self.base[0] = Some(self.base[0].map_or(delay, |least| least.min(delay)));
        let base = self.base.into_iter().flatten().min().unwrap_or(delay);
        self.queue = Duration::from_micros(delay.saturating_sub(base).max(0) as u64);
        self.over = (self.queue > QUEUE_MAX).then(|| {
            let (since, longest) = self.over.unwrap_or((now, self.queue));
            (since, longest.max(self.queue))
        });
    }

    fn count_losses(&mut self, now: Time, report: &TwccReport) {
        self.received = self.received.saturating_add(report.received);
        self.lost = self.lost.saturating_add(report.lost);
        if now.since(self.loss_since) < LOSS_WINDOW {
            return;
        }
        let all = self.received.saturating_add(self.lost);
        self.loss_permille = match all >= LOSS_PACKETS_MIN {
            true => (u64::from(self.lost) * 1000 / u64::from(all)) as u32,
            false => 0,
        };
        (self.received, self.lost, self.loss_since) = (0, 0, now);
    }

    fn is_stale(&self, now: Time) -> bool {
        self.heard.is_none_or(|at| now.since(at) > STALE)
    }

    /// Whether the line is too full for what is sent over it; `None` while nothing is heard of it.
    pub fn is_congested(&self, now: Time) -> Option<bool> {
        if self.is_stale(now) {
            return None;
        }
        let standing = self.over.is_some_and(|(since, longest)| {
            now.since(since) >= QUEUE_PATIENCE && self.queue * 100 >= longest * DRAINING_PERCENT
        });
        Some(standing || self.loss_permille >= LOSS_MAX_PERMILLE)
    }

    /// How long packets stand in queues on the way; zero while nothing is heard.
    pub fn queue(&self, now: Time) -> Duration {
        match self.is_stale(now) {
            true => Duration::ZERO,
            false => self.queue,
        }
    }

    /// Packets lost of 1000 in the last second; 0 while nothing is heard.
    pub fn loss_permille(&self, now: Time) -> u32 {
        match self.is_stale(now) {
            true => 0,
            false => self.loss_permille,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feedback every 50 ms on ten packets.
    struct Line {
        congestion: Congestion,
        now: Time,
    }

    impl Line {
        fn new() -> Line {
            Line {
                congestion: Congestion::default(),
                now: Time::from_millis(5_000),
            }
        }

        /// Feedback for `ms`, each on packets that took `delay_ms(so far)` and of which `lost` of ten were lost; whether
        /// the line was ever congested.
        fn pass(&mut self, ms: u64, lost: u32, delay_ms: impl Fn(u64) -> i64) -> bool {
            let mut ever = false;
            for at in (0..ms).step_by(50) {
                self.now = self.now + Duration::from_millis(50);
                let report = TwccReport {
                    received: 10 - lost,
                    lost,
                    round_trip: None,
                    // The peer's clock is an hour behind.
                    delay_us: Some(delay_ms(at) * 1000 - 3_600_000_000),
                };
                self.congestion.handle_report(self.now, &report);
                ever |= self.congestion.is_congested(self.now) == Some(true);
            }
            ever
        }
    }

    #[test]
    fn a_queue_that_stays_is_congestion_and_bursts_and_jitter_are_not() {
        let mut line = Line::new();
        assert!(!line.pass(5_000, 0, |_| 30));
        let jitter = |at: u64| 30 + (at as i64 * 7919) % 90;
        assert!(!line.pass(5_000, 0, jitter));
        // A key frame: 300 ms of queue, gone after as long.
        assert!(!line.pass(600, 0, |at| 330 - at as i64 / 2));
        assert!(!line.pass(2_000, 0, |_| 30));
        // Twice what the line carries: each second, a second more.
        assert!(line.pass(2_000, 0, |at| 30 + at as i64));
        assert!(line.congestion.queue(line.now) > Duration::from_secs(1));
        assert_eq!(line.congestion.is_congested(line.now), Some(true));
        // Less is sent: what stands in the queue is no reason to send less still.
        line.pass(500, 0, |at| 2000 - 2 * at as i64);
        assert!(!line.pass(1_000, 0, |at| 1000 - at as i64));
    }

    #[test]
    fn loss_is_congestion_from_a_tenth_on() {
        let mut line = Line::new();
        assert!(!line.pass(3_000, 0, |_| 20));
        assert!(line.pass(3_000, 2, |_| 20));
        assert_eq!(line.congestion.loss_permille(line.now), 200);
        line.pass(1_200, 0, |_| 20);
        assert!(!line.pass(3_000, 0, |_| 20));
    }

    #[test]
    fn another_route_is_a_queue_for_a_while_only() {
        let mut line = Line::new();
        line.pass(2_000, 0, |_| 20);
        assert!(line.pass(10_000, 0, |_| 220));
        line.pass(10_000, 0, |_| 220);
        assert!(!line.pass(5_000, 0, |_| 220));
    }

    #[test]
    fn of_whoever_says_nothing_nothing_is_known() {
        let mut line = Line::new();
        assert_eq!(line.congestion.is_congested(line.now), None);
        line.pass(2_000, 0, |_| 20);
        assert!(line.pass(2_000, 5, |_| 400));
        line.now = line.now + Duration::from_secs(3);
        assert_eq!(line.congestion.is_congested(line.now), None);
        assert_eq!(line.congestion.loss_permille(line.now), 0);
        // What was lost in the first moment after is no second's loss.
        assert!(!line.pass(50, 9, |_| 20));
    }

    #[test]
    fn clocks_that_make_no_sense_are_survived() {
        let mut line = Line::new();
        for delay in [i64::MIN, i64::MAX, 0, i64::MAX, i64::MIN] {
            let report = TwccReport {
                received: u32::MAX,
                lost: u32::MAX,
                round_trip: None,
                delay_us: Some(delay),
            };
            line.now = line.now + Duration::from_secs(2);
            line.congestion.handle_report(line.now, &report);
            let _ = line.congestion.is_congested(line.now);
        }
    }
}
