//! Extended sequence numbers of one received stream: unwrapping, duplicates, restarts.
//!
//! Why: every later step (loss, cache, rewriting) wants a number that never wraps. RFC 3550 appendix A.1.
//! Invariant: `Accepted` names each extended number at most once per epoch.

use crate::limits::RTP_WINDOW as WINDOW;

/// A jump forward by more than this is a restart of the source, not loss (RFC 3550 A.1 `MAX_DROPOUT`).
const DROPOUT_MAX: i64 = 3000;
const WORDS: usize = (WINDOW / 64) as usize;
/// First extended number, so that packets before the first one have a number too.
const BASE: u64 = 1 << 16;

/// What one arriving sequence number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// First packet, or the newest so far; `missing` numbers lie between it and the newest before.
    Newest {
        /// Extended sequence number.
        sequence: u64,
        /// How many numbers were skipped.
        missing: u32,
    },
    /// Fills a gap behind the newest.
    Late {
        /// Extended sequence number.
        sequence: u64,
    },
    /// The source started over at an unrelated number; history before it is forgotten.
    Restarted {
        /// Extended sequence number, greater than every one before.
        sequence: u64,
    },
    /// Was here before.
    Duplicate,
    /// Behind the window, or an unconfirmed jump.
    TooOld,
}

/// Receive window over one stream's 16-bit sequence numbers.
#[derive(Debug, Clone, Default)]
pub struct SequenceWindow {
    newest: Option<u64>,
    seen: [u64; WORDS],
    /// The number after an unconfirmed jump: if it comes next, the jump was a restart.
    restart_expected: Option<u16>,
}

impl SequenceWindow {
    /// Newest extended number, if a packet has come.
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// The extended number nearest to the newest that ends in `sequence`.
    pub fn extend(&self, sequence: u16) -> u64 {
        let Some(newest) = self.newest else {
            return BASE + u64::from(sequence);
        };
        let step = i64::from(sequence.wrapping_sub(newest as u16) as i16);
        newest.saturating_add_signed(step)
    }

    /// Takes one arriving number in.
    pub fn handle(&mut self, sequence: u16) -> Arrival {
        let Some(newest) = self.newest else {
            return self.start(BASE + u64::from(sequence));
        };
        let extended = self.extend(sequence);
        let step = extended as i64 - newest as i64;
        if step > DROPOUT_MAX || step <= -(WINDOW as i64) {
            return self.handle_jump(sequence, newest);
        }
        self.restart_expected = None;
        if step > 0 {
            self.advance(newest, extended);
            return Arrival::Newest {
                sequence: extended,
                missing: (step - 1) as u32,
            };
        }
        if self.mark(extended) {
            Arrival::Late { sequence: extended }
        } else {
            Arrival::Duplicate
        }
    }

    /// Takes a number in that a retransmission stream carries: it never moves the window by a restart.
    pub fn handle_retransmitted(&mut self, sequence: u16) -> Arrival {
        let Some(newest) = self.newest else {
            return Arrival::TooOld;
        };
        let extended = self.extend(sequence);
        let step = extended as i64 - newest as i64;
        if step > DROPOUT_MAX || step <= -(WINDOW as i64) {
            return Arrival::TooOld;
        }
        if step > 0 {
            self.advance(newest, extended);
            return Arrival::Newest {
                sequence: extended,
                missing: (step - 1) as u32,
            };
        }
        if self.mark(extended) {
            Arrival::Late { sequence: extended }
        } else {
            Arrival::Duplicate
        }
    }

    fn start(&mut self, sequence: u64) -> Arrival {
        self.newest = Some(sequence);
        self.seen = [0; WORDS];
        self.mark(sequence);
        self.restart_expected = None;
        Arrival::Newest {
            sequence,
            missing: 0,
        }
    }

