//! One client of a load: its connection, what it sends, and what it thinks of what it gets.

use std::net::SocketAddr;
use std::time::Duration;

use super::agent::{Agent, Stage};
use super::describe::{Remote, Sending};
use super::judge::{Samples, Streams, Tally};
use super::payload::{self, Content, Mark};
use super::shape::{Due, Shape};
use crate::time::{Anchor, Time, micros_to_ntp};
use crate::transmit::TransmitQueue;
use crate::transport::dtls::{DtlsContext, DtlsProvider};
use crate::transport::srtp::rtp_header_len;
use crate::wire::demux::{Protocol, classify};
use crate::wire::rtcp::{
    Compound, CompoundWriter, Packet, ReportBlock, SenderInfo, write_receiver_report,
    write_sdes_cname, write_sender_report,
};
use crate::wire::rtp::{HeaderFields, HeaderWriter, RtpHeader};

/// Time between reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A sender that is later than this leaves out what it has missed.
const BEHIND_MAX: Duration = Duration::from_millis(250);
/// Time between key frames that nobody asked for.
const KEY_INTERVAL: Duration = Duration::from_secs(10);
/// Report blocks of one packet.
const BLOCKS: usize = 31;

/// What all clients of a thread share.
pub struct Shared {
    /// DTLS library.
    pub dtls: DtlsContext,
    /// Judgement of samples.
    pub samples: Samples,
    /// One packet in so many is decrypted and looked at.
    pub sample_every: u16,
    /// How much faster than its shape a stream goes.
    pub pace: f64,
    /// Clock of sender reports.
    pub anchor: Anchor,
    /// Packets that were left out because the generator was late.
    pub skipped: u64,
    /// Packets of media sent.
    pub sent: u64,
}

impl Shared {
    /// Nothing sent and nothing judged yet.
    pub fn new(
        dtls: Box<dyn DtlsProvider>,
        anchor: Anchor,
        pace: f64,
        sample_every: u16,
    ) -> Shared {
        Shared {
            dtls: DtlsContext::new(dtls),
            samples: Samples::default(),
            sample_every,
            pace,
            anchor,
            skipped: 0,
            sent: 0,
        }
    }
}

/// One stream that is sent.
#[derive(Debug)]
struct Sender {
    shape: Shape,
    sending: Sending,
    /// When the packet `base` was due, by the clock.
    start: Time,
    base: Duration,
    pace: f64,
    number: u64,
    transport_sequence: u16,
    picture: u16,
    key: bool,
    key_wanted: bool,
    key_due: Time,
    octets: u32,
    timestamp: u32,
    /// The server has reported on it: packets need not say any more which encoding it is.
    known: bool,
}

/// See the module.
pub struct Client {
    /// Number no other client has.
    pub number: u32,
    /// Its connection.
    pub agent: Agent,
    streams: Streams,
    senders: Vec<Sender>,
    shapes: Vec<Shape>,
    report_due: Time,
}

impl Client {
    /// A client that will send `shapes`, one stream each.
    pub fn new(number: u32, agent: Agent, shapes: Vec<Shape>) -> Self {
        Self {
            number,
            agent,
            streams: Streams::default(),
            senders: Vec::new(),
            shapes,
            report_due: Time::MAX,
        }
    }

    /// What a negotiation has settled. Streams already sent go on.
    pub fn connect(&mut self, now: Time, remote: Remote, sending: &[Sending]) {
        self.agent.set_remote(now, remote);
        for sending in sending {
            let known = self.senders.iter().any(|s| s.sending.ssrc == sending.ssrc);
            let mut shapes = self.shapes.iter();
            let wanted = shapes.position(|s| s.is_video() == sending.video);
            let (false, Some(at)) = (known, wanted) else {
                continue;
            };
            let halvings = sending.layer.as_ref().map_or(0, |layer| layer.halvings);
            // The encodings of a track come together, that of its whole size last.
            let shape = match halvings {
                0 => self.shapes.remove(at),
                times => self.shapes[at].halved(times),
            };
            self.senders.push(Sender::new(shape, sending.clone()));
        }
        self.report_due = now + REPORT_INTERVAL;
    }

    /// What it has received.
    pub fn tally(&self) -> Tally {
        self.streams.tally()
    }

    /// When [`Client::handle_timeout`] is due, media aside.
    pub fn poll_timeout(&self) -> Time {
        self.agent.poll_timeout().min(self.report_due)
    }

    /// When the next packet of media is due.
    pub fn poll_media(&self) -> Time {
        if self.agent.stage() != Stage::Connected {
            return Time::MAX;
        }
        let dues = self.senders.iter().map(Sender::due_at);
        dues.min().unwrap_or(Time::MAX)
    }

