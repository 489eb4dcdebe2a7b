//! Session descriptions (RFC 8866) as WebRTC uses them (RFC 9429, JSEP): a typed model, a reader and a writer.
//!
//! The reader splits and bounds the text itself and lets the `webrtc-sdp` crate parse the value of each line we
//! care about; lines we do not care about never reach it. Session-level defaults (direction, ICE credentials,
//! fingerprints, setup) are folded into the m-sections, so the model has one place for each fact.
//! Invariants: [`parse()`] is total and bounded by `limits`; every string of a parsed [`Description`] is free of
//! control characters and can be written back; `parse(write(d)) == d` for every `d` that came out of [`parse()`].

mod format;
mod parse;
mod parse_codecs;
mod write;

use std::fmt;

use crate::wire::rtp::ExtensionKind;

pub use format::{CodecFormat, H264Profile, fmtp_value};
pub use parse::parse;
pub use write::write;

/// Why a session description was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// More than `limits::SDP_BYTES_MAX` bytes.
    #[error("session description has {0} bytes; send a smaller one")]
    TooLong(usize),
    /// More than `limits::SDP_LINES_MAX` lines.
    #[error("session description has too many lines, line {line}; send a smaller one")]
    TooManyLines {
        /// First line too many, counted from 1.
        line: usize,
    },
    /// More than `limits::SDP_MEDIA_MAX` m-sections.
    #[error("session description has too many m-sections, line {line}; reuse transceivers")]
    TooManyMedia {
        /// Its m-line, counted from 1.
        line: usize,
    },
    /// It does not start with `v=0` and an `o=` line.
    #[error("line {line}: a session description starts with v=0, then an o= line")]
    Start {
        /// Where it went wrong, counted from 1.
        line: usize,
    },
    /// A line we need that cannot be read.
    #[error("line {line} ({text:?}): {reason}")]
    Malformed {
        /// Line number, counted from 1.
        line: usize,
        /// Start of the line.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two m-sections with one mid (RFC 5888 section 4).
    #[error("line {line}: mid {mid:?} is used by two m-sections; make it unique")]
    DuplicateMid {
        /// The second `a=mid` line, counted from 1.
        line: usize,
        /// The mid.
        mid: String,
    },
}

/// Audio, video, or something we never carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
    /// Anything else, e.g. `m=application`.
    Other,
}

/// Direction of an m-section from the point of view of who wrote it (RFC 8866 section 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SdpDirection {
    /// Sends and receives.
    #[default]
    SendRecv,
    /// Only sends.
    SendOnly,
    /// Only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl SdpDirection {
    /// From what its writer does.
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether its writer sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether its writer receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// `a=setup` (RFC 8842 section 5): who starts DTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setup {
    /// Will send the ClientHello.
    Active,
    /// Waits for the ClientHello.
    Passive,
    /// Either; only in offers.
    ActPass,
    /// No connection for now.
    HoldConn,
}

/// ICE credentials of one side (RFC 8839 section 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct IceParams {
    /// `a=ice-ufrag`, 4 to 256 ice-chars.
    pub ufrag: String,
    /// `a=ice-pwd`, 22 to 256 ice-chars. Secret.
    pub pwd: String,
}

impl fmt::Debug for IceParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password must not end up in a log.
        f.debug_struct("IceParams")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// Hash function of a certificate fingerprint (RFC 8122 section 5). MD5 and MD2 are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FingerprintHash {
    /// 20 bytes; never trusted.
    Sha1,
    /// 28 bytes.
    Sha224,
    /// 32 bytes; what WebRTC uses.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

/// `a=fingerprint`: hash of the certificate its writer will show in DTLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Which hash.
    pub hash: FingerprintHash,
    /// The digest; its length is the hash's.
    pub bytes: Vec<u8>,
}

/// RTCP feedback negotiated for a payload type (RFC 4585, RFC 5104).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// Generic NACK.
    pub nack: bool,
    /// Picture loss indication.
    pub nack_pli: bool,
    /// Full intra request.
    pub ccm_fir: bool,
    /// Transport-wide congestion control.
    pub transport_cc: bool,
    /// Receiver estimated maximum bitrate.
    pub goog_remb: bool,
}

impl Feedback {
    /// What both have.
    pub const fn intersect(self, other: Feedback) -> Feedback {
        Feedback {
            nack: self.nack && other.nack,
            nack_pli: self.nack_pli && other.nack_pli,
            ccm_fir: self.ccm_fir && other.ccm_fir,
            transport_cc: self.transport_cc && other.transport_cc,
            goog_remb: self.goog_remb && other.goog_remb,
        }
    }
}

/// One codec of an m-section: its `a=rtpmap`, `a=fmtp`, `a=rtcp-fb` lines and the RTX payload type beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpCodec {
    /// RTP payload type, 0 to 127.
    pub pt: u8,
    /// Codec and the parameters that make it a different codec.
    pub format: CodecFormat,
    /// Hz.
    pub clock_rate: u32,
    /// Audio channels, if written.
    pub channels: Option<u8>,
    /// Everything after `a=fmtp:<pt> `.
    pub fmtp: Option<String>,
    /// RTCP feedback.
    pub feedback: Feedback,
    /// Payload type of its retransmissions (RFC 4588).
    pub rtx_pt: Option<u8>,
}

