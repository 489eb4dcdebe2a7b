//! Multishot `recvmsg` (io_uring_prep_recvmsg_multishot(3)), with receive offload (UDP_GRO, udp(7)).
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::types::{Fd, RecvMsgOut};
use io_uring::{cqueue, opcode};

use super::Ring;
use super::buffers::Buffers;
use crate::io::udp::address::read_address;
use crate::io::udp::pieces::{CONTROL_BYTES, Control, Message, Pieces, TRAIN_BYTES, segment_of};
use crate::io::udp::{Receive, Received, Sleeper};
use crate::limits::{RECV_TRAIN_MAX, RECV_TRAINS};

/// Bytes of the sender's address in a buffer.
const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();
/// What is in a buffer before the datagrams: four lengths, address, control messages (io_uring_recvmsg_out).
const HEAD_BYTES: usize = 16 + NAME_BYTES + CONTROL_BYTES;
/// Twice a batch: one is read while the kernel fills the other.
const BUFFERS: u16 = (2 * RECV_TRAINS).next_power_of_two() as u16;
const GROUP: u16 = 0;
/// What ends a request and is no fault of the socket.
const HARMLESS: [i32; 3] = [libc::ENOBUFS, libc::ECONNREFUSED, libc::EINTR];
/// Names of the two requests that go on for good.
const DATAGRAMS: u64 = 0;
const BELL: u64 = 1;

/// One batch at a time; its buffers go back to the kernel when the next one is asked for.
pub struct Receiver {
    // Before the buffers, which are registered with it.
    ring: Ring,
    buffers: Buffers,
    /// What a buffer's head is made from; it stays where it is.
    header: Box<libc::msghdr>,
    /// The request for datagrams is with the kernel,
    armed: bool,
    /// and the one for the bell.
    listens: bool,
    /// The bell has become readable.
    heard: bool,
    full: bool,
    pieces: Pieces,
    /// Sender and buffer of each message of the batch.
    messages: Vec<(SocketAddr, u16)>,
}

// SAFETY: the header holds no pointers but null ones.
unsafe impl Send for Receiver {}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("armed", &self.armed)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// With a ring and buffers of its own.
    pub fn new() -> io::Result<Self> {
        let ring = Ring::new(4, 2 * u32::from(BUFFERS))?;
        let mut buffers = Buffers::new(BUFFERS, HEAD_BYTES + TRAIN_BYTES);
        buffers.register(&ring.ring, GROUP)?;
        // SAFETY: msghdr is a plain C struct for which all-zero is valid (null pointers, zero lengths).
        let mut header: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        header.msg_namelen = NAME_BYTES as libc::socklen_t;
        header.msg_controllen = CONTROL_BYTES;
        Ok(Self {
            ring,
            buffers,
            header,
            armed: false,
            listens: false,
            heard: false,
            full: false,
            pieces: Pieces::new(RECV_TRAINS * RECV_TRAIN_MAX),
            messages: Vec::with_capacity(RECV_TRAINS),
        })
    }

    fn arm(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let request =
            opcode::RecvMsgMulti::new(Fd(socket.as_raw_fd()), &raw const *self.header, GROUP);
        let request = request.build().user_data(DATAGRAMS);
        // SAFETY: the header is boxed and lives until the request has ended, as the buffers do (see `drop`); the socket is
        // open as long as its number is used.
        let pushed = unsafe { self.ring.ring.submission().push(&request) };
        pushed.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        self.armed = true;
        Ok(())
    }

    /// The buffers of the last batch are the kernel's again.
    fn give_back(&mut self) {
        self.pieces.clear();
        for (_, buffer) in self.messages.drain(..) {
            self.buffers.give(buffer);
        }
        self.buffers.publish();
    }

    /// Adds the message in `buffer`, `len` bytes with its head.
    fn take(&mut self, buffer: u16, len: usize) {
        let message = self.read(buffer, len);
        let Some((from, message)) = message else {
            // Nothing a kernel does: the buffer is not lost for that.
            self.buffers.give(buffer);
            return;
        };
        self.pieces.take_apart(&message);
        self.messages.push((from, buffer));
    }

    fn read(&self, buffer: u16, len: usize) -> Option<(SocketAddr, Message)> {
        let filled = self.buffers.bytes(buffer)?.get(..len)?;
        let out = RecvMsgOut::parse(filled, &self.header).ok()?;
        let told = out.control_data();
        let mut control = Control([0; CONTROL_BYTES]);
        control.0.get_mut(..told.len())?.copy_from_slice(told);
        let mut header = *self.header;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = told.len();
        let message = Message {
            index: self.messages.len() as u16,
            start: self.buffers.start(buffer) + HEAD_BYTES,
            len: out.payload_data().len(),
            segment: segment_of(&header),
            cut: out.is_payload_truncated(),
        };
        Some((address(out.name_data())?, message))
    }
}

