//! Buffers the kernel picks from (io_uring_register_buf_ring(3)): fixed memory, each is the kernel's or ours.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// Alignment of the ring's memory.
const PAGE: usize = 4096;

/// A ring of buffers and their memory.
pub struct Buffers {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    memory: Box<[u8]>,
    bytes_each: usize,
    count: u16,
    tail: u16,
}

// SAFETY: the entries are this value's own allocation, which only it and the kernel use.
unsafe impl Send for Buffers {}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Buffers {
    /// `count` buffers, a power of two, of `bytes_each`; all are the kernel's once they are [registered](Self::register).
    pub fn new(count: u16, bytes_each: usize) -> Self {
        let entries = usize::from(count) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(entries, PAGE).unwrap_or(Layout::new::<u8>());
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else {
            handle_alloc_error(layout)
        };
        Self {
            entries,
            layout,
            memory: vec![0; usize::from(count) * bytes_each].into_boxed_slice(),
            bytes_each,
            count,
            tail: 0,
        }
    }

    /// Gives all buffers to `ring` as group `group`. Before these go, the requests that pick from them must have ended.
    pub fn register(&mut self, ring: &IoUring, group: u16) -> io::Result<()> {
        let address = self.entries.as_ptr() as u64;
        // SAFETY: the memory holds `count` entries, is aligned to a page, and outlives the requests that use it,
        // as the caller sees to; once it is free, the ring has its own hold on the pages.
        unsafe {
            let submitter = ring.submitter();
            submitter.register_buf_ring_with_flags(address, self.count, group, 0)?;
        }
        for buffer in 0..self.count {
            self.give(buffer);
        }
        self.publish();
        Ok(())
    }

    /// Where the bytes of `buffer` begin among all.
    pub fn start(&self, buffer: u16) -> usize {
        usize::from(buffer) * self.bytes_each
    }

    /// Bytes of all buffers.
    pub fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// Bytes of `buffer`.
    pub fn bytes(&self, buffer: u16) -> Option<&[u8]> {
        let start = self.start(buffer);
        self.memory.get(start..start + self.bytes_each)
    }

    /// Bytes from `start` on, counted from the first buffer's.
    pub fn slice(&mut self, start: usize, len: usize) -> Option<&mut [u8]> {
        self.memory.get_mut(start..start + len)
    }

    /// Puts `buffer`, which is ours, back; the kernel sees it after [`publish`](Self::publish).
    pub fn give(&mut self, buffer: u16) {
        if buffer >= self.count {
            return;
        }
        let address = self.memory.as_ptr() as u64 + self.start(buffer) as u64;
        let place = self.tail & (self.count - 1);
        // SAFETY: the place is one of the `count` entries, and not one that the kernel reads: it reads those up to the tail
        // it was last told, and there are never more buffers than places. The tail of the ring, which shares the memory of
        // entry 0, is in a field that none of the setters writes.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(usize::from(place));
            entry.set_addr(address);
            entry.set_len(self.bytes_each as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Tells the kernel of the buffers that were put back.
    pub fn publish(&mut self) {
        // SAFETY: the tail lies in the first entry, is aligned as a `u16`, and is shared with the kernel as an atomic.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr());
            AtomicU16::from_ptr(tail.cast_mut()).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) };
    }
}
