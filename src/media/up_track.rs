//! `UpTrack`: one track of a publisher as received: numbering, recovery, key frames, statistics, retransmission cache.
//!
//! Why: everything about a packet that does not depend on who gets it is decided here, once. Packets are numbered
//! without the publisher's padding-only packets, so no subscriber sees a gap where nothing was lost.
//! RTX is undone here (RFC 4588): a recovered packet looks like any other, only later.

use std::time::Duration;

use super::cache::{CachedPacket, RetransmissionCache};
use super::clock::{PublisherClock, RtpMapping};
use super::fields::{PacketFields, SourceId, Vp8Fields};
use super::key_frame::KeyFrameRequester;
use super::munger::Munger;
use super::nack::NackGenerator;
use super::rate::{RateMeter, Rates};
use super::receive_stats::ReceiveStats;
use super::sequence::{Arrival, SequenceWindow};
use crate::error::DropReason;
use crate::limits::{
    CACHE_AUDIO_BYTES, CACHE_AUDIO_PACKETS, CACHE_VIDEO_BYTES, CACHE_VIDEO_PACKETS,
    CODECS_PER_TRACK_MAX,
};
use crate::time::Time;
use crate::wire::codec::{self, vp8::Vp8Descriptor};
use crate::wire::rtcp::{ReportBlock, SenderInfo};
use crate::wire::rtp::{ExtensionKind, Extensions, RtpHeader, split_rtx};
use crate::wire::sdp::CodecFormat;

/// Without packets for this long, a stream has paused.
const PAUSE: Duration = Duration::from_secs(2);
/// First number given to a packet of a track.
const FIRST_SEQUENCE: u64 = 1 << 16;

/// One codec a publisher may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpCodec {
    /// Codec and parameters.
    pub format: CodecFormat,
    /// Payload type of the publisher.
    pub payload_type: u8,
    /// Payload type of its retransmissions, if negotiated.
    pub rtx_payload_type: Option<u8>,
}

/// What is fixed when an UpTrack begins.
#[derive(Debug, Clone)]
pub struct UpTrackConfig {
    /// Unique among the UpTracks of a shard and never reused, so that a subscriber notices another source.
    pub id: u32,
    /// Video, else audio.
    pub video: bool,
    /// Negotiated codecs; more than [`CODECS_PER_TRACK_MAX`] are ignored.
    pub codecs: Vec<UpCodec>,
    /// Whether the publisher answers generic NACKs.
    pub nack: bool,
}

/// A packet to forward: what is known of it, and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Received<'p> {
    /// Parsed fields.
    pub fields: PacketFields,
    /// Dependency descriptor element, empty if absent.
    pub descriptor: &'p [u8],
    /// Payload without padding and without RTX number.
    pub payload: &'p [u8],
    /// Came as a retransmission.
    pub recovered: bool,
}

/// What the server sees of a published track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpTrackStats {
    /// Rates of the last second, retransmissions included.
    pub rates: Rates,
    /// Packets received, retransmissions not counted.
    pub packets: u64,
    /// Packets lost before retransmission.
    pub lost: u64,
    /// Packets recovered by retransmission.
    pub recovered: u64,
    /// Interarrival jitter.
    pub jitter: Duration,
    /// Codec of the newest packet.
    pub codec: Option<CodecFormat>,
    /// Width and height of the newest key frame, pixels, where the codec shows them.
    pub size: Option<(u16, u16)>,
    /// Loudness of the newest audio packet: 0 loudest, 127 silence; `None` without the header extension.
    pub audio_level: Option<u8>,
}

/// Meaning of a payload type: which codec, and whether it is its retransmission.
#[derive(Debug, Clone, Copy)]
struct PayloadMeaning {
    payload_type: u8,
    format: CodecFormat,
    rtx: bool,
}

/// Media received from a publisher.
#[derive(Debug)]
pub struct UpTrack {
    source: SourceId,
    video: bool,
    nack_negotiated: bool,
    enabled: bool,
    meanings: Vec<PayloadMeaning>,
    ssrc: Option<u32>,
    retired_ssrc: Option<u32>,
    window: SequenceWindow,
    /// Takes padding-only packets out of the numbering.
    compactor: Munger<()>,
    nack: NackGenerator,
    stats: ReceiveStats,
    key_frame: KeyFrameRequester,
    cache: RetransmissionCache,
    mapping: Option<RtpMapping>,
    origin: Option<u32>,
    clock_rate: u32,
    rate: RateMeter,
    recovered: u64,
    codec: Option<CodecFormat>,
    size: Option<(u16, u16)>,
    audio_level: Option<u8>,
    heard: Option<Time>,
    came_since: Time,
}

