//! What was measured, as lines for a person and as the table of docs/benchmarks.md.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::figures::{Figures, Spread, bound, merge};
use crate::rounds::Rounds;

/// Where the table goes.
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md");
const BEGIN: &str = "<!-- throughput: written by the bench -->";
const END: &str = "<!-- end of throughput -->";

/// One run's figures on a line.
pub fn line(name: &str, f: &Figures) -> String {
    let get = |name: &str| f.get(name).copied().unwrap_or(0.0);
    let bare = f.get("bare_per_cpu_s").map_or(String::new(), |bare| {
        let (each, ratio) = (bare / 1000.0, get("bare_ratio"));
        format!(", bare {each:.0}k/CPU s: {ratio:.2} × its cost")
    });
    format!(
        "{name}: {:.0}k heard/s, {:.3} % lost, trains {:.1}, {:.0}k forwarded/CPU s ({:.2} µs each){bare}, shard {:.0} % busy, other threads {:.1} %, \
         one way p50 {} p99 {} µs, inside p50 ≤ {} p99 ≤ {} µs, {:.0} MiB",
        get("received_per_s") / 1000.0,
        get("lost") * 100.0,
        get("train"),
        get("per_cpu_s") / 1000.0,
        get("us_each"),
        get("busy") * 100.0,
        get("others") * 100.0,
        get("p50_us"),
        get("p99_us"),
        bound(get("inside_p50_us")),
        bound(get("inside_p99_us")),
        get("resident_bytes") / f64::from(1 << 20)
    )
}

/// What kind of host this was measured on.
pub fn host() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let release = read("/proc/sys/kernel/osrelease");
    let release: Vec<&str> = release.split('.').take(2).collect();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name"));
    let model = model.map_or("unknown", |m| m.trim_start_matches(['\t', ' ', ':']));
    json!({
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": release.join("."),
    })
}

/// A row of the manual's table.
fn row(load: &Rounds) -> String {
    let all = merge(&load.figures());
    // A dash for what a server does not say.
    let cell = |name: &str, show: &dyn Fn(&Spread) -> String| {
        all.get(name).map_or_else(|| "–".to_owned(), show)
    };
    let fixed = |places: usize| move |value: f64| format!("{value:.places$}");
    let scaled = |by: f64, places: usize| move |value: f64| format!("{:.places$}", value * by);
    let inside = |name: &str| cell(name, &|f| format!("≤ {}", f.range()));
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} / {} | {} / {} |",
        load.name,
        cell("per_cpu_s", &|f| f.text("k", scaled(1e-3, 0))),
        cell("us_each", &|f| fixed(2)(f.median)),
        cell("bare_ratio", &|f| f.text("", fixed(2))),
        cell("train", &|f| fixed(1)(f.median)),
        cell("busy", &|f| fixed(0)(f.median * 100.0) + " %"),
        cell("lost", &|f| f.text(" %", scaled(100.0, 3))),
        cell("p50_us", &|f| f.text("", fixed(0))),
        cell("p99_us", &|f| f.text("", fixed(0))),
        inside("inside_p50_us"),
        inside("inside_p99_us"),
    )
}

/// The manual's table.
pub fn markdown(host: &Value, loads: &[Rounds]) -> String {
    let rounds = loads.iter().map(|load| load.results.len()).max();
    let mut table = format!(
        "{} cores of {}, Linux {}; server and clients in namespaces of one host, core 0 is the shard's. Medians of {} rounds \
         (in brackets the lowest and the highest).\n\n\
         | load | forwarded per CPU second | µs each | bare limit's cost × | mean train | shard busy | lost | one way p50 / p99 µs | inside p50 / p99 µs |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        host["cores"],
        host["cpu"].as_str().unwrap_or("?"),
        host["kernel"].as_str().unwrap_or("?"),
        rounds.unwrap_or(0)
    );
    for load in loads.iter().filter(|load| !load.results.is_empty()) {
        let _ = writeln!(table, "{}", row(load));
    }
    table
}

/// Puts the table into the manual.
pub fn write_docs(table: &str) {
    let text = std::fs::read_to_string(DOCS).expect("docs/benchmarks.md");
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.expect("the marks of the table in docs/benchmarks.md");
    let text = format!("{before}{BEGIN}\n{table}{END}{after}");
    std::fs::write(DOCS, text).expect("docs/benchmarks.md is written");
}
