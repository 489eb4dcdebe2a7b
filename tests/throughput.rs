//! The parts of the bench of throughput that can be tested: how rounds are merged, and the names of knobs.

#[path = "../benches/throughput/figures.rs"]
mod figures;
#[path = "../benches/throughput/knobs/list.rs"]
mod list;

use colchis::tune::KNOBS;
use serde_json::json;

use figures::{Spread, figures as figures_of, merge};
use list::{Step, TRIALS};

fn result(forwarded: u64, bare: u64) -> serde_json::Value {
    json!({
        "fan_out": 32,
        "stage": {
            "seconds": 2.0, "sent": 100, "tally": {"received": 99, "lost": 1}, "latency_us": [10, 20, 30],
            "server": {"cpu_s": 1.0, "process_cpu_s": 1.5, "forwarded": forwarded, "datagrams": 8, "trains": 2,
                "forward_us": [100, 400], "resident_bytes": 7},
        },
        "bare": {"datagrams": bare, "cpu_s": 2.0},
    })
}

#[test]
fn the_middle_of_an_even_number_is_a_mean() {
    assert_eq!(Spread::of(&[]), None);
    let of = |values: &[f64]| Spread::of(values).expect("there are some");
    assert_eq!((of(&[3.0]).median, of(&[3.0, 1.0]).median), (3.0, 2.0));
    let three = of(&[9.0, 1.0, 2.0]);
    assert_eq!((three.low, three.median, three.high), (1.0, 2.0, 9.0));
}

#[test]
fn a_spread_is_shown_where_it_is_one() {
    let whole = |value: f64| format!("{value:.0}");
    let spread = |low, high| Spread::of(&[low, high]).expect("two");
    assert_eq!(spread(859.0, 1093.0).text("k", whole), "976k (859–1093)");
    assert_eq!(spread(859.1, 859.2).text("k", whole), "859k");
    assert_eq!(spread(400.0, 700.0).range(), "400–700");
    assert_eq!(spread(400.0, 400.0).range(), "400");
    assert_eq!(spread(400.0, u64::MAX as f64).range(), "400–∞");
}

#[test]
fn ratios_are_taken_within_each_round_and_then_merged() {
    // The second round's host is half as fast, for both.
    let rounds = [
        figures_of(&result(1000, 2400)),
        figures_of(&result(500, 1300)),
    ];
    let merged = merge(&rounds);
    assert_eq!(merged["per_cpu_s"].median, 750.0);
    assert_eq!(merged["bare_per_cpu_s"].median, 925.0);
    let ratio = merged["bare_ratio"];
    assert_eq!((ratio.low, ratio.median, ratio.high), (1.2, 1.25, 1.3));
    assert_eq!(merged["busy"].median, 0.5);
    assert_eq!(merged["lost"].median, 0.01);
}

#[test]
fn what_a_server_does_not_tell_is_left_out() {
    let mut janus = result(0, 0);
    janus["bare"] = json!(null);
    janus["stage"]["server"] = json!({"cpu_s": 0.0, "process_cpu_s": 2.0, "forward_us": [0, 0]});
    let figures = figures_of(&janus);
    for name in ["bare_ratio", "inside_p50_us", "train"] {
        assert!(!figures.contains_key(name), "{name}");
    }
    // 100 packets to 32 each, 1 % lost, 2 s of the process.
    assert!((figures["per_cpu_s"] - 1584.0).abs() < 1e-6);
    // A figure that one round has is there.
    assert!(merge(&[figures, figures_of(&result(1, 1))]).contains_key("train"));
}

#[test]
fn knobs_that_are_measured_are_in_the_table_of_knobs() {
    for trial in TRIALS {
        if let Some(name) = trial.knob {
            assert!(KNOBS.iter().any(|knob| knob.name == name), "{name}");
        }
        assert!(!trial.what.is_empty());
        let steps = [trial.both, trial.found, trial.wanted].concat();
        assert!(!steps.is_empty(), "{}: nothing differs", trial.what);
        for step in steps {
            let text = match step {
                Step::Host(path, value) | Step::Inside(path, value) => [path, value],
                Step::Run(words) | Step::Wrap(words) => [words, "-"],
            };
            assert!(text.iter().all(|text| !text.is_empty()), "{}", trial.what);
        }
    }
}
