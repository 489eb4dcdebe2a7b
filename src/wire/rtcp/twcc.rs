//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).
//!
//! ```text
//! base sequence (16) | status count (16) | reference time (24, 64 ms) | feedback count (8)
//! status chunks: 0 S SSLLLLLLLLLLLLL run length, 10 + 14 one-bit, 11 + 7 two-bit symbols
//! deltas: 1 byte (0..255) or 2 bytes (signed), 250 µs each, in the order of received packets
//! ```
//! Invariant of the view: chunks cover the status count and deltas cover the received packets, checked once.

use super::writer::write_feedback;
use super::{RtcpError, feedback_type, packet_type};
use crate::limits::TWCC_STATUSES_MAX;
use crate::time::Time;
use crate::wire::bytes::{put, u16_at, u24_at};

/// Unit of arrival deltas, µs.
pub const TWCC_TICK_US: u64 = 250;
/// Ticks of one reference-time unit (64 ms).
const TICKS_PER_REFERENCE: u64 = 256;
/// Where the chunks begin, from the start of the packet.
const CHUNKS_AT: usize = 20;

/// Symbol: not received.
const LOST: u8 = 0;
/// Symbol: received, delta of one byte.
const SMALL: u8 = 1;
/// Symbol: received, delta of two bytes.
const LARGE: u8 = 2;

/// A received feedback packet.
#[derive(Debug, Clone, Copy)]
pub struct TransportFeedback<'a> {
    /// Who received.
    pub sender_ssrc: u32,
    /// A source of the sender; it only routes.
    pub media_ssrc: u32,
    /// Transport-wide sequence number of the first status.
    pub base_sequence: u16,
    /// Statuses that follow.
    pub status_count: u16,
    /// Receiver's clock before the first delta, in units of 64 ms, 24 bits signed.
    pub reference_time: i32,
    /// Running number of this feedback, wrapping.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// What the receiver says about one transport-wide sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwccStatus {
    /// Transport-wide sequence number.
    pub sequence: u16,
    /// Ticks of 250 µs since the previous received packet (the first: since the reference time), or `None` when
    /// the packet was not received.
    pub delta_ticks: Option<i16>,
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(
        sender_ssrc: u32,
        media_ssrc: u32,
        fci: &'a [u8],
    ) -> Result<Self, RtcpError> {
        let fixed = || {
            Some((
                u16_at(fci, 0)?,
                u16_at(fci, 2)?,
                u24_at(fci, 4)?,
                *fci.get(7)?,
            ))
        };
        let (base_sequence, status_count, reference, feedback_count) =
            fixed().ok_or(RtcpError::Truncated)?;
        if usize::from(status_count) > TWCC_STATUSES_MAX {
            return Err(RtcpError::BadCount);
        }
        let after = fci.get(8..).unwrap_or(&[]);
        let (chunk_bytes, delta_bytes) = measure(after, status_count).ok_or(RtcpError::BadCount)?;
        let (chunks, deltas) = after
            .split_at_checked(chunk_bytes)
            .ok_or(RtcpError::BadCount)?;
        if deltas.len() < delta_bytes {
            return Err(RtcpError::BadCount);
        }
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            base_sequence,
            status_count,
            reference_time: ((reference << 8) as i32) >> 8,
            feedback_count,
            chunks,
            deltas,
        })
    }

    /// A status for each sequence number from `base_sequence` on, `status_count` of them.
    pub fn statuses(&self) -> TwccStatuses<'a> {
        TwccStatuses {
            sequence: self.base_sequence,
            left: self.status_count,
            symbols: Symbols::new(self.chunks),
            deltas: self.deltas,
        }
    }
}

