//! The server offers: writes the offer, and reads the client's answer to it (RFC 9429 sections 5.2 and 5.11).

use super::codecs::PeerTable;
use super::remote::{bundled_transport, check_shape, compare};
use super::section::Section;
use super::{
    Negotiation, NegotiationError, PendingOffer, WantedDirection, WantedTrack, client_sends,
};
use crate::limits::{SDP_BYTES_MAX, SDP_MEDIA_MAX};
use crate::wire::rtp::ExtensionKind;
use crate::wire::sdp::{self, Description, MediaKind, MediaSection, SdpCodec, SdpDirection, Setup};

/// Whether an offer could carry `track`: on a section nobody uses, or on a new one.
pub(super) fn has_place(negotiation: &Negotiation, track: &WantedTrack) -> bool {
    let mut sections = negotiation.sections.iter();
    track.kind != MediaKind::Other
        && (!negotiation.is_full() || sections.any(|section| section.is_free(track.kind)))
}

impl Negotiation {
    /// Offers everything that is wanted: sections stay where they are, removed tracks leave theirs inactive, new tracks
    /// take inactive sections of their kind or new ones. While an offer is unanswered, that same offer is given again.
    ///
    /// # Errors
    /// [`NegotiationError::TooLarge`]; the state is as before then.
    pub fn make_offer(&mut self) -> Result<String, NegotiationError> {
        if let Some(pending) = &self.pending {
            return Ok(pending.sdp.clone());
        }
        let mut sections = self.sections.clone();
        for section in &mut sections {
            section.follow(&self.wanted);
        }
        // Numbers of an offer count from its answer on: the client of a lost offer has never seen them.
        let mut table = self.table.clone();
        self.place_new(&mut sections, &mut table);
        for section in sections.iter_mut().filter(|section| !section.rejected) {
            section.direction =
                SdpDirection::new(section.receives.is_some(), section.sends.is_some());
        }
        let ice = self.restart.as_ref().unwrap_or(&self.config.ice).clone();
        let open = sections.iter().filter(|section| !section.rejected);
        let group = open.map(|section| section.mid.clone()).collect();
        let sdp = self.describe(&sections, group, &ice, Setup::ActPass, true);
        if sdp.len() > SDP_BYTES_MAX {
            return Err(NegotiationError::TooLarge(sdp.len()));
        }
        self.restart = None;
        self.pending = Some(PendingOffer {
            sdp: sdp.clone(),
            sections,
            ice,
            table,
        });
        Ok(sdp)
    }

    fn place_new(&self, sections: &mut Vec<Section>, table: &mut PeerTable) {
        let placed = |sections: &[Section], track: &WantedTrack| {
            sections.iter().any(|section| section.carries(track.id))
        };
        // Send tracks first: a client that just adds its tracks puts them on the first sections of their kind.
        let (sent, received): (Vec<_>, Vec<_>) =
            self.wanted.values().partition(|track| client_sends(track));
        let new: Vec<WantedTrack> = sent
            .into_iter()
            .chain(received)
            .filter(|track| track.kind != MediaKind::Other && !placed(sections, track))
            .cloned()
            .collect();
        for track in new {
            let free = match client_sends(&track) {
                true => None,
                false => sections.iter().position(|s| s.is_free(track.kind)),
            };
            let index = match free {
                Some(index) => index,
                None if sections.len() >= SDP_MEDIA_MAX => continue,
                None => {
                    let mid = fresh_mid(sections);
                    sections.push(Section::new(&MediaSection::new(&mid, track.kind)));
                    sections.len() - 1
                }
            };
            let Some(section) = sections.get_mut(index) else {
                continue;
            };
            match &track.direction {
                WantedDirection::ClientSends => section.sends = Some(track.id),
                WantedDirection::ClientReceives(source) => {
                    section.receives = Some((track.id, source.clone()));
                }
            }
            // A section taken over may have been narrowed for its former track: offer everything again.
            section.codecs = table.offer_codecs(track.kind, &self.config);
            section.extensions = table.offer_extensions(track.kind, &self.config);
        }
    }

