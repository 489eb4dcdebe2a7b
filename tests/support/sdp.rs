//! Session descriptions of a test client: offers in Chromium's shape (RFC 8829), answers to the server's offers,
//! and a reader of the server's descriptions. Line oriented and strict: what surprises a browser fails a test here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Header extensions a Chromium client offers for audio: (id, URI).
pub const AUDIO_EXTENSIONS: &[(u8, &str)] = &[
    (1, AUDIO_LEVEL),
    (2, ABS_SEND_TIME),
    (3, TRANSPORT_CC),
    (4, MID),
];
/// Header extensions a Chromium client offers for video: (id, URI).
pub const VIDEO_EXTENSIONS: &[(u8, &str)] = &[
    (14, "urn:ietf:params:rtp-hdrext:toffset"),
    (2, ABS_SEND_TIME),
    (13, "urn:3gpp:video-orientation"),
    (3, TRANSPORT_CC),
    (
        5,
        "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    ),
    (
        6,
        "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
    ),
    (4, MID),
    (10, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
    (11, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"),
];
/// RFC 9143 section 15.
pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// Transport-wide sequence numbers.
pub const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// 24-bit send time.
pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
/// RFC 6464.
pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// Payload types of the offers made here.
pub const OPUS_PT: u8 = 111;
/// See [`OPUS_PT`].
pub const VP8_PT: u8 = 96;
/// See [`OPUS_PT`].
pub const VP8_RTX_PT: u8 = 97;

/// Kind of an m-section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
}

impl Kind {
    /// Word of the m-line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Audio => "audio",
            Kind::Video => "video",
        }
    }
}

/// What a client says about itself in every description.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// ICE user fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// SHA-256 of its certificate, `AB:CD:…`.
    pub fingerprint: String,
}

/// SSRCs and names of a track that a client sends.
#[derive(Debug, Clone)]
pub struct SendTrack {
    /// Client API track id.
    pub track: u64,
    /// Media.
    pub ssrc: u32,
    /// Retransmissions (RFC 4588); video only.
    pub rtx_ssrc: Option<u32>,
    /// MediaStream id.
    pub stream: String,
}

/// One m-section as the client has it.
#[derive(Debug, Clone)]
pub struct Section {
    /// RFC 5888 identification tag.
    pub mid: String,
    /// Audio or video.
    pub kind: Kind,
    /// Track sent on it.
    pub send: Option<SendTrack>,
    /// Whether the client wants to receive on it.
    pub recv: bool,
    /// An m-section this client cannot use (data channels): answered with port 0.
    pub rejected: bool,
}

/// The client's side of one `RTCPeerConnection`.
#[derive(Debug, Clone)]
pub struct LocalSdp {
    /// ICE and DTLS identity.
    pub credentials: Credentials,
    /// m-sections in the order of their m-lines; it never changes, only grows.
    pub sections: Vec<Section>,
    version: u64,
    next_mid: u32,
}

/// One m-section of a server description.
#[derive(Debug, Clone)]
pub struct RemoteSection {
    /// RFC 5888 identification tag.
    pub mid: String,
    /// `None` for kinds other than audio and video.
    pub kind: Option<Kind>,
    /// 0 when rejected.
    pub port: u16,
    /// From the server's side.
    pub sends: bool,
    /// From the server's side.
    pub receives: bool,
    /// (payload type, encoding name in lower case).
    pub codecs: Vec<(u8, String)>,
    /// RTX payload type → payload type it repairs.
    pub apt: BTreeMap<u8, u8>,
    /// URI → id.
    pub extensions: BTreeMap<String, u8>,
    /// SSRCs in order of appearance.
    pub ssrcs: Vec<u32>,
    /// (media, RTX) of `ssrc-group:FID`.
    pub fid: Option<(u32, u32)>,
    /// MediaStream id of `a=msid`.
    pub stream: Option<String>,
    /// The section's lines, to look for attributes by hand.
    pub lines: Vec<String>,
}

