//! A subscriber whose line is too full gets smaller encodings, one step at a time, and larger ones again when it is free.
//!
//! Which encoding a ceiling leads to is chosen with all others ([`super::encodings`]). Lowered first is what takes most
//! bits, raised first what has the smallest picture: so that no picture starves for another.

use std::time::Duration;

use crate::bus::control::LineStats;
use crate::id::{DownTrackKey, TransportKey, UpTrackKey};
use crate::media::adaptation::Step;
use crate::room::machine::encodings::Candidate;
use crate::room::machine::{DownEntry, Machine, Turn};
use crate::time::Time;

/// Time between two looks at a line.
const ADAPT_INTERVAL: Duration = Duration::from_millis(200);

/// A subscription of which there are several encodings.
struct Choice {
    down: DownTrackKey,
    ceiling: Option<UpTrackKey>,
    /// The best first.
    candidates: Vec<Candidate>,
    /// Place of what the subscriber gets, or is about to.
    at: usize,
}

impl Choice {
    fn quality(&self) -> (u32, u64) {
        self.candidates.get(self.at).map_or((0, 0), |c| c.quality)
    }
}

impl Machine {
    /// Looks at the line of a subscriber.
    pub(super) fn adapt_when_due(&mut self, key: TransportKey, turn: &mut Turn<'_>) {
        let Some(link) = self.transports.get_mut(key) else {
            return;
        };
        if link.adapt_due > turn.now {
            return;
        }
        link.adapt_due = turn.now + ADAPT_INTERVAL;
        let congested = link.transport.congestion().is_congested(turn.now);
        let lowered = link.lowered > 0;
        let step = match link.adaptation.poll(turn.now, congested) {
            Some(Step::Raise) if !lowered => return,
            Some(step) => step,
            None => return,
        };
        let (took, count) = match step {
            Step::Lower => (
                self.lower(key, turn.now),
                &mut turn.counters.encodings_lowered,
            ),
            Step::Raise => (
                self.raise(key, turn.now),
                &mut turn.counters.encodings_raised,
            ),
        };
        *count += u64::from(took);
        // Done also where there was nothing to do: it is looked for again no sooner.
        if let Some(link) = self.transports.get_mut(key) {
            link.adaptation.done(turn.now, step);
        }
    }

    /// What is known of the line to a peer.
    pub fn line(&self, key: TransportKey, now: Time) -> Option<LineStats> {
        let link = self.transports.get(key)?;
        let congestion = link.transport.congestion();
        Some(LineStats {
            queue_ms: congestion.queue(now).as_secs_f64() * 1000.0,
            loss: f64::from(congestion.loss_permille(now)) / 1000.0,
            congested: congestion.is_congested(now) == Some(true),
            lowered: link.lowered,
        })
    }

    /// What `key` plays in several encodings.
    fn choices(&self, key: TransportKey, now: Time) -> Vec<Choice> {
        let Some(link) = self.transports.get(key) else {
            return Vec::new();
        };
        let choice = |(key, down): (DownTrackKey, &DownEntry)| {
            let candidates = self.candidates(down.plays?, now);
            let gets = down.next.or(down.up)?;
            let at = candidates.iter().position(|c| c.up == gets)?;
            Some(Choice {
                down: key,
                ceiling: down.ceiling,
                candidates,
                at,
            })
        };
        link.subscriptions(&self.downs).filter_map(choice).collect()
    }

    /// The next smaller encoding of what takes most. `false`: there is nothing smaller.
    fn lower(&mut self, key: TransportKey, now: Time) -> bool {
        let choices = self.choices(key, now);
        let smaller = |c: &&Choice| c.at + 1 < c.candidates.len();
        let bits = |c: &&Choice| c.quality().1;
        let Some(choice) = choices.iter().filter(smaller).max_by_key(bits) else {
            return false;
        };
        let ceiling = choice.candidates.get(choice.at + 1).map(|c| c.up);
        self.set_ceiling(key, choice.down, ceiling);
        true
    }

    /// The next larger encoding of the smallest picture that could be larger. `false`: there is none.
    fn raise(&mut self, key: TransportKey, now: Time) -> bool {
        let choices = self.choices(key, now);
        let lowered = choices.iter().filter(|c| c.ceiling.is_some());
        let Some(choice) = lowered.min_by_key(|c| c.quality()) else {
            self.count_lowered(key);
            return false;
        };
        // The best of all needs no ceiling.
        let larger = choice.at.checked_sub(1).filter(|at| *at > 0);
        let ceiling = larger.and_then(|at| choice.candidates.get(at));
        self.set_ceiling(key, choice.down, ceiling.map(|c| c.up));
        choice.at > 0
    }

    fn set_ceiling(&mut self, key: TransportKey, down: DownTrackKey, ceiling: Option<UpTrackKey>) {
        if let Some(down) = self.downs.get_mut(down) {
            down.ceiling = ceiling;
        }
        self.count_lowered(key);
    }

    /// Tracks with a ceiling: some lose theirs by other ways, when their publisher goes.
    fn count_lowered(&mut self, key: TransportKey) {
        let Some(link) = self.transports.get_mut(key) else {
            return;
        };
        let subscriptions = link.subscriptions(&self.downs);
        let low = subscriptions.filter(|(_, down)| down.ceiling.is_some());
        link.lowered = low.count() as u32;
    }
}
