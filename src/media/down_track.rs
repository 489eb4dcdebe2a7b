//! `DownTrack`: one track as sent to one subscriber: the decision per packet, its rewriting, and retransmissions.
//!
//! Why: the subscriber sees one uninterrupted stream (one SSRC, gap-free numbers, steady timestamps) whatever happens
//! to its source: mute, disable, rejoin of the publisher. Invariants: no output number names two packets; a
//! retransmission repeats the payload bytes first sent; video starts at a key frame.

use std::time::Duration;

use super::cache::CachedPacket;
use super::clock::PublisherClock;
use super::fields::{PacketFields, SourceId};
use super::munger::Munger;
use super::rate::{RateMeter, Rates};
use super::resend::ResendBudget;
use super::rewrite::{Rewrite, Vp8Progress, Vp8Shift};
use super::up_track::UpTrack;
use crate::error::DropReason;
use crate::limits::{CODECS_PER_TRACK_MAX, DATAGRAM_BYTES_MAX, SRTP_TAG_BYTES_MAX};
use crate::time::{Anchor, Time};
use crate::wire::rtcp::{ReportBlock, SenderInfo};
use crate::wire::rtp::{ExtensionKind, ExtensionMap, HeaderFields, HeaderWriter};
use crate::wire::sdp::CodecFormat;

/// RTT assumed until a receiver report tells it.
const RTT_DEFAULT: Duration = Duration::from_millis(50);
/// A round trip measured longer than this is a broken report.
const RTT_MAX: Duration = Duration::from_secs(10);
/// Sender reports that put a new source more than this part of a second off its arrival are of different clocks.
const ALIGNMENT_PARTS: u32 = 2;
/// Longest media identification we send (RFC 9143 leaves it open; ours and browsers' are short).
const MID_BYTES_MAX: usize = 32;

/// One codec a subscriber understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownCodec {
    /// Codec and parameters; a packet matches when they are equal.
    pub format: CodecFormat,
    /// Subscriber's payload type.
    pub payload_type: u8,
    /// Subscriber's payload type for retransmissions, if negotiated.
    pub rtx_payload_type: Option<u8>,
}

/// What a subscriber has negotiated for a track.
#[derive(Debug, Clone, Default)]
pub struct DownNegotiated {
    /// Codecs; more than [`CODECS_PER_TRACK_MAX`] are ignored.
    pub codecs: Vec<DownCodec>,
    /// Header extension ids of the subscriber.
    pub extensions: ExtensionMap,
    /// Media identification of the m-section.
    pub mid: String,
}

/// What is fixed when a DownTrack begins. The first numbers are random (RFC 3550 section 5.1), drawn by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownTrackConfig {
    /// SSRC of the media stream, as in the session description.
    pub ssrc: u32,
    /// SSRC of the retransmission stream, if there is one.
    pub rtx_ssrc: Option<u32>,
    /// First sequence number; its top bit is cleared, so that the first wrap is far away (RFC 3711 section 3.3.1).
    pub first_sequence: u16,
    /// First timestamp.
    pub first_timestamp: u32,
    /// First sequence number of the retransmission stream; top bit cleared too.
    pub first_rtx_sequence: u16,
}

/// What only the moment of sending knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// When it is sent.
    pub now: Time,
    /// Transport-wide sequence number, if the transport counts.
    pub transport_sequence: Option<u16>,
    /// The payload ends with padding (RFC 3550 section 5.1).
    pub padding: bool,
}

/// Lengths of a packet written into a slot; SRTP wants the header's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the RTP header with extensions.
    pub header_len: usize,
    /// Bytes of header and payload.
    pub len: usize,
}

/// What a subscriber is sent and what it reports.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DownTrackStats {
    /// Rates of the last second, retransmissions not counted.
    pub rates: Rates,
    /// Packets sent, retransmissions not counted.
    pub packets: u64,
    /// Payload bytes of them.
    pub octets: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Share of packets the subscriber lost in its last report interval, 0–255 of 256.
    pub fraction_lost: u8,
    /// Packets the subscriber has lost, as it reports.
    pub lost: i32,
    /// Interarrival jitter at the subscriber.
    pub jitter: Duration,
    /// Round trip, once known.
    pub rtt: Option<Duration>,
}

/// Constant for a run of packets of one source.
#[derive(Debug, Clone, Copy)]
struct Shift {
    source: SourceId,
    timestamp: u32,
    vp8: Vp8Shift,
}