    /// Checks, handshake and reports that are due.
    pub fn handle_timeout(&mut self, now: Time, shared: &mut Shared, tx: &mut TransmitQueue) {
        if let Some(server) = self.agent.server() {
            let mut send = |bytes: &[u8]| {
                tx.push(server, bytes);
            };
            self.agent.handle_timeout(now, &mut shared.dtls, &mut send);
        }
        if now >= self.report_due {
            self.report_due = now + REPORT_INTERVAL;
            self.report(now, shared, tx);
        }
    }

    /// Takes a datagram of the server.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &mut [u8],
        shared: &mut Shared,
        tx: &mut TransmitQueue,
    ) {
        let mut send = |bytes: &[u8]| {
            tx.push(from, bytes);
        };
        match classify(datagram) {
            Some(Protocol::Rtp) => self.handle_rtp(now, datagram, shared),
            Some(Protocol::Rtcp) => self.handle_rtcp(datagram),
            Some(Protocol::Stun) => {
                self.agent
                    .handle_stun(now, from, datagram, &mut shared.dtls, &mut send);
            }
            Some(Protocol::Dtls) => {
                self.agent
                    .handle_dtls(now, datagram, &mut shared.dtls, &mut send);
            }
            None => {}
        }
    }

    #[inline]
    fn handle_rtp(&mut self, now: Time, datagram: &mut [u8], shared: &mut Shared) {
        let &mut [_, _, s0, s1, _, _, _, _, c0, c1, c2, c3, ..] = datagram else {
            return;
        };
        let sequence = u16::from_be_bytes([s0, s1]);
        self.streams
            .count(u32::from_be_bytes([c0, c1, c2, c3]), sequence);
        if !sequence.is_multiple_of(shared.sample_every.max(1)) {
            return;
        }
        let Some((_, open)) = self.agent.keys() else {
            return;
        };
        let Some(header) = rtp_header_len(datagram) else {
            return;
        };
        let Ok(len) = open.open_rtp(datagram, header) else {
            shared.samples.add(now, None);
            return;
        };
        let plain = datagram.get(..len).unwrap_or_default();
        let content = RtpHeader::parse(plain).and_then(|h| h.payload(plain));
        let content = content.unwrap_or_default();
        let mark = payload::read(content, true).or_else(|| payload::read(content, false));
        shared.samples.add(now, mark.map(|m| m.sent));
    }

    fn handle_rtcp(&mut self, datagram: &mut [u8]) {
        if self.senders.is_empty() {
            return;
        }
        let Some((_, open)) = self.agent.keys() else {
            return;
        };
        let Ok(len) = open.open_rtcp(datagram) else {
            return;
        };
        let Ok(compound) = Compound::parse(datagram.get(..len).unwrap_or_default()) else {
            return;
        };
        for packet in compound.packets().flatten() {
            let asked = |ssrc: u32| match &packet {
                Packet::Pli { media_ssrc, .. } => *media_ssrc == ssrc,
                Packet::Fir(fir) => fir.entries().any(|entry| entry.ssrc == ssrc),
                _ => false,
            };
            let reported = |ssrc: u32| match &packet {
                Packet::ReceiverReport { blocks, .. } => {
                    (*blocks).into_iter().any(|b| b.ssrc == ssrc)
                }
                _ => false,
            };
            for sender in &mut self.senders {
                sender.key_wanted |= asked(sender.sending.ssrc);
                sender.known |= reported(sender.sending.ssrc);
            }
        }
    }

    /// Sends the media that is due, as far as `tx` has room. `true`: all of it.
    pub fn send_media(&mut self, now: Time, shared: &mut Shared, tx: &mut TransmitQueue) -> bool {
        let Some(server) = self.agent.server() else {
            return true;
        };
        let number = self.number;
        let Some((seal, _)) = self.agent.keys() else {
            return true;
        };
        for sender in &mut self.senders {
            sender.set_pace(now, shared);
            while sender.due_at() <= now {
                let Some(slot) = tx.reserve() else {
                    return false;
                };
                let (header, len) = sender.write(now, number, slot);
                let sealed = seal.seal_rtp(slot, header, len);
                if let Ok(sealed) = sealed {
                    tx.commit(server, sealed);
                    shared.sent += 1;
                }
            }
        }
        true
    }

    fn report(&mut self, now: Time, shared: &mut Shared, tx: &mut TransmitQueue) {
        let Some(server) = self.agent.server() else {
            return;
        };
        let mut plain = Vec::with_capacity(4);
        let ntp = shared
            .anchor
            .ntp
            .wrapping_add(micros_to_ntp(now.as_micros()));
        for sender in self.senders.iter().filter(|s| s.number > 0) {
            let info = SenderInfo {
                ntp,
                rtp_timestamp: sender.timestamp,
                packets: sender.number as u32,
                octets: sender.octets,
            };
            let mut buffer = [0; 256];
            let mut writer = CompoundWriter::new(&mut buffer);
            writer.push(|b| write_sender_report(b, sender.sending.ssrc, &info, &[]));
            writer.push(|b| write_sdes_cname(b, sender.sending.ssrc, b"load"));
            let len = writer.len();
            plain.push((buffer.to_vec(), len));
        }
        let blocks: Vec<ReportBlock> = self.streams.highest().map(block).collect();
        for blocks in blocks.chunks(BLOCKS) {
            let mut buffer = vec![0; 1024];
            let len = write_receiver_report(&mut buffer, 1 + self.number, blocks);
            plain.push((buffer, len.unwrap_or(0)));
        }
        let Some((seal, _)) = self.agent.keys() else {
            return;
        };
        for (mut buffer, len) in plain {
            if let Ok(sealed) = seal.seal_rtcp(&mut buffer, len) {
                tx.push(server, buffer.get(..sealed).unwrap_or_default());
            }
        }
    }
}

