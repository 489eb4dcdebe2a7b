//! Retransmission payloads (RFC 4588 section 4): two bytes of original sequence number before the payload.

use crate::wire::bytes::{put, u16_at};

/// Bytes a retransmission's payload is longer than the original's.
pub const RTX_OSN_BYTES: usize = 2;

/// Original sequence number and original payload of an RTX packet's payload (padding already cut).
/// `None` when it holds no original, as in the padding packets senders probe with.
#[inline]
pub fn split_rtx(payload: &[u8]) -> Option<(u16, &[u8])> {
    let sequence = u16_at(payload, 0)?;
    payload.get(RTX_OSN_BYTES..).map(|rest| (sequence, rest))
}

/// Writes an RTX payload: the original sequence number `sequence`, then the original `payload`.
/// Returns its length, or `None` when `out` is too small.
#[inline]
pub fn write_rtx_payload(out: &mut [u8], sequence: u16, payload: &[u8]) -> Option<usize> {
    let len = RTX_OSN_BYTES + payload.len();
    if out.len() < len {
        return None;
    }
    put(out, 0, &sequence.to_be_bytes())?;
    put(out, RTX_OSN_BYTES, payload)?;
    Some(len)
}
