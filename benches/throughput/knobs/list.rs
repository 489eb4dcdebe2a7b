//! What `--knobs` measures: of each knob of `colchis tune` that a pair of virtual interfaces has, the host as `tune` may find
//! it and as it wants it. Data only; `tests/throughput.rs` holds the names to the table of knobs.
//!
//! Not here, because there is nothing to see on virtual interfaces: `rings`, `flow-rules`, `irqbalance`, `irq-affinity` (no
//! card), `governor`, `idle-states`, `isolation`, `numa` (of the hardware, or of the boot), `io-uring`, `open-files` (a server
//! runs or does not), `hugepages` (of memory, not of time).

/// One step towards a state of the host. All are undone when it was measured.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// A file of the host is written to.
    Host(&'static str, &'static str),
    /// A file in the server's namespace, which ends with it.
    Inside(&'static str, &'static str),
    /// A command in the server's namespace.
    Run(&'static str),
    /// These words start the server.
    Wrap(&'static str),
}

use Step::{Host, Inside, Run, Wrap};

/// Two states of the host that are compared.
pub struct Trial {
    /// Name in the table of knobs; none: `tune` does not know it.
    pub knob: Option<&'static str>,
    /// What differs: first as found, then as wanted.
    pub what: &'static str,
    /// What both states need.
    pub both: &'static [Step],
    pub found: &'static [Step],
    pub wanted: &'static [Step],
}

const RMEM: &str = "/proc/sys/net/core/rmem_max";
const WMEM: &str = "/proc/sys/net/core/wmem_max";
const BUDGET: &str = "/proc/sys/net/core/netdev_budget";
const BACKLOG: &str = "/proc/sys/net/core/netdev_max_backlog";
const BUSY_READ: &str = "/proc/sys/net/core/busy_read";
const HUGE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const TX0: &str = "/sys/class/net/tp0/queues/tx-0/xps_cpus";
const TX1: &str = "/sys/class/net/tp0/queues/tx-1/xps_cpus";
const RX0: &str = "/sys/class/net/tp0/queues/rx-0/rps_cpus";
const RX1: &str = "/sys/class/net/tp0/queues/rx-1/rps_cpus";
/// Root may lock as much memory as it likes unless this is taken from it.
const LOCK_LITTLE: &str =
    "setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock prlimit --memlock=524288:524288";
const LOCK_MUCH: &str =
    "setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock prlimit --memlock=8388608:8388608";

/// All that can be measured.
pub const TRIALS: &[Trial] = &[
    Trial {
        knob: Some("socket-buffers"),
        what: "rmem_max and wmem_max 208 KiB → 4 MiB",
        both: &[],
        found: &[Host(RMEM, "212992"), Host(WMEM, "212992")],
        wanted: &[Host(RMEM, "4194304"), Host(WMEM, "4194304")],
    },
    Trial {
        knob: Some("memlock"),
        what: "locked memory 512 KiB → 8 MiB",
        both: &[],
        found: &[Wrap(LOCK_LITTLE)],
        wanted: &[Wrap(LOCK_MUCH)],
    },
    Trial {
        knob: Some("thp"),
        what: "transparent huge pages always → madvise",
        both: &[],
        found: &[Host(HUGE, "always")],
        wanted: &[Host(HUGE, "madvise")],
    },
    Trial {
        knob: Some("netdev-budget"),
        what: "netdev_budget 300 → 600",
        both: &[],
        found: &[Host(BUDGET, "300")],
        wanted: &[Host(BUDGET, "600")],
    },
    Trial {
        knob: Some("netdev-backlog"),
        what: "netdev_max_backlog 1000 → 4096",
        both: &[],
        found: &[Host(BACKLOG, "1000")],
        wanted: &[Host(BACKLOG, "4096")],
    },
    Trial {
        knob: Some("busy-poll"),
        what: "busy_read 0 → 50 µs, interface with GRO",
        // Without GRO a virtual interface has no queue that could be looked into.
        both: &[Run("ethtool -K tp0 gro on")],
        found: &[Host(BUSY_READ, "0")],
        wanted: &[Host(BUSY_READ, "50")],
    },
    Trial {
        knob: Some("tx-checksum"),
        what: "tx-checksumming off → on",
        both: &[],
        found: &[Run("ethtool -K tp0 tx off")],
        wanted: &[Run("ethtool -K tp0 tx on")],
    },
    Trial {
        knob: Some("gso"),
        what: "generic-segmentation-offload off → on",
        both: &[],
        found: &[Run("ethtool -K tp0 gso off")],
        wanted: &[Run("ethtool -K tp0 gso on")],
    },
    Trial {
        knob: Some("udp-segmentation"),
        what: "tx-udp-segmentation off → on",
        both: &[],
        found: &[Run("ethtool -K tp0 tx-udp-segmentation off")],
        wanted: &[Run("ethtool -K tp0 tx-udp-segmentation on")],
    },
    Trial {
        knob: Some("gro"),
        what: "generic-receive-offload off → on",
        both: &[],
        found: &[Run("ethtool -K tp0 gro off")],
        wanted: &[Run("ethtool -K tp0 gro on")],
    },
    Trial {
        knob: Some("gro-forwarding"),
        what: "rx-udp-gro-forwarding on → off, interface with GRO",
        both: &[Run("ethtool -K tp0 gro on")],
        found: &[Run("ethtool -K tp0 rx-udp-gro-forwarding on")],
        wanted: &[Run("ethtool -K tp0 rx-udp-gro-forwarding off")],
    },
    Trial {
        knob: Some("xps"),
        what: "two transmit queues: by hash → that of the core",
        both: &[Run("ethtool -L tp0 tx 2 rx 2")],
        found: &[Inside(TX0, "0"), Inside(TX1, "0")],
        wanted: &[Inside(TX0, "1"), Inside(TX1, "2")],
    },
    Trial {
        knob: Some("rps"),
        what: "two receive queues: RPS over both cores → off",
        both: &[Run("ethtool -L tp0 tx 2 rx 2")],
        found: &[Inside(RX0, "3"), Inside(RX1, "3")],
        wanted: &[Inside(RX0, "0"), Inside(RX1, "0")],
    },
    Trial {
        knob: None,
        what: "queue of the interface: pfifo of 1000 → none",
        both: &[],
        found: &[Run("tc qdisc replace dev tp0 root pfifo limit 1000")],
        wanted: &[Run("tc qdisc replace dev tp0 root noqueue")],
    },
    Trial {
        knob: None,
        what: "stateful rule for media: tracked → notrack",
        both: &[
            Run("nft add table inet host"),
            Run("nft add chain inet host in { type filter hook input priority 0 ; }"),
            Run("nft add rule inet host in ct state new,established,untracked accept"),
        ],
        found: &[],
        wanted: &[
            Run("nft add chain inet host before { type filter hook prerouting priority -300 ; }"),
            Run("nft add chain inet host out { type filter hook output priority -300 ; }"),
            Run("nft add rule inet host before meta l4proto udp notrack"),
            Run("nft add rule inet host out meta l4proto udp notrack"),
        ],
    },
];
