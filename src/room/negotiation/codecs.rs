//! Codec choice, and the payload types and extension ids a peer has seen.
//!
//! Within one BUNDLE group a payload type means one codec and an id one extension (RFC 9143 section 9.1), also over time:
//! so both come from the client's descriptions where it has said them, else from a fixed table, else from what is free.

use std::collections::BTreeMap;

use super::NegotiationConfig;
use crate::wire::codec::CodecKind;
use crate::wire::rtp::ExtensionKind;
use crate::wire::sdp::{
    CodecFormat, Feedback, MediaKind, MediaSection, SdpCodec, SdpExtension, fmtp_value,
};

/// What a payload type means on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PayloadUse {
    /// A codec of ours.
    Codec(CodecFormat),
    /// Retransmissions of this payload type.
    Rtx(u8),
    /// Something of the client's that we do not carry.
    Foreign,
}

/// Payload types and extension ids used with one peer so far.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerTable {
    payloads: BTreeMap<u8, PayloadUse>,
    /// `None`: an extension we do not know.
    extensions: BTreeMap<u8, Option<ExtensionKind>>,
}

impl PeerTable {
    /// Remembers what the client uses. The first meaning stays.
    pub(super) fn learn(&mut self, media: &MediaSection) {
        for codec in &media.codecs {
            self.payloads
                .entry(codec.pt)
                .or_insert(PayloadUse::Codec(codec.format));
            if let Some(rtx) = codec.rtx_pt {
                self.payloads
                    .entry(rtx)
                    .or_insert(PayloadUse::Rtx(codec.pt));
            }
        }
        if media.kind != MediaKind::Other {
            let listed = media.formats.iter().filter_map(|f| f.parse().ok());
            for pt in listed {
                self.payloads.entry(pt).or_insert(PayloadUse::Foreign);
            }
        }
        for extension in &media.extensions {
            self.extensions
                .entry(extension.id)
                .or_insert(extension.kind);
        }
    }

    /// Codecs of a new m-section in an offer of ours, best first.
    pub(super) fn offer_codecs(
        &mut self,
        kind: MediaKind,
        config: &NegotiationConfig,
    ) -> Vec<SdpCodec> {
        let kinds = config.codecs.iter().filter(|codec| carries(kind, **codec));
        kinds
            .filter_map(|codec| self.offer_codec(*codec, config))
            .collect()
    }

    fn offer_codec(&mut self, kind: CodecKind, config: &NegotiationConfig) -> Option<SdpCodec> {
        let (default_pt, fmtp) = defaults(kind);
        let format = format_of(kind);
        let pt = self.payload(PayloadUse::Codec(format), default_pt)?;
        let rtx_pt = match kind.is_video() {
            true => Some(self.payload(PayloadUse::Rtx(pt), default_pt + 1)?),
            false => None,
        };
        Some(SdpCodec {
            pt,
            format,
            clock_rate: kind.clock_rate(),
            channels: (kind == CodecKind::Opus).then_some(2),
            fmtp: fmtp.map(str::to_owned),
            feedback: our_feedback(kind, config),
            rtx_pt,
        })
    }

    /// The payload type that means `wanted`: known, `default` if it is free, or any free dynamic one (RFC 5761
    /// section 4 keeps 64 to 95 for RTCP).
    fn payload(&mut self, wanted: PayloadUse, default: u8) -> Option<u8> {
        let known = self.payloads.iter().find(|(_, used)| **used == wanted);
        if let Some((pt, _)) = known {
            return Some(*pt);
        }
        let mut candidates = std::iter::once(default).chain(96..=127).chain(35..=63);
        let pt = candidates.find(|pt| !self.payloads.contains_key(pt))?;
        self.payloads.insert(pt, wanted);
        Some(pt)
    }

    /// Extensions of a new m-section in an offer of ours.
    pub(super) fn offer_extensions(
        &mut self,
        kind: MediaKind,
        config: &NegotiationConfig,
    ) -> Vec<(u8, ExtensionKind)> {
        let kinds = config.extensions.iter().copied();
        kinds
            .filter(|extension| applies(*extension, kind))
            .filter_map(|extension| Some((self.extension(extension)?, extension)))
            .collect()
    }