/// The newest packet sent.
#[derive(Debug, Clone, Copy)]
struct Newest {
    source: SourceId,
    input: u64,
    timestamp: u32,
    origin: Option<u32>,
    arrival: Time,
}

/// Media sent to one subscriber.
///
/// In this order in memory: what every packet reads comes first, in a few neighbouring cache lines, because a subscriber's
/// state is often cold when its turn comes (decision 13).
#[derive(Debug)]
#[repr(C)]
pub struct DownTrack {
    newest: Option<Newest>,
    flowing: Option<SourceId>,
    ssrc: u32,
    vp8: Vp8Progress,
    enabled: bool,
    /// MID is sent until the subscriber has reported on this SSRC, so it knows which m-section it belongs to.
    announce_mid: bool,
    munger: Munger<Shift>,
    resend: ResendBudget,
    packets: u64,
    octets: u64,
    rate: RateMeter,
    extensions: ExtensionMap,
    codecs: Codecs,
    // What packets do not read, or only the first ones.
    mid: Vec<u8>,
    first_timestamp: u32,
    rtx_ssrc: Option<u32>,
    rtx_sequence: u16,
    retransmitted: u64,
    rtt: Option<Duration>,
    reported: Option<ReportBlock>,
}

/// Codecs of a subscriber, without a pointer to follow.
#[derive(Debug)]
struct Codecs {
    count: u8,
    list: [DownCodec; CODECS_PER_TRACK_MAX],
}

impl Codecs {
    /// The first ones of `codecs`.
    fn new(codecs: &[DownCodec]) -> Self {
        let blank = DownCodec {
            format: CodecFormat::Opus,
            payload_type: 0,
            rtx_payload_type: None,
        };
        let mut list = [blank; CODECS_PER_TRACK_MAX];
        let mut count = 0;
        for (place, codec) in list.iter_mut().zip(codecs) {
            *place = *codec;
            count += 1;
        }
        Self { count, list }
    }

    #[inline]
    fn find(&self, format: CodecFormat) -> Option<&DownCodec> {
        let known = self.list.iter().take(usize::from(self.count));
        known.into_iter().find(|codec| codec.format == format)
    }
}

impl DownTrack {
    /// A track that has sent nothing. Nothing flows before [`set_negotiated`](Self::set_negotiated).
    pub fn new(config: DownTrackConfig) -> Self {
        let blank = Shift {
            source: SourceId { track: 0, epoch: 0 },
            timestamp: 0,
            vp8: Vp8Shift::default(),
        };
        // A whole cycle ahead, so that numbers before the first exist when outputs are extended.
        let first = (1 << 16) + u64::from(config.first_sequence & 0x7fff);
        Self {
            enabled: true,
            flowing: None,
            ssrc: config.ssrc,
            codecs: Codecs::new(&[]),
            newest: None,
            vp8: Vp8Progress::default(),
            munger: Munger::new(first, blank),
            resend: ResendBudget::default(),
            rate: RateMeter::default(),
            packets: 0,
            octets: 0,
            first_timestamp: config.first_timestamp,
            rtx_ssrc: config.rtx_ssrc,
            rtx_sequence: config.first_rtx_sequence & 0x7fff,
            extensions: ExtensionMap::new(),
            mid: Vec::new(),
            announce_mid: true,
            retransmitted: 0,
            rtt: None,
            reported: None,
        }
    }

    /// Takes over what a negotiation ended with. A mid longer than 32 bytes is not announced in packets.
    pub fn set_negotiated(&mut self, negotiated: &DownNegotiated) {
        self.codecs = Codecs::new(&negotiated.codecs);
        self.extensions = negotiated.extensions;
        self.mid.clear();
        if negotiated.mid.len() <= MID_BYTES_MAX {
            self.mid.extend_from_slice(negotiated.mid.as_bytes());
        }
    }

    /// SSRC of the media stream.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// SSRC of the retransmission stream.
    pub fn rtx_ssrc(&self) -> Option<u32> {
        self.rtx_ssrc
    }

