//! Which lost packets of a publisher to ask for again, and when (generic NACK, RFC 4585 section 6.2.1).
//!
//! A gap is asked for at once, then once per round trip, [`NACK_TRIES_MAX`] times. Invariants: entries are in
//! ascending order; never more than [`NACK_LIST_MAX`], and no memory before the first loss.

use std::time::Duration;

use crate::limits::{NACK_LIST_MAX, NACK_PER_PACKET_MAX, NACK_TRIES_MAX};
use crate::time::Time;

/// Shortest time between two requests for one packet: below it the answer cannot be here yet in practice.
const RETRY_MIN: Duration = Duration::from_millis(20);
/// Longest time between two requests: a wrong RTT must not stop recovery.
const RETRY_MAX: Duration = Duration::from_millis(400);
/// First extension of the wait, so that an answer in flight is not asked for twice.
const RETRY_MARGIN: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy)]
struct Missing {
    sequence: u64,
    tries: u8,
    due: Time,
}

/// The list of lost packets of one stream.
#[derive(Debug, Clone, Default)]
pub struct NackGenerator {
    missing: Vec<Missing>,
}

impl NackGenerator {
    /// `count` packets before `newest` are missing. `false` when there are more than can be tracked: the list is
    /// emptied and only a key frame helps.
    #[must_use]
    pub fn handle_gap(&mut self, now: Time, newest: u64, count: u32) -> bool {
        let count = u64::from(count);
        // What is left lies within `NACK_LIST_MAX` of `newest`: the list cannot outgrow it by many small gaps.
        self.forget_before(newest.saturating_sub(NACK_LIST_MAX as u64));
        if self.missing.len() as u64 + count > NACK_LIST_MAX as u64 {
            self.missing.clear();
            return false;
        }
        let lost = newest.saturating_sub(count)..newest;
        self.missing.extend(lost.map(|sequence| Missing {
            sequence,
            tries: 0,
            due: now,
        }));
        true
    }

    /// A packet that was missing is here.
    pub fn handle_recovered(&mut self, sequence: u64) {
        if let Ok(at) = self.position(sequence) {
            self.missing.remove(at);
        }
    }

    /// Appends the low 16 bits of the packets to ask for now, ascending, until `list` has
    /// [`NACK_PER_PACKET_MAX`]; packets asked for often enough are given up.
    pub fn nacks(&mut self, now: Time, rtt: Duration, list: &mut Vec<u16>) {
        let wait = (rtt + RETRY_MARGIN).clamp(RETRY_MIN, RETRY_MAX);
        self.missing.retain_mut(|missing| {
            if missing.due > now {
                return true;
            }
            if missing.tries >= NACK_TRIES_MAX {
                return false;
            }
            if list.len() < NACK_PER_PACKET_MAX {
                missing.tries += 1;
                missing.due = now + wait;
                list.push(missing.sequence as u16);
            }
            true
        });
    }

    /// When the next packet is due to be asked for.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.missing.iter().map(|missing| missing.due).min()
    }

    /// Forgets every lost packet.
    pub fn clear(&mut self) {
        self.missing.clear();
    }

    /// Lost packets still hoped for.
    pub fn len(&self) -> usize {
        self.missing.len()
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }

    fn position(&self, sequence: u64) -> Result<usize, usize> {
        self.missing
            .binary_search_by_key(&sequence, |missing| missing.sequence)
    }

    fn forget_before(&mut self, oldest: u64) {
        let at = self.position(oldest).unwrap_or_else(|at| at);
        self.missing.drain(..at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn ask(nack: &mut NackGenerator, ms: u64) -> Vec<u16> {
        let mut list = Vec::new();
        nack.nacks(Time::from_millis(ms), RTT, &mut list);
        list
    }

    #[test]
    fn gaps_are_asked_at_once_then_once_per_round_trip() {
        let mut nack = NackGenerator::default();
        assert!(nack.handle_gap(Time::ZERO, 65_538, 3));
        assert_eq!(nack.poll_timeout(), Some(Time::ZERO));
        assert_eq!(ask(&mut nack, 0), [65_535, 0, 1]);
        assert_eq!(ask(&mut nack, 54), [0; 0]);
        nack.handle_recovered(65_536);
        assert_eq!(nack.poll_timeout(), Some(Time::from_millis(55)));
        assert_eq!(ask(&mut nack, 55), [65_535, 1]);
        nack.handle_recovered(65_535);
        nack.handle_recovered(65_537);
        assert_eq!(nack.poll_timeout(), None);
    }

    #[test]
    fn a_packet_that_never_comes_is_given_up() {
        let mut nack = NackGenerator::default();
        assert!(nack.handle_gap(Time::ZERO, 8, 1));
        let asked = (0..100)
            .filter(|i| !ask(&mut nack, i * 55).is_empty())
            .count();
        assert_eq!(asked, usize::from(NACK_TRIES_MAX));
        assert!(nack.is_empty());
    }

    #[test]
    fn too_many_losses_ask_for_a_key_frame_instead() {
        let mut nack = NackGenerator::default();
        assert!(nack.handle_gap(Time::ZERO, 1000, 512));
        assert_eq!(nack.len(), 512);
        assert!(!nack.handle_gap(Time::ZERO, 2000, 513));
        assert!(nack.is_empty());
        assert!(!nack.handle_gap(Time::ZERO, 9000, 2000));
    }

    #[test]
    fn one_request_names_a_bounded_number_and_the_rest_follows() {
        let mut nack = NackGenerator::default();
        assert!(nack.handle_gap(Time::ZERO, 1000, 200));
        assert_eq!(ask(&mut nack, 0).len(), NACK_PER_PACKET_MAX);
        assert_eq!(ask(&mut nack, 0).len(), 200 - NACK_PER_PACKET_MAX);
        assert_eq!(ask(&mut nack, 0).len(), 0);
    }

    #[test]
    fn losses_too_far_back_are_forgotten() {
        let mut nack = NackGenerator::default();
        assert!(nack.handle_gap(Time::ZERO, 100, 1));
        assert!(nack.handle_gap(Time::ZERO, 700, 1));
        assert_eq!(ask(&mut nack, 0), [699]);
    }
}
