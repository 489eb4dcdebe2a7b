//! Session descriptions of a load client: what it offers and answers, and what it learns of the server.
//!
//! Opus and VP8 only, one m-section for each track, as browsers do (RFC 9429).

use std::net::SocketAddr;

use crate::transport::dtls::{DtlsRole, Fingerprint, HashFunction};
use crate::wire::codec::CodecKind;
use crate::wire::rtp::ExtensionKind;
use crate::wire::sdp::{
    self, CodecFormat, Description, Feedback, FingerprintHash, IceParams, MediaKind, MediaSection,
    Msid, SdpCodec, SdpDirection, SdpError, SdpExtension, SdpRid, SdpSsrc, Setup,
};

const OPUS_PT: u8 = 111;
const VP8_PT: u8 = 96;
const VP8_RTX_PT: u8 = 97;
const MID_ID: u8 = 4;
const TRANSPORT_CC_ID: u8 = 3;
const RID_ID: u8 = 10;
/// RTP stream ids of simulcast, the largest picture first: Janus goes by the order.
const RIDS: [&str; 3] = ["f", "h", "q"];

/// Why a description of the server is of no use.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// It cannot be read.
    #[error("the server's description: {0}")]
    Sdp(#[from] SdpError),
    /// Something that a connection needs is not there.
    #[error("the server's description has no {0}")]
    Missing(&'static str),
}

/// What a client must know to connect.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where checks go.
    pub address: SocketAddr,
    /// Credentials.
    pub ice: IceParams,
    /// What its certificate must be.
    pub fingerprints: Vec<Fingerprint>,
    /// Which side of the handshake we are.
    pub role: DtlsRole,
    /// It is a lite agent: it waits for our checks.
    pub lite: bool,
    /// It decides which pair is used: a full agent that has offered (RFC 8445 section 6.1.1).
    pub controls: bool,
}

/// Which encoding of a track a stream is (RFC 8853), and how its packets say so until the server knows (RFC 8852).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Extension id and value of its m-section.
    pub mid: Option<(u8, String)>,
    /// Extension id and value of its RTP stream id.
    pub rid: Option<(u8, String)>,
    /// Width and height are divided by two this many times.
    pub halvings: u8,
}

/// A stream the client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Video, not audio.
    pub video: bool,
    /// Its SSRC.
    pub ssrc: u32,
    /// Payload type the server wants.
    pub payload_type: u8,
    /// Id of the transport-wide sequence number, if negotiated.
    pub transport_cc_id: Option<u8>,
    /// With simulcast: which encoding it is.
    pub layer: Option<Layer>,
}

/// An m-section of ours.
#[derive(Debug, Clone)]
struct Section {
    mid: String,
    video: bool,
    /// SSRCs of what is sent on it, one for each encoding; video has that of its retransmissions after each.
    ssrcs: Vec<u32>,
    media: MediaSection,
}

/// The client's side of a negotiation.
#[derive(Debug)]
pub struct Describer {
    ice: IceParams,
    fingerprint: Fingerprint,
    sections: Vec<Section>,
    version: u64,
    next_ssrc: u32,
    stream: String,
    simulcast: bool,
}

impl Describer {
    /// A client called `name` that has described nothing yet. SSRCs from `first_ssrc` on are its own.
    pub fn new(name: &str, ice: IceParams, fingerprint: Fingerprint, first_ssrc: u32) -> Self {
        Self {
            ice,
            fingerprint,
            sections: Vec::new(),
            version: 1,
            next_ssrc: first_ssrc,
            stream: format!("stream-{name}"),
            simulcast: false,
        }
    }

    /// The same, sending video in three encodings if `simulcast`.
    #[must_use]
    pub fn with_simulcast(self, simulcast: bool) -> Self {
        Self { simulcast, ..self }
    }