    /// Takes the client's answer to [`Negotiation::make_offer`]. Read [`Negotiation::tracks`],
    /// [`Negotiation::remote`], [`Negotiation::local_ice`] and [`Negotiation::needed`] afterwards.
    ///
    /// # Errors
    /// [`NegotiationError`]; the offer stays pending then (another answer may follow, or [`Negotiation::rollback`]).
    pub fn handle_answer(&mut self, sdp: &str) -> Result<(), NegotiationError> {
        let Some(pending) = &self.pending else {
            return Err(NegotiationError::NoOffer);
        };
        let answer = sdp::parse(sdp)?;
        check_answer_shape(&answer, &pending.sections)?;
        let mut sections = pending.sections.clone();
        for (section, media) in sections.iter_mut().zip(&answer.media) {
            apply_answer(section, media, self.config.simulcast);
        }
        let pairs = sections.iter().zip(&answer.media);
        let accepted: Vec<&MediaSection> = pairs
            .filter(|(section, _)| !section.rejected)
            .map(|(_, media)| media)
            .collect();
        let remote = bundled_transport(&answer, &accepted, &[Setup::Active])?;
        compare(self.remote.as_ref(), remote.as_ref())?;
        // Nothing fails from here on.
        if let Some(pending) = self.pending.take() {
            self.table = pending.table;
            self.config.ice = pending.ice;
            self.local_sdp = Some(pending.sdp);
        }
        for media in &answer.media {
            self.table.learn(media);
        }
        self.sections = sections;
        self.remote = remote.or(self.remote.take());
        self.remote_sdp = Some(sdp.to_owned());
        Ok(())
    }
}

/// The first of s0, s1, … that no section has: clients number theirs without a letter or use UUIDs.
fn fresh_mid(sections: &[Section]) -> String {
    let mut number = sections.len();
    loop {
        let mid = format!("s{number}");
        if sections.iter().all(|section| section.mid != mid) {
            return mid;
        }
        number += 1;
    }
}

fn check_answer_shape(answer: &Description, sections: &[Section]) -> Result<(), NegotiationError> {
    check_shape(answer, sections)?;
    match answer.media.len() == sections.len() {
        true => Ok(()),
        false => Err(NegotiationError::SectionsMissing {
            got: answer.media.len(),
            want: sections.len(),
        }),
    }
}

/// Narrows what we offered in `section` to what `media` answers.
fn apply_answer(section: &mut Section, media: &MediaSection, simulcast: bool) {
    if section.rejected {
        return;
    }
    let offered = section.codecs.iter();
    let codecs: Vec<SdpCodec> = offered.filter_map(|c| answered_codec(c, media)).collect();
    if media.is_rejected() || codecs.is_empty() {
        section.reject(&media.formats);
        return;
    }
    section.codecs = codecs;
    let answered = |(id, kind): &(u8, ExtensionKind)| {
        let mut extensions = media.extensions.iter();
        extensions.any(|e| e.id == *id && e.kind == Some(*kind))
    };
    section.extensions.retain(answered);
    section.direction = SdpDirection::new(
        section.direction.sends() && media.direction.receives(),
        section.direction.receives() && media.direction.sends(),
    );
    section.learn_streams(media, simulcast);
}

/// `offered` as the client answers it; payload types are the client's, if it has others for the same codec.
fn answered_codec(offered: &SdpCodec, media: &MediaSection) -> Option<SdpCodec> {
    let mut answered = media.codecs.iter();
    let codec = answered.find(|codec| codec.format == offered.format)?;
    Some(SdpCodec {
        pt: codec.pt,
        rtx_pt: codec.rtx_pt.filter(|_| offered.rtx_pt.is_some()),
        feedback: offered.feedback.intersect(codec.feedback),
        ..offered.clone()
    })
}