    /// Ids of the one-byte form only (RFC 8285 section 4.2): 1 to 14.
    fn extension(&mut self, wanted: ExtensionKind) -> Option<u8> {
        let known = self.extensions.iter().find(|(_, k)| **k == Some(wanted));
        if let Some((id, _)) = known {
            return Some(*id);
        }
        let mut candidates = std::iter::once(default_extension_id(wanted)).chain(1..=14);
        let id = candidates.find(|id| !self.extensions.contains_key(id))?;
        self.extensions.insert(id, Some(wanted));
        Some(id)
    }
}

/// The one form of a codec we carry: what every browser that has the codec can decode.
const fn format_of(kind: CodecKind) -> CodecFormat {
    match kind {
        CodecKind::Opus => CodecFormat::Opus,
        CodecKind::Vp8 => CodecFormat::Vp8,
        CodecKind::Vp9 => CodecFormat::Vp9 { profile: 0 },
        CodecKind::H264 => CodecFormat::H264_CBP,
        CodecKind::Av1 => CodecFormat::Av1 { profile: 0 },
    }
}

/// Payload type (RTX is the next one) and fmtp of our offers.
const fn defaults(kind: CodecKind) -> (u8, Option<&'static str>) {
    match kind {
        CodecKind::Opus => (111, Some("minptime=10;useinbandfec=1")),
        CodecKind::Vp8 => (96, None),
        CodecKind::Vp9 => (98, Some("profile-id=0")),
        CodecKind::H264 => (
            108,
            Some("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
        ),
        CodecKind::Av1 => (45, Some("level-idx=5;profile=0;tier=0")),
    }
}

/// Ids that Chromium uses, so that both sides agree from the first description on.
const fn default_extension_id(kind: ExtensionKind) -> u8 {
    match kind {
        ExtensionKind::AudioLevel => 1,
        ExtensionKind::AbsSendTime => 2,
        ExtensionKind::TransportCc => 3,
        ExtensionKind::Mid => 4,
        ExtensionKind::PlayoutDelay => 5,
        ExtensionKind::AbsCaptureTime => 9,
        ExtensionKind::Rid => 10,
        ExtensionKind::RepairedRid => 11,
        ExtensionKind::DependencyDescriptor => 12,
        ExtensionKind::VideoOrientation => 13,
    }
}

fn applies(extension: ExtensionKind, kind: MediaKind) -> bool {
    match extension {
        ExtensionKind::AudioLevel => kind == MediaKind::Audio,
        ExtensionKind::Rid
        | ExtensionKind::RepairedRid
        | ExtensionKind::DependencyDescriptor
        | ExtensionKind::VideoOrientation
        | ExtensionKind::PlayoutDelay => kind == MediaKind::Video,
        _ => true,
    }
}

fn carries(kind: MediaKind, codec: CodecKind) -> bool {
    match kind {
        MediaKind::Audio => !codec.is_video(),
        MediaKind::Video => codec.is_video(),
        MediaKind::Other => false,
    }
}

fn our_feedback(kind: CodecKind, config: &NegotiationConfig) -> Feedback {
    Feedback {
        nack: true,
        nack_pli: kind.is_video(),
        ccm_fir: kind.is_video(),
        transport_cc: config.extensions.contains(&ExtensionKind::TransportCc),
        goog_remb: false,
    }
}

/// Codecs of an answer: those of the offer we carry, in our order. With `decodable`, codecs that are not in it go last,
/// or out unless the section also `receives` (there they are for the other direction). If none is in it, it does not count:
/// some receivers see the track, the others are told by the room.
pub(super) fn agree(
    offer: &MediaSection,
    config: &NegotiationConfig,
    decodable: Option<&[CodecKind]>,
    receives: bool,
) -> Vec<SdpCodec> {
    let kinds = config.codecs.iter().filter(|k| carries(offer.kind, **k));
    let common: Vec<SdpCodec> = kinds
        .filter_map(|kind| agree_one(offer, *kind, config))
        .collect();
    let Some(decodable) = decodable else {
        return common;
    };
    let (mut first, rest): (Vec<_>, Vec<_>) = common
        .into_iter()
        .partition(|codec| decodable.contains(&codec.format.kind()));
    if first.is_empty() || receives {
        first.extend(rest);
    }
    first
}

fn agree_one(
    offer: &MediaSection,
    kind: CodecKind,
    config: &NegotiationConfig,
) -> Option<SdpCodec> {
    let mut offered = offer.codecs.iter();
    let codec = offered.find(|codec| codec.format == format_of(kind))?;
    Some(SdpCodec {
        fmtp: answer_fmtp(codec),
        feedback: codec.feedback.intersect(our_feedback(kind, config)),
        ..codec.clone()
    })
}

/// Our `a=fmtp` beside the client's: what defines the codec and Opus' wishes are repeated, limits of its decoder are not ours.
fn answer_fmtp(codec: &SdpCodec) -> Option<String> {
    let kept: &[&str] = match codec.format.kind() {
        CodecKind::Opus => return opus_fmtp(codec.fmtp.as_deref()?),
        CodecKind::Vp8 => &[],
        CodecKind::Vp9 => &["profile-id"],
        CodecKind::H264 => &[
            "level-asymmetry-allowed",
            "packetization-mode",
            "profile-level-id",
        ],
        CodecKind::Av1 => &["level-idx", "profile", "tier"],
    };
    let fmtp = codec.fmtp.as_deref();
    let pairs: Vec<String> = kept
        .iter()
        .filter_map(|key| Some(format!("{key}={}", fmtp_value(fmtp, key)?)))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join(";"))
}

