//! Writing RTCP packets into a caller's slot, and several of them into one compound.
//!
//! Each `write_*` writes one packet at the start of `out` and returns its length, a multiple of four, or
//! `None` when it does not fit (what is in `out` is then unspecified).

use super::views::{BLOCK_BYTES, ReportBlock, SenderInfo};
use super::{feedback_type, packet_type};
use crate::wire::bytes::put;

/// Report blocks, sources or chunks one packet can count.
const COUNT_MAX: usize = 31;

/// Writes the common header of a packet of `len` bytes (a multiple of four).
pub(super) fn write_header(out: &mut [u8], count: u8, packet_type: u8, len: usize) -> Option<()> {
    if out.len() < len {
        return None;
    }
    let words = u16::try_from(len / 4 - 1).ok()?.to_be_bytes();
    put(out, 0, &[0x80 | count, packet_type])?;
    put(out, 2, &words)
}

/// Several packets in one datagram.
#[derive(Debug)]
pub struct CompoundWriter<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> CompoundWriter<'a> {
    /// An empty compound over `out`.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Appends what `write` writes, e.g. `|out| write_pli(out, a, b)`. `false`, and the compound is as before,
    /// when it did not fit.
    pub fn push(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        let written = self.out.get_mut(self.len..).and_then(write);
        self.len += written.unwrap_or(0);
        written.is_some()
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn write_blocks(out: &mut [u8], at: usize, blocks: &[ReportBlock]) -> Option<()> {
    for (i, block) in blocks.iter().enumerate() {
        block.write(out, at + i * BLOCK_BYTES)?;
    }
    Some(())
}

/// Sender report of `ssrc` (RFC 3550 section 6.4.1). At most 31 `blocks`, else `None`.
pub fn write_sender_report(
    out: &mut [u8],
    ssrc: u32,
    info: &SenderInfo,
    blocks: &[ReportBlock],
) -> Option<usize> {
    let len = 28 + blocks.len() * BLOCK_BYTES;
    let count = u8::try_from(blocks.len())
        .ok()
        .filter(|c| usize::from(*c) <= COUNT_MAX)?;
    write_header(out, count, packet_type::SR, len)?;
    put(out, 4, &ssrc.to_be_bytes())?;
    put(out, 8, &info.ntp.to_be_bytes())?;
    put(out, 16, &info.rtp_timestamp.to_be_bytes())?;
    put(out, 20, &info.packets.to_be_bytes())?;
    put(out, 24, &info.octets.to_be_bytes())?;
    write_blocks(out, 28, blocks)?;
    Some(len)
}

/// Receiver report of `ssrc` (RFC 3550 section 6.4.2). At most 31 `blocks`, else `None`; none is fine.
pub fn write_receiver_report(out: &mut [u8], ssrc: u32, blocks: &[ReportBlock]) -> Option<usize> {
    let len = 8 + blocks.len() * BLOCK_BYTES;
    let count = u8::try_from(blocks.len())
        .ok()
        .filter(|c| usize::from(*c) <= COUNT_MAX)?;
    write_header(out, count, packet_type::RR, len)?;
    put(out, 4, &ssrc.to_be_bytes())?;
    write_blocks(out, 8, blocks)?;
    Some(len)
}

/// Source description with the CNAME of `ssrc` (RFC 3550 section 6.5.1). `None` when `cname` exceeds 255 bytes.
pub fn write_sdes_cname(out: &mut [u8], ssrc: u32, cname: &[u8]) -> Option<usize> {
    const CNAME: u8 = 1;
    let name_len = u8::try_from(cname.len()).ok()?;
    let end = 10 + cname.len();
    let len = (end + 1).next_multiple_of(4);
    write_header(out, 1, packet_type::SDES, len)?;
    put(out, 4, &ssrc.to_be_bytes())?;
    put(out, 8, &[CNAME, name_len])?;
    put(out, 10, cname)?;
    out.get_mut(end..len)?.fill(0);
    Some(len)
}

/// Goodbye of `ssrcs` (RFC 3550 section 6.6), at most 31, else `None`.
pub fn write_bye(out: &mut [u8], ssrcs: &[u32]) -> Option<usize> {
    let len = 4 + 4 * ssrcs.len();
    let count = u8::try_from(ssrcs.len())
        .ok()
        .filter(|c| usize::from(*c) <= COUNT_MAX)?;
    write_header(out, count, packet_type::BYE, len)?;
    for (i, ssrc) in ssrcs.iter().enumerate() {
        put(out, 4 + 4 * i, &ssrc.to_be_bytes())?;
    }
    Some(len)
}

/// Common start of a feedback packet (RFC 4585 section 6.1).
pub(super) fn write_feedback(
    out: &mut [u8],
    (packet_type, format): (u8, u8),
    sender_ssrc: u32,
    media_ssrc: u32,
    len: usize,
) -> Option<()> {
    write_header(out, format, packet_type, len)?;
    put(out, 4, &sender_ssrc.to_be_bytes())?;
    put(out, 8, &media_ssrc.to_be_bytes())
}

/// Generic NACK (RFC 4585 section 6.2.1) of `lost`, in ascending (wrapping) order so that neighbours share an
/// entry. `None` when `lost` is empty or does not fit; an entry of four bytes names up to 17 packets.
pub fn write_nack(
    out: &mut [u8],
    sender_ssrc: u32,
    media_ssrc: u32,
    lost: &[u16],
) -> Option<usize> {
    let mut len = 12;
    let mut rest = lost;
    while let [pid, after @ ..] = rest {
        let mut mask = 0u16;
        rest = after;
        while let [next, after @ ..] = rest {
            let distance = next.wrapping_sub(*pid);
            match distance {
                0 => {}
                1..=16 => mask |= 1 << (distance - 1),
                _ => break,
            }
            rest = after;
        }
        put(out, len, &pid.to_be_bytes())?;
        put(out, len + 2, &mask.to_be_bytes())?;
        len += 4;
    }
    if lost.is_empty() {
        return None;
    }
    let kind = (packet_type::RTPFB, feedback_type::NACK);
    write_feedback(out, kind, sender_ssrc, media_ssrc, len)?;
    Some(len)
}

/// Picture loss indication (RFC 4585 section 6.3.1): asks `media_ssrc` for a key frame.
pub fn write_pli(out: &mut [u8], sender_ssrc: u32, media_ssrc: u32) -> Option<usize> {
    let kind = (packet_type::PSFB, feedback_type::PLI);
    write_feedback(out, kind, sender_ssrc, media_ssrc, 12)?;
    Some(12)
}

/// Full intra request (RFC 5104 section 4.3.1): asks `media_ssrc` for a key frame; `sequence` counts requests.
pub fn write_fir(out: &mut [u8], sender_ssrc: u32, media_ssrc: u32, sequence: u8) -> Option<usize> {
    let kind = (packet_type::PSFB, feedback_type::FIR);
    // The media source of the common part is unused and 0 (RFC 5104 section 4.3.1.2).
    write_feedback(out, kind, sender_ssrc, 0, 20)?;
    put(out, 12, &media_ssrc.to_be_bytes())?;
    put(out, 16, &[sequence, 0, 0, 0])?;
    Some(20)
}

/// Receiver estimated maximum bitrate for `ssrcs`. The estimate is rounded down to 18 significant bits.
/// `None` for more than 255 sources.
pub fn write_remb(
    out: &mut [u8],
    sender_ssrc: u32,
    bitrate_bps: u64,
    ssrcs: &[u32],
) -> Option<usize> {
    let count = u8::try_from(ssrcs.len()).ok()?;
    let len = 20 + 4 * ssrcs.len();
    let exponent = 46u32.saturating_sub(bitrate_bps.leading_zeros());
    let [.., m0, m1, m2] = (bitrate_bps >> exponent).to_be_bytes();
    let kind = (packet_type::PSFB, feedback_type::AFB);
    write_feedback(out, kind, sender_ssrc, 0, len)?;
    put(out, 12, b"REMB")?;
    put(out, 16, &[count, ((exponent as u8) << 2) | m0, m1, m2])?;
    for (i, ssrc) in ssrcs.iter().enumerate() {
        put(out, 20 + 4 * i, &ssrc.to_be_bytes())?;
    }
    Some(len)
}
