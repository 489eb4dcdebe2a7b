//! What members ask for: joining, leaving, descriptions, patches, resynchronisation.
//!
//! Bad input never ends a room: it is refused, counted by the caller, and told where the protocol has words for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bus::client::{Capabilities, CloseReason, Command, Event, TrackPatchCommand};
use crate::bus::spec::RoomSpec;
use crate::faults;
use crate::id::{MemberId, PeerId, SessionId, TrackId};
use crate::limits::{
    DESCRIPTION_TRIES_MAX, FRESH_PEERS_MAX, FRESH_PEERS_PERIOD_S, ICE_RESTARTS_MAX,
};
use crate::room::codecs::decodes;
use crate::room::model::{Member, Peer, Phase};
use crate::room::negotiation::{NegotiationError, OfferContext};
use crate::room::quality::Quality;
use crate::room::report::connection_failed;
use crate::room::{Context, Room, RoomError};
use crate::time::RateWindow;
use crate::wire::sdp::IceParams;

const FRESH_PEERS_PERIOD: Duration = Duration::from_secs(FRESH_PEERS_PERIOD_S);

impl Room {
    /// A checked member comes in, or back.
    pub fn join(
        &mut self,
        session: SessionId,
        id: &MemberId,
        spec: &Arc<RoomSpec>,
        capabilities: Capabilities,
        cx: &mut Context<'_>,
    ) -> Result<(), RoomError> {
        let Some(member_spec) = spec.member(id) else {
            return Err(RoomError::NotInSpec(id.clone()));
        };
        self.spec = Arc::clone(spec);
        let full = self.members.len() >= self.members_max(cx.config);
        let is_reconnect = match self.members.get_mut(id) {
            Some(member) => {
                member.spec = member_spec.clone();
                member.session = Some(session);
                member.awaits_sync = true;
                member.decodes = decodes(&capabilities);
                true
            }
            None if full => return Err(RoomError::Full),
            None => {
                let member = Member {
                    spec: member_spec.clone(),
                    session: Some(session),
                    awaits_sync: false,
                    decodes: decodes(&capabilities),
                    peer: None,
                    quality: Quality::default(),
                    ice_restarts: RateWindow::new(ICE_RESTARTS_MAX, FRESH_PEERS_PERIOD),
                    fresh_peers: RateWindow::new(FRESH_PEERS_MAX, FRESH_PEERS_PERIOD),
                };
                self.members.insert(id.clone(), member);
                false
            }
        };
        let event = Event::RoomJoined {
            member_id: id.clone(),
            is_reconnect,
            shard: cx.shard,
        };
        cx.send(session, &self.id, event);
        self.refresh(cx);
        Ok(())
    }

    /// The member's socket is gone; its media stays. Ignored when another session speaks for it by now.
    pub fn lost(&mut self, session: SessionId, id: &MemberId) {
        if let Some(member) = self.members.get_mut(id)
            && member.session == Some(session)
        {
            member.session = None;
            member.awaits_sync = false;
        }
    }

    /// The member is out; its client is told if it listens.
    pub fn leave(&mut self, id: &MemberId, reason: CloseReason, cx: &mut Context<'_>) {
        if self.put_out(id, reason, cx) {
            self.refresh(cx);
        }
    }

    /// The same, before the others are told. `false` if the member is not there.
    pub(super) fn put_out(
        &mut self,
        id: &MemberId,
        reason: CloseReason,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(member) = self.members.remove(id) else {
            return false;
        };
        self.unwatch_member(id, cx);
        if let Some(session) = member.session {
            let event = Event::RoomLeft {
                close_reason: reason,
            };
            cx.send(session, &self.id, event);
        }
        if let Some(peer) = member.peer {
            cx.remove_peer(&peer);
        }
        true
    }

