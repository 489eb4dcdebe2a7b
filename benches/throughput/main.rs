//! How many packets a core forwards: reference loads on one shard, over a pair of virtual interfaces between two network
//! namespaces, each beside the bare limit of the same round.
//!
//! `cargo bench --bench throughput -- --json FILE` (root, two cores, about 18 minutes). Ratios within one run are what counts.
//!
//! | option | |
//! |---|---|
//! | `--json FILE` | every round and what they say together |
//! | `--docs` | put the table into docs/benchmarks.md |
//! | `--only NAME` | loads (with `--knobs`: knobs) whose names begin so, or the load named exactly so |
//! | `--rounds N` | run the whole list so many times (2) and take medians |
//! | `--server PATH` | measure this server, an older build for example; the load is always of this build |
//! | `--profile FILE` | stacks of the shard in the measured stage of one load, see scripts/flame.sh |
//! | `--knobs` | instead of the loads: what knobs of `colchis tune` bring on virtual interfaces, about 20 minutes |

mod bare;
mod figures;
mod janus;
mod knobs;
mod loads;
mod net;
mod profile;
mod rounds;
mod sfu;
mod table;

use serde_json::{Value, json};

use crate::sfu::Subject;

/// The value after `name`.
fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1)
}

fn flag(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

fn number<T: std::str::FromStr>(at: usize) -> T {
    let args: Vec<String> = std::env::args().collect();
    let parsed = args.get(at).and_then(|text| text.parse().ok());
    parsed.unwrap_or_else(|| panic!("argument {at} is no number"))
}

/// Rounds to run: a profile is of one.
fn rounds() -> Result<usize, String> {
    match (option("--rounds"), flag("--profile")) {
        (None, profile) => Ok(if profile { 1 } else { 2 }),
        (Some(text), _) => match text.parse() {
            Ok(rounds @ 1..) => Ok(rounds),
            _ => Err(format!("--rounds {text}: a number, 1 or more")),
        },
    }
}

/// Runs the loads and prints their table; all of it as JSON.
fn throughput(subject: &Subject, only: &str, rounds: usize) -> Result<Value, String> {
    let loads = loads::chosen(only);
    if loads.is_empty() {
        return Err(format!("--only {only}: no load's name begins so"));
    }
    if subject.profile.is_some() && loads.len() > 1 {
        return Err("--profile is of one load: name it with --only".to_owned());
    }
    let _net = net::Net::new()?;
    let found = rounds::run(&loads, rounds, subject);
    let table = table::markdown(&table::host(), &found);
    println!("\n{table}");
    let whole = only.is_empty() && subject.profile.is_none();
    match flag("--docs") {
        true if whole => table::write_docs(&table),
        true => println!("--docs: not written, that is for the whole list"),
        false => {}
    }
    Ok(found.iter().map(rounds::Rounds::json).collect())
}

fn run() -> Result<(), String> {
    let rounds = rounds()?;
    let only = option("--only").unwrap_or_default();
    let subject = Subject::new(option("--server"), option("--profile").map(Into::into));
    let host = table::host();
    let all = match flag("--knobs") {
        true => json!({"host": host, "knobs": knobs::run(&subject, &only, rounds)?}),
        false => json!({"host": host, "loads": throughput(&subject, &only, rounds)?}),
    };
    let Some(path) = option("--json") else {
        return Ok(());
    };
    std::fs::write(&path, format!("{all:#}\n"))
        .map_err(|e| format!("--json {path}: {e}; can it be written?"))
}

fn main() {
    // The ends of the bare limit are this program too.
    match std::env::args().nth(1).as_deref() {
        Some("--bare-serve") => return bare::serve(number(2)),
        Some("--bare-feed") => return bare::feed(number(2), number(3), number(4), number(5)),
        _ => {}
    }
    if let Err(error) = run() {
        println!(
            "not measured: {error}\n(it needs root, iproute2, nftables and two cores; `--knobs` ethtool too)"
        );
        std::process::exit(1);
    }
}
