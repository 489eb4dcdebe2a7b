//! Keeps the description consistent: who receives which source, and what every client has yet to be told.
//!
//! [`Room::refresh`] is idempotent: it may run after every change and does nothing when nothing changed. It looks at
//! every pair of members, so it is for comings and goings only; a patch touches its own tracks ([`Room::spread`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::bus::client::{PeerUpdate, TrackPatchEvent};
use crate::id::{EndpointId, MemberId, RoomId, TrackId};
use crate::room::imports::{Demand, Receivers};
use crate::room::model::{Member, Peer, RecvTrack, SendTrack, Source, Told};
use crate::room::{Context, Room};

/// State of a published source that its receivers mirror.
#[derive(Debug, Clone)]
struct Published {
    enabled: bool,
    muted: bool,
    required: bool,
    hub: Option<EndpointId>,
}

impl From<&SendTrack> for Published {
    /// Without its hub, which the publisher's spec knows.
    fn from(send: &SendTrack) -> Self {
        Self {
            enabled: send.enabled,
            muted: send.muted,
            required: send.required,
            hub: None,
        }
    }
}

/// Sources by publisher.
type Catalogue = BTreeMap<(MemberId, Source), Published>;

impl Room {
    /// Brings tracks of all members in line with who is there and who plays what.
    pub(super) fn refresh_tracks(&mut self, cx: &mut Context<'_>) {
        self.ensure_send_tracks(cx);
        let catalogue = self.catalogue();
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            self.refresh_recv_tracks(id, &catalogue, cx);
        }
        self.refresh_receivers();
    }

    /// Gives every member a peer and the send tracks of its publish endpoints.
    fn ensure_send_tracks(&mut self, cx: &mut Context<'_>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            self.ensure_peer(&id, cx);
            self.update_send_tracks(&id, cx);
        }
    }

    /// A peer without tracks for a member that has none, if there is anything for it to send or receive.
    fn ensure_peer(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        let Some(member) = self.members.get(id).filter(|m| m.peer.is_none()) else {
            return;
        };
        let plays_somebody = self
            .members
            .iter()
            .any(|(other, m)| other != id && plays_any(member, other, m))
            || self.plays_import(member);
        if member.sources().is_empty() && !plays_somebody {
            return;
        }
        let peer = self.new_peer(id, cx);
        if let Some(member) = self.members.get_mut(id) {
            member.peer = peer;
        }
    }

    fn catalogue(&self) -> Catalogue {
        let mut out = Catalogue::new();
        for (id, member) in &self.members {
            let sends = member.peer.iter().flat_map(|p| p.sends.values());
            for send in sends {
                let endpoint = member.spec.publish.get(&send.source.endpoint);
                let published = Published {
                    hub: endpoint.and_then(|e| e.hub.clone()),
                    ..Published::from(send)
                };
                out.insert((id.clone(), send.source.clone()), published);
            }
        }
        for (key, track) in &self.imported {
            let published = Published {
                enabled: track.enabled,
                muted: track.muted,
                required: track.required,
                hub: None,
            };
            out.insert(key.clone(), published);
        }
        out
    }

    fn refresh_recv_tracks(&mut self, id: &MemberId, catalogue: &Catalogue, cx: &mut Context<'_>) {
        let mut missing = Vec::new();
        {
            let Some(member) = self.members.get_mut(id) else {
                return;
            };
            let Some(mut peer) = member.peer.take() else {
                return;
            };
            let plays = |(publisher, source): &(MemberId, Source), published: &Published| {
                let hub = published.hub.as_ref();
                publisher != id && member.spec.play.plays(publisher, &source.endpoint, hub)
            };
            drop_gone_tracks(&mut peer, |key| {
                catalogue.get(key).is_some_and(|found| plays(key, found))
            });
            for (key, published) in catalogue {
                if !plays(key, published) {
                    continue;
                }
                let (publisher, source) = key;
                let known = peer.recv_ids.get(&(publisher.clone(), source.clone()));
                let track = known.and_then(|id| Some((*id, peer.recvs.get_mut(id)?)));
                match track {
                    Some((id, track)) => {
                        if mirror(track, published) {
                            peer.changed.insert(id);
                        }
                    }
                    None => missing.push((publisher.clone(), source.clone(), published.clone())),
                }
            }
            member.peer = Some(peer);
        }
        for (publisher, source, published) in missing {
            let track_id = self.next_track_id();
            let peer = self.members.get_mut(id).and_then(|m| m.peer.as_mut());
            if let Some(peer) = peer {
                let ssrc = cx.new_ssrc(&mut peer.used_ssrcs);
                let rtx_ssrc = source.video.then(|| cx.new_ssrc(&mut peer.used_ssrcs));
                let key = (publisher.clone(), source.clone());
                peer.recv_ids.insert(key, track_id);
                peer.recvs.insert(
                    track_id,
                    RecvTrack {
                        publisher,
                        source,
                        publisher_enabled: published.enabled,
                        muted: published.muted,
                        required: published.required,
                        enabled: true,
                        ssrc,
                        rtx_ssrc,
                        down: None,
                        told: None,
                    },
                );
            }
        }
    }

    /// Writes into every send track who receives it, whether anybody wants it, and what all of them can decode.
    fn refresh_receivers(&mut self) {
        let mut receivers = Demand::new();
        for (id, member) in &self.members {
            for recv in member.peer.iter().flat_map(|p| p.recvs.values()) {
                let key = (recv.publisher.clone(), recv.source.clone());
                let entry: &mut Receivers = receivers.entry(key).or_default();
                entry.add(id.clone(), recv.enabled, member.decodes);
            }
        }
        for (importer, demand) in &self.foreign {
            for (key, elsewhere) in demand {
                let entry = receivers.entry(key.clone()).or_default();
                for id in &elsewhere.members {
                    let name = name_elsewhere(id, importer);
                    entry.add(name, elsewhere.wanted, elsewhere.decodable);
                }
            }
        }
        for (id, member) in &mut self.members {
            let Some(peer) = member.peer.as_mut() else {
                continue;
            };
            for (track_id, send) in &mut peer.sends {
                let key = (id.clone(), send.source.clone());
                let found = receivers.remove(&key).unwrap_or_default();
                let wanted = found.wanted || found.members.is_empty();
                send.decodable = found.decodable;
                if send.receivers != found.members || send.wanted != wanted {
                    send.receivers = found.members;
                    send.wanted = wanted;
                    peer.changed.insert(*track_id);
                }
            }
        }
        // What is left is received of other rooms.
        receivers.retain(|(publisher, _), _| self.spec.imports.contains_key(publisher));
        self.demanded = receivers;
    }

    /// Carries a patch of `track` of `id` to the other side: to every receiver, or to the publisher.
    pub(super) fn spread(
        &mut self,
        id: &MemberId,
        track: TrackId,
        affected: &mut BTreeSet<MemberId>,
    ) {
        let Some(peer) = self.members.get(id).and_then(|m| m.peer.as_ref()) else {
            return;
        };
        if let Some(send) = peer.sends.get(&track) {
            let published = Published::from(send);
            let key = (id.clone(), send.source.clone());
            for receiver in send.receivers.clone() {
                self.spread_to_receiver(&receiver, &key, &published);
                affected.insert(receiver);
            }
        } else if let Some(recv) = peer.recvs.get(&track) {
            let (publisher, source) = (recv.publisher.clone(), recv.source.clone());
            self.spread_to_publisher(&publisher, &source);
            affected.insert(publisher);
        }
    }

    fn spread_to_receiver(
        &mut self,
        receiver: &MemberId,
        key: &(MemberId, Source),
        published: &Published,
    ) {
        let Some(peer) = self.members.get_mut(receiver).and_then(|m| m.peer.as_mut()) else {
            return;
        };
        let Some(track_id) = peer.recv_ids.get(key).copied() else {
            return;
        };
        if let Some(recv) = peer.recvs.get_mut(&track_id)
            && mirror(recv, published)
        {
            peer.changed.insert(track_id);
        }
    }

    /// Whether anybody still wants `source` of `publisher`.
    fn spread_to_publisher(&mut self, publisher: &MemberId, source: &Source) {
        if self.spec.imports.contains_key(publisher) {
            return self.refresh_receivers();
        }
        let key = (publisher.clone(), source.clone());
        let wants = |member: &Member| {
            let peer = member.peer.as_ref()?;
            Some(peer.recvs.get(peer.recv_ids.get(&key)?)?.enabled)
        };
        let send = self.send_track(publisher, source);
        let receivers = send
            .map(|(_, send)| send.receivers.clone())
            .unwrap_or_default();
        let mut members = receivers.iter().filter_map(|id| self.members.get(id));
        let wanted = members.any(|member| wants(member) == Some(true))
            || receivers.is_empty()
            || self.wanted_elsewhere(&key);
        let Some(peer) = self
            .members
            .get_mut(publisher)
            .and_then(|m| m.peer.as_mut())
        else {
            return;
        };
        let mut sends = peer.sends.iter_mut();
        if let Some((id, send)) = sends.find(|(_, send)| &send.source == source)
            && send.wanted != wanted
        {
            send.wanted = wanted;
            peer.changed.insert(*id);
        }
    }

    /// The track on which `publisher` sends `source`.
    pub(super) fn send_track(
        &self,
        publisher: &MemberId,
        source: &Source,
    ) -> Option<(TrackId, &SendTrack)> {
        let peer = self.members.get(publisher)?.peer.as_ref()?;
        let mut sends = peer.sends.iter();
        sends
            .find(|(_, send)| &send.source == source)
            .map(|(id, send)| (*id, send))
    }
}