    fn handle_jump(&mut self, sequence: u16, newest: u64) -> Arrival {
        if self.restart_expected != Some(sequence) {
            self.restart_expected = Some(sequence.wrapping_add(1));
            return Arrival::TooOld;
        }
        // Two in a row: believe it. The next cycle keeps extended numbers growing.
        let cycle = (newest | 0xffff) + 1;
        let restarted = cycle + u64::from(sequence);
        self.start(restarted);
        Arrival::Restarted {
            sequence: restarted,
        }
    }

    fn advance(&mut self, newest: u64, to: u64) {
        if to - newest >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for skipped in newest + 1..to {
                self.clear(skipped);
            }
            self.clear(to);
        }
        self.newest = Some(to);
        self.mark(to);
    }

    fn bit(sequence: u64) -> (usize, u64) {
        let place = sequence % WINDOW;
        ((place / 64) as usize, 1 << (place % 64))
    }

    fn clear(&mut self, sequence: u64) {
        let (word, bit) = Self::bit(sequence);
        if let Some(word) = self.seen.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Marks `sequence`; `false` when it was marked before.
    fn mark(&mut self, sequence: u64) -> bool {
        let (word, bit) = Self::bit(sequence);
        let Some(word) = self.seen.get_mut(word) else {
            return false;
        };
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arrival::*;

    fn newest(sequence: u64, missing: u32) -> Arrival {
        Newest {
            sequence: BASE + sequence,
            missing,
        }
    }

    fn late(sequence: u64) -> Arrival {
        Late {
            sequence: BASE + sequence,
        }
    }

    #[test]
    fn arrivals_are_told_apart() {
        let table: &[(&str, &[(u16, Arrival)])] = &[
            ("in order", &[(5, newest(5, 0)), (6, newest(6, 0))]),
            (
                "loss, late, duplicate",
                &[
                    (5, newest(5, 0)),
                    (8, newest(8, 2)),
                    (7, late(7)),
                    (7, Duplicate),
                    (8, Duplicate),
                    (6, late(6)),
                ],
            ),
            (
                "wrap",
                &[
                    (65_534, newest(65_534, 0)),
                    (1, newest(65_537, 2)),
                    (65_535, late(65_535)),
                    (0, late(65_536)),
                ],
            ),
            (
                "before the first",
                &[(0, newest(0, 0)), (65_535, Late { sequence: BASE - 1 })],
            ),
            (
                "behind the window",
                &[
                    (0, newest(0, 0)),
                    (1100, newest(1100, 1099)),
                    (3, TooOld),
                    (1099, late(1099)),
                ],
            ),
            (
                "a lone jump is refused, two in a row restart",
                &[
                    (10, newest(10, 0)),
                    (20_000, TooOld),
                    (11, newest(11, 0)),
                    (40_000, TooOld),
                    (
                        40_001,
                        Restarted {
                            sequence: 2 * BASE + 40_001,
                        },
                    ),
                ],
            ),
        ];
        for (name, steps) in table {
            let mut window = SequenceWindow::default();
            for (sequence, expected) in *steps {
                assert_eq!(window.handle(*sequence), *expected, "{name}: {sequence}");
            }
        }
    }

    #[test]
    fn a_long_gap_leaves_no_stale_marks() {
        let mut window = SequenceWindow::default();
        for sequence in 0..1024 {
            window.handle(sequence);
        }
        assert_eq!(window.handle(2500), newest(2500, 1476));
        for sequence in 1477..2500 {
            assert_eq!(window.handle(sequence), late(u64::from(sequence)));
        }
    }

    #[test]
    fn retransmissions_never_restart_the_stream() {
        let mut window = SequenceWindow::default();
        assert_eq!(window.handle_retransmitted(7), TooOld);
        window.handle(100);
        assert_eq!(window.handle_retransmitted(30_000), TooOld);
        assert_eq!(window.handle_retransmitted(30_001), TooOld);
        assert_eq!(window.handle_retransmitted(99), late(99));
    }
}