    /// Adds an m-section to be offered; its mid.
    pub fn add(&mut self, video: bool, sends: bool) -> String {
        let mid = self.sections.len().to_string();
        let count = match (sends, video && self.simulcast) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => RIDS.len() as u32,
        };
        let ssrcs = (0..count).map(|n| self.next_ssrc.wrapping_add(2 * n));
        let ssrcs = ssrcs.collect();
        self.next_ssrc = self.next_ssrc.wrapping_add(2 * count);
        let kind = if video {
            MediaKind::Video
        } else {
            MediaKind::Audio
        };
        let mut media = MediaSection::new(&mid, kind);
        media.direction = SdpDirection::new(sends, !sends);
        media.set_codecs(vec![if video { vp8() } else { opus() }]);
        let mut extensions = vec![
            (MID_ID, ExtensionKind::Mid),
            (TRANSPORT_CC_ID, ExtensionKind::TransportCc),
        ];
        if count > 1 {
            extensions.push((RID_ID, ExtensionKind::Rid));
            media.rids = RIDS
                .map(|id| SdpRid {
                    id: id.to_owned(),
                    send: true,
                })
                .into();
            media.simulcast_send = RIDS.map(str::to_owned).into();
        }
        let extensions = extensions.into_iter().map(|(id, kind)| SdpExtension {
            id,
            kind: Some(kind),
            uri: kind.uri().to_owned(),
        });
        media.extensions = extensions.collect();
        self.sections.push(Section {
            mid: mid.clone(),
            video,
            ssrcs,
            media,
        });
        mid
    }

    /// The m-section on which `ssrc` is sent.
    pub fn mid_of(&self, ssrc: u32) -> Option<&str> {
        let section = self.sections.iter().find(|s| s.ssrcs.contains(&ssrc))?;
        Some(&section.mid)
    }

    /// An offer of all m-sections.
    pub fn offer(&mut self) -> String {
        let media = self.sections.iter().map(|s| self.dress(s, Setup::ActPass));
        let media = media.collect();
        self.write(media)
    }

    /// Takes an offer and answers it with its own payload types and ids, and with the same order of m-sections.
    ///
    /// # Errors
    /// [`DescribeError::Sdp`].
    pub fn answer(&mut self, offer: &str) -> Result<String, DescribeError> {
        let theirs = sdp::parse(offer)?;
        for section in &theirs.media {
            let video = section.kind == MediaKind::Video;
            let known = self.sections.iter_mut().find(|s| s.mid == section.mid);
            let media = accept(section, known.as_ref().is_some_and(|k| !k.ssrcs.is_empty()));
            match known {
                Some(known) => known.media = media,
                None => self.sections.push(Section {
                    mid: section.mid.clone(),
                    video,
                    ssrcs: Vec::new(),
                    media,
                }),
            }
        }
        let media = self.sections.iter().map(|s| self.dress(s, Setup::Active));
        let media = media.collect();
        Ok(self.write(media))
    }

    /// An m-section with everything that is the same in all.
    fn dress(&self, section: &Section, setup: Setup) -> MediaSection {
        let mut media = section.media.clone();
        if media.port_zero {
            return media;
        }
        media.ice = Some(self.ice.clone());
        media.fingerprints = vec![sdp::Fingerprint {
            hash: FingerprintHash::Sha256,
            bytes: self.fingerprint.bytes().to_vec(),
        }];
        media.setup = Some(setup);
        media.candidates.clear();
        media.rtcp_mux = true;
        media.rtcp_rsize = true;
        media.ssrcs.clear();
        media.fid_groups.clear();
        media.msid = None;
        if !section.ssrcs.is_empty() && media.direction.sends() {
            let of = |ssrc| SdpSsrc {
                ssrc,
                cname: Some(self.stream.clone()),
            };
            media.msid = Some(Msid {
                stream: self.stream.clone(),
                track: Some(format!("track-{}", section.mid)),
            });
            // With several encodings only their packets say which is which.
            if let [ssrc] = *section.ssrcs {
                media.ssrcs.push(of(ssrc));
                if section.video {
                    media.ssrcs.push(of(ssrc + 1));
                    media.fid_groups.push((ssrc, ssrc + 1));
                }
            }
        }
        media
    }

    fn write(&mut self, media: Vec<MediaSection>) -> String {
        self.version += 1;
        let live = media.iter().filter(|m| !m.port_zero);
        sdp::write(&Description {
            session_id: 4_611_731_400_430_051,
            session_version: self.version,
            ice_lite: false,
            bundle: live.map(|m| m.mid.clone()).collect(),
            extmap_allow_mixed: true,
            media,
        })
    }

    /// What the server's description, offer or answer, says about the way to it and about what may be sent.
    ///
    /// # Errors
    /// See [`DescribeError`].
    pub fn learn(&self, description: &str) -> Result<(Remote, Vec<Sending>), DescribeError> {
        let theirs = sdp::parse(description)?;
        let live = theirs.media.iter().filter(|m| !m.is_rejected());
        let first = live
            .clone()
            .find(|m| m.ice.is_some())
            .ok_or(DescribeError::Missing("ICE credentials"))?;
        let candidates = live.clone().flat_map(|m| &m.candidates);
        let address = candidates.filter_map(|c| address_of(c)).next();
        let remote = Remote {
            address: address.ok_or(DescribeError::Missing("UDP candidate"))?,
            ice: first
                .ice
                .clone()
                .ok_or(DescribeError::Missing("ICE credentials"))?,
            fingerprints: fingerprints_of(first),
            role: match first.setup {
                Some(Setup::Active) => DtlsRole::Passive,
                _ => DtlsRole::Active,
            },
            lite: theirs.ice_lite,
            controls: false,
        };
        if remote.fingerprints.is_empty() {
            return Err(DescribeError::Missing("fingerprint"));
        }
        let mut sending = Vec::new();
        for section in live.filter(|m| m.direction.receives()) {
            if let Some(ours) = self.sections.iter().find(|s| s.mid == section.mid) {
                sending.extend(ours.sendings(section));
            }
        }
        Ok((remote, sending))
    }
}

