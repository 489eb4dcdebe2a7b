//! A WebRTC client as far as offers and answers go: transceivers, m-sections that stay in place, and the checks a
//! browser makes of what it is given. Every check is an assertion: a description of ours that breaks a rule fails the test.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::TrackId;
use crate::wire::rtp::ExtensionKind;
use crate::wire::sdp::{
    self, CodecFormat, Description, Feedback, Fingerprint, FingerprintHash, IceParams, MediaKind,
    MediaSection, SdpCodec, SdpDirection, SdpExtension, SdpSsrc, Setup,
};

/// Payload types of a browser, so that its answers name its own.
#[derive(Debug, Clone)]
pub(super) struct Flavour {
    pub(super) audio: Vec<(u8, CodecFormat)>,
    pub(super) video: Vec<(u8, CodecFormat)>,
    pub(super) extensions: Vec<(u8, ExtensionKind)>,
}

impl Flavour {
    pub(super) fn chromium() -> Self {
        Self {
            audio: vec![(111, CodecFormat::Opus)],
            video: vec![
                (96, CodecFormat::Vp8),
                (108, CodecFormat::H264_CBP),
                (45, CodecFormat::Av1 { profile: 0 }),
                (98, CodecFormat::Vp9 { profile: 0 }),
            ],
            extensions: vec![(3, ExtensionKind::TransportCc), (4, ExtensionKind::Mid)],
        }
    }

    /// 96 is Opus here, and 101 a codec of its own.
    pub(super) fn odd() -> Self {
        Self {
            audio: vec![(96, CodecFormat::Opus)],
            video: vec![(101, CodecFormat::H264_CBP), (120, CodecFormat::Vp8)],
            extensions: vec![(1, ExtensionKind::Mid), (4, ExtensionKind::AbsSendTime)],
        }
    }
}

/// What a payload type means.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meaning {
    Codec(CodecFormat),
    Rtx(u8),
}

#[derive(Debug, Clone)]
pub(super) struct Transceiver {
    pub(super) mid: Option<String>,
    pub(super) kind: MediaKind,
    pub(super) sends: Option<TrackId>,
    /// Track the client means to receive here, when it offers it itself.
    pub(super) receives: Option<TrackId>,
    /// Agreed: we receive something here, of this stream.
    pub(super) playing: Option<String>,
    pub(super) stopped: bool,
}

/// The other side of a [`super::super::Negotiation`].
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) flavour: Flavour,
    pub(super) transceivers: Vec<Transceiver>,
    pub(super) ice: IceParams,
    next_mid: u32,
    version: u64,
    /// Mid and kind of the m-sections agreed so far.
    agreed: Vec<(String, MediaKind)>,
    /// What payload types and extension ids have meant so far, on all sections.
    payloads: BTreeMap<u8, Meaning>,
    extensions: BTreeMap<u8, String>,
}

impl Client {
    pub(super) fn new(flavour: Flavour) -> Self {
        Self {
            flavour,
            transceivers: Vec::new(),
            ice: IceParams {
                ufrag: "clie".into(),
                pwd: "clientclientclientclient".into(),
            },
            next_mid: 0,
            version: 1,
            agreed: Vec::new(),
            payloads: BTreeMap::new(),
            extensions: BTreeMap::new(),
        }
    }

    /// A new transceiver: sends `sends`, and is meant for `receives`.
    pub(super) fn add(
        &mut self,
        kind: MediaKind,
        sends: Option<TrackId>,
        receives: Option<TrackId>,
    ) -> usize {
        self.transceivers.push(Transceiver {
            mid: None,
            kind,
            sends,
            receives,
            playing: None,
            stopped: false,
        });
        self.transceivers.len() - 1
    }

    /// Offer and `mids`. m-sections are in the order of first negotiation.
    pub(super) fn offer(&mut self) -> (String, BTreeMap<TrackId, String>) {
        for transceiver in &mut self.transceivers {
            if transceiver.mid.is_none() {
                transceiver.mid = Some(self.next_mid.to_string());
                self.next_mid += 1;
            }
        }
        let mut mids: Vec<String> = self.agreed.iter().map(|(mid, _)| mid.clone()).collect();
        for transceiver in &self.transceivers {
            let mid = transceiver.mid.clone().unwrap();
            if !mids.contains(&mid) {
                mids.push(mid);
            }
        }
        let media: Vec<_> = mids
            .iter()
            .map(|mid| self.section(mid, Setup::ActPass))
            .collect();
        let mut tracks = BTreeMap::new();
        for transceiver in self.transceivers.iter().filter(|t| !t.stopped) {
            for track in [transceiver.sends, transceiver.receives]
                .into_iter()
                .flatten()
            {
                tracks.insert(track, transceiver.mid.clone().unwrap());
            }
        }
        (self.write(media), tracks)
    }

    fn write(&mut self, media: Vec<MediaSection>) -> String {
        self.version += 1;
        let open = media.iter().filter(|m| !m.is_rejected());
        sdp::write(&Description {
            session_id: 4242,
            session_version: self.version,
            ice_lite: false,
            bundle: open.map(|m| m.mid.clone()).collect(),
            extmap_allow_mixed: true,
            media,
        })
    }

