//! The command line of `colchis tune`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::io::tune::root::Root;
use crate::tune::Profile;

/// Where the state is kept, below the root.
const STATE_PATH: &str = "/var/lib/colchis/tune.json";

/// Choices of `colchis tune`.
#[derive(Debug, Clone, Args)]
pub struct TuneArgs {
    /// Configuration file of the server: its cores and ports.
    #[arg(long, value_name = "FILE", required_unless_present = "revert")]
    pub(super) config: Option<PathBuf>,
    /// Network card of media. Default: that of the default route.
    #[arg(long, value_name = "DEV")]
    pub(super) nic: Option<String>,
    /// Kind of host. Default: found out.
    #[arg(long, value_enum)]
    pub(super) profile: Option<ProfileArg>,
    /// Change what is to change. Without it, nothing is changed.
    #[arg(long, conflicts_with = "revert")]
    pub(super) apply: bool,
    /// Undo what was changed, in reverse order.
    #[arg(long)]
    pub(super) revert: bool,
    /// File that remembers what was before. Default: /var/lib/colchis/tune.json.
    #[arg(long, value_name = "FILE")]
    pub(super) state: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Folder that holds the host's /proc and /sys.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(super) root: PathBuf,
}

/// A kind of host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProfileArg {
    /// A machine of its own.
    BareMetal,
    /// A virtual machine.
    Vm,
    /// A container.
    Container,
}

impl From<ProfileArg> for Profile {
    fn from(profile: ProfileArg) -> Profile {
        match profile {
            ProfileArg::BareMetal => Profile::BareMetal,
            ProfileArg::Vm => Profile::Vm,
            ProfileArg::Container => Profile::Container,
        }
    }
}

impl TuneArgs {
    /// The state file: the one that is named, or the usual one below the root.
    pub(super) fn state_path(&self, root: &Root) -> PathBuf {
        let named = self.state.clone();
        named.unwrap_or_else(|| root.join(STATE_PATH))
    }
}
