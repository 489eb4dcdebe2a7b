//! How many packets a core forwards: reference loads on one shard, over a pair of virtual interfaces between two network
//! namespaces, each beside the bare limit of the same run.
//!
//! `cargo bench --bench throughput -- --json FILE` (root, two cores, about eight minutes). `--only NAME` runs the loads whose
//! names begin so. Ratios within one run are what counts.

mod bare;
mod janus;
mod loads;
mod net;
mod sfu;
mod table;

use serde_json::json;

/// The value after `name`.
fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1)
}

fn number<T: std::str::FromStr>(at: usize) -> T {
    let args: Vec<String> = std::env::args().collect();
    let parsed = args.get(at).and_then(|text| text.parse().ok());
    parsed.unwrap_or_else(|| panic!("argument {at} is no number"))
}

fn main() {
    // The ends of the bare limit are this program too.
    match std::env::args().nth(1).as_deref() {
        Some("--bare-serve") => return bare::serve(number(2)),
        Some("--bare-feed") => return bare::feed(number(2), number(3), number(4), number(5)),
        _ => {}
    }
    let _net = match net::Net::new() {
        Ok(net) => net,
        Err(error) => {
            println!("not measured, it needs root, iproute2, nftables and two cores: {error}");
            return;
        }
    };
    let only = option("--only").unwrap_or_default();
    let mut results = Vec::new();
    for load in loads::all().iter().filter(|l| l.name.starts_with(&only)) {
        eprintln!("{} …", load.name);
        match load.run() {
            Ok(result) => {
                println!("{}", table::line(&result));
                results.push(result);
            }
            Err(error) => println!("{}: {error}", load.name),
        }
    }
    let all = json!({"host": table::host(), "loads": results});
    if let Some(path) = option("--json") {
        std::fs::write(&path, format!("{all:#}\n")).expect("the file of --json is written");
    }
    if only.is_empty() && std::env::args().any(|a| a == "--docs") {
        table::write_docs(&all);
    }
}
