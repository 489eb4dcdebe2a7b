//! How much a subscriber may have sent again: a share of its media, and each packet once per round trip
//! (threats.md rule 8).
//!
//! Invariant: over any span, resent bytes ≤ `RTX_PERCENT_MAX` % of the media bytes in it + `RTX_BURST_BYTES`.

use std::time::Duration;

use crate::limits::{RECENT_RESENDS, RTX_BURST_BYTES, RTX_PERCENT_MAX};
use crate::time::Time;

/// Shortest time between two copies of one packet: duplicated or hasty NACKs.
const REPEAT_MIN: Duration = Duration::from_millis(10);

/// Budget of one DownTrack.
#[derive(Debug, Clone)]
pub struct ResendBudget {
    /// Bytes that may be resent, × 100 so that a percentage is exact.
    credit_percent: u64,
    /// Apart: every packet of media touches the credit, and nothing of this.
    recent: Box<Recent>,
}

/// Lately resent sequence numbers and when, placed by the low bits of the number.
#[derive(Debug, Clone)]
struct Recent {
    sent: [(u16, Time); RECENT_RESENDS],
    used: [bool; RECENT_RESENDS],
}

impl Default for ResendBudget {
    fn default() -> Self {
        Self {
            credit_percent: RTX_BURST_BYTES * 100,
            recent: Box::new(Recent {
                sent: [(0, Time::ZERO); RECENT_RESENDS],
                used: [false; RECENT_RESENDS],
            }),
        }
    }
}

impl ResendBudget {
    /// Media of `bytes` went out for the first time.
    #[inline]
    pub fn handle_media(&mut self, bytes: usize) {
        let credit = self.credit_percent + bytes as u64 * RTX_PERCENT_MAX;
        self.credit_percent = credit.min(RTX_BURST_BYTES * 100);
    }

    /// Whether `sequence` was resent less than a round trip ago.
    pub fn is_repeated(&self, now: Time, sequence: u16, rtt: Duration) -> bool {
        let at = usize::from(sequence) % RECENT_RESENDS;
        let used = self.recent.used.get(at).copied().unwrap_or(false);
        used && self.recent.sent.get(at).is_some_and(|(known, sent)| {
            *known == sequence && now.since(*sent) < rtt.max(REPEAT_MIN)
        })
    }

    /// Takes `bytes` for resending `sequence` out of the budget. `false`, and nothing taken, when it is used up.
    #[must_use]
    pub fn take(&mut self, now: Time, sequence: u16, bytes: usize) -> bool {
        let Some(rest) = self.credit_percent.checked_sub(bytes as u64 * 100) else {
            return false;
        };
        self.credit_percent = rest;
        let at = usize::from(sequence) % RECENT_RESENDS;
        let Recent { sent, used } = self.recent.as_mut();
        if let (Some(slot), Some(used)) = (sent.get_mut(at), used.get_mut(at)) {
            *slot = (sequence, now);
            *used = true;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(80);

    #[test]
    fn resent_bytes_stay_under_the_share() {
        let mut budget = ResendBudget::default();
        let (mut media, mut resent) = (0u64, 0u64);
        for i in 0..20_000u32 {
            budget.handle_media(1000);
            media += 1000;
            if budget.take(Time::from_millis(u64::from(i)), i as u16, 1000) {
                resent += 1000;
            }
            assert!(resent <= media * RTX_PERCENT_MAX / 100 + RTX_BURST_BYTES);
        }
        assert!(resent >= media * RTX_PERCENT_MAX / 100);
    }

    #[test]
    fn one_copy_per_round_trip() {
        let mut budget = ResendBudget::default();
        let now = Time::from_millis(1000);
        assert!(
            !budget.is_repeated(Time::ZERO, 0, RTT),
            "nothing was sent yet"
        );
        assert!(budget.take(now, 7, 100));
        assert!(budget.is_repeated(now + RTT / 2, 7, RTT));
        assert!(!budget.is_repeated(now + RTT, 7, RTT));
        assert!(!budget.is_repeated(now, 8, RTT));
        assert!(budget.is_repeated(now, 7, Duration::ZERO), "at least 10 ms");
    }
}
