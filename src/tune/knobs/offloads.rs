//! Offloads of the network card (`ethtool -K`).

use super::{BY_REVERT, HOSTS};
use crate::tune::knob::{Case, Change, Evidence, Knob, Setting};

/// Offloads by the name that `ethtool -k` shows and the one that `ethtool -K` takes in every version.
const NAMES: &[(&str, &str)] = &[
    ("tx-checksumming", "tx"),
    ("generic-segmentation-offload", "gso"),
    ("tx-udp-segmentation", "tx-udp-segmentation"),
    ("generic-receive-offload", "gro"),
    ("rx-udp-gro-forwarding", "rx-udp-gro-forwarding"),
    ("ntuple-filters", "ntuple"),
];

/// The name that `ethtool -k` shows for what `ethtool -K` calls `key`.
pub fn shown_name(key: &str) -> &str {
    let found = NAMES.iter().find(|(_, name)| *name == key);
    found.map_or(key, |(shown, _)| shown)
}

pub(super) const TX_CHECKSUM: Knob = Knob {
    name: "tx-checksum",
    what: "`tx-checksumming`: on",
    why: "Trains of datagrams (UDP GSO) need it: kernels before 6.11 refuse them without, and then every datagram costs a way through the kernel of its own.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("0.74 of the CPU time for each packet with it on (veth)"),
    profiles: HOSTS,
    settings: |case| feature(case, "tx-checksumming", true),
};

pub(super) const GSO: Knob = Knob {
    name: "gso",
    what: "`generic-segmentation-offload`: on",
    why: "It is for TCP: signalling and the Control API go through the kernel in larger pieces. Trains of media are cut late with or without it.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("no difference beyond the noise on veth (1.01 ×)"),
    profiles: HOSTS,
    settings: |case| feature(case, "generic-segmentation-offload", true),
};

pub(super) const UDP_SEGMENTATION: Knob = Knob {
    name: "udp-segmentation",
    what: "`tx-udp-segmentation`: on",
    why: "The card cuts trains of datagrams itself, and the core does not.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("0.77 of the CPU time for each packet with it on (veth)"),
    profiles: HOSTS,
    settings: |case| feature(case, "tx-udp-segmentation", true),
};

pub(super) const GRO: Knob = Knob {
    name: "gro",
    what: "`generic-receive-offload`: on",
    why: "Signalling and the Control API are TCP, which costs less in larger pieces. Media sockets take no trains, so datagrams are left as they are.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("no difference beyond the noise on veth (1.00 ×)"),
    profiles: HOSTS,
    settings: |case| feature(case, "generic-receive-offload", true),
};

pub(super) const GRO_FORWARDING: Knob = Knob {
    name: "gro-forwarding",
    what: "`rx-udp-gro-forwarding`: off",
    why: "It is for hosts that pass datagrams on. Here they end: a train that was joined would be cut again for the media socket.",
    undo: BY_REVERT,
    evidence: Evidence::Measured("no difference beyond the noise on veth (1.03 ×)"),
    profiles: HOSTS,
    settings: |case| feature(case, "rx-udp-gro-forwarding", false),
};

/// The offload that `ethtool -k` shows as `shown`. One that is wrong and fixed is not available here.
pub(super) fn feature(case: &Case<'_>, shown: &str, on: bool) -> Vec<Setting> {
    let Some(nic) = &case.facts.nic else {
        return Vec::new();
    };
    let word = |on| if on { "on" } else { "off" };
    let known = nic.features.as_ref().and_then(|all| all.get(shown));
    let now = known.filter(|f| !f.fixed || f.on == on).map(|f| word(f.on));
    let key = NAMES.iter().find(|(name, _)| *name == shown);
    let key = key.map_or(shown, |(_, key)| key);
    let target = format!("{} {shown}", nic.name);
    let change = Change::feature(&nic.name, key, on);
    vec![Setting::new(
        target,
        now,
        word(on),
        |now| now == word(on),
        change,
    )]
}
