//! The kernel's memory and network at large.

use super::{BY_REVERT, HARDWARE, HOSTS, sysctl_at_least, sysctl_exactly};
use crate::tune::knob::{Change, Evidence, Knob, Setting};
use crate::tune::parse::host;

const THP_PATH: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
/// Packets of one turn of the network's softirq; the kernel's own default is 300.
const BUDGET: u64 = 600;
/// Packets waiting for a core; the kernel's own default is 1000.
const BACKLOG: u64 = 4096;
/// What the kernel's documentation recommends for reads, µs.
const BUSY_READ_US: u64 = 50;

pub(super) const TRANSPARENT_HUGEPAGES: Knob = Knob {
    name: "thp",
    what: "transparent huge pages: `madvise` or `never`",
    why: "With `always`, a page fault may wait until memory has been moved together, and the daemon that does so runs on the cores of shards too.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("no difference beyond the noise on veth (1.02 ×)"),
    profiles: HOSTS,
    settings: |case| {
        let text = case.facts.transparent_hugepages.as_deref();
        // On a plain file (a test's) the choice stands alone.
        let now = text.map(|text| host::chosen(text).unwrap_or(text.trim()));
        let change = Change::Write {
            path: THP_PATH.to_owned(),
            value: "madvise".to_owned(),
            choice: true,
        };
        let right = |now: &str| matches!(now, "madvise" | "never");
        vec![Setting::new("enabled", now, "madvise", right, change)]
    },
};

pub(super) const HUGEPAGES: Knob = Knob {
    name: "hugepages",
    what: "reserved huge pages (`vm.nr_hugepages`): 0, unless something else on the host needs them",
    why: "The server uses none; memory that is reserved for them is lost to its buffers.",
    undo: "advice: `vm.nr_hugepages` as it was",
    evidence: Evidence::Untested,
    profiles: HOSTS,
    settings: |case| {
        let now = case.facts.hugepages.map(|pages| pages.to_string());
        let advice = "sysctl -w vm.nr_hugepages=0, if nothing else needs them".to_owned();
        vec![Setting::new(
            "HugePages_Total",
            now.as_deref(),
            "0",
            |now| now == "0",
            Change::Advise(advice),
        )]
    },
};

pub(super) const NETDEV_BUDGET: Knob = Knob {
    name: "netdev-budget",
    what: "`net.core.netdev_budget`: at least 600",
    why: "Packets the kernel takes from the cards in one turn. Too few, and a burst of several queues waits in the card's ring, where it may be lost.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("no difference beyond the noise on veth (1.10 ×)"),
    profiles: HOSTS,
    settings: |case| vec![sysctl_at_least(case, "net/core/netdev_budget", BUDGET)],
};

pub(super) const NETDEV_BACKLOG: Knob = Knob {
    name: "netdev-backlog",
    what: "`net.core.netdev_max_backlog`: at least 4096",
    why: "Packets that wait for a core when they come over loopback, a bridge of containers, or RPS; more are lost. A card with queues of its own does not use it.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("no difference beyond the noise on veth (1.00 ×)"),
    profiles: HOSTS,
    settings: |case| {
        vec![sysctl_at_least(
            case,
            "net/core/netdev_max_backlog",
            BACKLOG,
        )]
    },
};

pub(super) const BUSY_POLL: Knob = Knob {
    name: "busy-poll",
    what: "`net.core.busy_read`: 50 µs for new sockets; `net.core.busy_poll`: 0",
    why: "A shard that finds its socket empty looks into the card's queue itself, without waiting for an interrupt. `busy_poll` is about poll(2): `cores.spin_us` is that for shards alone, and it would make every other process spin.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("no difference beyond the noise on veth (1.02 ×)"),
    profiles: HARDWARE,
    settings: |case| {
        vec![
            sysctl_exactly(case, "net/core/busy_read", BUSY_READ_US),
            sysctl_exactly(case, "net/core/busy_poll", 0),
        ]
    },
};