    fn section(&mut self, mid: &str, setup: Setup) -> MediaSection {
        let transceiver = self.of_mid(mid).expect("a transceiver for each section");
        let transceiver = transceiver.clone();
        let mut out = MediaSection::new(mid, transceiver.kind);
        out.set_codecs(self.codecs(transceiver.kind));
        if transceiver.stopped {
            out.port_zero = true;
            out.direction = SdpDirection::Inactive;
            return out;
        }
        for (own, kind) in self.flavour.extensions.clone() {
            out.extensions.push(SdpExtension {
                id: self.extension_id(kind, own),
                kind: Some(kind),
                uri: kind.uri().to_owned(),
            });
        }
        out.direction = SdpDirection::new(transceiver.sends.is_some(), true);
        if let Some(track) = transceiver.sends {
            out.ssrcs = vec![SdpSsrc {
                ssrc: 1000 + track.0,
                cname: Some("me".into()),
            }];
        }
        out.rtcp_mux = true;
        out.ice = Some(self.ice.clone());
        out.setup = Some(setup);
        out.fingerprints = vec![Fingerprint {
            hash: FingerprintHash::Sha256,
            bytes: vec![7; 32],
        }];
        out
    }

    fn of_mid(&self, mid: &str) -> Option<&Transceiver> {
        let mut all = self.transceivers.iter();
        all.find(|t| t.mid.as_deref() == Some(mid))
    }

    /// Takes the server's answer to `offer`, with a browser's checks.
    pub(super) fn take_answer(&mut self, offer: &str, answer: &str) {
        let offer = sdp::parse(offer).unwrap();
        let answer = self.check(answer);
        assert_eq!(
            answer.media.len(),
            offer.media.len(),
            "one answer per section"
        );
        for (offered, answered) in offer.media.iter().zip(&answer.media) {
            assert_eq!((&answered.mid, answered.kind), (&offered.mid, offered.kind));
            if offered.is_rejected() {
                assert!(answered.is_rejected());
            }
            if answered.is_rejected() {
                continue;
            }
            assert_eq!(answered.setup, Some(Setup::Passive));
            assert!(!answered.direction.sends() || offered.direction.receives());
            assert!(!answered.direction.receives() || offered.direction.sends());
            for codec in &answered.codecs {
                let same = |o: &&SdpCodec| o.pt == codec.pt && o.format == codec.format;
                let offered = offered.codecs.iter().find(same).expect("an offered codec");
                assert_eq!(offered.rtx_pt, codec.rtx_pt);
                assert_eq!(codec.feedback.intersect(offered.feedback), codec.feedback);
            }
            for extension in &answered.extensions {
                assert!(offered.extensions.contains(extension));
            }
        }
        self.agree(&answer);
    }

    /// Takes the server's offer and answers it.
    pub(super) fn answer(&mut self, offer: &str) -> String {
        let offer = self.check(offer);
        let mut media = Vec::new();
        for offered in &offer.media {
            if self.of_mid(&offered.mid).is_none() {
                let index = self.add(offered.kind, None, None);
                self.transceivers[index].mid = Some(offered.mid.clone());
            }
            media.push(self.answer_section(offered));
        }
        self.agree(&offer);
        self.write(media)
    }

    fn answer_section(&mut self, offered: &MediaSection) -> MediaSection {
        let mut out = self.section(&offered.mid, Setup::Active);
        if offered.is_rejected() || out.is_rejected() {
            out.port_zero = true;
            out.direction = SdpDirection::Inactive;
            return out;
        }
        assert_eq!(offered.setup, Some(Setup::ActPass));
        // A browser answers with the payload types of the offer.
        let known: Vec<CodecFormat> = out.codecs.iter().map(|c| c.format).collect();
        let common = offered.codecs.iter().filter(|c| known.contains(&c.format));
        out.set_codecs(common.cloned().collect());
        let kinds: Vec<_> = out.extensions.iter().map(|e| e.kind).collect();
        let common = offered
            .extensions
            .iter()
            .filter(|e| kinds.contains(&e.kind));
        out.extensions = common.cloned().collect();
        out.direction = SdpDirection::new(
            out.direction.sends() && offered.direction.receives(),
            offered.direction.sends(),
        );
        out
    }

    /// What a browser checks of any description of ours: [`check_rules`], sections in place, one meaning for ever.
    fn check(&mut self, text: &str) -> Description {
        let description = check_rules(text);
        assert!(
            description.media.len() >= self.agreed.len(),
            "a section is gone"
        );
        for ((mid, kind), media) in self.agreed.iter().zip(&description.media) {
            assert_eq!(
                (mid, *kind),
                (&media.mid, media.kind),
                "a section has moved"
            );
        }
        for media in description.media.iter().filter(|m| !m.is_rejected()) {
            for codec in &media.codecs {
                self.uses(codec.pt, Meaning::Codec(codec.format));
                if let Some(rtx) = codec.rtx_pt {
                    self.uses(rtx, Meaning::Rtx(codec.pt));
                }
            }
            for extension in &media.extensions {
                let before = self.extensions.insert(extension.id, extension.uri.clone());
                assert!(
                    before.is_none_or(|b| b == extension.uri),
                    "extension {}",
                    extension.id
                );
            }
        }
        description
    }

