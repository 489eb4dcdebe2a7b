//! `Link`: one peer's transport with everything needed to route its packets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::DropReason;
use crate::id::{DownTrackKey, MemberId, RoomCostKey, RoomId, Ssrc, UpTrackKey};
use crate::limits::{RTX_WAITING_MAX, SSRCS_PER_PEER_MAX};
use crate::media::adaptation::Adaptation;
use crate::room::machine::{DownEntry, Encoding};
use crate::room::slab::Slab;
use crate::time::Time;
use crate::transport::Transport;
use crate::transport::pacer::Pacer;
use crate::wire::rtp::{ExtensionMap, Extensions};

/// Where packets of an SSRC go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The publisher's SSRC.
    pub ssrc: u32,
    /// Its track.
    pub up: UpTrackKey,
}

/// An m-section the publisher sends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MidRoute {
    /// Its mid.
    pub mid: Box<[u8]>,
    /// Its track: the first encoding, if there are several.
    pub up: UpTrackKey,
    /// Its encodings; empty without simulcast.
    pub encodings: Vec<Encoding>,
}

impl MidRoute {
    /// Track of a packet: with simulcast, the one whose RTP stream id (RFC 8852) it has, or repairs.
    fn encoding(&self, extensions: &Extensions, packet: &[u8]) -> Option<UpTrackKey> {
        if self.encodings.is_empty() {
            return Some(self.up);
        }
        let rid = extensions.repaired_rid(packet);
        let rid = rid.or_else(|| extensions.rid(packet))?;
        let mut encodings = self.encodings.iter();
        Some(encodings.find(|e| e.rid.as_ref() == rid)?.up)
    }
}

/// One peer's transport and its routes. In this order in memory: what every packet to the peer reads comes first, side by
/// side (decision 13).
#[derive(Debug)]
#[repr(C)]
pub struct Link {
    /// The account of its room; `None`: its work is not counted.
    pub cost: Option<RoomCostKey>,
    /// The peer reads transport-wide sequence numbers.
    pub counts_transport_sequence: bool,
    /// ICE, DTLS, SRTP.
    pub transport: Transport,
    /// Room of the peer.
    pub room: RoomId,
    /// Member of the peer.
    pub member: MemberId,
    /// Header extensions of what the peer sends.
    pub extensions: ExtensionMap,
    /// By SSRC; at most [`SSRCS_PER_PEER_MAX`].
    pub routes: Vec<Route>,
    /// By mid.
    pub mids: Vec<MidRoute>,
    /// Tracks it publishes.
    pub ups: Vec<UpTrackKey>,
    /// Tracks it subscribes to, with the SSRCs of media and retransmissions, ascending by SSRC.
    pub downs: Vec<(Ssrc, DownTrackKey)>,
    /// Its ICE has begun anew at least once.
    pub restarted: bool,
    /// Pace of its retransmissions.
    pub pacer: Pacer,
    /// Retransmissions that wait for it, oldest first; at most [`RTX_WAITING_MAX`].
    pub waiting: VecDeque<(DownTrackKey, u16)>,
    /// When reports are due.
    pub reports_due: Time,
    /// When it is due to be chosen which encodings of its tracks go to whom.
    pub choice_due: Time,
    /// What its line can carry.
    pub adaptation: Adaptation,
    /// When that is looked at.
    pub adapt_due: Time,
    /// Tracks it gets in a smaller encoding than there is.
    pub lowered: u32,
}

/// Round trip assumed until checks or reports tell it.
const RTT_DEFAULT: Duration = Duration::from_millis(100);

impl Link {
    /// Track of a packet: by SSRC, else by its mid, which is then remembered.
    ///
    /// # Errors
    /// No track, or no room for another SSRC.
    #[inline]
    pub fn route(
        &mut self,
        ssrc: u32,
        extensions: &Extensions,
        packet: &[u8],
    ) -> Result<UpTrackKey, DropReason> {
        if let Some(route) = self.routes.iter().find(|r| r.ssrc == ssrc) {
            return Ok(route.up);
        }
        let mid = extensions.mid(packet).ok_or(DropReason::RtpUnknownTrack)?;
        let up = self
            .mids
            .iter()
            .find(|m| m.mid.as_ref() == mid)
            .and_then(|m| m.encoding(extensions, packet))
            .ok_or(DropReason::RtpUnknownTrack)?;
        self.bind(ssrc, up)?;
        Ok(up)
    }

