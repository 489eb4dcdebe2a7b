//! Reads the facts of one network card, and chooses the card when none is named.

use std::collections::BTreeMap;

use crate::io::tune::root::Root;
use crate::io::tune::tools::Tools;
use crate::limits::{TUNE_NICS_MAX, TUNE_QUEUES_MAX};
use crate::tune::before::is_nic_name;
use crate::tune::facts::{FlowRule, Nic, QueueIrq, Rings};
use crate::tune::parse::{ethtool, host, irq};

const NICS: &str = "/sys/class/net";

/// Why a card cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--nic {name}: no such network card; there are: {there}; cure: one of these")]
pub struct NoSuchNic {
    name: String,
    there: String,
}

/// The card that is named; else that of the default route; else the only one that is hardware.
///
/// # Errors
/// The one that is named is not there.
pub fn choose(root: &Root, named: Option<&str>) -> Result<Option<String>, NoSuchNic> {
    let mut there = root.list(NICS);
    there.retain(|name| is_nic_name(name) && name != "bonding_masters");
    there.truncate(TUNE_NICS_MAX);
    if let Some(name) = named {
        return match there.iter().any(|nic| nic == name) {
            true => Ok(Some(name.to_owned())),
            false => Err(NoSuchNic {
                name: name.to_owned(),
                there: there.join(", "),
            }),
        };
    }
    let text = |path| root.read(path).unwrap_or_default();
    let routed = host::default_route(&text("/proc/net/route"), &text("/proc/net/ipv6_route"));
    if let Some(routed) = routed.filter(|nic| there.contains(nic)) {
        return Ok(Some(routed));
    }
    there.retain(|nic| is_hardware(root, nic));
    Ok(match there.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    })
}

/// Whether the card is one, and no bond, bridge, VLAN or tunnel.
pub fn is_hardware(root: &Root, nic: &str) -> bool {
    root.has(&format!("{NICS}/{nic}/device"))
}

/// Everything about the card `name`.
pub fn read(root: &Root, tools: &mut dyn Tools, name: &str) -> Nic {
    let folder = format!("{NICS}/{name}");
    let node = root.read(&format!("{folder}/device/numa_node"));
    Nic {
        name: name.to_owned(),
        driver: root.link_name(&format!("{folder}/device/driver")),
        // -1: the card belongs to no node.
        node: node.and_then(|node| node.trim().parse().ok()),
        rx_queues: queues(root, &folder, "rx-", "rps_cpus"),
        tx_queues: queues(root, &folder, "tx-", "xps_cpus"),
        irqs: irqs(root, &folder, name),
        features: said(tools, "-k", name).map(|text| ethtool::features(&text)),
        rings: rings(tools, name),
        rules: rules(tools, name),
    }
}

/// Ring sizes of the card; `None`: not to be had.
pub fn rings(tools: &mut dyn Tools, nic: &str) -> Option<Rings> {
    said(tools, "-g", nic).and_then(|text| ethtool::rings(&text))
}

/// Flow rules of the card; `None`: it has no such thing.
pub fn rules(tools: &mut dyn Tools, nic: &str) -> Option<Vec<FlowRule>> {
    said(tools, "-n", nic).map(|text| ethtool::rules(&text))
}

/// What `ethtool` says of the card.
pub fn said(tools: &mut dyn Tools, option: &str, nic: &str) -> Option<String> {
    let argv = ["ethtool", option, nic].map(str::to_owned);
    tools.run(&argv).ok()
}

fn queues(root: &Root, folder: &str, prefix: &str, file: &str) -> BTreeMap<usize, Option<String>> {
    let names = root.list(&format!("{folder}/queues"));
    let found = names.iter().filter_map(|name| {
        let queue = name.strip_prefix(prefix)?.parse().ok()?;
        Some((queue, root.read(&format!("{folder}/queues/{name}/{file}"))))
    });
    found.take(TUNE_QUEUES_MAX).collect()
}

fn irqs(root: &Root, folder: &str, name: &str) -> Vec<QueueIrq> {
    let own = root.list(&format!("{folder}/device/msi_irqs"));
    let own: Vec<u32> = own.iter().filter_map(|irq| irq.parse().ok()).collect();
    let bus = root.link_name(&format!("{folder}/device"));
    let interrupts = root.read("/proc/interrupts").unwrap_or_default();
    let mut found = irq::queue_irqs(&interrupts, name, bus.as_deref(), &own);
    found.truncate(2 * TUNE_QUEUES_MAX);
    for irq in &mut found {
        irq.affinity = root.read(&format!("/proc/irq/{}/smp_affinity_list", irq.irq));
    }
    found
}
