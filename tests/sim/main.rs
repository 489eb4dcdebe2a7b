//! A whole shard in a simulated world: virtual clock, seeded network, fake clients; invariants after each step.
//!
//! `COLCHIS_SIM_SEED=n` replays one seed; `COLCHIS_SIM_SEEDS=n` runs that many (default 500, nightly 10,000);
//! `COLCHIS_SIM_SECONDS=n` sets the virtual length of each (default 60).
#[path = "../support/mod.rs"]
mod support;

mod attack;
mod burst;
mod client;
mod configure;
mod cost;
mod description;
mod dtls;
mod faults;
mod first_picture;
mod make;
mod model;
mod network;
mod pace;
mod quality;
mod restart;
mod scenario;
mod world;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use make::make_shard;
use scenario::{Outcome, run};

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

#[test]
fn same_seed_sends_the_same_bytes() {
    let seed = setting("COLCHIS_SIM_SEED").unwrap_or(7);
    let (one, two) = (run(seed, 30), run(seed, 30));
    assert_eq!(one, two, "seed {seed}");
    assert_ne!(
        one.hash,
        run(seed + 1, 30).hash,
        "the hash sees what the shard sends"
    );
}

#[test]
fn every_seed_keeps_the_invariants() {
    let seconds = setting("COLCHIS_SIM_SECONDS").unwrap_or(60);
    if let Some(seed) = setting("COLCHIS_SIM_SEED") {
        println!("seed {seed}: {:?}", run(seed, seconds));
        return;
    }
    let seeds = setting("COLCHIS_SIM_SEEDS").unwrap_or(500);
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<(u64, Result<Outcome, ()>)> = std::thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return done;
                }
                done.push((seed, catch_unwind(|| run(seed, seconds)).map_err(|_| ())));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().expect("a worker catches panics"))
            .collect()
    });
    let failed: Vec<u64> = results
        .iter()
        .filter(|(_, r)| r.is_err())
        .map(|(seed, _)| *seed)
        .collect();
    let sum = |of: fn(&Outcome) -> u64| {
        results
            .iter()
            .filter_map(|(_, r)| r.as_ref().ok())
            .map(of)
            .sum::<u64>()
    };
    println!(
        "{seeds} seeds × {seconds} virtual s in {:.1} s: {} datagrams in, {} media packets received, \
         {} recovered, {} handshakes, {} drops",
        started.elapsed().as_secs_f64(),
        sum(|o| o.datagrams_in),
        sum(|o| o.received),
        sum(|o| o.recovered),
        sum(|o| o.handshakes),
        sum(|o| o.drops),
    );
    assert!(
        failed.is_empty(),
        "failed seeds: {failed:?}; replay one with COLCHIS_SIM_SEED={}",
        failed[0]
    );
    assert!(
        sum(|o| o.received) > seeds * 500,
        "the simulation carries media"
    );
    // Padded copies are played like any other: the clients compare every byte.
    assert!(sum(|o| o.padded) > seeds * 50, "some copies are padded");
}