/// Parameters of Opus (RFC 7587 section 6.1, and `minptime` as browsers write it); all are numbers.
const OPUS_PARAMETERS: [&str; 10] = [
    "maxplaybackrate",
    "sprop-maxcapturerate",
    "minptime",
    "maxptime",
    "maxaveragebitrate",
    "stereo",
    "sprop-stereo",
    "cbr",
    "useinbandfec",
    "usedtx",
];
/// Digits of such a number at most.
const OPUS_DIGITS_MAX: usize = 7;

/// The parameters that are what they should be: a client's slips are not repeated, which its own reader might choke on.
fn opus_fmtp(fmtp: &str) -> Option<String> {
    let good = |pair: &&str| {
        pair.split_once('=').is_some_and(|(key, value)| {
            OPUS_PARAMETERS.contains(&key)
                && (1..=OPUS_DIGITS_MAX).contains(&value.len())
                && value.bytes().all(|b| b.is_ascii_digit())
        })
    };
    let pairs: Vec<&str> = fmtp.split(';').map(str::trim).filter(good).collect();
    (!pairs.is_empty()).then(|| pairs.join(";"))
}

/// Extensions of an answer: those of the offer we use, with its ids. One id per kind and one kind per id.
pub(super) fn agree_extensions(
    offered: &[SdpExtension],
    config: &NegotiationConfig,
) -> Vec<(u8, ExtensionKind)> {
    let mut agreed: Vec<(u8, ExtensionKind)> = Vec::new();
    for extension in offered {
        let Some(kind) = extension.kind.filter(|k| config.extensions.contains(k)) else {
            continue;
        };
        if !agreed
            .iter()
            .any(|(id, k)| *id == extension.id || *k == kind)
        {
            agreed.push((extension.id, kind));
        }
    }
    agreed
}

#[cfg(test)]
mod tests {
    use super::opus_fmtp;

    #[test]
    fn slips_of_a_client_are_not_repeated() {
        let kept = opus_fmtp;
        assert_eq!(
            kept("minptime=10; useinbandfec=1").as_deref(),
            Some("minptime=10;useinbandfec=1")
        );
        assert_eq!(
            kept("minptime=10;useinbandfec1;=;cbr=;stereo=x;a=1").as_deref(),
            Some("minptime=10")
        );
        assert_eq!(kept("useinbandfec1"), None);
    }
}
