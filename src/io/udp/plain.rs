//! One system call for each datagram: for hosts whose kernel, or whatever stands in for it, does nothing better.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};

use super::{Left, Receive, Received, mapped};
use crate::limits::{DATAGRAM_BYTES_MAX, RECV_BATCH};
use crate::metrics::Sent;
use crate::transmit::TransmitQueue;

/// Bytes of a receive buffer: more than any datagram that is handed on.
const RECV_BYTES: usize = 2048;
const _: () = assert!(RECV_BYTES > DATAGRAM_BYTES_MAX);

/// The receiving half.
#[derive(Debug)]
pub struct Plain {
    buffers: Box<[u8]>,
    /// Sender and length of each datagram; no length: it was longer than its buffer.
    datagrams: Vec<(SocketAddr, Option<usize>)>,
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            buffers: vec![0; RECV_BATCH * RECV_BYTES].into_boxed_slice(),
            datagrams: Vec::with_capacity(RECV_BATCH),
        }
    }
}

impl Receive for Plain {
    fn recv(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.datagrams.clear();
        for buffer in self.buffers.chunks_exact_mut(RECV_BYTES) {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match recvfrom(socket, &mut *buffer, flags) {
                Ok((_, len, from)) => {
                    let from = from.and_then(|f| SocketAddr::try_from(f).ok());
                    // A UDP socket names the sender of each datagram.
                    let Some(from) = from else { continue };
                    let fits = (len <= RECV_BYTES).then_some(len);
                    self.datagrams.push((from, fits));
                }
                // ECONNREFUSED is an ICMP error of an earlier send: it ends nothing here.
                Err(
                    rustix::io::Errno::AGAIN
                    | rustix::io::Errno::INTR
                    | rustix::io::Errno::CONNREFUSED,
                ) => break,
                Err(error) if self.datagrams.is_empty() => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(self.datagrams.len())
    }

    fn memory(&self) -> &[u8] {
        &self.buffers
    }

    fn more(&self) -> bool {
        self.datagrams.len() == RECV_BATCH
    }

    fn datagram(&mut self, index: usize) -> Option<Received<'_>> {
        let (from, len) = *self.datagrams.get(index)?;
        let start = index * RECV_BYTES;
        let bytes = len.and_then(|len| self.buffers.get_mut(start..start + len));
        Some(Received { from, bytes })
    }
}

/// The sending half: sends every datagram of `queue`, as [`SendBatch::send`](super::SendBatch::send) does.
pub fn send(
    socket: BorrowedFd<'_>,
    queue: &TransmitQueue,
    dual_stack: bool,
    left: Left<'_>,
) -> Sent {
    let mut outcome = Sent::default();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    for (to, bytes) in queue.iter() {
        let to = if dual_stack { mapped(to) } else { to };
        let sent = loop {
            match sendto(socket, bytes, flags, &to) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other,
            }
        };
        match sent {
            Ok(len) => {
                outcome.count(1, len as u64);
                left(1);
            }
            Err(_) => outcome.refused += 1,
        }
    }
    outcome
}
