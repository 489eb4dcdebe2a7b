//! A room is given another spec while people are in it: who may stay, what they may send and receive, how they are connected.
//!
//! Everything that can go on goes on: tracks that both specs have keep their media, and a change between mesh and
//! server makes the new connections first. Only a change of `force_relay` costs a member its connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bus::client::{CloseReason, EncodingParameters, MediaSourceKind};
use crate::bus::spec::{MemberSpec, RoomSpec};
use crate::id::{MemberId, TrackId};
use crate::room::model::{SendTrack, Source};
use crate::room::{Context, Room};

impl Room {
    /// Takes another spec in. Members that it does not have are out.
    pub fn configure(&mut self, spec: &Arc<RoomSpec>, cx: &mut Context<'_>) {
        let out: Vec<MemberId> = self
            .members
            .keys()
            .filter(|id| spec.member(id).is_none())
            .cloned()
            .collect();
        for id in out {
            self.put_out(&id, CloseReason::Evicted, cx);
        }
        self.spec = Arc::clone(spec);
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member_spec) = spec.member(&id).cloned() else {
                continue;
            };
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            let relay = member.spec.force_relay != member_spec.force_relay;
            member.spec = member_spec;
            if relay {
                self.drop_peer(&id, cx);
                self.drop_unknown_pairs(&id, |_| false, cx);
            }
        }
        self.refresh(cx);
    }

    /// Brings the send tracks of a member's peer in line with its publish endpoints.
    pub(super) fn update_send_tracks(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let mut wanted: BTreeMap<Source, bool> = member.sources().into_iter().collect();
        let spec = Arc::clone(&member.spec);
        let Some(peer) = member.peer.as_mut() else {
            return;
        };
        let gone: Vec<TrackId> = peer
            .sends
            .iter()
            .filter(|(_, send)| !wanted.contains_key(&send.source))
            .map(|(id, _)| *id)
            .collect();
        for track in gone {
            let Some(send) = peer.sends.remove(&track) else {
                continue;
            };
            peer.changed.remove(&track);
            peer.echo.remove(&track);
            if send.told.is_some() {
                peer.removed.push(track);
            }
            if let Some(up) = send.up {
                cx.machine.remove_up(up);
            }
        }
        for (track, send) in &mut peer.sends {
            let required = wanted.remove(&send.source).unwrap_or(false);
            // What must be sent is not off.
            if required && !send.enabled {
                send.enabled = true;
                peer.changed.insert(*track);
            }
            send.required = required;
            let encodings = encodings_of(&spec, &send.source);
            if send.encodings != encodings {
                send.encodings = encodings.to_vec();
                peer.changed.insert(*track);
            }
        }
        // The rest has no track yet.
        for (source, required) in wanted {
            let track = self.next_track_id();
            if let Some(peer) = self.members.get_mut(id).and_then(|m| m.peer.as_mut()) {
                let mut send = SendTrack::new(source, required);
                send.encodings = encodings_of(&spec, &send.source).to_vec();
                peer.sends.insert(track, send);
            }
        }
    }
}

/// Encodings of a camera; screens are sent as the client likes.
fn encodings_of<'a>(spec: &'a MemberSpec, source: &Source) -> &'a [EncodingParameters] {
    match source.video && source.source_kind == MediaSourceKind::Device {
        true => spec
            .publish
            .get(&source.endpoint)
            .map_or(&[], |publish| &publish.encodings),
        false => &[],
    }
}
