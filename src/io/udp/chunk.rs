//! Messages on their way to the kernel: as many as leave by one system call.
#![allow(unsafe_code)]

use std::mem;
use std::net::SocketAddr;

use super::address::write_address;
use crate::limits::TRAIN_DATAGRAMS_MAX;

/// Messages of a chunk. Few, so that the first copies of a frame do not wait for the last ones.
pub const CHUNK_MESSAGES: usize = 8;
/// Datagrams of a chunk: the longest train at least.
const CHUNK_DATAGRAMS: usize = TRAIN_DATAGRAMS_MAX;
/// Bytes of a control message with one `u16`: CMSG_SPACE(2).
// SAFETY: the macro only computes a size.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(mem::size_of::<u16>() as u32) } as usize;

/// Room for one `UDP_SEGMENT` control message.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

fn empty_iovec() -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }
}

/// One chunk under construction. Everything it points at is in it, or borrowed by the queue it was made of.
pub struct Chunk {
    addresses: [libc::sockaddr_in6; CHUNK_MESSAGES],
    headers: [libc::mmsghdr; CHUNK_MESSAGES],
    iovecs: [libc::iovec; CHUNK_DATAGRAMS],
    controls: [Control; CHUNK_MESSAGES],
    messages: usize,
    datagrams: usize,
}

impl Default for Chunk {
    fn default() -> Self {
        // SAFETY: sockaddr_in6 is a plain C struct for which all-zero is valid.
        let addresses = unsafe { mem::zeroed() };
        // SAFETY: mmsghdr is a plain C struct for which all-zero is valid (null pointers, zero lengths).
        let headers = unsafe { mem::zeroed() };
        Self {
            addresses,
            headers,
            iovecs: [empty_iovec(); CHUNK_DATAGRAMS],
            controls: [Control([0; CONTROL_BYTES]); CHUNK_MESSAGES],
            messages: 0,
            datagrams: 0,
        }
    }
}

impl Chunk {
    /// Whether a message of `count` datagrams has room.
    pub fn takes(&self, count: usize) -> bool {
        self.messages < CHUNK_MESSAGES && self.datagrams + count <= CHUNK_DATAGRAMS
    }

    /// Adds a message of the datagrams `members`, cut into `segment` bytes by the kernel if there are several.
    pub fn push<'a>(
        &mut self,
        to: SocketAddr,
        segment: u16,
        members: impl Iterator<Item = &'a [u8]>,
    ) {
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

    /// Its messages from number `done` on. What they point at lives as long as the chunk does and stays where it is, and the
    /// queue it was made of.
    pub fn messages(&mut self, done: usize) -> &mut [libc::mmsghdr] {
        let messages = self.headers.get_mut(done..self.messages);
        messages.unwrap_or_default()
    }

    /// Empties it.
    pub fn clear(&mut self) {
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
