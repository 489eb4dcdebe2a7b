//! `sendmmsg` of planned trains.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::address::write_address;
use super::mapped;
use super::refusals::Refusals;
use super::trains::{Train, Trains};
use crate::limits::TRAIN_DATAGRAMS_MAX;
use crate::metrics::Sent;
use crate::time::Time;
use crate::transmit::TransmitQueue;

/// Messages of one `sendmmsg` call (the kernel's own bound is UIO_MAXIOV = 1024).
const SEND_CHUNK: usize = 64;
/// Datagrams of one `sendmmsg` call.
const CHUNK_DATAGRAMS: usize = 256;
const _: () = assert!(CHUNK_DATAGRAMS >= TRAIN_DATAGRAMS_MAX);
/// Bytes of a control message with one `u16`: CMSG_SPACE(2).
// SAFETY: the macro only computes a size.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(mem::size_of::<u16>() as u32) } as usize;

fn empty_iovec() -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }
}

/// Sends trains in chunks.
#[derive(Debug)]
pub struct SendBatch {
    trains: Trains,
    refusals: Refusals,
    /// Every datagram leaves on its own.
    single: bool,
}

/// One chunk under construction. Everything it points at is in it, or borrowed by the queue it was made of.
struct Chunk {
    addresses: [libc::sockaddr_in6; SEND_CHUNK],
    headers: [libc::mmsghdr; SEND_CHUNK],
    iovecs: [libc::iovec; CHUNK_DATAGRAMS],
    controls: [Control; SEND_CHUNK],
    messages: usize,
    datagrams: usize,
}

/// Room for one `UDP_SEGMENT` control message.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

impl Chunk {
    fn new() -> Self {
        // SAFETY: sockaddr_in6 is a plain C struct for which all-zero is valid.
        let addresses = unsafe { mem::zeroed() };
        // SAFETY: mmsghdr is a plain C struct for which all-zero is valid (null pointers, zero lengths).
        let headers = unsafe { mem::zeroed() };
        Self {
            addresses,
            headers,
            iovecs: [empty_iovec(); CHUNK_DATAGRAMS],
            controls: [Control([0; CONTROL_BYTES]); SEND_CHUNK],
            messages: 0,
            datagrams: 0,
        }
    }

    /// Whether a message of `count` datagrams has room.
    fn takes(&self, count: usize) -> bool {
        self.messages < SEND_CHUNK && self.datagrams + count <= CHUNK_DATAGRAMS
    }

    /// Adds a message of the datagrams `members`, cut into `segment` bytes by the kernel if there are several.
    fn push<'a>(&mut self, to: SocketAddr, segment: u16, members: impl Iterator<Item = &'a [u8]>) {
        let first = self.datagrams;
        for (iovec, bytes) in self.iovecs.iter_mut().skip(first).zip(members) {
            iovec.iov_base = bytes.as_ptr().cast_mut().cast();
            iovec.iov_len = bytes.len();
            self.datagrams += 1;
        }
        let at = self.messages;
        let (Some(iovec), Some(address), Some(header), Some(control)) = (
            self.iovecs.get_mut(first),
            self.addresses.get_mut(at),
            self.headers.get_mut(at),
            self.controls.get_mut(at),
        ) else {
            return;
        };
        let header = &mut header.msg_hdr;
        header.msg_iov = iovec;
        header.msg_iovlen = self.datagrams - first;
        header.msg_namelen = write_address(address, to);
        header.msg_name = std::ptr::from_mut(address).cast();
        if self.datagrams - first > 1 {
            write_segment(header, control, segment);
        } else {
            header.msg_control = std::ptr::null_mut();
            header.msg_controllen = 0;
        }
        self.messages += 1;
    }

    fn clear(&mut self) {
        self.messages = 0;
        self.datagrams = 0;
    }
}

/// Says in `control` how the kernel cuts the message (udp(7)).
fn write_segment(header: &mut libc::msghdr, control: &mut Control, segment: u16) {
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES;
    // SAFETY: the control buffer is CMSG_SPACE(2) bytes, aligned for cmsghdr, and the header names it; so the first
    // header and its two bytes of data lie within it.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(mem::size_of::<u16>() as u32) as usize;
        libc::CMSG_DATA(message)
            .cast::<u16>()
            .write_unaligned(segment);
    }
}

impl SendBatch {
    /// With trains, or with single datagrams only.
    pub fn new(trains: bool) -> Self {
        Self {
            trains: Trains::default(),
            refusals: Refusals::default(),
            single: !trains,
        }
    }

