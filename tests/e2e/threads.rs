//! Which thread does what, seen from outside: tokio, and so epoll, stays on the control thread.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::call::pair;
use crate::server::Server;

/// epoll_wait, epoll_pwait, epoll_pwait2: x86-64, then the numbers AArch64 shares with other newer ports.
#[cfg(target_arch = "x86_64")]
const EPOLL: &[u64] = &[232, 281, 441];
#[cfg(not(target_arch = "x86_64"))]
const EPOLL: &[u64] = &[22, 441];
/// io_uring_enter, everywhere.
const URING_ENTER: u64 = 426;

/// How often each thread, by name, was seen in each system call.
fn sample(server: &Server, rounds: u32) -> BTreeMap<String, BTreeMap<u64, u32>> {
    let mut seen: BTreeMap<String, BTreeMap<u64, u32>> = BTreeMap::new();
    for _ in 0..rounds {
        for task in std::fs::read_dir(format!("/proc/{}/task", server.pid()))
            .expect("tasks")
            .flatten()
        {
            let read =
                |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let calls = seen.entry(read("comm").trim().to_owned()).or_default();
            if let Some(number) = read("syscall")
                .split(' ')
                .next()
                .and_then(|n| n.parse().ok())
            {
                *calls.entry(number).or_default() += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_stays_on_the_control_thread() {
    let server = Server::start(2);
    let _call = pair(&server, "r1", 1).await;
    let seen = sample(&server, 200);
    let named = |prefix: &'static str| {
        seen.iter()
            .filter(move |(name, _)| name.starts_with(prefix))
    };
    assert_eq!(
        named("shard-").count(),
        2,
        "two shards have threads of their names: {seen:?}"
    );
    assert_eq!(named("signalling").count(), 1, "{seen:?}");
    assert_eq!(named("control").count(), 1, "{seen:?}");
    assert_eq!(
        named("tokio").count(),
        0,
        "tokio has no threads of its own: {seen:?}"
    );
    let polls = |calls: &BTreeMap<u64, u32>| -> u32 {
        EPOLL.iter().filter_map(|number| calls.get(number)).sum()
    };
    for (name, calls) in &seen {
        if name == "control" {
            assert!(
                polls(calls) > 0,
                "the control thread waits in epoll: {seen:?}"
            );
        } else {
            assert_eq!(
                polls(calls),
                0,
                "{name} waits in epoll, as only tokio does: {seen:?}"
            );
        }
    }
    for prefix in ["shard-", "signalling"] {
        let waits: u32 = named(prefix)
            .filter_map(|(_, calls)| calls.get(&URING_ENTER))
            .sum();
        assert!(waits > 0, "{prefix} threads wait in io_uring: {seen:?}");
    }
}
