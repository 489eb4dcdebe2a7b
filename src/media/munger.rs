//! Renumbering: extended sequence numbers in, gap-free extended sequence numbers out, both ways and late packets too.
//!
//! Why: a subscriber must not see that its source changed, paused or sent padding. The map is a short list of
//! runs with one constant shift each, so it costs a compare in steady state and a retransmission finds its way back.
//! Invariants: no two inputs ever get the same output; an input keeps its output as long as its run is remembered;
//! runs are ordered by first output.

use std::collections::VecDeque;

use crate::limits::MUNGER_RUNS_MAX as RUNS_MAX;

/// Numbers of one input, shifted by a constant, with what else is constant for them.
#[derive(Debug, Clone, Copy)]
struct Run<T> {
    generation: u32,
    first_input: u64,
    first_output: u64,
    data: T,
}

impl<T> Run<T> {
    fn output(&self, input: u64) -> Option<u64> {
        let ahead = input.checked_sub(self.first_input)?;
        self.first_output.checked_add(ahead)
    }
}

/// The map. `T` is whatever the caller keeps per run (timestamp shift, picture id shift).
#[derive(Debug, Clone)]
pub struct Munger<T> {
    next_output: u64,
    generation: u32,
    /// Runs there are, the newest included.
    len: u32,
    /// The newest run, which nearly every packet is of: kept by itself, in reach of the cache lines that are read anyway.
    newest: Run<T>,
    /// The others, oldest first. Never more than it was made for.
    older: VecDeque<Run<T>>,
}

impl<T: Copy> Munger<T> {
    /// A map whose first output will be `first_output`. `blank` only fills unused memory.
    pub fn new(first_output: u64, blank: T) -> Self {
        Self {
            next_output: first_output,
            generation: 0,
            len: 0,
            newest: Run {
                generation: 0,
                first_input: 0,
                first_output: 0,
                data: blank,
            },
            older: VecDeque::with_capacity(RUNS_MAX - 1),
        }
    }

    /// One more than the highest output so far.
    pub fn next_output(&self) -> u64 {
        self.next_output
    }

    /// The data of the newest run.
    pub fn current(&self) -> Option<&T> {
        self.run(0).map(|run| &run.data)
    }

    /// The data of the newest run, to complete what was not known when it began.
    pub fn current_mut(&mut self) -> Option<&mut T> {
        (self.len > 0).then_some(&mut self.newest.data)
    }

    /// Begins an unrelated numbering: `input` gets the next output, inputs of before are not mapped any more.
    pub fn switch(&mut self, input: u64, data: T) {
        self.generation = self.generation.wrapping_add(1);
        self.resume(input, data);
    }

    /// Goes on with the same numbering after a pause: `input` gets the next output, late inputs of before the
    /// pause keep theirs, inputs of the pause have none.
    pub fn resume(&mut self, input: u64, data: T) {
        // Runs that have given no output yet would overlap the new one.
        while let Some(run) = self.run(0)
            && run.first_output >= self.next_output
        {
            self.len -= 1;
            if let Some(before) = self.older.pop_back() {
                self.newest = before;
            }
        }
        self.push(input, self.next_output, data);
    }

    /// Takes `input` out of the numbering, so that no gap shows. Too late when higher inputs have outputs already.
    pub fn skip(&mut self, input: u64) {
        let Some(run) = self.run(0).copied() else {
            return;
        };
        let Some(output) = run.output(input) else {
            return;
        };
        if output < self.next_output {
            return;
        }
        if input == run.first_input {
            self.newest.first_input = input + 1;
            return;
        }
        self.push(input + 1, output, run.data);
    }

    /// The output of `input`, or `None` when it was skipped, is of a pause, or older than what is remembered.
    #[inline]
    pub fn map(&mut self, input: u64) -> Option<(u64, T)> {
        let mut end = u64::MAX;
        for age in 0..self.len {
            let run = self.run(age)?;
            if run.generation != self.generation {
                return None;
            }
            if let Some(output) = run.output(input) {
                if output >= end {
                    return None;
                }
                let data = run.data;
                self.next_output = self.next_output.max(output + 1);
                return Some((output, data));
            }
            end = run.first_output;
        }
        None
    }

    /// The input behind an output that was given out, with its run's data.
    pub fn unmap(&self, output: u64) -> Option<(u64, T)> {
        if output >= self.next_output {
            return None;
        }
        (0..self.len).find_map(|age| {
            let run = self.run(age)?;
            let ahead = output.checked_sub(run.first_output)?;
            Some((run.first_input.checked_add(ahead)?, run.data))
        })
    }

    /// The extended output nearest to the newest one that ends in `output`.
    pub fn extend_output(&self, output: u16) -> u64 {
        let newest = self.next_output.saturating_sub(1);
        let step = i64::from(output.wrapping_sub(newest as u16) as i16);
        newest.saturating_add_signed(step)
    }

    #[inline]
    fn run(&self, age: u32) -> Option<&Run<T>> {
        match age {
            0 if self.len > 0 => Some(&self.newest),
            1.. if age < self.len => self.older.get((self.len - 1 - age) as usize),
            _ => None,
        }
    }

