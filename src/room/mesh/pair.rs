//! One pair of members that send media to each other: their descriptions and candidates pass through here, unread.
//!
//! A state machine of its own: what one client says goes in, what both are told comes out ([`Told`]). A track has the
//! same id on both sides, one sender and one receiver. Invariants: one negotiation at a time, begun by the server, so
//! there is no glare; what was said while a client was away is in its next state. RFC 9429, RFC 8838, `docs/protocol.md`.

use std::collections::BTreeMap;

use crate::bus::client::{
    ConnectionMode, Direction, Event, IceCandidate, MediaDirection, NegotiationRole, PeerState,
    PeerUpdate, ReceiverState, SenderState, Track, TrackPatchCommand, TrackPatchEvent,
};
use crate::id::{MemberId, PeerId, TrackId};
use crate::limits::{
    ICE_CANDIDATE_BYTES_MAX, ICE_CANDIDATES_MAX, SDP_BYTES_MAX, SDP_TOKEN_BYTES_MAX,
};
use crate::room::RoomError;
use crate::room::announce::STATS_SCRAPE_INTERVAL_MS;
use crate::room::model::{Source, media_type};
use crate::room::report::Reported;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one whose id sorts first.
    First,
    /// The other.
    Second,
}

impl Side {
    /// Both of them.
    pub const BOTH: [Side; 2] = [Side::First, Side::Second];

    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::First => Side::Second,
            Side::Second => Side::First,
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// What one of the two is to be told.
pub type Told = (Side, Event);

/// One end of the pair.
#[derive(Debug)]
pub struct End {
    /// Who.
    pub member: MemberId,
    /// Its peer.
    pub peer: PeerId,
    /// It hears events now: its client is connected and in step.
    listens: bool,
    announced: bool,
    /// Its own last description.
    sdp: Option<String>,
    /// Candidates of the other end, for this one.
    candidates: Vec<IceCandidate>,
    /// It has said that its connection failed.
    failed: bool,
    /// It has said that its connection works.
    connected: bool,
    /// Tracks it has been told of that are gone.
    removed: Vec<TrackId>,
    /// How well what comes to it comes.
    reported: Reported,
}

impl End {
    /// An end whose client knows nothing yet.
    pub fn new(member: MemberId, peer: PeerId) -> End {
        End {
            member,
            peer,
            listens: false,
            announced: false,
            sdp: None,
            candidates: Vec::new(),
            failed: false,
            reported: Reported::default(),
            connected: false,
            removed: Vec::new(),
        }
    }

    /// Whether its client knows of the peer.
    pub fn is_announced(&self) -> bool {
        self.announced
    }
}

/// A track of the pair.
#[derive(Debug)]
struct PairTrack {
    from: Side,
    source: Source,
    required: bool,
    /// The sender wants it to flow.
    enabled: bool,
    /// The receiver wants it to flow.
    received: bool,
    muted: bool,
    mid: Option<String>,
    /// Whether each side has been told of it.
    announced: [bool; 2],
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Stable,
    /// This side was asked for an offer.
    AwaitsOffer(Side),
    /// The other side was given this side's offer.
    AwaitsAnswer(Side),
}

/// Two members and what they send each other.
#[derive(Debug)]
pub struct Pair {
    ends: [End; 2],
    tracks: BTreeMap<TrackId, PairTrack>,
    phase: Phase,
    restart_ice: bool,
}

impl Pair {
    /// A pair without tracks.
    pub fn new(first: End, second: End) -> Pair {
        Pair {
            ends: [first, second],
            tracks: BTreeMap::new(),
            phase: Phase::Stable,
            restart_ice: false,
        }
    }

    /// The end of `side`.
    pub fn end(&self, side: Side) -> &End {
        &self.ends[side.index()]
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side.index()]
    }

    /// The side of `member`.
    pub fn side_of(&self, member: &MemberId) -> Option<Side> {
        let of = |side: &Side| self.end(*side).member == *member;
        Side::BOTH.into_iter().find(of)
    }

    /// Whether `side` hears events from now on.
    pub fn set_listens(&mut self, side: Side, listens: bool) {
        self.end_mut(side).listens = listens;
    }

    /// Whether both clients that are here say that it works.
    pub fn is_connected(&self) -> bool {
        self.ends.iter().all(|end| end.connected || !end.listens)
    }

