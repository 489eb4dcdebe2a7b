//! Token bucket: how many frames a session may send, on average and at once.

use crate::limits::{SESSION_COMMANDS_BURST, SESSION_COMMANDS_PER_S};
use crate::time::Time;

/// Counts in micro-tokens, so that refilling is exact at any interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    micro_tokens: u64,
    filled_at: Time,
    per_s: u32,
}

const MICRO: u64 = 1_000_000;
/// Seconds' worth of tokens that a session has at once.
const BURST_S: u64 = (SESSION_COMMANDS_BURST / SESSION_COMMANDS_PER_S) as u64;

impl Budget {
    /// A full one of `per_s` commands a second.
    pub(super) fn new(now: Time, per_s: u32) -> Self {
        Self {
            micro_tokens: full(per_s),
            filled_at: now,
            per_s,
        }
    }

    /// Takes one token; `false` if there is none.
    pub(super) fn take(&mut self, now: Time) -> bool {
        let passed = now.as_micros().saturating_sub(self.filled_at.as_micros());
        let refill = passed.saturating_mul(u64::from(self.per_s));
        let most = full(self.per_s);
        self.micro_tokens = self.micro_tokens.saturating_add(refill).min(most);
        self.filled_at = now;
        match self.micro_tokens.checked_sub(MICRO) {
            Some(rest) => {
                self.micro_tokens = rest;
                true
            }
            None => false,
        }
    }
}

fn full(per_s: u32) -> u64 {
    u64::from(per_s) * BURST_S * MICRO
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn burst_then_rate() {
        let mut now = Time::from_millis(5);
        let mut budget = Budget::new(now, SESSION_COMMANDS_PER_S);
        let at_once = (0..10_000).filter(|_| budget.take(now)).count();
        assert_eq!(at_once, SESSION_COMMANDS_BURST as usize);
        let mut taken = 0;
        for _ in 0..1000 {
            now = now + Duration::from_millis(1);
            taken += u32::from(budget.take(now));
        }
        assert_eq!(taken, SESSION_COMMANDS_PER_S);
    }
}
