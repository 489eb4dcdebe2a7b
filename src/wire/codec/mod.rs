//! The codecs we forward and what their RTP payloads say: key frames, layer ids, picture ids.
//!
//! Payloads are never decoded; a packet's descriptor is read in place so that the media layer can start at a
//! key frame, choose layers and rewrite picture ids. Everything here is a total function of the payload.

pub mod av1;
mod bits;
pub mod h264;
pub mod opus;
pub mod vp8;
pub mod vp9;

/// A codec whose payload format we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CodecKind {
    /// RFC 7587.
    Opus,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// AV1 RTP specification 1.0.
    Av1,
}

impl CodecKind {
    /// Every codec.
    pub const ALL: [CodecKind; 5] = [
        CodecKind::Opus,
        CodecKind::Vp8,
        CodecKind::Vp9,
        CodecKind::H264,
        CodecKind::Av1,
    ];

    /// Encoding name of `a=rtpmap`, in the usual spelling.
    pub const fn name(self) -> &'static str {
        match self {
            CodecKind::Opus => "opus",
            CodecKind::Vp8 => "VP8",
            CodecKind::Vp9 => "VP9",
            CodecKind::H264 => "H264",
            CodecKind::Av1 => "AV1",
        }
    }

    /// The codec of an encoding name; upper and lower case are equal (RFC 8866 section 6.6).
    pub fn from_name(name: &str) -> Option<CodecKind> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Whether it is a video codec; the others are audio.
    pub const fn is_video(self) -> bool {
        !matches!(self, CodecKind::Opus)
    }

    /// RTP clock rate, Hz.
    pub const fn clock_rate(self) -> u32 {
        match self {
            CodecKind::Opus => 48_000,
            _ => 90_000,
        }
    }
}

/// Whether a decoder can start at this packet: it is the first packet of a key frame that carries what the
/// decoder needs. Audio packets always are. `dependency_descriptor` is that header extension's value (AV1).
#[inline]
pub fn is_key_frame(
    codec: CodecKind,
    payload: &[u8],
    dependency_descriptor: Option<&[u8]>,
) -> bool {
    match codec {
        CodecKind::Opus => true,
        CodecKind::Vp8 => vp8::is_key_frame(payload),
        CodecKind::Vp9 => vp9::is_key_frame(payload),
        CodecKind::H264 => h264::is_key_frame(payload),
        CodecKind::Av1 => av1::is_key_frame(payload, dependency_descriptor),
    }
}

/// Width and height in pixels, where the first packet of a key frame says them in the clear.
pub fn key_frame_size(codec: CodecKind, payload: &[u8], dd: Option<&[u8]>) -> Option<(u16, u16)> {
    match codec {
        CodecKind::Opus => None,
        CodecKind::Vp8 => vp8::key_frame_size(payload),
        CodecKind::Vp9 => vp9::key_frame_size(payload),
        CodecKind::H264 => h264::key_frame_size(payload),
        CodecKind::Av1 => av1::key_frame_size(dd?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_any_case() {
        for codec in CodecKind::ALL {
            assert_eq!(CodecKind::from_name(codec.name()), Some(codec));
            assert_eq!(
                CodecKind::from_name(&codec.name().to_ascii_lowercase()),
                Some(codec)
            );
        }
        assert_eq!(CodecKind::from_name("H265"), None);
    }

    #[test]
    fn an_empty_video_payload_starts_nothing() {
        for codec in CodecKind::ALL {
            assert_eq!(is_key_frame(codec, &[], None), !codec.is_video());
            assert_eq!(key_frame_size(codec, &[], None), None);
        }
    }
}
