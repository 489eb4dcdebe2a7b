//! Packet indices and replay windows of one stream.
//!
//! The window is a ring of 64-bit words with one word of slack, so that moving it clears words instead of shifting
//! them. Invariant: an index is accepted at most once, and never when it is [`REPLAY_WINDOW`] or more behind the
//! highest one. RFC 3711 sections 3.3.1, 3.3.2 and appendix A.

use crate::error::DropReason;
use crate::limits::REPLAY_WINDOW;

const WORDS: usize = REPLAY_WINDOW / 64 + 1;

/// Which of the last [`REPLAY_WINDOW`] packet indices were seen.
#[derive(Debug, Clone, Default)]
pub(super) struct ReplayWindow {
    /// One more than the highest index accepted; 0 means none yet.
    next: u64,
    words: [u64; WORDS],
}

impl ReplayWindow {
    /// The highest index accepted so far.
    pub(super) fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Whether `index` is new and inside the window. Call before authentication, accept after it.
    pub(super) fn check(&self, index: u64) -> Result<(), DropReason> {
        if index >= self.next {
            return Ok(());
        }
        if self.next - index > REPLAY_WINDOW as u64 {
            return Err(DropReason::SrtpReplay);
        }
        let word = self.words.get(word_of(index)).copied().unwrap_or(u64::MAX);
        if word & bit_of(index) != 0 {
            return Err(DropReason::SrtpReplay);
        }
        Ok(())
    }

    /// Marks an authenticated `index` as seen and moves the window if it is the highest.
    pub(super) fn accept(&mut self, index: u64) {
        if index >= self.next {
            let first_new_word = self.next.div_ceil(64);
            let last_new_word = index / 64;
            let cleared = (last_new_word + 1)
                .saturating_sub(first_new_word)
                .min(WORDS as u64);
            for word in (last_new_word + 1 - cleared)..=last_new_word {
                if let Some(word) = self.words.get_mut((word % WORDS as u64) as usize) {
                    *word = 0;
                }
            }
            self.next = index + 1;
        }
        if let Some(word) = self.words.get_mut(word_of(index)) {
            *word |= bit_of(index);
        }
    }
}

fn word_of(index: u64) -> usize {
    (index / 64 % WORDS as u64) as usize
}

fn bit_of(index: u64) -> u64 {
    1 << (index % 64)
}

/// The 48-bit index (roll-over counter and sequence number) that `sequence` most likely has, given the highest index
/// so far (RFC 3711 appendix A). `None` when that would lie before the first packet or beyond 2^48.
pub(super) fn estimate_index(highest: Option<u64>, sequence: u16) -> Option<u64> {
    let Some(highest) = highest else {
        return Some(u64::from(sequence));
    };
    let last = highest as u16;
    let ahead = sequence.wrapping_sub(last);
    // Exactly half a turn: the RFC's inequalities keep the roll-over counter, whichever side that is.
    let forward = ahead < 0x8000 || (ahead == 0x8000 && last < 0x8000);
    let index = if forward {
        highest + u64::from(ahead)
    } else {
        highest.checked_sub(u64::from(last.wrapping_sub(sequence)))?
    };
    (index < 1 << 48).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// RFC 3711 appendix A, literally.
    fn rfc_guess(highest: u64, sequence: u16) -> i64 {
        let (roc, s_l) = ((highest >> 16) as i64, i64::from(highest as u16));
        let seq = i64::from(sequence);
        let v = if s_l < 32768 {
            if seq - s_l > 32768 { roc - 1 } else { roc }
        } else if s_l - 32768 > seq {
            roc + 1
        } else {
            roc
        };
        v * 65536 + seq
    }

    proptest! {
        #[test]
        fn index_is_the_rfc_guess(highest in 0u64..1 << 40, sequence: u16) {
            let want = rfc_guess(highest, sequence);
            prop_assert_eq!(estimate_index(Some(highest), sequence), u64::try_from(want).ok());
        }

        #[test]
        fn window_is_a_set_with_an_edge(steps in proptest::collection::vec((0u64..600, 0u64..300), 1..200)) {
            let mut window = ReplayWindow::default();
            let (mut seen, mut highest) = (BTreeSet::new(), None::<u64>);
            for (forward, back) in steps {
                let index = (highest.unwrap_or(0) + forward % 70 * (forward / 70)).saturating_sub(back);
                let too_old = highest.is_some_and(|h| h >= index && h - index >= REPLAY_WINDOW as u64);
                let want = !too_old && !seen.contains(&index);
                prop_assert_eq!(window.check(index).is_ok(), want, "index {} highest {:?}", index, highest);
                if want {
                    window.accept(index);
                    seen.insert(index);
                    highest = highest.max(Some(index));
                }
                prop_assert_eq!(window.highest(), highest);
            }
        }
    }

    #[test]
    fn the_end_of_the_index_space_is_an_error_not_a_wrap() {
        assert_eq!(estimate_index(Some((1 << 48) - 1), 0), None);
        assert_eq!(estimate_index(Some(3), 65_534), None);
    }
}
