//! What this host can do, found out before anything listens: kernel, io_uring, locked memory, cores.
//!
//! Every fault is one line with what is there, what is wanted and the cure (threats.md rule 13).

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Locked memory below which an executor refuses to start, bytes.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Kernel release, e.g. `6.1.0-18-amd64`.
    pub kernel: String,
    /// Soft limit of locked memory in bytes; `None` is unlimited.
    pub memlock_bytes: Option<u64>,
    /// Cores this process may use, ascending.
    pub cores: Vec<usize>,
}

/// Why the host cannot run the server.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Kernel older than io_uring needs.
    #[error("kernel = {found}: io_uring with poll needs 5.8 or newer; cure: a newer kernel")]
    KernelTooOld {
        /// Its release.
        found: String,
    },
    /// Forbidden by sysctl.
    #[error(
        "kernel.io_uring_disabled = {value}: io_uring is forbidden for this process; wanted 0; cure: `sysctl -w kernel.io_uring_disabled=0`"
    )]
    UringDisabled {
        /// The sysctl's value.
        value: String,
    },
    /// Forbidden some other way (seccomp, container).
    #[error(
        "io_uring cannot be set up: {cause}; cure: allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile"
    )]
    UringRefused {
        /// What the executor said.
        cause: String,
    },
    /// RLIMIT_MEMLOCK too low.
    #[error(
        "memlock = {found} bytes: io_uring wants at least {MEMLOCK_BYTES_MIN}; cure: `ulimit -l 8192`, or LimitMEMLOCK=8M in the systemd unit"
    )]
    MemlockTooLow {
        /// Its soft limit, which could not be raised.
        found: u64,
    },
    /// No affinity mask.
    #[error(
        "cores of this process cannot be read: {0}; cure: mount /proc and allow sched_getaffinity"
    )]
    Cores(std::io::Error),
}

/// Looks at the host, and raises the soft limit of locked memory as far as it may.
pub fn inspect() -> Result<Host, PreflightError> {
    let kernel = kernel_release();
    if let Some((major, minor)) = kernel_version(&kernel)
        && (major, minor) < (5, 8)
    {
        return Err(PreflightError::KernelTooOld { found: kernel });
    }
    // 1: only for a group or CAP_SYS_ADMIN; then the try below decides. 2: nobody.
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    if disabled.trim() == "2" {
        return Err(PreflightError::UringDisabled {
            value: disabled.trim().to_owned(),
        });
    }
    let memlock_bytes = raise_memlock()?;
    try_uring(disabled.trim())?;
    Ok(Host {
        kernel,
        memlock_bytes,
        cores: cores()?,
    })
}

fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn raise_memlock() -> Result<Option<u64>, PreflightError> {
    let limit = getrlimit(Resource::Memlock);
    let Some(soft) = limit.current else {
        return Ok(None);
    };
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let soft = match setrlimit(Resource::Memlock, raised) {
        Ok(()) => limit.maximum,
        Err(_) => Some(soft),
    };
    match soft {
        Some(found) if found < MEMLOCK_BYTES_MIN => Err(PreflightError::MemlockTooLow { found }),
        other => Ok(other),
    }
}

/// Cores that this process may use, ascending.
pub(super) fn cores() -> Result<Vec<usize>, PreflightError> {
    let set =
        rustix::thread::sched_getaffinity(None).map_err(|e| PreflightError::Cores(e.into()))?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect())
}

/// Sets up one executor and throws it away: the only sure way to know.
fn try_uring(disabled: &str) -> Result<(), PreflightError> {
    let made = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .io_memory(super::executor::IO_MEMORY_BYTES)
        .ring_depth(8)
        .make();
    match made {
        Ok(_) => Ok(()),
        Err(_) if disabled == "1" => Err(PreflightError::UringDisabled {
            value: disabled.to_owned(),
        }),
        Err(error) => Err(PreflightError::UringRefused {
            cause: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_understood() {
        assert_eq!(kernel_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("5.8"), Some((5, 8)));
        assert_eq!(kernel_version("weird"), None);
    }

    #[test]
    fn this_host_has_cores() {
        assert!(!cores().unwrap().is_empty());
    }
}