/// Bytes of the chunks that cover `status_count` statuses, and of the deltas they announce.
fn measure(bytes: &[u8], status_count: u16) -> Option<(usize, usize)> {
    let mut left = status_count;
    let (mut chunk_bytes, mut delta_bytes) = (0, 0);
    while left > 0 {
        let chunk = u16_at(bytes, chunk_bytes)?;
        chunk_bytes += 2;
        if chunk & 0x8000 == 0 {
            let run = (chunk & 0x1fff).min(left);
            delta_bytes += usize::from(run) * delta_len((chunk >> 13) as u8 & 3);
            left -= run;
            if run == 0 {
                return None; // A run of nothing never ends.
            }
            continue;
        }
        let mut symbols = Symbols::vector(chunk);
        while left > 0 && symbols.run > 0 {
            delta_bytes += delta_len(symbols.take());
            left -= 1;
        }
    }
    Some((chunk_bytes, delta_bytes))
}

/// Bytes of the delta of `symbol`. The reserved symbol 3 has none and counts as lost.
const fn delta_len(symbol: u8) -> usize {
    match symbol {
        SMALL => 1,
        LARGE => 2,
        _ => 0,
    }
}

/// Walks status chunks symbol by symbol.
#[derive(Debug, Clone)]
struct Symbols<'a> {
    chunks: &'a [u8],
    /// Symbols left of the current chunk.
    run: u16,
    /// Current chunk: the repeated symbol of a run, or the symbols yet to come, first one on top.
    bits: u16,
    /// Bits per symbol of a vector; 0 for a run.
    width: u8,
}

impl<'a> Symbols<'a> {
    fn new(chunks: &'a [u8]) -> Self {
        Self {
            chunks,
            run: 0,
            bits: 0,
            width: 0,
        }
    }

    fn vector(chunk: u16) -> Symbols<'static> {
        let two_bit = chunk & 0x4000 != 0;
        Symbols {
            chunks: &[],
            run: if two_bit { 7 } else { 14 },
            bits: chunk << 2,
            width: if two_bit { 2 } else { 1 },
        }
    }

    /// Next symbol of the current chunk.
    fn take(&mut self) -> u8 {
        self.run = self.run.saturating_sub(1);
        match self.width {
            0 => self.bits as u8,
            width => {
                let symbol = self.bits >> (16 - width);
                self.bits <<= width;
                symbol as u8
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        if self.run == 0 {
            let chunk = u16_at(self.chunks, 0)?;
            let rest = self.chunks.get(2..)?;
            *self = match chunk & 0x8000 {
                0 => Symbols {
                    chunks: rest,
                    run: chunk & 0x1fff,
                    bits: (chunk >> 13) & 3,
                    width: 0,
                },
                _ => Symbols {
                    chunks: rest,
                    ..Symbols::vector(chunk)
                },
            };
        }
        (self.run > 0).then(|| self.take())
    }
}

/// Iterator of [`TransportFeedback::statuses`].
#[derive(Debug, Clone)]
pub struct TwccStatuses<'a> {
    sequence: u16,
    left: u16,
    symbols: Symbols<'a>,
    deltas: &'a [u8],
}

impl Iterator for TwccStatuses<'_> {
    type Item = TwccStatus;

    fn next(&mut self) -> Option<TwccStatus> {
        self.left = self.left.checked_sub(1)?;
        let symbol = self.symbols.next()?;
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let (bytes, rest) = self.deltas.split_at_checked(delta_len(symbol))?;
        self.deltas = rest;
        let delta_ticks = match *bytes {
            [small] => Some(i16::from(small)),
            [high, low] => Some(i16::from_be_bytes([high, low])),
            _ => None,
        };
        Some(TwccStatus {
            sequence,
            delta_ticks,
        })
    }
}

/// A packet that arrived, for [`write_transport_feedback`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Extended transport-wide sequence number; its low 16 bits are on the wire.
    pub sequence: u64,
    /// When it arrived.
    pub at: Time,
}

/// What [`write_transport_feedback`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwccWritten {
    /// Bytes of the packet.
    pub len: usize,
    /// Arrivals the packet tells; the caller sends the others in another packet.
    pub consumed: usize,
}

