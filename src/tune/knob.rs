//! What a knob is: a name, a reason, and a function from facts and plan to settings.

use serde::Serialize;

use crate::tune::before::{Before, Side};
use crate::tune::facts::{Family, HostFacts};
use crate::tune::plan::ServerPlan;
use crate::tune::profile::Profile;

/// One thing of a host that can be tuned.
pub struct Knob {
    /// Stable name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Why the value is wanted, in one or two sentences.
    pub why: &'static str,
    /// How it is undone by hand, or that it is advice only.
    pub undo: &'static str,
    /// Whether the gain was measured.
    pub evidence: Evidence,
    /// Hosts that it is for.
    pub profiles: &'static [Profile],
    /// What is there and what is wanted.
    pub settings: fn(&Case<'_>) -> Vec<Setting>,
}

/// What a knob decides from.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The host.
    pub facts: &'a HostFacts,
    /// The server.
    pub plan: &'a ServerPlan,
    /// Kind of host.
    pub profile: Profile,
}

/// Whether a knob's gain was measured, here, with this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Yes: this was found, as a number, and where it is written.
    Measured(&'static str),
    /// No: it is what the kernel's documentation and other servers' experience say.
    Untested,
}

impl Evidence {
    /// For tables.
    pub fn text(self) -> String {
        match self {
            Evidence::Measured(found) => format!("measured: {found}"),
            Evidence::Untested => "untested".to_owned(),
        }
    }
}

/// One value of a knob: of a core, of a queue, of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What it belongs to, like `cpu2` or `eth0 rx-0`.
    pub target: String,
    /// Value now; `None`: not available on this host.
    pub now: Option<String>,
    /// Value wanted.
    pub wanted: String,
    /// Whether the one will do for the other.
    pub right: bool,
    /// How to get there.
    pub change: Change,
}

impl Setting {
    /// One that is not available here when `now` is `None`, and right when `right` says so of the value.
    pub fn new(
        target: impl Into<String>,
        now: Option<&str>,
        wanted: impl Into<String>,
        right: impl Fn(&str) -> bool,
        change: Change,
    ) -> Self {
        Self {
            target: target.into(),
            now: now.map(str::to_owned),
            wanted: wanted.into(),
            right: now.is_some_and(right),
            change,
        }
    }
}

/// How a value is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Write to a file.
    Write {
        /// Its path.
        path: String,
        /// What to write; a line's end is added.
        value: String,
        /// The file lists all choices and marks the one that is chosen, `[so]`.
        choice: bool,
    },
    /// Have `ethtool` do it.
    Run {
        /// Tool and arguments.
        argv: Vec<String>,
        /// What is before.
        before: Before,
    },
    /// Nothing that `tune` does itself: tell how.
    Advise(String),
}

impl Change {
    /// Write `value` to `path`.
    pub fn write(path: impl Into<String>, value: impl Into<String>) -> Self {
        Change::Write {
            path: path.into(),
            value: value.into(),
            choice: false,
        }
    }

    /// Switch an offload.
    pub fn feature(nic: &str, name: &str, on: bool) -> Self {
        Change::Run {
            argv: feature_argv(nic, name, on),
            before: Before::Feature {
                nic: nic.to_owned(),
                name: name.to_owned(),
                on: !on,
            },
        }
    }

    /// What will be done, for people.
    pub fn text(&self) -> String {
        match self {
            Change::Write { path, value, .. } => format!("write {value} to {path}"),
            Change::Run { argv, .. } => argv.join(" "),
            Change::Advise(how) => how.clone(),
        }
    }
}

fn ethtool(args: &[&str]) -> Vec<String> {
    let words = ["ethtool"].iter().chain(args);
    words.map(|word| (*word).to_owned()).collect()
}

/// Arguments that switch an offload.
pub fn feature_argv(nic: &str, name: &str, on: bool) -> Vec<String> {
    ethtool(&["-K", nic, name, if on { "on" } else { "off" }])
}

/// Arguments that size a ring.
pub fn ring_argv(nic: &str, side: Side, count: u32) -> Vec<String> {
    ethtool(&["-G", nic, side.name(), &count.to_string()])
}

/// Arguments that add a flow rule.
pub fn rule_argv(nic: &str, family: Family, port: u16, queue: usize) -> Vec<String> {
    let (port, queue) = (port.to_string(), queue.to_string());
    let family = family.name();
    ethtool(&[
        "-N",
        nic,
        "flow-type",
        family,
        "dst-port",
        &port,
        "action",
        &queue,
    ])
}

/// Arguments that delete one.
pub fn delete_rule_argv(nic: &str, id: u32) -> Vec<String> {
    ethtool(&["-N", nic, "delete", &id.to_string()])
}

/// Where a knob or one of its settings stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The profile leaves it out.
    LeftOut,
    /// The host has no such thing, or nothing of it is to be set for this plan.
    NotAvailable,
    /// As it should be.
    Right,
    /// Not as it should be; `tune` only tells how.
    Advice,
    /// Was changed.
    Changed,
    /// Would be changed with `--apply`.
    Change,
    /// Could not be changed.
    Failed,
}

impl Status {
    /// For tables.
    pub fn text(self) -> &'static str {
        match self {
            Status::LeftOut => "left out",
            Status::NotAvailable => "not here",
            Status::Right => "right",
            Status::Advice => "advice",
            Status::Changed => "changed",
            Status::Change => "to change",
            Status::Failed => "FAILED",
        }
    }
}
