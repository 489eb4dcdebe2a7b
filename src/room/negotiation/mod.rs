//! One peer's offer/answer state machine (RFC 9429, RFC 3264): which track is on which m-section, with which codecs.
//!
//! The room says what is wanted ([`Negotiation::set_wanted`]); this module says who has to offer
//! ([`Negotiation::needed`]), answers the client's offers, makes the server's, reads the client's answers, and tells
//! what has been agreed ([`Negotiation::tracks`], [`Negotiation::remote`]). The server is ICE-lite, is always the
//! DTLS server (`a=setup:passive`, so that browsers prefer AES-GCM), and bundles everything (RFC 9143).
//!
//! Invariants: m-sections keep their order, mid and kind for ever, and a payload type or extension id once used with this peer
//! never means anything else; a refused description changes nothing; there is no glare, because one side offers at a time by the room's word.

mod answer;
mod codecs;
mod offer;
mod remote;
mod section;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Ssrc, TrackId};
use crate::limits::SDP_MEDIA_MAX;
use crate::wire::codec::CodecKind;
use crate::wire::rtp::{ExtensionKind, ExtensionMap};
use crate::wire::sdp::{CodecFormat, Feedback, Fingerprint, IceParams, MediaKind, SdpError};

use codecs::PeerTable;
use section::Section;

/// Why a description was refused. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// It cannot be read.
    #[error(transparent)]
    Sdp(#[from] SdpError),
    /// The server's own offer is still to be answered.
    #[error("the server's offer is not answered yet; answer it, or wait for the next PeerUpdated")]
    OfferPending,
    /// An answer to nothing.
    #[error("there is no offer of the server to answer")]
    NoOffer,
    /// An m-section without `a=mid`.
    #[error("m-section {index} has no a=mid; give every m-section one (RFC 5888)")]
    MissingMid {
        /// Counted from 0.
        index: usize,
    },
    /// m-sections must stay in place (RFC 3264 section 8).
    #[error(
        "m-section {index} is {got:?} where {want:?} was; keep order, mid and kind of m-sections"
    )]
    SectionChanged {
        /// Counted from 0.
        index: usize,
        /// What is there.
        got: String,
        /// What was there.
        want: String,
    },
    /// Not every m-section of the last description is there.
    #[error(
        "the description has {got} m-sections, the last one had {want}; none may be taken away"
    )]
    SectionsMissing {
        /// How many it has.
        got: usize,
        /// How many it must have at least; exactly that many in an answer.
        want: usize,
    },
    /// An m-section outside the BUNDLE group (RFC 9143).
    #[error("m-section {mid:?} is not in the BUNDLE group; use bundlePolicy \"max-bundle\"")]
    NotBundled {
        /// Its mid.
        mid: String,
    },
    /// RTCP on a port of its own.
    #[error("m-section {mid:?} has no a=rtcp-mux; use rtcpMuxPolicy \"require\"")]
    NoRtcpMux {
        /// Its mid.
        mid: String,
    },
    /// No `a=ice-ufrag` and `a=ice-pwd` in the bundled transport.
    #[error("the description has no ICE credentials; a=ice-ufrag and a=ice-pwd are required")]
    NoIce,
    /// No SHA-256 fingerprint in the bundled transport.
    #[error("the description has no a=fingerprint with sha-256; it is required")]
    NoFingerprint,
    /// Another certificate than before.
    #[error(
        "the certificate fingerprint has changed; make a new RTCPeerConnection for a new certificate"
    )]
    FingerprintChanged,
    /// The client must be able to start DTLS.
    #[error(
        "a=setup must let the client be active: actpass or active in an offer, active in an answer"
    )]
    Setup,
    /// Our own offer would not fit into a message (`limits::SDP_BYTES_MAX`).
    #[error("the server's offer would have {0} bytes; let the member play fewer tracks")]
    TooLarge(usize),
    /// A mid of `mids` that no m-section has, or one that cannot carry the track.
    #[error("track {track} is said to be on mid {mid:?}, which is {problem}")]
    BadMid {
        /// The track.
        track: TrackId,
        /// The mid.
        mid: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What does not change during a peer's life, apart from the ICE credentials.
#[derive(Debug, Clone)]
pub struct NegotiationConfig {
    /// `sess-id` of our descriptions: random, below 2^63.
    pub session_id: u64,
    /// Our ICE credentials (see [`Negotiation::restart_ice`]).
    pub ice: IceParams,
    /// SHA-256 of our certificate (DER).
    pub fingerprint: [u8; 32],
    /// Host candidates: everything after `a=candidate:`, e.g. `1 1 udp 2130706431 192.0.2.1 5000 typ host`.
    pub candidates: Vec<String>,
    /// Codecs we carry, best first.
    pub codecs: Vec<CodecKind>,
    /// Header extensions we negotiate.
    pub extensions: Vec<ExtensionKind>,
    /// Accept simulcast offers; else clients send one encoding.
    pub simulcast: bool,
}

impl NegotiationConfig {
    /// Opus, then VP8, VP9, H264, AV1.
    pub const CODECS: [CodecKind; 5] = [
        CodecKind::Opus,
        CodecKind::Vp8,
        CodecKind::Vp9,
        CodecKind::H264,
        CodecKind::Av1,
    ];

    /// What every part of the server reads or forwards.
    pub const EXTENSIONS: [ExtensionKind; 7] = [
        ExtensionKind::AudioLevel,
        ExtensionKind::AbsSendTime,
        ExtensionKind::TransportCc,
        ExtensionKind::Mid,
        ExtensionKind::Rid,
        ExtensionKind::RepairedRid,
        ExtensionKind::DependencyDescriptor,
    ];
}

/// What the server sends on a track the client receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSource {
    /// Media stream of the `a=msid`: the same for all tracks to be played in sync, e.g. the sender's member id.
    pub stream_id: String,
    /// Track of the `a=msid`.
    pub track_label: String,
    /// SSRC of the media.
    pub ssrc: Ssrc,
    /// SSRC of its retransmissions; `None` for audio.
    pub rtx_ssrc: Option<Ssrc>,
    /// RTCP canonical name: the same for all tracks of one sender.
    pub cname: String,
}