impl RemoteSection {
    /// Payload type of `name`, and of its RTX.
    pub fn payload_type(&self, name: &str) -> Option<(u8, Option<u8>)> {
        let pt = self.codecs.iter().find(|(_, n)| n == name)?.0;
        let rtx = self
            .apt
            .iter()
            .find(|(_, apt)| **apt == pt)
            .map(|(rtx, _)| *rtx);
        Some((pt, rtx))
    }
}

/// A server description.
#[derive(Debug, Clone)]
pub struct RemoteSdp {
    /// ICE user fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// SHA-256 of the server's certificate, `AB:CD:…`.
    pub fingerprint: String,
    /// `a=setup`.
    pub setup: String,
    /// Whether the server is an ICE-lite agent.
    pub ice_lite: bool,
    /// Host candidates (UDP).
    pub candidates: Vec<SocketAddr>,
    /// Bundled mids.
    pub bundle: Vec<String>,
    /// m-sections.
    pub sections: Vec<RemoteSection>,
}

impl RemoteSdp {
    /// Reads a server description.
    ///
    /// # Panics
    /// When something a browser needs is missing.
    pub fn parse(sdp: &str) -> RemoteSdp {
        assert!(
            sdp.starts_with("v=0\r\n"),
            "description starts with v=0: {sdp}"
        );
        assert!(sdp.ends_with("\r\n"), "description ends with CRLF");
        let mut remote = RemoteSdp {
            ufrag: String::new(),
            pwd: String::new(),
            fingerprint: String::new(),
            setup: String::new(),
            ice_lite: false,
            candidates: Vec::new(),
            bundle: Vec::new(),
            sections: Vec::new(),
        };
        for line in sdp.split("\r\n").filter(|l| !l.is_empty()) {
            assert!(
                line.as_bytes().get(1) == Some(&b'='),
                "line is type=value: {line:?}"
            );
            if let Some(media) = line.strip_prefix("m=") {
                remote.sections.push(media_line(media));
            } else if let Some(attribute) = line.strip_prefix("a=") {
                let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
                remote.transport_attribute(name, value);
                if let Some(section) = remote.sections.last_mut() {
                    section.lines.push(line.to_owned());
                    section.attribute(name, value);
                }
            }
        }
        remote.check(sdp);
        remote
    }

    fn transport_attribute(&mut self, name: &str, value: &str) {
        match name {
            "ice-ufrag" => self.ufrag = value.to_owned(),
            "ice-pwd" => self.pwd = value.to_owned(),
            "fingerprint" => {
                if let Some(hash) = value.strip_prefix("sha-256 ") {
                    self.fingerprint = hash.to_ascii_uppercase();
                }
            }
            "setup" => self.setup = value.to_owned(),
            "ice-lite" => self.ice_lite = true,
            "group" => {
                if let Some(mids) = value.strip_prefix("BUNDLE") {
                    self.bundle = mids.split_whitespace().map(str::to_owned).collect();
                }
            }
            "candidate" => {
                let fields: Vec<&str> = value.split(' ').collect();
                if fields.get(2).is_some_and(|t| t.eq_ignore_ascii_case("udp")) {
                    let ip = fields[4].parse().expect("candidate has an address");
                    let port = fields[5].parse().expect("candidate has a port");
                    let address = SocketAddr::new(ip, port);
                    if !self.candidates.contains(&address) {
                        self.candidates.push(address);
                    }
                }
            }
            _ => {}
        }
    }

