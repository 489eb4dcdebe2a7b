//! The datagrams of a received batch: a message may be a train of datagrams of one size (UDP_GRO, udp(7)), which is taken
//! apart here.
#![allow(unsafe_code)]

use std::mem;

use crate::limits::{DATAGRAM_BYTES_MAX, DTLS_DATAGRAM_BYTES_MAX, RECV_BATCH, RECV_TRAINS};

/// Longest datagram that is handed on: what any protocol on the port may bring. Longer ones are told, without bytes.
pub const RECV_BYTES: usize = 2048;
const _: () = assert!(RECV_BYTES >= DATAGRAM_BYTES_MAX && RECV_BYTES >= DTLS_DATAGRAM_BYTES_MAX);
const _: () = assert!(RECV_TRAINS <= RECV_BATCH);
/// Bytes of a train: the most IP carries.
pub const TRAIN_BYTES: usize = 65_536;
/// Bytes of a control message with one `int`: CMSG_SPACE(4).
// SAFETY: the macro only computes a size.
pub const CONTROL_BYTES: usize =
    unsafe { libc::CMSG_SPACE(mem::size_of::<libc::c_int>() as u32) } as usize;

/// Room for one `UDP_GRO` control message.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub struct Control(pub [u8; CONTROL_BYTES]);

/// One datagram of the batch.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// Message it came in.
    pub message: u16,
    /// Bytes of it.
    pub len: u16,
    /// Its first byte in the buffers; none if it is longer than it may be.
    pub start: Option<u32>,
}

/// What the kernel says of one message.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// Which of the batch.
    pub index: u16,
    /// Its first byte in the buffers.
    pub start: usize,
    /// Bytes of it that are there.
    pub len: usize,
    /// Bytes of each datagram but the last, if it is a train.
    pub segment: Option<usize>,
    /// It was longer than its buffer.
    pub cut: bool,
}

/// All datagrams of a batch. Never more than it was made for.
#[derive(Debug)]
pub struct Pieces(Vec<Piece>);

impl Pieces {
    /// Room for `most` datagrams; those beyond are lost.
    pub fn new(most: usize) -> Self {
        Self(Vec::with_capacity(most))
    }

    /// Forgets the batch.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Datagrams of the batch.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Datagram `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Piece> {
        self.0.get(index).copied()
    }

    /// Notes the datagrams of `message`.
    pub fn take_apart(&mut self, message: &Message) {
        let whole = message.len;
        let segment = message.segment.unwrap_or(whole).max(1);
        let mut at = 0;
        while at < whole.max(1) && self.0.len() < self.0.capacity() {
            let len = segment.min(whole - at);
            let fits = len <= RECV_BYTES && !(message.cut && at + len == whole);
            self.0.push(Piece {
                message: message.index,
                len: len.min(RECV_BYTES) as u16,
                start: fits.then_some((message.start + at) as u32),
            });
            at += segment;
        }
    }
}

/// Size of the datagrams of a train, as the kernel tells it in the control messages of `header`, which it has filled.
pub fn segment_of(header: &libc::msghdr) -> Option<usize> {
    if header.msg_controllen == 0 {
        return None;
    }
    // SAFETY: the kernel has filled the control buffer the header names and set its length; the macros stay within it, and
    // a UDP_GRO message holds an `int`.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_UDP && (*message).cmsg_type == libc::UDP_GRO {
                let size = libc::CMSG_DATA(message)
                    .cast::<libc::c_int>()
                    .read_unaligned();
                return usize::try_from(size).ok();
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}
