//! A fake browser: signalling, ICE checks, DTLS and SRTP in the client's role, marked media, and a judge of all it gets.
//!
//! Pure like the shard itself: `handle_*(now, …)` in, datagrams out, no clock, randomness from the world.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use colchis::error::DropReason;
use colchis::time::{Anchor, Time, micros_to_ntp};
use colchis::transport::srtp::{Inbound, Outbound, SrtpKeys, SrtpProfile, rtp_header_len};
use colchis::wire::demux::{Protocol, classify};
use colchis::wire::rtcp::{
    Arrival, Compound, CompoundWriter, Packet, ReportBlock, SenderInfo, write_nack, write_pli,
    write_receiver_report, write_sdes_cname, write_sender_report, write_transport_feedback,
};
use colchis::wire::rtp::{
    ExtensionKind, ExtensionMap, Extensions, HeaderFields, HeaderWriter, RtpHeader, split_rtx,
};
use colchis::wire::stun;
use dimpl::{Dtls, Output};
use rand_core::RngCore;

use crate::support::media::{Mark, MediaPacket, Sink, Source};
use crate::support::sdp::{ABS_SEND_TIME, AUDIO_LEVEL, Credentials, Kind, MID, TRANSPORT_CC};
use crate::support::signal::Signal;

#[path = "client_receive.rs"]
mod receive;

/// Between checks before the first answer, and after it.
const CHECK_MS: [u64; 2] = [100, 2500];
const AUDIO_MS: u64 = 60;
const VIDEO_MS: u64 = 200;
const REPORT_MS: u64 = 1000;
const NACK_MS: u64 = 60;
const NACK_TRIES: u8 = 12;

/// RTP timestamp of virtual time zero of a member's source: known, so that lip-sync can be checked.
pub fn timestamp_base(number: u16, video: bool) -> u32 {
    u32::from(number).wrapping_mul(0x9E37_79B1) ^ if video { 0x5555_0000 } else { 0xFFFF_F000 }
}

fn clock_rate(video: bool) -> u64 {
    if video { 90_000 } else { 48_000 }
}

/// Server side of one received stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// Player.
    pub sink: Sink,
    /// Video, not audio.
    pub video: bool,
    /// Who is to be heard here.
    pub sender: String,
    /// Last sender report: (NTP, RTP).
    pub report: Option<(u64, u32)>,
    /// Last (source timestamp, received timestamp).
    pub last: Option<(u32, u32)>,
    /// Sender report's middle bits and arrival, for our report blocks.
    sr_at: Option<(u32, Time)>,
    /// Lost packets: extended by the sink, tries, next try.
    lost: BTreeMap<u16, (u8, Time)>,
}

/// What happened to a client, for the world's assertions.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Media packets sent.
    pub sent: u64,
    /// Media packets received, first copies.
    pub received: u64,
    /// Packets received with padding.
    pub padded: u64,
    /// RTX packets received.
    pub rtx: u64,
    /// Packets asked again of us.
    pub nacked: u64,
    /// Key frames asked of us.
    pub key_frames_asked: u64,
    /// Packets we asked for again.
    pub asked: u64,
    /// Sender reports received.
    pub reports: u64,
    /// Report blocks about our sources.
    pub blocks: u64,
    /// Transport-wide feedback received.
    pub twcc: u64,
    /// Handshakes finished.
    pub handshakes: u64,
}

/// See the module.
pub struct FakeClient {
    /// Protocol side.
    pub signal: Signal,
    /// Number in the marks.
    pub number: u16,
    /// Room number.
    pub room: u16,
    /// Our address.
    pub address: SocketAddr,
    /// What a user would notice.
    pub faults: Vec<String>,
    /// Streams by SSRC.
    pub streams: BTreeMap<u32, Stream>,
    /// Counts.
    pub tally: Tally,
    /// The network loses nothing on the way here: then the first packet must begin a key frame.
    pub lossless: bool,
    /// It plays media of other rooms.
    pub hears_rooms: bool,
    /// Its handshake has failed.
    pub failed: bool,
    /// Media is sent.
    pub publishing: bool,
    /// Packets of a picture, and bytes of each.
    pub picture: (usize, usize),
    /// The last sealed datagrams, to be replayed or spoilt.
    pub history: Vec<Vec<u8>>,
    anchor: Anchor,
    seed: u64,
    epoch: u8,
    server: Option<SocketAddr>,
    nominated: bool,
    check_due: Time,
    dtls: Option<Dtls>,
    dtls_due: Option<Time>,
    keys: Option<(Outbound, Inbound)>,
    srtp_keys: Option<SrtpKeys>,
    sources: BTreeMap<String, Source>,
    sent: BTreeMap<(u32, u16), MediaPacket>,
    last_key_ask: BTreeMap<u32, Time>,
    media_due: [Time; 2],
    report_due: Time,
    nack_due: Option<Time>,
    rtx_sequence: u16,
    transport_sequence: u16,
    arrivals: Vec<Arrival>,
    arrival_base: u64,
    feedback_count: u8,
    negotiations_seen: u32,
    sending: Vec<Sending>,
    receiving: BTreeMap<u32, Receiving>,
    /// SSRCs of earlier descriptions of this peer.
    retired: BTreeSet<u32>,
    /// SSRCs no longer sent, and since when: what is said about them may still be on its way.
    stopped: BTreeMap<u32, Time>,
}

