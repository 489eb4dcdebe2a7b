//! What makes two payload types the same codec: the encoding name and the few `a=fmtp` parameters that change the bitstream.
//!
//! H.264 profiles follow RFC 6184 section 8.1 (table 5), VP9 RFC 9628 section 7.1, AV1 its RTP specification section 7.2.
//! Parameters that only limit a receiver (levels, frame sizes, bitrates) do not make a different codec.

use crate::wire::codec::CodecKind;

/// H.264 profile, as far as browsers tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum H264Profile {
    /// Decodable by everybody.
    ConstrainedBaseline,
    /// Baseline with FMO, ASO and redundant slices, which no browser sends.
    Baseline,
    /// Main.
    Main,
    /// High without field coding.
    ConstrainedHigh,
    /// High.
    High,
    /// Any other `profile_idc` and `profile-iop`.
    Other(u16),
}

impl H264Profile {
    /// From the first two bytes of `profile-level-id`: `profile_idc` and `profile-iop`.
    fn from_idc(idc: u8, iop: u8) -> Self {
        match (idc, iop) {
            (0x42, iop) if iop & 0x4f == 0x40 => Self::ConstrainedBaseline,
            (0x4d, iop) if iop & 0x8f == 0x80 => Self::ConstrainedBaseline,
            (0x58, iop) if iop & 0xcf == 0xc0 => Self::ConstrainedBaseline,
            (0x42, iop) if iop & 0x4f == 0x00 => Self::Baseline,
            (0x58, iop) if iop & 0xcf == 0x80 => Self::Baseline,
            (0x4d, iop) if iop & 0xaf == 0x00 => Self::Main,
            (0x64, 0x00) => Self::High,
            (0x64, 0x0c) => Self::ConstrainedHigh,
            (idc, iop) => Self::Other(u16::from_be_bytes([idc, iop])),
        }
    }
}

/// A codec with the parameters that must be equal on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CodecFormat {
    /// Opus, 48 kHz, 2 channels (RFC 7587).
    Opus,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 of one profile (RFC 9628).
    Vp9 {
        /// `profile-id`, 0 if not written.
        profile: u8,
    },
    /// H.264 of one packetization mode and profile (RFC 6184).
    H264 {
        /// 0: single NAL units; 1: fragments and aggregates too.
        packetization_mode: u8,
        /// Profile.
        profile: H264Profile,
    },
    /// AV1 of one profile.
    Av1 {
        /// `profile`, 0 if not written.
        profile: u8,
    },
}

impl CodecFormat {
    /// H.264 constrained baseline in packetization mode 1, the H.264 every browser has.
    pub const H264_CBP: CodecFormat = CodecFormat::H264 {
        packetization_mode: 1,
        profile: H264Profile::ConstrainedBaseline,
    };

    /// The codec without its parameters.
    pub const fn kind(self) -> CodecKind {
        match self {
            CodecFormat::Opus => CodecKind::Opus,
            CodecFormat::Vp8 => CodecKind::Vp8,
            CodecFormat::Vp9 { .. } => CodecKind::Vp9,
            CodecFormat::H264 { .. } => CodecKind::H264,
            CodecFormat::Av1 { .. } => CodecKind::Av1,
        }
    }

    /// From the value of `a=rtpmap` and `a=fmtp`; `None` for codecs we do not carry and parameters we cannot read.
    pub fn from_sdp(name: &str, clock_rate: u32, fmtp: Option<&str>) -> Option<CodecFormat> {
        let kind = CodecKind::from_name(name)?;
        if clock_rate != kind.clock_rate() {
            return None;
        }
        let number = |key| match fmtp_value(fmtp, key) {
            None => Some(0u8),
            Some(value) => value.parse().ok(),
        };
        Some(match kind {
            CodecKind::Opus => CodecFormat::Opus,
            CodecKind::Vp8 => CodecFormat::Vp8,
            CodecKind::Vp9 => CodecFormat::Vp9 {
                profile: number("profile-id")?,
            },
            CodecKind::Av1 => CodecFormat::Av1 {
                profile: number("profile")?,
            },
            CodecKind::H264 => CodecFormat::H264 {
                packetization_mode: number("packetization-mode")?,
                profile: h264_profile(fmtp)?,
            },
        })
    }
}

/// Profile of `profile-level-id`; Baseline (level 1) if it is not written (RFC 6184 section 8.1).
fn h264_profile(fmtp: Option<&str>) -> Option<H264Profile> {
    let Some(value) = fmtp_value(fmtp, "profile-level-id") else {
        return Some(H264Profile::Baseline);
    };
    if value.len() != 6 || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(value, 16).ok()?;
    let [_, idc, iop, _level] = number.to_be_bytes();
    Some(H264Profile::from_idc(idc, iop))
}

/// Value of `key` in the text of an `a=fmtp` line (`a=1;b=2`); keys compare without case.
pub fn fmtp_value<'a>(fmtp: Option<&'a str>, key: &str) -> Option<&'a str> {
    fmtp?
        .split(';')
        .filter_map(|part| part.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case(key))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h264_profiles_follow_the_table() {
        let table = [
            ("42e01f", H264Profile::ConstrainedBaseline),
            ("42E01F", H264Profile::ConstrainedBaseline),
            ("42c02a", H264Profile::ConstrainedBaseline),
            ("4d8028", H264Profile::ConstrainedBaseline),
            ("42001f", H264Profile::Baseline),
            ("4d001f", H264Profile::Main),
            ("4d0032", H264Profile::Main),
            ("64001f", H264Profile::High),
            ("640c1f", H264Profile::ConstrainedHigh),
            ("f4001f", H264Profile::Other(0xf400)),
        ];
        for (id, want) in table {
            let fmtp =
                format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={id}");
            assert_eq!(
                CodecFormat::from_sdp("h264", 90_000, Some(&fmtp)),
                Some(CodecFormat::H264 {
                    packetization_mode: 1,
                    profile: want
                }),
                "{id}"
            );
        }
    }

    #[test]
    fn parameters_that_matter_make_a_different_codec() {
        let of = |name, fmtp| CodecFormat::from_sdp(name, 90_000, fmtp);
        assert_eq!(of("VP9", None), of("VP9", Some("profile-id=0")));
        assert_ne!(of("VP9", None), of("VP9", Some("profile-id=2")));
        assert_eq!(of("VP8", None), of("vp8", Some("max-fs=12288;max-fr=60")));
        assert_eq!(
            of("AV1", None),
            of("AV1", Some("level-idx=5; profile=0 ;tier=0"))
        );
        assert_ne!(of("H264", Some("packetization-mode=1")), of("H264", None));
    }

    #[test]
    fn what_we_cannot_read_is_no_codec_of_ours() {
        for (name, rate, fmtp) in [
            ("rtx", 90_000, Some("apt=96")),
            ("VP8", 48_000, None),
            ("opus", 16_000, None),
            ("H264", 90_000, Some("profile-level-id=42e0")),
            ("H264", 90_000, Some("profile-level-id=éé42")),
            ("H264", 90_000, Some("packetization-mode=300")),
            ("VP9", 90_000, Some("profile-id=x")),
            ("telephone-event", 48_000, None),
        ] {
            assert_eq!(CodecFormat::from_sdp(name, rate, fmtp), None, "{name}");
        }
    }
}
