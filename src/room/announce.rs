//! Tells every client what changed, one negotiation at a time (`docs/protocol.md`, negotiation).
//!
//! The server alone decides when to negotiate: the client offers when it gains send tracks, the server otherwise.
//! Changes that need a negotiation wait until the peer is stable; mute and enable patches never wait.

use crate::bus::client::{ConnectionMode, Event, IceServer, NegotiationRole, PeerUpdate, Track};
use crate::id::MemberId;
use crate::room::describe::{full_patch, patch};
use crate::room::model::{Peer, Phase, SendTrack};
use crate::room::negotiation::NegotiationError;
use crate::room::{Context, Room};

/// How often clients send statistics, ms.
pub(super) const STATS_SCRAPE_INTERVAL_MS: u32 = 1000;

impl Room {
    /// Sends every member what it has yet to be told.
    pub(super) fn announce_all(&mut self, cx: &mut Context<'_>) {
        for peer in self.members.values_mut().filter_map(|m| m.peer.as_mut()) {
            peer.mark_undecodable();
        }
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            self.announce(id, cx);
        }
    }

    /// Sends one member what it has yet to be told.
    pub(super) fn announce(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        let room = self.id.clone();
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let Some(session) = member.listener() else {
            return;
        };
        let Some(peer) = member.peer.as_mut() else {
            return;
        };
        let event = if peer.announced {
            update_event(peer)
        } else if peer.sends.is_empty() && peer.recvs.is_empty() {
            // Whatever it had has been taken away before its client heard of it.
            return;
        } else {
            let ice_servers = cx.ice_servers(id, &member.spec);
            created_event(peer, ice_servers, member.spec.force_relay).map(Some)
        };
        match event {
            Ok(Some(event)) => cx.send(session, &room, event),
            Ok(None) => {}
            Err(error) => {
                // A fault of ours: the member is closed rather than left without media.
                tracing::warn!(%room, member = %id, %error, "no session description; member closed");
                self.failed.push(id.clone());
            }
        }
    }
}

/// `PeerCreated` with every track and the role.
fn created_event(
    peer: &mut Peer,
    ice_servers: Vec<IceServer>,
    force_relay: bool,
) -> Result<Event, NegotiationError> {
    let role = open_negotiation(peer)?;
    let tracks = describe_unannounced(peer);
    peer.announced = true;
    Ok(Event::PeerCreated {
        peer_id: peer.id,
        negotiation_role: role,
        connection_mode: ConnectionMode::Sfu,
        tracks,
        ice_servers,
        force_relay,
        stats_scrape_interval_ms: STATS_SCRAPE_INTERVAL_MS,
    })
}

/// `PeerUpdated` with what changed, or nothing.
fn update_event(peer: &mut Peer) -> Result<Option<Event>, NegotiationError> {
    let mut updates = patches(peer);
    let mut negotiation_role = None;
    if peer.phase == Phase::Stable && peer.needs_negotiation() {
        updates.extend(peer.removed.drain(..).map(PeerUpdate::Removed));
        if peer.negotiation.is_blank() && peer.sends.is_empty() && peer.recvs.is_empty() {
            // All its tracks went before the first was negotiated.
            peer.renegotiate = false;
            return Ok((!updates.is_empty()).then_some(Event::PeerUpdated {
                peer_id: peer.id,
                updates,
                negotiation_role: None,
            }));
        }
        if peer.negotiation.restart_waits() {
            updates.push(PeerUpdate::IceRestart);
        }
        negotiation_role = Some(open_negotiation(peer)?);
        updates.extend(
            describe_unannounced(peer)
                .into_iter()
                .map(PeerUpdate::Added),
        );
    }
    if updates.is_empty() && negotiation_role.is_none() {
        return Ok(None);
    }
    Ok(Some(Event::PeerUpdated {
        peer_id: peer.id,
        updates,
        negotiation_role,
    }))
}

/// Starts a negotiation: decides who offers, and makes the offer if it is ours.
pub(super) fn open_negotiation(peer: &mut Peer) -> Result<NegotiationRole, NegotiationError> {
    let gains_send = peer.sends.values().any(|t| t.told.is_none());
    let gains_recv = peer.recvs.values().any(|t| t.told.is_none());
    // New recv tracks are offered by us, on m-sections of our choice: a client asked for an offer may put them onto
    // transceivers that carry others already, and their media would outrun our answer. New send tracks and codecs have
    // their turn in the next round; only in the very first one nothing flows yet.
    let first = peer.negotiation.local_sdp().is_none();
    let client_offers = (gains_send && (first || !gains_recv)) || (peer.renegotiate && !gains_recv);
    let wanted = match client_offers {
        true => peer.wanted_tracks(),
        false => peer.wanted_without_new_sends(),
    };
    peer.negotiation.set_wanted(wanted);
    peer.parted = false;
    if client_offers {
        peer.renegotiate = false;
    }
    if client_offers {
        peer.phase = Phase::AwaitsOffer;
        return Ok(NegotiationRole::Offerer);
    }
    let offer = peer.negotiation.make_offer()?;
    peer.phase = Phase::AwaitsAnswer;
    Ok(NegotiationRole::Answerer(offer))
}

/// Tracks of this round the client does not know yet, marked as told.
fn describe_unannounced(peer: &mut Peer) -> Vec<Track> {
    let mut out = Vec::new();
    let sends = peer.phase == Phase::AwaitsOffer;
    let new = |t: &SendTrack| sends && t.told.is_none();
    for (id, track) in peer.sends.iter_mut().filter(|(_, t)| new(t)) {
        track.told = Some(track.truth());
        let mid = peer.negotiation.mid_of(*id).map(str::to_owned);
        out.push(track.describe(*id, mid));
    }
    for (id, track) in peer.recvs.iter_mut().filter(|(_, t)| t.told.is_none()) {
        track.told = Some(track.truth());
        let mid = peer.negotiation.mid_of(*id).map(str::to_owned);
        out.push(track.describe(*id, mid));
    }
    out
}

/// Patches of announced tracks that changed or are echoed, marked as told.
fn patches(peer: &mut Peer) -> Vec<PeerUpdate> {
    let echo = std::mem::take(&mut peer.echo);
    let mut ids = std::mem::take(&mut peer.changed);
    ids.extend(&echo);
    let mut out = Vec::new();
    for id in ids {
        let sent = peer.sends.get_mut(&id).map(|t| (t.truth(), &mut t.told));
        let received = peer.recvs.get_mut(&id).map(|t| (t.truth(), &mut t.told));
        // A track that is gone is told by `removed`, one that is not announced yet with its negotiation.
        let Some((truth, Some(known))) = sent.or(received) else {
            continue;
        };
        let update = if echo.contains(&id) {
            Some(full_patch(id, known, &truth))
        } else {
            patch(id, known, &truth)
        };
        if let Some(update) = update {
            *known = truth;
            out.push(update);
        }
    }
    out
}
