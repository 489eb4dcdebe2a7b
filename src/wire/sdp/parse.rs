//! The reader: bounds and splits the text, then asks `webrtc-sdp` for the value of each line we need.
//!
//! The crate's own whole-session parser is not used: it moves every remaining line for each line it takes (quadratic
//! in the input) and refuses a session for faults in lines we never look at. Its line parser has neither flaw.
//! `a=fmtp` stays text here (see [`super::format`]): the crate's reader of it loses the difference between
//! "not written" and "default", and indexes telephone-event ranges without a check.

use std::collections::BTreeSet;

use webrtc_sdp::SdpType;
use webrtc_sdp::attribute_type::{
    SdpAttribute, SdpAttributeFingerprint, SdpAttributeFingerprintHashType, SdpAttributeGroup,
    SdpAttributeGroupSemantic, SdpAttributePayloadType, SdpAttributeRtcpFb, SdpAttributeRtcpFbType,
    SdpAttributeSetup, SdpAttributeSimulcast, SdpAttributeSimulcastVersion, SdpAttributeSsrc,
    SdpSingleDirection, SdpSsrcGroupSemantic,
};
use webrtc_sdp::error::{SdpParserError, SdpParserInternalError};
use webrtc_sdp::media_type::{SdpMediaLine, SdpMediaValue};
use webrtc_sdp::parse_sdp_line;

use super::{
    Description, Feedback, Fingerprint, FingerprintHash, IceParams, MediaKind, MediaSection, Msid,
    SdpDirection, SdpError, SdpExtension, SdpRid, SdpSsrc, Setup,
};
use crate::limits::{
    ICE_CANDIDATES_MAX, RTP_EXTENSIONS_MAX, SDP_BYTES_MAX, SDP_CODECS_MAX, SDP_LINES_MAX,
    SDP_MEDIA_MAX, SDP_TOKEN_BYTES_MAX, SSRCS_PER_PEER_MAX,
};
use crate::wire::rtp::ExtensionKind;
use crate::wire::sdp::parse_codecs::CodecLines;

/// Bytes of an offending line that an error shows.
const ERROR_TEXT_BYTES: usize = 80;
/// Fingerprints kept per level; rids and simulcast layers kept per m-section.
const FINGERPRINTS_MAX: usize = 8;
const RIDS_MAX: usize = 16;

/// Reads a session description (RFC 8866).
///
/// Unknown lines and attributes are ignored; repeated ones count once or up to their bound in `limits`.
///
/// # Errors
/// [`SdpError`] names the line and what to do about it.
pub fn parse(text: &str) -> Result<Description, SdpError> {
    if text.len() > SDP_BYTES_MAX {
        return Err(SdpError::TooLong(text.len()));
    }
    let mut reader = Reader::default();
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        if number > SDP_LINES_MAX {
            return Err(SdpError::TooManyLines { line: number });
        }
        let line = raw.trim_end();
        if !line.is_empty() {
            reader.line(Line { number, text: line })?;
        }
    }
    reader.finish()
}

/// One line with its number, for errors.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    fn malformed(self, reason: impl Into<String>) -> SdpError {
        let mut end = self.text.len().min(ERROR_TEXT_BYTES);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        SdpError::Malformed {
            line: self.number,
            text: self.text.get(..end).unwrap_or_default().to_owned(),
            reason: reason.into(),
        }
    }

    /// The crate's reading of this line; `None` when it knows the line but not the value (to be ignored).
    fn read(self) -> Result<Option<SdpType>, SdpError> {
        match parse_sdp_line(self.text, self.number) {
            Ok(line) => Ok(Some(line.sdp_type)),
            Err(SdpParserError::Unsupported { .. }) => Ok(None),
            Err(SdpParserError::Line { error, .. }) => Err(self.malformed(reason(&error))),
            Err(SdpParserError::Sequence { message, .. }) => Err(self.malformed(message)),
        }
    }
}

fn reason(error: &SdpParserInternalError) -> String {
    match error {
        SdpParserInternalError::Generic(text) | SdpParserInternalError::Unsupported(text) => {
            text.clone()
        }
        other => other.to_string(),
    }
}

