//! A thread's sleep: one system call, where the way through the executor's rings takes some six (decision 12).
//!
//! In an io_uring of its own; by ppoll(2) on a kernel whose rings do not run their work only when asked (before Linux 6.1).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::cqueue;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::uring::Ring;

/// Names of the two requests.
const SOCKET: u64 = 0;
const BELL: u64 = 1;

/// How it sleeps.
#[derive(Debug, Default)]
enum Bed {
    /// Not known yet: the thread that sleeps makes its ring.
    #[default]
    Untried,
    Ring(Box<Ring>),
    Poll,
}

/// Sleeps, and remembers what for it woke.
#[derive(Debug, Default)]
pub struct Sleeper {
    bed: Bed,
    /// The request for the socket is with the kernel,
    watches: bool,
    /// and the one for the bell, which goes on for good.
    listens: bool,
    heard: bool,
}

impl Sleeper {
    /// Until `socket` or `bell` is readable, or `most` has passed, or a signal comes.
    pub fn wait(
        &mut self,
        socket: BorrowedFd<'_>,
        bell: BorrowedFd<'_>,
        most: Duration,
    ) -> io::Result<()> {
        if matches!(self.bed, Bed::Untried) {
            self.bed = Ring::new(4, 8).map_or(Bed::Poll, |ring| Bed::Ring(Box::new(ring)));
        }
        match &mut self.bed {
            Bed::Ring(_) => {
                let slept = self.by_ring(socket, bell, most);
                if slept.is_err() {
                    self.bed = Bed::Poll;
                }
                slept
            }
            _ => self.by_poll(socket, bell, most),
        }
    }

    /// Whether the bell was readable since this was asked last.
    pub fn heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    fn by_ring(
        &mut self,
        socket: BorrowedFd<'_>,
        bell: BorrowedFd<'_>,
        most: Duration,
    ) -> io::Result<()> {
        let Bed::Ring(ring) = &mut self.bed else {
            return Ok(());
        };
        if !self.watches {
            ring.poll(socket.as_raw_fd(), false, SOCKET)?;
            self.watches = true;
        }
        if !self.listens {
            ring.poll(bell.as_raw_fd(), true, BELL)?;
            self.listens = true;
        }
        ring.sleep(most)?;
        for completion in ring.completions() {
            if completion.user_data() == BELL {
                self.heard = true;
                self.listens = cqueue::more(completion.flags());
            } else {
                self.watches = false;
            }
        }
        Ok(())
    }

    fn by_poll(
        &mut self,
        socket: BorrowedFd<'_>,
        bell: BorrowedFd<'_>,
        most: Duration,
    ) -> io::Result<()> {
        let mut fds = [
            PollFd::new(&socket, PollFlags::IN),
            PollFd::new(&bell, PollFlags::IN),
        ];
        let most = Timespec::try_from(most).ok();
        match poll(&mut fds, most.as_ref()) {
            Ok(_) => {
                self.heard |= fds.last().is_some_and(|bell| !bell.revents().is_empty());
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