    fn check(&self, sdp: &str) {
        assert!(self.ice_lite, "the server is ICE-lite and says so: {sdp}");
        assert!(
            self.ufrag.len() >= 4 && self.pwd.len() >= 22,
            "RFC 8445 section 5.3: {sdp}"
        );
        assert_eq!(self.fingerprint.len(), 95, "SHA-256 fingerprint: {sdp}");
        let mut mids: Vec<&str> = self.sections.iter().map(|s| s.mid.as_str()).collect();
        for section in &self.sections {
            assert!(!section.mid.is_empty(), "every m-section has a mid: {sdp}");
            let bundled = self.bundle.contains(&section.mid);
            assert_eq!(
                bundled,
                section.port != 0,
                "live m-sections are bundled: {sdp}"
            );
        }
        mids.sort_unstable();
        mids.dedup();
        assert_eq!(mids.len(), self.sections.len(), "mids are unique: {sdp}");
    }

    /// The m-section called `mid`.
    pub fn section(&self, mid: &str) -> Option<&RemoteSection> {
        self.sections.iter().find(|s| s.mid == mid)
    }
}

fn media_line(media: &str) -> RemoteSection {
    let fields: Vec<&str> = media.split(' ').collect();
    assert!(
        fields.len() >= 4,
        "m-line has kind, port, protocol and formats: {media}"
    );
    RemoteSection {
        mid: String::new(),
        kind: match fields[0] {
            "audio" => Some(Kind::Audio),
            "video" => Some(Kind::Video),
            _ => None,
        },
        port: fields[1].parse().expect("m-line has a port"),
        sends: true,
        receives: true,
        codecs: Vec::new(),
        apt: BTreeMap::new(),
        extensions: BTreeMap::new(),
        ssrcs: Vec::new(),
        fid: None,
        stream: None,
        lines: Vec::new(),
    }
}

impl RemoteSection {
    fn attribute(&mut self, name: &str, value: &str) {
        match name {
            "mid" => self.mid = value.to_owned(),
            "sendonly" => self.receives = false,
            "recvonly" => self.sends = false,
            "inactive" => (self.sends, self.receives) = (false, false),
            "rtpmap" => {
                let (pt, rest) = value.split_once(' ').expect("rtpmap has two fields");
                let codec = rest.split('/').next().unwrap_or("").to_ascii_lowercase();
                self.codecs.push((pt.parse().expect("payload type"), codec));
            }
            "fmtp" => {
                if let Some((pt, rest)) = value.split_once(' ')
                    && let Some(apt) = rest.strip_prefix("apt=")
                {
                    let pt = pt.parse().expect("payload type");
                    self.apt
                        .insert(pt, apt.trim().parse().expect("apt is a payload type"));
                }
            }
            "extmap" => {
                let (id, uri) = value.split_once(' ').expect("extmap has two fields");
                let id = id
                    .split('/')
                    .next()
                    .unwrap_or(id)
                    .parse()
                    .expect("extmap id");
                self.extensions.insert(uri.to_owned(), id);
            }
            "ssrc" => {
                let id = value.split(' ').next().unwrap_or("").parse().expect("SSRC");
                if !self.ssrcs.contains(&id) {
                    self.ssrcs.push(id);
                }
            }
            "ssrc-group" => {
                let mut fields = value.split(' ');
                if fields.next() == Some("FID") {
                    let mut next = || {
                        fields
                            .next()
                            .and_then(|f| f.parse().ok())
                            .expect("FID SSRC")
                    };
                    self.fid = Some((next(), next()));
                }
            }
            "msid" => self.stream = value.split(' ').next().map(str::to_owned),
            _ => {}
        }
    }
}

