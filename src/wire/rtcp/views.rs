//! Bodies of RTCP packets as borrowed views: reports, descriptions, goodbyes, NACK, FIR, REMB.
//!
//! Every view is checked against the packet's size when it is made, so iterating it cannot run short.

use super::RtcpError;
use crate::wire::bytes::{array, put, u16_at, u32_at, u64_at};

/// Bytes of a report block.
pub(super) const BLOCK_BYTES: usize = 24;

/// Clock mapping and counts of a sender report (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// Wall time of the report, 64-bit NTP.
    pub ntp: u64,
    /// The same instant in the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// RTP packets sent since the stream began, wrapping.
    pub packets: u32,
    /// Payload bytes sent since the stream began, wrapping.
    pub octets: u32,
}

impl SenderInfo {
    pub(super) fn parse(bytes: &[u8]) -> Result<SenderInfo, RtcpError> {
        let read = || {
            Some(SenderInfo {
                ntp: u64_at(bytes, 0)?,
                rtp_timestamp: u32_at(bytes, 8)?,
                packets: u32_at(bytes, 12)?,
                octets: u32_at(bytes, 16)?,
            })
        };
        read().ok_or(RtcpError::Truncated)
    }
}

/// What one receiver says about one source (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: u32,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the stream began, 24 bits signed (duplicates make it negative).
    pub cumulative_lost: i32,
    /// Extended highest sequence number received.
    pub highest_sequence: u32,
    /// Interarrival jitter, in units of the RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, 0 if none.
    pub last_sr: u32,
    /// Time since that report arrived, in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// Reads a block of exactly its 24 bytes.
    fn parse(bytes: &[u8]) -> Option<ReportBlock> {
        let [fraction_lost, l0, l1, l2] = array(bytes, 4)?;
        let sign = if l0 & 0x80 != 0 { 0xff } else { 0 };
        Some(ReportBlock {
            ssrc: u32_at(bytes, 0)?,
            fraction_lost,
            cumulative_lost: i32::from_be_bytes([sign, l0, l1, l2]),
            highest_sequence: u32_at(bytes, 8)?,
            jitter: u32_at(bytes, 12)?,
            last_sr: u32_at(bytes, 16)?,
            delay_since_last_sr: u32_at(bytes, 20)?,
        })
    }

    /// Writes the block at `out[at..]`; `cumulative_lost` is clamped to its 24 bits.
    pub(super) fn write(&self, out: &mut [u8], at: usize) -> Option<()> {
        let [_, l0, l1, l2] = self
            .cumulative_lost
            .clamp(-0x80_0000, 0x7f_ffff)
            .to_be_bytes();
        put(out, at, &self.ssrc.to_be_bytes())?;
        put(out, at + 4, &[self.fraction_lost, l0, l1, l2])?;
        put(out, at + 8, &self.highest_sequence.to_be_bytes())?;
        put(out, at + 12, &self.jitter.to_be_bytes())?;
        put(out, at + 16, &self.last_sr.to_be_bytes())?;
        put(out, at + 20, &self.delay_since_last_sr.to_be_bytes())
    }
}

/// Report blocks of a sender or receiver report, at most 31.
#[derive(Debug, Clone, Copy)]
pub struct ReportBlocks<'a> {
    rest: &'a [u8],
}

impl<'a> ReportBlocks<'a> {
    pub(super) fn parse(bytes: &'a [u8], count: u8) -> Result<Self, RtcpError> {
        let rest = bytes.get(..usize::from(count) * BLOCK_BYTES);
        Ok(Self {
            rest: rest.ok_or(RtcpError::BadCount)?,
        })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.rest.split_at_checked(BLOCK_BYTES)?;
        self.rest = rest;
        ReportBlock::parse(block)
    }
}

/// Source description. Only CNAMEs are of interest here.
#[derive(Debug, Clone, Copy)]
pub struct Sdes<'a> {
    body: &'a [u8],
    chunks: u8,
}

impl<'a> Sdes<'a> {
    pub(super) fn parse(body: &'a [u8], chunks: u8) -> Result<Self, RtcpError> {
        let sdes = Self { body, chunks };
        let mut at = 0;
        for _ in 0..chunks {
            at = walk_chunk(body, at).ok_or(RtcpError::BadCount)?.1;
        }
        Ok(sdes)
    }

    /// (SSRC, CNAME) of every chunk that has one.
    pub fn cnames(&self) -> SdesCnames<'a> {
        SdesCnames {
            body: self.body,
            at: 0,
            chunks: self.chunks,
        }
    }
}

/// Iterator of [`Sdes::cnames`].
#[derive(Debug, Clone)]
pub struct SdesCnames<'a> {
    body: &'a [u8],
    at: usize,
    chunks: u8,
}

impl<'a> Iterator for SdesCnames<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while self.chunks > 0 {
            self.chunks -= 1;
            let ssrc = u32_at(self.body, self.at)?;
            let (cname, next) = walk_chunk(self.body, self.at)?;
            self.at = next;
            if let Some(cname) = cname {
                return Some((ssrc, cname));
            }
        }
        None
    }
}

/// Walks the chunk at `at`: its CNAME, if any, and where the next chunk begins.
fn walk_chunk(body: &[u8], at: usize) -> Option<(Option<&[u8]>, usize)> {
    const CNAME: u8 = 1;
    let mut cname = None;
    let mut item = at + 4;
    loop {
        let kind = *body.get(item)?;
        if kind == 0 {
            // The end marker is padded to the next word (RFC 3550 section 6.5).
            let next = (item + 1).next_multiple_of(4);
            return (next <= body.len()).then_some((cname, next));
        }
        let len = usize::from(*body.get(item + 1)?);
        let value = body.get(item + 2..item + 2 + len)?;
        if kind == CNAME && cname.is_none() {
            cname = Some(value);
        }
        item += 2 + len;
    }
}

