//! `colchis tune`: looks at the host, tells what should be other, and with `--apply` changes it so that `--revert` can
//! undo it.
//!
//! What is wanted, and why, is decided by the pure module `tune`. Nothing is changed without `--apply`; nothing is
//! changed that is not in the state file first.

mod apply;
mod args;
mod facts;
mod nic;
mod revert;
mod root;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod tools;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde_json::json;

use crate::io::plan::PlanError;
use crate::io::preflight;
use crate::io::specs::{ReadError, read_config};
use crate::tune::knob::Status;
use crate::tune::report::{KnobReport, REPORT_VERSION};
use crate::tune::{Profile, Report, State, examine};
use apply::Hand;
pub use args::TuneArgs;
use revert::{End, Undone};
use root::Root;
use store::{Store, StoreError};
use tools::{HostTools, Tools};

/// Exit status when something could not be changed or undone.
const EXIT_FAILED: u8 = 1;
/// Exit status of a fault that the operator cures (sysexits.h, EX_CONFIG).
const EXIT_CONFIG: u8 = 78;
/// Exit status of one who may not (sysexits.h, EX_NOPERM).
const EXIT_NO_PERMISSION: u8 = 77;
/// Columns of what is no terminal.
const WIDTH: usize = 80;

/// Why nothing was done. One line each, with the cure.
#[derive(Debug, thiserror::Error)]
enum TuneError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Preflight(#[from] preflight::PreflightError),
    #[error(transparent)]
    Nic(#[from] nic::NoSuchNic),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} changes the host, which only root may do; cure: run it with sudo")]
    NotRoot(&'static str),
    #[error("--config: which server? cure: name its configuration file")]
    NoConfig,
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("output: {0}")]
    Output(#[from] std::io::Error),
}

/// Runs `colchis tune`.
pub fn main(args: &TuneArgs) -> ExitCode {
    let root = Root::new(&args.root);
    let mut tools = HostTools::new(root.clone());
    let mut out = Vec::new();
    let is_root = rustix::process::geteuid().is_root();
    let done = run(args, &root, &mut tools, is_root, &mut out);
    let told = std::io::stdout().write_all(&out);
    match done.and_then(|good| told.map(|()| good).map_err(TuneError::from)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => {
            eprintln!("colchis: error: {error}");
            ExitCode::from(match error {
                TuneError::NotRoot(_) => EXIT_NO_PERMISSION,
                _ => EXIT_CONFIG,
            })
        }
    }
}

/// Whether all that was to be changed was.
fn run(
    args: &TuneArgs,
    root: &Root,
    tools: &mut dyn Tools,
    is_root: bool,
    out: &mut Vec<u8>,
) -> Result<bool, TuneError> {
    permit(args, root.is_host(), is_root)?;
    match args.revert {
        true => revert(args, root, tools, out),
        false => look(args, root, tools, out),
    }
}

/// Whoever only looks may; in a folder of his own, too.
fn permit(args: &TuneArgs, is_host: bool, is_root: bool) -> Result<(), TuneError> {
    match (args.apply, args.revert) {
        _ if is_root || !is_host => Ok(()),
        (true, _) => Err(TuneError::NotRoot("--apply")),
        (_, true) => Err(TuneError::NotRoot("--revert")),
        _ => Ok(()),
    }
}

/// Tells what stands where, and with `--apply` changes it.
fn look(
    args: &TuneArgs,
    root: &Root,
    tools: &mut dyn Tools,
    out: &mut Vec<u8>,
) -> Result<bool, TuneError> {
    let config = read_config(args.config.as_deref().ok_or(TuneError::NoConfig)?)?;
    let nic = nic::choose(root, args.nic.as_deref())?;
    let facts = facts::read(root, tools, nic.as_deref());
    let mut notes = Vec::new();
    let plan = server::plan(&config, root, &facts, &mut notes)?;
    let detected = Profile::detect(&facts);
    let profile = args.profile.map_or(detected, Profile::from);
    if let Some(nic) = nic.as_deref().filter(|nic| !nic::is_hardware(root, nic)) {
        notes.push(format!(
            "{nic} is no hardware of its own (a bond, bridge or VLAN): name each card below it with --nic"
        ));
    }
    if let Some(nic) = facts.nic.as_ref().filter(|nic| nic.features.is_none()) {
        notes.push(format!(
            "ethtool is not installed, or tells nothing of {}: rings, offloads and flow rules are not looked at",
            nic.name
        ));
    }
    let mut rows = examine(&facts, &plan, profile);
    if args.apply {
        let store = Store::open(&args.state_path(root))?;
        let boot = boot_id(root);
        let old = store.load()?.filter(|state| state.boot_id == boot);
        let mut hand = Hand {
            root,
            tools,
            store: &store,
            state: old.unwrap_or_else(|| State::new(boot)),
        };
        hand.apply(&mut rows);
        let fresh = facts::read(root, tools, nic.as_deref());
        apply::verify(&mut rows, &examine(&fresh, &plan, profile));
    }
    let report = Report {
        version: REPORT_VERSION,
        profile,
        nic: facts.nic.as_ref().map(server::nic_text),
        plan: server::plan_text(&plan),
        notes,
        knobs: rows.iter().map(KnobReport::new).collect(),
    };
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        false => write!(out, "{}", report.text(width()))?,
    }
    Ok(report.count(Status::Failed) == 0)
}

/// Undoes what the state file says.
fn revert(
    args: &TuneArgs,
    root: &Root,
    tools: &mut dyn Tools,
    out: &mut Vec<u8>,
) -> Result<bool, TuneError> {
    let path = args.state_path(root);
    let mut told = Vec::new();
    let mut note = None;
    if path.exists() {
        let store = Store::open(&path)?;
        let boot = boot_id(root);
        match store.load()? {
            Some(state) if state.boot_id != boot => {
                note = Some("the host was booted since: nothing of the changes is left");
                store.remove()?;
            }
            Some(state) => {
                let mut hand = Hand {
                    root,
                    tools,
                    store: &store,
                    state,
                };
                told = hand.revert()?;
            }
            None => {}
        }
    } else {
        note = Some("nothing to undo: there is no state file");
    }
    if args.json {
        let report = json!({ "version": REPORT_VERSION, "note": note, "changes": told });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        for line in note
            .map(str::to_owned)
            .into_iter()
            .chain(told.iter().map(undone_text))
        {
            writeln!(out, "{line}")?;
        }
    }
    Ok(!told
        .iter()
        .any(|undone| matches!(undone.end, End::Failed(_))))
}

fn undone_text(undone: &Undone) -> String {
    let Undone { knob, target, end } = undone;
    match end {
        End::Undone => format!("undone     {knob}: {target}"),
        End::AsBefore => format!("as before  {knob}: {target}"),
        End::Gone => format!("gone       {knob}: {target}"),
        End::Failed(cause) => format!("FAILED     {knob}: {target}: {cause}"),
    }
}

fn boot_id(root: &Root) -> Option<String> {
    let id = root.read("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned())
}

/// Columns of the terminal.
fn width() -> usize {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return WIDTH;
    }
    let size = rustix::termios::tcgetwinsize(stdout);
    match size.map_or(0, |size| usize::from(size.ws_col)) {
        0 => WIDTH,
        columns => columns,
    }
}