/// What a member of another room is called here.
fn name_elsewhere(id: &MemberId, room: &RoomId) -> MemberId {
    // Two long ids may be too long together; then the id alone has to do.
    MemberId::new(&format!("{id}@{room}")).unwrap_or_else(|_| id.clone())
}

fn plays_any(member: &Member, publisher_id: &MemberId, publisher: &Member) -> bool {
    publisher
        .spec
        .publish
        .keys()
        .any(|endpoint| member.plays(publisher_id, &publisher.spec, endpoint))
}

/// Takes the publisher's state over; `true` when it was another.
fn mirror(track: &mut RecvTrack, published: &Published) -> bool {
    let before = (track.publisher_enabled, track.muted, track.required);
    track.publisher_enabled = published.enabled;
    track.muted = published.muted;
    track.required = published.required;
    before != (published.enabled, published.muted, published.required)
}

/// Takes out recv tracks that are not `played` any more, remembering those the client knows.
fn drop_gone_tracks(peer: &mut Peer, played: impl Fn(&(MemberId, Source)) -> bool) {
    let gone: Vec<TrackId> = peer
        .recvs
        .iter()
        .filter(|(_, t)| !played(&(t.publisher.clone(), t.source.clone())))
        .map(|(id, _)| *id)
        .collect();
    for id in gone {
        let Some(track) = peer.recvs.remove(&id) else {
            continue;
        };
        let key = (track.publisher.clone(), track.source.clone());
        peer.recv_ids.remove(&key);
        peer.changed.remove(&id);
        peer.echo.remove(&id);
        if track.told.is_some() {
            peer.removed.push(id);
        }
        peer.retired_downs.extend(track.down);
    }
}

/// What changed between what the client knows and the truth.
pub(super) fn patch(id: TrackId, told: &Told, truth: &Told) -> Option<PeerUpdate> {
    if told == truth {
        return None;
    }
    let mut patch = TrackPatchEvent::new(id);
    if told.media_direction != truth.media_direction {
        patch.media_direction = Some(truth.media_direction);
    }
    if told.muted != truth.muted {
        patch.muted = Some(truth.muted);
    }
    if told.receivers != truth.receivers {
        patch.receivers = Some(truth.receivers.clone());
    }
    if told.encodings != truth.encodings {
        patch.encoding_parameters = Some(truth.encodings.clone());
    }
    Some(PeerUpdate::Updated(patch))
}

/// The whole state of a track, as a patch: the answer to a client's own patch.
pub(super) fn full_patch(id: TrackId, told: &Told, truth: &Told) -> PeerUpdate {
    PeerUpdate::Updated(TrackPatchEvent {
        media_direction: Some(truth.media_direction),
        muted: Some(truth.muted),
        receivers: (told.receivers != truth.receivers).then(|| truth.receivers.clone()),
        encoding_parameters: (told.encodings != truth.encodings).then(|| truth.encodings.clone()),
        ..TrackPatchEvent::new(id)
    })
}
