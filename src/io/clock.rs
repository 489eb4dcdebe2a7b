//! The one clock: monotonic time since the process' anchor, and the anchor's wall time for sender reports.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::time::{Anchor, Time, micros_to_ntp};

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970), RFC 5905 section 6.
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;

/// Reads time. Copied to every core, so that all agree on [`Time::ZERO`].
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor: Anchor,
}

impl Clock {
    /// Takes the anchor: both clocks are read once, here.
    pub fn start() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let us = u64::try_from(wall.as_micros()).unwrap_or(0);
        let ntp = micros_to_ntp(us).wrapping_add(NTP_UNIX_OFFSET_S << 32);
        Self {
            anchor: Anchor {
                instant: Instant::now(),
                ntp,
            },
        }
    }

    /// The anchor, for the pure core.
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.anchor.to_time(Instant::now())
    }
}

/// CPU time the process has used, that of the kernel for it included.
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// CPU time the calling thread has used, that of the kernel for it included.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
