//! Writing RTP headers with extension elements into a slot (RFC 3550 section 5.1, RFC 8285).
//!
//! One-byte elements are used unless an element does not fit them (id over 14, or a value that is empty or
//! longer than 16 bytes): browsers that offer `extmap-allow-mixed` read both, and the shorter form is what
//! everybody reads. Nothing is written past the returned length.

use super::extension::{PROFILE_ONE_BYTE, PROFILE_TWO_BYTE};
use crate::wire::bytes::put;

/// Elements one header can carry.
pub const ELEMENTS_MAX: usize = 12;

/// Fixed fields of a header to write. CSRCs are never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeaderFields {
    /// M bit.
    pub marker: bool,
    /// P bit: the caller appends padding whose last byte counts it.
    pub padding: bool,
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media timestamp.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
}

/// A header to write: fixed fields and up to [`ELEMENTS_MAX`] extension elements, borrowed until written.
#[derive(Debug, Clone, Copy)]
pub struct HeaderWriter<'a> {
    fields: HeaderFields,
    elements: [(u8, &'a [u8]); ELEMENTS_MAX],
    count: usize,
    two_byte: bool,
}

impl<'a> HeaderWriter<'a> {
    /// A header without extensions.
    #[inline]
    pub fn new(fields: HeaderFields) -> Self {
        Self {
            fields,
            elements: [(0, &[]); ELEMENTS_MAX],
            count: 0,
            two_byte: false,
        }
    }

    /// Adds an element. `false`, and nothing added, for id 0, a value over 255 bytes or a full list.
    #[inline]
    pub fn push(&mut self, id: u8, value: &'a [u8]) -> bool {
        if id == 0 || value.len() > 255 {
            return false;
        }
        let Some(slot) = self.elements.get_mut(self.count) else {
            return false;
        };
        *slot = (id, value);
        self.count += 1;
        self.two_byte |= id > 14 || value.is_empty() || value.len() > 16;
        true
    }

    /// Bytes [`write`](Self::write) will need.
    #[inline]
    pub fn len(&self) -> usize {
        if self.count == 0 {
            return 12;
        }
        16 + self.elements_len().next_multiple_of(4)
    }

    /// Never: a header has 12 bytes at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    #[inline]
    fn used(&self) -> &[(u8, &'a [u8])] {
        self.elements.get(..self.count).unwrap_or(&[])
    }

    #[inline]
    fn elements_len(&self) -> usize {
        let head = if self.two_byte { 2 } else { 1 };
        self.used()
            .iter()
            .map(|(_, value)| head + value.len())
            .sum()
    }

    /// Writes the header at the start of `slot` and returns its length, or `None` (nothing written) when it
    /// does not fit.
    #[inline]
    pub fn write(&self, slot: &mut [u8]) -> Option<usize> {
        let len = self.len();
        let out = slot.get_mut(..len)?;
        let fields = &self.fields;
        let [s0, s1] = fields.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = fields.timestamp.to_be_bytes();
        let [c0, c1, c2, c3] = fields.ssrc.to_be_bytes();
        let flags = 0x80 | (u8::from(fields.padding) << 5) | (u8::from(self.count > 0) << 4);
        let second = (u8::from(fields.marker) << 7) | (fields.payload_type & 0x7f);
        let fixed = [flags, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3];
        put(out, 0, &fixed)?;
        if self.count > 0 {
            self.write_elements(out)?;
        }
        Some(len)
    }

    #[inline]
    fn write_elements(&self, out: &mut [u8]) -> Option<()> {
        let profile = match self.two_byte {
            true => PROFILE_TWO_BYTE,
            false => PROFILE_ONE_BYTE,
        };
        let words = (out.len() - 16) / 4;
        put(out, 12, &profile.to_be_bytes())?;
        put(out, 14, &(words as u16).to_be_bytes())?;
        let mut at = 16;
        for (id, value) in self.used() {
            if self.two_byte {
                put(out, at, &[*id, value.len() as u8])?;
                at += 2;
            } else {
                put(out, at, &[(id << 4) | (value.len() as u8 - 1)])?;
                at += 1;
            }
            put(out, at, value)?;
            at += value.len();
        }
        out.get_mut(at..)?.fill(0);
        Some(())
    }
}

/// Writes a packet with no payload and `padding` (1–255) bytes of padding, for probing and for keeping a
/// stream's sequence numbers going (RFC 3550 section 5.1). The P bit is set whatever `header` says.
/// Returns its length, or `None` when it does not fit or `padding` is 0.
pub fn write_padding_packet(
    slot: &mut [u8],
    header: &HeaderWriter<'_>,
    padding: u8,
) -> Option<usize> {
    let mut header = *header;
    header.fields.padding = true;
    let start = header.len();
    let len = start + usize::from(padding);
    if padding == 0 || slot.len() < len {
        return None;
    }
    header.write(slot)?;
    let (count, zeros) = slot.get_mut(start..len)?.split_last_mut()?;
    zeros.fill(0);
    *count = padding;
    Some(len)
}