    /// Brings the tracks in line with `wanted` (sender, what, whether it must be sent); ids come from `next_id`.
    pub fn set_tracks(
        &mut self,
        wanted: &[(Side, Source, bool)],
        mut next_id: impl FnMut() -> TrackId,
    ) {
        let is = |track: &PairTrack, (side, source, _): &(Side, Source, bool)| {
            track.from == *side && track.source == *source
        };
        let gone: Vec<TrackId> = self
            .tracks
            .iter()
            .filter(|(_, track)| !wanted.iter().any(|w| is(track, w)))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            let Some(track) = self.tracks.remove(&id) else {
                continue;
            };
            for (end, announced) in self.ends.iter_mut().zip(track.announced) {
                end.removed.extend(announced.then_some(id));
            }
        }
        for want in wanted {
            if self.tracks.values().any(|track| is(track, want)) {
                continue;
            }
            let (from, source, required) = want;
            self.tracks.insert(
                next_id(),
                PairTrack {
                    from: *from,
                    source: source.clone(),
                    required: *required,
                    enabled: true,
                    received: true,
                    muted: false,
                    mid: None,
                    announced: [false; 2],
                },
            );
        }
    }

    /// Starts a negotiation if one is due and none is under way. The side asked is the first that listens.
    pub fn negotiate(&mut self) -> Vec<Told> {
        if self.phase != Phase::Stable || !self.needs_negotiation() {
            return Vec::new();
        }
        let mut sides = Side::BOTH.into_iter();
        let Some(side) = sides.find(|side| self.end(*side).listens) else {
            return Vec::new();
        };
        self.phase = Phase::AwaitsOffer(side);
        vec![self.ask(side, NegotiationRole::Offerer)]
    }

    fn needs_negotiation(&self) -> bool {
        self.restart_ice
            || self.ends.iter().any(|end| !end.removed.is_empty())
            || self.tracks.values().any(|t| t.announced != [true; 2])
    }

    /// `PeerCreated` or `PeerUpdated` with everything `side` has yet to be told, and its role. Servers and relay policy
    /// are the room's to fill in.
    fn ask(&mut self, side: Side, role: NegotiationRole) -> Told {
        let tracks = self.take_unannounced(side);
        let restart = self.restart_ice;
        let end = self.end_mut(side);
        let removed = std::mem::take(&mut end.removed);
        if !end.announced {
            end.announced = true;
            let created = Event::PeerCreated {
                peer_id: end.peer,
                negotiation_role: role,
                connection_mode: ConnectionMode::Mesh,
                tracks,
                ice_servers: Vec::new(),
                force_relay: false,
                stats_scrape_interval_ms: STATS_SCRAPE_INTERVAL_MS,
            };
            return (side, created);
        }
        let updates = removed
            .into_iter()
            .map(PeerUpdate::Removed)
            .chain(restart.then_some(PeerUpdate::IceRestart))
            .chain(tracks.into_iter().map(PeerUpdate::Added))
            .collect();
        let updated = Event::PeerUpdated {
            peer_id: end.peer,
            updates,
            negotiation_role: Some(role),
        };
        (side, updated)
    }

    fn take_unannounced(&mut self, side: Side) -> Vec<Track> {
        let partner = self.end(side.other()).member.clone();
        let mut out = Vec::new();
        for (id, track) in &mut self.tracks {
            if !std::mem::replace(&mut track.announced[side.index()], true) {
                out.push(track.describe(*id, side, &partner));
            }
        }
        out
    }

    /// The offer that `side` was asked for: passed on.
    ///
    /// # Errors
    /// [`RoomError::NotAsked`], [`RoomError::NoSuchTrack`], [`RoomError::NoDescription`].
    pub fn handle_offer(
        &mut self,
        side: Side,
        sdp: String,
        mids: &BTreeMap<TrackId, String>,
    ) -> Result<Vec<Told>, RoomError> {
        if self.phase != Phase::AwaitsOffer(side) {
            return Err(RoomError::NotAsked("an offer"));
        }
        check_description(&sdp)?;
        if mids.values().any(|mid| mid.len() > SDP_TOKEN_BYTES_MAX) {
            return Err(RoomError::TooLong("mid"));
        }
        if let Some(id) = mids.keys().find(|id| !self.tracks.contains_key(id)) {
            return Err(RoomError::NoSuchTrack(*id));
        }
        for (id, mid) in mids {
            if let Some(track) = self.tracks.get_mut(id) {
                track.mid = Some(mid.clone());
            }
        }
        self.phase = Phase::AwaitsAnswer(side);
        let mut out = vec![self.applied(side, &sdp)];
        let other = side.other();
        if self.end(other).listens {
            let fresh = !self.end(other).announced;
            out.push(self.ask(other, NegotiationRole::Answerer(sdp)));
            if fresh {
                out.extend(self.known_candidates(other));
            }
        }
        Ok(out)
    }

    /// The answer of `side` to the other's offer: passed on, and the next negotiation if one is due.
    ///
    /// # Errors
    /// [`RoomError::NotAsked`], [`RoomError::NoDescription`].
    pub fn handle_answer(&mut self, side: Side, sdp: String) -> Result<Vec<Told>, RoomError> {
        if self.phase != Phase::AwaitsAnswer(side.other()) {
            return Err(RoomError::NotAsked("an answer"));
        }
        check_description(&sdp)?;
        self.phase = Phase::Stable;
        self.restart_ice = false;
        let applied = self.applied(side, &sdp);
        let made = Event::SdpAnswerMade {
            peer_id: self.end(side.other()).peer,
            sdp_answer: sdp,
        };
        let mut out = vec![applied, (side.other(), made)];
        out.extend(self.negotiate());
        Ok(out)
    }

    fn applied(&mut self, side: Side, sdp: &str) -> Told {
        let end = self.end_mut(side);
        end.sdp = Some(sdp.to_owned());
        let applied = Event::LocalDescriptionApplied {
            peer_id: end.peer,
            sdp_offer: sdp.to_owned(),
        };
        (side, applied)
    }

    /// A candidate of `side`: kept for the other end, and passed on when that one knows of the peer.
    ///
    /// # Errors
    /// [`RoomError::TooLong`].
    pub fn handle_candidate(
        &mut self,
        side: Side,
        candidate: IceCandidate,
    ) -> Result<Vec<Told>, RoomError> {
        let mid = candidate.sdp_mid.as_ref().map_or(0, String::len);
        if candidate.candidate.len() > ICE_CANDIDATE_BYTES_MAX || mid > SDP_TOKEN_BYTES_MAX {
            return Err(RoomError::TooLong("candidate"));
        }
        let other = side.other();
        let end = self.end_mut(other);
        if end.candidates.len() >= ICE_CANDIDATES_MAX || end.candidates.contains(&candidate) {
            return Ok(Vec::new());
        }
        end.candidates.push(candidate.clone());
        let event = Event::IceCandidateDiscovered {
            peer_id: end.peer,
            candidate,
        };
        Ok(end
            .announced
            .then_some((other, event))
            .into_iter()
            .collect())
    }

    fn known_candidates(&self, side: Side) -> Vec<Told> {
        let end = self.end(side);
        let discovered = |candidate: &IceCandidate| Event::IceCandidateDiscovered {
            peer_id: end.peer,
            candidate: candidate.clone(),
        };
        let events = end.candidates.iter().map(discovered);
        events.map(|event| (side, event)).collect()
    }

    /// Patches of `side`: told to both, to the one who asked as the authoritative state.
    ///
    /// # Errors
    /// [`RoomError::NoSuchTrack`]; the other patches count.
    pub fn handle_patches(
        &mut self,
        side: Side,
        patches: &[TrackPatchCommand],
    ) -> (Vec<Told>, Result<(), RoomError>) {
        let mut refused = Ok(());
        let mut updates: [Vec<PeerUpdate>; 2] = Default::default();
        for patch in patches {
            let Some(track) = self.tracks.get_mut(&patch.id) else {
                refused = refused.and(Err(RoomError::NoSuchTrack(patch.id)));
                continue;
            };
            let before = (track.direction(), track.muted);
            track.patch(side, patch);
            let changed = before != (track.direction(), track.muted);
            for told in [side, side.other()] {
                if track.announced[told.index()] && (changed || told == side) {
                    updates[told.index()].push(track.update(patch.id));
                }
            }
        }
        let sides = Side::BOTH.into_iter().zip(updates);
        let out = sides
            .filter(|(_, updates)| !updates.is_empty())
            .map(|(to, updates)| {
                let event = Event::PeerUpdated {
                    peer_id: self.end(to).peer,
                    updates,
                    negotiation_role: None,
                };
                (to, event)
            })
            .collect();
        (out, refused)
    }

    /// What the client of `side` says of its connection: when both have failed, ICE is restarted (RFC 8445 section 9).
    pub fn handle_connection(&mut self, side: Side, failed: bool) -> Vec<Told> {
        let end = self.end_mut(side);
        end.failed = failed;
        end.connected = !failed;
        if !self.ends.iter().all(|end| end.failed) || self.phase != Phase::Stable {
            return Vec::new();
        }
        for end in &mut self.ends {
            end.failed = false;
            end.candidates.clear();
        }
        self.restart_ice = true;
        self.negotiate()
    }

    /// What one of the two reports of its connection: it is told when the other one comes better or worse.
    pub fn handle_report(&mut self, side: Side, metrics: &serde_json::Value) -> Vec<Told> {
        let partner_member_id = self.end(side.other()).member.clone();
        let changed = self.end_mut(side).reported.handle(metrics);
        let told = changed.map(|quality_score| {
            let event = Event::ConnectionQualityUpdated {
                partner_member_id,
                quality_score,
            };
            (side, event)
        });
        told.into_iter().collect()
    }

    /// What a client that is back and in step has missed of a pair it does not know yet, and what could not begin without
    /// it.
    pub fn resume(&mut self, side: Side) -> Vec<Told> {
        let offerer = side.other();
        if self.phase != Phase::AwaitsAnswer(offerer) || self.end(side).announced {
            return self.negotiate();
        }
        let Some(offer) = self.end(offerer).sdp.clone() else {
            return Vec::new();
        };
        let mut out = vec![self.ask(side, NegotiationRole::Answerer(offer))];
        out.extend(self.known_candidates(side));
        out
    }

    /// The pair as `side` is to see it after a reconnect; it has been told everything then. Servers and relay policy are
    /// the room's to fill in.
    pub fn state(&mut self, side: Side) -> PeerState {
        let partner = self.end(side.other()).member.clone();
        let running = self.phase != Phase::Stable;
        let answers = self.phase == Phase::AwaitsAnswer(side.other());
        let mut senders = BTreeMap::new();
        let mut receivers = BTreeMap::new();
        for (id, track) in &mut self.tracks {
            // What the negotiation under way does not know waits for the next one.
            let in_offer = answers && track.announced[side.other().index()];
            if running && !track.announced[side.index()] && !in_offer {
                continue;
            }
            track.announced[side.index()] = true;
            if track.from == side {
                senders.insert(*id, track.sender_state(*id, &partner));
            } else {
                receivers.insert(*id, track.receiver_state(*id, &partner));
            }
        }
        let role = match &self.phase {
            Phase::AwaitsOffer(offerer) if *offerer == side => Some(NegotiationRole::Offerer),
            Phase::AwaitsAnswer(offerer) if *offerer != side => {
                let offer = self.end(*offerer).sdp.clone();
                offer.map(NegotiationRole::Answerer)
            }
            _ => None,
        };
        self.end_mut(side).removed.clear();
        let end = self.end(side);
        PeerState {
            id: end.peer,
            connection_mode: ConnectionMode::Mesh,
            senders,
            receivers,
            force_relay: false,
            ice_servers: Vec::new(),
            negotiation_role: role,
            local_sdp: end.sdp.clone(),
            ice_candidates: end.candidates.clone(),
            remote_sdp: self.end(side.other()).sdp.clone(),
            restart_ice: self.restart_ice,
            stats_scrape_interval_ms: STATS_SCRAPE_INTERVAL_MS,
        }
    }
}