/// Attributes that an m-section inherits from the session level.
#[derive(Default)]
struct Shared {
    direction: Option<SdpDirection>,
    ufrag: Option<String>,
    pwd: Option<String>,
    fingerprints: Vec<Fingerprint>,
    setup: Option<Setup>,
}

/// An m-section being read.
struct Section {
    out: MediaSection,
    shared: Shared,
    codecs: CodecLines,
}

/// Which required first line comes next.
#[derive(Default, PartialEq)]
enum Expect {
    #[default]
    Version,
    Origin,
    Rest,
}

#[derive(Default)]
struct Reader {
    expect: Expect,
    session_id: u64,
    session_version: u64,
    ice_lite: bool,
    bundle: Option<Vec<String>>,
    extmap_allow_mixed: bool,
    shared: Shared,
    media: Vec<MediaSection>,
    mids: BTreeSet<String>,
    section: Option<Section>,
}

impl Reader {
    fn line(&mut self, line: Line<'_>) -> Result<(), SdpError> {
        if line.text.chars().any(char::is_control) {
            return Err(line.malformed("control characters are not allowed"));
        }
        let Some((kind, value)) = line.text.split_once('=') else {
            return Err(line.malformed("a line is one letter, '=' and a value"));
        };
        match (&self.expect, kind) {
            (Expect::Version, "v") if value == "0" => self.expect = Expect::Origin,
            (Expect::Origin, "o") => self.origin(line)?,
            (Expect::Version | Expect::Origin, _) | (Expect::Rest, "v" | "o") => {
                return Err(SdpError::Start { line: line.number });
            }
            (Expect::Rest, "m") => self.media_line(line)?,
            (Expect::Rest, "a") => self.attribute(line, value)?,
            // s, t, c, b and the rest: nothing we use.
            (Expect::Rest, _) => {}
        }
        Ok(())
    }

    fn origin(&mut self, line: Line<'_>) -> Result<(), SdpError> {
        if let Some(SdpType::Origin(origin)) = line.read()? {
            self.session_id = origin.session_id;
            self.session_version = origin.session_version;
        }
        self.expect = Expect::Rest;
        Ok(())
    }

    fn media_line(&mut self, line: Line<'_>) -> Result<(), SdpError> {
        self.close_section();
        if self.media.len() >= SDP_MEDIA_MAX {
            return Err(SdpError::TooManyMedia { line: line.number });
        }
        let Some(SdpType::Media(media)) = line.read()? else {
            return Err(line.malformed("this transport protocol is not supported"));
        };
        self.section = Some(Section {
            out: section_of(&media, line)?,
            shared: Shared::default(),
            codecs: CodecLines::default(),
        });
        Ok(())
    }

