//! Datagrams of peers: taken in one by one, and what is media forwarded for several at once.
//!
//! Between the two nothing else happens: whatever changes rooms forwards first, or waits until all is forwarded. So what was
//! taken in goes to those who subscribed at that moment.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Shard;
use crate::error::DropReason;
use crate::room::machine::Turn;
use crate::time::Time;
use crate::transmit::TransmitQueue;

impl Shard {
    /// Takes a datagram in, overwrites it (media is opened in place), and forwards it.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &mut [u8],
        tx: &mut TransmitQueue,
    ) {
        self.take_in(now, from, datagram, 0, tx);
        self.forward(now, tx, usize::MAX);
    }

    /// Takes a datagram in, and overwrites it: media is opened in place. Media is not forwarded before
    /// [`forward`](Self::forward), and its copies then get `pad` bytes of padding if it is video (RFC 3550 section 5.1), so that
    /// they are as long as those of the next packet and leave with them.
    pub fn take_in(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &mut [u8],
        pad: u8,
        tx: &mut TransmitQueue,
    ) {
        if self.is_full() {
            self.forward(now, tx, usize::MAX);
        }
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += datagram.len() as u64;
        let mut turn = Turn {
            now,
            tx,
            counters: &mut self.counters,
        };
        let machine = &mut self.machine;
        let done = catch_unwind(AssertUnwindSafe(|| {
            machine.handle_datagram(from, datagram, pad, &mut turn)
        }));
        match done {
            Ok(Ok(true)) => self.counters.packets_used += 1,
            Ok(Ok(false)) => self.counters.consumed += 1,
            Ok(Err(reason)) => self.counters.drop_in(reason),
            Err(_) => {
                self.counters.drop_in(DropReason::RoomPanicked);
                if let Some(room) = self.machine.room_of(from) {
                    self.close_panicked(now, tx, &room);
                }
            }
        }
        self.settle(now, tx);
    }

    /// Whether no more should be taken in before all of it is forwarded.
    pub fn is_full(&self) -> bool {
        self.machine.is_full()
    }

    /// Forwards what was taken in, one subscriber after another, until `tx` has `most` datagrams or somewhat more. `true`: it has,
    /// and there is more to come once it is empty again.
    pub fn forward(&mut self, now: Time, tx: &mut TransmitQueue, most: usize) -> bool {
        while self.machine.is_pending() {
            let mut turn = Turn {
                now,
                tx,
                counters: &mut self.counters,
            };
            let machine = &mut self.machine;
            let more = catch_unwind(AssertUnwindSafe(|| machine.forward(most, &mut turn)));
            match more {
                Ok(false) => {}
                Ok(true) => return true,
                // What else was taken in goes on; what is the closed room's finds its track gone.
                Err(_) => {
                    if let Some(room) = self.machine.abandon_run() {
                        self.close_panicked(now, tx, &room);
                    }
                }
            }
        }
        self.settle(now, tx);
        false
    }

    /// Does what datagrams have brought about in rooms, once all media is forwarded.
    fn settle(&mut self, now: Time, tx: &mut TransmitQueue) {
        if self.machine.is_pending() {
            return;
        }
        self.drain_machine(now, tx);
        if !self.unlinked.is_empty() {
            self.carry_links(now, tx);
        }
    }

    /// A datagram that was longer than a datagram may be.
    pub fn handle_truncated(&mut self) {
        self.counters.datagrams_in += 1;
        self.counters.drop_in(DropReason::BadLength);
    }
}
