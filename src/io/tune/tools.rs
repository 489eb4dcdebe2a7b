//! `ethtool`, run without a shell, with a deadline, from fixed places.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::io::tune::root::Root;
use crate::limits::{TUNE_TOOL_MS, TUNE_TOOL_OUTPUT_BYTES_MAX};

/// Folders that are searched for tools: never those of `PATH`, which whoever calls root may have set.
const FOLDERS: &[&str] = &["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
/// How often a running tool is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What runs tools; tests have one of their own.
pub trait Tools {
    /// Runs `argv`, and gives what it printed.
    ///
    /// # Errors
    /// It is not there, or says that it failed.
    fn run(&mut self, argv: &[String]) -> Result<String, ToolError>;
}

/// Why a tool did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// Not installed.
    #[error("{0} is not installed; cure: install the package {0}")]
    Missing(String),
    /// Could not be started.
    #[error("{tool} cannot be run: {cause}; cure: look at its file")]
    Run {
        /// Which.
        tool: String,
        /// What the kernel said.
        cause: String,
    },
    /// Said no.
    #[error(
        "{said} (exit status {status}); cure: see whether card and driver can do that, and whether this process may (CAP_NET_ADMIN)"
    )]
    Failed {
        /// Its status, or how it ended.
        status: String,
        /// What it said, one line.
        said: String,
    },
    /// Took too long, and was ended.
    #[error("{0} did not end in {TUNE_TOOL_MS} ms; cure: look at the driver's messages (dmesg)")]
    Slow(String),
}

/// The tools below a root.
#[derive(Debug)]
pub struct HostTools {
    root: Root,
}

impl HostTools {
    /// Those of `root`. Of a root that is not the host's no other tool is ever run.
    pub fn new(root: Root) -> Self {
        Self { root }
    }
}

impl Tools for HostTools {
    fn run(&mut self, argv: &[String]) -> Result<String, ToolError> {
        let [tool, args @ ..] = argv else {
            return Err(ToolError::Missing("nothing".to_owned()));
        };
        let mut places = FOLDERS.iter().map(|folder| format!("{folder}/{tool}"));
        let place = places.find(|place| self.root.has(place));
        let place = place.ok_or_else(|| ToolError::Missing(tool.clone()))?;
        let fault = |cause: io::Error| ToolError::Run {
            tool: tool.clone(),
            cause: cause.to_string(),
        };
        let mut child = Command::new(self.root.join(&place))
            .args(args)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(fault)?;
        let out = child.stdout.take().map(|pipe| thread::spawn(|| text(pipe)));
        let err = child.stderr.take().map(|pipe| thread::spawn(|| text(pipe)));
        let status = wait(&mut child).map_err(fault)?;
        let Some(status) = status else {
            return Err(ToolError::Slow(tool.clone()));
        };
        let joined = |reader: Option<thread::JoinHandle<String>>| {
            reader
                .and_then(|reader| reader.join().ok())
                .unwrap_or_default()
        };
        let (out, err) = (joined(out), joined(err));
        if status.success() {
            return Ok(out);
        }
        Err(ToolError::Failed {
            status: status
                .code()
                .map_or("by a signal".to_owned(), |code| code.to_string()),
            said: first_line(&err)
                .or_else(|| first_line(&out))
                .unwrap_or_else(|| argv.join(" ")),
        })
    }
}

/// Waits until it has ended; `None`: it did not in time, and was killed.
fn wait(child: &mut Child) -> io::Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + Duration::from_millis(TUNE_TOOL_MS);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(LOOK);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// What comes out of a pipe, as much of it as is kept; the rest is read, so that the tool gets to its end.
fn text(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let mut kept = pipe.by_ref().take(TUNE_TOOL_OUTPUT_BYTES_MAX);
    let _ = kept.read_to_end(&mut bytes);
    let _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn first_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(200).collect())
}
