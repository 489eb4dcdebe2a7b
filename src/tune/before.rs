//! What was before a change, so that it can be undone: the state file as plain data.

use serde::{Deserialize, Serialize};

use crate::tune::facts::{Family, FlowRule};

/// Format of the state file.
pub const STATE_VERSION: u32 = 1;

/// The state file: every change made since the boot and not yet undone, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Its format: [`STATE_VERSION`].
    pub version: u32,
    /// The boot that the changes belong to: none of them outlives it.
    pub boot_id: Option<String>,
    /// The changes.
    pub changes: Vec<Undo>,
}

/// One change that can be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// Knob it was made for.
    pub knob: String,
    /// What was before.
    pub before: Before,
}

/// What was before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Before {
    /// A file's text.
    File {
        /// Its path.
        path: String,
        /// Its text, byte for byte.
        text: String,
    },
    /// An offload.
    Feature {
        /// Network card.
        nic: String,
        /// Name, as `ethtool -k` has it.
        name: String,
        /// Whether it was on.
        on: bool,
    },
    /// A ring.
    Ring {
        /// Network card.
        nic: String,
        /// `rx` or `tx`.
        side: Side,
        /// Descriptors.
        count: u32,
    },
    /// No flow rule for this port, apart from those that are kept.
    NoRule {
        /// Network card.
        nic: String,
        /// IPv4 or IPv6.
        family: Family,
        /// Destination port.
        port: u16,
        /// Queue of the rule that was added.
        queue: usize,
        /// Numbers of rules that were there.
        kept: Vec<u32>,
    },
}

/// Receive or transmit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Receive.
    Rx,
    /// Transmit.
    Tx,
}

impl Side {
    /// As `ethtool -G` has it.
    pub fn name(self) -> &'static str {
        match self {
            Side::Rx => "rx",
            Side::Tx => "tx",
        }
    }
}

/// Folders that `tune` may write to, for a state file that somebody else has written.
const WRITABLE: &[&str] = &[
    "/proc/sys/net/core/",
    "/proc/sys/kernel/io_uring_disabled",
    "/proc/irq/",
    "/sys/class/net/",
    "/sys/devices/system/cpu/",
    "/sys/kernel/mm/transparent_hugepage/",
];

/// Whether `tune` ever writes to `path`.
pub fn is_writable(path: &str) -> bool {
    WRITABLE.iter().any(|folder| path.starts_with(folder))
        && !path.split('/').any(|part| matches!(part, ".." | "."))
}

/// Whether `name` can be a network card: no option of a tool, no path.
pub fn is_nic_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !name.starts_with(['-', '.'])
        && name.chars().all(|c| c.is_ascii_graphic() && c != '/')
}

impl State {
    /// Nothing changed yet.
    pub fn new(boot_id: Option<String>) -> Self {
        Self {
            version: STATE_VERSION,
            boot_id,
            changes: Vec::new(),
        }
    }

    /// Whether what `before` is about has been changed already: then the first `before` is the one to keep.
    pub fn knows(&self, before: &Before) -> bool {
        self.changes.iter().any(|undo| undo.before.is_about(before))
    }
}

impl Before {
    fn is_about(&self, other: &Before) -> bool {
        match (self, other) {
            (Before::File { path: a, .. }, Before::File { path: b, .. }) => a == b,
            (
                Before::Feature { nic, name, .. },
                Before::Feature {
                    nic: n, name: m, ..
                },
            ) => (nic, name) == (n, m),
            (
                Before::Ring { nic, side, .. },
                Before::Ring {
                    nic: n, side: s, ..
                },
            ) => (nic, side) == (n, s),
            // Another queue is another rule, with its own way back.
            (
                Before::NoRule {
                    nic,
                    family,
                    port,
                    queue,
                    ..
                },
                Before::NoRule {
                    nic: n,
                    family: f,
                    port: p,
                    queue: q,
                    ..
                },
            ) => (nic, family, port, queue) == (n, f, p, q),
            _ => false,
        }
    }

    /// What it is about, for people.
    pub fn target(&self) -> String {
        match self {
            Before::File { path, .. } => path.clone(),
            Before::Feature { nic, name, .. } => format!("{nic} {name}"),
            Before::Ring { nic, side, .. } => format!("{nic} {} ring", side.name()),
            Before::NoRule {
                nic, family, port, ..
            } => format!("{nic} {} port {port}", family.name()),
        }
    }

    /// Whether a state file may ask for this: only what `tune` itself does.
    pub fn is_ours(&self) -> bool {
        match self {
            Before::File { path, .. } => is_writable(path),
            Before::Feature { nic, name, .. } => {
                is_nic_name(nic) && !name.is_empty() && !name.starts_with('-')
            }
            Before::Ring { nic, .. } | Before::NoRule { nic, .. } => is_nic_name(nic),
        }
    }
}

/// Rules among `rules` that were added for `port`: those of this kind that are not kept.
pub fn added_rules(
    rules: &[FlowRule],
    (family, port, queue): (Family, u16, usize),
    kept: &[u32],
) -> Vec<u32> {
    let same =
        |rule: &&FlowRule| (rule.family, rule.port, rule.queue) == (family, port, Some(queue));
    let found = rules.iter().filter(same).map(|rule| rule.id);
    found.filter(|id| !kept.contains(id)).collect()
}
