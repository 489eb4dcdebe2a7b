//! An io_uring of the shard's own for its socket: one receive request that goes on for good and fills provided buffers, one
//! submission for each chunk of messages to send, and a sleep that ends with the datagrams already there.
//!
//! The rings run their work only when the shard enters them (IORING_SETUP_DEFER_TASKRUN, io_uring_setup(2)): nothing
//! interrupts it meanwhile.
#![allow(unsafe_code)]

mod buffers;
mod recv;
mod send;

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode};

pub use recv::Receiver;
pub use send::Sender;

/// How long the kernel may take to end a request.
const END_MAX: Duration = Duration::from_millis(100);
/// Name of the request that ends another one; no other has it.
const END: u64 = u64::MAX;

/// A ring that the thread which first uses it owns from then on.
pub struct Ring {
    ring: IoUring,
    owned: bool,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl Ring {
    /// With room for `requests` and `completions`.
    pub fn new(requests: u32, completions: u32) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_cqsize(completions)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_r_disabled()
            .build(requests)?;
        Ok(Self { ring, owned: false })
    }

    fn own(&mut self) -> io::Result<()> {
        if !self.owned {
            self.ring.submitter().register_enable_rings()?;
            self.owned = true;
        }
        Ok(())
    }

    /// Asks to be told as `name` when `fd` is readable: once, or each time it becomes so.
    pub fn poll(&mut self, fd: RawFd, each_time: bool, name: u64) -> io::Result<()> {
        let request = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).multi(each_time);
        let request = request.build().user_data(name);
        // SAFETY: a poll request points at no memory; a descriptor that is closed is answered with an error.
        let pushed = unsafe { self.ring.submission().push(&request) };
        pushed.map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    /// What has completed.
    pub fn completions(&mut self) -> cqueue::CompletionQueue<'_> {
        self.ring.completion()
    }

    /// Hands the requests over and sleeps until something has completed, or `most` has passed, or a signal comes.
    pub fn sleep(&mut self, most: Duration) -> io::Result<()> {
        self.own()?;
        self.ring.submission().sync();
        let most = Timespec::from(most);
        let args = SubmitArgs::new().timespec(&most);
        match self.ring.submitter().submit_with_args(1, &args) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Ends request `name`, one that goes on for good, and waits for the kernel's last word about it: until then it may write
    /// to what the request points at. What else has completed is forgotten. `false`: it may still be under way.
    fn end(&mut self, name: u64) -> bool {
        if !self.owned {
            // The ring was never entered: the kernel has not seen a request.
            return true;
        }
        let start = Instant::now();
        while let Some(left) = END_MAX.checked_sub(start.elapsed()) {
            // Not by IORING_REGISTER_SYNC_CANCEL, which returns when the request is marked: it ends in work that this ring
            // runs when it is entered. Said again each time, for one that was busy with a datagram is not found.
            let request = opcode::AsyncCancel::new(name).build().user_data(END);
            // SAFETY: the request points at no memory.
            let pushed = unsafe { self.ring.submission().push(&request) };
            if pushed.is_err() || self.sleep(left).is_err() {
                return false;
            }
            let last = |c: cqueue::Entry| c.user_data() == name && !cqueue::more(c.flags());
            if self.completions().any(last) {
                return true;
            }
        }
        false
    }

    /// Hands the requests over, runs what is due, and waits for `completions`.
    fn enter(&mut self, completions: u32) -> io::Result<()> {
        self.own()?;
        loop {
            let requests = self.ring.submission().len() as u32;
            let flags = EnterFlags::GETEVENTS.bits();
            // SAFETY: no argument is passed; what the requests point at lives until they complete (see who pushed them).
            let entered = unsafe {
                let submitter = self.ring.submitter();
                submitter.enter::<libc::sigset_t>(requests, completions, flags, None)
            };
            match entered {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
