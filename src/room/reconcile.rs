//! Turns the description into machine state. Idempotent: running it again changes nothing.
//!
//! A finished negotiation sets up one member's tracks ([`Room::apply_negotiated`]); every change of the description
//! re-ties subscriptions to what they play ([`Room::reconcile`], and for one member [`Room::reconcile_member`]).

use crate::id::{MemberId, TrackId};
use crate::media::{DownCodec, DownNegotiated, UpCodec, UpTrackConfig};
use crate::room::model::{Peer, Source};
use crate::room::negotiation::{NegotiatedTrack, RemoteTransport};
use crate::room::{Context, Room};
use crate::transport::dtls::{Fingerprint, HashFunction};
use crate::transport::ice::IceCredentials;
use crate::wire::rtp::{ExtensionKind, ExtensionMap};
use crate::wire::sdp::{FingerprintHash, MediaKind};

impl Room {
    /// Sets up what a negotiation of `id` has agreed.
    pub(super) fn apply_negotiated(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        let Some(peer) = self.members.get_mut(id).and_then(|m| m.peer.as_mut()) else {
            return;
        };
        if let Some(remote) = peer.negotiation.remote() {
            set_remote(peer, remote, cx);
        }
        let tracks = peer.negotiation.tracks();
        let mut extensions = ExtensionMap::new();
        for (ext_id, kind) in tracks.iter().flat_map(|t| t.extensions.iter()) {
            extensions.insert(ext_id, kind);
        }
        let counts = extensions.id(ExtensionKind::TransportCc).is_some();
        cx.machine
            .set_extensions(peer.transport, extensions, counts);
        for track in &tracks {
            if track.client_sends {
                set_up(peer, track, cx);
            } else {
                set_down(peer, track, cx);
            }
        }
        drop_unnegotiated(peer, &tracks, cx);
    }

    /// Re-ties every subscription to what it plays, and takes down what is gone.
    pub(super) fn reconcile(&mut self, cx: &mut Context<'_>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            self.reconcile_received(id, cx);
        }
    }

    /// The same for one member: what it publishes and what it plays.
    pub(super) fn reconcile_member(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        self.reconcile_received(id, cx);
        for (source, receivers) in self.published_by(id) {
            for receiver in receivers {
                self.tie(&receiver, id, &source, cx);
            }
        }
    }

    /// What `id` publishes, and who receives it.
    fn published_by(&self, id: &MemberId) -> Vec<(Source, Vec<MemberId>)> {
        let peer = self.members.get(id).and_then(|m| m.peer.as_ref());
        peer.iter()
            .flat_map(|p| p.sends.values())
            .map(|send| (send.source.clone(), send.receivers.clone()))
            .collect()
    }

    fn reconcile_received(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        let Some(peer) = self.members.get_mut(id).and_then(|m| m.peer.as_mut()) else {
            return;
        };
        for send in peer.sends.values() {
            if let Some(up) = send.up {
                cx.machine.set_up_enabled(up, send.enabled);
            }
        }
        for down in peer.retired_downs.drain(..) {
            cx.machine.remove_down(down);
        }
        let played: Vec<(MemberId, Source)> = peer.recv_ids.keys().cloned().collect();
        for (publisher, source) in played {
            self.tie(id, &publisher, &source, cx);
        }
    }

    /// Ties the subscription of `receiver` to `source` of `publisher`, or to nothing while either side has none.
    fn tie(
        &mut self,
        receiver: &MemberId,
        publisher: &MemberId,
        source: &Source,
        cx: &mut Context<'_>,
    ) {
        let key = (publisher.clone(), source.clone());
        let up = match self.send_track(publisher, source) {
            Some((_, send)) => send.up,
            None => self.imported.get(&key).and_then(|track| track.up),
        };
        let Some(peer) = self.members.get(receiver).and_then(|m| m.peer.as_ref()) else {
            return;
        };
        let track = peer.recv_ids.get(&key).and_then(|id| peer.recvs.get(id));
        let Some((track, down)) = track.and_then(|track| Some((track, track.down?))) else {
            return;
        };
        if let Some(entry) = cx.machine.down_mut(down)
            && entry.track.is_enabled() != track.enabled
        {
            entry.track.set_enabled(track.enabled);
        }
        cx.connect(down, up.filter(|_| track.enabled));
    }
}

