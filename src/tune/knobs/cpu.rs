//! What cores do: frequency, idle states, what else runs on them, where they are.

use super::{BY_REVERT, HARDWARE, HOSTS};
use crate::tune::knob::{Case, Change, Evidence, Knob, Setting};
use crate::tune::parse::{cores, host};

/// Idle states that take longer to wake up from are disabled on the cores of shards, µs.
const IDLE_LATENCY_US_MAX: u64 = 20;

pub(super) const GOVERNOR: Knob = Knob {
    name: "governor",
    what: "frequency governor of the cores of shards and signalling: `performance`",
    why: "Media comes in bursts of microseconds; a governor that follows the load raises the clock when the burst is over.",
    undo: BY_REVERT,
    evidence: Evidence::Untested,
    profiles: HARDWARE,
    settings: |case| {
        let roles = case.plan.role_cores().into_iter();
        roles
            .map(|core| {
                let known = case.facts.cores.get(&core);
                let now = known.and_then(|core| core.governor.as_deref());
                let wanted = "performance";
                let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
                let right = |now: &str| now.trim() == wanted;
                Setting::new(
                    format!("cpu{core}"),
                    now,
                    wanted,
                    right,
                    Change::write(path, wanted),
                )
            })
            .collect()
    },
};

pub(super) const IDLE_STATES: Knob = Knob {
    name: "idle-states",
    what: "idle states (C-states) of shard cores that take longer than 20 µs to wake up from: disabled",
    why: "A shard sleeps between bursts; waking up from a deep state delays the first datagram of each. It costs power.",
    undo: BY_REVERT,
    evidence: Evidence::Untested,
    profiles: HARDWARE,
    settings: idle_states,
};

fn idle_states(case: &Case<'_>) -> Vec<Setting> {
    let mut found = Vec::new();
    for core in case.plan.shard_cores() {
        let states = case.facts.cores.get(&core).map(|core| &core.idle_states);
        let deep = states
            .into_iter()
            .flatten()
            .filter(|s| s.latency_us > IDLE_LATENCY_US_MAX);
        for state in deep {
            let (index, latency) = (state.index, state.latency_us);
            let path = format!("/sys/devices/system/cpu/cpu{core}/cpuidle/state{index}/disable");
            let now = state.disable.as_deref().map(|text| match text.trim() {
                "0" => "enabled",
                _ => "disabled",
            });
            let target = format!("cpu{core} {} ({latency} µs)", state.name);
            let right = |now: &str| now == "disabled";
            found.push(Setting::new(
                target,
                now,
                "disabled",
                right,
                Change::write(path, "1"),
            ));
        }
    }
    found
}

pub(super) const ISOLATION: Knob = Knob {
    name: "isolation",
    what: "kernel command line: `isolcpus=`, `nohz_full=`, `rcu_nocbs=` with the cores of shards",
    why: "Whatever else runs on a shard's core delays its media: other processes, the timer tick, callbacks of the kernel. The server must then be started with CPUAffinity= of all its cores, as the kernel gives isolated ones to nobody.",
    undo: "advice: the kernel command line as it was",
    evidence: Evidence::Untested,
    profiles: HOSTS,
    settings: isolation,
};

fn isolation(case: &Case<'_>) -> Vec<Setting> {
    let mut own = case.plan.shard_cores();
    own.retain(|core| *core != case.plan.signalling);
    let left = case.facts.online.iter().any(|core| !own.contains(core));
    let Some(cmdline) = case
        .facts
        .cmdline
        .as_deref()
        .filter(|_| left && !own.is_empty())
    else {
        return Vec::new();
    };
    let list = cores::list_text(&own);
    let keys = [
        ("isolcpus", format!("isolcpus=managed_irq,domain,{list}")),
        ("nohz_full", format!("nohz_full={list}")),
        ("rcu_nocbs", format!("rcu_nocbs={list}")),
    ];
    let settings = keys.into_iter().map(|(key, word)| {
        let value = host::cmdline_value(cmdline, key);
        let has = value.and_then(cores::list).unwrap_or_default();
        let right = own.iter().all(|core| has.contains(core));
        let advice = format!("add {word} to the kernel command line, and boot");
        let now = Some(value.unwrap_or("none"));
        Setting::new(key, now, &list, |_| right, Change::Advise(advice))
    });
    settings.collect()
}

pub(super) const NUMA: Knob = Knob {
    name: "numa",
    what: "cores of shards are on the NUMA node of the network card",
    why: "A datagram that crosses to another node is read over the link between the sockets, and so is every buffer of the card.",
    undo: "advice: `cores.shards` as it was",
    evidence: Evidence::Untested,
    profiles: HOSTS,
    settings: |case| {
        let nic = case.facts.nic.as_ref();
        let node = nic.and_then(|nic| nic.node);
        let near = node.and_then(|node| case.facts.nodes.get(&node));
        let (Some(nic), Some(node), Some(near)) = (nic, node, near) else {
            return Vec::new();
        };
        let shards = case.plan.shard_cores();
        let now = cores::list_text(&shards);
        let wanted = format!("among {}", cores::list_text(near));
        let right = |_: &str| shards.iter().all(|core| near.contains(core));
        let advice = format!(
            "{} is on node {node}: list its cores in cores.shards",
            nic.name
        );
        vec![Setting::new(
            "cores.shards",
            Some(&now),
            wanted,
            right,
            Change::Advise(advice),
        )]
    },
};
