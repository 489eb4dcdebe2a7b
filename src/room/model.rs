//! The description of a room: members, their peers and tracks, as clients see them.
//!
//! Invariants: one SFU peer per member; a send track has 0..N receivers; a recv track has one publisher; a track id
//! is never reused in its room. Order is by id everywhere, so that two runs of one seed agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bus::client::{
    AudioSettings, Direction, EncodingParameters, MediaDirection, MediaSourceKind, MediaType,
    NegotiationRole, Track, VideoSettings,
};
use crate::bus::spec::{MemberSpec, PublishPolicy};
use crate::id::{
    DownTrackKey, EndpointId, MemberId, PeerId, SessionId, Ssrc, TrackId, TransportKey, UpTrackKey,
};
use crate::room::codecs::CodecSet;
use crate::room::negotiation::{LocalSource, Needed, Negotiation, WantedDirection, WantedTrack};
use crate::room::quality::Quality;
use crate::time::RateWindow;
use crate::wire::codec::CodecKind;
use crate::wire::sdp::MediaKind;

/// What a track carries: which endpoint of its publisher, audio or video, from where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Publish endpoint.
    pub endpoint: EndpointId,
    /// Camera and microphone before screens, as tracks are listed.
    pub source_kind: MediaSourceKind,
    /// Audio before video, as tracks are listed.
    pub video: bool,
}

/// A member of the room.
#[derive(Debug)]
pub struct Member {
    /// What it may do.
    pub spec: Arc<MemberSpec>,
    /// Who speaks for it; `None` while it is lost.
    pub session: Option<SessionId>,
    /// Back after having been lost; hears nothing until its SynchronizeMe.
    pub awaits_sync: bool,
    /// What its client can decode.
    pub decodes: CodecSet,
    /// Its connection, once there is a track.
    pub peer: Option<Peer>,
    /// How well it is connected.
    pub quality: Quality,
    /// ICE restarts its client may still ask for.
    pub ice_restarts: RateWindow,
    /// Peers it may still be given in place of ones that ended of themselves.
    pub fresh_peers: RateWindow,
}

impl Member {
    /// Where events for its client go, if it can take them now.
    pub fn listener(&self) -> Option<SessionId> {
        self.session.filter(|_| !self.awaits_sync)
    }

    /// Sources it may publish, in the order of its tracks.
    pub fn sources(&self) -> Vec<(Source, bool)> {
        let mut out = Vec::new();
        for (endpoint, publish) in &self.spec.publish {
            for source_kind in [MediaSourceKind::Device, MediaSourceKind::Display] {
                if publish.device_only && source_kind == MediaSourceKind::Display {
                    continue;
                }
                for (video, policy) in [(false, publish.audio), (true, publish.video)] {
                    if policy == PublishPolicy::Disabled {
                        continue;
                    }
                    // A screen cannot be demanded of anybody: only devices are ever required.
                    let required =
                        policy == PublishPolicy::Required && source_kind == MediaSourceKind::Device;
                    let source = Source {
                        endpoint: endpoint.clone(),
                        source_kind,
                        video,
                    };
                    out.push((source, required));
                }
            }
        }
        out
    }

    /// Whether it receives `endpoint` of `publisher`.
    pub fn plays(
        &self,
        publisher_id: &MemberId,
        publisher: &MemberSpec,
        endpoint: &EndpointId,
    ) -> bool {
        let hub = publisher.publish.get(endpoint).and_then(|p| p.hub.as_ref());
        self.spec.play.plays(publisher_id, endpoint, hub)
    }
}

/// Where the negotiation of a peer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is under way.
    Stable,
    /// The client was asked for an offer.
    AwaitsOffer,
    /// The client was given an offer.
    AwaitsAnswer,
}

