//! `--revert`: puts back what was before, the last change first.

use serde::Serialize;

use crate::io::tune::apply::{Hand, write_fault};
use crate::io::tune::nic;
use crate::io::tune::store::StoreError;
use crate::tune::Before;
use crate::tune::before::{Side, added_rules};
use crate::tune::facts::{Family, Rings};
use crate::tune::knob::{delete_rule_argv, feature_argv, ring_argv};
use crate::tune::knobs::shown_name;
use crate::tune::parse::{ethtool, host};

/// What became of one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// Knob that it was made for.
    pub knob: String,
    /// What it was about.
    pub target: String,
    /// How it stands.
    #[serde(flatten)]
    pub end: End,
}

/// How undoing ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", content = "cause", rename_all = "snake_case")]
pub enum End {
    /// As before.
    Undone,
    /// It was as before already.
    AsBefore,
    /// There is no such file or card any more.
    Gone,
    /// Not undone: cause and cure. It stays in the state file.
    Failed(String),
}

impl Hand<'_> {
    /// Undoes every change of the state file, in reverse order. What fails stays in it, and the others go on.
    ///
    /// # Errors
    /// The state file cannot be written.
    pub fn revert(&mut self) -> Result<Vec<Undone>, StoreError> {
        let mut told = Vec::new();
        let mut left = Vec::new();
        while let Some(undo) = self.state.changes.pop() {
            let end = match self.undo(&undo.before) {
                Ok(end) => end,
                Err(cause) => End::Failed(cause),
            };
            told.push(Undone {
                knob: undo.knob.clone(),
                target: undo.before.target(),
                end: end.clone(),
            });
            if matches!(end, End::Failed(_)) {
                left.push(undo);
                continue;
            }
            // A host that dies now finds the rest, and what failed, when it comes back.
            let rest = self.state.changes.len();
            self.state.changes.extend(left.iter().rev().cloned());
            let saved = self.store.save(&self.state);
            self.state.changes.truncate(rest);
            saved?;
        }
        left.reverse();
        self.state.changes = left;
        match self.state.changes.is_empty() {
            true => self.store.remove()?,
            false => self.store.save(&self.state)?,
        }
        Ok(told)
    }

    fn undo(&mut self, before: &Before) -> Result<End, String> {
        match before {
            Before::File { path, text } => self.undo_file(path, text),
            Before::Feature { nic, .. } | Before::Ring { nic, .. } | Before::NoRule { nic, .. }
                if !self.root.has(&format!("/sys/class/net/{nic}")) =>
            {
                Ok(End::Gone)
            }
            Before::Feature { nic, name, on } => self.undo_feature(nic, name, *on),
            Before::Ring { nic, side, count } => self.undo_ring(nic, *side, *count),
            Before::NoRule {
                nic,
                family,
                port,
                queue,
                kept,
            } => self.undo_rule(nic, (*family, *port, *queue), kept),
        }
    }

    fn undo_file(&self, path: &str, text: &str) -> Result<End, String> {
        if !self.root.has(path) {
            return Ok(End::Gone);
        }
        let now = self.root.read(path).unwrap_or_default();
        // A change that the kernel had refused needs no undoing, and would be refused again.
        if now == text || host::chosen(&now) == Some(text.trim()) {
            return Ok(End::AsBefore);
        }
        let written = self.root.write(path, text);
        written.map_err(|cause| write_fault(path, &cause))?;
        Ok(End::Undone)
    }

    fn undo_feature(&mut self, nic: &str, name: &str, on: bool) -> Result<End, String> {
        let said = nic::said(self.tools, "-k", nic).unwrap_or_default();
        let now = ethtool::features(&said).get(shown_name(name)).copied();
        if now.is_some_and(|now| now.on == on) {
            return Ok(End::AsBefore);
        }
        self.run(&feature_argv(nic, name, on))
    }

    fn undo_ring(&mut self, nic: &str, side: Side, count: u32) -> Result<End, String> {
        let Rings { rx, tx, .. } = nic::rings(self.tools, nic).unwrap_or_default();
        let now = match side {
            Side::Rx => rx,
            Side::Tx => tx,
        };
        if now == Some(count) {
            return Ok(End::AsBefore);
        }
        self.run(&ring_argv(nic, side, count))
    }

    fn undo_rule(
        &mut self,
        nic: &str,
        rule: (Family, u16, usize),
        kept: &[u32],
    ) -> Result<End, String> {
        let list = ["ethtool", "-n", nic].map(str::to_owned);
        let said = self.tools.run(&list).map_err(|error| error.to_string())?;
        let added = added_rules(&ethtool::rules(&said), rule, kept);
        if added.is_empty() {
            return Ok(End::AsBefore);
        }
        for id in added {
            self.run(&delete_rule_argv(nic, id))?;
        }
        Ok(End::Undone)
    }

    fn run(&mut self, argv: &[String]) -> Result<End, String> {
        let done = self.tools.run(argv);
        done.map(|_| End::Undone).map_err(|error| error.to_string())
    }
}