/// Which way a wanted track goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedDirection {
    /// The client publishes it.
    ClientSends,
    /// The client plays it.
    ClientReceives(LocalSource),
}

/// A track the room wants on this peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedTrack {
    /// Its id.
    pub id: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Which way.
    pub direction: WantedDirection,
}

/// Who has to offer, and so which `negotiation_role` the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// The client offers, because it adds send tracks.
    ClientOffers,
    /// The server offers ([`Negotiation::make_offer`]).
    ServerOffers,
}

/// What the room knows when an offer comes in.
#[derive(Debug, Clone, Default)]
pub struct OfferContext {
    /// Codecs that every receiver of a client-sent track can decode. A track that is not here is not limited.
    pub decodable: BTreeMap<TrackId, Vec<CodecKind>>,
    /// Credentials to answer with if the client restarts ICE; without them ours stay as they are.
    pub fresh_ice: Option<IceParams>,
}

/// The answer to a client's offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For `SdpAnswerMade`.
    pub sdp: String,
    /// The client has restarted ICE: read [`Negotiation::remote`] and [`Negotiation::local_ice`] again.
    pub ice_restarted: bool,
}

/// The client's side of the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTransport {
    /// Its ICE credentials.
    pub ice: IceParams,
    /// Its certificate's fingerprints, all SHA-256, at least one. The client is always the DTLS client.
    pub fingerprints: Vec<Fingerprint>,
}

/// A codec agreed for a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedCodec {
    /// What must be equal between publisher and subscriber.
    pub format: CodecFormat,
    /// Payload type on this peer's wire.
    pub pt: u8,
    /// Payload type of its retransmissions.
    pub rtx_pt: Option<u8>,
    /// Hz.
    pub clock_rate: u32,
    /// RTCP feedback both sides do.
    pub feedback: Feedback,
}

/// A track on its m-section, as agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedTrack {
    /// The track.
    pub track: TrackId,
    /// Its m-section.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// The client sends it; else it receives it.
    pub client_sends: bool,
    /// Media may flow: the m-section's agreed direction includes it.
    pub active: bool,
    /// Agreed codecs, best first; never empty.
    pub codecs: Vec<NegotiatedCodec>,
    /// Agreed header extensions.
    pub extensions: ExtensionMap,
    /// SSRCs the client has signalled for what it sends, each with its RTX; empty under simulcast with rids.
    pub ssrcs: Vec<(Ssrc, Option<Ssrc>)>,
    /// Simulcast layers the client sends, in its order; empty without simulcast.
    pub rids: Vec<String>,
}

/// What an outstanding offer of ours will make of the state.
#[derive(Debug, Clone)]
struct PendingOffer {
    sdp: String,
    sections: Vec<Section>,
    ice: IceParams,
    table: PeerTable,
}

/// Offer/answer state of one `RTCPeerConnection`.
#[derive(Debug, Clone)]
pub struct Negotiation {
    config: NegotiationConfig,
    /// Our next `sess-version`.
    version: u64,
    wanted: BTreeMap<TrackId, WantedTrack>,
    sections: Vec<Section>,
    table: PeerTable,
    remote: Option<RemoteTransport>,
    pending: Option<PendingOffer>,
    /// Credentials of a restart we want but have not offered yet.
    restart: Option<IceParams>,
    local_sdp: Option<String>,
    remote_sdp: Option<String>,
}

impl Negotiation {
    /// A peer with nothing wanted and nothing negotiated.
    pub fn new(config: NegotiationConfig) -> Self {
        Self {
            config,
            version: 1,
            wanted: BTreeMap::new(),
            sections: Vec::new(),
            table: PeerTable::default(),
            remote: None,
            pending: None,
            restart: None,
            local_sdp: None,
            remote_sdp: None,
        }
    }