impl Receive for Receiver {
    fn recv(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.give_back();
        if !self.armed {
            self.arm(socket)?;
        }
        // After a sleep they are there already.
        if self.ring.ring.completion().is_empty() {
            self.ring.enter(0)?;
        }
        let mut failed = None;
        while self.messages.len() < RECV_TRAINS {
            let Some(completion) = self.ring.ring.completion().next() else {
                break;
            };
            let goes_on = cqueue::more(completion.flags());
            if completion.user_data() == BELL {
                self.heard = true;
                self.listens = goes_on;
                continue;
            }
            self.armed = goes_on;
            let buffer = cqueue::buffer_select(completion.flags());
            if let (..0, Some(unused)) = (completion.result(), buffer) {
                self.buffers.give(unused);
            }
            match (completion.result(), buffer) {
                (len @ 0.., Some(buffer)) => self.take(buffer, len as usize),
                // Out of buffers, an ICMP error of an earlier send, a signal: asking again is all it needs.
                (code, _) if HARMLESS.contains(&-code) => {}
                (code, _) if code < 0 => failed = Some(io::Error::from_raw_os_error(-code)),
                _ => {}
            }
        }
        // A request that has ended may have left something behind.
        self.full = self.messages.len() == RECV_TRAINS || (!self.armed && failed.is_none());
        match failed {
            Some(error) if self.messages.is_empty() => Err(error),
            _ => Ok(self.pieces.len()),
        }
    }

    fn more(&self) -> bool {
        self.full
    }

    fn memory(&self) -> &[u8] {
        self.buffers.memory()
    }

    fn datagram(&mut self, index: usize) -> Option<Received<'_>> {
        let piece = self.pieces.get(index)?;
        let (from, _) = *self.messages.get(usize::from(piece.message))?;
        let Some(start) = piece.start else {
            return Some(Received { from, bytes: None });
        };
        let bytes = self.buffers.slice(start as usize, usize::from(piece.len))?;
        Some(Received {
            from,
            bytes: Some(bytes),
        })
    }

    // The ring that receives is the one to sleep in: it wakes with the datagrams.
    fn wait(
        &mut self,
        _: &mut Sleeper,
        socket: BorrowedFd<'_>,
        bell: BorrowedFd<'_>,
        most: Duration,
    ) -> io::Result<()> {
        if !self.ring.ring.completion().is_empty() {
            return Ok(());
        }
        if !self.armed {
            self.give_back();
            self.arm(socket)?;
        }
        if !self.listens {
            self.ring.poll(bell.as_raw_fd(), true, BELL)?;
            self.listens = true;
        }
        self.ring.sleep(most)
    }

    fn heard(&mut self) -> bool {
        mem::take(&mut self.heard)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // A ring that is closed ends its requests some time later.
        if !self.armed || self.ring.end(DATAGRAMS) {
            return;
        }
        tracing::warn!("the kernel does not end a receive request; its memory is given up");
        // It may be written to at any time from now on, so it is nobody's any more.
        mem::forget(mem::replace(&mut self.buffers, Buffers::new(1, 0)));
        let header = self.header.clone();
        mem::forget(mem::replace(&mut self.header, header));
    }
}

/// A socket address from its bytes.
fn address(name: &[u8]) -> Option<SocketAddr> {
    // SAFETY: sockaddr_storage is a plain C struct for which every bit pattern is valid.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    // SAFETY: as many bytes as both hold; they do not overlap.
    unsafe {
        let len = name.len().min(size_of::<libc::sockaddr_storage>());
        std::ptr::copy_nonoverlapping(name.as_ptr(), (&raw mut storage).cast(), len);
    }
    read_address(&storage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn only_the_thread_that_owns_a_ring_ends_its_request() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut receiver = Receiver::new().unwrap();
        assert!(receiver.ring.end(DATAGRAMS), "nothing was asked for yet");
        receiver.recv(socket.as_fd()).unwrap();
        let other = std::thread::scope(|threads| {
            let ended = threads.spawn(|| receiver.ring.end(DATAGRAMS));
            ended.join().unwrap()
        });
        assert!(!other);
        // With datagrams on their way, and their completions before the last one.
        for _ in 0..3 {
            socket.send_to(&[1], socket.local_addr().unwrap()).unwrap();
        }
        assert!(receiver.ring.end(DATAGRAMS));
        receiver.armed = false;
    }
}