/// One `RTCPeerConnection` of a member.
#[derive(Debug)]
pub struct Peer {
    /// Its id.
    pub id: PeerId,
    /// Its transport in the machine.
    pub transport: TransportKey,
    /// Its session descriptions.
    pub negotiation: Negotiation,
    /// Where that stands.
    pub phase: Phase,
    /// The client has been told of it.
    pub announced: bool,
    /// A negotiation is due although no track came or went (codecs).
    pub renegotiate: bool,
    /// Tracks the client sends.
    pub sends: BTreeMap<TrackId, SendTrack>,
    /// Tracks the client receives.
    pub recvs: BTreeMap<TrackId, RecvTrack>,
    /// Recv tracks by what they play.
    pub recv_ids: BTreeMap<(MemberId, Source), TrackId>,
    /// SSRCs ever given out on this transport: none comes twice.
    pub used_ssrcs: BTreeSet<Ssrc>,
    /// Tracks whose state may differ from what the client knows.
    pub changed: BTreeSet<TrackId>,
    /// Tracks the client patched: told again, changed or not.
    pub echo: BTreeSet<TrackId>,
    /// Descriptions of the client refused in a row.
    pub refused: u32,
    /// Media state of recv tracks that are gone; taken down by the next reconcile.
    pub retired_downs: Vec<DownTrackKey>,
    /// Announced tracks that are gone and not yet told.
    pub removed: Vec<TrackId>,
    /// Tracks went that the client was not told of, since a state it was told had them no more: their m-sections wait for
    /// the next negotiation.
    pub parted: bool,
}

impl Peer {
    /// What the negotiation is to bring about.
    pub fn wanted_tracks(&self) -> Vec<WantedTrack> {
        let kind = |video| {
            if video {
                MediaKind::Video
            } else {
                MediaKind::Audio
            }
        };
        let sends = self.sends.iter().map(|(id, track)| WantedTrack {
            id: *id,
            kind: kind(track.source.video),
            direction: WantedDirection::ClientSends,
        });
        let recvs = self.recvs.iter().map(|(id, track)| WantedTrack {
            id: *id,
            kind: kind(track.source.video),
            direction: WantedDirection::ClientReceives(track.local_source(*id)),
        });
        sends.chain(recvs).collect()
    }

    /// The same without send tracks that the client does not know yet: they wait for a round in which it offers.
    pub fn wanted_without_new_sends(&self) -> Vec<WantedTrack> {
        let mut wanted = self.wanted_tracks();
        wanted.retain(|t| self.sends.get(&t.id).is_none_or(|send| send.told.is_some()));
        wanted
    }

    /// Who has to describe what in the negotiation under way, for a client that is told again.
    pub fn running_role(&self) -> Option<NegotiationRole> {
        match self.phase {
            Phase::Stable => None,
            Phase::AwaitsOffer => Some(NegotiationRole::Offerer),
            Phase::AwaitsAnswer => {
                let offer = self.negotiation.pending_offer()?;
                Some(NegotiationRole::Answerer(offer.to_owned()))
            }
        }
    }

    /// Codecs each send track is limited to by those who receive it.
    pub fn decodable(&self) -> BTreeMap<TrackId, Vec<CodecKind>> {
        let limited = |set: CodecSet| {
            let all = CodecKind::ALL.into_iter();
            all.filter(|kind| set.contains(*kind)).collect()
        };
        self.sends
            .iter()
            .filter(|(_, track)| !track.receivers.is_empty())
            .map(|(id, track)| (*id, limited(track.decodable)))
            .collect()
    }

    /// Whether something waits that the client can only be told with a negotiation.
    pub fn needs_negotiation(&self) -> bool {
        self.renegotiate
            || self.negotiation.restart_waits()
            || !self.removed.is_empty()
            || self.parted
            || self.sends.values().any(|t| t.told.is_none())
            || self.recvs.values().any(|t| t.told.is_none())
            // A client may leave a track out of its offer: then it is the server's turn.
            || self.negotiation.needed() == Some(Needed::ServerOffers)
    }
}

/// What the client knows of a track; `None` fields of a patch are those that did not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Direction as told.
    pub media_direction: MediaDirection,
    /// Mute state as told.
    pub muted: bool,
    /// Receivers as told; empty for recv tracks.
    pub receivers: Vec<MemberId>,
    /// Encodings as told; empty for recv tracks.
    pub encodings: Vec<EncodingParameters>,
}

/// A track the client sends.
#[derive(Debug)]
pub struct SendTrack {
    /// What it carries.
    pub source: Source,
    /// The client must not disable it.
    pub required: bool,
    /// How it is to be encoded; empty: as the client likes.
    pub encodings: Vec<EncodingParameters>,
    /// The client wants it to flow.
    pub enabled: bool,
    /// The client sends silence or black.
    pub muted: bool,
    /// Whether the client said that it has media (`transceivers_statuses`).
    pub publishing: bool,
    /// Members that receive it.
    pub receivers: Vec<MemberId>,
    /// Any receiver wants it to flow (or there is none).
    pub wanted: bool,
    /// Codecs that all receivers can decode.
    pub decodable: CodecSet,
    /// Media state.
    pub up: Option<UpTrackKey>,
    /// What the client knows; `None`: not announced.
    pub told: Option<Told>,
}

