//! Joins the `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` lines of an m-section into codecs, with RTX beside its codec (RFC 4588).

use super::format::fmtp_value;
use super::{CodecFormat, Feedback, SdpCodec};
use crate::limits::SDP_CODECS_MAX;

/// Lines of all codecs kept per m-section: each of the codecs may have an RTX beside it, and several feedback lines.
const MAPS_MAX: usize = 2 * SDP_CODECS_MAX;
const FEEDBACK_MAX: usize = 8 * MAPS_MAX;

struct RtpMap {
    pt: u8,
    name: String,
    clock_rate: u32,
    channels: Option<u32>,
}

/// The codec lines of one m-section, as they come. The first `a=rtpmap` and `a=fmtp` of a payload type count.
#[derive(Default)]
pub(super) struct CodecLines {
    rtpmaps: Vec<RtpMap>,
    fmtps: Vec<(u8, String)>,
    feedback: Vec<(Option<u8>, Feedback)>,
}

impl CodecLines {
    pub(super) fn rtpmap(&mut self, pt: u8, name: String, clock_rate: u32, channels: Option<u32>) {
        let known = self.rtpmaps.iter().any(|map| map.pt == pt);
        if !known && self.rtpmaps.len() < MAPS_MAX {
            self.rtpmaps.push(RtpMap {
                pt,
                name,
                clock_rate,
                channels,
            });
        }
    }

    /// A line for a payload type that is no number is ignored, as one for an unknown payload type is.
    pub(super) fn fmtp(&mut self, pt: &str, text: &str) {
        if let Ok(pt) = pt.parse()
            && self.fmtp_of(pt).is_none()
            && self.fmtps.len() < MAPS_MAX
        {
            self.fmtps.push((pt, text.trim().to_owned()));
        }
    }

    /// `pt` is `None` for all payload types.
    pub(super) fn feedback(&mut self, pt: Option<u8>, feedback: Feedback) {
        if self.feedback.len() < FEEDBACK_MAX {
            self.feedback.push((pt, feedback));
        }
    }

    /// The codecs we know, in the order of the m-line. A payload type counts once.
    pub(super) fn join(&self, formats: &[String]) -> Vec<SdpCodec> {
        let mut codecs: Vec<SdpCodec> = Vec::new();
        for format in formats {
            let Ok(pt) = format.parse::<u8>() else {
                continue;
            };
            let seen = codecs.iter().any(|codec| codec.pt == pt);
            if seen || codecs.len() >= SDP_CODECS_MAX {
                continue;
            }
            codecs.extend(self.codec(pt));
        }
        for map in self.rtpmaps.iter().filter(|map| is_rtx(map)) {
            let apt =
                fmtp_value(self.fmtp_of(map.pt), "apt").and_then(|apt| apt.parse::<u8>().ok());
            let listed = formats.iter().any(|format| format.parse() == Ok(map.pt));
            let codec = codecs.iter_mut().find(|codec| Some(codec.pt) == apt);
            if let Some(codec) = codec
                && listed
                && codec.rtx_pt.is_none()
            {
                codec.rtx_pt = Some(map.pt);
            }
        }
        codecs
    }

    fn codec(&self, pt: u8) -> Option<SdpCodec> {
        let map = self.rtpmaps.iter().find(|map| map.pt == pt)?;
        let fmtp = self.fmtp_of(pt);
        let format = CodecFormat::from_sdp(&map.name, map.clock_rate, fmtp)?;
        Some(SdpCodec {
            pt,
            format,
            clock_rate: map.clock_rate,
            channels: map.channels.and_then(|n| u8::try_from(n).ok()),
            fmtp: fmtp.map(str::to_owned),
            feedback: self.feedback_of(pt),
            rtx_pt: None,
        })
    }

    fn fmtp_of(&self, pt: u8) -> Option<&str> {
        let mut lines = self.fmtps.iter();
        lines
            .find(|(of, _)| *of == pt)
            .map(|(_, text)| text.as_str())
    }

    fn feedback_of(&self, pt: u8) -> Feedback {
        let mut all = Feedback::default();
        for (of, one) in &self.feedback {
            if of.is_none_or(|of| of == pt) {
                all.nack |= one.nack;
                all.nack_pli |= one.nack_pli;
                all.ccm_fir |= one.ccm_fir;
                all.transport_cc |= one.transport_cc;
                all.goog_remb |= one.goog_remb;
            }
        }
        all
    }
}

fn is_rtx(map: &RtpMap) -> bool {
    map.name.eq_ignore_ascii_case("rtx")
}
