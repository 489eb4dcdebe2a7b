//! What is told: as data for `--json`, and as a table for people.

use serde::Serialize;

use crate::tune::knob::{Evidence, Status};
use crate::tune::profile::Profile;
use crate::tune::row::Row;
use crate::tune::table;

/// Format of `--json`.
pub const REPORT_VERSION: u32 = 1;

/// Everything that was found, and done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// Kind of host.
    pub profile: Profile,
    /// Network card, its driver and queues, for people.
    pub nic: Option<String>,
    /// Shards, their cores and ports, for people.
    pub plan: String,
    /// What else an operator should know.
    pub notes: Vec<String>,
    /// Every knob.
    pub knobs: Vec<KnobReport>,
}

/// One knob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnobReport {
    /// Stable name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Why.
    pub why: &'static str,
    /// How it is undone.
    pub undo: &'static str,
    /// What was measured; `None`: untested.
    pub measured: Option<&'static str>,
    /// Where it stands: the worst of its settings.
    pub status: Status,
    /// Its settings.
    pub settings: Vec<SettingReport>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingReport {
    /// What it belongs to.
    pub target: String,
    /// Value before anything was changed; `None`: not available here.
    pub now: Option<String>,
    /// Value wanted.
    pub wanted: String,
    /// Where it stands.
    pub status: Status,
    /// How it is changed.
    pub how: String,
    /// Why it could not be.
    pub cause: Option<String>,
}

impl KnobReport {
    /// Of one row.
    pub fn new(row: &Row) -> Self {
        let settings = row.outcomes.iter().map(|outcome| SettingReport {
            target: outcome.setting.target.clone(),
            now: outcome.setting.now.clone(),
            wanted: outcome.setting.wanted.clone(),
            status: outcome.status,
            how: outcome.setting.change.text(),
            cause: outcome.cause.clone(),
        });
        Self {
            name: row.knob.name,
            what: row.knob.what,
            why: row.knob.why,
            undo: row.knob.undo,
            measured: match row.knob.evidence {
                Evidence::Measured(found) => Some(found),
                Evidence::Untested => None,
            },
            status: row.status(),
            settings: settings.collect(),
        }
    }
}

impl Report {
    /// Settings that are at `status`.
    pub fn count(&self, status: Status) -> usize {
        let settings = self.knobs.iter().flat_map(|knob| &knob.settings);
        settings.filter(|setting| setting.status == status).count()
    }

    /// For people, at most `width` columns.
    pub fn text(&self, width: usize) -> String {
        table::render(self, width)
    }
}