/// Collects symbols into chunks and writes them as they fill up.
struct ChunkWriter {
    /// Where the next chunk goes.
    at: usize,
    pending: [u8; 14],
    /// Symbols pending; beyond 14 only while all are equal (a run).
    count: u16,
    all_same: bool,
    has_large: bool,
}

impl ChunkWriter {
    const RUN_MAX: u16 = 0x1fff;

    fn new() -> Self {
        Self {
            at: CHUNKS_AT,
            pending: [0; 14],
            count: 0,
            all_same: true,
            has_large: false,
        }
    }

    fn first(&self) -> u8 {
        let [first, ..] = self.pending;
        first
    }

    /// Whether `symbol` can join the pending chunk.
    fn fits(&self, symbol: u8) -> bool {
        if self.count < 7 {
            return true;
        }
        if self.all_same && symbol == self.first() {
            return self.count < Self::RUN_MAX;
        }
        self.count < 14 && !self.has_large && symbol != LARGE
    }

    /// Adds a symbol, writing a chunk when it cannot join.
    fn push(&mut self, out: &mut [u8], symbol: u8) -> Option<()> {
        while !self.fits(symbol) {
            self.emit(out, false)?;
        }
        self.all_same = self.count == 0 || (self.all_same && symbol == self.first());
        self.has_large |= symbol == LARGE;
        if let Some(slot) = self.pending.get_mut(usize::from(self.count)) {
            *slot = symbol;
        }
        self.count += 1;
        Some(())
    }

    /// Writes one chunk of the pending symbols; two-bit symbols may leave up to seven pending. Only the `last`
    /// chunk of a packet may be a vector with room left: the status count cuts it.
    fn emit(&mut self, out: &mut [u8], last: bool) -> Option<()> {
        if self.all_same {
            let chunk = (u16::from(self.first()) << 13) | self.count;
            return self.put(out, chunk, self.count);
        }
        if !self.has_large && (last || self.count == 14) {
            let ones = self.pack(14, 1);
            return self.put(out, 0x8000 | ones, self.count);
        }
        let twos = self.pack(7, 2);
        self.put(out, 0xc000 | twos, self.count.min(7))
    }

    /// The first `symbols` pending ones, `width` bits each, first one on top of 14 bits.
    fn pack(&self, symbols: usize, width: usize) -> u16 {
        let taken = self.pending.iter().take(symbols).enumerate();
        taken
            .filter(|(i, _)| *i < usize::from(self.count))
            .fold(0, |acc, (i, symbol)| {
                acc | (u16::from(*symbol) << (14 - width * (i + 1)))
            })
    }

    fn put(&mut self, out: &mut [u8], chunk: u16, taken: u16) -> Option<()> {
        put(out, self.at, &chunk.to_be_bytes())?;
        self.at += 2;
        let left = self.count - taken;
        if left > 0 {
            self.pending.rotate_left(usize::from(taken));
        }
        self.count = left;
        let kept = self.pending.get(..usize::from(left)).unwrap_or(&[]);
        self.has_large = kept.contains(&LARGE);
        self.all_same = kept.iter().all(|symbol| *symbol == self.first());
        Some(())
    }

    /// Writes what is pending.
    fn finish(&mut self, out: &mut [u8]) -> Option<()> {
        while self.count > 0 {
            self.emit(out, true)?;
        }
        Some(())
    }

    /// Upper bound of the bytes of all chunks, should nothing more be pushed.
    fn end_bound(&self) -> usize {
        self.at + 4
    }
}