/// One `a=extmap` line (RFC 8285 section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpExtension {
    /// 1 to 255.
    pub id: u8,
    /// What we know it as.
    pub kind: Option<ExtensionKind>,
    /// Its name.
    pub uri: String,
}

/// `a=msid` (RFC 8830): media stream and track of what the writer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Msid {
    /// Media stream; `-` means none.
    pub stream: String,
    /// Track, if written.
    pub track: Option<String>,
}

/// `a=ssrc` lines of one SSRC (RFC 5576).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpSsrc {
    /// The SSRC.
    pub ssrc: u32,
    /// Canonical name, the same for streams to be played in sync.
    pub cname: Option<String>,
}

/// One `a=rid` line (RFC 8851), without its restrictions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpRid {
    /// The id: letters, digits, `-`, `_`.
    pub id: String,
    /// Direction: `send` when true, `recv` otherwise.
    pub send: bool,
}

/// One m-section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSection {
    /// Identification; empty when the writer gave none.
    pub mid: String,
    /// What it carries.
    pub kind: MediaKind,
    /// First word of the m-line.
    pub media: String,
    /// Port 0: the section is rejected or stopped, or `bundle_only`.
    pub port_zero: bool,
    /// Transport protocol of the m-line, e.g. `UDP/TLS/RTP/SAVPF`.
    pub protocol: String,
    /// Formats of the m-line, in order: payload types for audio and video.
    pub formats: Vec<String>,
    /// `a=bundle-only` (RFC 9143 section 6).
    pub bundle_only: bool,
    /// Direction.
    pub direction: SdpDirection,
    /// ICE credentials.
    pub ice: Option<IceParams>,
    /// Certificate fingerprints.
    pub fingerprints: Vec<Fingerprint>,
    /// DTLS role.
    pub setup: Option<Setup>,
    /// ICE candidates, everything after `a=candidate:`.
    pub candidates: Vec<String>,
    /// `a=end-of-candidates`.
    pub end_of_candidates: bool,
    /// RTP and RTCP on one port (RFC 5761).
    pub rtcp_mux: bool,
    /// Reduced-size RTCP (RFC 5506).
    pub rtcp_rsize: bool,
    /// Codecs we know, in the writer's order of preference.
    pub codecs: Vec<SdpCodec>,
    /// Header extensions.
    pub extensions: Vec<SdpExtension>,
    /// First `a=msid`.
    pub msid: Option<Msid>,
    /// Streams the writer sends.
    pub ssrcs: Vec<SdpSsrc>,
    /// `a=ssrc-group:FID`: primary and retransmission SSRC (RFC 5576 section 4.2).
    pub fid_groups: Vec<(u32, u32)>,
    /// Restriction ids.
    pub rids: Vec<SdpRid>,
    /// Rids of `a=simulcast` send, first alternative of each layer (RFC 8853).
    pub simulcast_send: Vec<String>,
    /// Rids of `a=simulcast` recv.
    pub simulcast_recv: Vec<String>,
}

impl MediaSection {
    /// An empty RTP section that is sent to nobody.
    pub fn new(mid: &str, kind: MediaKind) -> Self {
        let (media, protocol) = match kind {
            MediaKind::Audio => ("audio", "UDP/TLS/RTP/SAVPF"),
            MediaKind::Video => ("video", "UDP/TLS/RTP/SAVPF"),
            MediaKind::Other => ("application", "UDP/DTLS/SCTP"),
        };
        Self {
            mid: mid.to_owned(),
            kind,
            media: media.to_owned(),
            port_zero: false,
            protocol: protocol.to_owned(),
            formats: Vec::new(),
            bundle_only: false,
            direction: SdpDirection::SendRecv,
            ice: None,
            fingerprints: Vec::new(),
            setup: None,
            candidates: Vec::new(),
            end_of_candidates: false,
            rtcp_mux: false,
            rtcp_rsize: false,
            codecs: Vec::new(),
            extensions: Vec::new(),
            msid: None,
            ssrcs: Vec::new(),
            fid_groups: Vec::new(),
            rids: Vec::new(),
            simulcast_send: Vec::new(),
            simulcast_recv: Vec::new(),
        }
    }

    /// Whether the section is not to be used: port 0 and not `bundle-only` (RFC 9143 section 6).
    pub const fn is_rejected(&self) -> bool {
        self.port_zero && !self.bundle_only
    }

    /// Puts `codecs` in, and their payload types (each followed by its RTX) on the m-line.
    pub fn set_codecs(&mut self, codecs: Vec<SdpCodec>) {
        self.formats = codecs
            .iter()
            .flat_map(|codec| [Some(codec.pt), codec.rtx_pt])
            .flatten()
            .map(|pt| pt.to_string())
            .collect();
        self.codecs = codecs;
    }
}

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `sess-id` of the o-line.
    pub session_id: u64,
    /// `sess-version` of the o-line.
    pub session_version: u64,
    /// `a=ice-lite`.
    pub ice_lite: bool,
    /// Mids of the first `a=group:BUNDLE`, in order (RFC 9143).
    pub bundle: Vec<String>,
    /// `a=extmap-allow-mixed` at session level (RFC 8285 section 6).
    pub extmap_allow_mixed: bool,
    /// m-sections.
    pub media: Vec<MediaSection>,
}

#[cfg(test)]
pub(crate) mod tests;
