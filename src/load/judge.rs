//! What a receiver thinks of what it gets: loss, order, and on a sample of the packets integrity and one-way latency.

use hdrhistogram::Histogram;

use crate::time::Time;

/// Streams of one client. More: the packets of those too many are counted as unknown.
pub const STREAMS_MAX: usize = 256;
/// Longest latency that is told apart, µs. Longer: counted as this.
const LATENCY_MAX_US: u64 = 60_000_000;

/// One stream as it arrives.
#[derive(Debug, Clone, Copy)]
struct Stream {
    ssrc: u32,
    first: u64,
    highest: u64,
    received: u64,
    late: u64,
}

/// The streams of one client.
#[derive(Debug, Default)]
pub struct Streams {
    streams: Vec<Stream>,
    last: usize,
}

/// Counts of many streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Streams that were heard.
    pub streams: u64,
    /// Packets received.
    pub received: u64,
    /// Packets between the first and the last of a stream that did not come.
    pub lost: u64,
    /// Packets that came after a later one.
    pub late: u64,
}

impl Tally {
    /// Adds another's counts.
    pub fn add(&mut self, other: Tally) {
        self.streams += other.streams;
        self.received += other.received;
        self.lost += other.lost;
        self.late += other.late;
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: Tally) -> Tally {
        Tally {
            streams: self.streams,
            received: self.received.saturating_sub(earlier.received),
            lost: self.lost.saturating_sub(earlier.lost),
            late: self.late.saturating_sub(earlier.late),
        }
    }

    /// Share lost, 0.0 to 1.0.
    pub fn loss(&self) -> f64 {
        self.lost as f64 / (self.received + self.lost).max(1) as f64
    }
}

impl Streams {
    /// Counts a packet. `false`: of a stream too many.
    pub fn count(&mut self, ssrc: u32, sequence: u16) -> bool {
        let known = match self.streams.get(self.last) {
            Some(stream) if stream.ssrc == ssrc => Some(self.last),
            _ => self.streams.iter().position(|s| s.ssrc == ssrc),
        };
        let Some(at) = known else {
            if self.streams.len() == STREAMS_MAX {
                return false;
            }
            // Far from zero, so that what is older than the first packet has a number too.
            let number = (1 << 32) + u64::from(sequence);
            self.streams.push(Stream {
                ssrc,
                first: number,
                highest: number,
                received: 1,
                late: 0,
            });
            return true;
        };
        self.last = at;
        if let Some(stream) = self.streams.get_mut(at) {
            let ahead = sequence.wrapping_sub(stream.highest as u16) as i16;
            let number = stream.highest.wrapping_add_signed(i64::from(ahead));
            stream.late += u64::from(ahead <= 0);
            stream.highest = stream.highest.max(number);
            stream.first = stream.first.min(number);
            stream.received += 1;
        }
        true
    }

    /// Highest extended sequence number of each stream, by SSRC.
    pub fn highest(&self) -> impl Iterator<Item = (u32, u32)> {
        self.streams.iter().map(|s| (s.ssrc, s.highest as u32))
    }

    /// What came so far.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for stream in &self.streams {
            let wanted = stream.highest - stream.first + 1;
            tally.add(Tally {
                streams: 1,
                received: stream.received,
                lost: wanted.saturating_sub(stream.received),
                late: stream.late,
            });
        }
        tally
    }
}

/// What samples say.
#[derive(Debug)]
pub struct Samples {
    latency: Histogram<u64>,
    /// Samples looked at.
    pub checked: u64,
    /// Those that could not be decrypted or were not what was sent.
    pub spoilt: u64,
}

impl Default for Samples {
    fn default() -> Self {
        let Ok(latency) = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3) else {
            unreachable!("the bounds are constants that the histogram takes");
        };
        Self {
            latency,
            checked: 0,
            spoilt: 0,
        }
    }
}

impl Samples {
    /// A sample that was sent at `sent` and is good, or one that is not.
    pub fn add(&mut self, now: Time, sent: Option<Time>) {
        self.checked += 1;
        match sent {
            Some(sent) => {
                let us = now.since(sent).as_micros() as u64;
                self.latency.saturating_record(us.min(LATENCY_MAX_US));
            }
            None => self.spoilt += 1,
        }
    }

    /// One-way latency that `share` (0.0 to 1.0) of the samples do not exceed, µs.
    pub fn latency_us(&self, share: f64) -> u64 {
        self.latency.value_at_quantile(share)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.latency.reset();
        self.checked = 0;
        self.spoilt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_order_and_wraps_are_seen() {
        let mut streams = Streams::default();
        for sequence in [65_533_u16, 65_534, 65_535, 0, 2, 1, 5] {
            assert!(streams.count(1, sequence));
            assert!(streams.count(2, sequence.wrapping_mul(3)));
        }
        let mut one = Streams::default();
        for sequence in [65_533_u16, 65_534, 65_535, 0, 2, 1, 5] {
            one.count(1, sequence);
        }
        let wanted = Tally {
            streams: 1,
            received: 7,
            lost: 2,
            late: 1,
        };
        assert_eq!(one.tally(), wanted);
        assert_eq!(streams.tally().streams, 2);
        assert!((wanted.loss() - 2.0 / 9.0).abs() < 1e-9);
    }

    #[test]
    fn what_comes_before_the_first_is_late_not_lost() {
        let mut streams = Streams::default();
        for sequence in [10, 9, 11] {
            streams.count(1, sequence);
        }
        let tally = streams.tally();
        assert_eq!((tally.received, tally.lost, tally.late), (3, 0, 1));
    }

    #[test]
    fn streams_are_bounded() {
        let mut streams = Streams::default();
        let taken = (0..1000).filter(|ssrc| streams.count(*ssrc, 1)).count();
        assert_eq!(taken, STREAMS_MAX);
    }

    #[test]
    fn latencies_are_told() {
        let mut samples = Samples::default();
        for ms in 1..=100 {
            samples.add(Time::from_millis(1000 + ms), Some(Time::from_millis(1000)));
        }
        samples.add(Time::ZERO, None);
        assert_eq!((samples.checked, samples.spoilt), (101, 1));
        let median = samples.latency_us(0.5);
        assert!(median.abs_diff(50_000) < 100, "{median}");
    }
}
