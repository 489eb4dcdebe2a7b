//! Packets of one UpTrack kept for retransmission: payload bytes once, for all subscribers.
//!
//! One byte ring and one index ring, both of fixed size and allocated by the first packet: an insertion overwrites
//! the oldest bytes, never allocates, and costs one copy. Invariant: a packet that is found is whole and unchanged.

use super::fields::PacketFields;

/// A packet found in the cache.
#[derive(Debug, Clone, Copy)]
pub struct CachedPacket<'a> {
    /// As it was when it arrived.
    pub fields: &'a PacketFields,
    /// Dependency descriptor extension element, empty if there was none.
    pub descriptor: &'a [u8],
    /// Payload, without padding and, if it came by RTX, without the original sequence number.
    pub payload: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    fields: PacketFields,
    /// Position of the first byte, counted since the cache began.
    start: u64,
    descriptor_len: u16,
    payload_len: u16,
}

/// The cache. Bounded by `packets` and `bytes`; whichever is reached first evicts the oldest.
#[derive(Debug)]
pub struct RetransmissionCache {
    entries: Box<[Option<Entry>]>,
    bytes: Box<[u8]>,
    /// Bytes written since the cache began, with what was skipped at the end of the ring.
    written: u64,
    packets_max: usize,
    bytes_max: usize,
}

impl RetransmissionCache {
    /// A cache of at most `packets_max` packets (a power of two) and `bytes_max` bytes. Allocates nothing yet.
    pub fn new(packets_max: usize, bytes_max: usize) -> Self {
        Self {
            entries: Box::default(),
            bytes: Box::default(),
            written: 0,
            packets_max,
            bytes_max,
        }
    }

    /// Keeps a packet under `fields.sequence`. Packets older than the ring, or larger than it, are not kept.
    pub fn insert(&mut self, fields: &PacketFields, descriptor: &[u8], payload: &[u8]) {
        let len = descriptor.len() + payload.len();
        if len > self.bytes_max || payload.len() > usize::from(u16::MAX) {
            return;
        }
        if self.entries.is_empty() {
            self.entries = vec![None; self.packets_max].into_boxed_slice();
            self.bytes = vec![0; self.bytes_max].into_boxed_slice();
        }
        let start = self.make_room(len);
        let at = (start % self.bytes_max as u64) as usize;
        let Some(room) = self.bytes.get_mut(at..at + len) else {
            return;
        };
        let index = (fields.sequence % self.packets_max as u64) as usize;
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        if entry.is_some_and(|old| old.fields.sequence > fields.sequence) {
            return;
        }
        let (first, second) = room.split_at_mut(descriptor.len());
        first.copy_from_slice(descriptor);
        second.copy_from_slice(payload);
        *entry = Some(Entry {
            fields: *fields,
            start,
            descriptor_len: descriptor.len() as u16,
            payload_len: payload.len() as u16,
        });
        self.written = start + len as u64;
    }

    /// The packet with this extended sequence number, if it is still there.
    pub fn get(&self, sequence: u64) -> Option<CachedPacket<'_>> {
        let index = (sequence % self.packets_max as u64) as usize;
        let entry = self.entries.get(index)?.as_ref()?;
        let whole = entry.start + self.bytes_max as u64 >= self.written;
        if entry.fields.sequence != sequence || !whole {
            return None;
        }
        let at = (entry.start % self.bytes_max as u64) as usize;
        let middle = at + usize::from(entry.descriptor_len);
        let end = middle + usize::from(entry.payload_len);
        Some(CachedPacket {
            fields: &entry.fields,
            descriptor: self.bytes.get(at..middle)?,
            payload: self.bytes.get(middle..end)?,
        })
    }

    /// Forgets every packet; keeps the memory.
    pub fn clear(&mut self) {
        self.entries.fill(None);
    }

    /// Position of the next packet: contiguous, so the end of the ring may be skipped.
    fn make_room(&self, len: usize) -> u64 {
        let at = (self.written % self.bytes_max as u64) as usize;
        if at + len <= self.bytes_max {
            self.written
        } else {
            self.written + (self.bytes_max - at) as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(sequence: u64) -> PacketFields {
        PacketFields::sample(sequence)
    }

    #[test]
    fn packets_come_back_whole_until_their_bytes_are_overwritten() {
        let mut cache = RetransmissionCache::new(16, 1000);
        for sequence in 0..100u64 {
            let len = 40 + (sequence as usize * 37) % 60;
            cache.insert(&fields(sequence), &[1, 2], &vec![sequence as u8; len]);
            let mut found = 0;
            for old in 0..=sequence {
                if let Some(packet) = cache.get(old) {
                    let len = 40 + (old as usize * 37) % 60;
                    assert_eq!(packet.payload, vec![old as u8; len]);
                    assert_eq!(packet.descriptor, [1, 2]);
                    found += 1;
                }
            }
            assert!(
                found >= (sequence as usize + 1).min(8),
                "{sequence}: {found}"
            );
        }
    }

    #[test]
    fn slots_are_reused_by_newer_packets_only() {
        let mut cache = RetransmissionCache::new(4, 1000);
        cache.insert(&fields(9), &[], b"nine");
        cache.insert(&fields(5), &[], b"five");
        assert!(cache.get(5).is_none());
        assert_eq!(cache.get(9).unwrap().payload, b"nine");
        cache.insert(&fields(13), &[], b"thirteen");
        assert!(cache.get(9).is_none());
        cache.insert(&fields(14), &[], &[0; 1001]);
        assert!(cache.get(14).is_none());
        cache.clear();
        assert!(cache.get(13).is_none());
    }

    #[test]
    fn nothing_is_allocated_before_the_first_packet() {
        let cache = RetransmissionCache::new(512, 1 << 20);
        assert!(cache.bytes.is_empty() && cache.get(3).is_none());
    }
}
