//! Reads a host's facts: files below a root, and what `ethtool` says.

use crate::io::tune::nic;
use crate::io::tune::root::Root;
use crate::io::tune::tools::Tools;
use crate::limits::{TUNE_CORE_MAX, TUNE_IDLE_STATES_MAX};
use crate::tune::HostFacts;
use crate::tune::facts::{Core, HostKind, IdleState};
use crate::tune::parse::{cores, host};

/// Sysctls that knobs look at, or an operator wants to see, below `/proc/sys`.
const SYSCTLS: &[&str] = &[
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/core/rmem_default",
    "net/core/netdev_budget",
    "net/core/netdev_max_backlog",
    "net/core/busy_poll",
    "net/core/busy_read",
    "kernel/io_uring_disabled",
];
const CPUS: &str = "/sys/devices/system/cpu";
const NODES: &str = "/sys/devices/system/node";

/// Everything that knobs look at. Media goes through `nic`.
pub fn read(root: &Root, tools: &mut dyn Tools, nic: Option<&str>) -> HostFacts {
    let sysctls = SYSCTLS.iter().filter_map(|name| {
        let text = root.read(&format!("/proc/sys/{name}"))?;
        Some(((*name).to_owned(), text.trim().to_owned()))
    });
    let online = online(root);
    let limits = root.read("/proc/self/limits").unwrap_or_default();
    let meminfo = root.read("/proc/meminfo").unwrap_or_default();
    HostFacts {
        cores: online.iter().map(|&id| (id, core(root, id))).collect(),
        online,
        nodes: nodes(root).into_iter().collect(),
        sysctls: sysctls.collect(),
        limits: host::limits(&limits),
        cmdline: root.read("/proc/cmdline"),
        transparent_hugepages: root.read("/sys/kernel/mm/transparent_hugepage/enabled"),
        hugepages: host::hugepages(&meminfo),
        irqbalance: runs(root, "irqbalance"),
        kind: kind(root),
        nic: nic.map(|nic| nic::read(root, tools, nic)),
    }
}

/// Cores that are online, ascending.
pub fn online(root: &Root) -> Vec<usize> {
    let text = root.read(&format!("{CPUS}/online")).unwrap_or_default();
    cores::list(&text).unwrap_or_default()
}

fn core(root: &Root, id: usize) -> Core {
    let idle = format!("{CPUS}/cpu{id}/cpuidle");
    let mut states: Vec<IdleState> = root
        .list(&idle)
        .iter()
        .filter_map(|name| idle_state(root, &idle, name.strip_prefix("state")?.parse().ok()?))
        .take(TUNE_IDLE_STATES_MAX)
        .collect();
    states.sort_by_key(|state| state.index);
    Core {
        governor: root.read(&format!("{CPUS}/cpu{id}/cpufreq/scaling_governor")),
        idle_states: states,
    }
}

fn idle_state(root: &Root, folder: &str, index: usize) -> Option<IdleState> {
    let read = |file: &str| root.read(&format!("{folder}/state{index}/{file}"));
    Some(IdleState {
        index,
        name: read("name").unwrap_or_default().trim().to_owned(),
        latency_us: read("latency")?.trim().parse().ok()?,
        disable: read("disable"),
    })
}

fn nodes(root: &Root) -> Vec<(usize, Vec<usize>)> {
    let names = root.list(NODES);
    let found = names.iter().filter_map(|name| {
        let id: usize = name.strip_prefix("node")?.parse().ok()?;
        let list = root.read(&format!("{NODES}/{name}/cpulist"))?;
        Some((id, cores::list(&list)?))
    });
    found.take(TUNE_CORE_MAX).collect()
}

/// Whether a process of that name runs.
fn runs(root: &Root, name: &str) -> bool {
    let mut processes = root.list("/proc").into_iter();
    processes.any(|id| {
        let is_process = id.bytes().all(|byte| byte.is_ascii_digit());
        let comm = is_process.then(|| root.read(&format!("/proc/{id}/comm")));
        comm.flatten().is_some_and(|comm| comm.trim() == name)
    })
}

fn kind(root: &Root) -> HostKind {
    let marks = [
        "/.dockerenv",
        "/run/.containerenv",
        "/run/systemd/container",
        "/run/secrets/kubernetes.io",
    ];
    let text = |path: &str| root.read(path).unwrap_or_default();
    let cpuinfo = text("/proc/cpuinfo");
    let vendor = text("/sys/class/dmi/id/sys_vendor");
    let product = text("/sys/class/dmi/id/product_name");
    let container = marks.iter().any(|mark| root.has(mark))
        || host::is_container_cgroup(&text("/proc/1/cgroup"));
    HostKind {
        container,
        hypervisor: root.has("/sys/hypervisor/type")
            || host::is_virtual(&cpuinfo, vendor.trim(), product.trim()),
    }
}
