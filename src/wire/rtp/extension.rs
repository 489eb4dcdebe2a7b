//! RTP header extension elements (RFC 8285): which ids mean what, and where each element of a packet is.
//!
//! A peer negotiates its own ids (`a=extmap`), so a packet is walked once on arrival with the publisher's
//! [`ExtensionMap`]; after that elements are found by kind, without copies. Invariant: a located element lies
//! inside the packet's extension block.

use super::header::{RtpError, RtpHeader};
use crate::limits::RTP_EXTENSIONS_MAX;
use crate::wire::bytes::{u16_at, u24_at, u64_at};

/// Profile of a block of one-byte-header elements (RFC 8285 section 4.2).
pub(super) const PROFILE_ONE_BYTE: u16 = 0xbede;
/// Profile of a block of two-byte-header elements; the low four bits are free (RFC 8285 section 4.3).
pub(super) const PROFILE_TWO_BYTE: u16 = 0x1000;

macro_rules! extension_kinds {
    ($($(#[$doc:meta])* $name:ident => $uri:literal,)*) => {
        /// A header extension we understand.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ExtensionKind {
            $($(#[$doc])* $name,)*
        }

        impl ExtensionKind {
            /// Every kind, in the order of its discriminant.
            pub const ALL: &'static [ExtensionKind] = &[$(ExtensionKind::$name,)*];

            /// URI of `a=extmap`.
            pub const fn uri(self) -> &'static str {
                match self {
                    $(ExtensionKind::$name => $uri,)*
                }
            }
        }
    };
}

extension_kinds! {
    /// Media identification of the m-section (RFC 9143 section 15).
    Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
    /// RTP stream id of a simulcast layer (RFC 8852).
    Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    /// RTP stream id a retransmission repairs (RFC 8852).
    RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    /// Send time, 24 bits of 6.18 fixed-point seconds.
    AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportCc => "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    /// Audio level of the client (RFC 6464).
    AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    /// Layer structure of the frame (AV1 RTP specification, appendix A).
    DependencyDescriptor => "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    /// Coordination of video orientation (3GPP TS 26.114 section 7.4.5).
    VideoOrientation => "urn:3gpp:video-orientation",
    /// Bounds of the receiver's playout delay.
    PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    /// Capture time at the first sender.
    AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
}

impl ExtensionKind {
    /// How many kinds there are.
    pub const COUNT: usize = ExtensionKind::ALL.len();

    /// The kind of an `a=extmap` URI.
    pub fn from_uri(uri: &str) -> Option<ExtensionKind> {
        Self::ALL.iter().copied().find(|kind| kind.uri() == uri)
    }
}

/// Negotiated ids of one peer: id 1–255 ↔ [`ExtensionKind`], at most one id per kind and one kind per id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionMap {
    /// Id by kind; 0: not negotiated.
    id_by_kind: [u8; ExtensionKind::COUNT],
    /// Discriminant + 1 by id for the ids of one-byte elements; 0: none.
    kind_by_low_id: [u8; 16],
}

impl ExtensionMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Maps `id` to `kind`. `false`, and nothing changed, for id 0 or when the id or the kind is already mapped.
    pub fn insert(&mut self, id: u8, kind: ExtensionKind) -> bool {
        if id == 0 || self.kind(id).is_some() || self.id(kind).is_some() {
            return false;
        }
        if let Some(slot) = self.id_by_kind.get_mut(kind as usize) {
            *slot = id;
        }
        if let Some(slot) = self.kind_by_low_id.get_mut(usize::from(id)) {
            *slot = kind as u8 + 1;
        }
        true
    }

    /// Id of `kind`, if negotiated.
    #[inline]
    pub fn id(&self, kind: ExtensionKind) -> Option<u8> {
        self.id_by_kind
            .get(kind as usize)
            .copied()
            .filter(|id| *id != 0)
    }

    /// Kind of `id`, if negotiated.
    #[inline]
    pub fn kind(&self, id: u8) -> Option<ExtensionKind> {
        if let Some(slot) = self.kind_by_low_id.get(usize::from(id)) {
            return ExtensionKind::ALL
                .get(usize::from(*slot).wrapping_sub(1))
                .copied();
        }
        let position = self.id_by_kind.iter().position(|known| *known == id)?;
        ExtensionKind::ALL.get(position).copied()
    }

    /// Every (id, kind), in the order of the kinds.
    pub fn iter(&self) -> impl Iterator<Item = (u8, ExtensionKind)> + '_ {
        self.id_by_kind
            .iter()
            .zip(ExtensionKind::ALL)
            .filter(|(id, _)| **id != 0)
            .map(|(id, kind)| (*id, *kind))
    }
}

impl FromIterator<(u8, ExtensionKind)> for ExtensionMap {
    /// Later duplicates are ignored, as in [`ExtensionMap::insert`].
    fn from_iter<I: IntoIterator<Item = (u8, ExtensionKind)>>(pairs: I) -> Self {
        let mut map = Self::new();
        for (id, kind) in pairs {
            map.insert(id, kind);
        }
        map
    }
}

/// Audio level of a packet (RFC 6464 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// Loudness in −dBov: 0 is the loudest, 127 is silence.
    pub level: u8,
    /// The sender believes the packet contains voice.
    pub voice: bool,
}