    fn push(&mut self, first_input: u64, first_output: u64, data: T) {
        if self.len > 0 {
            if self.older.len() == RUNS_MAX - 1 {
                self.older.pop_front();
                self.len -= 1;
            }
            self.older.push_back(self.newest);
        }
        self.len += 1;
        self.newest = Run {
            generation: self.generation,
            first_input,
            first_output,
            data,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    enum Step {
        /// Input, expected output.
        Map(u64, Option<u64>),
        Skip(u64),
        Switch(u64),
        Resume(u64),
    }
    use Step::*;

    const TABLE: &[(&str, &[Step])] = &[
        (
            "plain, with loss and reordering",
            &[
                Switch(100),
                Map(100, Some(7)),
                Map(103, Some(10)),
                Map(101, Some(8)),
                Map(102, Some(9)),
            ],
        ),
        (
            "before the first",
            &[Switch(100), Map(99, None), Map(100, Some(7))],
        ),
        (
            "skip in order",
            &[
                Switch(1),
                Map(1, Some(7)),
                Skip(2),
                Map(2, None),
                Map(3, Some(8)),
            ],
        ),
        (
            "many skips in a row are one run",
            &[
                Switch(1),
                Map(1, Some(7)),
                Skip(2),
                Skip(3),
                Skip(4),
                Map(5, Some(8)),
                Map(3, None),
            ],
        ),
        (
            "skip the very first",
            &[Switch(1), Skip(1), Map(2, Some(7)), Map(1, None)],
        ),
        (
            "skip with a gap before it: the late packet fits in",
            &[
                Switch(1),
                Map(1, Some(7)),
                Skip(3),
                Map(4, Some(9)),
                Map(2, Some(8)),
                Map(3, None),
            ],
        ),
        (
            "skip too late leaves the gap",
            &[
                Switch(1),
                Map(1, Some(7)),
                Map(3, Some(9)),
                Skip(2),
                Map(4, Some(10)),
            ],
        ),
        (
            "switch: inputs count in the new numbering only",
            &[
                Switch(1000),
                Map(1000, Some(7)),
                Map(1002, Some(9)),
                Switch(5),
                Map(5, Some(10)),
                Map(1001, Some(1006)),
                Map(4, None),
            ],
        ),
        (
            "resume: late packets of before keep their place, those of the pause have none",
            &[
                Switch(10),
                Map(10, Some(7)),
                Map(12, Some(9)),
                Resume(50),
                Map(50, Some(10)),
                Map(11, Some(8)),
                Map(13, None),
                Map(49, None),
            ],
        ),
        (
            "resume after a run that never gave an output",
            &[
                Switch(10),
                Skip(11),
                Resume(14),
                Map(14, Some(7)),
                Map(10, None),
                Map(15, Some(8)),
            ],
        ),
        (
            "wrap of the low 16 bits",
            &[
                Switch(65_535),
                Map(65_535, Some(7)),
                Map(65_536, Some(8)),
                Map(65_537, Some(9)),
            ],
        ),
    ];

    #[test]
    fn outputs_are_gap_free() {
        for (name, steps) in TABLE {
            let mut munger = Munger::new(7, ());
            for step in *steps {
                match *step {
                    Map(input, expected) => {
                        assert_eq!(munger.map(input).map(|m| m.0), expected, "{name}: {input}");
                    }
                    Skip(input) => munger.skip(input),
                    Switch(input) => munger.switch(input, ()),
                    Resume(input) => munger.resume(input, ()),
                }
            }
        }
    }

    #[test]
    fn old_runs_are_forgotten_not_misread() {
        let mut munger = Munger::new(0, ());
        munger.switch(0, ());
        for input in 0..400 {
            if input % 2 == 0 {
                assert_eq!(munger.map(input), Some((input / 2, ())));
            } else {
                munger.skip(input);
            }
        }
        assert_eq!(munger.map(2), None);
        assert_eq!(munger.unmap(1), None);
        assert_eq!(munger.unmap(199), Some((398, ())));
        assert_eq!(munger.unmap(200), None);
    }

    #[test]
    fn outputs_extend_across_the_wrap() {
        let mut munger = Munger::new(65_530, ());
        munger.switch(0, ());
        munger.map(10);
        assert_eq!(munger.extend_output(65_535), 65_535);
        assert_eq!(munger.extend_output(2), 65_538);
    }

    proptest! {
        /// Whatever arrives, an output names one packet for ever, and leads back to it while it is remembered.
        #[test]
        fn no_output_is_given_twice(steps in prop::collection::vec((0u8..20, 0u64..30), 1..400)) {
            let mut munger = Munger::new(0, 0u32);
            let mut source = 0;
            let mut newest = 1000;
            munger.switch(newest, source);
            let mut given: HashMap<u64, (u32, u64)> = HashMap::new();
            let mut seen: HashSet<(u32, u64)> = HashSet::new();
            for (kind, by) in steps {
                match kind {
                    0 => { source += 1; newest = 500 + by * 100; munger.switch(newest, source); }
                    1 => { newest += by + 1; munger.resume(newest, source); }
                    2 | 3 => { newest += 1; munger.skip(newest); seen.insert((source, newest)); }
                    _ => {
                        let input = if kind < 8 { newest.saturating_sub(by) } else { newest += 1 + by / 10; newest };
                        if !seen.insert((source, input)) { continue; }
                        if let Some((output, data)) = munger.map(input) {
                            prop_assert_eq!(data, source);
                            prop_assert!(given.insert(output, (source, input)).is_none(), "{} twice", output);
                            prop_assert_eq!(munger.unmap(output), Some((input, source)));
                        }
                    }
                }
            }
            for (output, (source, input)) in given {
                if let Some((back, data)) = munger.unmap(output) {
                    prop_assert_eq!((data, back), (source, input));
                }
            }
        }
    }
}