impl LocalSdp {
    /// No m-sections yet.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            sections: Vec::new(),
            version: 1,
            next_mid: 0,
        }
    }

    /// Adds an m-section and returns its mid.
    pub fn add(&mut self, kind: Kind, send: Option<SendTrack>, recv: bool) -> String {
        let mid = self.next_mid.to_string();
        self.next_mid += 1;
        self.sections.push(Section {
            mid: mid.clone(),
            kind,
            send,
            recv,
            rejected: false,
        });
        mid
    }

    /// An offer with every m-section there is.
    pub fn offer(&mut self) -> String {
        let mut sdp = self.session_lines();
        for section in &self.sections {
            match section.kind {
                Kind::Audio => audio_section(&mut sdp, section, &self.credentials),
                Kind::Video => video_section(&mut sdp, section, &self.credentials),
            }
        }
        sdp
    }

    fn session_lines(&mut self) -> String {
        self.version += 1;
        let mut sdp = format!(
            "v=0\r\no=- 4611731400430051336 {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE",
            self.version
        );
        for section in self.sections.iter().filter(|s| !s.rejected) {
            let _ = write!(sdp, " {}", section.mid);
        }
        sdp.push_str("\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n");
        sdp
    }

    /// Takes a server offer and answers it: its payload types, its extension ids, its order.
    pub fn answer(&mut self, remote: &RemoteSdp) -> String {
        for theirs in &remote.sections {
            match self.sections.iter_mut().find(|s| s.mid == theirs.mid) {
                Some(ours) => ours.recv = theirs.sends,
                None => self.sections.push(Section {
                    mid: theirs.mid.clone(),
                    kind: theirs.kind.unwrap_or(Kind::Audio),
                    send: None,
                    recv: theirs.sends,
                    rejected: theirs.port == 0 || theirs.kind.is_none(),
                }),
            }
        }
        let order = |mids: &[Section]| mids.iter().map(|s| s.mid.clone()).collect::<Vec<_>>();
        let theirs: Vec<String> = remote.sections.iter().map(|s| s.mid.clone()).collect();
        assert_eq!(
            order(&self.sections),
            theirs,
            "the server's offer keeps every m-line in its place"
        );
        let mut sdp = self.session_lines();
        for (ours, theirs) in self.sections.iter().zip(&remote.sections) {
            answer_section(&mut sdp, ours, theirs, &self.credentials);
        }
        sdp
    }
}

fn direction(send: bool, recv: bool) -> &'static str {
    match (send, recv) {
        (true, true) => "sendrecv",
        (true, false) => "sendonly",
        (false, true) => "recvonly",
        (false, false) => "inactive",
    }
}

fn transport_lines(sdp: &mut String, credentials: &Credentials, setup: &str) {
    let Credentials {
        ufrag,
        pwd,
        fingerprint,
    } = credentials;
    let _ = write!(
        sdp,
        "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n\
         a=ice-options:trickle\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n"
    );
}

fn source_lines(sdp: &mut String, send: &SendTrack) {
    let stream = &send.stream;
    let _ = write!(sdp, "a=msid:{stream} track-{}\r\n", send.track);
}

fn ssrc_lines(sdp: &mut String, send: &SendTrack) {
    let cname = &send.stream;
    if let Some(rtx) = send.rtx_ssrc {
        let _ = write!(sdp, "a=ssrc-group:FID {} {rtx}\r\n", send.ssrc);
    }
    for ssrc in std::iter::once(send.ssrc).chain(send.rtx_ssrc) {
        let _ = write!(
            sdp,
            "a=ssrc:{ssrc} cname:{cname}\r\na=ssrc:{ssrc} msid:{} track-{}\r\n",
            send.stream, send.track
        );
    }
}

fn head(sdp: &mut String, section: &Section, credentials: &Credentials, formats: &str) {
    let _ = write!(
        sdp,
        "m={} 9 UDP/TLS/RTP/SAVPF {formats}\r\n",
        section.kind.name()
    );
    transport_lines(sdp, credentials, "actpass");
    let _ = write!(sdp, "a=mid:{}\r\n", section.mid);
    let extensions = match section.kind {
        Kind::Audio => AUDIO_EXTENSIONS,
        Kind::Video => VIDEO_EXTENSIONS,
    };
    for (id, uri) in extensions {
        let _ = write!(sdp, "a=extmap:{id} {uri}\r\n");
    }
    let _ = write!(
        sdp,
        "a={}\r\n",
        direction(section.send.is_some(), section.recv)
    );
    if let Some(send) = &section.send {
        source_lines(sdp, send);
    }
    sdp.push_str("a=rtcp-mux\r\n");
}

