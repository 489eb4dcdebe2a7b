//! The client offers: reads its offer, decides what we take, and writes the answer (RFC 9429 section 5.3).

use std::collections::{BTreeMap, BTreeSet};

use super::codecs::{agree, agree_extensions};
use super::remote::{bundled_transport, check_shape, compare};
use super::section::Section;
use super::{
    Answer, Negotiation, NegotiationConfig, NegotiationError, OfferContext, WantedDirection,
    WantedTrack,
};
use crate::id::TrackId;
use crate::wire::codec::CodecKind;
use crate::wire::sdp::{
    self, Description, Fingerprint, FingerprintHash, IceParams, MediaKind, MediaSection,
    SdpDirection, Setup,
};

impl Negotiation {
    /// Answers an offer of the client. `mids` says which m-section carries which track (at most one each way); tracks
    /// placed earlier need not be repeated, tracks that are not wanted are ignored.
    ///
    /// # Errors
    /// [`NegotiationError`]; the state is as before then.
    pub fn handle_offer(
        &mut self,
        sdp: &str,
        mids: &BTreeMap<TrackId, String>,
        context: &OfferContext,
    ) -> Result<Answer, NegotiationError> {
        if self.pending.is_some() {
            return Err(NegotiationError::OfferPending);
        }
        let offer = sdp::parse(sdp)?;
        check_shape(&offer, &self.sections)?;
        let mut sections = self.take_over(&offer);
        self.place(&mut sections, &offer, mids)?;
        for (section, media) in sections.iter_mut().zip(&offer.media) {
            let limit = section.sends.and_then(|id| context.decodable.get(&id));
            let decodable = limit.map(Vec::as_slice);
            answer_section(section, media, &self.config, decodable);
        }
        let accepted: Vec<&MediaSection> = accepted(&sections, &offer).collect();
        let remote = bundled_transport(&offer, &accepted, &[Setup::ActPass, Setup::Active])?;
        let ice_restarted = compare(self.remote.as_ref(), remote.as_ref())?;
        // Nothing fails from here on.
        let restart = self.restart.take_if(|_| ice_restarted);
        if let Some(fresh) = restart.or(context.fresh_ice.clone().filter(|_| ice_restarted)) {
            self.config.ice = fresh;
        }
        for media in &offer.media {
            self.table.learn(media);
        }
        let accepted: BTreeSet<&str> = accepted.iter().map(|m| m.mid.as_str()).collect();
        let mids = offer.bundle.iter();
        let group = mids.filter(|mid| accepted.contains(mid.as_str())).cloned();
        let group = group.collect();
        let ice = self.config.ice.clone();
        let mixed = offer.extmap_allow_mixed;
        let answer = self.describe(&sections, group, &ice, Setup::Passive, mixed);
        self.sections = sections;
        self.remote = remote.or(self.remote.take());
        self.remote_sdp = Some(sdp.to_owned());
        self.local_sdp = Some(answer.clone());
        Ok(Answer {
            sdp: answer,
            ice_restarted,
        })
    }

    /// The next sections: those there are, without unwanted tracks; new ones; rejected ones that the client uses anew.
    fn take_over(&self, offer: &Description) -> Vec<Section> {
        let known = self
            .sections
            .iter()
            .map(Some)
            .chain(std::iter::repeat(None));
        let pairs = offer.media.iter().zip(known);
        pairs
            .map(|(media, known)| match known {
                Some(known) if media.mid == known.mid || media.mid.is_empty() => {
                    let mut section = known.clone();
                    section.follow(&self.wanted);
                    section
                }
                _ => Section::new(media),
            })
            .collect()
    }

    /// Puts the tracks of `mids` on their sections.
    fn place(
        &self,
        sections: &mut [Section],
        offer: &Description,
        mids: &BTreeMap<TrackId, String>,
    ) -> Result<(), NegotiationError> {
        let index_of: BTreeMap<&str, usize> = offer
            .media
            .iter()
            .enumerate()
            .map(|(index, media)| (media.mid.as_str(), index))
            .collect();
        let wanted = || {
            let pairs = mids.iter();
            pairs.filter_map(|(id, mid)| Some((self.wanted.get(id)?, mid)))
        };
        for (track, mid) in wanted() {
            let elsewhere = sections.iter_mut().filter(|s| s.mid != *mid);
            elsewhere.for_each(|section| section.remove(track.id));
        }
        for (track, mid) in wanted() {
            let index = index_of.get(mid.as_str());
            let section = index.and_then(|index| sections.get_mut(*index));
            place_one(section, track).map_err(|problem| NegotiationError::BadMid {
                track: track.id,
                mid: mid.clone(),
                problem,
            })?;
        }
        Ok(())
    }

