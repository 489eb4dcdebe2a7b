//! The table of knobs held against a host: what stands where.

use crate::tune::facts::HostFacts;
use crate::tune::knob::{Case, Change, Knob, Setting, Status};
use crate::tune::knobs::KNOBS;
use crate::tune::plan::ServerPlan;
use crate::tune::profile::Profile;

/// One knob on one host.
pub struct Row {
    /// The knob.
    pub knob: &'static Knob,
    /// Whether the profile leaves it out.
    pub left_out: bool,
    /// Its settings.
    pub outcomes: Vec<Outcome>,
}

/// One setting, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The setting.
    pub setting: Setting,
    /// Where it stands.
    pub status: Status,
    /// Why it could not be changed, and what cures it.
    pub cause: Option<String>,
}

impl Row {
    /// Where the knob stands: the worst of its settings.
    pub fn status(&self) -> Status {
        let worst = self.outcomes.iter().map(|outcome| outcome.status).max();
        match self.left_out {
            true => Status::LeftOut,
            false => worst.unwrap_or(Status::NotAvailable),
        }
    }
}

/// All knobs on this host, in the order they are changed.
pub fn examine(facts: &HostFacts, plan: &ServerPlan, profile: Profile) -> Vec<Row> {
    let case = Case {
        facts,
        plan,
        profile,
    };
    let rows = KNOBS.iter().map(|knob| {
        let left_out = !knob.profiles.contains(&profile);
        let settings = match left_out {
            true => Vec::new(),
            false => (knob.settings)(&case),
        };
        Row {
            knob,
            left_out,
            outcomes: settings.into_iter().map(Outcome::of).collect(),
        }
    });
    rows.collect()
}

impl Outcome {
    fn of(setting: Setting) -> Self {
        let status = match (&setting.now, &setting.change) {
            (None, _) => Status::NotAvailable,
            _ if setting.right => Status::Right,
            (_, Change::Advise(_)) => Status::Advice,
            _ => Status::Change,
        };
        Self {
            setting,
            status,
            cause: None,
        }
    }

    /// It could not be changed.
    pub fn fail(&mut self, cause: impl Into<String>) {
        self.status = Status::Failed;
        self.cause = Some(cause.into());
    }
}
