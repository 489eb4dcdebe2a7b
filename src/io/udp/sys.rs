//! `recvmmsg` and `sendmmsg` over owned buffers. All `unsafe` code of the project is here.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

use super::{SendOutcome, mapped};
use crate::limits::{DATAGRAM_BYTES_MAX, DTLS_DATAGRAM_BYTES_MAX};
use crate::transmit::TransmitQueue;

/// Bytes of a receive buffer: what any protocol on the port may bring. Longer datagrams are cut, and told.
const RECV_BYTES: usize = 2048;
const _: () = assert!(RECV_BYTES >= DATAGRAM_BYTES_MAX && RECV_BYTES >= DTLS_DATAGRAM_BYTES_MAX);
/// Datagrams of one `sendmmsg` call (the kernel's own bound is UIO_MAXIOV = 1024).
const SEND_CHUNK: usize = 64;

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

/// Sends queues in chunks.
#[derive(Debug, Default)]
pub struct SendBatch {}

impl SendBatch {
    /// Sends every datagram of `queue`, in order. What the kernel does not take is lost and counted.
    pub fn send(&mut self, fd: RawFd, queue: &TransmitQueue, dual_stack: bool) -> SendOutcome {
        let mut outcome = SendOutcome::default();
        let mut datagrams = queue.iter();
        while datagrams.len() > 0 {
            // SAFETY: sockaddr_in6 and mmsghdr are plain C structs for which all-zero is valid.
            let mut addresses: [libc::sockaddr_in6; SEND_CHUNK] = unsafe { mem::zeroed() };
            // SAFETY: as above.
            let mut headers: [libc::mmsghdr; SEND_CHUNK] = unsafe { mem::zeroed() };
            let mut iovecs = [empty_iovec(); SEND_CHUNK];
            let mut count = 0;
            let slots = addresses
                .iter_mut()
                .zip(iovecs.iter_mut().zip(&mut headers));
            for ((to, bytes), (address, (iovec, header))) in
                datagrams.by_ref().take(SEND_CHUNK).zip(slots)
            {
                iovec.iov_base = bytes.as_ptr().cast_mut().cast();
                iovec.iov_len = bytes.len();
                header.msg_hdr.msg_iov = iovec;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_namelen =
                    write_address(address, if dual_stack { mapped(to) } else { to });
                header.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
                count += 1;
            }
            send_chunk(fd, &mut headers[..count], &mut outcome);
        }
        outcome
    }
}

/// Sends one chunk; a datagram the kernel refuses is skipped, the rest goes on.
fn send_chunk(fd: RawFd, headers: &mut [libc::mmsghdr], outcome: &mut SendOutcome) {
    let count = headers.len();
    let mut done = 0;
    while done < count {
        // SAFETY: headers `done..count` point at live iovecs and addresses which the kernel only reads
        // (sendmmsg writes msg_len alone); the datagram bytes are borrowed by the caller's queue.
        let n = unsafe {
            libc::sendmmsg(
                fd,
                headers.as_mut_ptr().add(done),
                (count - done) as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if n > 0 {
            let n = n as usize;
            outcome.sent += n as u64;
            outcome.bytes += headers[done..done + n]
                .iter()
                .map(|h| u64::from(h.msg_len))
                .sum::<u64>();
            done += n;
            continue;
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            // A full socket buffer: what is left of the chunk would fail alike.
            io::ErrorKind::WouldBlock => {
                outcome.lost += (count - done) as u64;
                return;
            }
            _ => {
                outcome.lost += 1;
                done += 1;
            }
        }
    }
}