    /// A command of a joined member.
    pub fn command(
        &mut self,
        session: SessionId,
        id: &MemberId,
        mut command: Command,
        cx: &mut Context<'_>,
    ) -> Result<(), RoomError> {
        faults::trip(faults::Point::Room);
        let member = self
            .members
            .get(id)
            .filter(|m| m.session == Some(session))
            .ok_or_else(|| RoomError::NotJoined(id.clone()))?;
        if member.awaits_sync && !matches!(command, Command::SynchronizeMe { .. }) {
            return Err(RoomError::AwaitsSync(id.clone()));
        }
        let synchronized = !member.awaits_sync;
        if let Some(done) = self.mesh_command(id, &mut command, cx) {
            return done;
        }
        match command {
            Command::MakeSdpOffer {
                peer_id,
                sdp_offer,
                mids,
                transceivers_statuses,
            } => self.client_offer(id, peer_id, sdp_offer, &mids, &transceivers_statuses, cx),
            Command::MakeSdpAnswer {
                peer_id,
                sdp_answer,
                transceivers_statuses,
            } => self.client_answer(id, peer_id, sdp_answer, &transceivers_statuses, cx),
            Command::UpdateTracks {
                peer_id,
                tracks_patches,
            } => self.update_tracks(id, peer_id, &tracks_patches, cx),
            // Only once after a reconnect: each costs a peer.
            Command::SynchronizeMe { .. } if synchronized => Err(RoomError::InSync),
            Command::SynchronizeMe { state } => self.synchronize(id, &state, cx),
            // An ICE-lite agent learns addresses from checks alone (RFC 8445 section 2.5).
            Command::SetIceCandidate { peer_id, .. } => self.peer(id, peer_id).map(|_| ()),
            Command::AddPeerConnectionMetrics { peer_id, metrics } => {
                self.peer(id, peer_id)?;
                if connection_failed(&metrics) == Some(true) {
                    self.restart_ice(id, cx);
                }
                Ok(())
            }
            Command::JoinRoom { .. } | Command::LeaveRoom { .. } => Err(RoomError::NotForRoom),
        }
    }

    /// A peer's connection has failed: ICE begins anew on the same transport, so that keys and streams stay.
    pub(super) fn restart_ice(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        if self.begin_restart(id, cx) {
            self.announce(id, cx);
        }
    }

    /// Whether the next description brings other credentials that none would have brought before.
    pub(super) fn begin_restart(&mut self, id: &MemberId, cx: &mut Context<'_>) -> bool {
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        let Some(peer) = member.peer.as_mut() else {
            return false;
        };
        // Before the first negotiation there is nothing to begin anew; one restart at a time is enough.
        let running = peer.negotiation.restarts_ice();
        if running || peer.negotiation.remote().is_none() || !member.ice_restarts.admit(cx.now) {
            return false;
        }
        let Some(fresh) = cx.machine.restart_ice(peer.transport, cx.rng) else {
            return false;
        };
        peer.negotiation.restart_ice(IceParams {
            ufrag: fresh.ufrag,
            pwd: fresh.pwd,
        });
        true
    }

    /// The peer `peer_id` of `member`.
    pub(super) fn peer(
        &mut self,
        member: &MemberId,
        peer_id: PeerId,
    ) -> Result<&mut Peer, RoomError> {
        self.members
            .get_mut(member)
            .and_then(|m| m.peer.as_mut())
            .filter(|p| p.id == peer_id)
            .ok_or(RoomError::NoSuchPeer(peer_id))
    }

    fn client_offer(
        &mut self,
        id: &MemberId,
        peer_id: PeerId,
        sdp: String,
        mids: &BTreeMap<TrackId, String>,
        statuses: &BTreeMap<TrackId, bool>,
        cx: &mut Context<'_>,
    ) -> Result<(), RoomError> {
        let peer = self.peer(id, peer_id)?;
        if peer.phase != Phase::AwaitsOffer {
            return Err(RoomError::NotAsked("an offer"));
        }
        let offer_context = OfferContext {
            decodable: peer.decodable(),
            fresh_ice: None,
        };
        let answer = match peer.negotiation.handle_offer(&sdp, mids, &offer_context) {
            Ok(answer) => answer.sdp,
            Err(error) => return Err(self.refused(id, error, cx)),
        };
        take_statuses(peer, statuses);
        let answer = Event::SdpAnswerMade {
            peer_id,
            sdp_answer: answer,
        };
        self.negotiated(id, peer_id, sdp, Some(answer), cx);
        Ok(())
    }

