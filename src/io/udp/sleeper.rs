//! A thread's sleep, by ppoll(2): one system call, where the way through the executor's rings takes some six.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Sleeps, and remembers what for it woke.
#[derive(Debug, Default)]
pub struct Sleeper {
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

    /// Whether the bell was readable since this was asked last.
    pub fn heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }
}
