//! One m-section of the connection: its tracks, and what has been agreed for it.

use super::{LocalSource, NegotiatedCodec, NegotiatedTrack};
use crate::id::{Ssrc, TrackId};
use crate::limits::ENCODINGS_MAX;
use crate::wire::codec::CodecKind;
use crate::wire::rtp::{ExtensionKind, ExtensionMap};
use crate::wire::sdp::{
    MediaKind, MediaSection, Msid, SdpCodec, SdpDirection, SdpExtension, SdpRid, SdpSsrc,
};

/// State of one m-section. Directions are ours.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) mid: String,
    pub(super) kind: MediaKind,
    /// First word and protocol of the m-line, and its formats while it is rejected.
    pub(super) media: String,
    pub(super) protocol: String,
    pub(super) formats: Vec<String>,
    pub(super) rejected: bool,
    /// Track the client sends here.
    pub(super) sends: Option<TrackId>,
    /// Track the client receives here, and what we send for it.
    pub(super) receives: Option<(TrackId, LocalSource)>,
    pub(super) direction: SdpDirection,
    pub(super) codecs: Vec<SdpCodec>,
    /// Codecs of the sent track that all its receivers decode; `None`: all.
    pub(super) decodable: Option<Vec<CodecKind>>,
    pub(super) extensions: Vec<(u8, ExtensionKind)>,
    pub(super) ssrcs: Vec<(Ssrc, Option<Ssrc>)>,
    pub(super) rids: Vec<String>,
}

impl Section {
    /// A section nobody uses yet, in the shape of `media`.
    pub(super) fn new(media: &MediaSection) -> Self {
        Self {
            mid: media.mid.clone(),
            kind: media.kind,
            media: media.media.clone(),
            protocol: media.protocol.clone(),
            formats: Vec::new(),
            rejected: false,
            sends: None,
            receives: None,
            direction: SdpDirection::Inactive,
            codecs: Vec::new(),
            decodable: None,
            extensions: Vec::new(),
            ssrcs: Vec::new(),
            rids: Vec::new(),
        }
    }

    /// The track the client receives here.
    pub(super) fn receives_track(&self) -> Option<TrackId> {
        self.receives.as_ref().map(|(track, _)| *track)
    }

    pub(super) fn carries(&self, track: TrackId) -> bool {
        self.sends == Some(track) || self.receives_track() == Some(track)
    }

    /// Takes `track` off this section.
    pub(super) fn remove(&mut self, track: TrackId) {
        if self.sends == Some(track) {
            self.sends = None;
            self.decodable = None;
            self.ssrcs.clear();
            self.rids.clear();
        }
        if self.receives_track() == Some(track) {
            self.receives = None;
        }
    }

    /// Whether a new track may be put here: of this kind, negotiated, and nobody's.
    pub(super) fn is_free(&self, kind: MediaKind) -> bool {
        self.kind == kind && !self.rejected && self.sends.is_none() && self.receives.is_none()
    }

    /// Gives the section up; its tracks stay on it, so that they are not tried for ever.
    pub(super) fn reject(&mut self, formats: &[String]) {
        self.rejected = true;
        self.formats = formats.to_vec();
        self.direction = SdpDirection::Inactive;
        self.codecs.clear();
        self.extensions.clear();
        self.ssrcs.clear();
        self.rids.clear();
    }

    /// Keeps what the client says about the streams it sends.
    pub(super) fn learn_streams(&mut self, media: &MediaSection, simulcast: bool) {
        self.ssrcs.clear();
        self.rids.clear();
        if self.sends.is_none() {
            return;
        }
        let is_rtx = |ssrc| media.fid_groups.iter().any(|(_, rtx)| *rtx == ssrc);
        for ssrc in media.ssrcs.iter().map(|s| s.ssrc).filter(|s| !is_rtx(*s)) {
            let group = media.fid_groups.iter().find(|(first, _)| *first == ssrc);
            let rtx = group.map(|(_, rtx)| Ssrc(*rtx));
            self.ssrcs.push((Ssrc(ssrc), rtx));
        }
        if simulcast {
            let declared = |rid: &&String| media.rids.iter().any(|r| r.send && r.id == **rid);
            self.rids = media
                .simulcast_send
                .iter()
                .filter(declared)
                .take(ENCODINGS_MAX)
                .cloned()
                .collect();
        }
        if !self.rids.is_empty() {
            // Which SSRC is which encoding only packets say (RFC 8852).
            self.ssrcs.clear();
        }
    }