fn block((ssrc, highest_sequence): (u32, u32)) -> ReportBlock {
    ReportBlock {
        ssrc,
        fraction_lost: 0,
        cumulative_lost: 0,
        highest_sequence,
        jitter: 0,
        last_sr: 0,
        delay_since_last_sr: 0,
    }
}

impl Sender {
    fn new(shape: Shape, sending: Sending) -> Self {
        Self {
            shape,
            start: Time::ZERO,
            base: Duration::ZERO,
            pace: 0.0,
            number: 0,
            transport_sequence: 0,
            picture: 0,
            key: false,
            key_wanted: true,
            key_due: Time::ZERO,
            octets: 0,
            known: false,
            timestamp: sending.ssrc.wrapping_mul(0x9E37_79B1),
            sending,
        }
    }

    /// Goes on from here at the pace that is wanted now; leaves out what is too late.
    fn set_pace(&mut self, now: Time, shared: &mut Shared) {
        let behind = now.since(self.due_at());
        let late = self.pace > 0.0 && behind > BEHIND_MAX;
        if late {
            shared.skipped += 1;
        }
        if late || (self.pace - shared.pace).abs() > f64::EPSILON {
            self.base = self.shape.due(self.number).at;
            self.start = now;
            self.pace = shared.pace;
        }
    }

    fn due_at(&self) -> Time {
        if self.pace <= 0.0 {
            return Time::ZERO;
        }
        let ahead = self.shape.due(self.number).at.saturating_sub(self.base);
        self.start + ahead.div_f64(self.pace)
    }

    /// Writes the next packet; length of its header and of all.
    fn write(&mut self, now: Time, publisher: u32, slot: &mut [u8]) -> (usize, usize) {
        let due = self.shape.due(self.number);
        self.begin_frame(now, due);
        let transport_sequence = self.transport_sequence.to_be_bytes();
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let mut writer = HeaderWriter::new(HeaderFields {
            marker: due.last && self.sending.video,
            padding: false,
            payload_type: self.sending.payload_type,
            sequence: self.number as u16,
            timestamp: self.timestamp,
            ssrc: self.sending.ssrc,
        });
        if let Some(id) = self.sending.transport_cc_id {
            writer.push(id, &transport_sequence);
        }
        let layer = self.sending.layer.as_ref().filter(|_| !self.known);
        let names = layer.into_iter().flat_map(|l| [&l.mid, &l.rid]).flatten();
        for (id, name) in names {
            writer.push(*id, name.as_bytes());
        }
        let header = writer.write(slot).unwrap_or(0);
        let len = header + usize::from(due.payload);
        let mark = Mark {
            publisher,
            number: self.number,
            sent: now,
        };
        let content = match self.sending.video {
            false => Content::Audio,
            true => Content::Video {
                first: due.first,
                key: self.key,
                picture: self.picture,
                halvings: self.sending.layer.as_ref().map_or(0, |l| l.halvings),
            },
        };
        if let Some(payload) = slot.get_mut(header..len) {
            payload::write(payload, content, mark);
        }
        debug_assert_eq!(rtp_header_len(slot), Some(header));
        self.number += 1;
        self.octets = self.octets.wrapping_add(u32::from(due.payload));
        (header, len)
    }

    fn begin_frame(&mut self, now: Time, due: Due) {
        if !due.first {
            return;
        }
        self.key = self.key_wanted || now >= self.key_due;
        if self.key {
            self.key_wanted = false;
            self.key_due = now + KEY_INTERVAL;
        }
        self.picture = (self.picture + 1) & 0x7FFF;
        let base = self.sending.ssrc.wrapping_mul(0x9E37_79B1);
        let ticks = due.at.as_micros() as u64 * self.shape.clock_hz() / 1_000_000;
        self.timestamp = base.wrapping_add(ticks as u32);
    }
}
