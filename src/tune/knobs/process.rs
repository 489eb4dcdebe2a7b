//! What the server's process is allowed: buffers, io_uring, memory, files.

use super::{BY_REVERT, EVERYWHERE, sysctl_at_least, sysctl_exactly};
use crate::limits::{CONNECTIONS_MAX, SESSIONS_MAX};
use crate::tune::facts::Limit;
use crate::tune::knob::{Change, Evidence, Knob, Setting};

/// Locked memory for executors, rings and their growth, bytes; one MiB per thread where that is more.
const MEMLOCK_WANTED_BYTES: u64 = 8 << 20;

pub(super) const SOCKET_BUFFERS: Knob = Knob {
    name: "socket-buffers",
    what: "`net.core.rmem_max`, `net.core.wmem_max`: at least `media.socket_buffer_bytes`",
    why: "A burst of a large room must fit the socket buffer, else it is lost; the kernel clamps buffers to these.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("no difference beyond the noise on veth (0.99 ×)"),
    profiles: EVERYWHERE,
    settings: |case| {
        let bytes = case.plan.socket_buffer_bytes as u64;
        let names = ["net/core/rmem_max", "net/core/wmem_max"];
        names.map(|name| sysctl_at_least(case, name, bytes)).into()
    },
};

pub(super) const IO_URING: Knob = Knob {
    name: "io-uring",
    what: "`kernel.io_uring_disabled`: 0",
    why: "The executors are io_uring; where it is forbidden, the server does not start.",
    undo: BY_REVERT,
    evidence: Evidence::Untested,
    profiles: EVERYWHERE,
    settings: |case| vec![sysctl_exactly(case, "kernel/io_uring_disabled", 0)],
};

pub(super) const MEMLOCK: Knob = Knob {
    name: "memlock",
    what: "locked memory (`ulimit -Hl`, `LimitMEMLOCK=`): at least 8 MiB, one MiB per thread if that is more",
    why: "io_uring registers memory; executors refuse to start below 512 KiB.",
    undo: "advice: the unit file as it was",
    evidence: Evidence::Measured("no difference beyond the noise on veth (1.00 ×)"),
    profiles: EVERYWHERE,
    settings: |case| {
        let threads = case.plan.shards.len() as u64 + 2;
        let wanted = MEMLOCK_WANTED_BYTES.max(threads << 20);
        let advice = format!(
            "LimitMEMLOCK={wanted} in the systemd unit, or `ulimit -l {}`",
            wanted >> 10
        );
        vec![limit(
            "this process, locked memory",
            case.facts.limits.memlock_bytes,
            wanted,
            advice,
        )]
    },
};

pub(super) const OPEN_FILES: Knob = Knob {
    name: "open-files",
    what: "open files (`ulimit -n`, `LimitNOFILE=`): above `limits.sessions`",
    why: "Each session is a socket; whoever comes when there are no more files is not let in.",
    undo: "advice: the unit file as it was",
    evidence: Evidence::Untested,
    profiles: EVERYWHERE,
    settings: |case| {
        let wanted = (case.plan.sessions + CONNECTIONS_MAX - SESSIONS_MAX) as u64;
        let advice = format!("LimitNOFILE={wanted} in the systemd unit, or `ulimit -n {wanted}`");
        vec![limit(
            "this process, open files",
            case.facts.limits.open_files,
            wanted,
            advice,
        )]
    },
};

fn limit(target: &str, now: Option<Limit>, wanted: u64, advice: String) -> Setting {
    let text = now.map(|limit| match limit {
        Limit::At(value) => value.to_string(),
        Limit::Unlimited => "unlimited".to_owned(),
    });
    let right = match now {
        Some(Limit::At(value)) => value >= wanted,
        _ => true,
    };
    let (now, shown) = (text.as_deref(), format!("at least {wanted}"));
    Setting::new(target, now, shown, |_| right, Change::Advise(advice))
}
