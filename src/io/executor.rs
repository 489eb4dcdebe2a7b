//! Pinned glommio executors: one thread each for a shard or the signalling core.

use std::future::Future;
use std::time::Duration;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

/// Registered IO memory per executor. We never use glommio's DMA files, so the least it takes.
pub const IO_MEMORY_BYTES: usize = 64 * 1024;
/// Entries of each of the executor's rings: sockets of signalling are the many.
const RING_DEPTH: usize = 256;
/// A task that yields if needed yields after this long: how long packets may keep commands and timers waiting.
const PREEMPT_TIMER: Duration = Duration::from_millis(2);

/// Why an executor did not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "executor {name:?} on core {core} did not start: {cause}; cure: another core in `cores`, or see the io_uring checks of `colchis check`"
)]
pub struct ExecutorError {
    /// Thread name.
    pub name: String,
    /// Core wished for.
    pub core: usize,
    /// What glommio said.
    pub cause: String,
}

/// Starts a thread named `name`, pinned to `core`, running the future of `make` on an executor of its own.
pub fn spawn<G, F, T>(
    name: &str,
    core: usize,
    make: G,
) -> Result<ExecutorJoinHandle<T>, ExecutorError>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT_TIMER)
        .spawn(make)
        .map_err(|error| ExecutorError {
            name: name.to_owned(),
            core,
            cause: error.to_string(),
        })
}
