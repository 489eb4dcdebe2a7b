//! Where the shard's time goes: `perf` beside a load, and of its samples those of the measured stage.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::loads::STAGE_S;

/// A load ends no later than this after its stage.
const END_S: f64 = 1.0;
const CURE: &str = "cure: apt-get install linux-perf, and run as root";

/// A `perf record` that ends when dropped.
pub struct Profile {
    perf: Child,
    data: PathBuf,
}

impl Drop for Profile {
    fn drop(&mut self) {
        let pid = self.perf.id().to_string();
        // Interrupted it writes what it has.
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.perf.wait();
    }
}

/// Threads of `process` that are shards: the executor names its own helper threads like them, and those sleep.
fn shard_threads(process: u32) -> Result<String, String> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
    let tasks = tasks.map_err(|e| format!("threads of the server: {e}; has it ended?"))?;
    let ids = tasks.flatten().filter_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        name.starts_with("shard-")
            .then(|| task.file_name().to_string_lossy().into_owned())
    });
    let ids: Vec<String> = ids.collect();
    match ids.is_empty() {
        true => Err(format!("process {process} has no thread named shard-*")),
        false => Ok(ids.join(",")),
    }
}

/// Samples the shards of `process` from now on.
pub fn start(process: u32) -> Result<Profile, String> {
    let data = std::env::temp_dir().join("colchis-throughput.perf");
    // Stacks are copied and unwound later: release builds keep no frame pointers. On the load's core, not the shard's.
    let perf = Command::new("taskset")
        .args(["-c", "1", "perf", "record", "--quiet", "-e", "cpu-clock"])
        .args(["-F", "999", "--call-graph", "dwarf,16384"])
        .args(["-k", "CLOCK_MONOTONIC", "-t", &shard_threads(process)?])
        .arg("-o")
        .arg(&data)
        .spawn();
    let mut perf = perf.map_err(|e| format!("taskset perf record: {e}; {CURE}"))?;
    std::thread::sleep(Duration::from_millis(300));
    match perf.try_wait() {
        Ok(Some(status)) => Err(format!("perf record: {status}; {CURE}")),
        _ => Ok(Profile { perf, data }),
    }
}

impl Profile {
    /// Called when the load has just ended: writes the stacks of its stage to `file`.
    pub fn finish(self, file: &Path) -> Result<(), String> {
        let now = clock_gettime(ClockId::Monotonic);
        let end = now.tv_sec as f64 + now.tv_nsec as f64 / 1e9;
        let data = self.data.clone();
        drop(self);
        let span = format!("{:.3},{:.3}", end - STAGE_S, end - END_S);
        let out = File::create(file)
            .map_err(|e| format!("--profile {}: {e}; can it be written?", file.display()))?;
        // Inlined functions would be asked for one by one, which takes minutes.
        let status = Command::new("perf")
            .args(["script", "--no-inline", "--time", &span, "-i"])
            .arg(&data)
            .stdout(out)
            .stderr(Stdio::null())
            .status();
        let _ = std::fs::remove_file(&data);
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("perf script of {}: {status}", data.display())),
            Err(error) => Err(format!("perf script: {error}; {CURE}")),
        }
    }
}
