//! Peers and tracks come and go: the operations `reconcile` is made of. Each is complete in itself.

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use std::collections::VecDeque;
use std::time::Duration;

use crate::id::{DownTrackKey, MemberId, RoomId, SlabKey, TransportKey, UpTrackKey};
use crate::media::adaptation::Adaptation;
use crate::media::{DownTrack, DownTrackConfig, PublisherClock, UpTrack, UpTrackConfig};
use crate::room::machine::{DownEntry, Link, Machine, MidRoute, Turn, UpEntry};
use crate::room::model::{Peer, RecvTrack};
use crate::time::Time;
use crate::transport::Transport;
use crate::transport::dtls::{DtlsRole, Fingerprint};
use crate::transport::ice::IceCredentials;
use crate::transport::pacer::Pacer;
use crate::wire::rtp::ExtensionMap;

impl Machine {
    /// A transport for a new peer, with fresh ICE credentials; `None` when the shard has no more.
    pub fn add_transport(
        &mut self,
        now: Time,
        room: &RoomId,
        member: &MemberId,
        rng: &mut ChaCha20Rng,
    ) -> Option<(TransportKey, IceCredentials)> {
        let credentials = self.fresh_credentials(rng);
        let rtcp_ssrc = rng.next_u32() | 1;
        let link = Link {
            transport: Transport::new(credentials.clone(), rtcp_ssrc, rng.next_u64()),
            room: room.clone(),
            member: member.clone(),
            extensions: ExtensionMap::new(),
            routes: Vec::new(),
            mids: Vec::new(),
            ups: Vec::new(),
            downs: Vec::new(),
            cost: self.costs.open(room),
            counts_transport_sequence: false,
            restarted: false,
            pacer: Pacer::default(),
            waiting: VecDeque::new(),
            reports_due: now,
            choice_due: now,
            adaptation: Adaptation::default(),
            adapt_due: now,
            lowered: 0,
        };
        let key = self.transports.insert(link).ok()?;
        self.clocks
            .resize_with(self.transports.slots(), PublisherClock::default);
        if let Some(clock) = self.clocks.get_mut(key.index()) {
            *clock = PublisherClock::default();
        }
        self.by_ufrag.insert(credentials.ufrag.clone(), key);
        Some((key, credentials))
    }

    fn fresh_credentials(&self, rng: &mut ChaCha20Rng) -> IceCredentials {
        loop {
            let credentials = IceCredentials::generate(rng);
            if !self.by_ufrag.contains_key(&credentials.ufrag) {
                return credentials;
            }
        }
    }

    /// New ICE credentials for a peer that has lost its way (RFC 8445 section 9); keys and streams stay. Those of before
    /// work until the first check with the new ones.
    pub fn restart_ice(
        &mut self,
        key: TransportKey,
        rng: &mut ChaCha20Rng,
    ) -> Option<IceCredentials> {
        let credentials = self.fresh_credentials(rng);
        let link = self.transports.get_mut(key)?;
        link.transport.restart_ice(credentials.clone());
        link.restarted = true;
        self.by_ufrag.insert(credentials.ufrag.clone(), key);
        self.forget_old_ufrags(key);
        Some(credentials)
    }

    /// How long a peer has not been heard of; `None` before it was connected.
    pub fn silence(&self, key: TransportKey, now: Time) -> Option<Duration> {
        self.transports.get(key)?.transport.silence(now)
    }

    /// Checks with credentials of before the last restart but one lead nowhere.
    fn forget_old_ufrags(&mut self, key: TransportKey) {
        let transports = &self.transports;
        let used = |ufrag: &str| {
            let link = transports.get(key);
            link.is_some_and(|l| l.transport.local_ufrags().any(|u| u == ufrag))
        };
        self.by_ufrag
            .retain(|ufrag, owner| *owner != key || used(ufrag));
    }

    /// What the client's description says of its transport.
    pub fn set_remote(
        &mut self,
        key: TransportKey,
        credentials: IceCredentials,
        fingerprints: &[Fingerprint],
    ) {
        if let Some(link) = self.transports.get_mut(key) {
            // The client is the DTLS client: its order of profiles then yields AES-GCM (architecture.md section 5).
            link.transport
                .set_remote(credentials, fingerprints, DtlsRole::Passive);
        }
    }

    /// Header extensions of a peer, the same on all its m-sections (BUNDLE, RFC 8843 section 9).
    pub fn set_extensions(&mut self, key: TransportKey, extensions: ExtensionMap, counts: bool) {
        if let Some(link) = self.transports.get_mut(key) {
            link.extensions = extensions;
            link.counts_transport_sequence = counts;
        }
    }

    /// Takes a peer's transport and media down, and says so to the client (DTLS close_notify, RFC 5246 section 7.2.1).
    pub fn remove_peer(&mut self, peer: &Peer, turn: &mut Turn<'_>) {
        for down in &peer.retired_downs {
            self.remove_down(*down);
        }
        self.remove_transport(peer.transport, turn);
    }

