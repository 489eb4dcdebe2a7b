//! `sendmsg` requests of a chunk, handed over at once.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::opcode;
use io_uring::types::Fd;

use super::Ring;
use crate::io::udp::chunk::CHUNK_MESSAGES;
use crate::io::udp::send::{Results, Sendmmsg, Submit};

/// See the module.
#[derive(Debug)]
pub struct Sender {
    /// None: it has failed, and `sendmmsg` does its work.
    ring: Option<Ring>,
}

impl Sender {
    /// With a ring of its own.
    pub fn new() -> io::Result<Self> {
        let requests = CHUNK_MESSAGES.next_power_of_two() as u32;
        Ring::new(requests, 2 * requests).map(|ring| Self { ring: Some(ring) })
    }
}

/// What the requests have come to, by their numbers; how many that is.
fn reap(ring: &mut Ring, results: &mut Results) -> usize {
    let mut count = 0;
    for completion in ring.ring.completion() {
        let result = match completion.result() {
            code if code < 0 => Err(-code),
            bytes => Ok(bytes as u32),
        };
        if let Some(place) = results.get_mut(completion.user_data() as usize) {
            *place = result;
        }
        count += 1;
    }
    count
}

/// Tries the messages; how many were tried. An error: nothing more can be done with the ring.
fn submit(
    ring: &mut Ring,
    socket: BorrowedFd<'_>,
    messages: &[libc::mmsghdr],
    results: &mut Results,
) -> io::Result<usize> {
    let mut pushed = 0;
    for (number, message) in messages.iter().enumerate().take(CHUNK_MESSAGES) {
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;
        let request = opcode::SendMsg::new(Fd(socket.as_raw_fd()), &raw const message.msg_hdr)
            .flags(flags)
            .build()
            .user_data(number as u64);
        // SAFETY: the message and what it points at live until this function returns. By then the request has completed, or
        // the ring is never used again: a request that does not wait runs while it is handed over, or not at all.
        if unsafe { ring.ring.submission().push(&request) }.is_err() {
            break;
        }
        pushed += 1;
    }
    let mut seen = 0;
    while seen < pushed {
        ring.enter((pushed - seen) as u32)?;
        seen += reap(ring, results);
    }
    Ok(pushed)
}

impl Submit for Sender {
    fn submit(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: &mut [libc::mmsghdr],
        results: &mut Results,
    ) -> usize {
        let ring = self.ring.as_mut();
        match ring.map(|ring| submit(ring, socket, messages, results)) {
            Some(Ok(tried)) => tried,
            Some(Err(error)) => {
                tracing::error!(%error, "the ring for sending has failed; sending by sendmmsg from now on");
                self.ring = None;
                // Some may have left: to lose a chunk is better than to send it twice.
                *results = [Err(libc::ECANCELED); CHUNK_MESSAGES];
                messages.len()
            }
            None => Sendmmsg.submit(socket, messages, results),
        }
    }
}
