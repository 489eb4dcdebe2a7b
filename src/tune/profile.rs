//! Kinds of hosts: which knobs are looked at.

use crate::tune::facts::HostFacts;

/// A kind of host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A machine of its own: everything.
    BareMetal,
    /// A virtual machine: not what the hypervisor decides (frequency, idle states).
    Vm,
    /// A container: only what is the process's own. The rest is the host's: run `tune` there.
    Container,
}

impl Profile {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Profile::BareMetal => "bare-metal",
            Profile::Vm => "vm",
            Profile::Container => "container",
        }
    }

    /// What the host looks like. A container in a virtual machine is a container.
    pub fn detect(facts: &HostFacts) -> Profile {
        match facts.kind {
            kind if kind.container => Profile::Container,
            kind if kind.hypervisor => Profile::Vm,
            _ => Profile::BareMetal,
        }
    }
}
