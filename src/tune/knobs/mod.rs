//! The table of knobs, in the order they are changed; undoing goes the other way.
//!
//! A new knob is a line here and a row in `tuning/README.md`: a test asks for both.

mod cpu;
mod kernel;
mod nic;
mod offloads;
mod process;
mod queues;

pub use offloads::shown_name;

use crate::tune::knob::{Case, Change, Knob, Setting};
use crate::tune::profile::Profile;

/// Every knob there is.
pub static KNOBS: &[Knob] = &[
    process::SOCKET_BUFFERS,
    process::IO_URING,
    process::MEMLOCK,
    process::OPEN_FILES,
    cpu::GOVERNOR,
    cpu::IDLE_STATES,
    cpu::ISOLATION,
    cpu::NUMA,
    kernel::TRANSPARENT_HUGEPAGES,
    kernel::HUGEPAGES,
    kernel::NETDEV_BUDGET,
    kernel::NETDEV_BACKLOG,
    kernel::BUSY_POLL,
    // First, because other sizes set the card's queues up anew.
    nic::RINGS,
    offloads::TX_CHECKSUM,
    offloads::GSO,
    offloads::UDP_SEGMENTATION,
    offloads::GRO,
    offloads::GRO_FORWARDING,
    nic::FLOW_RULES,
    queues::IRQBALANCE,
    queues::IRQ_AFFINITY,
    queues::XPS,
    queues::RPS,
];

/// Every kind of host.
const EVERYWHERE: &[Profile] = &[Profile::BareMetal, Profile::Vm, Profile::Container];
/// Whoever has a kernel of his own.
const HOSTS: &[Profile] = &[Profile::BareMetal, Profile::Vm];
/// Whoever has the hardware of his own.
const HARDWARE: &[Profile] = &[Profile::BareMetal];

/// Undone by `tune` alone.
const BY_REVERT: &str = "`--revert`, or a reboot";

/// The sysctl `name` (its path below `/proc/sys`), right when it is `ok`.
fn sysctl(
    case: &Case<'_>,
    name: &str,
    shown: &str,
    value: u64,
    ok: impl Fn(u64) -> bool,
) -> Setting {
    let now = case.facts.sysctls.get(name).map(String::as_str);
    let right = |now: &str| now.trim().parse().is_ok_and(&ok);
    let change = Change::write(format!("/proc/sys/{name}"), value.to_string());
    Setting::new(name.replace('/', "."), now, shown, right, change)
}

/// The sysctl `name`, at least `value`.
fn sysctl_at_least(case: &Case<'_>, name: &str, value: u64) -> Setting {
    sysctl(case, name, &format!("at least {value}"), value, |now| {
        now >= value
    })
}

/// The sysctl `name`, exactly `value`.
fn sysctl_exactly(case: &Case<'_>, name: &str, value: u64) -> Setting {
    sysctl(case, name, &value.to_string(), value, |now| now == value)
}
