//! The network card: sizes of its rings, and which queue takes the datagrams of which port.

use super::offloads::feature;
use super::{BY_REVERT, HOSTS};
use crate::tune::before::{Before, Side};
use crate::tune::facts::{Family, Nic};
use crate::tune::knob::{Case, Change, Evidence, Knob, Setting, ring_argv, rule_argv};

/// Descriptors that hold a burst of some milliseconds; more only cost cache.
const RING_WANTED: u32 = 4096;

pub(super) const RINGS: Knob = Knob {
    name: "rings",
    what: "ring sizes (`ethtool -G`): as large as the card has them, up to 4096",
    why: "A burst waits here until the core comes; what does not fit is lost without a trace in the server. Most cards drop the link for a moment when it is changed.",
    undo: BY_REVERT,
    evidence: Evidence::Untested,
    profiles: HOSTS,
    settings: |case| {
        let Some(nic) = &case.facts.nic else {
            return Vec::new();
        };
        let rings = nic.rings.unwrap_or_default();
        vec![
            ring(nic, Side::Rx, rings.rx, rings.rx_max),
            ring(nic, Side::Tx, rings.tx, rings.tx_max),
        ]
    },
};

fn ring(nic: &Nic, side: Side, now: Option<u32>, max: Option<u32>) -> Setting {
    let count = max.unwrap_or(RING_WANTED).min(RING_WANTED);
    let before = now.unwrap_or_default();
    let change = Change::Run {
        argv: ring_argv(&nic.name, side, count),
        before: Before::Ring {
            nic: nic.name.clone(),
            side,
            count: before,
        },
    };
    let text = now.filter(|_| max.is_some()).map(|now| now.to_string());
    Setting::new(
        format!("{} {} ring", nic.name, side.name()),
        text.as_deref(),
        format!("at least {count}"),
        |_| before >= count,
        change,
    )
}

pub(super) const FLOW_RULES: Knob = Knob {
    name: "flow-rules",
    what: "flow rules (`ethtool -N`): datagrams to the port of shard n, IPv4 and IPv6, go to queue n",
    why: "The interrupt, the kernel's work and the shard are then on one core, whose cache has the datagram. The hash of the card knows nothing of ports and shards.",
    undo: BY_REVERT,
    evidence: Evidence::Untested,
    profiles: HOSTS,
    settings: flow_rules,
};

/// Whether rules keep the datagrams of each shard in a queue of its own.
pub(super) fn steered(case: &Case<'_>) -> bool {
    let Some(nic) = &case.facts.nic else {
        return false;
    };
    let filters = nic
        .features
        .as_ref()
        .and_then(|all| all.get("ntuple-filters"));
    nic.rx_queues.len() > 1
        && nic.rules.is_some()
        && filters.is_some_and(|f| f.on || !f.fixed)
        && case.plan.shards.iter().all(|seat| seat.udp_port.is_some())
}

fn flow_rules(case: &Case<'_>) -> Vec<Setting> {
    let Some(nic) = case
        .facts
        .nic
        .as_ref()
        .filter(|nic| nic.rx_queues.len() > 1)
    else {
        return Vec::new();
    };
    let mut found = feature(case, "ntuple-filters", true);
    let families = [
        (Family::Udp4, case.plan.ipv4),
        (Family::Udp6, case.plan.ipv6),
    ];
    for (shard, seat) in case.plan.shards.iter().enumerate() {
        let Some(port) = seat.udp_port else {
            let advice = "name a first port in media.udp_port".to_owned();
            let (now, wanted) = (Some("any free ports"), "fixed ports");
            let change = Change::Advise(advice);
            return vec![Setting::new(
                "media.udp_port",
                now,
                wanted,
                |_| false,
                change,
            )];
        };
        let queue = case.plan.queue_of(shard, nic.rx_queues.len());
        let wished = families.into_iter().filter(|(_, wished)| *wished);
        found.extend(wished.map(|(family, _)| rule(case, nic, family, port, queue)));
    }
    found
}

fn rule(case: &Case<'_>, nic: &Nic, family: Family, port: u16, queue: usize) -> Setting {
    let rules = nic.rules.as_deref().unwrap_or_default();
    let there = rules.iter().find(|r| (r.family, r.port) == (family, port));
    let now = match there.map(|rule| rule.queue) {
        None => "no rule".to_owned(),
        Some(Some(queue)) => format!("queue {queue}"),
        Some(None) => "another action".to_owned(),
    };
    let change = match there {
        // Somebody has reasons of his own; and what a rule says cannot all be written down to be put back.
        Some(rule) => Change::Advise(format!("ethtool -N {} delete {}", nic.name, rule.id)),
        None => Change::Run {
            argv: rule_argv(&nic.name, family, port, queue),
            before: Before::NoRule {
                nic: nic.name.clone(),
                family,
                port,
                queue,
                kept: rules.iter().map(|rule| rule.id).collect(),
            },
        },
    };
    let right = there.is_some_and(|rule| rule.queue == Some(queue));
    let now = steered(case).then_some(now);
    Setting::new(
        format!("{} {} port {port}", nic.name, family.name()),
        now.as_deref(),
        format!("queue {queue}"),
        |_| right,
        change,
    )
}