/// Writes feedback about `arrivals`, sorted by sequence number without repetitions, at the start of `out`.
///
/// Sequence numbers from `base_sequence` to the first arrival, and between arrivals, are reported as not received.
/// As many arrivals as fit are told: an arrival that does not fit `out`, is over 8 s from the one before it, or
/// comes after [`TWCC_STATUSES_MAX`] statuses ends the packet. `None` when not even one fits.
/// `feedback_count` is the running number of the packet (low 8 bits of the caller's counter).
pub fn write_transport_feedback(
    out: &mut [u8],
    (sender_ssrc, media_ssrc): (u32, u32),
    feedback_count: u8,
    base_sequence: u64,
    arrivals: &[Arrival],
) -> Option<TwccWritten> {
    let first = arrivals.first()?;
    let reference = first.at.as_micros() / TWCC_TICK_US / TICKS_PER_REFERENCE;
    let reference_ticks = reference * TICKS_PER_REFERENCE;
    let mut chunks = ChunkWriter::new();
    let mut delta_bytes = 0;
    let mut next = base_sequence;
    let mut last_ticks = reference_ticks;
    let mut consumed = 0;
    for arrival in arrivals {
        let Some(symbol) = symbol_of(arrival, last_ticks) else {
            break;
        };
        let Some(gap) = arrival.sequence.checked_sub(next) else {
            break;
        };
        // Each pushed symbol starts one chunk at most; runs of losses merge.
        let gap_bytes = 2 * (gap as usize).min(2 + gap as usize / 0x1fff + 1);
        let end = chunks.end_bound() + gap_bytes + 2 + delta_bytes + delta_len(symbol);
        let statuses = arrival.sequence - base_sequence + 1;
        if end.next_multiple_of(4) > out.len() || statuses > TWCC_STATUSES_MAX as u64 {
            break;
        }
        for _ in 0..gap {
            chunks.push(out, LOST)?;
        }
        chunks.push(out, symbol)?;
        delta_bytes += delta_len(symbol);
        last_ticks = arrival.at.as_micros() / TWCC_TICK_US;
        next = arrival.sequence + 1;
        consumed += 1;
    }
    if consumed == 0 {
        return None;
    }
    chunks.finish(out)?;
    let told = arrivals.get(..consumed)?;
    let end = write_deltas(out, chunks.at, reference_ticks, told)?;
    let len = end.next_multiple_of(4);
    out.get_mut(end..len)?.fill(0);
    let kind = (packet_type::RTPFB, feedback_type::TWCC);
    write_feedback(out, kind, sender_ssrc, media_ssrc, len)?;
    put(out, 12, &(base_sequence as u16).to_be_bytes())?;
    put(out, 14, &((next - base_sequence) as u16).to_be_bytes())?;
    let [.., r0, r1, r2] = reference.to_be_bytes();
    put(out, 16, &[r0, r1, r2, feedback_count])?;
    Some(TwccWritten { len, consumed })
}

/// Delta of `arrival` in ticks, if it fits 16 bits.
fn delta_of(arrival: &Arrival, last_ticks: u64) -> Option<i16> {
    let ticks = arrival.at.as_micros() / TWCC_TICK_US;
    i16::try_from(ticks.wrapping_sub(last_ticks) as i64).ok()
}

fn symbol_of(arrival: &Arrival, last_ticks: u64) -> Option<u8> {
    match delta_of(arrival, last_ticks)? {
        0..=255 => Some(SMALL),
        _ => Some(LARGE),
    }
}

fn write_deltas(
    out: &mut [u8],
    at: usize,
    reference_ticks: u64,
    told: &[Arrival],
) -> Option<usize> {
    let mut at = at;
    let mut last_ticks = reference_ticks;
    for arrival in told {
        let delta = delta_of(arrival, last_ticks)?;
        match u8::try_from(delta) {
            Ok(small) => {
                put(out, at, &[small])?;
                at += 1;
            }
            Err(_) => {
                put(out, at, &delta.to_be_bytes())?;
                at += 2;
            }
        }
        last_ticks = arrival.at.as_micros() / TWCC_TICK_US;
    }
    Some(at)
}