    fn uses(&mut self, pt: u8, meaning: Meaning) {
        let before = self.payloads.insert(pt, meaning);
        assert!(before.is_none_or(|b| b == meaning), "payload type {pt}");
    }

    /// The number for `meaning`: the one in use, or `own`, or one that is free.
    fn number(&mut self, meaning: Meaning, own: u8) -> u8 {
        if let Some((pt, _)) = self.payloads.iter().find(|(_, m)| **m == meaning) {
            return *pt;
        }
        let mut all = std::iter::once(own).chain(35..=63);
        let pt = all.find(|pt| !self.payloads.contains_key(pt)).unwrap();
        self.payloads.insert(pt, meaning);
        pt
    }

    fn extension_id(&mut self, kind: ExtensionKind, own: u8) -> u8 {
        if let Some((id, _)) = self.extensions.iter().find(|(_, uri)| *uri == kind.uri()) {
            return *id;
        }
        let mut all = std::iter::once(own).chain(1..=14);
        let id = all.find(|id| !self.extensions.contains_key(id)).unwrap();
        self.extensions.insert(id, kind.uri().to_owned());
        id
    }

    /// Our codecs, with numbers that fit to what has been agreed before.
    fn codecs(&mut self, kind: MediaKind) -> Vec<SdpCodec> {
        let formats = match kind {
            MediaKind::Audio => self.flavour.audio.clone(),
            _ => self.flavour.video.clone(),
        };
        let mut out = Vec::new();
        for (own, format) in formats {
            let pt = self.number(Meaning::Codec(format), own);
            let rtx = format.kind().is_video();
            out.push(SdpCodec {
                rtx_pt: rtx.then(|| self.number(Meaning::Rtx(pt), own + 1)),
                ..codec(pt, format)
            });
        }
        out
    }

    fn agree(&mut self, server: &Description) {
        let sections = server.media.iter();
        self.agreed = sections.map(|m| (m.mid.clone(), m.kind)).collect();
        for media in &server.media {
            let stream = media.msid.as_ref().map(|msid| msid.stream.clone());
            let mut all = self.transceivers.iter_mut();
            if let Some(t) = all.find(|t| t.mid.as_ref() == Some(&media.mid)) {
                t.playing = stream.filter(|_| media.direction.sends() && !t.stopped);
            }
        }
    }
}

/// Rules that hold for each description of ours by itself (RFC 9143, RFC 9429).
pub(super) fn check_rules(text: &str) -> Description {
    webrtc_sdp::parse_sdp(text, true).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let description = sdp::parse(text).unwrap();
    assert_eq!(sdp::write(&description), text, "nothing is lost");
    assert!(description.ice_lite);
    let open: BTreeSet<&String> = description
        .media
        .iter()
        .filter(|m| !m.is_rejected())
        .map(|m| &m.mid)
        .collect();
    let bundle: BTreeSet<&String> = description.bundle.iter().collect();
    assert!(
        bundle == open || (bundle.is_empty() && open.len() == 1),
        "{text}"
    );
    assert_eq!(
        bundle.len(),
        description.bundle.len(),
        "a mid twice in the group"
    );
    let with_candidates = description
        .media
        .iter()
        .filter(|m| !m.candidates.is_empty());
    let carriers: BTreeSet<_> = with_candidates.map(|m| &m.mid).collect();
    assert_eq!(carriers, open, "candidates in every section in use");
    let mut ssrcs = BTreeSet::new();
    for media in description.media.iter().filter(|m| !m.is_rejected()) {
        assert!(media.rtcp_mux && media.rtcp_rsize && media.ice.is_some());
        assert_eq!(media.fingerprints.len(), 1);
        assert!(!media.codecs.is_empty(), "an open section has codecs");
        assert_eq!(media.msid.is_some(), media.direction.sends());
        assert_eq!(media.ssrcs.is_empty(), !media.direction.sends());
        assert!(
            media.ssrcs.iter().all(|s| ssrcs.insert(s.ssrc)),
            "an SSRC twice"
        );
    }
    description
}

fn codec(pt: u8, format: CodecFormat) -> SdpCodec {
    let video = format.kind().is_video();
    let fmtp = match format {
        CodecFormat::H264 { .. } => {
            Some("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
        }
        CodecFormat::Opus => Some("minptime=10;useinbandfec=1"),
        _ => None,
    };
    SdpCodec {
        pt,
        format,
        clock_rate: format.kind().clock_rate(),
        channels: (!video).then_some(2),
        fmtp: fmtp.map(str::to_owned),
        feedback: Feedback {
            nack: video,
            nack_pli: video,
            ccm_fir: video,
            transport_cc: true,
            goog_remb: video,
        },
        rtx_pt: None,
    }
}