impl UpTrackStats {
    /// Counts of two encodings of one track; what is shown of the picture stays.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rates: Rates {
                bits_per_s: self.rates.bits_per_s + other.rates.bits_per_s,
                packets_per_s: self.rates.packets_per_s + other.rates.packets_per_s,
                frames_per_s: self.rates.frames_per_s.max(other.rates.frames_per_s),
            },
            packets: self.packets + other.packets,
            lost: self.lost + other.lost,
            recovered: self.recovered + other.recovered,
            ..self
        }
    }
}

impl UpTrack {
    /// A track that has received nothing.
    pub fn new(config: UpTrackConfig) -> Self {
        let cache = if config.video {
            RetransmissionCache::new(CACHE_VIDEO_PACKETS, CACHE_VIDEO_BYTES)
        } else {
            RetransmissionCache::new(CACHE_AUDIO_PACKETS, CACHE_AUDIO_BYTES)
        };
        let mut track = Self {
            source: SourceId {
                track: config.id,
                epoch: 0,
            },
            video: config.video,
            nack_negotiated: config.nack,
            enabled: true,
            meanings: Vec::new(),
            ssrc: None,
            retired_ssrc: None,
            window: SequenceWindow::default(),
            compactor: Munger::new(FIRST_SEQUENCE, ()),
            nack: NackGenerator::default(),
            stats: ReceiveStats::default(),
            key_frame: KeyFrameRequester::default(),
            cache,
            mapping: None,
            origin: None,
            clock_rate: if config.video { 90_000 } else { 48_000 },
            rate: RateMeter::default(),
            recovered: 0,
            codec: None,
            size: None,
            audio_level: None,
            heard: None,
            came_since: Time::ZERO,
        };
        track.set_codecs(&config.codecs, config.nack);
        track
    }

    /// Replaces the negotiated codecs after a renegotiation.
    pub fn set_codecs(&mut self, codecs: &[UpCodec], nack: bool) {
        self.nack_negotiated = nack;
        self.meanings.clear();
        for codec in codecs.iter().take(CODECS_PER_TRACK_MAX) {
            self.meanings.push(PayloadMeaning {
                payload_type: codec.payload_type,
                format: codec.format,
                rtx: false,
            });
            if let Some(payload_type) = codec.rtx_payload_type {
                self.meanings.push(PayloadMeaning {
                    payload_type,
                    format: codec.format,
                    rtx: true,
                });
            }
        }
    }

    /// The numbering packets are in now.
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// Whether it is video.
    pub fn is_video(&self) -> bool {
        self.video
    }

    /// SSRC of the media stream, once a packet of it has come.
    pub fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    /// How long packets have come without a pause; `None`: none has come.
    pub fn came_for(&self, now: Time) -> Option<Duration> {
        self.heard.map(|_| now.since(self.came_since))
    }

    /// When its newest packet came.
    pub fn heard(&self) -> Option<Time> {
        self.heard
    }

    /// Whether the publisher's packets are used.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The publisher has disabled or enabled the track. Enabled again, it counts as a new source: video starts
    /// at a key frame.
    pub fn set_enabled(&mut self, enabled: bool) {
        if self.enabled == enabled {
            return;
        }
        self.enabled = enabled;
        self.source.epoch = self.source.epoch.wrapping_add(1);
        self.nack.clear();
        self.key_frame.clear();
        self.cache.clear();
    }

