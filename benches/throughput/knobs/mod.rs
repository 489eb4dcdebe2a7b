//! What knobs of `colchis tune` bring, on virtual interfaces: one load with the host as `tune` may find it and as it wants it,
//! in turn.

mod list;
mod state;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::figures::{Figures, Spread, figures, merge};
use crate::loads::{Load, STAGE_S};
use crate::sfu::Subject;
use list::{Step, TRIALS, Trial};
use state::State;

/// Share of a core of the faster load. Both states get the same packets, so there must be room for the one that costs more.
const BUSY: f64 = 0.70;

/// A trial under one load.
struct Compared {
    trial: &'static Trial,
    load: &'static str,
    /// For each round: as found, as wanted.
    rounds: Vec<[Figures; 2]>,
}

fn name(trial: &Trial) -> &'static str {
    trial.knob.unwrap_or("no knob")
}

fn load() -> Load {
    Load::frames("1→32, trains of 4", 32, 4, 500.0)
}

/// One state, measured.
fn once(subject: &Subject, steps: &[&[Step]], pace: f64) -> Result<Figures, String> {
    let state = State::new(subject, steps)?;
    let stage = load().measure(&state.subject, pace, STAGE_S)?;
    Ok(figures(&json!({"stage": stage, "fan_out": 32})))
}

/// Found, wanted, found, wanted, …
fn compare(
    subject: &Subject,
    trial: &'static Trial,
    (load, pace): (&'static str, f64),
    rounds: usize,
) -> Result<Compared, String> {
    let both = |_| {
        let found = once(subject, &[trial.both, trial.found], pace)?;
        Ok([found, once(subject, &[trial.both, trial.wanted], pace)?])
    };
    Ok(Compared {
        trial,
        load,
        rounds: (0..rounds).map(both).collect::<Result<_, String>>()?,
    })
}

impl Compared {
    fn side(&self, at: usize) -> Vec<Figures> {
        self.rounds.iter().map(|pair| pair[at].clone()).collect()
    }

    /// Cost as wanted over cost as found, within each round.
    fn ratio(&self) -> Option<Spread> {
        let cost = |figures: &Figures| figures.get("us_each").copied();
        let ratios = self.rounds.iter();
        let ratios = ratios.filter_map(|[found, wanted]| Some(cost(wanted)? / cost(found)?));
        Spread::of(&ratios.collect::<Vec<f64>>())
    }

    /// A row of the table.
    fn row(&self) -> String {
        let sides = [0, 1].map(|at| merge(&self.side(at)));
        let cell = |at: usize, name: &str, by: f64, places: usize| {
            let text = |f: &Spread| f.text("", |value| format!("{:.places$}", value * by));
            sides[at].get(name).map_or_else(|| "–".to_owned(), text)
        };
        let pair = |name: &str, by: f64, places: usize| {
            let (found, wanted) = (cell(0, name, by, places), cell(1, name, by, places));
            format!("{found} → {wanted}")
        };
        let ratio = self.ratio().map_or_else(
            || "–".to_owned(),
            |ratio| ratio.text("", |value| format!("{value:.3}")),
        );
        format!(
            "| {} | {} | {} | {} | {} | {ratio} | {} | {} |",
            name(self.trial),
            self.trial.what,
            self.load,
            cell(0, "us_each", 1000.0, 0),
            cell(1, "us_each", 1000.0, 0),
            pair("lost", 100.0, 3),
            pair("p99_us", 1.0, 0),
        )
    }

    fn json(&self) -> Value {
        json!({
            "knob": self.trial.knob,
            "what": self.trial.what,
            "load": self.load,
            "ratio": self.ratio(),
            "found": self.side(0),
            "wanted": self.side(1),
        })
    }
}

/// Measures the knobs whose names begin with `only`; prints a table, and gives all of it as JSON.
pub fn run(subject: &Subject, only: &str, rounds: usize) -> Result<Value, String> {
    let pace = {
        let state = State::new(subject, &[])?;
        load().at_busy(BUSY).pace(&state.subject)?
    };
    let mut table = format!(
        "| knob | found → wanted | load | ns of a packet, found | wanted | ratio | lost, % | one way p99, µs |\n{}|\n",
        "|---".repeat(8)
    );
    let mut all = Vec::new();
    for trial in TRIALS.iter().filter(|t| name(t).starts_with(only)) {
        for load in [("calm", 1.0), ("70 % busy", pace)] {
            eprintln!("{}: {}, {} …", name(trial), trial.what, load.0);
            match compare(subject, trial, load, rounds) {
                Ok(compared) => {
                    eprintln!("{}", compared.row());
                    let _ = writeln!(table, "{}", compared.row());
                    all.push(compared.json());
                }
                Err(error) => {
                    println!("{}: not measured: {error}", name(trial));
                    break;
                }
            }
        }
    }
    println!("{table}");
    Ok(Value::Array(all))
}
