//! The writer: one function from the model to text, CRLF line ends, in the order browsers write.
//!
//! Strings of the model are written as they are: whoever fills a model by hand keeps control characters out.

use std::fmt::{self, Write};

use super::{
    Description, Feedback, Fingerprint, FingerprintHash, MediaKind, MediaSection, SdpCodec,
    SdpDirection, Setup,
};

/// Writes `description` as text (RFC 8866).
pub fn write(description: &Description) -> String {
    let mut out = String::with_capacity(512 + description.media.len() * 1024);
    // Writing into a String does not fail.
    let _ = session(&mut out, description);
    for media in &description.media {
        let _ = section(&mut out, media);
    }
    out
}

fn session(out: &mut String, d: &Description) -> fmt::Result {
    write!(out, "v=0\r\no=- {} {} ", d.session_id, d.session_version)?;
    out.write_str("IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n")?;
    flag(out, "ice-lite", d.ice_lite)?;
    if !d.bundle.is_empty() {
        write!(out, "a=group:BUNDLE {}\r\n", d.bundle.join(" "))?;
    }
    flag(out, "extmap-allow-mixed", d.extmap_allow_mixed)?;
    out.write_str("a=msid-semantic: WMS *\r\n")
}

fn flag(out: &mut String, name: &str, present: bool) -> fmt::Result {
    match present {
        true => write!(out, "a={name}\r\n"),
        false => Ok(()),
    }
}

fn section(out: &mut String, m: &MediaSection) -> fmt::Result {
    let port = if m.port_zero { 0 } else { 9 };
    // A format is required (RFC 8866 section 5.14); 0 stands for "none" where there is nothing to list.
    let formats = match (m.formats.is_empty(), m.kind) {
        (false, _) => m.formats.join(" "),
        (true, MediaKind::Other) => "webrtc-datachannel".to_owned(),
        (true, _) => "0".to_owned(),
    };
    write!(out, "m={} {port} {} {formats}\r\n", m.media, m.protocol)?;
    out.write_str("c=IN IP4 0.0.0.0\r\n")?;
    transport(out, m)?;
    if !m.mid.is_empty() {
        write!(out, "a=mid:{}\r\n", m.mid)?;
    }
    flag(out, "bundle-only", m.bundle_only)?;
    for extension in &m.extensions {
        write!(out, "a=extmap:{} {}\r\n", extension.id, extension.uri)?;
    }
    write!(out, "a={}\r\n", direction_name(m.direction))?;
    flag(out, "rtcp-mux", m.rtcp_mux)?;
    flag(out, "rtcp-rsize", m.rtcp_rsize)?;
    for codec in &m.codecs {
        self::codec(out, codec)?;
    }
    streams(out, m)
}

fn transport(out: &mut String, m: &MediaSection) -> fmt::Result {
    for candidate in &m.candidates {
        write!(out, "a=candidate:{candidate}\r\n")?;
    }
    flag(out, "end-of-candidates", m.end_of_candidates)?;
    if let Some(ice) = &m.ice {
        write!(
            out,
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
            ice.ufrag, ice.pwd
        )?;
    }
    for fingerprint in &m.fingerprints {
        self::fingerprint(out, fingerprint)?;
    }
    match m.setup {
        Some(setup) => write!(out, "a=setup:{}\r\n", setup_name(setup)),
        None => Ok(()),
    }
}

fn fingerprint(out: &mut String, fingerprint: &Fingerprint) -> fmt::Result {
    let hash = match fingerprint.hash {
        FingerprintHash::Sha1 => "sha-1",
        FingerprintHash::Sha224 => "sha-224",
        FingerprintHash::Sha256 => "sha-256",
        FingerprintHash::Sha384 => "sha-384",
        FingerprintHash::Sha512 => "sha-512",
    };
    write!(out, "a=fingerprint:{hash} ")?;
    for (i, byte) in fingerprint.bytes.iter().enumerate() {
        let colon = if i == 0 { "" } else { ":" };
        write!(out, "{colon}{byte:02X}")?;
    }
    out.write_str("\r\n")
}

fn setup_name(setup: Setup) -> &'static str {
    match setup {
        Setup::Active => "active",
        Setup::Passive => "passive",
        Setup::ActPass => "actpass",
        Setup::HoldConn => "holdconn",
    }
}

fn direction_name(direction: SdpDirection) -> &'static str {
    match direction {
        SdpDirection::SendRecv => "sendrecv",
        SdpDirection::SendOnly => "sendonly",
        SdpDirection::RecvOnly => "recvonly",
        SdpDirection::Inactive => "inactive",
    }
}

fn codec(out: &mut String, c: &SdpCodec) -> fmt::Result {
    let name = c.format.kind().name();
    write!(out, "a=rtpmap:{} {name}/{}", c.pt, c.clock_rate)?;
    if let Some(channels) = c.channels {
        write!(out, "/{channels}")?;
    }
    out.write_str("\r\n")?;
    feedback(out, c.pt, c.feedback)?;
    if let Some(fmtp) = &c.fmtp {
        write!(out, "a=fmtp:{} {fmtp}\r\n", c.pt)?;
    }
    if let Some(rtx) = c.rtx_pt {
        write!(out, "a=rtpmap:{rtx} rtx/{}\r\n", c.clock_rate)?;
        write!(out, "a=fmtp:{rtx} apt={}\r\n", c.pt)?;
    }
    Ok(())
}

fn feedback(out: &mut String, pt: u8, f: Feedback) -> fmt::Result {
    let lines = [
        (f.goog_remb, "goog-remb"),
        (f.transport_cc, "transport-cc"),
        (f.ccm_fir, "ccm fir"),
        (f.nack, "nack"),
        (f.nack_pli, "nack pli"),
    ];
    for (_, name) in lines.into_iter().filter(|(present, _)| *present) {
        write!(out, "a=rtcp-fb:{pt} {name}\r\n")?;
    }
    Ok(())
}

fn streams(out: &mut String, m: &MediaSection) -> fmt::Result {
    if let Some(msid) = &m.msid {
        write!(out, "a=msid:{}", msid.stream)?;
        if let Some(track) = &msid.track {
            write!(out, " {track}")?;
        }
        out.write_str("\r\n")?;
    }
    for (primary, rtx) in &m.fid_groups {
        write!(out, "a=ssrc-group:FID {primary} {rtx}\r\n")?;
    }
    for ssrc in &m.ssrcs {
        match &ssrc.cname {
            Some(cname) => write!(out, "a=ssrc:{} cname:{cname}\r\n", ssrc.ssrc)?,
            None => write!(out, "a=ssrc:{}\r\n", ssrc.ssrc)?,
        }
    }
    for rid in &m.rids {
        let direction = if rid.send { "send" } else { "recv" };
        write!(out, "a=rid:{} {direction}\r\n", rid.id)?;
    }
    simulcast(out, m)
}

fn simulcast(out: &mut String, m: &MediaSection) -> fmt::Result {
    let lists = [("send", &m.simulcast_send), ("recv", &m.simulcast_recv)];
    let mut start = "a=simulcast:";
    for (direction, rids) in lists.into_iter().filter(|(_, rids)| !rids.is_empty()) {
        write!(out, "{start}{direction} {}", rids.join(";"))?;
        start = " ";
    }
    match start {
        " " => out.write_str("\r\n"),
        _ => Ok(()),
    }
}