    /// Sends every datagram of `queue`, those to one destination in order. What the kernel does not take is lost and
    /// counted.
    pub fn send(&mut self, fd: RawFd, queue: &TransmitQueue, dual_stack: bool, now: Time) -> Sent {
        let mut outcome = Sent::default();
        self.refusals.expire(now);
        let (refusals, single) = (&self.refusals, self.single);
        self.trains
            .plan(queue, |to| single || refusals.contains(to));
        let reached = |to| if dual_stack { mapped(to) } else { to };
        let (trains, planned) = (&self.trains, self.trains.trains());
        let mut chunk = Chunk::new();
        let mut begun = 0;
        for (at, train) in planned.iter().enumerate() {
            if !chunk.takes(usize::from(train.count)) {
                let sending = planned.get(begun..at).unwrap_or_default();
                send_chunk(fd, &mut chunk, sending, &mut outcome, &mut |refused| {
                    self.refusals.add(refused.to, now);
                    send_singly(fd, trains, refused, queue, reached(refused.to))
                });
                begun = at;
            }
            let members = trains.members(train).iter();
            let members = members.filter_map(|m| Some(queue.get(usize::from(*m))?.1));
            chunk.push(reached(train.to), train.segment, members);
        }
        let sending = planned.get(begun..).unwrap_or_default();
        send_chunk(fd, &mut chunk, sending, &mut outcome, &mut |refused| {
            self.refusals.add(refused.to, now);
            send_singly(fd, trains, refused, queue, reached(refused.to))
        });
        outcome
    }
}

/// Sends the datagrams of a train the path does not take as one.
fn send_singly(
    fd: RawFd,
    trains: &Trains,
    train: &Train,
    queue: &TransmitQueue,
    to: SocketAddr,
) -> Sent {
    let mut outcome = Sent::default();
    let mut chunk = Chunk::new();
    let mut singles = [*train; SEND_CHUNK];
    for members in trains.members(train).chunks(SEND_CHUNK) {
        for (single, member) in singles.iter_mut().zip(members) {
            single.count = 1;
            let bytes = queue.get(usize::from(*member)).map(|(_, bytes)| bytes);
            chunk.push(to, train.segment, bytes.into_iter());
        }
        let sending = singles.get(..members.len()).unwrap_or_default();
        send_chunk(fd, &mut chunk, sending, &mut outcome, &mut |_| {
            Sent::default()
        });
    }
    outcome
}

/// Sends a chunk, which holds `trains`, and empties it. A message the kernel refuses is skipped, the rest goes on; a train
/// that the path does not take is given to `singly`.
fn send_chunk(
    fd: RawFd,
    chunk: &mut Chunk,
    trains: &[Train],
    outcome: &mut Sent,
    singly: &mut impl FnMut(&Train) -> Sent,
) {
    let count = chunk.messages;
    let mut done = 0;
    while done < count {
        // SAFETY: headers `done..count` point at live iovecs, addresses and controls of the chunk, which the kernel only
        // reads (sendmmsg writes msg_len alone); the datagram bytes are borrowed by the caller's queue.
        let n = unsafe {
            libc::sendmmsg(
                fd,
                chunk.headers.as_mut_ptr().add(done),
                (count - done) as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        let rest = trains.get(done..).unwrap_or_default();
        if n > 0 {
            let sent = chunk.headers.iter().skip(done).zip(rest).take(n as usize);
            for (header, train) in sent {
                outcome.count(train.count, u64::from(header.msg_len));
            }
            done += n as usize;
            continue;
        }
        let error = io::Error::last_os_error();
        match (error.kind(), rest.first()) {
            (io::ErrorKind::Interrupted, _) => {}
            // A full socket buffer: what is left of the chunk would fail alike.
            (io::ErrorKind::WouldBlock, _) | (_, None) => {
                outcome.refused += rest.iter().map(|t| u64::from(t.count)).sum::<u64>();
                done = count;
            }
            (_, Some(train)) if train.count > 1 && refuses_trains(&error) => {
                outcome.add(&singly(train));
                done += 1;
            }
            (_, Some(train)) => {
                outcome.refused += u64::from(train.count);
                done += 1;
            }
        }
    }
    chunk.clear();
}

/// Errors of a path on which single datagrams may get through: no segmentation there, or segments larger than its MTU.
fn refuses_trains(error: &io::Error) -> bool {
    let codes = [libc::EINVAL, libc::EMSGSIZE, libc::EIO, libc::EOPNOTSUPP];
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}