    /// The section as we write it, without the transport.
    pub(super) fn describe(&self) -> MediaSection {
        let mut out = MediaSection::new(&self.mid, self.kind);
        out.media.clone_from(&self.media);
        out.protocol.clone_from(&self.protocol);
        out.direction = self.direction;
        if self.rejected {
            out.port_zero = true;
            out.formats.clone_from(&self.formats);
            return out;
        }
        out.rtcp_mux = true;
        out.rtcp_rsize = true;
        out.set_codecs(self.codecs.clone());
        out.extensions = self.extensions.iter().copied().map(extension).collect();
        if let Some((_, source)) = &self.receives
            && self.direction.sends()
        {
            let has_rtx = self.codecs.iter().any(|codec| codec.rtx_pt.is_some());
            write_source(&mut out, source, has_rtx);
        }
        for id in &self.rids {
            out.rids.push(SdpRid {
                id: id.clone(),
                send: false,
            });
        }
        out.simulcast_recv.clone_from(&self.rids);
        out
    }

    /// What is agreed for the tracks here; nothing while the section is rejected or not agreed.
    pub(super) fn tracks(&self) -> Vec<NegotiatedTrack> {
        if self.rejected || self.codecs.is_empty() {
            return Vec::new();
        }
        let sent = self.sends.map(|track| NegotiatedTrack {
            client_sends: true,
            active: self.direction.receives(),
            codecs: self.agreed_codecs(self.decodable.as_deref()),
            ssrcs: self.ssrcs.clone(),
            rids: self.rids.clone(),
            ..self.bare_track(track)
        });
        let received = self.receives_track().map(|track| NegotiatedTrack {
            active: self.direction.sends(),
            codecs: self.agreed_codecs(None),
            ..self.bare_track(track)
        });
        sent.into_iter().chain(received).collect()
    }

    fn bare_track(&self, track: TrackId) -> NegotiatedTrack {
        let mut extensions = ExtensionMap::new();
        for (id, kind) in &self.extensions {
            extensions.insert(*id, *kind);
        }
        NegotiatedTrack {
            track,
            mid: self.mid.clone(),
            kind: self.kind,
            client_sends: false,
            active: false,
            codecs: Vec::new(),
            extensions,
            ssrcs: Vec::new(),
            rids: Vec::new(),
        }
    }

    fn agreed_codecs(&self, only: Option<&[CodecKind]>) -> Vec<NegotiatedCodec> {
        let allowed = |codec: &&SdpCodec| only.is_none_or(|o| o.contains(&codec.format.kind()));
        let codecs = self.codecs.iter().filter(allowed);
        codecs
            .map(|codec| NegotiatedCodec {
                format: codec.format,
                pt: codec.pt,
                rtx_pt: codec.rtx_pt,
                clock_rate: codec.clock_rate,
                feedback: codec.feedback,
            })
            .collect()
    }
}

fn extension((id, kind): (u8, ExtensionKind)) -> SdpExtension {
    SdpExtension {
        id,
        kind: Some(kind),
        uri: kind.uri().to_owned(),
    }
}

/// `a=msid`, `a=ssrc` and the FID group of what we send (RFC 8830, RFC 5576).
fn write_source(out: &mut MediaSection, source: &LocalSource, has_rtx: bool) {
    out.msid = Some(Msid {
        stream: msid_token(&source.stream_id),
        track: Some(msid_token(&source.track_label)),
    });
    let rtx = source.rtx_ssrc.filter(|_| has_rtx);
    if let Some(rtx) = rtx {
        out.fid_groups.push((source.ssrc.0, rtx.0));
    }
    for ssrc in [Some(source.ssrc), rtx].into_iter().flatten() {
        out.ssrcs.push(SdpSsrc {
            ssrc: ssrc.0,
            cname: Some(msid_token(&source.cname)),
        });
    }
}

/// `text` as a token of at most 64 bytes (RFC 8830 section 2): other bytes become `%XX`, and the tail of a long text
/// becomes a hash, so that different texts stay different.
fn msid_token(text: &str) -> String {
    const MAX: usize = 64;
    const KEPT: usize = MAX - 17;
    let mut out = String::with_capacity(MAX);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'+' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    if out.len() > MAX {
        // FNV-1a, 64 bits: only to tell ids of one room apart.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        out.truncate(KEPT);
        out.push_str(&format!("-{hash:016x}"));
    }
    match out.is_empty() {
        true => "-".to_owned(),
        false => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msid_tokens_are_short_legal_and_different() {
        assert_eq!(msid_token("alice"), "alice");
        assert_eq!(msid_token("al ice\n"), "al%20ice%0A");
        assert_eq!(msid_token(""), "-");
        let long = |tail: &str| msid_token(&format!("{}{tail}", "é".repeat(40)));
        assert_eq!(long("a").len(), 64);
        assert_ne!(long("a"), long("b"));
    }
}
