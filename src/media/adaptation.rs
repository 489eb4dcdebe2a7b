//! When a subscriber is to be sent less, and when more is worth a try: in steps of one encoding.
//!
//! Less as soon as its line is too full, and then not again before that can have helped. More after the line has been
//! free for a while. Whether it carries more only a try can tell: one that fails is undone at once, and the next one waits
//! twice as long. Invariant: tries come at most once in [`PATIENCE_MIN`], failing ones ever more rarely up to
//! [`PATIENCE_MAX`].

use std::time::Duration;

use crate::time::Time;

/// Time in which less helps: the change of encodings, and queues on the way.
const SETTLING: Duration = Duration::from_millis(1500);
/// A line has to be free for this long before more is tried,
const PATIENCE_MIN: Duration = Duration::from_secs(5);
/// and for this long after many tries that failed.
const PATIENCE_MAX: Duration = Duration::from_secs(40);
/// More that has not filled the line by now has not been too much.
const TRIAL: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send the next smaller encoding of something.
    Lower,
    /// Try the next larger one.
    Raise,
}

/// The state of one subscriber.
#[derive(Debug, Clone)]
pub struct Adaptation {
    lowered: Option<Time>,
    clear_since: Option<Time>,
    tried: Option<Time>,
    patience: Duration,
}

impl Default for Adaptation {
    fn default() -> Self {
        Self {
            lowered: None,
            clear_since: None,
            tried: None,
            patience: PATIENCE_MIN,
        }
    }
}

impl Adaptation {
    /// What is due, the line being `congested` or not, or nothing being known of it. The caller says with
    /// [`done`](Self::done) that it has done what it could.
    pub fn poll(&mut self, now: Time, congested: Option<bool>) -> Option<Step> {
        let Some(congested) = congested else {
            self.clear_since = None;
            return None;
        };
        if congested {
            self.clear_since = None;
            if self.tried.take().is_some_and(|at| now.since(at) < TRIAL) {
                self.patience = (self.patience * 2).min(PATIENCE_MAX);
            }
            let settles = self.lowered.is_some_and(|at| now.since(at) < SETTLING);
            return (!settles).then_some(Step::Lower);
        }
        let clear = now.since(*self.clear_since.get_or_insert(now));
        if self.tried.take_if(|at| now.since(*at) >= TRIAL).is_some() {
            self.patience = PATIENCE_MIN;
        }
        (clear >= self.patience).then_some(Step::Raise)
    }

    /// The step was taken.
    pub fn done(&mut self, now: Time, step: Step) {
        match step {
            Step::Lower => self.lowered = Some(now),
            Step::Raise => self.tried = Some(now),
        }
        self.clear_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps taken while a line that carries `capacity` is sent one of `rates`, ascending; and when.
    fn play(capacity: impl Fn(u64) -> u32, seconds: u64) -> Vec<(u64, Step)> {
        let rates = [1, 3, 9];
        let mut at = 2_usize;
        let (mut adaptation, mut steps, mut over_since) = (Adaptation::default(), Vec::new(), None);
        for tick in 0..seconds * 5 {
            let ms = tick * 200;
            let now = Time::from_millis(1000 + ms);
            let over = rates[at] > capacity(ms / 1000);
            over_since = over.then(|| over_since.unwrap_or(ms));
            // It takes a while to be seen.
            let congested = over_since.is_some_and(|since| ms - since >= 600);
            let Some(step) = adaptation.poll(now, Some(congested)) else {
                continue;
            };
            let next = match step {
                Step::Lower => at.checked_sub(1),
                Step::Raise => Some(at + 1).filter(|next| *next < rates.len()),
            };
            if let Some(next) = next {
                at = next;
                adaptation.done(now, step);
                steps.push((ms, step));
            }
        }
        steps
    }

    #[test]
    fn a_free_line_is_left_alone() {
        assert_eq!(play(|_| 100, 60), []);
    }

    #[test]
    fn a_line_that_becomes_narrow_gets_less_within_seconds_and_more_when_it_is_wide_again() {
        let steps = play(|s| if (10..30).contains(&s) { 2 } else { 100 }, 80);
        let lowered: Vec<u64> = steps
            .iter()
            .filter(|(_, step)| *step == Step::Lower)
            .map(|(ms, _)| *ms)
            .collect();
        assert_eq!(lowered[..2], [10_600, 12_200]);
        let (last, step) = steps[steps.len() - 1];
        assert_eq!(step, Step::Raise);
        assert!(last < 75_000, "{steps:?}");
        let raised = steps.len() - lowered.len();
        assert_eq!(raised, lowered.len(), "all of it is undone: {steps:?}");
    }

    #[test]
    fn tries_that_fail_become_rare() {
        let steps = play(|_| 4, 600);
        let tries: Vec<u64> = steps
            .iter()
            .filter(|(_, step)| *step == Step::Raise)
            .map(|(ms, _)| *ms)
            .collect();
        assert!((8..=20).contains(&tries.len()), "{tries:?}");
        let pauses: Vec<u64> = tries.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert!(pauses.iter().all(|ms| *ms <= 45_000), "{pauses:?}");
    }

    #[test]
    fn a_line_of_which_nothing_is_heard_is_not_tried() {
        let mut adaptation = Adaptation::default();
        let at = |s: u64| Time::from_millis(1000 * s);
        assert_eq!(adaptation.poll(at(1), Some(true)), Some(Step::Lower));
        adaptation.done(at(1), Step::Lower);
        for second in 2..60 {
            assert_eq!(adaptation.poll(at(second), None), None);
        }
        assert_eq!(adaptation.poll(at(60), Some(false)), None, "free since now");
        assert_eq!(adaptation.poll(at(65), Some(false)), Some(Step::Raise));
    }

    #[test]
    fn a_subscriber_without_anything_smaller_is_asked_again_and_nothing_grows() {
        let mut adaptation = Adaptation::default();
        for tick in 0..1_000_u64 {
            let step = adaptation.poll(Time::from_millis(tick * 200), Some(true));
            assert_eq!(step, Some(Step::Lower));
        }
    }
}
