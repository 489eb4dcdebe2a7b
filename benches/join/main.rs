//! The signalling core under load, with real WebSockets and no media: joins, the pings of others, and the Control API.
//!
//! `cargo bench --bench join -- [--members N] [--json FILE]`. The server is this checkout's own binary, a process of its
//! own. Every member answers every negotiation it is asked for, and in the end must know exactly the tracks of the
//! others of its room: an event that is lost shows.
#[path = "../../tests/support/mod.rs"]
mod support;

mod bystanders;
mod client;
mod control;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Barrier;

use bystanders::Bystanders;
use client::Member;
use server::Server;

/// Members of each room.
const ROOM: usize = 10;
/// Over this long the joins are spread.
const SPREAD: Duration = Duration::from_secs(25);
/// Until this long after the first, everybody must know everything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Percentiles of a list of times, ms.
pub fn percentiles(mut times: Vec<Duration>) -> Value {
    times.sort();
    let at = |share: f64| {
        let index = ((times.len().max(1) - 1) as f64 * share).round() as usize;
        let ms = times.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3;
        (ms * 100.0).round() / 100.0
    };
    json!({"count": times.len(), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0)})
}

fn argument(name: &str) -> Option<String> {
    let mut all = std::env::args().skip_while(|a| a != name);
    all.next();
    all.next()
}

/// Joins of `members`, spread over [`SPREAD`]; how long each took, and what went wrong.
async fn join_all(server: &Server, members: usize) -> (Vec<Duration>, Vec<String>, Duration) {
    let started = Instant::now();
    let done = Arc::new(Barrier::new(members + 1));
    let mut tasks = Vec::new();
    for n in 0..members {
        let (address, done) = (server.public, Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            // Rooms fill up one beside the other, as they do.
            let (room, seat) = (n % (members / ROOM).max(1), n / (members / ROOM).max(1));
            tokio::time::sleep(SPREAD.mul_f64(n as f64 / members as f64)).await;
            let member = Member::join(address, room, seat).await;
            let (took, fault) = match member {
                Ok(mut member) => {
                    let settled = member.settle(ROOM - 1, started + PATIENCE, &done).await;
                    (Some(member.joined_in), settled.err())
                }
                Err(fault) => {
                    done.wait().await;
                    (None, Some(fault))
                }
            };
            (took, fault)
        }));
    }
    done.wait().await;
    let all = started.elapsed();
    let (mut times, mut faults) = (Vec::new(), Vec::new());
    for task in tasks {
        let (took, fault) = task.await.expect("a member does not panic");
        times.extend(took);
        faults.extend(fault);
    }
    (times, faults, all)
}

async fn run(members: usize) -> BTreeMap<&'static str, Value> {
    let mut report = BTreeMap::new();
    let server = Server::start();
    let quiet = Bystanders::start(&server);
    tokio::time::sleep(Duration::from_secs(3)).await;
    report.insert("pings_quiet", percentiles(quiet.stop()));
    let busy = Bystanders::start(&server);
    let cpu = server.cpu();
    let (times, faults, all) = join_all(&server, members).await;
    report.insert("joins", percentiles(times));
    report.insert("joins_faults", json!(faults.len()));
    report.insert(
        "joins_first_faults",
        json!(faults.iter().take(3).collect::<Vec<_>>()),
    );
    report.insert("joins_all_settled_s", json!(all.as_secs_f64()));
    report.insert(
        "joins_server_cpu_s",
        json!((server.cpu() - cpu).as_secs_f64()),
    );
    report.insert("pings_while_joining", percentiles(busy.stop()));
    drop(server);
    let server = Server::start();
    report.insert("apply_100_members", control::apply(&server).await);
    let busy = Bystanders::start(&server);
    report.insert("wrong_joins", control::wrong_joins(&server).await);
    report.insert("pings_while_wrong_joins", percentiles(busy.stop()));
    report
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn main() {
    if let Some(server) = argument(bystanders::ARGUMENT) {
        let server = server.parse().expect("an address");
        return runtime().block_on(bystanders::run(server));
    }
    // `cargo test --benches` runs benches too, with --test or nothing of ours.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let members = argument("--members").and_then(|n| n.parse().ok());
    let report = runtime().block_on(run(members.unwrap_or(2_000)));
    let text = serde_json::to_string_pretty(&report).expect("JSON");
    println!("{text}");
    if let Some(file) = argument("--json") {
        std::fs::write(file, text).expect("written");
    }
}
