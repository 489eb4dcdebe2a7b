//! Bits, packets and frames per second of a stream, from plain counters rolled over once a second.

use std::time::Duration;

use crate::time::Time;

const PERIOD: Duration = Duration::from_secs(1);

/// What a stream carried in the last whole period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Payload bits per second.
    pub bits_per_s: u64,
    /// Packets per second.
    pub packets_per_s: u32,
    /// Frames per second; 0 for audio, where frames are not counted.
    pub frames_per_s: u32,
}

/// Counts and rolls over.
#[derive(Debug, Clone, Default)]
pub struct RateMeter {
    started: Option<Time>,
    bytes: u64,
    packets: u64,
    frames: u64,
    last: Rates,
}

impl RateMeter {
    /// Counts one packet of `bytes` payload bytes that ends `frames` (0 or 1) frames.
    #[inline]
    pub fn count(&mut self, now: Time, bytes: usize, frames: u64) {
        self.roll(now);
        self.bytes += bytes as u64;
        self.packets += 1;
        self.frames += frames;
    }

    /// Rates of the last whole period; zero when the stream has been silent since.
    pub fn rates(&self, now: Time) -> Rates {
        match self.started {
            Some(started) if now.since(started) < PERIOD * 2 => self.last,
            _ => Rates::default(),
        }
    }

    #[inline]
    fn roll(&mut self, now: Time) {
        let started = *self.started.get_or_insert(now);
        let passed = now.since(started);
        if passed < PERIOD {
            return;
        }
        let us = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX).max(1);
        let per_s = |count: u64| count.saturating_mul(1_000_000) / us;
        self.last = Rates {
            bits_per_s: per_s(self.bytes.saturating_mul(8)),
            packets_per_s: per_s(self.packets) as u32,
            frames_per_s: ((self.frames * 1_000_000 + us / 2) / us) as u32,
        };
        self.started = Some(now);
        (self.bytes, self.packets, self.frames) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_shows_its_rates_and_silence_shows_zero() {
        let mut meter = RateMeter::default();
        for i in 0..300u64 {
            meter.count(Time::from_millis(i * 10), 1000, u64::from(i % 4 == 3));
        }
        let rates = meter.rates(Time::from_millis(3000));
        assert_eq!(rates.bits_per_s, 800_000);
        assert_eq!(rates.packets_per_s, 100);
        assert_eq!(rates.frames_per_s, 25);
        assert_eq!(meter.rates(Time::from_millis(5000)), Rates::default());
    }
}