fn set_remote(peer: &Peer, remote: &RemoteTransport, cx: &mut Context<'_>) {
    let credentials = IceCredentials {
        ufrag: remote.ice.ufrag.clone(),
        pwd: remote.ice.pwd.clone(),
    };
    let fingerprints: Vec<Fingerprint> = remote
        .fingerprints
        .iter()
        .filter_map(|f| match f.hash {
            FingerprintHash::Sha256 => Fingerprint::from_digest(HashFunction::Sha256, &f.bytes),
            FingerprintHash::Sha384 => Fingerprint::from_digest(HashFunction::Sha384, &f.bytes),
            FingerprintHash::Sha512 => Fingerprint::from_digest(HashFunction::Sha512, &f.bytes),
            // Too weak to name a certificate by.
            FingerprintHash::Sha1 | FingerprintHash::Sha224 => None,
        })
        .collect();
    cx.machine
        .set_remote(peer.transport, credentials, &fingerprints);
}

fn set_up(peer: &mut Peer, negotiated: &NegotiatedTrack, cx: &mut Context<'_>) {
    let Some(send) = peer.sends.get_mut(&negotiated.track) else {
        return;
    };
    let codecs: Vec<UpCodec> = negotiated
        .codecs
        .iter()
        .map(|codec| UpCodec {
            format: codec.format,
            payload_type: codec.pt,
            rtx_payload_type: codec.rtx_pt,
        })
        .collect();
    let nack = negotiated.codecs.iter().any(|c| c.feedback.nack);
    let video = negotiated.kind == MediaKind::Video;
    let config = UpTrackConfig {
        id: 0,
        video,
        codecs,
        nack,
    };
    match send.up {
        Some(up) => cx.machine.set_up_codecs(up, &config.codecs, nack),
        None => send.up = cx.machine.add_up(peer.transport, config.clone()),
    }
    let Some(up) = send.up else {
        return;
    };
    let ssrcs = negotiated
        .ssrcs
        .iter()
        .flat_map(|(ssrc, rtx)| std::iter::once(ssrc.0).chain(rtx.map(|s| s.0)));
    cx.machine.route_up(up, &negotiated.mid, ssrcs);
    cx.machine.set_encodings(up, &negotiated.rids, &config);
}

fn set_down(peer: &mut Peer, negotiated: &NegotiatedTrack, cx: &mut Context<'_>) {
    let Some(recv) = peer.recvs.get_mut(&negotiated.track) else {
        return;
    };
    if recv.down.is_none() {
        recv.down = cx.machine.add_down(peer.transport, recv, cx.rng);
    }
    let Some(entry) = recv.down.and_then(|down| cx.machine.down_mut(down)) else {
        return;
    };
    entry.track.set_negotiated(&DownNegotiated {
        codecs: negotiated
            .codecs
            .iter()
            .map(|codec| DownCodec {
                format: codec.format,
                payload_type: codec.pt,
                rtx_payload_type: codec.rtx_pt,
            })
            .collect(),
        extensions: negotiated.extensions,
        mid: negotiated.mid.clone(),
    });
}

/// Takes down media state of tracks the client has not accepted.
fn drop_unnegotiated(peer: &mut Peer, tracks: &[NegotiatedTrack], cx: &mut Context<'_>) {
    let agreed = |id: &TrackId| tracks.iter().any(|t| t.track == *id);
    for (id, send) in &mut peer.sends {
        if let Some(up) = send.up.take_if(|_| !agreed(id)) {
            cx.machine.remove_up(up);
        }
    }
    for (id, recv) in &mut peer.recvs {
        if let Some(down) = recv.down.take_if(|_| !agreed(id)) {
            cx.machine.remove_down(down);
            // Should the stream come back it starts at a random number: under the old SSRC that could seal other
            // bytes with a nonce already used (RFC 7714 section 8.4).
            recv.ssrc = cx.new_ssrc(&mut peer.used_ssrcs);
            recv.rtx_ssrc = recv.rtx_ssrc.map(|_| cx.new_ssrc(&mut peer.used_ssrcs));
        }
    }
}
