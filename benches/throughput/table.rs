//! What was measured, as lines for a person and as the table of docs/benchmarks.md.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Where the table goes.
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md");
const BEGIN: &str = "<!-- throughput: written by the bench -->";
const END: &str = "<!-- end of throughput -->";

struct Figures {
    name: String,
    received_per_s: f64,
    loss: f64,
    train: f64,
    /// Packets forwarded per second of CPU time of the shard's thread, read in the same instant.
    per_cpu_s: f64,
    /// The bare loop's.
    bare_per_cpu_s: Option<f64>,
    /// Share of a core the process' other threads use.
    others: f64,
    busy: f64,
    p50_us: u64,
    p99_us: u64,
    inside_us: [u64; 2],
    memory: u64,
}

fn figures(result: &Value) -> Figures {
    let (stage, server) = (&result["stage"], &result["stage"]["server"]);
    let float = |v: &Value| v.as_f64().unwrap_or(0.0);
    let seconds = float(&stage["seconds"]).max(0.001);
    let (received, lost) = (
        float(&stage["tally"]["received"]),
        float(&stage["tally"]["lost"]),
    );
    let inside = |at: usize| server["forward_us"][at].as_u64().unwrap_or(0);
    let latency = |at: usize| stage["latency_us"][at].as_u64().unwrap_or(0);
    let bare = &result["bare"];
    // Other servers do not say what they forwarded. Nothing is lost on the way to those that are heard, so it is all of it.
    let forwarded = match float(&server["forwarded"]) {
        0.0 => {
            float(&stage["sent"])
                * float(&result["fan_out"])
                * (1.0 - lost / (lost + received).max(1.0))
        }
        forwarded => forwarded,
    };
    let cpu_s = match float(&server["cpu_s"]) {
        0.0 => float(&server["process_cpu_s"]),
        cpu_s => cpu_s,
    };
    Figures {
        name: result["name"].as_str().unwrap_or_default().to_owned(),
        received_per_s: received / seconds,
        loss: lost / (lost + received).max(1.0),
        train: float(&server["datagrams"]) / float(&server["trains"]).max(1.0),
        per_cpu_s: forwarded / cpu_s.max(1e-9),
        others: float(&server["process_cpu_s"]) / seconds - cpu_s / seconds,
        bare_per_cpu_s: bare
            .is_object()
            .then(|| float(&bare["datagrams"]) / float(&bare["cpu_s"]).max(1e-9)),
        busy: float(&server["cpu_s"]) / seconds,
        p50_us: latency(0),
        p99_us: latency(1),
        inside_us: [inside(0), inside(1)],
        memory: server["resident_bytes"].as_u64().unwrap_or(0),
    }
}

/// One load's figures on a line.
pub fn line(result: &Value) -> String {
    let f = figures(result);
    let bare = f.bare_per_cpu_s.map_or(String::new(), |bare| {
        format!(
            ", bare {:.0}k/CPU s: {:.2} × its cost",
            bare / 1000.0,
            bare / f.per_cpu_s
        )
    });
    format!(
        "{}: {:.0}k heard/s, {:.3} % lost, trains {:.1}, {:.0}k forwarded/CPU s ({:.2} µs each){bare}, shard {:.0} % busy, other threads {:.1} %, \
         one way p50 {} p99 {} µs, inside p50 ≤ {} p99 ≤ {} µs, {} MiB",
        f.name,
        f.received_per_s / 1000.0,
        f.loss * 100.0,
        f.train,
        f.per_cpu_s / 1000.0,
        1e6 / f.per_cpu_s,
        f.busy * 100.0,
        f.others * 100.0,
        f.p50_us,
        f.p99_us,
        f.inside_us[0],
        f.inside_us[1],
        f.memory >> 20
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

/// A figure, or a dash for what a server does not say.
fn known(value: f64, text: String) -> String {
    if value > 0.0 { text } else { "–".to_owned() }
}

/// Puts the table into the manual.
pub fn write_docs(all: &Value) {
    let host = &all["host"];
    let mut table = format!(
        "{BEGIN}\n{} cores of {}, Linux {}; server and clients in namespaces of one host, core 0 is the shard's.\n\n\
         | load | forwarded per CPU second | µs each | bare limit's cost × | mean train | shard busy | lost | one way p50 / p99 µs | inside p50 / p99 µs |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        host["cores"],
        host["cpu"].as_str().unwrap_or("?"),
        host["kernel"].as_str().unwrap_or("?")
    );
    for result in all["loads"].as_array().into_iter().flatten() {
        let f = figures(result);
        let ratio = f.bare_per_cpu_s.map_or("–".to_owned(), |bare| {
            format!("{:.2}", bare / f.per_cpu_s)
        });
        let _ = writeln!(
            table,
            "| {} | {:.0}k | {:.2} | {ratio} | {} | {:.0} % | {:.3} % | {} / {} | {} / {} |",
            f.name,
            f.per_cpu_s / 1000.0,
            1e6 / f.per_cpu_s,
            known(f.train, format!("{:.1}", f.train)),
            f.busy * 100.0,
            f.loss * 100.0,
            f.p50_us,
            f.p99_us,
            known(f.inside_us[0] as f64, format!("≤ {}", f.inside_us[0])),
            known(f.inside_us[1] as f64, format!("≤ {}", f.inside_us[1]))
        );
    }
    table.push_str(END);
    let text = std::fs::read_to_string(DOCS).expect("docs/benchmarks.md");
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.expect("the marks of the table in docs/benchmarks.md");
    std::fs::write(DOCS, format!("{before}{table}{after}")).expect("docs/benchmarks.md is written");
}