    fn client_answer(
        &mut self,
        id: &MemberId,
        peer_id: PeerId,
        sdp: String,
        statuses: &BTreeMap<TrackId, bool>,
        cx: &mut Context<'_>,
    ) -> Result<(), RoomError> {
        let peer = self.peer(id, peer_id)?;
        if peer.phase != Phase::AwaitsAnswer {
            return Err(RoomError::NotAsked("an answer"));
        }
        if let Err(error) = peer.negotiation.handle_answer(&sdp) {
            return Err(self.refused(id, error, cx));
        }
        take_statuses(peer, statuses);
        self.negotiated(id, peer_id, sdp, None, cx);
        Ok(())
    }

    /// A negotiation has ended with the client's description `sdp`: acknowledge it, set media up, tell what had to wait.
    fn negotiated(
        &mut self,
        id: &MemberId,
        peer_id: PeerId,
        sdp: String,
        answer: Option<Event>,
        cx: &mut Context<'_>,
    ) {
        if let Some(peer) = self.members.get_mut(id).and_then(|m| m.peer.as_mut()) {
            peer.phase = Phase::Stable;
            peer.refused = 0;
        }
        if let Some(session) = self.members.get(id).and_then(Member::listener) {
            let applied = Event::LocalDescriptionApplied {
                peer_id,
                sdp_offer: sdp,
            };
            for event in std::iter::once(applied).chain(answer) {
                cx.send(session, &self.id, event);
            }
        }
        self.apply_negotiated(id, cx);
        self.reconcile_member(id, cx);
        if let Some(peer) = self.members.get_mut(id).and_then(|m| m.peer.as_mut()) {
            peer.mark_undecodable();
        }
        self.announce(id, cx);
        self.close_failed(cx);
    }

    /// A description of no use: the client is asked once more, for a client that repeats itself not for ever.
    fn refused(
        &mut self,
        id: &MemberId,
        error: NegotiationError,
        cx: &mut Context<'_>,
    ) -> RoomError {
        let room = self.id.clone();
        if let Some(member) = self.members.get_mut(id)
            && let Some(session) = member.listener()
            && let Some(peer) = member.peer.as_mut()
        {
            peer.refused += 1;
            let role = peer.running_role();
            if peer.refused <= DESCRIPTION_TRIES_MAX && role.is_some() {
                let event = Event::PeerUpdated {
                    peer_id: peer.id,
                    updates: Vec::new(),
                    negotiation_role: role,
                };
                cx.send(session, &room, event);
            }
        }
        RoomError::Negotiation(error)
    }

    fn update_tracks(
        &mut self,
        id: &MemberId,
        peer_id: PeerId,
        patches: &[TrackPatchCommand],
        cx: &mut Context<'_>,
    ) -> Result<(), RoomError> {
        let peer = self.peer(id, peer_id)?;
        if patches.is_empty() {
            return Ok(());
        }
        // A track that is gone by now must not keep the others from being patched.
        let mut refused = Ok(());
        for patch in patches {
            refused = refused.and(apply_patch(peer, patch));
        }
        // The client waits for the authoritative state of what it asked for, refused or not.
        peer.echo.extend(patches.iter().map(|p| p.id));
        let mut affected = BTreeSet::from([id.clone()]);
        for patch in patches {
            self.spread(id, patch.id, &mut affected);
        }
        self.reconcile_member(id, cx);
        for member in &affected {
            self.announce(member, cx);
        }
        self.close_failed(cx);
        refused
    }
}

/// Takes one patch in. A required track stays enabled, whatever is asked.
pub(super) fn apply_patch(peer: &mut Peer, patch: &TrackPatchCommand) -> Result<(), RoomError> {
    if let Some(track) = peer.sends.get_mut(&patch.id) {
        if let Some(enabled) = patch.enabled {
            track.enabled = enabled || track.required;
        }
        if let Some(muted) = patch.muted {
            track.muted = muted;
        }
        return Ok(());
    }
    let Some(track) = peer.recvs.get_mut(&patch.id) else {
        return Err(RoomError::NoSuchTrack(patch.id));
    };
    if let Some(enabled) = patch.enabled {
        track.enabled = enabled || track.required;
    }
    Ok(())
}

/// What the client says of its own send tracks: whether they have media.
fn take_statuses(peer: &mut Peer, statuses: &BTreeMap<TrackId, bool>) {
    for (id, publishing) in statuses {
        if let Some(track) = peer.sends.get_mut(id) {
            track.publishing = *publishing;
        }
    }
}
