//! What forwarding needs to know of a packet: plain `Copy` data, read once on arrival and shared by all subscribers.
//!
//! Why: the decision per subscriber must not look at packet bytes again, and a packet taken from the cache must be
//! treated exactly like one that just arrived. Invariant: two packets of one [`SourceId`] never share a `sequence`.

use crate::time::Time;
use crate::wire::codec::vp8::Vp8Descriptor;
use crate::wire::sdp::CodecFormat;

/// One uninterrupted numbering of packets: an UpTrack, and how often its numbering started over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceId {
    /// [`super::UpTrackConfig::id`].
    pub track: u32,
    /// Restarts of that track: another SSRC, a sequence jump, enabled after disabled.
    pub epoch: u32,
}

/// VP8 running numbers that must stay continuous for a decoder, and where in the payload they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp8Fields {
    /// Picture id, 7 or 15 bits; `None` if the publisher sends none.
    pub picture_id: Option<u16>,
    /// Whether the picture id has 15 bits.
    pub wide: bool,
    /// Offset of the picture id in the payload.
    pub picture_id_offset: u8,
    /// TL0PICIDX, if present.
    pub tl0_pic_idx: Option<u8>,
    /// Offset of TL0PICIDX in the payload.
    pub tl0_offset: u8,
}

impl From<&Vp8Descriptor> for Vp8Fields {
    fn from(descriptor: &Vp8Descriptor) -> Self {
        let id = descriptor.picture_id;
        Self {
            picture_id: id.map(|id| id.value),
            wide: id.is_some_and(|id| id.wide),
            picture_id_offset: id.map_or(0, |id| id.offset),
            tl0_pic_idx: descriptor.tl0_pic_idx,
            tl0_offset: descriptor.tl0_offset,
        }
    }
}

/// One packet as forwarding sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketFields {
    /// Which numbering `sequence` belongs to.
    pub source: SourceId,
    /// Extended sequence number; padding-only packets of the publisher are taken out, so it has no holes but losses.
    pub sequence: u64,
    /// RTP timestamp of the publisher, in `codec.kind().clock_rate()` units.
    pub timestamp: u32,
    /// RTP timestamp of its stream at the publisher's NTP time 0, once a sender report told it: what makes timestamps
    /// of one publisher's streams comparable.
    pub origin: Option<u32>,
    /// When the packet arrived here (a recovered one: when the retransmission did).
    pub arrival: Time,
    /// Codec of the payload.
    pub codec: CodecFormat,
    /// M bit.
    pub marker: bool,
    /// First packet of a key frame. Always true for audio.
    pub key_frame: bool,
    /// Payload bytes without padding.
    pub payload_len: u16,
    /// VP8 running numbers; all absent for other codecs.
    pub vp8: Vp8Fields,
    /// Audio level element (RFC 6464: V bit and 7 bits of −dBov), if present.
    pub audio_level: Option<u8>,
    /// Video orientation element, if present.
    pub video_orientation: Option<u8>,
}

impl PacketFields {
    /// A VP8 delta packet numbered `sequence`, for tests and benches to vary.
    #[doc(hidden)]
    pub fn sample(sequence: u64) -> Self {
        Self {
            source: SourceId { track: 0, epoch: 0 },
            sequence,
            timestamp: 0,
            origin: None,
            arrival: Time::ZERO,
            codec: CodecFormat::Vp8,
            marker: false,
            key_frame: false,
            payload_len: 0,
            vp8: Vp8Fields::default(),
            audio_level: None,
            video_orientation: None,
        }
    }
}