/// An m-section we send on.
#[derive(Debug, Clone)]
struct Sending {
    mid: String,
    video: bool,
    track: u64,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    pt: u8,
    rtx_pt: Option<u8>,
    ids: [Option<u8>; 4],
}

/// A stream some description announces.
#[derive(Debug, Clone)]
struct Receiving {
    mid: String,
    video: bool,
    media_ssrc: u32,
    rtx: bool,
    pt: Option<u8>,
    extensions: ExtensionMap,
}

/// DER files of the two identities of the simulation.
pub const CLIENT_CERTIFICATE: &[u8] = include_bytes!("../data/sim/client.cert.der");
const CLIENT_KEY: &[u8] = include_bytes!("../data/sim/client.key.der");

impl FakeClient {
    /// A member that has not joined.
    pub fn new(room: u16, number: u16, address: SocketAddr, anchor: Anchor, seed: u64) -> Self {
        let name = format!("m{number}");
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, CLIENT_CERTIFICATE);
        let hex: Vec<String> = hash.as_ref().iter().map(|b| format!("{b:02X}")).collect();
        let credentials = Credentials {
            ufrag: format!("uf{number:04}"),
            pwd: format!("password-of-member-{number:06}"),
            fingerprint: hex.join(":"),
        };
        Self {
            signal: Signal::new(
                &name,
                credentials,
                true,
                0x2000_0000 + (u32::from(number) << 12),
            ),
            number,
            room,
            address,
            faults: Vec::new(),
            streams: BTreeMap::new(),
            tally: Tally::default(),
            lossless: false,
            hears_rooms: false,
            failed: false,
            publishing: true,
            picture: (2, 300),
            history: Vec::new(),
            anchor,
            seed,
            epoch: 0,
            server: None,
            nominated: false,
            check_due: Time::MAX,
            dtls: None,
            dtls_due: None,
            keys: None,
            srtp_keys: None,
            sources: BTreeMap::new(),
            sent: BTreeMap::new(),
            last_key_ask: BTreeMap::new(),
            media_due: [Time::MAX; 2],
            report_due: Time::MAX,
            nack_due: None,
            rtx_sequence: seed as u16,
            transport_sequence: (seed >> 16) as u16,
            arrivals: Vec::new(),
            arrival_base: 0,
            feedback_count: 0,
            negotiations_seen: 0,
            sending: Vec::new(),
            receiving: BTreeMap::new(),
            retired: BTreeSet::new(),
            stopped: BTreeMap::new(),
        }
    }

    /// Streams that the present description announces.
    pub fn current_streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams
            .iter()
            .filter(|(ssrc, _)| self.receiving.contains_key(ssrc))
            .map(|(_, s)| s)
    }

    /// The peer is gone: transport and media state of it are void.
    pub fn drop_peer(&mut self) {
        self.server = None;
        self.failed = false;
        self.nominated = false;
        self.check_due = Time::MAX;
        self.dtls = None;
        self.dtls_due = None;
        self.keys = None;
        self.sources.clear();
        self.sent.clear();
        self.streams.clear();
        self.last_key_ask.clear();
        self.media_due = [Time::MAX; 2];
        self.report_due = Time::MAX;
        self.nack_due = None;
        self.arrivals.clear();
        self.arrival_base = 0;
        self.negotiations_seen = self.signal.negotiations;
        self.sending.clear();
        self.receiving.clear();
        self.retired.clear();
        self.stopped.clear();
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// After the signalling side has changed: starts the transport, learns of new streams.
    pub fn refresh(&mut self, now: Time) {
        let Some(remote) = self.signal.remote.clone() else {
            if self.server.is_some() {
                self.drop_peer();
            }
            return;
        };
        if self.server.is_none() {
            self.server = remote.candidates.first().copied();
            self.check_due = now;
        }
        if self.negotiations_seen != self.signal.negotiations {
            self.negotiations_seen = self.signal.negotiations;
            let before: Vec<u32> = self.own_ssrcs().collect();
            self.learn(&remote);
            let gone = before
                .into_iter()
                .filter(|ssrc| !self.own_ssrcs().any(|now| now == *ssrc));
            let gone: Vec<(u32, Time)> = gone.map(|ssrc| (ssrc, now)).collect();
            self.stopped.extend(gone);
        }
    }

    fn own_ssrcs(&self) -> impl Iterator<Item = u32> {
        self.sending
            .iter()
            .flat_map(|s| std::iter::once(s.ssrc).chain(s.rtx_ssrc))
    }

    fn learn(&mut self, remote: &crate::support::sdp::RemoteSdp) {
        self.sending.clear();
        self.retired
            .extend(std::mem::take(&mut self.receiving).into_keys());
        for theirs in remote.sections.iter().filter(|s| s.port != 0) {
            let Some(kind) = theirs.kind else { continue };
            let video = kind == Kind::Video;
            let Some((pt, rtx_pt)) = theirs.payload_type(if video { "vp8" } else { "opus" }) else {
                continue;
            };
            let id = |uri: &str| theirs.extensions.get(uri).copied();
            let ours = self
                .signal
                .sdp
                .sections
                .iter()
                .find(|s| s.mid == theirs.mid);
            if let Some(send) = ours
                .and_then(|s| s.send.as_ref())
                .filter(|_| theirs.receives)
            {
                self.sending.push(Sending {
                    mid: theirs.mid.clone(),
                    video,
                    track: send.track,
                    ssrc: send.ssrc,
                    rtx_ssrc: send.rtx_ssrc,
                    pt,
                    rtx_pt,
                    ids: [
                        id(MID),
                        id(TRANSPORT_CC),
                        id(ABS_SEND_TIME),
                        id(AUDIO_LEVEL),
                    ],
                });
            }
            if !theirs.sends {
                continue;
            }
            let mut extensions = ExtensionMap::new();
            for (uri, id) in &theirs.extensions {
                if let Some(kind) = ExtensionKind::from_uri(uri) {
                    extensions.insert(*id, kind);
                }
            }
            let media_ssrc = theirs.fid.map(|f| f.0).or(theirs.ssrcs.first().copied());
            for ssrc in &theirs.ssrcs {
                let rtx = theirs.fid.is_some_and(|f| f.1 == *ssrc);
                let receiving = Receiving {
                    mid: theirs.mid.clone(),
                    video,
                    media_ssrc: media_ssrc.unwrap_or(*ssrc),
                    rtx,
                    pt: if rtx { rtx_pt } else { Some(pt) },
                    extensions,
                };
                self.receiving.insert(*ssrc, receiving);
            }
        }
    }

    /// When [`FakeClient::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Time {
        let due = [
            self.check_due,
            self.media_due[0],
            self.media_due[1],
            self.report_due,
        ];
        let optional = [self.dtls_due, self.nack_due].into_iter().flatten();
        due.into_iter().chain(optional).min().unwrap_or(Time::MAX)
    }

    /// Everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut impl RngCore, out: &mut Vec<Vec<u8>>) {
        if now >= self.check_due {
            self.check(now, rng, out);
        }
        if self.dtls_due.is_some_and(|due| now >= due) {
            self.drive_dtls(now, None, out);
        }
        for video in [false, true] {
            if now >= self.media_due[usize::from(video)] {
                let period = if video { VIDEO_MS } else { AUDIO_MS };
                self.media_due[usize::from(video)] = now + Duration::from_millis(period);
                self.send_media(now, video, rng, out);
            }
        }
        if now >= self.report_due {
            self.report_due = now + Duration::from_millis(REPORT_MS);
            self.send_reports(now, out);
        }
        if self.nack_due.is_some_and(|due| now >= due) {
            self.send_nacks(now, out);
        }
    }

    fn check(&mut self, now: Time, rng: &mut impl RngCore, out: &mut Vec<Vec<u8>>) {
        let Some(remote) = &self.signal.remote else {
            self.check_due = Time::MAX;
            return;
        };
        self.check_due = now + Duration::from_millis(CHECK_MS[usize::from(self.nominated)]);
        let mut id = [0; 12];
        rng.fill_bytes(&mut id);
        let username = format!("{}:{}", remote.ufrag, self.signal.sdp.credentials.ufrag);
        let mut request = vec![0; 256];
        let len = stun::write_binding_request(
            &mut request,
            &id,
            &username,
            remote.pwd.as_bytes(),
            0x6E00_01FF,
            stun::Role::Controlling(self.seed),
            true,
        );
        request.truncate(len.expect("a check fits 256 bytes"));
        out.push(request);
    }

    /// A datagram of the server arrives; it was sent at `sent_at`.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        sent_at: Time,
        mut datagram: Vec<u8>,
        out: &mut Vec<Vec<u8>>,
    ) {
        match classify(&datagram) {
            Some(Protocol::Stun) => self.handle_stun(now, &datagram, out),
            Some(Protocol::Dtls) => self.drive_dtls(now, Some(&datagram), out),
            Some(Protocol::Rtp) => self.handle_srtp(now, &mut datagram),
            Some(Protocol::Rtcp) => self.handle_srtcp(now, sent_at, &mut datagram, out),
            None => self
                .faults
                .push(format!("{now:?}: datagram starting {:?}", datagram.first())),
        }
    }

    fn handle_stun(&mut self, now: Time, datagram: &[u8], out: &mut Vec<Vec<u8>>) {
        let Some(remote) = &self.signal.remote else {
            return;
        };
        let Ok(message) = stun::parse(datagram) else {
            self.faults
                .push("the server's STUN does not parse".to_owned());
            return;
        };
        // An answer to an earlier peer of this client is signed with an earlier password.
        if !message.verify(remote.pwd.as_bytes()) || message.class != stun::Class::Success {
            return;
        }
        if message.mapped != Some(self.address) {
            return; // Sent before our address changed.
        }
        self.nominated = true;
        if self.dtls.is_none() && self.keys.is_none() {
            let mut builder = dimpl::Config::builder()
                .with_crypto_provider(crate::dtls::provider())
                .dangerously_set_rng_seed(self.seed ^ u64::from(self.epoch) << 32);
            builder = builder.require_client_certificate(true);
            let config = Arc::new(builder.build().expect("a DTLS configuration"));
            let certificate = dimpl::DtlsCertificate {
                certificate: CLIENT_CERTIFICATE.to_vec(),
                private_key: CLIENT_KEY.to_vec(),
            };
            let mut dtls = Dtls::new_12(config, certificate, self.anchor.to_instant(now));
            dtls.set_active(true);
            self.dtls = Some(dtls);
            self.drive_dtls(now, None, out);
        }
    }

    fn drive_dtls(&mut self, now: Time, datagram: Option<&[u8]>, out: &mut Vec<Vec<u8>>) {
        let Some(mut dtls) = self.dtls.take() else {
            return;
        };
        let mut alive = dtls.handle_timeout(self.anchor.to_instant(now));
        if let (Some(datagram), true) = (datagram, alive.is_ok()) {
            alive = dtls.handle_packet(datagram);
        }
        let mut buffer = vec![0; 8192];
        self.dtls_due = None;
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => out.push(bytes.to_vec()),
                Output::Timeout(at) => {
                    self.dtls_due =
                        Some(self.anchor.to_time(at).max(now + Duration::from_millis(1)));
                    break;
                }
                Output::KeyingMaterial(material, profile) => {
                    if profile != dimpl::SrtpProfile::AEAD_AES_128_GCM
                        && profile != dimpl::SrtpProfile::AEAD_AES_256_GCM
                    {
                        self.faults
                            .push(format!("SRTP profile {profile:?}, wanted AES-GCM"));
                    }
                    let ours = match profile {
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
                        _ => SrtpProfile::Aes128CmHmacSha1_80,
                    };
                    let keys =
                        SrtpKeys::from_exporter(ours, &material, true).expect("exported keys");
                    let seal = Outbound::new(ours, &keys.local).expect("keys");
                    self.keys = Some((seal, Inbound::new(ours, &keys.remote).expect("keys")));
                    self.srtp_keys = Some(keys);
                    self.tally.handshakes += 1;
                }
                Output::Connected => {
                    let spread = self.seed % 97;
                    self.media_due = [3, 17].map(|ms| now + Duration::from_millis(ms + spread));
                    self.report_due = now + Duration::from_millis(100 + spread);
                }
                _ => {}
            }
        }
        if alive.is_err() {
            // What a browser does: the connection has failed. On a line that loses much it may, and its page comes again.
            if self.lossless {
                self.faults
                    .push(format!("{now:?}: DTLS failed in the client: {alive:?}"));
            }
            self.failed = true;
            self.dtls_due = None;
        }
        self.dtls = Some(dtls);
    }

    fn seal_rtp(&mut self, mut plain: Vec<u8>, out: &mut Vec<Vec<u8>>) {
        let Some((seal, _)) = &mut self.keys else {
            return;
        };
        let header_len = rtp_header_len(&plain).expect("our own header");
        let len = plain.len();
        plain.resize(len + 32, 0);
        let sealed = seal.seal_rtp(&mut plain, header_len, len).expect("sealing");
        plain.truncate(sealed);
        self.history.push(plain.clone());
        if self.history.len() > 8 {
            self.history.remove(0);
        }
        out.push(plain);
    }

    /// Seals an RTCP compound and sends it.
    pub fn seal_rtcp(&mut self, plain: &[u8], out: &mut Vec<Vec<u8>>) {
        let Some((seal, _)) = &mut self.keys else {
            return;
        };
        let mut slot = plain.to_vec();
        slot.resize(plain.len() + 40, 0);
        if let Ok(sealed) = seal.seal_rtcp(&mut slot, plain.len()) {
            slot.truncate(sealed);
            out.push(slot);
        }
    }

    /// Seals any bytes that have the shape of an RTP header: hostile content inside valid SRTP.
    pub fn seal_hostile(&mut self, plain: &[u8], out: &mut Vec<Vec<u8>>) {
        let Some((seal, _)) = &mut self.keys else {
            return;
        };
        let Some(header_len) = rtp_header_len(plain) else {
            return;
        };
        let mut slot = plain.to_vec();
        slot.resize(plain.len() + 32, 0);
        if let Ok(sealed) = seal.seal_rtp(&mut slot, header_len, plain.len()) {
            slot.truncate(sealed);
            out.push(slot);
        }
    }

    fn enabled(&self, track: u64) -> bool {
        self.signal.tracks.get(&track).is_some_and(|t| {
            !t.display && t.media_direction != "RecvOnly" && t.media_direction != "Inactive"
        })
    }

    fn send_media(
        &mut self,
        now: Time,
        video: bool,
        rng: &mut impl RngCore,
        out: &mut Vec<Vec<u8>>,
    ) {
        if !self.publishing {
            return;
        }
        let sections = self
            .sending
            .iter()
            .filter(|s| s.video == video && self.enabled(s.track));
        let sections: Vec<Sending> = sections.cloned().collect();
        for sending in sections {
            let base = timestamp_base(self.number, video);
            let elapsed = now.as_micros() * clock_rate(video) / 1_000_000;
            let timestamp = base.wrapping_add(elapsed as u32);
            let (room, number, epoch) = (self.room, self.number, self.epoch);
            let kind = if video { Kind::Video } else { Kind::Audio };
            let first = first_sequence(rng);
            let source = self
                .sources
                .entry(sending.mid.clone())
                .or_insert_with(|| Source::new(room, number, kind, epoch, first, timestamp));
            let mut packets = Vec::new();
            let (count, bytes) = if video { self.picture } else { (1, 60) };
            source.frame(timestamp, count, bytes, &mut packets);
            for media in packets {
                self.tally.sent += 1;
                self.send_packet(now, &sending, &media, false, out);
                self.sent.insert((sending.ssrc, media.sequence), media);
                if self.sent.len() > 600 {
                    self.sent.pop_first();
                }
            }
        }
    }

    fn send_packet(
        &mut self,
        now: Time,
        sending: &Sending,
        media: &MediaPacket,
        rtx: bool,
        out: &mut Vec<Vec<u8>>,
    ) {
        let (Some(ssrc), Some(pt)) = (
            if rtx {
                sending.rtx_ssrc
            } else {
                Some(sending.ssrc)
            },
            if rtx {
                sending.rtx_pt
            } else {
                Some(sending.pt)
            },
        ) else {
            return;
        };
        let sequence = if rtx {
            self.rtx_sequence
        } else {
            media.sequence
        };
        self.rtx_sequence = self.rtx_sequence.wrapping_add(u16::from(rtx));
        let transport_sequence = self.transport_sequence.to_be_bytes();
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let send_time = ((now.as_micros() << 18) / 1_000_000) as u32;
        let send_time = send_time.to_be_bytes();
        let mut writer = HeaderWriter::new(HeaderFields {
            marker: media.marker,
            padding: false,
            payload_type: pt,
            sequence,
            timestamp: media.timestamp,
            ssrc,
        });
        let values: [&[u8]; 4] = [
            sending.mid.as_bytes(),
            &transport_sequence,
            &send_time[1..],
            &[0x80 | 30],
        ];
        for (id, value) in sending.ids.iter().zip(values) {
            if let Some(id) = id {
                writer.push(*id, value);
            }
        }
        let mut plain = vec![0; writer.len()];
        writer
            .write(&mut plain)
            .expect("a header in a slot of its length");
        if rtx {
            plain.extend_from_slice(&media.sequence.to_be_bytes());
        }
        plain.extend_from_slice(&media.payload);
        self.seal_rtp(plain, out);
    }

    /// Asks for a key frame of every received video stream, as a decoder that has lost its reference does.
    pub fn ask_key_frames(&mut self, out: &mut Vec<Vec<u8>>) {
        let streams: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, s)| s.video)
            .map(|(ssrc, _)| *ssrc)
            .collect();
        for ssrc in streams {
            let mut buffer = vec![0; 16];
            let len = write_pli(&mut buffer, 1, ssrc).expect("a PLI has 12 bytes");
            self.seal_rtcp(&buffer[..len], out);
        }
    }

    fn send_reports(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        let ntp = self.anchor.ntp.wrapping_add(micros_to_ntp(now.as_micros()));
        for sending in self.sending.clone() {
            let Some(source) = self.sources.get(&sending.mid) else {
                continue;
            };
            let elapsed = now.as_micros() * clock_rate(sending.video) / 1_000_000;
            let info = SenderInfo {
                ntp,
                rtp_timestamp: timestamp_base(self.number, sending.video)
                    .wrapping_add(elapsed as u32),
                packets: source.packets(),
                octets: source.octets,
            };
            let mut buffer = [0; 256];
            let mut writer = CompoundWriter::new(&mut buffer);
            writer.push(|b| write_sender_report(b, sending.ssrc, &info, &[]));
            writer.push(|b| write_sdes_cname(b, sending.ssrc, self.signal.member.as_bytes()));
            let len = writer.len();
            self.seal_rtcp(&buffer[..len], out);
        }
        let blocks: Vec<ReportBlock> = self
            .streams
            .iter()
            .map(|(ssrc, s)| block_of(now, *ssrc, s))
            .collect();
        for blocks in blocks.chunks(16) {
            let mut buffer = [0; 512];
            let len = write_receiver_report(&mut buffer, 1, blocks).expect("16 blocks fit");
            self.seal_rtcp(&buffer[..len], out);
        }
        self.send_transport_feedback(out);
    }

    fn send_transport_feedback(&mut self, out: &mut Vec<Vec<u8>>) {
        while let Some(first) = self.arrivals.first() {
            let base = if self.arrival_base == 0 {
                first.sequence
            } else {
                self.arrival_base + 1
            };
            let mut buffer = [0; 1024];
            let written = write_transport_feedback(
                &mut buffer,
                (1, 1),
                self.feedback_count,
                base,
                &self.arrivals,
            );
            let Some(written) = written else {
                self.arrivals.clear();
                break;
            };
            self.feedback_count = self.feedback_count.wrapping_add(1);
            self.arrival_base = self.arrivals[written.consumed - 1].sequence;
            self.arrivals.drain(..written.consumed);
            self.seal_rtcp(&buffer[..written.len], out);
        }
    }

    /// A new address: the old one hears nothing any more.
    pub fn move_to(&mut self, now: Time, address: SocketAddr) {
        self.address = address;
        self.nominated = false;
        if self.server.is_some() {
            self.check_due = now;
        }
    }
}

fn block_of(now: Time, ssrc: u32, stream: &Stream) -> ReportBlock {
    let (last_sr, delay) = stream.sr_at.map_or((0, 0), |(last_sr, at)| {
        (
            last_sr,
            (now.since(at).as_micros() as u64 * 65_536 / 1_000_000) as u32,
        )
    });
    ReportBlock {
        ssrc,
        fraction_lost: 0,
        cumulative_lost: 0,
        highest_sequence: stream.sink.highest(),
        jitter: 10,
        last_sr,
        delay_since_last_sr: delay,
    }
}

/// Near the wrap, so that every run crosses it; not so near that a lossy start could hide it from the server, whose
/// roll-over counter then could not know (RFC 3711 section 3.3.1).
fn first_sequence(rng: &mut impl RngCore) -> u16 {
    0xFF80 + (rng.next_u32() as u16 & 0x3F)
}
