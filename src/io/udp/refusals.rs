//! Destinations whose path has refused a train, for a while.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::limits::{TRAIN_REFUSALS_MAX, TRAIN_RETRY_S};
use crate::time::Time;

const RETRY: Duration = Duration::from_secs(TRAIN_RETRY_S);

/// A few addresses at most, mostly none: looked through one by one.
#[derive(Debug)]
pub struct Refusals(VecDeque<(SocketAddr, Time)>);

impl Default for Refusals {
    fn default() -> Self {
        Self(VecDeque::with_capacity(TRAIN_REFUSALS_MAX))
    }
}

impl Refusals {
    /// Whether `to` is to get single datagrams.
    pub fn contains(&self, to: SocketAddr) -> bool {
        self.0.iter().any(|(address, _)| *address == to)
    }

    /// `to` has refused a train.
    pub fn add(&mut self, to: SocketAddr, now: Time) {
        if self.contains(to) {
            return;
        }
        if self.0.len() == TRAIN_REFUSALS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((to, now + RETRY));
    }

    /// Forgets those whose time is over: the next train says whether it still is so.
    pub fn expire(&mut self, now: Time) {
        while self.0.front().is_some_and(|(_, until)| *until <= now) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_few_and_end() {
        let address = |port: usize| SocketAddr::from(([127, 0, 0, 1], 1000 + port as u16));
        let mut refusals = Refusals::default();
        let start = Time::from_millis(5);
        for port in 0..=TRAIN_REFUSALS_MAX {
            refusals.add(address(port), start);
        }
        assert!(!refusals.contains(address(0)), "the oldest made room");
        assert!(refusals.contains(address(1)));
        refusals.add(address(1), start + RETRY);
        refusals.expire(start + RETRY);
        assert!(
            !refusals.contains(address(1)),
            "said twice, it ends as the first time"
        );
    }
}