    /// Remembers that `ssrc` belongs to `up`.
    ///
    /// # Errors
    /// [`DropReason::TooManySsrcs`].
    pub fn bind(&mut self, ssrc: u32, up: UpTrackKey) -> Result<(), DropReason> {
        if let Some(route) = self.routes.iter_mut().find(|r| r.ssrc == ssrc) {
            route.up = up;
            return Ok(());
        }
        if self.routes.len() >= SSRCS_PER_PEER_MAX {
            return Err(DropReason::TooManySsrcs);
        }
        self.routes.push(Route { ssrc, up });
        Ok(())
    }

    /// Forgets a track, or an encoding, the peer no longer publishes.
    pub fn unpublish(&mut self, up: UpTrackKey) {
        self.ups.retain(|u| *u != up);
        self.routes.retain(|r| r.up != up);
        self.mids.retain(|m| m.up != up);
        for route in &mut self.mids {
            route.encodings.retain(|e| e.up != up);
        }
    }

    /// Subscription with this SSRC, of media or retransmissions.
    pub fn down(&self, ssrc: u32) -> Option<DownTrackKey> {
        let at = self
            .downs
            .binary_search_by_key(&Ssrc(ssrc), |(s, _)| *s)
            .ok()?;
        self.downs.get(at).map(|(_, key)| *key)
    }

    /// Its subscriptions, each once: they are listed once more under their retransmissions' SSRC.
    pub fn subscriptions<'a>(
        &'a self,
        downs: &'a Slab<DownTrackKey, DownEntry>,
    ) -> impl Iterator<Item = (DownTrackKey, &'a DownEntry)> {
        self.downs.iter().filter_map(|(ssrc, key)| {
            let down = downs.get(*key)?;
            (down.track.ssrc() == ssrc.0).then_some((*key, down))
        })
    }

    /// Adds a subscription's SSRC.
    pub fn subscribe(&mut self, ssrc: Ssrc, down: DownTrackKey) {
        if let Err(at) = self.downs.binary_search_by_key(&ssrc, |(s, _)| *s) {
            self.downs.insert(at, (ssrc, down));
        }
    }

    /// Forgets a subscription.
    pub fn unsubscribe(&mut self, down: DownTrackKey) {
        self.downs.retain(|(_, key)| *key != down);
        self.waiting.retain(|(key, _)| *key != down);
    }

    /// Keeps a retransmission for later, once. `false`: too many wait.
    pub fn wait(&mut self, down: DownTrackKey, sequence: u16) -> bool {
        if self.waiting.len() >= RTX_WAITING_MAX {
            return false;
        }
        if self.waiting.contains(&(down, sequence)) {
            return true;
        }
        self.waiting.push_back((down, sequence));
        true
    }

    /// Where media goes, once there are keys and consent.
    #[inline]
    pub fn media_address(&self) -> Option<SocketAddr> {
        if self.transport.is_connected() {
            self.transport.send_address()
        } else {
            None
        }
    }

    /// The transport-wide number of the next packet, if the peer wants one.
    #[inline]
    pub fn next_transport_sequence(&self) -> Option<u16> {
        self.counts_transport_sequence
            .then(|| self.transport.next_transport_sequence())
    }

    /// The packet with that number is sealed and leaves.
    #[inline]
    pub fn count_sent(&mut self, now: Time) {
        if self.counts_transport_sequence {
            self.transport.count_sent(now);
        }
    }

    /// Round trip to the peer, or a guess.
    pub fn rtt(&self) -> Duration {
        self.transport.round_trip().unwrap_or(RTT_DEFAULT)
    }
}
