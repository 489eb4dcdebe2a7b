//! Time as the pure core sees it: microseconds since the process started, passed in as `now`.
//!
//! Only `io` reads a clock. Wall time exists for sender reports alone and comes from one anchor
//! taken at start (`docs/architecture.md`), so that a stepped system clock never moves a timer.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in monotonic time, microseconds since the process' anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The anchor itself.
    pub const ZERO: Time = Time(0);
    /// Later than every reachable time.
    pub const MAX: Time = Time(u64::MAX);

    /// From microseconds since the anchor.
    pub const fn from_micros(us: u64) -> Time {
        Time(us)
    }

    /// From milliseconds since the anchor.
    pub const fn from_millis(ms: u64) -> Time {
        Time(ms.saturating_mul(1000))
    }

    /// Microseconds since the anchor.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since the anchor, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// Time passed since `earlier`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, rhs: Duration) -> Time {
        let us = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(us))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, rhs: Duration) -> Time {
        let us = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_sub(us))
    }
}

/// At most `max` admissions in any window of `period` that starts with an admission.
#[derive(Debug, Clone)]
pub struct RateWindow {
    max: u32,
    period: Duration,
    start: Time,
    used: u32,
}

impl RateWindow {
    /// A window nobody used yet.
    pub const fn new(max: u32, period: Duration) -> RateWindow {
        RateWindow {
            max,
            period,
            start: Time::ZERO,
            used: 0,
        }
    }

    /// Whether one more is admitted at `now`; counts it if so.
    pub fn admit(&mut self, now: Time) -> bool {
        if self.used == 0 || now.since(self.start) >= self.period {
            self.start = now;
            self.used = 0;
        }
        let admitted = self.used < self.max;
        self.used += u32::from(admitted);
        admitted
    }
}

/// The one link between [`Time`] and the outside: what the clocks said when [`Time::ZERO`] was now.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    /// Monotonic instant of [`Time::ZERO`] (libraries that want `std::time::Instant` get it from here).
    pub instant: std::time::Instant,
    /// NTP timestamp (RFC 3550 section 4: 32.32 fixed point, seconds since 1900) of [`Time::ZERO`].
    pub ntp: u64,
}

impl Anchor {
    /// `time` as a std instant. Pure arithmetic: no clock is read.
    pub fn to_instant(&self, time: Time) -> std::time::Instant {
        self.instant + Duration::from_micros(time.as_micros())
    }

    /// A std instant as [`Time`]; instants before the anchor become [`Time::ZERO`].
    pub fn to_time(&self, instant: std::time::Instant) -> Time {
        let since = instant.saturating_duration_since(self.instant);
        Time::ZERO + since
    }

    /// `time` in seconds since 1970 (RFC 5905 section 6: NTP counts from 1900).
    pub fn to_unix_s(&self, time: Time) -> u64 {
        (self.to_ntp(time) >> 32).saturating_sub(2_208_988_800)
    }

    /// `time` as a 64-bit NTP timestamp.
    pub fn to_ntp(&self, time: Time) -> u64 {
        self.ntp.wrapping_add(micros_to_ntp(time.as_micros()))
    }
}

/// A span of microseconds in NTP 32.32 units.
pub const fn micros_to_ntp(us: u64) -> u64 {
    ((us / 1_000_000) << 32) | (((us % 1_000_000) << 32) / 1_000_000)
}

/// A span of NTP 32.32 units in microseconds, rounded down.
pub const fn ntp_to_micros(ntp: u64) -> u64 {
    (ntp >> 32) * 1_000_000 + (((ntp & 0xffff_ffff) * 1_000_000) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_round_trip_is_within_a_microsecond() {
        for us in [0, 1, 999_999, 1_000_000, 86_400_000_001] {
            assert!(us - ntp_to_micros(micros_to_ntp(us)) <= 1, "{us}");
        }
    }

    #[test]
    fn a_window_admits_its_number_and_then_the_next_begins() {
        let mut window = RateWindow::new(2, Duration::from_secs(10));
        let admitted = |window: &mut RateWindow, ms| window.admit(Time::from_millis(ms));
        assert!(admitted(&mut window, 0) && admitted(&mut window, 9_000));
        assert!(!admitted(&mut window, 9_999));
        assert!(admitted(&mut window, 10_000));
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Time::ZERO - Duration::from_secs(1), Time::ZERO);
        assert_eq!(Time::MAX + Duration::from_secs(1), Time::MAX);
        assert_eq!(Time::ZERO.since(Time::from_millis(5)), Duration::ZERO);
    }
}
