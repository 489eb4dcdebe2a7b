//! Descriptions captured from browsers in, the model out, and back; and nothing that panics.

use proptest::prelude::*;

use super::*;
use crate::limits::{SDP_BYTES_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX};
use crate::wire::codec::CodecKind;

macro_rules! fixtures {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../tests/data/sdp/", $name, ".sdp")))),+]
    };
}

/// Captured from Chromium 156, Firefox 153 and aiortc 1.
pub(crate) const FIXTURES: &[(&str, &str)] = fixtures![
    "aiortc_offer",
    "chromium_addtrack",
    "chromium_answer",
    "chromium_data",
    "chromium_offer",
    "chromium_recycled",
    "chromium_simulcast",
    "chromium_stopped",
    "firefox_addtrack",
    "firefox_answer",
    "firefox_data",
    "firefox_offer",
    "firefox_recycled",
    "firefox_simulcast",
    "firefox_stopped",
];

fn fixture(name: &str) -> &'static str {
    FIXTURES.iter().find(|(n, _)| *n == name).unwrap().1
}

const MINIMAL: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

/// `MINIMAL` with an audio section and these lines in it.
fn with_audio(lines: &str) -> String {
    format!("{MINIMAL}m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\nc=IN IP4 0.0.0.0\r\n{lines}")
}

#[test]
fn every_captured_description_survives_a_round_trip() {
    for (name, text) in FIXTURES {
        let read = parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let written = write(&read);
        assert_eq!(parse(&written).as_ref(), Ok(&read), "{name}\n{written}");
        // And another reader takes what we write.
        webrtc_sdp::parse_sdp(&written, true).unwrap_or_else(|e| panic!("{name}: {e}\n{written}"));
    }
}

#[test]
fn a_chromium_offer_is_understood() {
    let offer = parse(fixture("chromium_offer")).unwrap();
    assert_eq!(offer.bundle, ["0", "1", "2", "3", "4"]);
    assert!(offer.extmap_allow_mixed && !offer.ice_lite);
    let shapes: Vec<_> = offer.media.iter().map(|m| (m.kind, m.direction)).collect();
    assert_eq!(
        shapes,
        [
            (MediaKind::Audio, SdpDirection::SendOnly),
            (MediaKind::Video, SdpDirection::SendOnly),
            (MediaKind::Audio, SdpDirection::RecvOnly),
            (MediaKind::Video, SdpDirection::RecvOnly),
            (MediaKind::Other, SdpDirection::SendRecv),
        ]
    );
    let audio = &offer.media[0];
    assert_eq!(audio.ice.as_ref().unwrap().ufrag, "jF7X");
    assert_eq!(audio.setup, Some(Setup::ActPass));
    assert!(audio.rtcp_mux && audio.rtcp_rsize);
    assert_eq!(audio.codecs.len(), 1, "only Opus is ours");
    assert_eq!(audio.codecs[0].pt, 111);
    assert_eq!(audio.codecs[0].channels, Some(2));
    assert_eq!(
        audio.codecs[0].fmtp.as_deref(),
        Some("minptime=10;useinbandfec=1")
    );
    let video = &offer.media[1];
    let first = &video.codecs[0];
    assert_eq!((first.pt, first.rtx_pt), (96, Some(97)));
    let all = Feedback {
        nack: true,
        nack_pli: true,
        ccm_fir: true,
        transport_cc: true,
        goog_remb: true,
    };
    assert_eq!(first.feedback, all);
    let h264 = video
        .codecs
        .iter()
        .find(|c| c.format == CodecFormat::H264_CBP);
    assert_eq!(h264.map(|c| c.pt), Some(108));
    assert_eq!(video.fid_groups, [(1_172_406_311, 3_802_547_257)]);
    let cname = video.ssrcs[0].cname.as_deref();
    assert_eq!(cname, Some("Y0hqsOW8vPhVdDFq"));
    let mid = video
        .extensions
        .iter()
        .find(|e| e.kind == Some(ExtensionKind::Mid));
    assert_eq!(mid.map(|e| e.id), Some(4));
}

