//! Which codecs every receiver of a source can decode, so that publishers are never negotiated to others.

use crate::bus::client::{Capabilities, Codec};
use crate::room::model::{Peer, Phase};
use crate::wire::codec::CodecKind;

/// A set of codecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecSet(u8);

impl CodecSet {
    /// Every codec.
    pub const ALL: CodecSet = CodecSet(0xff);
    /// No codec.
    pub const EMPTY: CodecSet = CodecSet(0);

    fn bit(kind: CodecKind) -> u8 {
        1 << (kind as u8)
    }

    /// With `kind` in it.
    pub fn with(self, kind: CodecKind) -> CodecSet {
        CodecSet(self.0 | Self::bit(kind))
    }

    /// Whether `kind` is in it.
    pub fn contains(self, kind: CodecKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// What is in both.
    pub fn intersect(self, other: CodecSet) -> CodecSet {
        CodecSet(self.0 & other.0)
    }
}

/// What a client can decode. A client that does not say is taken to know what every WebRTC endpoint must
/// (RFC 7742 section 5, RFC 7874 section 3): Opus and VP8. H264 is a must too, but not every build has it.
pub fn decodes(capabilities: &Capabilities) -> CodecSet {
    let floor = CodecSet::EMPTY.with(CodecKind::Opus).with(CodecKind::Vp8);
    if capabilities.video_rx.is_empty() {
        return floor;
    }
    let known = |codecs: &[Codec]| {
        codecs
            .iter()
            .filter_map(|c| CodecKind::from_name(c.mime_type.split('/').next_back()?))
            .fold(CodecSet::EMPTY, CodecSet::with)
    };
    let video = known(&capabilities.video_rx);
    CodecSet(video.0 | known(&capabilities.audio_rx).0).with(CodecKind::Opus)
}

impl Peer {
    /// A publisher negotiated to a codec that a receiver cannot decode has to negotiate again.
    pub(super) fn mark_undecodable(&mut self) {
        if self.phase != Phase::Stable {
            return;
        }
        let undecodable = self.sends.iter().any(|(track_id, send)| {
            let kept = |kind| send.receivers.is_empty() || send.decodable.contains(kind);
            let Some(track) = self.negotiation.track(*track_id) else {
                return false;
            };
            // With nothing in common, negotiating again would change nothing.
            track.codecs.iter().any(|c| kept(c.format.kind()))
                && !track.codecs.iter().all(|c| kept(c.format.kind()))
        });
        self.renegotiate |= undecodable;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn capabilities(names: &[&str]) -> Capabilities {
        let codec = |name: &&str| Codec {
            mime_type: format!("video/{name}"),
            clock_rate: 90_000,
            channels: None,
            parameters: BTreeMap::new(),
        };
        Capabilities {
            video_rx: names.iter().map(codec).collect(),
            ..Capabilities::default()
        }
    }

    #[test]
    fn a_silent_client_decodes_the_mandatory_ones() {
        let set = decodes(&Capabilities::default());
        assert!(set.contains(CodecKind::Vp8) && set.contains(CodecKind::Opus));
        assert!(!set.contains(CodecKind::Av1) && !set.contains(CodecKind::H264));
    }

    #[test]
    fn what_is_said_counts() {
        let chrome = decodes(&capabilities(&["VP8", "VP9", "AV1", "H264", "rtx"]));
        let firefox = decodes(&capabilities(&["VP8", "vp9", "H264", "ulpfec"]));
        let both = chrome.intersect(firefox);
        assert!(both.contains(CodecKind::Vp9) && both.contains(CodecKind::H264));
        assert!(!both.contains(CodecKind::Av1));
    }
}