impl Section {
    /// What may be sent on it, by the server's side of it: all encodings it takes, or the only one.
    fn sendings(&self, theirs: &MediaSection) -> Vec<Sending> {
        let Some(codec) = theirs.codecs.iter().find(|c| usable(c)) else {
            return Vec::new();
        };
        let id_of = |kind| {
            let mut extensions = theirs.extensions.iter();
            extensions.find(|e| e.kind == Some(kind)).map(|e| e.id)
        };
        let taken = |rid: &str| theirs.simulcast_recv.iter().any(|r| r == rid);
        let simulcast = self.ssrcs.len() > 1 && RIDS.iter().any(|rid| taken(rid));
        let of = |ssrc, layer| Sending {
            video: self.video,
            ssrc,
            payload_type: codec.pt,
            transport_cc_id: id_of(ExtensionKind::TransportCc),
            layer,
        };
        let mid = id_of(ExtensionKind::Mid).map(|id| (id, self.mid.clone()));
        if !simulcast {
            // A server that takes one encoding only: no SSRC was signalled for several, so packets say whose they are.
            let alone = (self.ssrcs.len() > 1).then(|| Layer {
                mid: mid.clone(),
                rid: None,
                halvings: 0,
            });
            let first = self.ssrcs.first();
            return first.map(|ssrc| of(*ssrc, alone)).into_iter().collect();
        }
        let layer = |at: usize, rid: &str| Layer {
            mid: mid.clone(),
            rid: id_of(ExtensionKind::Rid).map(|id| (id, rid.to_owned())),
            halvings: at as u8,
        };
        let pairs = self.ssrcs.iter().zip(RIDS).enumerate();
        // The client makes the smaller ones after the pattern of the largest, and wants that last.
        pairs
            .rev()
            .filter(|(_, (_, rid))| taken(rid))
            .map(|(at, (ssrc, rid))| of(*ssrc, Some(layer(at, rid))))
            .collect()
    }
}

/// The server's m-section as we take it.
fn accept(theirs: &MediaSection, sends: bool) -> MediaSection {
    let mut media = theirs.clone();
    let codecs: Vec<SdpCodec> = theirs
        .codecs
        .iter()
        .filter(|c| usable(c))
        .cloned()
        .collect();
    media.port_zero = codecs.is_empty() || theirs.is_rejected();
    media.bundle_only = false;
    media.set_codecs(codecs);
    media.direction = SdpDirection::new(
        sends && theirs.direction.receives(),
        theirs.direction.sends(),
    );
    let kinds = [ExtensionKind::Mid, ExtensionKind::TransportCc];
    media
        .extensions
        .retain(|e| e.kind.is_some_and(|kind| kinds.contains(&kind)));
    media.rids.clear();
    media.simulcast_send.clear();
    media.simulcast_recv.clear();
    media
}

fn usable(codec: &SdpCodec) -> bool {
    matches!(codec.format.kind(), CodecKind::Opus | CodecKind::Vp8)
}

fn opus() -> SdpCodec {
    SdpCodec {
        pt: OPUS_PT,
        format: CodecFormat::Opus,
        clock_rate: 48_000,
        channels: Some(2),
        fmtp: Some("minptime=10;useinbandfec=1".to_owned()),
        feedback: Feedback {
            transport_cc: true,
            ..Feedback::default()
        },
        rtx_pt: None,
    }
}

fn vp8() -> SdpCodec {
    SdpCodec {
        pt: VP8_PT,
        format: CodecFormat::Vp8,
        clock_rate: 90_000,
        channels: None,
        fmtp: None,
        feedback: Feedback {
            nack: true,
            nack_pli: true,
            ccm_fir: true,
            transport_cc: true,
            goog_remb: false,
        },
        rtx_pt: Some(VP8_RTX_PT),
    }
}

/// The address of a UDP candidate (RFC 8839 section 5.1), if it can be reached as it is: names of mDNS and addresses that
/// are of one link only cannot.
fn address_of(candidate: &str) -> Option<SocketAddr> {
    let fields: Vec<&str> = candidate.split(' ').collect();
    let [_, _, transport, _, ip, port, ..] = fields.as_slice() else {
        return None;
    };
    if !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    let address = SocketAddr::new(ip.parse().ok()?, port.parse().ok()?);
    let of_link = matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local());
    (!of_link).then_some(address)
}

fn fingerprints_of(section: &MediaSection) -> Vec<Fingerprint> {
    let of = |f: &sdp::Fingerprint| {
        let hash = match f.hash {
            FingerprintHash::Sha256 => HashFunction::Sha256,
            FingerprintHash::Sha384 => HashFunction::Sha384,
            FingerprintHash::Sha512 => HashFunction::Sha512,
            FingerprintHash::Sha1 | FingerprintHash::Sha224 => return None,
        };
        Fingerprint::from_digest(hash, &f.bytes)
    };
    section.fingerprints.iter().filter_map(of).collect()
}