    /// Replaces the set of wanted tracks. Takes effect with the next offer or answer; see [`Negotiation::needed`].
    pub fn set_wanted(&mut self, tracks: impl IntoIterator<Item = WantedTrack>) {
        self.wanted = tracks.into_iter().map(|t| (t.id, t)).collect();
    }

    /// Whether a description would have no section at all, which nobody can use: nothing is wanted, and nothing ever was
    /// negotiated.
    pub fn is_blank(&self) -> bool {
        self.wanted.is_empty() && self.sections.is_empty()
    }

    /// Who has to offer so that what is wanted becomes what is negotiated; `None` when they agree already.
    ///
    /// `None` also while the server's offer is unanswered: changes wait for its end.
    pub fn needed(&self) -> Option<Needed> {
        if self.pending.is_some() {
            return None;
        }
        let placed = self.placed();
        let unplaced = |sends: bool| {
            let mut tracks = self.wanted.values();
            tracks.find(|t| client_sends(t) == sends && !placed.contains(&t.id))
        };
        if unplaced(true).is_some() {
            return Some(Needed::ClientOffers);
        }
        let removed = placed.iter().any(|id| !self.wanted.contains_key(id));
        let addable = unplaced(false).is_some_and(|track| offer::has_place(self, track));
        let server = removed || addable || self.restart.is_some();
        server.then_some(Needed::ServerOffers)
    }

    /// m-section of `track`, also when the offer that put it there is not answered yet.
    pub fn mid_of(&self, track: TrackId) -> Option<&str> {
        let sections = match &self.pending {
            Some(pending) => &pending.sections,
            None => &self.sections,
        };
        let section = sections.iter().find(|s| s.carries(track))?;
        Some(&section.mid)
    }

    /// What is agreed for every wanted track that has an m-section the client has accepted, in order of m-sections.
    pub fn tracks(&self) -> Vec<NegotiatedTrack> {
        let sections = self.sections.iter();
        sections
            .flat_map(|section| section.tracks())
            .filter(|track| self.wanted.contains_key(&track.track))
            .collect()
    }

    /// What is agreed for one track; see [`tracks`](Self::tracks).
    pub fn track(&self, id: TrackId) -> Option<NegotiatedTrack> {
        let section = self.sections.iter().find(|s| s.carries(id))?;
        let mut tracks = section.tracks().into_iter();
        tracks.find(|track| track.track == id && self.wanted.contains_key(&id))
    }

    /// The client's transport, once it has offered or answered with an m-section we use.
    pub fn remote(&self) -> Option<&RemoteTransport> {
        self.remote.as_ref()
    }

    /// Our ICE credentials in the last agreed description.
    pub fn local_ice(&self) -> &IceParams {
        &self.config.ice
    }

    /// Our credentials in the offer under way, if they differ: a restart. Checks may come to both.
    pub fn pending_ice(&self) -> Option<&IceParams> {
        let pending = self.pending.as_ref()?;
        (pending.ice != self.config.ice).then_some(&pending.ice)
    }

    /// The server's offer that waits for an answer.
    pub fn pending_offer(&self) -> Option<&str> {
        self.pending.as_ref().map(|pending| pending.sdp.as_str())
    }

    /// Our last agreed description.
    pub fn local_sdp(&self) -> Option<&str> {
        self.local_sdp.as_deref()
    }

    /// The client's last agreed description.
    pub fn remote_sdp(&self) -> Option<&str> {
        self.remote_sdp.as_deref()
    }

    /// Whether a restart waits for the next description: that of the server, or the client's offer that it is asked for.
    pub fn restart_waits(&self) -> bool {
        self.restart.is_some()
    }

    /// Whether ICE is being restarted: the client may still use the credentials of before.
    pub fn restarts_ice(&self) -> bool {
        self.restart_waits() || self.pending_ice().is_some()
    }

    /// Asks for an ICE restart (RFC 8445 section 9) with these new credentials: goes out with the next description.
    pub fn restart_ice(&mut self, fresh: IceParams) {
        self.restart = Some(fresh);
    }

    /// Forgets the server's unanswered offer, e.g. because the client has refused it or is gone.
    pub fn rollback(&mut self) {
        if let Some(pending) = self.pending.take()
            && pending.ice != self.config.ice
        {
            self.restart.get_or_insert(pending.ice);
        }
    }

    /// Tracks that have a section in the agreed state.
    fn placed(&self) -> BTreeSet<TrackId> {
        let sections = self.sections.iter();
        sections
            .flat_map(|section| [section.sends, section.receives_track()])
            .flatten()
            .collect()
    }

    fn is_full(&self) -> bool {
        self.sections.len() >= SDP_MEDIA_MAX
    }
}

fn client_sends(track: &WantedTrack) -> bool {
    track.direction == WantedDirection::ClientSends
}