impl PairTrack {
    fn direction(&self) -> MediaDirection {
        MediaDirection::from_enabled(self.enabled, self.received)
    }

    fn patch(&mut self, side: Side, patch: &TrackPatchCommand) {
        if self.from == side {
            if let Some(enabled) = patch.enabled {
                self.enabled = enabled || self.required;
            }
            self.muted = patch.muted.unwrap_or(self.muted);
        } else if let Some(enabled) = patch.enabled {
            self.received = enabled || self.required;
        }
    }

    fn update(&self, id: TrackId) -> PeerUpdate {
        PeerUpdate::Updated(TrackPatchEvent {
            media_direction: Some(self.direction()),
            muted: Some(self.muted),
            ..TrackPatchEvent::new(id)
        })
    }

    fn describe(&self, id: TrackId, side: Side, partner: &MemberId) -> Track {
        let mid = self.mid.clone();
        let direction = if self.from == side {
            Direction::Send {
                receivers: vec![partner.clone()],
                mid,
            }
        } else {
            Direction::Recv {
                sender: partner.clone(),
                mid,
            }
        };
        Track {
            id,
            direction,
            media_direction: self.direction(),
            muted: self.muted,
            media_type: media_type(&self.source, self.required, Vec::new()),
        }
    }

    fn sender_state(&self, id: TrackId, partner: &MemberId) -> SenderState {
        SenderState {
            id,
            connection_mode: ConnectionMode::Mesh,
            mid: self.mid.clone(),
            media_type: media_type(&self.source, self.required, Vec::new()),
            receivers: vec![partner.clone()],
            muted: self.muted,
            media_direction: self.direction(),
        }
    }

    fn receiver_state(&self, id: TrackId, partner: &MemberId) -> ReceiverState {
        ReceiverState {
            id,
            connection_mode: ConnectionMode::Mesh,
            mid: self.mid.clone(),
            media_type: media_type(&self.source, self.required, Vec::new()),
            sender_id: partner.clone(),
            muted: self.muted,
            media_direction: self.direction(),
        }
    }
}

/// The server relays descriptions unread; what cannot be one is not worth the other client's time.
fn check_description(sdp: &str) -> Result<(), RoomError> {
    // RFC 8866 section 5.1: every description begins with its version.
    if sdp.len() > SDP_BYTES_MAX || !sdp.starts_with("v=0") {
        return Err(RoomError::NoDescription);
    }
    Ok(())
}
