//! `--apply`: makes the changes, one by one, each remembered before it is made.

use std::io;

use crate::io::tune::root::Root;
use crate::io::tune::store::Store;
use crate::io::tune::tools::Tools;
use crate::limits::TUNE_CHANGES_MAX;
use crate::tune::before::{Undo, is_writable};
use crate::tune::knob::Status;
use crate::tune::parse::host;
use crate::tune::row::{Outcome, Row};
use crate::tune::{Before, Change, State};

/// What changes are made with.
pub struct Hand<'a> {
    /// Files.
    pub root: &'a Root,
    /// `ethtool`.
    pub tools: &'a mut dyn Tools,
    /// The state file.
    pub store: &'a Store,
    /// What it says.
    pub state: State,
}

impl Hand<'_> {
    /// Makes every change that `rows` want. One that fails is told in its row, and the others go on.
    pub fn apply(&mut self, rows: &mut [Row]) {
        for row in rows {
            let wanted = row.outcomes.iter_mut();
            for outcome in wanted.filter(|outcome| outcome.status == Status::Change) {
                match self.change(row.knob.name, &outcome.setting.change) {
                    Ok(()) => outcome.status = Status::Changed,
                    Err(cause) => outcome.fail(cause),
                }
            }
        }
    }

    fn change(&mut self, knob: &str, change: &Change) -> Result<(), String> {
        let before = self.before(change)?;
        self.remember(knob, before)?;
        match change {
            Change::Write { path, value, .. } => {
                let written = self.root.write(path, &format!("{value}\n"));
                written.map_err(|cause| write_fault(path, &cause))
            }
            Change::Run { argv, .. } => {
                let done = self.tools.run(argv);
                done.map(drop).map_err(|error| error.to_string())
            }
            Change::Advise(_) => Ok(()),
        }
    }

    fn before(&self, change: &Change) -> Result<Before, String> {
        match change {
            Change::Write { path, choice, .. } if is_writable(path) => {
                let text = self.root.try_read(path);
                let text = text.map_err(|cause| write_fault(path, &cause))?;
                let chosen = host::chosen(&text).filter(|_| *choice);
                Ok(Before::File {
                    path: path.clone(),
                    text: chosen.map_or_else(|| text.clone(), |word| format!("{word}\n")),
                })
            }
            Change::Run { before, .. } => Ok(before.clone()),
            Change::Write { .. } | Change::Advise(_) => Err(
                "this could not be undone; cure: change it by hand, and tell the makers".to_owned(),
            ),
        }
    }

    /// Writes down what is before, unless that has been done: then the first is the one to go back to.
    fn remember(&mut self, knob: &str, before: Before) -> Result<(), String> {
        if self.state.knows(&before) {
            return Ok(());
        }
        if self.state.changes.len() >= TUNE_CHANGES_MAX {
            return Err(format!(
                "the state file remembers {TUNE_CHANGES_MAX} changes at most; cure: --revert first"
            ));
        }
        self.state.changes.push(Undo {
            knob: knob.to_owned(),
            before,
        });
        self.store.save(&self.state).map_err(|error| {
            // What is not written down is not changed.
            self.state.changes.pop();
            format!("not changed, because it could not be undone: {error}")
        })
    }
}

/// Looks at the host again, as `fresh`: a change that did not stick has failed.
pub fn verify(rows: &mut [Row], fresh: &[Row]) {
    for (row, fresh) in rows.iter_mut().zip(fresh) {
        let changed = row.outcomes.iter_mut();
        for outcome in changed.filter(|outcome| outcome.status == Status::Changed) {
            let same = |o: &&Outcome| o.setting.target == outcome.setting.target;
            let now = fresh.outcomes.iter().find(same);
            if now.is_none_or(|now| now.status != Status::Right) {
                let now = now.and_then(|now| now.setting.now.as_deref());
                outcome.fail(format!(
                    "no fault was told, but now it is: {}; cure: see whether another service or the driver sets it",
                    now.unwrap_or("not available")
                ));
            }
        }
    }
}

/// Why `path` could not be written, and what cures it.
pub fn write_fault(path: &str, cause: &io::Error) -> String {
    let cure = match cause.raw_os_error() {
        Some(libc::EROFS) => "the folder is read-only, as in a container: run `tune` on its host",
        Some(libc::EACCES | libc::EPERM) => "run as root, and in a container on its host",
        Some(libc::EIO) if path.starts_with("/proc/irq/") => {
            "the driver places this interrupt itself: leave it, or boot with isolcpus=managed_irq"
        }
        Some(libc::EINVAL | libc::EOPNOTSUPP) => {
            "the kernel or the driver does not take this value: leave it"
        }
        Some(libc::ENOENT) => "it went away meanwhile: run `tune` again",
        _ => "run `tune` again, and look at the kernel's messages (dmesg)",
    };
    format!("{path}: {cause}; cure: {cure}")
}