/// Sources of a goodbye.
#[derive(Debug, Clone, Copy)]
pub struct Bye<'a> {
    ssrcs: Ssrcs<'a>,
}

impl<'a> Bye<'a> {
    pub(super) fn parse(body: &'a [u8], count: u8) -> Result<Self, RtcpError> {
        Ok(Self {
            ssrcs: Ssrcs::parse(body, usize::from(count))?,
        })
    }

    /// The sources that leave.
    pub fn ssrcs(&self) -> Ssrcs<'a> {
        self.ssrcs
    }
}

/// A list of SSRCs.
#[derive(Debug, Clone, Copy)]
pub struct Ssrcs<'a> {
    rest: &'a [u8],
}

impl<'a> Ssrcs<'a> {
    fn parse(bytes: &'a [u8], count: usize) -> Result<Self, RtcpError> {
        Ok(Self {
            rest: bytes.get(..4 * count).ok_or(RtcpError::BadCount)?,
        })
    }
}

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let ssrc = u32_at(self.rest, 0)?;
        self.rest = self.rest.get(4..)?;
        Some(ssrc)
    }
}

/// Generic NACK: packets a receiver misses.
#[derive(Debug, Clone, Copy)]
pub struct Nack<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    /// The source whose packets are missing.
    pub media_ssrc: u32,
    fci: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(
        sender_ssrc: u32,
        media_ssrc: u32,
        fci: &'a [u8],
    ) -> Result<Self, RtcpError> {
        if fci.is_empty() {
            return Err(RtcpError::Truncated);
        }
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            fci,
        })
    }

    /// Missing sequence numbers, in the order they are written. A datagram can name up to 17 per four bytes:
    /// the caller bounds what it does with them.
    pub fn sequences(&self) -> NackSequences<'a> {
        NackSequences {
            rest: self.fci,
            next: 0,
            bits: 0,
        }
    }
}

/// Iterator of [`Nack::sequences`].
#[derive(Debug, Clone)]
pub struct NackSequences<'a> {
    rest: &'a [u8],
    /// Sequence number bit 0 of `bits` stands for.
    next: u16,
    bits: u32,
}

impl Iterator for NackSequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.bits == 0 {
            let (pid, mask) = (u16_at(self.rest, 0)?, u16_at(self.rest, 2)?);
            self.rest = self.rest.get(4..)?;
            self.next = pid;
            self.bits = (u32::from(mask) << 1) | 1;
        }
        let skip = self.bits.trailing_zeros();
        let sequence = self.next.wrapping_add(skip as u16);
        self.next = sequence.wrapping_add(1);
        self.bits = self.bits.checked_shr(skip + 1).unwrap_or(0);
        Some(sequence)
    }
}

/// Full intra request.
#[derive(Debug, Clone, Copy)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    fci: &'a [u8],
}

impl<'a> Fir<'a> {
    pub(super) fn parse(sender_ssrc: u32, fci: &'a [u8]) -> Result<Self, RtcpError> {
        if fci.is_empty() || !fci.len().is_multiple_of(8) {
            return Err(RtcpError::BadCount);
        }
        Ok(Self { sender_ssrc, fci })
    }

    /// Of which sources a key frame is wanted.
    pub fn entries(&self) -> FirEntries<'a> {
        FirEntries { rest: self.fci }
    }
}

/// One source of a full intra request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirEntry {
    /// The source.
    pub ssrc: u32,
    /// Command number: a repeated one is the same request.
    pub sequence: u8,
}

/// Iterator of [`Fir::entries`].
#[derive(Debug, Clone)]
pub struct FirEntries<'a> {
    rest: &'a [u8],
}

impl Iterator for FirEntries<'_> {
    type Item = FirEntry;

    fn next(&mut self) -> Option<FirEntry> {
        let (entry, rest) = self.rest.split_at_checked(8)?;
        self.rest = rest;
        Some(FirEntry {
            ssrc: u32_at(entry, 0)?,
            sequence: *entry.get(4)?,
        })
    }
}

/// Receiver estimated maximum bitrate.
#[derive(Debug, Clone, Copy)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender_ssrc: u32,
    /// The estimate, bits per second; saturates at `u64::MAX`.
    pub bitrate_bps: u64,
    ssrcs: Ssrcs<'a>,
}

impl<'a> Remb<'a> {
    pub(super) fn parse(sender_ssrc: u32, fci: &'a [u8]) -> Result<Self, RtcpError> {
        let [count, b0, b1, b2] = array(fci, 4).ok_or(RtcpError::Truncated)?;
        let exponent = u32::from(b0 >> 2);
        let mantissa = (u64::from(b0 & 3) << 16) | (u64::from(b1) << 8) | u64::from(b2);
        let bitrate_bps = match exponent <= mantissa.leading_zeros() {
            true => mantissa << exponent,
            false => u64::MAX,
        };
        Ok(Self {
            sender_ssrc,
            bitrate_bps,
            ssrcs: Ssrcs::parse(fci.get(8..).unwrap_or(&[]), usize::from(count))?,
        })
    }

    /// The sources the estimate is about.
    pub fn ssrcs(&self) -> Ssrcs<'a> {
        self.ssrcs
    }
}
