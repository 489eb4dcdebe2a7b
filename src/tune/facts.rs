//! A host as plain data: what `io::tune` found. `None` is "not there, or not to be read".

use std::collections::BTreeMap;

/// Everything that knobs look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Cores that are online, ascending.
    pub online: Vec<usize>,
    /// Governor and idle states of cores.
    pub cores: BTreeMap<usize, Core>,
    /// Cores of each NUMA node.
    pub nodes: BTreeMap<usize, Vec<usize>>,
    /// Values of sysctls by their path below `/proc/sys`, like `net/core/rmem_max`.
    pub sysctls: BTreeMap<String, String>,
    /// Limits of a process.
    pub limits: ProcessLimits,
    /// Kernel command line.
    pub cmdline: Option<String>,
    /// `/sys/kernel/mm/transparent_hugepage/enabled`.
    pub transparent_hugepages: Option<String>,
    /// Huge pages that are reserved.
    pub hugepages: Option<u64>,
    /// Whether the daemon that moves interrupts runs.
    pub irqbalance: bool,
    /// What kind of host this is.
    pub kind: HostKind,
    /// The network card of media, if there is one.
    pub nic: Option<Nic>,
}

/// What tells a virtual machine or a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostKind {
    /// Signs of a container were found.
    pub container: bool,
    /// Signs of a hypervisor were found.
    pub hypervisor: bool,
}

/// One core.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Core {
    /// Name of its frequency governor.
    pub governor: Option<String>,
    /// Its idle states, from shallow to deep.
    pub idle_states: Vec<IdleState>,
}

/// One idle state of a core (cpuidle).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdleState {
    /// Its number.
    pub index: usize,
    /// Its name, like `C6`.
    pub name: String,
    /// Time to wake up from it, µs.
    pub latency_us: u64,
    /// Content of its `disable` file.
    pub disable: Option<String>,
}

/// Limits of a process, soft and hard. `None` inside: unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Locked memory, bytes; the hard limit, up to which the server raises its own.
    pub memlock_bytes: Option<Limit>,
    /// Open files; the soft limit.
    pub open_files: Option<Limit>,
}

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So much.
    At(u64),
    /// No limit.
    Unlimited,
}

/// A network card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nic {
    /// Name of the device, like `eth0`.
    pub name: String,
    /// Its driver.
    pub driver: Option<String>,
    /// Its NUMA node.
    pub node: Option<usize>,
    /// Receive queues by number: content of their `rps_cpus`.
    pub rx_queues: BTreeMap<usize, Option<String>>,
    /// Transmit queues by number: content of their `xps_cpus`.
    pub tx_queues: BTreeMap<usize, Option<String>>,
    /// Interrupts of its queues.
    pub irqs: Vec<QueueIrq>,
    /// What `ethtool -k` says.
    pub features: Option<BTreeMap<String, Feature>>,
    /// What `ethtool -g` says.
    pub rings: Option<Rings>,
    /// What `ethtool -n` says.
    pub rules: Option<Vec<FlowRule>>,
}

/// Which packets an interrupt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Received ones.
    Rx,
    /// Sent ones.
    Tx,
    /// Both.
    Both,
}

/// The interrupt of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueIrq {
    /// Its number.
    pub irq: u32,
    /// Number of the queue.
    pub queue: usize,
    /// Of which direction.
    pub direction: Direction,
    /// Content of its `smp_affinity_list`.
    pub affinity: Option<String>,
}

/// An offload of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Whether it is on.
    pub on: bool,
    /// Whether the card or its driver let nobody change it.
    pub fixed: bool,
}

/// Descriptors of the rings of a network card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rings {
    /// Receive, now.
    pub rx: Option<u32>,
    /// Receive, at most.
    pub rx_max: Option<u32>,
    /// Transmit, now.
    pub tx: Option<u32>,
    /// Transmit, at most.
    pub tx_max: Option<u32>,
}

/// IPv4 or IPv6, as `ethtool` calls UDP over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Family {
    /// UDP over IPv4.
    #[serde(rename = "udp4")]
    Udp4,
    /// UDP over IPv6.
    #[serde(rename = "udp6")]
    Udp6,
}

impl Family {
    /// Name of the flow type.
    pub fn name(self) -> &'static str {
        match self {
            Family::Udp4 => "udp4",
            Family::Udp6 => "udp6",
        }
    }
}

/// A flow rule for UDP: datagrams to a port go to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowRule {
    /// Its number.
    pub id: u32,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Destination port.
    pub port: u16,
    /// Receive queue; `None`: another action.
    pub queue: Option<usize>,
}
