//! Walking a compound: framing first, then one view per packet.
//!
//! Invariant: after [`Compound::parse`] every packet header of the walked part is inside the datagram, so the
//! walk ends after at most `RTCP_COMPOUND_MAX` packets and reads each byte a bounded number of times.

use super::twcc::TransportFeedback;
use super::views::{Bye, Fir, Nack, Remb, ReportBlocks, Sdes, SenderInfo};
use super::{RtcpError, feedback_type, packet_type};
use crate::limits::RTCP_COMPOUND_MAX;
use crate::wire::bytes::u32_at;

/// Bytes of the common header.
const HEADER_BYTES: usize = 4;

/// A compound whose framing is right: versions, lengths and padding.
#[derive(Debug, Clone, Copy)]
pub struct Compound<'a> {
    bytes: &'a [u8],
}

/// One packet of a compound, borrowed from it.
#[derive(Debug, Clone, Copy)]
pub enum Packet<'a> {
    /// Sender report (RFC 3550 section 6.4.1).
    SenderReport {
        /// Whose report it is.
        ssrc: u32,
        /// Clock mapping and counts.
        info: SenderInfo,
        /// What the sender receives.
        blocks: ReportBlocks<'a>,
    },
    /// Receiver report (RFC 3550 section 6.4.2).
    ReceiverReport {
        /// Whose report it is.
        ssrc: u32,
        /// What it receives.
        blocks: ReportBlocks<'a>,
    },
    /// Source description (RFC 3550 section 6.5).
    Sdes(Sdes<'a>),
    /// Goodbye (RFC 3550 section 6.6).
    Bye(Bye<'a>),
    /// Generic NACK (RFC 4585 section 6.2.1).
    Nack(Nack<'a>),
    /// Picture loss indication (RFC 4585 section 6.3.1).
    Pli {
        /// Who asks.
        sender_ssrc: u32,
        /// Of which source a key frame is wanted.
        media_ssrc: u32,
    },
    /// Full intra request (RFC 5104 section 4.3.1).
    Fir(Fir<'a>),
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb).
    Remb(Remb<'a>),
    /// Transport-wide congestion control feedback.
    TransportFeedback(TransportFeedback<'a>),
    /// A type we have no use for (APP, XR, other feedback): skipped, not an error.
    Unknown {
        /// Packet type, 192–223.
        packet_type: u8,
        /// Count or feedback message type, 0–31.
        count: u8,
    },
}

/// Packets of a [`Compound`], in order.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

/// One framed packet: count, type, body without common header and padding; and what follows it.
struct Frame<'a> {
    count: u8,
    packet_type: u8,
    body: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Frame<'a> {
    #[inline]
    fn split(bytes: &'a [u8]) -> Result<Frame<'a>, RtcpError> {
        let [flags, packet_type, l0, l1] = *bytes
            .first_chunk::<HEADER_BYTES>()
            .ok_or(RtcpError::Truncated)?;
        if flags >> 6 != 2 {
            return Err(RtcpError::Version(flags >> 6));
        }
        let len = 4 * usize::from(u16::from_be_bytes([l0, l1]));
        let after = bytes.get(HEADER_BYTES..).ok_or(RtcpError::Truncated)?;
        let (mut body, rest) = after.split_at_checked(len).ok_or(RtcpError::Truncated)?;
        if flags & 0x20 != 0 {
            let padding = usize::from(*body.last().ok_or(RtcpError::BadPadding)?);
            // RFC 3550 section 6.4.1 wants a multiple of four; Chromium pads its transport feedback by one to three.
            if padding == 0 {
                return Err(RtcpError::BadPadding);
            }
            let end = body.len().checked_sub(padding);
            body = body
                .get(..end.ok_or(RtcpError::BadPadding)?)
                .ok_or(RtcpError::BadPadding)?;
        }
        Ok(Frame {
            count: flags & 0x1f,
            packet_type,
            body,
            rest,
        })
    }
}

impl<'a> Compound<'a> {
    /// Checks the framing of a whole (decrypted) datagram. Packets after the first [`RTCP_COMPOUND_MAX`] are
    /// neither checked nor given out.
    ///
    /// # Errors
    /// [`RtcpError`] when a header, length or padding is wrong, or the datagram is empty.
    pub fn parse(bytes: &'a [u8]) -> Result<Compound<'a>, RtcpError> {
        if bytes.is_empty() {
            return Err(RtcpError::Truncated);
        }
        let mut rest = bytes;
        for _ in 0..RTCP_COMPOUND_MAX {
            if rest.is_empty() {
                break;
            }
            rest = Frame::split(rest)?.rest;
        }
        let used = bytes.len() - rest.len();
        Ok(Compound {
            bytes: bytes.get(..used).ok_or(RtcpError::Truncated)?,
        })
    }

    /// The packets. A packet with a wrong body is an `Err`; the ones after it still come.
    pub fn packets(&self) -> Packets<'a> {
        Packets { rest: self.bytes }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Frame::split(self.rest) {
            Ok(frame) => {
                self.rest = frame.rest;
                Some(read(&frame))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

fn read<'a>(frame: &Frame<'a>) -> Result<Packet<'a>, RtcpError> {
    let body = frame.body;
    match frame.packet_type {
        packet_type::SR => Ok(Packet::SenderReport {
            ssrc: u32_at(body, 0).ok_or(RtcpError::Truncated)?,
            info: SenderInfo::parse(body.get(4..).unwrap_or(&[]))?,
            blocks: ReportBlocks::parse(body.get(24..).unwrap_or(&[]), frame.count)?,
        }),
        packet_type::RR => Ok(Packet::ReceiverReport {
            ssrc: u32_at(body, 0).ok_or(RtcpError::Truncated)?,
            blocks: ReportBlocks::parse(body.get(4..).unwrap_or(&[]), frame.count)?,
        }),
        packet_type::SDES => Sdes::parse(body, frame.count).map(Packet::Sdes),
        packet_type::BYE => Bye::parse(body, frame.count).map(Packet::Bye),
        packet_type::RTPFB | packet_type::PSFB => read_feedback(frame),
        other => Ok(unknown(other, frame.count)),
    }
}

fn unknown<'a>(packet_type: u8, count: u8) -> Packet<'a> {
    Packet::Unknown { packet_type, count }
}

fn read_feedback<'a>(frame: &Frame<'a>) -> Result<Packet<'a>, RtcpError> {
    let sender_ssrc = u32_at(frame.body, 0).ok_or(RtcpError::Truncated)?;
    let media_ssrc = u32_at(frame.body, 4).ok_or(RtcpError::Truncated)?;
    let fci = frame.body.get(8..).unwrap_or(&[]);
    let transport = frame.packet_type == packet_type::RTPFB;
    match (transport, frame.count) {
        (true, feedback_type::NACK) => Nack::parse(sender_ssrc, media_ssrc, fci).map(Packet::Nack),
        (true, feedback_type::TWCC) => {
            TransportFeedback::parse(sender_ssrc, media_ssrc, fci).map(Packet::TransportFeedback)
        }
        (false, feedback_type::PLI) => Ok(Packet::Pli {
            sender_ssrc,
            media_ssrc,
        }),
        (false, feedback_type::FIR) => Fir::parse(sender_ssrc, fci).map(Packet::Fir),
        (false, feedback_type::AFB) if fci.starts_with(b"REMB") => {
            Remb::parse(sender_ssrc, fci).map(Packet::Remb)
        }
        _ => Ok(unknown(frame.packet_type, frame.count)),
    }
}
