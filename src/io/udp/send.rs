//! Sending planned trains, chunk by chunk; how a chunk goes to the kernel is [`Submit`]'s.
#![allow(unsafe_code)]

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::chunk::{CHUNK_MESSAGES, Chunk};
use super::refusals::Refusals;
use super::trains::{Train, Trains};
use super::{Left, mapped};
use crate::metrics::Sent;
use crate::time::Time;
use crate::transmit::TransmitQueue;

/// What came of each message that was tried: bytes taken, or what the kernel said.
pub type Results = [Result<u32, i32>; CHUNK_MESSAGES];

/// A way to hand messages to the kernel.
pub trait Submit: Debug + Send {
    /// Tries the messages in order, none of them waiting, and says how many it has tried: one at least, if there is one.
    /// The first ones of `results` are theirs.
    fn submit(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: &mut [libc::mmsghdr],
        results: &mut Results,
    ) -> usize;
}

/// `sendmmsg`.
#[derive(Debug)]
pub struct Sendmmsg;

impl Submit for Sendmmsg {
    fn submit(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: &mut [libc::mmsghdr],
        results: &mut Results,
    ) -> usize {
        // SAFETY: the headers point at live iovecs, addresses and controls of their chunk, which the kernel only reads
        // (sendmmsg writes msg_len alone); the datagram bytes are borrowed by the caller's queue.
        let n = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if n > 0 {
            for (result, message) in results.iter_mut().zip(messages.iter().take(n as usize)) {
                *result = Ok(message.msg_len);
            }
            return n as usize;
        }
        let code = io::Error::last_os_error().raw_os_error();
        if let Some(result) = results.first_mut() {
            *result = Err(code.unwrap_or(libc::EIO));
        }
        1
    }
}

/// Sends trains in chunks.
#[derive(Debug)]
pub struct SendBatch {
    trains: Trains,
    refusals: Refusals,
    way: Box<dyn Submit>,
    /// Every datagram leaves on its own.
    single: bool,
}

impl SendBatch {
    /// By `sendmmsg`, with trains or with single datagrams only.
    pub fn new(trains: bool) -> Self {
        Self::by(Box::new(Sendmmsg), trains)
    }

    /// By `way`, with trains or with single datagrams only.
    pub fn by(way: Box<dyn Submit>, trains: bool) -> Self {
        Self {
            trains: Trains::default(),
            refusals: Refusals::default(),
            way,
            single: !trains,
        }
    }

    /// Sends every datagram of `queue`, those to one destination in order (but for the flush in which a path refuses its
    /// first train). What the kernel does not take is lost and counted. `left` hears how many have left, as they do.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        queue: &TransmitQueue,
        dual_stack: bool,
        now: Time,
        left: Left<'_>,
    ) -> Sent {
        self.refusals.expire(now);
        let (refusals, single) = (&self.refusals, self.single);
        self.trains
            .plan(queue, |to| single || refusals.contains(to));
        let mut flush = Flush {
            socket,
            queue,
            trains: &self.trains,
            way: &mut *self.way,
            refusals: &mut self.refusals,
            dual_stack,
            now,
            outcome: Sent::default(),
        };
        flush.all(left);
        flush.outcome
    }
}

/// One flush.
struct Flush<'a> {
    socket: BorrowedFd<'a>,
    queue: &'a TransmitQueue,
    trains: &'a Trains,
    way: &'a mut dyn Submit,
    refusals: &'a mut Refusals,
    dual_stack: bool,
    now: Time,
    outcome: Sent,
}

impl Flush<'_> {
    fn all(&mut self, left: Left<'_>) {
        let (mut chunk, mut begun) = (Chunk::default(), 0);
        let planned = self.trains.trains();
        for (at, train) in planned.iter().enumerate() {
            if !chunk.takes(usize::from(train.count)) {
                self.leave(&mut chunk, planned.get(begun..at).unwrap_or_default(), left);
                begun = at;
            }
            let members = self.trains.members(train).iter();
            let members = members.filter_map(|m| Some(self.queue.get(usize::from(*m))?.1));
            chunk.push(self.reached(train.to), train.segment, members);
        }
        self.leave(&mut chunk, planned.get(begun..).unwrap_or_default(), left);
    }

    fn reached(&self, to: SocketAddr) -> SocketAddr {
        if self.dual_stack { mapped(to) } else { to }
    }

    /// Sends a chunk, which holds `trains`, and empties it. A message the kernel refuses is skipped, the rest goes on; a
    /// train that the path does not take leaves as single datagrams.
    fn leave(&mut self, chunk: &mut Chunk, trains: &[Train], left: Left<'_>) {
        let before = self.outcome.datagrams;
        let mut done = 0;
        while done < trains.len() {
            let mut results: Results = [Ok(0); CHUNK_MESSAGES];
            let tried = self
                .way
                .submit(self.socket, chunk.messages(done), &mut results);
            let rest = trains.get(done..).unwrap_or_default();
            let mut full = false;
            for (train, result) in rest.iter().zip(results).take(tried) {
                full |= self.came_of(train, result);
            }
            done += tried.max(1);
            if full {
                // A full socket buffer: what is left of the chunk would fail alike.
                let lost = trains.get(done..).unwrap_or_default().iter();
                self.outcome.refused += lost.map(|t| u64::from(t.count)).sum::<u64>();
                break;
            }
        }
        chunk.clear();
        left(self.outcome.datagrams - before);
    }

    /// Counts what came of a train; whether it found the socket full.
    fn came_of(&mut self, train: &Train, result: Result<u32, i32>) -> bool {
        match result {
            Ok(bytes) => self.outcome.count(train.count, u64::from(bytes)),
            Err(code) if train.count > 1 && refuses_trains(code) => {
                self.refusals.add(train.to, self.now);
                self.singly(train);
            }
            Err(code) => {
                self.outcome.refused += u64::from(train.count);
                return code == libc::EAGAIN;
            }
        }
        false
    }

    /// Sends the datagrams of a train the path does not take as one.
    fn singly(&mut self, train: &Train) {
        let mut chunk = Chunk::default();
        let mut single = *train;
        single.count = 1;
        let singles = [single; CHUNK_MESSAGES];
        for members in self.trains.members(train).chunks(CHUNK_MESSAGES) {
            for member in members {
                let bytes = self.queue.get(usize::from(*member)).map(|(_, bytes)| bytes);
                chunk.push(self.reached(train.to), train.segment, bytes.into_iter());
            }
            let sending = singles.get(..members.len()).unwrap_or_default();
            self.leave(&mut chunk, sending, &mut |_| {});
        }
    }
}

/// Errors of a path on which single datagrams may get through: no segmentation there, or segments larger than its MTU.
fn refuses_trains(code: i32) -> bool {
    [libc::EINVAL, libc::EMSGSIZE, libc::EIO, libc::EOPNOTSUPP].contains(&code)
}