/// Playout delay bounds of a packet, in units of 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayoutDelay {
    /// Smallest delay, 0–4095.
    pub min: u16,
    /// Largest delay, 0–4095.
    pub max: u16,
}

/// Where an element is; offset 0 means it is absent (the header is there).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Span {
    offset: u16,
    len: u8,
}

/// Where the known elements of one packet are. `Copy`, no borrow: pass the same packet to the getters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    spans: [Span; ExtensionKind::COUNT],
}

impl Extensions {
    /// Walks the extension block of `packet` once. Unknown ids and unknown block profiles are skipped; of an
    /// element that comes twice the last counts.
    ///
    /// # Errors
    /// [`RtpError::BadExtension`] when an element is longer than the block, or after
    /// [`RTP_EXTENSIONS_MAX`] elements.
    #[inline]
    pub fn locate(
        packet: &[u8],
        header: &RtpHeader,
        map: &ExtensionMap,
    ) -> Result<Extensions, RtpError> {
        let mut found = Extensions::default();
        let one_byte = header.extension_profile == PROFILE_ONE_BYTE;
        if !one_byte && header.extension_profile & 0xfff0 != PROFILE_TWO_BYTE {
            return Ok(found);
        }
        let start = usize::from(header.extension_offset);
        let end = start + usize::from(header.extension_len);
        let block = packet.get(..end).ok_or(RtpError::Truncated)?;
        let mut at = start;
        let mut elements = 0;
        while let Some(&first) = block.get(at) {
            if first == 0 {
                at += 1; // Padding between elements (RFC 8285 section 4.1.2).
                continue;
            }
            let (id, len, data) = if one_byte {
                if first >> 4 == 15 {
                    break; // Id 15 ends the walk (RFC 8285 section 4.2).
                }
                (first >> 4, (first & 0x0f) + 1, at + 1)
            } else {
                let len = *block.get(at + 1).ok_or(RtpError::BadExtension)?;
                (first, len, at + 2)
            };
            at = data + usize::from(len);
            elements += 1;
            if at > block.len() || elements > RTP_EXTENSIONS_MAX {
                return Err(RtpError::BadExtension);
            }
            if let Some(kind) = map.kind(id) {
                found.set(kind, data as u16, len);
            }
        }
        Ok(found)
    }

    #[inline]
    fn set(&mut self, kind: ExtensionKind, offset: u16, len: u8) {
        if let Some(span) = self.spans.get_mut(kind as usize) {
            *span = Span { offset, len };
        }
    }

    /// Value of the element of `kind`, if the packet has it.
    #[inline]
    pub fn get<'a>(&self, kind: ExtensionKind, packet: &'a [u8]) -> Option<&'a [u8]> {
        let span = self.spans.get(kind as usize).filter(|s| s.offset != 0)?;
        let start = usize::from(span.offset);
        packet.get(start..start + usize::from(span.len))
    }

    /// Whether the packet has an element of `kind`.
    #[inline]
    pub fn contains(&self, kind: ExtensionKind) -> bool {
        self.spans.get(kind as usize).is_some_and(|s| s.offset != 0)
    }

    /// MID, as the bytes of `a=mid`.
    pub fn mid<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        self.get(ExtensionKind::Mid, packet)
    }

    /// RID of the layer this packet belongs to.
    pub fn rid<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        self.get(ExtensionKind::Rid, packet)
    }

    /// RID of the layer this retransmission repairs.
    pub fn repaired_rid<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        self.get(ExtensionKind::RepairedRid, packet)
    }

    /// Audio level and voice flag.
    #[inline]
    pub fn audio_level(&self, packet: &[u8]) -> Option<AudioLevel> {
        let byte = *self.get(ExtensionKind::AudioLevel, packet)?.first()?;
        Some(AudioLevel {
            level: byte & 0x7f,
            voice: byte & 0x80 != 0,
        })
    }

    /// Transport-wide sequence number.
    #[inline]
    pub fn transport_sequence(&self, packet: &[u8]) -> Option<u16> {
        u16_at(self.get(ExtensionKind::TransportCc, packet)?, 0)
    }

    /// Absolute send time: 24 bits, 2⁻¹⁸ s, wrapping every 64 s.
    pub fn abs_send_time(&self, packet: &[u8]) -> Option<u32> {
        u24_at(self.get(ExtensionKind::AbsSendTime, packet)?, 0)
    }

    /// Value of the dependency descriptor (see [`crate::wire::codec::av1`]).
    #[inline]
    pub fn dependency_descriptor<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        self.get(ExtensionKind::DependencyDescriptor, packet)
    }

    /// Orientation byte `0000CFRR`: camera, flip, rotation.
    pub fn video_orientation(&self, packet: &[u8]) -> Option<u8> {
        self.get(ExtensionKind::VideoOrientation, packet)?
            .first()
            .copied()
    }

    /// Playout delay bounds.
    pub fn playout_delay(&self, packet: &[u8]) -> Option<PlayoutDelay> {
        let both = u24_at(self.get(ExtensionKind::PlayoutDelay, packet)?, 0)?;
        Some(PlayoutDelay {
            min: (both >> 12) as u16,
            max: (both & 0xfff) as u16,
        })
    }

    /// Capture time at the first sender, 64-bit NTP.
    pub fn abs_capture_time(&self, packet: &[u8]) -> Option<u64> {
        u64_at(self.get(ExtensionKind::AbsCaptureTime, packet)?, 0)
    }
}
