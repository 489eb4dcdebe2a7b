//! Which core serves which queue of the network card.

use super::nic::steered;
use super::{BY_REVERT, HOSTS};
use crate::tune::facts::{Direction, Nic};
use crate::tune::knob::{Case, Change, Evidence, Knob, Setting};
use crate::tune::parse::cores;

pub(super) const IRQBALANCE: Knob = Knob {
    name: "irqbalance",
    what: "the daemon `irqbalance`: not running, or told to leave the interrupts of the network card alone",
    why: "It moves interrupts to other cores every few seconds, also those that were placed on purpose.",
    undo: "advice: start it again",
    evidence: Evidence::Untested,
    profiles: HOSTS,
    settings: |case| {
        let now = match case.facts.irqbalance {
            true => "running",
            false => "not running",
        };
        let advice =
            "systemctl disable --now irqbalance, or its option --banmod with the card's driver";
        let right = |now: &str| now == "not running";
        let change = Change::Advise(advice.to_owned());
        vec![Setting::new(
            "irqbalance",
            Some(now),
            "not running",
            right,
            change,
        )]
    },
};

pub(super) const IRQ_AFFINITY: Knob = Knob {
    name: "irq-affinity",
    what: "interrupt of queue n (`/proc/irq/*/smp_affinity_list`): on the core of shard n; of other queues: on signalling's where flow rules keep media out of them, else on those of shards in turn",
    why: "The kernel's part of a datagram is done on the core that is interrupted. On the shard's own, nothing has to go from one core's cache to another's.",
    undo: BY_REVERT,
    evidence: Evidence::Untested,
    profiles: HOSTS,
    settings: |case| {
        let Some(nic) = &case.facts.nic else {
            return Vec::new();
        };
        let irqs = nic.irqs.iter();
        irqs.map(|irq| {
            let core = core_of(case, nic, irq.queue).to_string();
            let direction = match irq.direction {
                Direction::Rx => "rx",
                Direction::Tx => "tx",
                Direction::Both => "rx+tx",
            };
            let target = format!("irq {} ({} {direction}-{})", irq.irq, nic.name, irq.queue);
            let right = |now: &str| cores::list(now) == cores::list(&core);
            let path = format!("/proc/irq/{}/smp_affinity_list", irq.irq);
            let change = Change::write(path, core.as_str());
            Setting::new(
                target,
                irq.affinity.as_deref().map(str::trim),
                &core,
                right,
                change,
            )
        })
        .collect()
    },
};

/// One queue for several shards is too much for any of them: signalling's core has it.
fn core_of(case: &Case<'_>, nic: &Nic, queue: usize) -> usize {
    let plan = case.plan;
    match nic.rx_queues.len() <= 1 && plan.shard_cores().len() > 1 {
        true => plan.signalling,
        false => plan.core_of(queue, steered(case)),
    }
}

pub(super) const XPS: Knob = Knob {
    name: "xps",
    what: "transmit queue n (`queues/tx-*/xps_cpus`): used by the core of shard n; queues without a shard: by the other cores",
    why: "Each shard then sends through a queue of its own, and waits for no other core's lock.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("no difference beyond the noise on veth (1.01 ×)"),
    profiles: HOSTS,
    settings: xps,
};

fn xps(case: &Case<'_>) -> Vec<Setting> {
    let Some(nic) = case
        .facts
        .nic
        .as_ref()
        .filter(|nic| nic.tx_queues.len() > 1)
    else {
        return Vec::new();
    };
    let plan = case.plan;
    let shards = plan.shard_cores();
    let mut others = case.facts.online.clone();
    others.retain(|core| !shards.contains(core));
    let mut found = Vec::new();
    for (&queue, text) in &nic.tx_queues {
        let seats = plan.shards.iter().enumerate();
        let mine = seats.filter(|(shard, _)| plan.queue_of(*shard, nic.tx_queues.len()) == queue);
        let mut wanted: Vec<usize> = mine.map(|(_, seat)| seat.core).collect();
        if wanted.is_empty() {
            wanted.clone_from(&others);
        }
        wanted.sort_unstable();
        wanted.dedup();
        if !wanted.is_empty() {
            found.push(mask(
                nic,
                ("tx", queue, "xps_cpus"),
                text.as_deref(),
                &wanted,
            ));
        }
    }
    found
}

pub(super) const RPS: Knob = Knob {
    name: "rps",
    what: "receive packet steering (`queues/rx-*/rps_cpus`): off where the card has several queues",
    why: "The card spreads datagrams over the cores already; doing it again in software sends each to a second core.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("no difference beyond the noise on veth (1.00 ×)"),
    profiles: HOSTS,
    settings: |case| {
        let Some(nic) = case
            .facts
            .nic
            .as_ref()
            .filter(|nic| nic.rx_queues.len() > 1)
        else {
            return Vec::new();
        };
        let queues = nic.rx_queues.iter();
        queues
            .map(|(&queue, text)| mask(nic, ("rx", queue, "rps_cpus"), text.as_deref(), &[]))
            .collect()
    },
};

/// A mask of cores of one queue.
fn mask(
    nic: &Nic,
    (side, queue, file): (&str, usize, &str),
    text: Option<&str>,
    wanted: &[usize],
) -> Setting {
    let shown = |cores: &[usize]| match cores {
        [] => "no core".to_owned(),
        some => cores::list_text(some),
    };
    let now = text.and_then(cores::mask);
    let path = format!("/sys/class/net/{}/queues/{side}-{queue}/{file}", nic.name);
    let change = Change::write(path, cores::mask_text(wanted));
    Setting::new(
        format!("{} {side}-{queue}", nic.name),
        now.as_deref().map(shown).as_deref(),
        shown(wanted),
        |_| now.as_deref() == Some(wanted),
        change,
    )
}
