//! A state of the host for the time of one measurement.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use colchis::tune::parse::host::chosen;

use super::list::Step;
use crate::net::{self, Net};
use crate::sfu::Subject;

/// Files of the host with what was in them; put back, the last one first, when dropped.
#[derive(Default)]
struct Before(Vec<(&'static str, String)>);

impl Drop for Before {
    fn drop(&mut self) {
        for (path, text) in self.0.iter().rev() {
            if let Err(error) = fs::write(path, text) {
                eprintln!("{path} could not be put back: {error}; cure: write {text} to it");
            }
        }
    }
}

impl Before {
    /// Writes to a file of the host.
    fn change(&mut self, path: &'static str, value: &str) -> Result<(), String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        // Files of choices list them all and mark the one that is chosen.
        let before = chosen(&text).unwrap_or(text.trim()).to_owned();
        self.0.push((path, before));
        fs::write(path, value).map_err(|e| format!("{value} to {path}: {e}"))
    }
}

/// New namespaces and changed files of the host. All is undone when it is dropped: files first, then namespaces.
pub struct State {
    before: Before,
    _net: Net,
    /// The server as it is started in this state.
    pub subject: Subject,
}

/// Writes to a file in the server's namespace: `/sys` shows each namespace its own interfaces.
fn write_inside(path: &str, value: &str) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{value} to {path}: {error}");
    let mut tee = net::command(net::SERVER_NS, 0, "tee")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(told)?;
    let mut pipe = tee.stdin.take().expect("it is piped");
    pipe.write_all(value.as_bytes()).map_err(told)?;
    drop(pipe);
    let status = tee.wait().map_err(told)?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{value} to {path}: the kernel does not take it")),
    }
}

impl State {
    /// The host after all of `steps`.
    pub fn new(subject: &Subject, steps: &[&[Step]]) -> Result<State, String> {
        let mut state = State {
            before: Before::default(),
            _net: Net::new()?,
            subject: subject.clone(),
        };
        for step in steps.iter().copied().flatten() {
            match *step {
                Step::Host(path, value) => state.before.change(path, value)?,
                Step::Inside(path, value) => write_inside(path, value)?,
                Step::Run(words) => {
                    net::run(&format!("ip netns exec {} {words}", net::SERVER_NS))?;
                }
                Step::Wrap(words) => {
                    let words = words.split(' ').map(str::to_owned);
                    state.subject.wrap.extend(words);
                }
            }
        }
        Ok(state)
    }
}