    fn attribute(&mut self, line: Line<'_>, attribute: &str) -> Result<(), SdpError> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        if is_shared(name) {
            let shared = match &mut self.section {
                Some(section) => &mut section.shared,
                None => &mut self.shared,
            };
            return shared.attribute(line);
        }
        match &mut self.section {
            None => self.session_attribute(line, name),
            Some(section) if name == "mid" => {
                let mid = token(line, value)?;
                if !self.mids.insert(mid.clone()) {
                    return Err(SdpError::DuplicateMid {
                        line: line.number,
                        mid,
                    });
                }
                section.out.mid = mid;
                Ok(())
            }
            Some(section) => section.attribute(line, name, value),
        }
    }

    fn session_attribute(&mut self, line: Line<'_>, name: &str) -> Result<(), SdpError> {
        match name {
            "ice-lite" => self.ice_lite = true,
            "extmap-allow-mixed" => self.extmap_allow_mixed = true,
            "group" if self.bundle.is_none() => {
                if let Some(SdpType::Attribute(SdpAttribute::Group(group))) = line.read()? {
                    self.bundle = bundle_of(group, line)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn close_section(&mut self) {
        if let Some(section) = self.section.take() {
            self.media.push(section.finish(&self.shared));
        }
    }

    fn finish(mut self) -> Result<Description, SdpError> {
        if self.expect != Expect::Rest {
            return Err(SdpError::Start { line: 1 });
        }
        self.close_section();
        Ok(Description {
            session_id: self.session_id,
            session_version: self.session_version,
            ice_lite: self.ice_lite,
            bundle: self.bundle.unwrap_or_default(),
            extmap_allow_mixed: self.extmap_allow_mixed,
            media: self.media,
        })
    }
}

fn section_of(media: &SdpMediaLine, line: Line<'_>) -> Result<MediaSection, SdpError> {
    let kind = match media.media {
        SdpMediaValue::Audio => MediaKind::Audio,
        SdpMediaValue::Video => MediaKind::Video,
        _ => MediaKind::Other,
    };
    let mut out = MediaSection::new("", kind);
    out.media = token(line, &media.media.to_string())?;
    out.protocol = media.proto.to_string();
    out.port_zero = media.port == 0;
    let formats = media.formats.to_string();
    if formats.trim().is_empty() {
        return Err(line.malformed("an m-line needs at least one format"));
    }
    out.formats = formats
        .split_whitespace()
        .take(2 * SDP_CODECS_MAX)
        .map(|format| token(line, format))
        .collect::<Result<_, _>>()?;
    Ok(out)
}

fn bundle_of(group: SdpAttributeGroup, line: Line<'_>) -> Result<Option<Vec<String>>, SdpError> {
    if !matches!(group.semantics, SdpAttributeGroupSemantic::Bundle) {
        return Ok(None);
    }
    let mids = group.tags.iter().take(SDP_MEDIA_MAX);
    let mids: Vec<String> = mids.map(|mid| token(line, mid)).collect::<Result<_, _>>()?;
    Ok(Some(mids))
}

/// Checks the bytes of a word that we may write back (RFC 8866 section 9, token-char, and our bound).
fn token(line: Line<'_>, text: &str) -> Result<String, SdpError> {
    let text = text.trim();
    if text.is_empty() || text.len() > SDP_TOKEN_BYTES_MAX {
        return Err(line.malformed(format!("give 1 to {SDP_TOKEN_BYTES_MAX} bytes")));
    }
    // Braces and slashes are no token characters, but old browsers write mids with them.
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        Some(bad) => Err(line.malformed(format!("{bad:?} is not allowed here"))),
        None => Ok(text.to_owned()),
    }
}

/// Checks a restriction id: letters, digits, '-' and '_' (RFC 8851 section 10).
fn rid_token(line: Line<'_>, text: &str) -> Result<String, SdpError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match text.bytes().all(legal) {
        true => token(line, text),
        false => Err(line.malformed("use letters, digits, '-' and '_' for a rid")),
    }
}

fn is_shared(name: &str) -> bool {
    matches!(
        name,
        "ice-ufrag"
            | "ice-pwd"
            | "fingerprint"
            | "setup"
            | "sendrecv"
            | "sendonly"
            | "recvonly"
            | "inactive"
    )
}

impl Shared {
    fn attribute(&mut self, line: Line<'_>) -> Result<(), SdpError> {
        let Some(SdpType::Attribute(attribute)) = line.read()? else {
            return Ok(());
        };
        match attribute {
            SdpAttribute::IceUfrag(text) => self.ufrag = Some(ice_chars(line, &text, 4)?),
            SdpAttribute::IcePwd(text) => self.pwd = Some(ice_chars(line, &text, 22)?),
            SdpAttribute::Fingerprint(fingerprint)
                if self.fingerprints.len() < FINGERPRINTS_MAX =>
            {
                self.fingerprints.push(fingerprint_of(fingerprint));
            }
            SdpAttribute::Setup(setup) => self.setup = Some(setup_of(setup)),
            SdpAttribute::Sendrecv => self.direction = Some(SdpDirection::SendRecv),
            SdpAttribute::Sendonly => self.direction = Some(SdpDirection::SendOnly),
            SdpAttribute::Recvonly => self.direction = Some(SdpDirection::RecvOnly),
            SdpAttribute::Inactive => self.direction = Some(SdpDirection::Inactive),
            _ => {}
        }
        Ok(())
    }
}

/// Checks length (RFC 8839 section 5.4) and characters of an ICE credential. Stacks write more than ice-chars; any
/// visible ASCII but ':' (it separates the ufrags of a USERNAME) does no harm. The value is not repeated in the error.
fn ice_chars(line: Line<'_>, text: &str, min: usize) -> Result<String, SdpError> {
    let hidden = Line {
        number: line.number,
        text: line.text.split(':').next().unwrap_or_default(),
    };
    if text.len() < min || text.len() > 256 {
        return Err(hidden.malformed(format!("give {min} to 256 characters")));
    }
    if text.bytes().any(|b| !b.is_ascii_graphic() || b == b':') {
        return Err(hidden.malformed("use letters, digits, '+' and '/'"));
    }
    Ok(text.to_owned())
}

fn fingerprint_of(fingerprint: SdpAttributeFingerprint) -> Fingerprint {
    let hash = match fingerprint.hash_algorithm {
        SdpAttributeFingerprintHashType::Sha1 => FingerprintHash::Sha1,
        SdpAttributeFingerprintHashType::Sha224 => FingerprintHash::Sha224,
        SdpAttributeFingerprintHashType::Sha256 => FingerprintHash::Sha256,
        SdpAttributeFingerprintHashType::Sha384 => FingerprintHash::Sha384,
        SdpAttributeFingerprintHashType::Sha512 => FingerprintHash::Sha512,
    };
    Fingerprint {
        hash,
        bytes: fingerprint.fingerprint,
    }
}

fn setup_of(setup: SdpAttributeSetup) -> Setup {
    match setup {
        SdpAttributeSetup::Active => Setup::Active,
        SdpAttributeSetup::Passive => Setup::Passive,
        SdpAttributeSetup::Actpass => Setup::ActPass,
        SdpAttributeSetup::Holdconn => Setup::HoldConn,
    }
}

impl Section {
    fn attribute(&mut self, line: Line<'_>, name: &str, value: &str) -> Result<(), SdpError> {
        match name {
            "bundle-only" => self.out.bundle_only = true,
            "rtcp-mux" => self.out.rtcp_mux = true,
            "rtcp-rsize" => self.out.rtcp_rsize = true,
            "end-of-candidates" => self.out.end_of_candidates = true,
            "candidate" if self.out.candidates.len() < ICE_CANDIDATES_MAX => {
                self.out.candidates.push(value.trim().to_owned());
            }
            "fmtp" => {
                if let Some((pt, text)) = value.trim().split_once(' ') {
                    self.codecs.fmtp(pt, text);
                }
            }
            "rtpmap" | "rtcp-fb" | "extmap" | "msid" | "ssrc" | "ssrc-group" | "rid"
            | "simulcast" => {
                if let Some(SdpType::Attribute(attribute)) = line.read()? {
                    self.read(line, attribute)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, line: Line<'_>, attribute: SdpAttribute) -> Result<(), SdpError> {
        match attribute {
            SdpAttribute::Rtpmap(map) => self.codecs.rtpmap(
                map.payload_type,
                map.codec_name,
                map.frequency,
                map.channels,
            ),
            SdpAttribute::Rtcpfb(feedback) => {
                let (pt, feedback) = feedback_of(&feedback);
                self.codecs.feedback(pt, feedback);
            }
            SdpAttribute::Extmap(map) => {
                let id = u8::try_from(map.id).ok().filter(|id| *id != 0);
                if self.out.extensions.len() < RTP_EXTENSIONS_MAX {
                    // Ids of 256 and more are legal in an offer that asks to be re-mapped; nobody does.
                    let Some(id) = id else { return Ok(()) };
                    self.out.extensions.push(SdpExtension {
                        id,
                        kind: ExtensionKind::from_uri(&map.url),
                        uri: map.url,
                    });
                }
            }
            SdpAttribute::Msid(msid) if self.out.msid.is_none() => {
                self.out.msid = Some(Msid {
                    stream: msid.id,
                    track: msid.appdata,
                });
            }
            SdpAttribute::Ssrc(ssrc) => self.ssrc(ssrc),
            SdpAttribute::SsrcGroup(SdpSsrcGroupSemantic::FlowIdentification, ssrcs) => {
                if let [primary, rtx, ..] = ssrcs.as_slice()
                    && self.out.fid_groups.len() < SSRCS_PER_PEER_MAX
                {
                    self.out.fid_groups.push((primary.id, rtx.id));
                }
            }
            SdpAttribute::Rid(rid) if self.out.rids.len() < RIDS_MAX => {
                self.out.rids.push(SdpRid {
                    id: rid_token(line, &rid.id)?,
                    send: rid.direction == SdpSingleDirection::Send,
                });
            }
            SdpAttribute::Simulcast(simulcast) => self.simulcast(line, &simulcast)?,
            _ => {}
        }
        Ok(())
    }

    fn ssrc(&mut self, line: SdpAttributeSsrc) {
        let cname = match line.attribute.as_deref() {
            Some("cname") => line.value,
            _ => None,
        };
        if let Some(known) = self.out.ssrcs.iter_mut().find(|s| s.ssrc == line.id) {
            if known.cname.is_none() {
                known.cname = cname;
            }
        } else if self.out.ssrcs.len() < SSRCS_PER_PEER_MAX {
            self.out.ssrcs.push(SdpSsrc {
                ssrc: line.id,
                cname,
            });
        }
    }

    fn simulcast(
        &mut self,
        line: Line<'_>,
        simulcast: &SdpAttributeSimulcast,
    ) -> Result<(), SdpError> {
        self.out.simulcast_send = layers(line, &simulcast.send)?;
        self.out.simulcast_recv = layers(line, &simulcast.receive)?;
        Ok(())
    }

    /// Adds what the session level says for all sections, and joins the codec lines.
    fn finish(self, session: &Shared) -> MediaSection {
        let Section {
            mut out,
            shared,
            codecs,
        } = self;
        out.direction = shared.direction.or(session.direction).unwrap_or_default();
        out.setup = shared.setup.or(session.setup);
        let ufrag = shared.ufrag.or_else(|| session.ufrag.clone());
        let pwd = shared.pwd.or_else(|| session.pwd.clone());
        out.ice = ufrag.zip(pwd).map(|(ufrag, pwd)| IceParams { ufrag, pwd });
        out.fingerprints = match shared.fingerprints.is_empty() {
            true => session.fingerprints.clone(),
            false => shared.fingerprints,
        };
        if out.kind != MediaKind::Other {
            out.codecs = codecs.join(&out.formats);
        }
        out
    }
}

/// First alternative of each simulcast layer.
fn layers(
    line: Line<'_>,
    layers: &[SdpAttributeSimulcastVersion],
) -> Result<Vec<String>, SdpError> {
    let firsts = layers.iter().filter_map(|layer| layer.ids.first());
    let firsts = firsts.take(RIDS_MAX);
    firsts.map(|rid| rid_token(line, &rid.id)).collect()
}

/// The payload type (`None`: all) and feedback of an `a=rtcp-fb` line.
fn feedback_of(line: &SdpAttributeRtcpFb) -> (Option<u8>, Feedback) {
    let pt = match line.payload_type {
        SdpAttributePayloadType::PayloadType(pt) => Some(pt),
        SdpAttributePayloadType::Wildcard => None,
    };
    let mut feedback = Feedback::default();
    match (&line.feedback_type, line.parameter.as_str()) {
        (SdpAttributeRtcpFbType::Nack, "") => feedback.nack = true,
        (SdpAttributeRtcpFbType::Nack, "pli") => feedback.nack_pli = true,
        (SdpAttributeRtcpFbType::Ccm, "fir") => feedback.ccm_fir = true,
        (SdpAttributeRtcpFbType::TransCc, _) => feedback.transport_cc = true,
        (SdpAttributeRtcpFbType::Remb, _) => feedback.goog_remb = true,
        _ => {}
    }
    (pt, feedback)
}