    /// Takes every transport of a room down.
    pub fn remove_room(&mut self, room: &RoomId, turn: &mut Turn<'_>) {
        let keys: Vec<TransportKey> = self
            .transports
            .iter()
            .filter(|(_, link)| &link.room == room)
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            self.remove_transport(key, turn);
        }
    }

    fn remove_transport(&mut self, key: TransportKey, turn: &mut Turn<'_>) {
        let Some(mut link) = self.transports.remove(key) else {
            return;
        };
        link.transport.close(turn.now, &mut self.dtls, turn.tx);
        for route in &link.mids {
            self.forget_played(route.up);
        }
        for up in link.ups {
            self.remove_up_entry(up);
        }
        for (_, down) in link.downs {
            self.remove_down(down);
        }
        for ufrag in link.transport.local_ufrags() {
            self.by_ufrag.remove(ufrag);
        }
        if link.restarted {
            self.forget_old_ufrags(key);
        }
        for address in link.transport.remote_addresses() {
            if self.by_address.get(&address) == Some(&key) {
                self.by_address.remove(&address);
            }
        }
        self.notices.retain(|notice| notice.transport != key);
    }

    /// Adds a published track; `None` when the shard has no more.
    pub fn add_up(
        &mut self,
        transport: TransportKey,
        mut config: UpTrackConfig,
    ) -> Option<UpTrackKey> {
        config.id = self.next_up_id;
        self.next_up_id = self.next_up_id.wrapping_add(1);
        let entry = UpEntry {
            track: UpTrack::new(config),
            transport,
            fan_out: Vec::new(),
            encodings: Vec::new(),
        };
        let key = self.ups.insert(entry).ok()?;
        self.transports.get_mut(transport)?.ups.push(key);
        Some(key)
    }

    /// Routes packets of an m-section and its signalled SSRCs to a published track.
    pub fn route_up(&mut self, up: UpTrackKey, mid: &str, ssrcs: impl Iterator<Item = u32>) {
        let Some(transport) = self.ups.get(up).map(|u| u.transport) else {
            return;
        };
        let Some(link) = self.transports.get_mut(transport) else {
            return;
        };
        match link.mids.iter_mut().find(|m| m.up == up) {
            Some(route) if route.mid.as_ref() == mid.as_bytes() => {}
            Some(route) => route.mid = mid.as_bytes().into(),
            None => link.mids.push(MidRoute {
                mid: mid.as_bytes().into(),
                up,
                encodings: Vec::new(),
            }),
        }
        for ssrc in ssrcs {
            // A peer with more SSRCs than it may have: the rest are dropped, and counted, when their packets come.
            let _ = link.bind(ssrc, up);
        }
    }

    /// Takes a published track down, with all its encodings; its subscriptions stay, without a source.
    pub fn remove_up(&mut self, up: UpTrackKey) {
        self.forget_played(up);
        for key in self.encodings_of(up) {
            self.remove_encoding(key);
        }
    }

    pub(super) fn remove_up_entry(&mut self, up: UpTrackKey) {
        let Some(entry) = self.ups.remove(up) else {
            return;
        };
        for down in entry.fan_out {
            if let Some(down) = self.downs.get_mut(down) {
                down.forget(up);
            }
        }
    }

    /// Adds a subscription; `None` when the shard has no more.
    pub fn add_down(
        &mut self,
        transport: TransportKey,
        track: &RecvTrack,
        rng: &mut ChaCha20Rng,
    ) -> Option<DownTrackKey> {
        let config = DownTrackConfig {
            ssrc: track.ssrc.0,
            rtx_ssrc: track.rtx_ssrc.map(|s| s.0),
            first_sequence: rng.next_u32() as u16,
            first_timestamp: rng.next_u32(),
            first_rtx_sequence: rng.next_u32() as u16,
        };
        let entry = DownEntry {
            track: DownTrack::new(config),
            transport,
            up: None,
            next: None,
            plays: None,
            ceiling: None,
        };
        let key = self.downs.insert(entry).ok()?;
        let link = self.transports.get_mut(transport)?;
        link.subscribe(track.ssrc, key);
        if let Some(rtx) = track.rtx_ssrc {
            link.subscribe(rtx, key);
        }
        Some(key)
    }

    /// The subscription, to be configured.
    pub fn down_mut(&mut self, down: DownTrackKey) -> Option<&mut DownEntry> {
        self.downs.get_mut(down)
    }

    /// Ties a subscription to what it plays, or to nothing. A full fan-out leaves it without a source.
    pub fn connect(
        &mut self,
        down_key: DownTrackKey,
        plays: Option<UpTrackKey>,
        turn: &mut Turn<'_>,
    ) {
        let Some(down) = self.downs.get_mut(down_key) else {
            return;
        };
        if down.plays == plays && (plays.is_none() || down.up.is_some()) {
            return;
        }
        self.untie(down_key);
        let Some(up_key) = plays.map(|first| self.best_encoding(first, turn.now)) else {
            return;
        };
        if !self.ups.get_mut(up_key).is_some_and(|up| up.join(down_key)) {
            return;
        }
        if let Some(down) = self.downs.get_mut(down_key) {
            down.plays = plays;
            down.up = Some(up_key);
        }
        self.start(down_key, turn);
    }

    /// Takes a subscription off whatever it plays.
    fn untie(&mut self, down_key: DownTrackKey) {
        let Some(down) = self.downs.get_mut(down_key) else {
            return;
        };
        down.plays = None;
        down.ceiling = None;
        for up in [down.up.take(), down.next.take()].into_iter().flatten() {
            if let Some(up) = self.ups.get_mut(up) {
                up.leave(down_key);
            }
        }
    }

    /// Takes a subscription down.
    pub fn remove_down(&mut self, down_key: DownTrackKey) {
        self.untie(down_key);
        let Some(down) = self.downs.remove(down_key) else {
            return;
        };
        if let Some(link) = self.transports.get_mut(down.transport) {
            link.unsubscribe(down_key);
            link.transport.forget_sent(down.track.ssrc());
            if let Some(rtx) = down.track.rtx_ssrc() {
                link.transport.forget_sent(rtx);
            }
        }
    }
}
