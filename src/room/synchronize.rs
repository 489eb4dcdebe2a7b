//! A client that comes back: its intents are taken in, then it is told the authoritative state.
//!
//! A client that still has its peer goes on with it, media untouched. One that knows nothing (a reloaded page) gets a
//! state without peers, and then a fresh peer by `PeerCreated`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bus::client::{
    ConnectionMode, Event, IceServer, MediaDirection, PeerState, ReceiverState, RoomState,
    SenderState, TrackPatchCommand,
};
use crate::id::{MemberId, PeerId};
use crate::limits::ICE_SILENCE_MS;
use crate::room::announce::{STATS_SCRAPE_INTERVAL_MS, open_negotiation};
use crate::room::commands::apply_patch;
use crate::room::model::{Member, Peer, Phase};
use crate::room::{Context, Room, RoomError};

const SILENCE: Duration = Duration::from_millis(ICE_SILENCE_MS);

impl Room {
    /// SynchronizeMe: answered by `StateSynchronized`, after which the client hears events again.
    pub(super) fn synchronize(
        &mut self,
        id: &MemberId,
        state: &RoomState,
        cx: &mut Context<'_>,
    ) -> Result<(), RoomError> {
        self.replace_unknown_peer(id, state, cx);
        self.find_lost_way(id, cx);
        self.drop_unknown_pairs(id, |peer| state.peers.contains_key(&peer), cx);
        for (peer_id, peer_state) in &state.peers {
            let patches = intents(peer_state);
            if let Some(member) = self.members.get_mut(id) {
                take_intents(member, *peer_id, &patches);
            }
            self.take_mesh_intents(id, *peer_id, &patches, cx);
        }
        if self.runs_sfu() {
            self.refresh_tracks(cx);
        }
        let pairs = self.mesh_states(id, cx);
        let room = self.id.clone();
        let member = self
            .members
            .get_mut(id)
            .ok_or_else(|| RoomError::NotJoined(id.clone()))?;
        member.awaits_sync = false;
        let ice_servers = cx.ice_servers(id, &member.spec);
        let mut state = describe_state(member, ice_servers)?;
        state.peers.extend(pairs.into_iter().map(|p| (p.id, p)));
        if let Some(session) = member.session {
            cx.send(session, &room, Event::StateSynchronized { state });
        }
        self.refresh(cx);
        self.resume_pairs(id, cx);
        Ok(())
    }

    /// A client that is back while nothing comes over its connection: ICE begins anew with the state it is told.
    fn find_lost_way(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        let peer = self.members.get(id).and_then(|m| m.peer.as_ref());
        let silence = peer.and_then(|p| cx.machine.silence(p.transport, cx.now));
        if silence.is_some_and(|silence| silence > SILENCE) {
            self.begin_restart(id, cx);
        }
    }

    /// A client that does not name its peer has lost it: the next `refresh_tracks` makes another.
    fn replace_unknown_peer(&mut self, id: &MemberId, state: &RoomState, cx: &mut Context<'_>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let known = member
            .peer
            .as_ref()
            .is_some_and(|peer| peer.announced && state.peers.contains_key(&peer.id));
        if known {
            return;
        }
        if let Some(peer) = member.peer.take() {
            cx.remove_peer(&peer);
        }
    }
}

/// What the client wants of its own side of each track.
fn take_intents(member: &mut Member, peer_id: PeerId, patches: &[TrackPatchCommand]) {
    let Some(peer) = member.peer.as_mut().filter(|p| p.id == peer_id) else {
        return;
    };
    for patch in patches {
        // A track that is gone by now: the state says so.
        let _ = apply_patch(peer, patch);
    }
}

/// The same as patches.
fn intents(state: &PeerState) -> Vec<TrackPatchCommand> {
    let sends = state.senders.values().map(|s| TrackPatchCommand {
        id: s.id,
        enabled: Some(matches!(
            s.media_direction,
            MediaDirection::SendRecv | MediaDirection::SendOnly
        )),
        muted: Some(s.muted),
    });
    let recvs = state.receivers.values().map(|r| TrackPatchCommand {
        id: r.id,
        enabled: Some(matches!(
            r.media_direction,
            MediaDirection::SendRecv | MediaDirection::RecvOnly
        )),
        muted: None,
    });
    sends.chain(recvs).collect()
}

/// The state as the member is to see it; a negotiation that is due starts with it.
fn describe_state(
    member: &mut Member,
    ice_servers: Vec<IceServer>,
) -> Result<RoomState, RoomError> {
    let spec = member.spec.clone();
    // A fresh peer is no part of the state: the refresh that follows tells of it by PeerCreated, as to anybody new.
    let Some(peer) = member.peer.as_mut().filter(|p| p.announced) else {
        return Ok(RoomState::default());
    };
    // While a negotiation runs, tracks it does not know wait for the next one, as they would have without a reconnect.
    let running = peer.phase != Phase::Stable;
    let negotiation_role = if !running && peer.needs_negotiation() {
        Some(open_negotiation(peer)?)
    } else {
        peer.running_role()
    };
    // What went is not in the state.
    peer.parted |= running && !peer.removed.is_empty();
    peer.removed.clear();
    peer.echo.clear();
    peer.changed.clear();
    let state = PeerState {
        id: peer.id,
        connection_mode: ConnectionMode::Sfu,
        senders: senders(peer, running),
        receivers: receivers(peer, running),
        force_relay: spec.force_relay,
        ice_servers,
        negotiation_role,
        local_sdp: peer.negotiation.remote_sdp().map(str::to_owned),
        remote_sdp: peer
            .negotiation
            .pending_offer()
            .or(peer.negotiation.local_sdp())
            .map(str::to_owned),
        restart_ice: peer.phase == Phase::AwaitsOffer && peer.negotiation.restart_waits(),
        ice_candidates: Vec::new(),
        stats_scrape_interval_ms: STATS_SCRAPE_INTERVAL_MS,
    };
    Ok(RoomState {
        peers: BTreeMap::from([(peer.id, state)]),
    })
}

fn senders(peer: &mut Peer, running: bool) -> BTreeMap<crate::id::TrackId, SenderState> {
    let mut out = BTreeMap::new();
    let offers = !running && peer.phase == Phase::AwaitsOffer;
    for (id, track) in &mut peer.sends {
        if track.told.is_none() && !offers {
            continue;
        }
        let truth = track.truth();
        let state = SenderState {
            id: *id,
            connection_mode: ConnectionMode::Sfu,
            mid: peer.negotiation.mid_of(*id).map(str::to_owned),
            media_type: track.media_type(),
            receivers: truth.receivers.clone(),
            muted: truth.muted,
            media_direction: truth.media_direction,
        };
        track.told = Some(truth);
        out.insert(*id, state);
    }
    out
}

fn receivers(peer: &mut Peer, running: bool) -> BTreeMap<crate::id::TrackId, ReceiverState> {
    let mut out = BTreeMap::new();
    for (id, track) in &mut peer.recvs {
        if running && track.told.is_none() {
            continue;
        }
        let truth = track.truth();
        let state = ReceiverState {
            id: *id,
            connection_mode: ConnectionMode::Sfu,
            mid: peer.negotiation.mid_of(*id).map(str::to_owned),
            media_type: track.media_type(),
            sender_id: track.publisher.clone(),
            muted: truth.muted,
            media_direction: truth.media_direction,
        };
        track.told = Some(truth);
        out.insert(*id, state);
    }
    out
}
