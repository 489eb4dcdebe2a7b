//! Pinned glommio executors: one thread each for a shard or the signalling core.

use std::future::Future;
use std::time::Duration;

use glommio::{ExecutorJoinHandle, Latency, LocalExecutorBuilder, Placement, Shares};

/// Registered IO memory per executor. We never use glommio's DMA files, so the least it takes.
pub const IO_MEMORY_BYTES: usize = 64 * 1024;
/// Entries of each of the executor's rings: sockets of signalling are the many.
const RING_DEPTH: usize = 256;
/// A task that yields if needed yields after this long: how long one task of signalling may keep the others waiting.
const SLICE: Duration = Duration::from_millis(2);
/// No slice at all: what an executor is created with.
const NO_SLICE: Duration = Duration::from_secs(3600);
/// An executor that has gone to sleep over ready tasks wakes after this long (decision 0010).
const HEARTBEAT: Duration = Duration::from_millis(10);
/// As many wakes come without any turn in between: a heart whose own turn is lost would not beat again.
const HEARTS: u32 = 32;

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
    spawn_sliced(name, core, SLICE, make)
}

/// The same for a future that runs to its end at one go: it sleeps by itself, never in the executor, which needs neither slices
/// nor a heartbeat.
pub fn spawn_awake<G, F, T>(
    name: &str,
    core: usize,
    make: G,
) -> Result<ExecutorJoinHandle<T>, ExecutorError>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    start(name, core, make)
}

/// glommio 0.9 sleeps over ready tasks when the timer of a slice has fired before the first of them ran, as it does on a
/// host that takes the core away for that long. So slices begin with a task queue of their own, which is not there yet
/// while the executor starts and nothing could wake it, and a heartbeat bounds the sleep from then on.
fn spawn_sliced<G, F, T>(
    name: &str,
    core: usize,
    slice: Duration,
    make: G,
) -> Result<ExecutorJoinHandle<T>, ExecutorError>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let work = move || async move {
        let hearts: Vec<_> = (1..=HEARTS)
            .map(|nth| glommio::spawn_local(beat(nth)))
            .collect();
        let latency = Latency::Matters(slice);
        let queue = glommio::executor().create_task_queue(Shares::default(), latency, "sliced");
        let out = match glommio::spawn_local_into(async move { make().await }, queue) {
            Ok(task) => task.await,
            Err(_) => unreachable!("the queue was made above"),
        };
        for heart in hearts {
            heart.cancel().await;
        }
        out
    };
    start(name, core, work)
}

fn start<G, F, T>(name: &str, core: usize, make: G) -> Result<ExecutorJoinHandle<T>, ExecutorError>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(NO_SLICE)
        .spawn(make)
        .map_err(|error| ExecutorError {
            name: name.to_owned(),
            core,
            cause: error.to_string(),
        })
}

/// The `nth` of [`HEARTS`] timers that take turns.
async fn beat(nth: u32) {
    glommio::timer::sleep(HEARTBEAT * nth).await;
    loop {
        glommio::timer::sleep(HEARTBEAT * HEARTS).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Whether a task with such slices gets to its end, sleeping so often. Each step has its own time: on a busy host most of
    /// these turns are lost, which is slow and no fault.
    fn ends(slice: Duration, sleeps: u32) {
        let (done, end) = mpsc::channel();
        let executor = spawn_sliced("hurry", 0, slice, move || async move {
            for _ in 0..20 {
                glommio::executor().yield_now().await;
            }
            for _ in 0..sleeps {
                glommio::timer::sleep(Duration::from_micros(300)).await;
                done.send(()).expect("somebody waits");
            }
            done.send(()).expect("somebody waits");
        });
        let executor = executor.expect("core 0 is there");
        for step in 0..=sleeps {
            end.recv_timeout(Duration::from_secs(30))
                .unwrap_or_else(|_| panic!("step {step} of {sleeps} did not come"));
        }
        executor.join().expect("it ended");
    }

    #[test]
    fn a_start_is_not_lost_even_if_every_slice_is_over_before_the_first_task() {
        ends(Duration::from_nanos(1), 0);
    }

    #[test]
    fn a_turn_that_is_lost_later_comes_back() {
        // About as long as the way from the timer to the first task: some turns are lost, some are not.
        for slice_us in [30, 60] {
            ends(Duration::from_micros(slice_us), 500);
        }
    }
}