    /// Whether packets are sent.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The subscriber (or the server for it) has disabled or enabled the track.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
        if !enabled {
            self.flowing = None;
        }
    }

    /// Whether the subscriber has negotiated this codec.
    pub fn understands(&self, codec: CodecFormat) -> bool {
        self.codecs.find(codec).is_some()
    }

    /// Whether packets of `source` are what is sent.
    #[inline]
    pub fn flows(&self, source: SourceId) -> bool {
        self.flowing == Some(source)
    }

    /// Whether a key frame of `source` is needed before video can flow.
    pub fn awaits_key_frame(&self, source: SourceId) -> bool {
        self.enabled && self.flowing != Some(source)
    }

    /// Decides how a packet looks to this subscriber. Pure bookkeeping: no bytes are touched.
    ///
    /// # Errors
    /// Why it is not sent. On [`DropReason::AwaitingKeyFrame`] the caller asks the UpTrack for a key frame.
    #[inline]
    pub fn forward(&mut self, packet: &PacketFields) -> Result<Rewrite, DropReason> {
        if !self.enabled {
            return Err(DropReason::SubscriberDisabled);
        }
        let Some(codec) = self.codecs.find(packet.codec) else {
            self.flowing = None;
            return Err(DropReason::CodecNotNegotiated);
        };
        let payload_type = codec.payload_type;
        if self.flowing != Some(packet.source) {
            self.start(packet)?;
        }
        let (output, shift) = self
            .munger
            .map(packet.sequence)
            .ok_or(DropReason::RtpTooOld)?;
        let timestamp = packet.timestamp.wrapping_add(shift.timestamp);
        if self
            .newest
            .is_none_or(|newest| newest.source != packet.source || packet.sequence > newest.input)
        {
            self.newest = Some(Newest {
                source: packet.source,
                input: packet.sequence,
                timestamp,
                origin: packet.origin,
                arrival: packet.arrival,
            });
        }
        let len = usize::from(packet.payload_len);
        self.packets += 1;
        self.octets += len as u64;
        self.resend.handle_media(len);
        let ends_frame = u64::from(packet.marker && packet.codec.kind().is_video());
        self.rate.count(packet.arrival, len, ends_frame);
        Ok(Rewrite {
            ssrc: self.ssrc,
            payload_type,
            sequence: output as u16,
            timestamp,
            marker: packet.marker,
            original_sequence: None,
            patch: self.vp8.patch(packet, shift.vp8),
        })
    }

    /// Begins a run at `packet`: another source, or the same after a pause.
    #[cold]
    fn start(&mut self, packet: &PacketFields) -> Result<(), DropReason> {
        let kind = packet.codec.kind();
        if kind.is_video() && !packet.key_frame {
            return Err(DropReason::AwaitingKeyFrame);
        }
        let vp8 = self.vp8.continue_with(&packet.vp8);
        let same_source = self
            .newest
            .filter(|newest| newest.source == packet.source)
            .zip(self.munger.current().copied());
        if let Some((newest, shift)) = same_source {
            if packet.sequence <= newest.input {
                return Err(DropReason::RtpTooOld);
            }
            self.munger.resume(packet.sequence, Shift { vp8, ..shift });
        } else {
            let shift = Shift {
                source: packet.source,
                timestamp: self.continued(packet).wrapping_sub(packet.timestamp),
                vp8,
            };
            self.munger.switch(packet.sequence, shift);
        }
        self.flowing = Some(packet.source);
        Ok(())
    }

    /// Timestamp with which another source goes on: that of the same instant on the timeline so far, where sender
    /// reports tell it (the encodings of one picture, RFC 8853, share their publisher's clock); else as much later as
    /// it came later. Never that of a frame already sent.
    fn continued(&self, packet: &PacketFields) -> u32 {
        let Some(newest) = self.newest else {
            return self.first_timestamp;
        };
        let clock_rate = packet.codec.kind().clock_rate();
        let us = packet.arrival.since(newest.arrival).as_micros();
        let ticks = us * u128::from(clock_rate) / 1_000_000;
        let by_arrival = newest.timestamp.wrapping_add(ticks as u32);
        let aligned = self
            .munger
            .current()
            .filter(|shift| shift.source == newest.source)
            .zip(newest.origin.zip(packet.origin))
            .map(|(shift, (before, now))| {
                let shift = shift.timestamp.wrapping_add(before).wrapping_sub(now);
                packet.timestamp.wrapping_add(shift)
            })
            .filter(|aligned| {
                let apart = aligned.wrapping_sub(by_arrival) as i32;
                apart.unsigned_abs() < clock_rate / ALIGNMENT_PARTS
            });
        let ahead = aligned.unwrap_or(by_arrival).wrapping_sub(newest.timestamp);
        newest.timestamp.wrapping_add((ahead as i32).max(1) as u32)
    }

    /// Which source the packet came from that was sent as `sequence`; `None` when that is forgotten.
    pub fn source_of(&self, sequence: u16) -> Option<SourceId> {
        let (_, shift) = self.munger.unmap(self.munger.extend_output(sequence))?;
        Some(shift.source)
    }

    /// The subscriber asks for `sequence` again (generic NACK). Finds the packet in `up`'s cache and decides how it
    /// goes out in the retransmission stream (RFC 4588).
    ///
    /// There is no other way: under its own SSRC and sequence number the packet would be sealed with a nonce already
    /// used, and its header would differ (send time, transport-wide number). Two GCM tags under one nonce give the
    /// authentication key away (RFC 7714 section 8.4).
    ///
    /// # Errors
    /// Why it is not sent again; [`DropReason::RtxNotNegotiated`] where the subscriber has no such stream.
    pub fn resend<'a>(
        &mut self,
        now: Time,
        sequence: u16,
        up: &'a UpTrack,
    ) -> Result<(Rewrite, CachedPacket<'a>), DropReason> {
        if !self.enabled {
            return Err(DropReason::SubscriberDisabled);
        }
        let (input, shift) = self
            .munger
            .unmap(self.munger.extend_output(sequence))
            .ok_or(DropReason::RtxNotCached)?;
        let cached = up
            .cached(input)
            .filter(|cached| cached.fields.source == shift.source)
            .ok_or(DropReason::RtxNotCached)?;
        let codec = self.codecs.find(cached.fields.codec).copied();
        let codec = codec.ok_or(DropReason::CodecNotNegotiated)?;
        let (ssrc, payload_type) = self
            .rtx_ssrc
            .zip(codec.rtx_payload_type)
            .ok_or(DropReason::RtxNotNegotiated)?;
        let rtt = self.rtt.unwrap_or(RTT_DEFAULT);
        if self.resend.is_repeated(now, sequence, rtt) {
            return Err(DropReason::RtxRepeated);
        }
        if !self.resend.take(now, sequence, cached.payload.len()) {
            return Err(DropReason::RtxBudget);
        }
        self.retransmitted += 1;
        let rewrite = Rewrite {
            ssrc,
            payload_type,
            sequence: self.rtx_sequence,
            timestamp: cached.fields.timestamp.wrapping_add(shift.timestamp),
            marker: cached.fields.marker,
            original_sequence: Some(sequence),
            patch: self.vp8.patch(cached.fields, shift.vp8),
        };
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Ok((rewrite, cached))
    }

    /// Writes the RTP header with the subscriber's extensions at the start of `slot`, and after it the original
    /// sequence number of a retransmission. Returns the header's length (RFC 3711 authenticates it as such); the
    /// payload belongs at that length + [`Rewrite::prefix_len`]. `None` when it does not fit.
    #[inline]
    pub fn write_header(
        &self,
        rewrite: &Rewrite,
        packet: &PacketFields,
        descriptor: &[u8],
        stamp: &Stamp,
        slot: &mut [u8],
    ) -> Option<usize> {
        // 6.18 fixed point of seconds, 24 bits.
        let send_time = ((stamp.now.as_micros() << 18) / 1_000_000) as u32;
        let [_, send_time @ ..] = send_time.to_be_bytes();
        let transport = stamp.transport_sequence.unwrap_or(0).to_be_bytes();
        let level = [packet.audio_level.unwrap_or(0)];
        let orientation = [packet.video_orientation.unwrap_or(0)];
        let mut header = HeaderWriter::new(HeaderFields {
            marker: rewrite.marker,
            padding: stamp.padding,
            payload_type: rewrite.payload_type,
            sequence: rewrite.sequence,
            timestamp: rewrite.timestamp,
            ssrc: rewrite.ssrc,
        });
        let mut add = |kind: ExtensionKind, present: bool, value| {
            if present && let Some(id) = self.extensions.id(kind) {
                header.push(id, value);
            }
        };
        let mid = self.announce_mid && !self.mid.is_empty();
        add(ExtensionKind::Mid, mid, self.mid.as_slice());
        add(ExtensionKind::AbsSendTime, true, &send_time);
        let counted = stamp.transport_sequence.is_some();
        add(ExtensionKind::TransportCc, counted, &transport);
        add(
            ExtensionKind::AudioLevel,
            packet.audio_level.is_some(),
            &level,
        );
        let oriented = packet.video_orientation.is_some();
        add(ExtensionKind::VideoOrientation, oriented, &orientation);
        let described = !descriptor.is_empty();
        add(ExtensionKind::DependencyDescriptor, described, descriptor);
        let len = header.write(slot)?;
        if let Some(original) = rewrite.original_sequence {
            let at = len..len + rewrite.prefix_len();
            slot.get_mut(at)?.copy_from_slice(&original.to_be_bytes());
        }
        Some(len)
    }

    /// Writes the whole packet, ready to be sealed in place: header, payload copy, patch.
    ///
    /// # Errors
    /// [`DropReason::Oversize`] when it would not fit a datagram with its SRTP tag, or not fit `slot`.
    #[inline]
    pub fn write_packet(
        &self,
        rewrite: &Rewrite,
        packet: &PacketFields,
        descriptor: &[u8],
        payload: &[u8],
        stamp: &Stamp,
        slot: &mut [u8],
    ) -> Result<Written, DropReason> {
        let header_len = self
            .write_header(rewrite, packet, descriptor, stamp, slot)
            .ok_or(DropReason::Oversize)?;
        let start = header_len + rewrite.prefix_len();
        let len = start + payload.len();
        if len > DATAGRAM_BYTES_MAX - SRTP_TAG_BYTES_MAX {
            return Err(DropReason::Oversize);
        }
        let room = slot.get_mut(start..len).ok_or(DropReason::Oversize)?;
        room.copy_from_slice(payload);
        rewrite.patch.apply(room);
        Ok(Written { header_len, len })
    }

    /// Sender report for this stream at `now`: our wall clock, and the RTP timestamp of the same instant by the
    /// publisher's own mapping, so that its audio and video stay together. `None` before the publisher's first
    /// sender report or before anything flows.
    pub fn sender_report(
        &self,
        now: Time,
        up: &UpTrack,
        clock: &PublisherClock,
        anchor: &Anchor,
    ) -> Option<SenderInfo> {
        let shift = self.munger.current()?;
        if shift.source != up.source() {
            return None;
        }
        let clock_rate = if up.is_video() { 90_000 } else { 48_000 };
        let rtp = up.mapping()?.rtp_at(now, clock, clock_rate)?;
        Some(SenderInfo {
            ntp: anchor.to_ntp(now),
            rtp_timestamp: rtp.wrapping_add(shift.timestamp),
            packets: self.packets as u32,
            octets: self.octets as u32,
        })
    }

    /// The subscriber reports on the media stream. `anchor` is the one sender reports were written with.
    pub fn handle_report_block(&mut self, now: Time, block: &ReportBlock, anchor: &Anchor) {
        self.announce_mid = false;
        self.reported = Some(*block);
        if block.last_sr == 0 {
            return;
        }
        // RFC 3550 section 6.4.1: middle 32 bits of NTP, units of 2⁻¹⁶ s.
        let arrived = (anchor.to_ntp(now) >> 16) as u32;
        let units = arrived
            .wrapping_sub(block.last_sr)
            .wrapping_sub(block.delay_since_last_sr);
        let rtt = Duration::from_micros(u64::from(units) * 1_000_000 / 65_536);
        if rtt <= RTT_MAX {
            self.rtt = Some(match self.rtt {
                Some(before) => (before * 7 + rtt) / 8,
                None => rtt,
            });
        }
    }

    /// Payload bits sent in the last second, retransmissions not counted.
    pub fn sent_bps(&self, now: Time) -> u64 {
        self.rate.rates(now).bits_per_s
    }

    /// Whether the subscriber has reported on it.
    pub fn is_reported(&self) -> bool {
        self.reported.is_some()
    }

    /// Round trip to the subscriber, if a report told it.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// What the subscriber is sent and what it reports. `clock_rate` scales its jitter.
    pub fn stats(&self, now: Time, clock_rate: u32) -> DownTrackStats {
        let reported = self.reported;
        let ticks = u64::from(reported.map_or(0, |block| block.jitter));
        DownTrackStats {
            rates: self.rate.rates(now),
            packets: self.packets,
            octets: self.octets,
            retransmitted: self.retransmitted,
            fraction_lost: reported.map_or(0, |block| block.fraction_lost),
            lost: reported.map_or(0, |block| block.cumulative_lost),
            jitter: Duration::from_micros(ticks * 1_000_000 / u64::from(clock_rate.max(1))),
            rtt: self.rtt,
        }
    }
}
