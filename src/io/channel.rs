//! Bounded channels between cores, with a doorbell that wakes the receiving executor.
//!
//! The queue is crossbeam's; a sender never blocks: a full queue is an error that hands the message back.
//! A parked executor sleeps in io_uring and cannot see the queue, so a sender also rings: one byte on a socket
//! pair whose other end the receiver polls through its ring. Rings are coalesced by a flag, so a busy receiver
//! costs its senders no system call. Invariant: whenever the queue is not empty and the receiver waits, a byte is
//! on its way (`Bell` tells why).

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Poll};

use crossbeam_channel::{Receiver, TrySendError};
use futures_lite::io::AsyncRead;
use glommio::net::TcpStream;
use socket2_glommio::{Domain, Socket, Type};

use crate::bus::shard::{ShardCommand, ShardEvent};

/// Commands to one shard.
pub type ShardLink = Sender<ShardCommand>;
/// Events of one shard, or of all of them (clone it).
pub type EventLink = Sender<ShardEvent>;
/// Receiving end of [`EventLink`], on the signalling core.
pub type EventInbox = Inbox<ShardEvent>;

/// Why a message was not taken; the message is inside.
#[derive(Debug, thiserror::Error)]
pub enum SendError<T> {
    /// The receiver is behind; try later, or refuse what caused the message.
    #[error("the channel is full: the receiving core is overloaded; try again, or spread the load")]
    Full(T),
    /// The receiver is gone.
    #[error("the receiving core has stopped")]
    Closed(T),
}

/// The doorbell. Dekker's pattern: the sender queues, then looks at the flag; the receiver clears the flag, then
/// looks at the queue. The two fences make it impossible that both miss each other.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    socket: Socket,
}

impl Bell {
    fn ring(&self) {
        fence(Ordering::SeqCst);
        if !self.rung.swap(true, Ordering::SeqCst) {
            // Fails when the receiver is gone, which the channel reports itself, or when the socket's buffer is
            // full, which means that there are bytes to wake it.
            let _ = self.socket.send(&[1]);
        }
    }

    /// The receiver's half: from here on it is rung for. Whether `queue` is empty; if not, there may be no ring for what is
    /// in it.
    fn listen<T>(&self, queue: &Receiver<T>) -> bool {
        self.rung.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        queue.is_empty()
    }
}

/// Sending end. Clone it for every sender; usable from any thread.
#[derive(Debug)]
pub struct Sender<T> {
    queue: crossbeam_channel::Sender<T>,
    bell: Arc<Bell>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            bell: self.bell.clone(),
        }
    }
}

impl<T> Sender<T> {
    /// Queues `message` and wakes the receiver. Never blocks.
    pub fn try_send(&self, message: T) -> Result<(), SendError<T>> {
        match self.queue.try_send(message) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(TrySendError::Full(message)) => Err(SendError::Full(message)),
            Err(TrySendError::Disconnected(message)) => Err(SendError::Closed(message)),
        }
    }
}

/// Receiving end on its way to the receiving thread: give it to that thread's executor, then [`MovableInbox::listen`].
#[derive(Debug)]
pub struct MovableInbox<T> {
    queue: Receiver<T>,
    bell: Arc<Bell>,
    ear: Socket,
}

impl<T> MovableInbox<T> {
    /// For a thread that sleeps by itself.
    pub fn polled(self) -> PolledInbox<T> {
        PolledInbox {
            queue: self.queue,
            bell: self.bell,
            // It does not mind that it is not TCP.
            ear: self.ear.into(),
        }
    }

    /// Ties the inbox to the glommio executor it is called on.
    ///
    /// # Panics
    /// Outside a glommio executor.
    pub fn listen(self) -> Inbox<T> {
        Inbox {
            queue: self.queue,
            bell: self.bell,
            // glommio's stream only polls and receives; it does not mind that this one is not TCP.
            ear: RefCell::new(TcpStream::from(self.ear)),
        }
    }
}

/// Receiving end for a thread that sleeps by itself, not through its executor.
#[derive(Debug)]
pub struct PolledInbox<T> {
    queue: Receiver<T>,
    bell: Arc<Bell>,
    ear: std::net::TcpStream,
}

impl<T> PolledInbox<T> {
    /// The next message, if there is one.
    pub fn try_recv(&self) -> Option<T> {
        self.queue.try_recv().ok()
    }

    /// Asks to be rung for. `false`: something is queued, there is no time to sleep. `true`: [`bell`](Self::bell) becomes
    /// readable when something is.
    pub fn listen(&self) -> bool {
        self.bell.listen(&self.queue)
    }

