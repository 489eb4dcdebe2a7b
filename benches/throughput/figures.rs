//! Figures of a load, and what several rounds of them say together. Pure; `tests/throughput.rs` tests it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// Figures of one run by name; one that a server does not tell is not there.
pub type Figures = BTreeMap<String, f64>;

/// One figure over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Of an even number of rounds: the mean of the two in the middle.
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Of nothing: none.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Spread { median, low, high })
    }

    /// The median, and the rounds' lowest and highest where `text` shows them as different: `976k (859–1092)`.
    pub fn text(&self, unit: &str, text: impl Fn(f64) -> String) -> String {
        let (low, high) = (text(self.low), text(self.high));
        match low == high {
            true => low + unit,
            false => format!("{}{unit} ({low}–{high})", text(self.median)),
        }
    }

    /// Of bounds of histogram buckets, which have no median between them: `400`, or `400–700`.
    pub fn range(&self) -> String {
        match self.low == self.high {
            true => bound(self.low),
            false => format!("{}–{}", bound(self.low), bound(self.high)),
        }
    }
}

/// The bound of a histogram's bucket; the last one has none.
pub fn bound(value: f64) -> String {
    match value < u64::MAX as f64 {
        true => value.to_string(),
        false => "∞".to_owned(),
    }
}

/// What the rounds of one load say together, figure by figure.
pub fn merge(rounds: &[Figures]) -> BTreeMap<String, Spread> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, value) in rounds.iter().flatten() {
        values.entry(name.clone()).or_default().push(*value);
    }
    let spread = |(name, values): (String, Vec<f64>)| Some((name, Spread::of(&values)?));
    values.into_iter().filter_map(spread).collect()
}

/// Figures of one run.
pub fn figures(result: &Value) -> Figures {
    let (stage, server) = (&result["stage"], &result["stage"]["server"]);
    let float = |v: &Value| v.as_f64().unwrap_or(0.0);
    let seconds = float(&stage["seconds"]).max(0.001);
    let received = float(&stage["tally"]["received"]);
    let lost = float(&stage["tally"]["lost"]);
    let lost = lost / (lost + received).max(1.0);
    // Other servers do not say what they forwarded. Nothing is lost on the way to those that are heard, so it is all of it.
    let forwarded = match float(&server["forwarded"]) {
        0.0 => float(&stage["sent"]) * float(&result["fan_out"]) * (1.0 - lost),
        forwarded => forwarded,
    };
    let process_cpu_s = float(&server["process_cpu_s"]);
    let cpu_s = match float(&server["cpu_s"]) {
        0.0 => process_cpu_s,
        cpu_s => cpu_s,
    };
    let per_cpu_s = forwarded / cpu_s.max(1e-9);
    let bare = &result["bare"];
    let bare = bare
        .is_object()
        .then(|| float(&bare["datagrams"]) / float(&bare["cpu_s"]).max(1e-9));
    let trains = float(&server["trains"]);
    // Nothing is busy, and nobody has measured the time inside, where a server says nothing of it.
    let told = |value: f64| (value > 0.0).then_some(value);
    let named = [
        ("received_per_s", Some(received / seconds)),
        ("lost", Some(lost)),
        ("train", told(float(&server["datagrams"]) / trains.max(1.0))),
        ("per_cpu_s", Some(per_cpu_s)),
        ("us_each", told(per_cpu_s).map(|each| 1e6 / each)),
        ("bare_per_cpu_s", bare),
        ("bare_ratio", bare.map(|bare| bare / per_cpu_s.max(1e-9))),
        ("busy", Some(float(&server["cpu_s"]) / seconds)),
        ("others", Some((process_cpu_s - cpu_s) / seconds)),
        ("p50_us", Some(float(&stage["latency_us"][0]))),
        ("p99_us", Some(float(&stage["latency_us"][1]))),
        ("inside_p50_us", told(float(&server["forward_us"][0]))),
        ("inside_p99_us", told(float(&server["forward_us"][1]))),
        ("resident_bytes", Some(float(&server["resident_bytes"]))),
    ];
    let known = named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    known.collect()
}
