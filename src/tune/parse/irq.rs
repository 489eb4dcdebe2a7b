//! `/proc/interrupts`: which interrupt belongs to which queue of a network card.
//!
//! Drivers name them freely. What is common: the name ends in the number of the queue (before an `@pci:…`), and holds the
//! device, or the card's own interrupts are listed in sysfs.

use crate::limits::TUNE_QUEUES_MAX;
use crate::tune::facts::{Direction, QueueIrq};

/// Names with one of these are no queue's.
const NO_QUEUE: &[&str] = &[
    "async", "config", "control", "event", "misc", "mgmnt", "pages", "cmd",
];

/// How a driver of rented machines (gve) calls its interrupts.
const BLOCK: &str = "ntfy-bl";

/// Interrupts of the queues of `dev`. `bus` is the name of its device on the bus (`0000:03:00.0`, `virtio2`), `own` the
/// interrupts that sysfs lists for it.
pub fn queue_irqs(interrupts: &str, dev: &str, bus: Option<&str>, own: &[u32]) -> Vec<QueueIrq> {
    let mut found = Vec::new();
    let mut blocks = false;
    for line in interrupts.lines() {
        let Some((number, rest)) = line.trim_start().split_once(':') else {
            continue;
        };
        let (Ok(irq), Some(name)) = (number.parse(), rest.split_whitespace().next_back()) else {
            continue;
        };
        let ours = match bus.filter(|bus| bus.starts_with("virtio")) {
            // All virtio devices of one slot share a parent; the name says which it is.
            Some(bus) => name.strip_prefix(bus).is_some_and(|r| r.starts_with('-')),
            None => {
                own.contains(&irq) || names(name, dev) || bus.is_some_and(|b| name.ends_with(b))
            }
        };
        if let (true, Some((queue, direction))) = (ours, queue(name, dev)) {
            blocks |= name.contains(BLOCK);
            found.push(QueueIrq {
                irq,
                queue,
                direction,
                affinity: None,
            });
        }
    }
    if blocks {
        halve(&mut found);
    }
    found
}

/// The first half of a driver's numbered blocks is for transmit queues, the second for receive queues.
fn halve(found: &mut [QueueIrq]) {
    let half = found.len() / 2;
    for irq in found {
        irq.direction = match irq.queue.checked_sub(half) {
            Some(queue) => {
                irq.queue = queue;
                Direction::Rx
            }
            None => Direction::Tx,
        };
    }
}

/// Whether `name` holds `dev` as a word: `eth1` is not in `eth10-rx-0`.
fn names(name: &str, dev: &str) -> bool {
    let mut parts = name.split(['-', '@', ':', '.']);
    parts.any(|part| part == dev)
}

fn queue(name: &str, dev: &str) -> Option<(usize, Direction)> {
    if name == dev {
        return Some((0, Direction::Both));
    }
    let name = name.split('@').next()?;
    let lower = name.to_ascii_lowercase();
    if NO_QUEUE.iter().any(|word| lower.contains(word)) {
        return None;
    }
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let queue = name[name.len() - digits..].parse().ok()?;
    if queue >= TUNE_QUEUES_MAX {
        return None;
    }
    let rx = lower.contains("rx") || lower.contains("input");
    let tx = lower.contains("tx") || lower.contains("output");
    let direction = match (rx, tx) {
        (true, false) => Direction::Rx,
        (false, true) => Direction::Tx,
        _ => Direction::Both,
    };
    Some((queue, direction))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(found: Vec<QueueIrq>) -> Vec<(u32, usize, Direction)> {
        let short = found.into_iter().map(|i| (i.irq, i.queue, i.direction));
        short.collect()
    }

    #[test]
    fn names_of_drivers_are_understood() {
        let text = "           CPU0       CPU1\n\
            24:  1  0  PCI-MSI 1-edge      eth1-TxRx-0\n\
            25:  1  0  PCI-MSI 1-edge      eth1-TxRx-11\n\
            26:  1  0  PCI-MSI 1-edge      eth10-TxRx-0\n\
            27:  1  0  PCI-MSI 1-edge      ice-eth1-rx-2\n\
            28:  1  0  PCI-MSI 1-edge      mlx5_async0@pci:0000:03:00.0\n\
            29:  1  0  PCI-MSI 1-edge      mlx5_comp4@pci:0000:03:00.0\n\
            NMI: 0  0  Non-maskable interrupts\n";
        use Direction::{Both, Rx};
        assert_eq!(
            short(queue_irqs(text, "eth1", None, &[])),
            [(24, 0, Both), (25, 11, Both), (27, 2, Rx)]
        );
        let mlx = queue_irqs(text, "ens3", Some("0000:03:00.0"), &[]);
        assert_eq!(short(mlx), [(29, 4, Both)]);
        assert_eq!(short(queue_irqs(text, "x", None, &[26])), [(26, 0, Both)]);
    }

    #[test]
    fn numbered_blocks_are_halved() {
        let line = |irq: u32| {
            format!(
                "{irq}: 0 0 PCI 0-edge gve-ntfy-blk{}@pci:0000:00:04.0\n",
                irq - 50
            )
        };
        let text: String = (50..54).map(line).collect();
        let text = text + "54: 0 0 PCI 0-edge gve-mgmnt@pci:0000:00:04.0\n";
        use Direction::{Rx, Tx};
        assert_eq!(
            short(queue_irqs(
                &text,
                "ens4",
                Some("0000:00:04.0"),
                &[50, 51, 52, 53, 54]
            )),
            [(50, 0, Tx), (51, 1, Tx), (52, 0, Rx), (53, 1, Rx)]
        );
    }

    #[test]
    fn virtio_is_found_by_its_bus_name() {
        let text = " 37: 0 0 PCI-MSIX 0-edge virtio2-config\n 38: 0 0 PCI-MSIX 1-edge virtio2-input.0\n \
                    39: 0 0 PCI-MSIX 2-edge virtio2-output.0\n 40: 0 0 PCI-MSIX 2-edge virtio20-input.0\n";
        let found = queue_irqs(text, "eth0", Some("virtio2"), &[40]);
        use Direction::{Rx, Tx};
        assert_eq!(short(found), [(38, 0, Rx), (39, 0, Tx)]);
    }
}