    /// What becomes readable when it is rung.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.ear.as_fd()
    }

    /// Takes the rings there have been.
    pub fn silence(&self) {
        // One byte is all there ever is, but for senders that overtook a `listen`.
        let mut bytes = [0_u8; 64];
        while let Ok(64) = (&self.ear).read(&mut bytes) {}
    }
}

/// Receiving end, tied to one executor.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Receiver<T>,
    bell: Arc<Bell>,
    ear: RefCell<TcpStream>,
}

impl<T> Inbox<T> {
    /// The next message, if there is one.
    pub fn try_recv(&self) -> Option<T> {
        self.queue.try_recv().ok()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns when something is queued. Safe to drop half-way and to call again, but only by one task at a time.
    ///
    /// Never returns once every sender is gone: the other end is held by us too.
    pub async fn wait(&self) {
        poll_fn(|cx| self.poll_wait(cx)).await;
    }

    /// [`Inbox::wait`] for hand-written futures.
    pub fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.queue.is_empty() {
                return Poll::Ready(());
            }
            if !self.bell.listen(&self.queue) {
                return Poll::Ready(());
            }
            let mut bytes = [0_u8; 64];
            let mut ear = self.ear.borrow_mut();
            match Pin::new(&mut *ear).poll_read(cx, &mut bytes) {
                // One ring, or some; look again.
                Poll::Ready(Ok(n)) if n > 0 => {}
                // The pair is ours alone, so end of file and errors do not happen while we live; if they did,
                // returning would make the caller spin, and pending would make it deaf. Deaf is worse.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A channel for at most `capacity` messages.
pub fn channel<T>(capacity: usize) -> io::Result<(Sender<T>, MovableInbox<T>)> {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    let (ours, ear) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
    ours.set_nonblocking(true)?;
    ear.set_nonblocking(true)?;
    let bell = Arc::new(Bell {
        rung: AtomicBool::new(false),
        socket: ours,
    });
    let link = Sender {
        queue: sender,
        bell: bell.clone(),
    };
    let inbox = MovableInbox {
        queue: receiver,
        bell,
        ear,
    };
    Ok((link, inbox))
}

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::LocalExecutor;
    use rustix::event::PollFlags;

    #[test]
    fn full_channel_hands_the_message_back() {
        let (link, inbox) = channel(1).unwrap();
        link.try_send(1).unwrap();
        assert!(matches!(link.try_send(2), Err(SendError::Full(2))));
        drop(inbox);
        assert!(matches!(link.try_send(3), Err(SendError::Closed(3))));
    }

    #[test]
    fn every_message_wakes_a_parked_executor() {
        const MESSAGES: u32 = 2_000;
        let (to, inbox) = channel::<u32>(4).unwrap();
        let (back, answers) = crossbeam_channel::bounded(4);
        let receiver = std::thread::spawn(move || {
            LocalExecutor::default().run(async move {
                let inbox = inbox.listen();
                loop {
                    inbox.wait().await;
                    while let Some(n) = inbox.try_recv() {
                        back.send(n).unwrap();
                        if n == MESSAGES {
                            return;
                        }
                    }
                }
            });
        });
        // One at a time, so that the receiver parks again and again: a lost ring would hang the test.
        for n in 1..=MESSAGES {
            to.try_send(n).unwrap();
            assert_eq!(answers.recv(), Ok(n));
        }
        receiver.join().unwrap();
    }

    #[test]
    fn every_message_wakes_a_thread_that_polls() {
        const MESSAGES: u32 = 2_000;
        let (to, inbox) = channel::<u32>(4).unwrap();
        let (back, answers) = crossbeam_channel::bounded(4);
        let receiver = std::thread::spawn(move || {
            let inbox = inbox.polled();
            loop {
                while let Some(n) = inbox.try_recv() {
                    back.send(n).unwrap();
                    if n == MESSAGES {
                        return;
                    }
                }
                if inbox.listen() {
                    let bell = inbox.bell();
                    let mut fds = [rustix::event::PollFd::new(&bell, PollFlags::IN)];
                    rustix::event::poll(&mut fds, None).unwrap();
                    inbox.silence();
                }
            }
        });
        for n in 1..=MESSAGES {
            to.try_send(n).unwrap();
            assert_eq!(answers.recv(), Ok(n));
        }
        receiver.join().unwrap();
    }

    #[test]
    fn wait_can_be_dropped_and_called_again() {
        let (to, inbox) = channel::<u32>(4).unwrap();
        LocalExecutor::default().run(async move {
            let inbox = inbox.listen();
            let none = futures_lite::future::poll_once(inbox.wait()).await;
            assert!(none.is_none());
            to.try_send(7).unwrap();
            inbox.wait().await;
            assert_eq!(inbox.try_recv(), Some(7));
            assert!(inbox.is_empty());
        });
    }
}