    /// Takes one open (decrypted) RTP packet of this track in, media or retransmission. `packet` is the whole
    /// packet, `header` and `extensions` were found in it.
    ///
    /// # Errors
    /// Why there is nothing to forward. The packet is accounted for in any case.
    pub fn handle_rtp<'p>(
        &mut self,
        now: Time,
        packet: &'p [u8],
        header: &RtpHeader,
        extensions: &Extensions,
    ) -> Result<Received<'p>, DropReason> {
        let payload = header
            .payload(packet)
            .map_err(|_| DropReason::RtpMalformed)?;
        let meaning = self
            .meanings
            .iter()
            .find(|meaning| meaning.payload_type == header.payload_type)
            .copied()
            .ok_or(DropReason::RtpUnknownPayloadType)?;
        let (sequence, payload) = if meaning.rtx {
            self.unwrap_rtx(now, payload)?
        } else {
            (self.number_media(now, header, payload)?, payload)
        };
        if !self.enabled {
            return Err(DropReason::TrackDisabled);
        }
        let Some((sequence, ())) = self.compactor.map(sequence) else {
            return Err(DropReason::RtpTooOld);
        };
        let descriptor = extensions
            .get(ExtensionKind::DependencyDescriptor, packet)
            .unwrap_or(&[]);
        let fields = PacketFields {
            source: self.source,
            sequence,
            timestamp: header.timestamp,
            origin: self.origin,
            arrival: now,
            codec: meaning.format,
            marker: header.marker,
            key_frame: false,
            payload_len: payload.len() as u16,
            vp8: Vp8Fields::default(),
            audio_level: first_byte(extensions, ExtensionKind::AudioLevel, packet),
            video_orientation: first_byte(extensions, ExtensionKind::VideoOrientation, packet),
        };
        let fields = self.look_inside(fields, descriptor, payload);
        self.cache.insert(&fields, descriptor, payload);
        Ok(Received {
            fields,
            descriptor,
            payload,
            recovered: meaning.rtx,
        })
    }

    /// Reads what the payload says, and updates what is shown of the track.
    fn look_inside(
        &mut self,
        mut fields: PacketFields,
        descriptor: &[u8],
        payload: &[u8],
    ) -> PacketFields {
        let kind = fields.codec.kind();
        let dependency = (!descriptor.is_empty()).then_some(descriptor);
        if matches!(fields.codec, CodecFormat::Vp8) {
            if let Some(vp8) = Vp8Descriptor::parse(payload) {
                fields.key_frame = vp8.key_frame;
                fields.vp8 = Vp8Fields::from(&vp8);
            }
        } else {
            fields.key_frame = codec::is_key_frame(kind, payload, dependency);
        }
        if self.video && fields.key_frame {
            self.key_frame.clear();
            self.size = codec::key_frame_size(kind, payload, dependency).or(self.size);
        }
        self.codec = Some(fields.codec);
        let paused = |heard: Time| fields.arrival.since(heard) >= PAUSE;
        if self.heard.is_none_or(paused) {
            self.came_since = fields.arrival;
        }
        self.heard = Some(fields.arrival);
        self.audio_level = fields.audio_level.map(|v| v & 0x7f).or(self.audio_level);
        let ends_frame = u64::from(self.video && fields.marker);
        self.rate.count(fields.arrival, payload.len(), ends_frame);
        fields
    }

    /// Undoes RTX: the original number, extended, and the original payload.
    fn unwrap_rtx<'p>(
        &mut self,
        now: Time,
        payload: &'p [u8],
    ) -> Result<(u64, &'p [u8]), DropReason> {
        if payload.is_empty() {
            return Err(DropReason::RtpPaddingOnly);
        }
        let (sequence, original) = split_rtx(payload).ok_or(DropReason::RtxMalformed)?;
        let sequence = match self.window.handle_retransmitted(sequence) {
            Arrival::Newest { sequence, missing } => {
                self.handle_gap(now, sequence, missing);
                sequence
            }
            Arrival::Late { sequence } => {
                self.nack.handle_recovered(sequence);
                sequence
            }
            Arrival::Duplicate => return Err(DropReason::RtxDuplicate),
            Arrival::TooOld | Arrival::Restarted { .. } => return Err(DropReason::RtpTooOld),
        };
        if original.is_empty() {
            self.compactor.skip(sequence);
            return Err(DropReason::RtpPaddingOnly);
        }
        self.recovered += 1;
        Ok((sequence, original))
    }

    /// Extends the number of a media packet, and accounts for loss, jitter and padding.
    fn number_media(
        &mut self,
        now: Time,
        header: &RtpHeader,
        payload: &[u8],
    ) -> Result<u64, DropReason> {
        if self.ssrc != Some(header.ssrc) {
            self.handle_new_ssrc(header.ssrc)?;
        }
        let sequence = match self.window.handle(header.sequence) {
            Arrival::Newest { sequence, missing } => {
                if self.compactor.current().is_none() {
                    self.compactor.switch(sequence, ());
                }
                self.handle_gap(now, sequence, missing);
                sequence
            }
            Arrival::Late { sequence } => {
                self.nack.handle_recovered(sequence);
                sequence
            }
            Arrival::Restarted { sequence } => {
                self.restart(sequence);
                sequence
            }
            Arrival::Duplicate => return Err(DropReason::RtpDuplicate),
            Arrival::TooOld => return Err(DropReason::RtpTooOld),
        };
        self.stats
            .handle_packet(now, sequence, header.timestamp, self.clock_rate);
        if payload.is_empty() {
            self.compactor.skip(sequence);
            return Err(DropReason::RtpPaddingOnly);
        }
        Ok(sequence)
    }

    fn handle_gap(&mut self, now: Time, newest: u64, missing: u32) {
        if missing == 0 || !self.nack_negotiated || !self.enabled {
            return;
        }
        if !self.nack.handle_gap(now, newest, missing) && self.video {
            self.key_frame.request();
        }
    }

    /// The media stream has another SSRC than before: a new numbering. The SSRC just left cannot come back.
    fn handle_new_ssrc(&mut self, ssrc: u32) -> Result<(), DropReason> {
        if self.retired_ssrc == Some(ssrc) {
            return Err(DropReason::RtpTooOld);
        }
        if self.ssrc.is_some() {
            self.retired_ssrc = self.ssrc;
            self.window = SequenceWindow::default();
            self.compactor = Munger::new(self.compactor.next_output(), ());
            self.forget_stream();
        }
        self.ssrc = Some(ssrc);
        Ok(())
    }

    fn restart(&mut self, sequence: u64) {
        self.compactor.switch(sequence, ());
        self.forget_stream();
    }

    fn forget_stream(&mut self) {
        self.source.epoch = self.source.epoch.wrapping_add(1);
        self.nack.clear();
        self.stats = ReceiveStats::default();
        self.mapping = None;
        self.origin = None;
        self.cache.clear();
    }

    /// A sender report of this track's media SSRC. `clock` is the publisher's, shared by all its tracks.
    pub fn handle_sender_report(
        &mut self,
        now: Time,
        info: &SenderInfo,
        clock: &mut PublisherClock,
    ) {
        clock.handle_sender_report(now, info.ntp);
        self.stats.handle_sender_report(now, info.ntp);
        let mapping = RtpMapping {
            ntp: info.ntp,
            rtp: info.rtp_timestamp,
        };
        self.origin = Some(mapping.origin(self.clock_rate));
        self.mapping = Some(mapping);
    }

    /// The newest (NTP, RTP) pair of the publisher, if it sent one.
    pub fn mapping(&self) -> Option<RtpMapping> {
        self.mapping
    }

    /// Report block for a receiver report to the publisher; begins a new interval. `None` before the first packet.
    pub fn report_block(&mut self, now: Time) -> Option<ReportBlock> {
        self.stats.report_block(now, self.ssrc?)
    }

    /// Appends the sequence numbers to NACK now (ascending, at most `NACK_PER_PACKET_MAX`). `rtt` is that of the
    /// publisher's transport.
    pub fn nacks(&mut self, now: Time, rtt: Duration, list: &mut Vec<u16>) {
        self.nack.nacks(now, rtt, list);
    }

    /// Somebody waits for a key frame of this track.
    pub fn request_key_frame(&mut self) {
        if self.video && self.enabled {
            self.key_frame.request();
        }
    }

    /// Nobody waits for a key frame any more.
    pub fn cancel_key_frame(&mut self) {
        self.key_frame.clear();
    }

    /// Whether to ask the publisher for a key frame (PLI) now; `true` counts as asked.
    pub fn key_frame_due(&mut self, now: Time) -> bool {
        self.ssrc.is_some() && self.key_frame.poll_due(now)
    }

    /// When [`nacks`](Self::nacks) or [`key_frame_due`](Self::key_frame_due) has something next.
    pub fn poll_timeout(&self) -> Option<Time> {
        let key_frame = self.ssrc.and(self.key_frame.poll_timeout());
        match (self.nack.poll_timeout(), key_frame) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The packet with this number of [`source`](Self::source), if it is still kept.
    pub fn cached(&self, sequence: u64) -> Option<CachedPacket<'_>> {
        self.cache.get(sequence)
    }

    /// Ticks of its RTP timestamps per second.
    pub fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// What the server sees of the track.
    pub fn stats(&self, now: Time) -> UpTrackStats {
        UpTrackStats {
            rates: self.rate.rates(now),
            packets: self.stats.received(),
            lost: self.stats.lost().max(0) as u64,
            recovered: self.recovered,
            jitter: self.stats.jitter(self.clock_rate),
            codec: self.codec,
            size: self.size,
            audio_level: self.audio_level,
        }
    }
}

#[inline]
fn first_byte(extensions: &Extensions, kind: ExtensionKind, packet: &[u8]) -> Option<u8> {
    extensions.get(kind, packet)?.first().copied()
}
