//! `recvmmsg` and `sendmmsg` over owned buffers. All `unsafe` code of the project is here.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

use super::mapped;
use super::refusals::Refusals;
use super::trains::{Train, Trains};
use crate::limits::{DATAGRAM_BYTES_MAX, DTLS_DATAGRAM_BYTES_MAX, TRAIN_DATAGRAMS_MAX};
use crate::metrics::Sent;
use crate::time::Time;
use crate::transmit::TransmitQueue;

/// Bytes of a receive buffer: what any protocol on the port may bring. Longer datagrams are cut, and told.
const RECV_BYTES: usize = 2048;
const _: () = assert!(RECV_BYTES >= DATAGRAM_BYTES_MAX && RECV_BYTES >= DTLS_DATAGRAM_BYTES_MAX);
/// Messages of one `sendmmsg` call (the kernel's own bound is UIO_MAXIOV = 1024).
const SEND_CHUNK: usize = 64;
/// Datagrams of one `sendmmsg` call.
const CHUNK_DATAGRAMS: usize = 256;
const _: () = assert!(CHUNK_DATAGRAMS >= TRAIN_DATAGRAMS_MAX);
/// Bytes of a control message with one `u16`: CMSG_SPACE(2).
// SAFETY: the macro only computes a size.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(mem::size_of::<u16>() as u32) } as usize;

/// Buffers and addresses of one receive batch.
pub struct RecvBatch {
    buffers: Box<[u8]>,
    addresses: Vec<libc::sockaddr_storage>,
    lengths: Vec<Length>,
    filled: usize,
}

impl std::fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvBatch")
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

/// What the kernel said of one datagram.
#[derive(Debug, Clone, Copy, Default)]
struct Length {
    bytes: usize,
    truncated: bool,
}

impl RecvBatch {
    /// A batch of `size` datagrams.
    pub fn new(size: usize) -> Self {
        Self {
            buffers: vec![0; size * RECV_BYTES].into_boxed_slice(),
            // SAFETY: sockaddr_storage is a plain C struct for which all-zero is valid (AF_UNSPEC).
            addresses: vec![unsafe { mem::zeroed() }; size],
            lengths: vec![Length::default(); size],
            filled: 0,
        }
    }

    /// Fills the batch with what is there; `Ok(0)` when nothing is.
    pub fn recv(&mut self, fd: RawFd) -> io::Result<usize> {
        self.filled = 0;
        let mut iovecs = [empty_iovec(); crate::limits::RECV_BATCH];
        // SAFETY: mmsghdr is a plain C struct for which all-zero is a valid value (null pointers, zero lengths).
        let mut headers: [libc::mmsghdr; crate::limits::RECV_BATCH] = unsafe { mem::zeroed() };
        let slots = self
            .buffers
            .chunks_exact_mut(RECV_BYTES)
            .zip(&mut self.addresses)
            .zip(iovecs.iter_mut().zip(&mut headers));
        let mut count = 0;
        for ((buffer, address), (iovec, header)) in slots {
            iovec.iov_base = buffer.as_mut_ptr().cast();
            iovec.iov_len = buffer.len();
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
            header.msg_hdr.msg_namelen =
                mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            count += 1;
        }
        // SAFETY: the first `count` headers point at distinct buffers, iovecs and addresses that outlive the call
        // and are not aliased during it; a null timeout means the flags alone decide (non-blocking).
        let n = unsafe {
            libc::recvmmsg(
                fd,
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
        self.filled = n as usize;
        for (length, header) in self.lengths.iter_mut().zip(&headers).take(self.filled) {
            *length = Length {
                bytes: header.msg_len as usize,
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            };
        }
        Ok(self.filled)
    }

    /// Datagram `index` of the last batch; no bytes when it was truncated.
    pub fn datagram(&mut self, index: usize) -> Option<(SocketAddr, Option<&mut [u8]>)> {
        if index >= self.filled {
            return None;
        }
        let length = *self.lengths.get(index)?;
        let from = read_address(self.addresses.get(index)?)?;
        let start = index * RECV_BYTES;
        let bytes = self
            .buffers
            .get_mut(start..start + length.bytes.min(RECV_BYTES))?;
        Some((from, (!length.truncated).then_some(bytes)))
    }
}

/// A socket address as the kernel wrote it.
fn read_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let storage = std::ptr::from_ref(storage);
    // SAFETY: sockaddr_storage is larger than and aligned for both structs, all of whose bit patterns are valid;
    // the family says which one the kernel wrote.
    unsafe {
        match i32::from((*storage).ss_family) {
            libc::AF_INET => {
                let v4 = &*storage.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                let v6 = &*storage.cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddr::from((ip, u16::from_be(v6.sin6_port))))
            }
            _ => None,
        }
    }
}

/// Writes `to` as the kernel reads it; returns the length used.
fn write_address(out: &mut libc::sockaddr_in6, to: SocketAddr) -> libc::socklen_t {
    match to {
        SocketAddr::V4(v4) => {
            let out = std::ptr::from_mut(out).cast::<libc::sockaddr_in>();
            let value = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*v4.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_in6 is larger than sockaddr_in and has the same alignment.
            unsafe { out.write(value) };
            mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            *out = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

fn empty_iovec() -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }
}

/// Sends trains in chunks.
#[derive(Debug, Default)]
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
    /// Whether there are trains.
    pub fn set_trains(&mut self, trains: bool) {
        self.single = !trains;
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