#[test]
fn a_firefox_offer_is_understood() {
    let offer = parse(fixture("firefox_offer")).unwrap();
    let audio = &offer.media[0];
    assert_eq!(audio.fingerprints.len(), 1, "taken from the session level");
    assert_eq!(audio.fingerprints[0].hash, FingerprintHash::Sha256);
    assert_eq!(audio.fingerprints[0].bytes[..2], [0x2f, 0x9f]);
    assert_eq!(
        audio.msid.as_ref().unwrap().stream,
        "{5d467f72-f65e-4dbe-a7e6-b100df58f42c}"
    );
    let late = &offer.media[2];
    assert!(late.port_zero && late.bundle_only && !late.is_rejected());
    let kinds: Vec<_> = offer.media[1]
        .codecs
        .iter()
        .map(|c| c.format.kind())
        .collect();
    assert_eq!(kinds, [CodecKind::Vp8, CodecKind::Vp9, CodecKind::Av1]);
}

#[test]
fn simulcast_and_stopped_sections_are_understood() {
    for name in ["chromium_simulcast", "firefox_simulcast"] {
        let offer = parse(fixture(name)).unwrap();
        assert_eq!(offer.media[0].simulcast_send, ["q", "h", "f"], "{name}");
        assert!(offer.media[0].rids.iter().all(|rid| rid.send), "{name}");
    }
    for name in ["chromium_stopped", "firefox_stopped"] {
        let offer = parse(fixture(name)).unwrap();
        assert!(offer.media[0].is_rejected() && !offer.media[1].is_rejected());
        assert_eq!(offer.bundle, ["1"], "{name}");
    }
}

#[test]
fn session_level_facts_count_unless_a_section_says_otherwise() {
    let text =
        "a=sendonly\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n";
    let both = with_audio("a=ice-ufrag:efgh\r\na=recvonly\r\n");
    let both = both.replacen("t=0 0\r\n", &format!("t=0 0\r\n{text}"), 1);
    let section = &parse(&both).unwrap().media[0];
    assert_eq!(section.ice.as_ref().unwrap().ufrag, "efgh");
    assert_eq!(section.ice.as_ref().unwrap().pwd, "0123456789012345678901");
    assert_eq!(section.direction, SdpDirection::RecvOnly);
    assert_eq!(section.setup, Some(Setup::ActPass));
}

#[test]
fn errors_name_the_line() {
    let table = [
        ("", "line 1"),
        ("v=1\r\n", "line 1"),
        ("v=0\r\ns=-\r\n", "line 2"),
        ("v=0\r\no=- x 2 IN IP4 127.0.0.1\r\n", "line 2"),
        ("nonsense", "line 1"),
    ];
    for (text, want) in table {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(want), "{text:?}: {error}");
    }
    // The m-line is the 5th line, so the first line in the section is the 7th.
    let table = [
        ("a=mid:\r\n", "line 7"),
        ("a=rtcp-mux\r\na=mid:a b\r\n", "line 8"),
        ("a=mid:0\r\na=mid:0\r\n", "line 8"),
        ("a=ice-ufrag:abc\r\n", "line 7"),
        ("a=ice-pwd:tooshort\r\n", "line 7"),
        ("a=setup:perhaps\r\n", "line 7"),
        ("a=fingerprint:sha-256 00:11\r\n", "line 7"),
        ("a=rtpmap:111\r\n", "line 7"),
        ("a=extmap:x urn:y\r\n", "line 7"),
        ("a=ssrc:99999999999 cname:x\r\n", "line 7"),
        ("a=rid:h/i send\r\n", "line 7"),
        ("a=msid:a\u{7}b\r\n", "line 7"),
        ("m=audio 9 RTP/MAGIC 0\r\n", "line 7"),
        ("m=audio 99999 UDP/TLS/RTP/SAVPF 0\r\n", "line 7"),
    ];
    for (lines, want) in table {
        let error = parse(&with_audio(lines)).unwrap_err().to_string();
        assert!(error.contains(want), "{lines:?}: {error}");
    }
}

#[test]
fn a_password_is_never_repeated() {
    let secret = "shortsecret";
    let error = parse(&with_audio(&format!("a=ice-pwd:{secret}\r\n"))).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret));
    let text = with_audio("a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n");
    let parsed = parse(&text).unwrap();
    assert!(!format!("{parsed:?}").contains("0123456789012345678901"));
}