/// A track the client receives.
#[derive(Debug)]
pub struct RecvTrack {
    /// Who sends it.
    pub publisher: MemberId,
    /// What it carries.
    pub source: Source,
    /// The publisher's side, kept in step by the room.
    pub publisher_enabled: bool,
    /// The publisher's mute state.
    pub muted: bool,
    /// The publisher's policy.
    pub required: bool,
    /// The client wants it to flow.
    pub enabled: bool,
    /// SSRC of the media we send, and of its retransmissions.
    pub ssrc: Ssrc,
    /// See `ssrc`; video only.
    pub rtx_ssrc: Option<Ssrc>,
    /// Media state.
    pub down: Option<DownTrackKey>,
    /// What the client knows; `None`: not announced.
    pub told: Option<Told>,
}

/// The settings of a track on the wire.
pub(super) fn media_type(
    source: &Source,
    required: bool,
    encoding_parameters: Vec<EncodingParameters>,
) -> MediaType {
    let source_kind = source.source_kind;
    if source.video {
        MediaType::Video(VideoSettings {
            required,
            source_kind,
            encoding_parameters,
        })
    } else {
        MediaType::Audio(AudioSettings {
            required,
            source_kind,
        })
    }
}

impl SendTrack {
    /// A track nobody receives yet.
    pub fn new(source: Source, required: bool) -> Self {
        Self {
            source,
            required,
            encodings: Vec::new(),
            enabled: true,
            muted: false,
            publishing: false,
            receivers: Vec::new(),
            wanted: true,
            decodable: CodecSet::ALL,
            up: None,
            told: None,
        }
    }

    /// Its settings on the wire.
    pub fn media_type(&self) -> MediaType {
        media_type(&self.source, self.required, self.encodings.clone())
    }

    /// What the client should know.
    pub fn truth(&self) -> Told {
        Told {
            media_direction: MediaDirection::from_enabled(self.enabled, self.wanted),
            muted: self.muted,
            receivers: self.receivers.clone(),
            encodings: self.encodings.clone(),
        }
    }

    /// The track on the wire.
    pub fn describe(&self, id: TrackId, mid: Option<String>) -> Track {
        let truth = self.truth();
        Track {
            id,
            direction: Direction::Send {
                receivers: truth.receivers,
                mid,
            },
            media_direction: truth.media_direction,
            muted: truth.muted,
            media_type: self.media_type(),
        }
    }
}

impl RecvTrack {
    /// How it is named in descriptions: camera and microphone of a member are one stream, its screen another.
    fn local_source(&self, id: TrackId) -> LocalSource {
        let stream = match self.source.source_kind {
            MediaSourceKind::Device => "device",
            MediaSourceKind::Display => "display",
        };
        LocalSource {
            stream_id: format!("{}-{stream}", self.token_name()),
            track_label: format!("t{id}"),
            ssrc: self.ssrc,
            rtx_ssrc: self.rtx_ssrc,
            cname: self.token_name(),
        }
    }

    /// The publisher's id as a token: SDP has no escapes (RFC 8866 section 9).
    fn token_name(&self) -> String {
        let keep = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let name: String = self.publisher.as_str().chars().map(keep).collect();
        if name == self.publisher.as_str() {
            return name;
        }
        // Two ids may look alike once cleaned: their bytes tell them apart.
        let sum = self
            .publisher
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
                (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
            });
        format!("{name}-{sum:016x}")
    }

    /// Its settings on the wire.
    pub fn media_type(&self) -> MediaType {
        media_type(&self.source, self.required, Vec::new())
    }

    /// What the client should know.
    pub fn truth(&self) -> Told {
        Told {
            media_direction: MediaDirection::from_enabled(self.publisher_enabled, self.enabled),
            muted: self.muted,
            receivers: Vec::new(),
            encodings: Vec::new(),
        }
    }

    /// The track on the wire.
    pub fn describe(&self, id: TrackId, mid: Option<String>) -> Track {
        let truth = self.truth();
        Track {
            id,
            direction: Direction::Recv {
                sender: self.publisher.clone(),
                mid,
            },
            media_direction: truth.media_direction,
            muted: truth.muted,
            media_type: self.media_type(),
        }
    }
}
