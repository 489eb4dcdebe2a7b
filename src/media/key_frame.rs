//! When to ask a publisher for a key frame: on behalf of everybody who waits, never too often (threats.md rule 8).
//!
//! Invariants: two requests are at least [`KEY_FRAME_INTERVAL_MS`] apart, whoever asks and however often; while
//! somebody waits the request is repeated, more slowly when the source stays silent.

use std::time::Duration;

use crate::limits::KEY_FRAME_INTERVAL_MS;
use crate::time::Time;

const INTERVAL: Duration = Duration::from_millis(KEY_FRAME_INTERVAL_MS);
/// Repetitions at full rate; a source that ignored as many is asked rarely until somebody asks again.
const TRIES_QUICK: u32 = 8;
/// Interval of the slow repetitions, in `INTERVAL`s.
const SLOW_FACTOR: u32 = 8;

/// Key-frame requests of one source.
#[derive(Debug, Clone, Default)]
pub struct KeyFrameRequester {
    wanted: bool,
    /// Somebody asked since the last request was sent.
    fresh: bool,
    tries: u32,
    last_sent: Option<Time>,
}

impl KeyFrameRequester {
    /// Somebody cannot go on without a key frame.
    pub fn request(&mut self) {
        self.wanted = true;
        self.fresh = true;
    }

    /// A key frame is here, or nobody waits any more.
    pub fn clear(&mut self) {
        self.wanted = false;
        self.fresh = false;
        self.tries = 0;
    }

    /// Whether a request is to be sent now; `true` counts as sent.
    pub fn poll_due(&mut self, now: Time) -> bool {
        match self.poll_timeout() {
            Some(due) if due <= now => {
                self.last_sent = Some(now);
                self.fresh = false;
                self.tries = self.tries.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// When the next request is due, if somebody waits.
    pub fn poll_timeout(&self) -> Option<Time> {
        if !self.wanted {
            return None;
        }
        let quick = self.fresh || self.tries < TRIES_QUICK;
        let wait = if quick {
            INTERVAL
        } else {
            INTERVAL * SLOW_FACTOR
        };
        Some(self.last_sent.map_or(Time::ZERO, |sent| sent + wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn requests_are_never_closer_than_the_interval() {
        let mut requester = KeyFrameRequester::default();
        let mut sent = Vec::new();
        for now in (0..3000).step_by(7) {
            requester.request();
            if requester.poll_due(ms(now)) {
                sent.push(now);
            }
            if now % 140 == 0 {
                requester.clear();
            }
        }
        assert!(sent.len() >= 5, "{sent:?}");
        for pair in sent.windows(2) {
            assert!(pair[1] - pair[0] >= KEY_FRAME_INTERVAL_MS, "{sent:?}");
        }
    }

    #[test]
    fn a_request_is_repeated_until_the_key_frame_comes() {
        let mut requester = KeyFrameRequester::default();
        assert_eq!(requester.poll_timeout(), None);
        requester.request();
        assert!(requester.poll_due(ms(10)));
        assert_eq!(requester.poll_timeout(), Some(ms(510)));
        assert!(!requester.poll_due(ms(509)));
        assert!(requester.poll_due(ms(510)));
        requester.clear();
        assert_eq!(requester.poll_timeout(), None);
    }

    #[test]
    fn a_silent_source_is_asked_rarely_but_a_new_wish_counts() {
        let mut requester = KeyFrameRequester::default();
        requester.request();
        let count = (0..60_000)
            .filter(|now| requester.poll_due(ms(*now)))
            .count();
        assert!((15..=25).contains(&count), "{count}");
        assert!(!requester.poll_due(ms(60_000)));
        requester.request();
        assert!(requester.poll_due(ms(60_000)));
    }
}