#[test]
fn what_we_do_not_know_is_ignored() {
    let lines = "a=unknown:thing\r\na=imageattr:* send [x=[\r\na=rtcp-fb:111 rrtr\r\na=fmtp:126 0-x-y\r\n\
                 k=clear:x\r\na=group:BUNDLE 0\r\na=ssrc-group:XYZ 1 2\r\na=candidate:nonsense\r\n\
                 a=fingerprint:md5 00\r\na=extmap:300 urn:x\r\na=rtcp:nonsense\r\n";
    let section = &parse(&with_audio(lines)).unwrap().media[0];
    assert_eq!(section.fingerprints, []);
    assert_eq!(section.extensions, []);
    assert_eq!(section.candidates, ["nonsense"], "kept as text");
}

#[test]
fn bounds_hold() {
    let long = format!("{MINIMAL}{}", "a=x\r\n".repeat(SDP_BYTES_MAX / 5));
    assert!(matches!(parse(&long), Err(SdpError::TooLong(_))));
    let lines = format!("{MINIMAL}{}", "a=\n".repeat(SDP_LINES_MAX));
    assert!(matches!(parse(&lines), Err(SdpError::TooManyLines { .. })));
    let media = "m=audio 0 UDP/TLS/RTP/SAVPF 0\n";
    let full = format!("{MINIMAL}{}", media.repeat(SDP_MEDIA_MAX));
    assert_eq!(parse(&full).unwrap().media.len(), SDP_MEDIA_MAX);
    let over = format!("{full}{media}");
    assert!(matches!(parse(&over), Err(SdpError::TooManyMedia { .. })));
    let many = (0..200).map(|i| format!("a=ssrc:{i} cname:x\r\na=candidate:{i}\r\n"));
    let section = &parse(&with_audio(&many.collect::<String>())).unwrap().media[0];
    assert_eq!(section.ssrcs.len(), crate::limits::SSRCS_PER_PEER_MAX);
    assert_eq!(section.candidates.len(), crate::limits::ICE_CANDIDATES_MAX);
}

#[test]
fn a_payload_type_means_one_thing() {
    let lines = "a=rtpmap:111 opus/48000/2\r\na=rtpmap:111 VP8/90000\r\na=rtpmap:63 rtx/48000\r\n\
                 a=fmtp:63 apt=111\r\na=rtpmap:64 rtx/48000\r\na=fmtp:64 apt=111\r\na=rtcp-fb:* nack\r\n";
    let section = &parse(&with_audio(lines)).unwrap().media[0];
    assert_eq!(section.codecs.len(), 1);
    assert_eq!(section.codecs[0].format, CodecFormat::Opus);
    assert_eq!(
        section.codecs[0].rtx_pt,
        Some(63),
        "64 is not on the m-line"
    );
    assert!(section.codecs[0].feedback.nack);
}

/// A fixture with some lines or bytes changed.
pub(crate) fn mutated() -> impl Strategy<Value = String> {
    let edit = (
        0..5u8,
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        ".{0,12}",
    );
    (0..FIXTURES.len(), prop::collection::vec(edit, 1..8)).prop_map(|(which, edits)| {
        let mut lines: Vec<String> = FIXTURES[which].1.lines().map(str::to_owned).collect();
        for (kind, at, other, text) in edits {
            let (i, j) = (at.index(lines.len()), other.index(lines.len()));
            match kind {
                0 if lines.len() > 1 => drop(lines.remove(i)),
                1 => lines.swap(i, j),
                2 => lines.insert(j, lines[i].clone()),
                3 => {
                    let mut chars: Vec<char> = lines[i].chars().collect();
                    let at = other.index(chars.len().max(1)).min(chars.len());
                    chars.splice(at..(at + 1).min(chars.len()), text.chars());
                    lines[i] = chars.into_iter().collect();
                }
                _ => {
                    let start: String = lines[i].chars().take(other.index(12)).collect();
                    lines[i] = start + &text;
                }
            }
        }
        lines.join("\r\n")
    })
}

proptest! {
    #[test]
    fn changed_descriptions_are_refused_or_survive_a_round_trip(text in mutated()) {
        if let Ok(read) = parse(&text) {
            let written = write(&read);
            prop_assert_eq!(parse(&written), Ok(read), "{}", written);
        }
    }

    #[test]
    fn any_text_is_refused_or_read(text in "(v=0\n)?(o=- 1 1 IN IP4 1.1.1.1\n)?([a-z]=.{0,40}\n|m=audio 9 RTP/SAVPF [0-9 ]{0,9}\n|a=[a-z-]{0,12}:.{0,20}\n){0,20}") {
        let _ = parse(&text);
    }
}
