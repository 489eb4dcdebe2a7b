//! The list of loads, run several times over: rounds go one after the other over the whole list, so that a slow minute of
//! the host does not hit all runs of one load.

use serde_json::{Value, json};

use crate::figures::{self, Figures, merge};
use crate::loads::Load;
use crate::sfu::Subject;
use crate::table;

/// What the rounds of one load have brought.
pub struct Rounds {
    pub name: &'static str,
    /// One for each round that did not fail.
    pub results: Vec<Value>,
}

impl Rounds {
    pub fn figures(&self) -> Vec<Figures> {
        self.results.iter().map(figures::figures).collect()
    }

    pub fn json(&self) -> Value {
        json!({"name": self.name, "figures": merge(&self.figures()), "rounds": self.results})
    }
}

/// Runs `loads` so many times.
pub fn run(loads: &[Load], rounds: usize, subject: &Subject) -> Vec<Rounds> {
    let begin = |load: &Load| Rounds {
        name: load.name,
        results: Vec::new(),
    };
    let mut all: Vec<Rounds> = loads.iter().map(begin).collect();
    for round in 1..=rounds {
        for (load, found) in loads.iter().zip(&mut all) {
            eprintln!("round {round} of {rounds}: {} …", load.name);
            match load.run(subject) {
                Ok(result) => {
                    println!("{}", table::line(load.name, &figures::figures(&result)));
                    found.results.push(result);
                }
                Err(error) => println!("{}: {error}", load.name),
            }
        }
    }
    all
}