fn audio_section(sdp: &mut String, section: &Section, credentials: &Credentials) {
    head(sdp, section, credentials, "111 63 9 0 8 13 110 126");
    sdp.push_str(
        "a=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
         a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n\
         a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\n\
         a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n",
    );
    if let Some(send) = &section.send {
        ssrc_lines(sdp, send);
    }
}

fn video_section(sdp: &mut String, section: &Section, credentials: &Credentials) {
    head(
        sdp,
        section,
        credentials,
        "96 97 102 103 98 99 45 46 114 115",
    );
    sdp.push_str("a=rtcp-rsize\r\n");
    let codecs: [(u8, &str, &str); 4] = [
        (96, "VP8", ""),
        (
            102,
            "H264",
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
        (98, "VP9", "profile-id=0"),
        (45, "AV1", "level-idx=5;profile=0;tier=0"),
    ];
    for (pt, name, fmtp) in codecs {
        let _ = write!(sdp, "a=rtpmap:{pt} {name}/90000\r\n");
        for feedback in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
            let _ = write!(sdp, "a=rtcp-fb:{pt} {feedback}\r\n");
        }
        if !fmtp.is_empty() {
            let _ = write!(sdp, "a=fmtp:{pt} {fmtp}\r\n");
        }
        let rtx = pt + 1;
        let _ = write!(sdp, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n");
    }
    sdp.push_str("a=rtpmap:114 red/90000\r\na=rtpmap:115 rtx/90000\r\na=fmtp:115 apt=114\r\n");
    if let Some(send) = &section.send {
        ssrc_lines(sdp, send);
    }
}

/// Codecs this client can really send and play; the answer names the server's payload types for them.
fn usable(theirs: &RemoteSection) -> Vec<u8> {
    let mut formats = Vec::new();
    for (pt, name) in &theirs.codecs {
        if matches!(name.as_str(), "opus" | "vp8") {
            formats.push(*pt);
            formats.extend(
                theirs
                    .apt
                    .iter()
                    .find(|(_, apt)| *apt == pt)
                    .map(|(rtx, _)| *rtx),
            );
        }
    }
    formats
}

fn answer_section(sdp: &mut String, ours: &Section, theirs: &RemoteSection, me: &Credentials) {
    let formats = usable(theirs);
    if ours.rejected || formats.is_empty() {
        let kind = theirs.kind.map_or("application", Kind::name);
        let _ = write!(
            sdp,
            "m={kind} 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\n",
            ours.mid
        );
        return;
    }
    let names: Vec<String> = formats.iter().map(u8::to_string).collect();
    let _ = write!(
        sdp,
        "m={} 9 UDP/TLS/RTP/SAVPF {}\r\n",
        ours.kind.name(),
        names.join(" ")
    );
    transport_lines(sdp, me, "active");
    let _ = write!(sdp, "a=mid:{}\r\n", ours.mid);
    for (uri, id) in &theirs.extensions {
        let _ = write!(sdp, "a=extmap:{id} {uri}\r\n");
    }
    let send = ours.send.as_ref().filter(|_| theirs.receives);
    let _ = write!(
        sdp,
        "a={}\r\n",
        direction(send.is_some(), ours.recv && theirs.sends)
    );
    if let Some(send) = send {
        source_lines(sdp, send);
    }
    sdp.push_str("a=rtcp-mux\r\na=rtcp-rsize\r\n");
    for line in &theirs.lines {
        let of_format = ["a=rtpmap:", "a=rtcp-fb:", "a=fmtp:"].iter().any(|prefix| {
            line.strip_prefix(prefix)
                .and_then(|rest| rest.split(' ').next())
                .and_then(|pt| pt.parse::<u8>().ok())
                .is_some_and(|pt| formats.contains(&pt))
        });
        if of_format {
            let _ = write!(sdp, "{line}\r\n");
        }
    }
    if let Some(send) = send {
        ssrc_lines(sdp, send);
    }
}