    /// Writes our description of `sections`. Every section of the group repeats the transport and its candidates: RFC 9143
    /// section 7.2 asks for the first one only, but clients that are less strict (aiortc) take those of the last.
    pub(super) fn describe(
        &mut self,
        sections: &[Section],
        group: Vec<String>,
        ice: &IceParams,
        setup: Setup,
        extmap_allow_mixed: bool,
    ) -> String {
        let media = sections.iter().map(|section| {
            let mut media = section.describe();
            if !section.rejected {
                media.ice = Some(ice.clone());
                media.setup = Some(setup);
                media.fingerprints = vec![Fingerprint {
                    hash: FingerprintHash::Sha256,
                    bytes: self.config.fingerprint.to_vec(),
                }];
                media.candidates.clone_from(&self.config.candidates);
                media.end_of_candidates = true;
            }
            media
        });
        let description = Description {
            session_id: self.config.session_id,
            session_version: self.version,
            ice_lite: true,
            bundle: group,
            extmap_allow_mixed,
            media: media.collect(),
        };
        self.version += 1;
        sdp::write(&description)
    }
}

impl Section {
    /// Takes tracks off that are not wanted any more, and takes over what has changed about the others.
    pub(super) fn follow(&mut self, wanted: &BTreeMap<TrackId, WantedTrack>) {
        for track in [self.sends, self.receives_track()].into_iter().flatten() {
            if !wanted.contains_key(&track) {
                self.remove(track);
            }
        }
        if let Some((track, source)) = &mut self.receives
            && let Some(WantedDirection::ClientReceives(new)) =
                wanted.get(track).map(|wanted| &wanted.direction)
        {
            source.clone_from(new);
        }
    }
}

fn place_one(section: Option<&mut Section>, track: &WantedTrack) -> Result<(), &'static str> {
    let section = section.ok_or("not in the offer")?;
    if section.kind != track.kind {
        return Err("of another kind");
    }
    match &track.direction {
        WantedDirection::ClientSends => match section.sends.replace(track.id) {
            Some(other) if other != track.id => Err("already used to send another track"),
            _ => Ok(()),
        },
        WantedDirection::ClientReceives(source) => {
            let before = section.receives.replace((track.id, source.clone()));
            match before {
                Some((other, _)) if other != track.id => {
                    Err("already used to receive another track")
                }
                _ => Ok(()),
            }
        }
    }
}

fn accepted<'a>(
    sections: &'a [Section],
    offer: &'a Description,
) -> impl Iterator<Item = &'a MediaSection> {
    let pairs = sections.iter().zip(&offer.media);
    pairs
        .filter(|(section, _)| !section.rejected)
        .map(|(_, media)| media)
}

/// Brings `section` to what we answer to `media`.
fn answer_section(
    section: &mut Section,
    media: &MediaSection,
    config: &NegotiationConfig,
    decodable: Option<&[CodecKind]>,
) {
    if media.is_rejected() || media.kind == MediaKind::Other {
        section.reject(&media.formats);
        return;
    }
    let receives = section.receives.is_some() && media.direction.receives();
    let codecs = agree(media, config, decodable, receives);
    if codecs.is_empty() {
        section.reject(&media.formats);
        return;
    }
    section.rejected = false;
    let in_common = |kinds: &&[_]| codecs.iter().any(|c| kinds.contains(&c.format.kind()));
    section.decodable = decodable.filter(in_common).map(<[_]>::to_vec);
    section.codecs = codecs;
    section.extensions = agree_extensions(&media.extensions, config);
    section.learn_streams(media, config.simulcast);
    let sends = section.sends.is_some() && media.direction.sends();
    section.direction = SdpDirection::new(receives, sends);
}
