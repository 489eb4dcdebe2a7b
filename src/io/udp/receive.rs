//! `recvmmsg` over owned buffers, with or without receive offload (UDP_GRO, udp(7)): then one message may be a train.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::address::read_address;
use super::pieces::{CONTROL_BYTES, Control, Message, Pieces, RECV_BYTES, TRAIN_BYTES, segment_of};
use super::{Receive, Received};
use crate::limits::{RECV_BATCH, RECV_TRAIN_MAX, RECV_TRAINS};

/// Buffers and addresses of one receive batch.
pub struct RecvBatch {
    buffers: Box<[u8]>,
    slot_bytes: usize,
    addresses: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    pieces: Pieces,
    full: bool,
}

impl std::fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvBatch")
            .field("datagrams", &self.pieces.len())
            .finish_non_exhaustive()
    }
}

/// Whether the kernel hands trains over as they came, on a socket of its own choice of way. `false`: it cannot.
pub fn set_gro(fd: RawFd, on: bool) -> bool {
    set(fd, libc::SOL_UDP, libc::UDP_GRO, libc::c_int::from(on))
}

/// Has the kernel poll the card for `us` (socket(7), SO_BUSY_POLL). `false`: it may not.
pub fn set_busy_poll(fd: RawFd, us: u32) -> bool {
    let us = libc::c_int::try_from(us).unwrap_or(libc::c_int::MAX);
    set(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, us)
}

fn set(fd: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> bool {
    // SAFETY: sets an option of a socket that lives, from an integer that does.
    let done = unsafe {
        libc::setsockopt(
            fd,
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    done == 0
}

impl RecvBatch {
    /// A batch of [`RECV_TRAINS`] trains, or of [`RECV_BATCH`] datagrams.
    pub fn new(trains: bool) -> Self {
        let (slots, slot_bytes, pieces) = if trains {
            (RECV_TRAINS, TRAIN_BYTES, RECV_TRAINS * RECV_TRAIN_MAX)
        } else {
            (RECV_BATCH, RECV_BYTES, RECV_BATCH)
        };
        Self {
            buffers: vec![0; slots * slot_bytes].into_boxed_slice(),
            slot_bytes,
            // SAFETY: sockaddr_storage is a plain C struct for which all-zero is valid (AF_UNSPEC).
            addresses: vec![unsafe { mem::zeroed() }; slots],
            controls: vec![Control([0; CONTROL_BYTES]); slots],
            pieces: Pieces::new(pieces),
            full: false,
        }
    }

    /// Notes the datagrams of message `message`.
    fn take_apart(&mut self, message: usize, header: &libc::mmsghdr) {
        self.pieces.take_apart(&Message {
            index: message as u16,
            start: message * self.slot_bytes,
            len: (header.msg_len as usize).min(self.slot_bytes),
            segment: segment_of(&header.msg_hdr),
            cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        });
    }
}

impl Receive for RecvBatch {
    fn recv(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.pieces.clear();
        self.full = false;
        let mut iovecs = [const { empty_iovec() }; RECV_BATCH];
        // SAFETY: mmsghdr is a plain C struct for which all-zero is a valid value (null pointers, zero lengths).
        let mut headers: [libc::mmsghdr; RECV_BATCH] = unsafe { mem::zeroed() };
        let slots = self
            .buffers
            .chunks_exact_mut(self.slot_bytes)
            .zip(self.addresses.iter_mut().zip(&mut self.controls))
            .zip(iovecs.iter_mut().zip(&mut headers));
        let mut count = 0;
        for ((buffer, (address, control)), (iovec, header)) in slots {
            iovec.iov_base = buffer.as_mut_ptr().cast();
            iovec.iov_len = buffer.len();
            let header = &mut header.msg_hdr;
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header.msg_name = std::ptr::from_mut(address).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES;
            count += 1;
        }
        // SAFETY: the first `count` headers point at distinct buffers, iovecs, addresses and controls that outlive the
        // call and are not aliased during it; a null timeout means the flags alone decide (non-blocking).
        let n = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if n < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                // ECONNREFUSED is an ICMP error of an earlier send: it ends nothing here.
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionRefused => Ok(0),
                _ => Err(error),
            };
        }
        self.full = n as u32 == count;
        for (message, header) in headers.iter().enumerate().take(n as usize) {
            self.take_apart(message, header);
        }
        Ok(self.pieces.len())
    }

    fn more(&self) -> bool {
        self.full
    }

    fn memory(&self) -> &[u8] {
        &self.buffers
    }

    #[inline]
    fn datagram(&mut self, index: usize) -> Option<Received<'_>> {
        let piece = self.pieces.get(index)?;
        let from = read_address(self.addresses.get(usize::from(piece.message))?)?;
        let Some(start) = piece.start else {
            return Some(Received { from, bytes: None });
        };
        let start = start as usize;
        let bytes = self
            .buffers
            .get_mut(start..start + usize::from(piece.len))?;
        Some(Received {
            from,
            bytes: Some(bytes),
        })
    }
}

const fn empty_iovec() -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }
}
