//! The outgoing batch: reserve a slot, write into it, commit it; `io` flushes once per batch.
//!
//! Slots live in one arena, allocated once. Invariant: `committed ≤ TRANSMIT_SLOTS`; a reserved slot that is
//! not committed is free again. Nothing here allocates after construction.

use std::net::SocketAddr;

use crate::limits::{DATAGRAM_BYTES_MAX, TRANSMIT_SLOTS};

/// Where one committed datagram is and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// Destination.
    pub to: SocketAddr,
    /// Bytes used of the slot.
    pub len: u16,
}

/// Queue of outgoing datagrams of one shard.
#[derive(Debug)]
pub struct TransmitQueue {
    arena: Box<[u8]>,
    meta: Vec<Transmit>,
    slots: usize,
}

impl Default for TransmitQueue {
    fn default() -> Self {
        Self::with_slots(TRANSMIT_SLOTS)
    }
}

impl TransmitQueue {
    /// A queue of `slots` slots of [`DATAGRAM_BYTES_MAX`] bytes each.
    pub fn with_slots(slots: usize) -> Self {
        Self {
            arena: vec![0; slots * DATAGRAM_BYTES_MAX].into_boxed_slice(),
            meta: Vec::with_capacity(slots),
            slots,
        }
    }

    /// Memory of all slots.
    pub fn memory(&self) -> &[u8] {
        &self.arena
    }

    /// Slots that can still be reserved.
    pub fn free(&self) -> usize {
        self.slots - self.meta.len()
    }

    /// The next slot, [`DATAGRAM_BYTES_MAX`] bytes, or `None` when the queue is full.
    /// Its content is whatever was there before: write before you commit.
    pub fn reserve(&mut self) -> Option<&mut [u8]> {
        if self.meta.len() == self.slots {
            return None;
        }
        let start = self.meta.len() * DATAGRAM_BYTES_MAX;
        self.arena.get_mut(start..start + DATAGRAM_BYTES_MAX)
    }

    /// Makes the slot of the last [`reserve`](Self::reserve) an outgoing datagram of `len` bytes.
    /// A `len` over the slot size or a full queue commits nothing.
    pub fn commit(&mut self, to: SocketAddr, len: usize) {
        if len == 0 || len > DATAGRAM_BYTES_MAX || self.meta.len() == self.slots {
            return;
        }
        self.meta.push(Transmit {
            to,
            len: len as u16,
        });
    }

    /// Copies `bytes` into a slot. `false` when the queue is full or `bytes` too long.
    pub fn push(&mut self, to: SocketAddr, bytes: &[u8]) -> bool {
        let Some(slot) = self.reserve() else {
            return false;
        };
        let Some(slot) = slot.get_mut(..bytes.len()) else {
            return false;
        };
        slot.copy_from_slice(bytes);
        self.commit(to, bytes.len());
        !bytes.is_empty()
    }

    /// Committed datagrams.
    pub fn len(&self) -> usize {
        self.meta.len()
    }

    /// Whether nothing is committed.
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty()
    }

    /// Committed datagrams in order of commit.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SocketAddr, &[u8])> {
        self.meta
            .iter()
            .zip(self.arena.chunks_exact(DATAGRAM_BYTES_MAX))
            .map(|(t, slot)| (t.to, &slot[..usize::from(t.len)]))
    }

    /// Committed datagram `index`, in order of commit.
    pub fn get(&self, index: usize) -> Option<(SocketAddr, &[u8])> {
        let transmit = self.meta.get(index)?;
        let start = index * DATAGRAM_BYTES_MAX;
        let bytes = self.arena.get(start..start + usize::from(transmit.len))?;
        Some((transmit.to, bytes))
    }

    /// Forgets all committed datagrams.
    pub fn clear(&mut self) {
        self.meta.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserve_commit_clear() {
        let to: SocketAddr = ([127, 0, 0, 1], 9).into();
        let mut queue = TransmitQueue::with_slots(2);
        queue.reserve().unwrap()[..3].copy_from_slice(b"abc");
        queue.commit(to, 3);
        assert!(queue.push(to, b"de"));
        assert!(queue.reserve().is_none());
        assert!(!queue.push(to, b"f"));
        let all: Vec<_> = queue.iter().map(|(_, b)| b.to_vec()).collect();
        assert_eq!(all, [b"abc".to_vec(), b"de".to_vec()]);
        queue.clear();
        assert_eq!((queue.len(), queue.free()), (0, 2));
    }

    #[test]
    fn uncommitted_slot_is_reused_and_oversize_refused() {
        let to: SocketAddr = ([127, 0, 0, 1], 9).into();
        let mut queue = TransmitQueue::with_slots(1);
        queue.reserve().unwrap()[0] = 1;
        assert!(!queue.push(to, &[0; DATAGRAM_BYTES_MAX + 1]));
        queue.commit(to, DATAGRAM_BYTES_MAX + 1);
        assert!(queue.is_empty());
    }
}
