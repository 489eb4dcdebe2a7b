//! The RTP fixed header, CSRC list and extension block (RFC 3550 sections 5.1 and 5.3.1) as a `Copy` view.
//!
//! Invariant: `header_len` and the extension span lie inside the packet the header was parsed from.

use crate::wire::bytes::{u16_at, u32_at};

/// Bytes of the fixed header.
const FIXED_BYTES: usize = 12;

/// Why bytes are no RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// The packet ends inside its fixed header, CSRC list or extension block.
    #[error("RTP packet ends inside its header; the sender or the path cut it")]
    Truncated,
    /// Version other than 2.
    #[error("RTP version is {0}, not 2; this is not RTP")]
    Version(u8),
    /// An element says it is longer than the extension block, or there are too many.
    #[error("RTP header extension elements do not fit their block; the sender is broken")]
    BadExtension,
    /// The padding length is zero or longer than the payload.
    #[error(
        "RTP padding does not fit the packet; the sender is broken, or the packet is not decrypted"
    )]
    BadPadding,
}

/// A parsed RTP header. Offsets count from the start of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHeader {
    /// M bit: for video, the last packet of a frame.
    pub marker: bool,
    /// P bit: the last byte of the (decrypted) packet counts the padding bytes.
    pub padding: bool,
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media timestamp, in units of the codec's clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// Contributing sources, 0–15.
    pub csrc_count: u8,
    /// Bytes before the payload: fixed header, CSRCs and extension block.
    pub header_len: u16,
    /// "Defined by profile" of the extension block (0xBEDE: one-byte elements; 0x100x: two-byte). 0 without a block.
    pub extension_profile: u16,
    /// Offset of the first extension element (the block's own four bytes are before it).
    pub extension_offset: u16,
    /// Bytes of extension elements, a multiple of four.
    pub extension_len: u16,
}

impl RtpHeader {
    /// Reads the header of `packet`, sealed or open.
    ///
    /// # Errors
    /// [`RtpError::Truncated`] or [`RtpError::Version`]. Packets over 65,535 bytes count as truncated.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<RtpHeader, RtpError> {
        let fixed: &[u8; FIXED_BYTES] = packet.first_chunk().ok_or(RtpError::Truncated)?;
        let [b0, b1, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if b0 >> 6 != 2 {
            return Err(RtpError::Version(b0 >> 6));
        }
        let csrc_count = b0 & 0x0f;
        let csrcs_end = FIXED_BYTES + 4 * usize::from(csrc_count);
        let mut header = RtpHeader {
            marker: b1 & 0x80 != 0,
            padding: b0 & 0x20 != 0,
            payload_type: b1 & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            csrc_count,
            header_len: csrcs_end as u16,
            extension_profile: 0,
            extension_offset: 0,
            extension_len: 0,
        };
        if b0 & 0x10 != 0 {
            header.extension_block(packet, csrcs_end)?;
        }
        if usize::from(header.header_len) > packet.len() {
            return Err(RtpError::Truncated);
        }
        Ok(header)
    }

    #[inline]
    fn extension_block(&mut self, packet: &[u8], at: usize) -> Result<(), RtpError> {
        let profile = u16_at(packet, at).ok_or(RtpError::Truncated)?;
        let words = u16_at(packet, at + 2).ok_or(RtpError::Truncated)?;
        let len = 4 * usize::from(words);
        let offset = at + 4;
        let end = u16::try_from(offset + len).map_err(|_| RtpError::Truncated)?;
        self.extension_profile = profile;
        self.extension_offset = offset as u16;
        self.extension_len = len as u16;
        self.header_len = end;
        Ok(())
    }

    /// Contributing source number `index`, if there is one.
    pub fn csrc(&self, packet: &[u8], index: u8) -> Option<u32> {
        (index < self.csrc_count)
            .then(|| u32_at(packet, FIXED_BYTES + 4 * usize::from(index)))
            .flatten()
    }

    /// Padding bytes of the open `packet`, the count byte included; 0 without the P bit.
    ///
    /// # Errors
    /// [`RtpError::BadPadding`] when the count is zero or longer than what follows the header.
    #[inline]
    pub fn padding_len(&self, packet: &[u8]) -> Result<u8, RtpError> {
        if !self.padding {
            return Ok(0);
        }
        let payload = packet.get(usize::from(self.header_len)..).unwrap_or(&[]);
        match payload.last() {
            Some(&count) if count > 0 && usize::from(count) <= payload.len() => Ok(count),
            _ => Err(RtpError::BadPadding),
        }
    }

    /// Payload of the open `packet`, without padding. Empty in a padding-only packet.
    ///
    /// # Errors
    /// As [`padding_len`](Self::padding_len).
    #[inline]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Result<&'a [u8], RtpError> {
        let padding = usize::from(self.padding_len(packet)?);
        let end = packet.len().saturating_sub(padding);
        packet
            .get(usize::from(self.header_len)..end)
            .ok_or(RtpError::Truncated)
    }
}
