//! RTCP (RFC 3550 section 6, RFC 4585, RFC 5104, REMB, transport-wide feedback): views and writers.
//!
//! A compound is checked for framing once ([`Compound::parse`]); each packet of it is then a borrowed view, so
//! reading allocates nothing. A packet whose body is wrong is an `Err` item and does not hide the others.
//! Writers fill a caller's slot. Reduced-size compounds (RFC 5506) are read like full ones.

mod reader;
mod twcc;
mod views;
mod writer;

#[cfg(test)]
mod tests;

pub use reader::{Compound, Packet, Packets};
pub use twcc::{
    Arrival, TWCC_TICK_US, TransportFeedback, TwccStatus, TwccStatuses, TwccWritten,
    write_transport_feedback,
};
pub use views::{
    Bye, Fir, FirEntries, FirEntry, Nack, NackSequences, Remb, ReportBlock, ReportBlocks, Sdes,
    SdesCnames, SenderInfo, Ssrcs,
};
pub use writer::{
    CompoundWriter, write_bye, write_fir, write_nack, write_pli, write_receiver_report, write_remb,
    write_sdes_cname, write_sender_report,
};

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1, RFC 3611 section 2).
pub(crate) mod packet_type {
    /// Sender report.
    pub(crate) const SR: u8 = 200;
    /// Receiver report.
    pub(crate) const RR: u8 = 201;
    /// Source description.
    pub(crate) const SDES: u8 = 202;
    /// Goodbye.
    pub(crate) const BYE: u8 = 203;
    /// Transport-layer feedback.
    pub(crate) const RTPFB: u8 = 205;
    /// Payload-specific feedback.
    pub(crate) const PSFB: u8 = 206;
}

/// Feedback message types.
pub(crate) mod feedback_type {
    /// RTPFB: generic NACK (RFC 4585 section 6.2.1).
    pub(crate) const NACK: u8 = 1;
    /// RTPFB: transport-wide congestion control.
    pub(crate) const TWCC: u8 = 15;
    /// PSFB: picture loss indication (RFC 4585 section 6.3.1).
    pub(crate) const PLI: u8 = 1;
    /// PSFB: full intra request (RFC 5104 section 4.3.1).
    pub(crate) const FIR: u8 = 4;
    /// PSFB: application layer feedback; REMB is one.
    pub(crate) const AFB: u8 = 15;
}

/// Why bytes are no RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// The compound or a packet of it ends too early.
    #[error("RTCP packet ends inside its body; the sender or the path cut it")]
    Truncated,
    /// Version other than 2.
    #[error("RTCP version is {0}, not 2; this is not RTCP")]
    Version(u8),
    /// The padding length is zero, not a multiple of four or longer than the packet.
    #[error("RTCP padding does not fit its packet; the sender is broken")]
    BadPadding,
    /// A count or length inside the packet contradicts its size.
    #[error("RTCP counts do not fit the packet; the sender is broken")]
    BadCount,
}
