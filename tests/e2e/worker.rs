//! The task behind a client: one loop over socket, media, orders and a 10 ms tick.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::receiver_report::ReceiverReport;
use rtcp::sender_report::SenderReport;
use rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtp::header::{Extension, Header};
use rtp::packet::Packet;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use webrtc_util::marshal::{Marshal, Unmarshal};

use crate::client::{Control, Options, State, Stream};
use crate::stack::{DtlsLink, Identity, Secured, binding_request, binding_success, handshake};
use crate::support::media::{MediaPacket, Source};
use crate::support::sdp::{Kind, MID, RemoteSection, TRANSPORT_CC};
use crate::ws::{Ws, WsEvent};

const TICK: Duration = Duration::from_millis(10);
/// Between connectivity checks, before and after the first success.
const CHECK: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(1000)];

struct Transport {
    remote: SocketAddr,
    dtls_inbox: mpsc::UnboundedSender<Vec<u8>>,
    dtls_start: Option<Arc<DtlsLink>>,
    dtls_done: Option<oneshot::Receiver<Result<Secured, String>>>,
    secured: Option<Secured>,
    /// Media that came between the end of the handshake and the tick that takes its keys.
    early: Vec<Vec<u8>>,
    next_check: Instant,
}

/// Datagrams kept in [`Transport::early`]: a second of a call.
const EARLY_MAX: usize = 256;

/// One m-section we send on, as negotiated.
struct Sending {
    mid: String,
    kind: Kind,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    pt: u8,
    rtx_pt: Option<u8>,
    mid_id: Option<u8>,
    twcc_id: Option<u8>,
}

/// See the module.
pub struct Worker {
    options: Options,
    state: Arc<Mutex<State>>,
    identity: Identity,
    socket: Arc<UdpSocket>,
    ws: Ws,
    ws_open: bool,
    transport: Option<Transport>,
    publishing: bool,
    /// mid → source.
    sources: BTreeMap<String, Source>,
    /// (SSRC, sequence) → plain packet, for retransmission.
    sent: BTreeMap<(u32, u16), Packet>,
    /// Sealed media datagrams, newest last.
    history: Vec<Bytes>,
    rtx_sequence: u16,
    started: Instant,
    ticks: u64,
    transport_seq: u16,
}

impl Worker {
    /// A client that has a socket and has said nothing yet.
    pub fn new(
        state: Arc<Mutex<State>>,
        identity: Identity,
        socket: UdpSocket,
        ws: Ws,
        options: Options,
    ) -> Self {
        Self {
            publishing: options.publish,
            options,
            state,
            identity,
            socket: Arc::new(socket),
            ws,
            ws_open: true,
            transport: None,
            sources: BTreeMap::new(),
            sent: BTreeMap::new(),
            history: Vec::new(),
            rtx_sequence: 7,
            started: Instant::now(),
            ticks: 0,
            transport_seq: 0,
        }
    }

    /// Runs until the handle is dropped.
    pub async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Control>) {
        self.join();
        let mut tick = tokio::time::interval(TICK);
        let mut buffer = vec![0; 2048];
        loop {
            let socket = Arc::clone(&self.socket);
            tokio::select! {
                event = self.ws.events.recv(), if self.ws_open => match event {
                    Some(WsEvent::Json(message)) => self.handle_message(&message),
                    Some(WsEvent::Closed(frame)) => self.state().closed = Some(frame),
                    None => self.ws_open = false,
                },
                received = socket.recv_from(&mut buffer) => {
                    if let Ok((len, from)) = received {
                        let datagram = buffer[..len].to_vec();
                        self.handle_datagram(from, &datagram).await;
                    }
                }
                order = orders.recv() => match order {
                    Some(order) => self.handle_order(order).await,
                    None => return,
                },
                _ = tick.tick() => self.handle_tick().await,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked while it looked")
    }

    fn fault(&self, fault: String) {
        self.state().faults.push(fault);
    }

    fn join(&mut self) {
        let join = self.state().signal.join(&self.options.credential);
        self.command(&join);
    }

    fn command(&self, command: &Value) {
        let room = &self.options.room;
        self.ws
            .send(json!({"Command": {"room_id": room, "command": command}}).to_string());
    }

    fn handle_message(&mut self, message: &Value) {
        match message["msg"].as_str() {
            Some("Ping") => self.ws.send(json!({"Pong": message["data"]}).to_string()),
            Some("RpcSettings") => {}
            Some("Event") => {
                let data = &message["data"];
                assert_eq!(data["room_id"], self.options.room.as_str());
                let commands = {
                    let mut state = self.state();
                    let commands = state.signal.handle(&data["event"]);
                    let sections = state.signal.remote.iter().flat_map(|r| &r.sections);
                    let named: Vec<u32> = sections.flat_map(|s| s.ssrcs.clone()).collect();
                    state.named.extend(named);
                    commands
                };
                for command in &commands {
                    self.command(command);
                }
                self.connect();
            }
            other => self.fault(format!("message {other:?} is not in the protocol")),
        }
    }

    /// Starts the transport when the first description of the server is there.
    fn connect(&mut self) {
        let mut state = self.state.lock().expect("state");
        let Some(remote) = &state.signal.remote else {
            self.transport = None;
            return;
        };
        let Some(address) = remote.candidates.iter().find(|c| c.ip().is_loopback()) else {
            let fault = format!("no loopback candidate in {:?}", remote.candidates);
            state.faults.push(fault);
            return;
        };
        if self
            .transport
            .as_ref()
            .is_some_and(|t| t.remote == *address)
        {
            return;
        }
        let (link, dtls_inbox) = DtlsLink::new(Arc::clone(&self.socket), *address);
        self.transport = Some(Transport {
            remote: *address,
            dtls_inbox,
            dtls_start: Some(link),
            dtls_done: None,
            secured: None,
            early: Vec::new(),
            next_check: Instant::now(),
        });
        state.remote = Some(*address);
    }

    async fn handle_order(&mut self, order: Control) {
        match order {
            Control::Command(command) => self.command(&command),
            Control::Datagram(bytes) => self.send(&bytes).await,
            Control::Rtcp(plain) => {
                let sealed = self.seal(|s| s.local.encrypt_rtcp(&plain).ok());
                self.send_sealed(sealed).await;
            }
            Control::HostileRtp(plain) => {
                let sealed = self.seal(|s| s.seal_hostile_rtp(&plain));
                self.send_sealed(sealed).await;
            }
            Control::HostileRtcp(plain) => {
                let sealed = self.seal(|s| s.seal_hostile_rtcp(&plain));
                self.send_sealed(sealed).await;
            }
            Control::Replay(count) => {
                let from = self.history.len().saturating_sub(count);
                let recent = self.history[from..].to_vec();
                for datagram in recent {
                    self.send(&datagram).await;
                }
            }
            Control::BadTag => {
                if let Some(datagram) = self.history.last() {
                    let mut bad = datagram.to_vec();
                    let last = bad.len() - 1;
                    bad[last] ^= 1;
                    // Beyond the replay window's newest, or it would count as a replay.
                    let ahead = u16::from_be_bytes([bad[2], bad[3]]).wrapping_add(100);
                    bad[2..4].copy_from_slice(&ahead.to_be_bytes());
                    self.send(&bad).await;
                }
            }
            Control::MoveAddress => self.move_address().await,
            Control::CloseSocket(code) => self.ws.close(code),
            Control::Rejoin => {
                self.ws =
                    Ws::connect(self.options.server, None).expect("the server takes WebSockets");
                self.ws_open = true;
                self.state().closed = None;
                self.state().signal.joined = None;
                self.join();
            }
            Control::Publish(publishing) => self.publishing = publishing,
        }
    }

    async fn move_address(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("a media socket");
        let mut state = self.state.lock().expect("state");
        state.local = socket.local_addr().expect("bound");
        state.mapped = None;
        drop(state);
        // The DTLS connection keeps its old socket: established sessions say nothing more.
        self.socket = Arc::new(socket);
        if let Some(transport) = &mut self.transport {
            transport.next_check = Instant::now();
        }
    }

    fn seal(&mut self, seal: impl FnOnce(&mut Secured) -> Option<Bytes>) -> Option<Bytes> {
        seal(self.transport.as_mut()?.secured.as_mut()?)
    }

    async fn send(&mut self, bytes: &[u8]) {
        if let Some(transport) = &self.transport {
            // Loopback: a full buffer is the only way to fail, and then the packet is lost as on a network.
            let _ = self.socket.send_to(bytes, transport.remote).await;
        }
    }

    async fn send_sealed(&mut self, sealed: Option<Bytes>) {
        if let Some(sealed) = sealed {
            self.send(&sealed).await;
        }
    }

    async fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8]) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        if from != transport.remote {
            return;
        }
        match datagram.first() {
            Some(0..=3) => {
                let state = Arc::clone(&self.state);
                let mut state = state.lock().expect("state");
                let pwd = state
                    .signal
                    .remote
                    .as_ref()
                    .map(|r| r.pwd.clone())
                    .unwrap_or_default();
                if let Some((_, mapped)) = binding_success(datagram, &pwd) {
                    state.mapped = Some(mapped);
                    let local = state.local;
                    if mapped != local {
                        state
                            .faults
                            .push(format!("mapped {mapped}, our socket is on {local}"));
                    }
                }
            }
            Some(20..=63) => {
                let _ = transport.dtls_inbox.send(datagram.to_vec());
            }
            Some(128..=191) => self.handle_srtp(datagram).await,
            other => self.fault(format!("datagram starting with {other:?}")),
        }
    }

    async fn handle_srtp(&mut self, datagram: &[u8]) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        let Some(secured) = &mut transport.secured else {
            if transport.early.len() < EARLY_MAX {
                transport.early.push(datagram.to_vec());
            }
            return;
        };
        if datagram.len() > 1 && (192..=223).contains(&datagram[1]) {
            match secured.remote.decrypt_rtcp(datagram) {
                Ok(plain) => self.handle_rtcp(plain).await,
                Err(e) => self.fault(format!("SRTCP of the server: {e}")),
            }
            return;
        }
        match secured.remote.decrypt_rtp(datagram) {
            Ok(mut plain) => match Packet::unmarshal(&mut plain) {
                Ok(packet) => self.handle_rtp(packet),
                Err(e) => self.fault(format!("RTP of the server: {e}")),
            },
            Err(e) => self.fault(format!("SRTP of the server: {e}")),
        }
    }

    fn handle_rtp(&mut self, packet: Packet) {
        let mut state = self.state.lock().expect("state");
        let ssrc = packet.header.ssrc;
        let Some(remote) = &state.signal.remote else {
            return;
        };
        let section = remote.sections.iter().find(|s| s.ssrcs.contains(&ssrc));
        let Some(section) = section.cloned() else {
            // Media and descriptions come by different ways: a leaver's last packets may be behind the news.
            if state.named.contains(&ssrc) {
                return;
            }
            state
                .faults
                .push(format!("packet of SSRC {ssrc} that no description names"));
            return;
        };
        let video = section.kind == Some(Kind::Video);
        let rtx = section.fid.filter(|(_, rtx)| *rtx == ssrc);
        let Some((primary, sequence, payload)) = undo_rtx(&packet, rtx) else {
            return;
        };
        state.rtx_received += u32::from(rtx.is_some());
        let expected = section.payload_type(if video { "vp8" } else { "opus" });
        let pt = packet.header.payload_type;
        if expected.is_none_or(|(media, repair)| pt != media && Some(pt) != repair) {
            state
                .faults
                .push(format!("payload type {pt}, negotiated {expected:?}"));
        }
        if payload.is_empty() {
            return; // padding only
        }
        let sender = sender_of(&state, &section);
        let stream = state.streams.entry(primary).or_insert_with(|| Stream {
            video,
            ..Stream::default()
        });
        stream.sender = sender;
        let timestamp = packet.header.timestamp;
        let result = stream
            .sink
            .receive(video, sequence, timestamp, &payload, rtx.is_some());
        let sender = stream.sender.clone();
        match result {
            Ok(mark) => {
                if sender.as_deref() != Some(&crate::client::member_name(mark.member)) {
                    state
                        .faults
                        .push(format!("{mark:?} came on the stream of {sender:?}"));
                }
                if mark.room != crate::room_number(&self.options.room) {
                    state
                        .faults
                        .push(format!("{mark:?} in room {}", self.options.room));
                }
                if video && state.join_to_media.is_none() {
                    state.join_to_media = Some(self.started.elapsed());
                }
            }
            Err(fault) => state.faults.push(format!("SSRC {ssrc}: {fault}")),
        }
    }

    async fn handle_rtcp(&mut self, mut plain: Bytes) {
        let packets = match rtcp::packet::unmarshal(&mut plain) {
            Ok(packets) => packets,
            Err(e) => return self.fault(format!("RTCP of the server: {e}")),
        };
        for packet in packets {
            let any = packet.as_any();
            if let Some(report) = any.downcast_ref::<SenderReport>() {
                let mut state = self.state();
                if let Some(stream) = state.streams.get_mut(&report.ssrc) {
                    stream.report = Some((report.ntp_time, report.rtp_time));
                }
                note_reports(&mut state, &report.reports);
            } else if let Some(report) = any.downcast_ref::<ReceiverReport>() {
                note_reports(&mut self.state(), &report.reports);
            } else if let Some(nack) = any.downcast_ref::<TransportLayerNack>() {
                self.retransmit(nack).await;
            } else if any.is::<PictureLossIndication>() || any.is::<FullIntraRequest>() {
                let video: Vec<u32> = packet.destination_ssrc();
                self.key_frame(&video);
            } else if any.is::<TransportLayerCc>() {
                self.state().twcc += 1;
            }
        }
    }

    fn key_frame(&mut self, ssrcs: &[u32]) {
        let sending = self.sending();
        for sending in sending.iter().filter(|s| ssrcs.contains(&s.ssrc)) {
            self.state().key_frames_asked += 1;
            if let Some(source) = self.sources.get_mut(&sending.mid) {
                source.want_key_frame();
            }
        }
    }

    async fn retransmit(&mut self, nack: &TransportLayerNack) {
        let lost: Vec<u16> = nack
            .nacks
            .iter()
            .flat_map(|pair| pair.packet_list())
            .collect();
        self.state().nacked += lost.len() as u32;
        let sending = self.sending();
        let Some(sending) = sending.iter().find(|s| s.ssrc == nack.media_ssrc) else {
            return;
        };
        let (Some(ssrc), Some(pt)) = (sending.rtx_ssrc, sending.rtx_pt) else {
            return;
        };
        for sequence in lost {
            let Some(packet) = self.sent.get(&(sending.ssrc, sequence)) else {
                continue;
            };
            let mut again = packet.clone();
            let mut payload = sequence.to_be_bytes().to_vec();
            payload.extend_from_slice(&packet.payload);
            again.payload = payload.into();
            (again.header.ssrc, again.header.payload_type) = (ssrc, pt);
            again.header.sequence_number = self.rtx_sequence;
            self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
            let plain = again.marshal().expect("RTP");
            let sealed = self.seal(|s| s.local.encrypt_rtp(&plain).ok());
            self.send_sealed(sealed).await;
        }
    }

    /// m-sections on which the server takes media of ours now.
    fn sending(&self) -> Vec<Sending> {
        let state = self.state();
        let signal = &state.signal;
        let Some(remote) = &signal.remote else {
            return Vec::new();
        };
        let sections = signal.sdp.sections.iter();
        let enabled = |track: u64| {
            let track = signal.tracks.get(&track);
            track.is_some_and(|t| {
                !t.display && t.media_direction != "RecvOnly" && t.media_direction != "Inactive"
            })
        };
        sections
            .filter_map(|ours| {
                let send = ours.send.as_ref().filter(|s| enabled(s.track))?;
                let theirs = remote
                    .section(&ours.mid)
                    .filter(|s| s.receives && s.port != 0)?;
                let codec = if ours.kind == Kind::Video {
                    "vp8"
                } else {
                    "opus"
                };
                let (pt, rtx_pt) = theirs.payload_type(codec)?;
                Some(Sending {
                    mid: ours.mid.clone(),
                    kind: ours.kind,
                    ssrc: send.ssrc,
                    rtx_ssrc: send.rtx_ssrc,
                    pt,
                    rtx_pt,
                    mid_id: theirs.extensions.get(MID).copied(),
                    twcc_id: theirs.extensions.get(TRANSPORT_CC).copied(),
                })
            })
            .collect()
    }

    async fn handle_tick(&mut self) {
        self.ticks += 1;
        self.check().await;
        self.secure();
        if let Some(transport) = self.transport.as_mut().filter(|t| t.secured.is_some()) {
            for datagram in std::mem::take(&mut transport.early) {
                self.handle_srtp(&datagram).await;
            }
        }
        if self.transport.as_ref().is_none_or(|t| t.secured.is_none()) {
            return;
        }
        let elapsed = self.started.elapsed().as_micros() as u64;
        let (audio, video) = (self.ticks.is_multiple_of(2), self.ticks.is_multiple_of(5));
        for sending in self.sending() {
            let due = if sending.kind == Kind::Video {
                video
            } else {
                audio
            };
            if due && self.publishing {
                self.send_frame(&sending, elapsed).await;
            }
            if self.ticks.is_multiple_of(50) {
                self.send_report(&sending, elapsed).await;
            }
        }
    }

    async fn send_frame(&mut self, sending: &Sending, elapsed_us: u64) {
        let video = sending.kind == Kind::Video;
        let room = crate::room_number(&self.options.room);
        let number = self.options.number;
        let source = self
            .sources
            .entry(sending.mid.clone())
            .or_insert_with(|| Source::new(room, number, sending.kind, 0, 65_500, 0xFFFF_0000));
        let rate = if video { 90 } else { 48 };
        let timestamp = 0xFFFF_0000u32.wrapping_add((elapsed_us * rate / 1000) as u32);
        let mut packets: Vec<MediaPacket> = Vec::new();
        let (count, bytes) = if video { (2, 900) } else { (1, 80) };
        source.frame(timestamp, count, bytes, &mut packets);
        for media in packets {
            let packet = self.rtp(sending, media);
            let plain = packet.marshal().expect("RTP");
            let Some(sealed) = self.seal(|s| s.local.encrypt_rtp(&plain).ok()) else {
                return;
            };
            self.send(&sealed).await;
            self.history.push(sealed);
            if self.history.len() > 64 {
                self.history.remove(0);
            }
            self.sent
                .insert((sending.ssrc, packet.header.sequence_number), packet);
            if self.sent.len() > 2048 {
                self.sent.pop_first();
            }
            self.state().sent[usize::from(video)] += 1;
        }
    }

    fn rtp(&mut self, sending: &Sending, media: MediaPacket) -> Packet {
        let mut extensions = Vec::new();
        if let Some(id) = sending.mid_id {
            extensions.push(Extension {
                id,
                payload: Bytes::from(sending.mid.clone().into_bytes()),
            });
        }
        if let Some(id) = sending.twcc_id {
            let seq = self.transport_seq.to_be_bytes();
            self.transport_seq = self.transport_seq.wrapping_add(1);
            extensions.push(Extension {
                id,
                payload: Bytes::copy_from_slice(&seq),
            });
        }
        Packet {
            header: Header {
                version: 2,
                extension: !extensions.is_empty(),
                extension_profile: 0xBEDE,
                extensions,
                marker: media.marker,
                payload_type: sending.pt,
                sequence_number: media.sequence,
                timestamp: media.timestamp,
                ssrc: sending.ssrc,
                ..Header::default()
            },
            payload: media.payload.into(),
        }
    }

    async fn send_report(&mut self, sending: &Sending, elapsed_us: u64) {
        let Some(source) = self.sources.get(&sending.mid) else {
            return;
        };
        let rate = if sending.kind == Kind::Video { 90 } else { 48 };
        let report = SenderReport {
            ssrc: sending.ssrc,
            ntp_time: ntp_now(),
            rtp_time: 0xFFFF_0000u32.wrapping_add((elapsed_us * rate / 1000) as u32),
            packet_count: source.packets(),
            octet_count: source.octets,
            ..SenderReport::default()
        };
        let plain = report.marshal().expect("RTCP");
        let sealed = self.seal(|s| s.local.encrypt_rtcp(&plain).ok());
        self.send_sealed(sealed).await;
    }

    async fn check(&mut self) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        if Instant::now() < transport.next_check {
            return;
        }
        let state = Arc::clone(&self.state);
        let request = {
            let state = state.lock().expect("state");
            let Some(remote) = &state.signal.remote else {
                return;
            };
            transport.next_check = Instant::now() + CHECK[usize::from(state.mapped.is_some())];
            binding_request(&self.identity.credentials.ufrag, &remote.ufrag, &remote.pwd).0
        };
        self.send(&request).await;
    }

    /// Starts the handshake after the first check, takes its keys at its end.
    fn secure(&mut self) {
        let state = Arc::clone(&self.state);
        let mut state = state.lock().expect("state");
        let Some(transport) = &mut self.transport else {
            return;
        };
        if state.mapped.is_some()
            && let Some(link) = transport.dtls_start.take()
        {
            let (sender, receiver) = oneshot::channel();
            transport.dtls_done = Some(receiver);
            let identity = self.identity.clone();
            let profiles = self.options.profiles.clone();
            let expected = state
                .signal
                .remote
                .as_ref()
                .map(|r| r.fingerprint.clone())
                .unwrap_or_default();
            tokio::spawn(async move {
                let _ = sender.send(handshake(link, &identity, &expected, profiles).await);
            });
        }
        let Some(done) = &mut transport.dtls_done else {
            return;
        };
        match done.try_recv() {
            Ok(Ok(secured)) => {
                state.profile = Some(secured.profile);
                transport.secured = Some(secured);
                transport.dtls_done = None;
            }
            Ok(Err(fault)) => {
                state.faults.push(format!("DTLS: {fault}"));
                transport.dtls_done = None;
            }
            Err(_) => {}
        }
    }
}

/// (media SSRC, media sequence number, media payload) of a packet that may be an RTX packet (RFC 4588 section 4).
fn undo_rtx(packet: &Packet, rtx: Option<(u32, u32)>) -> Option<(u32, u16, Bytes)> {
    match rtx {
        None => Some((
            packet.header.ssrc,
            packet.header.sequence_number,
            packet.payload.clone(),
        )),
        Some((media, _)) => {
            let osn = packet.payload.get(..2)?;
            Some((
                media,
                u16::from_be_bytes([osn[0], osn[1]]),
                packet.payload.slice(2..),
            ))
        }
    }
}

fn sender_of(state: &State, section: &RemoteSection) -> Option<String> {
    let tracks = state.signal.tracks.values();
    let known = tracks
        .filter(|t| !t.send)
        .find(|t| t.mid.as_deref() == Some(&section.mid));
    known
        .and_then(|t| t.sender.clone())
        .or_else(|| section.stream.clone())
}

fn note_reports(state: &mut State, reports: &[rtcp::reception_report::ReceptionReport]) {
    for report in reports {
        state.reports.insert(
            report.ssrc,
            (report.fraction_lost, report.last_sequence_number),
        );
    }
}

fn ntp_now() -> u64 {
    let unix = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let seconds = unix.as_secs() + 2_208_988_800;
    (seconds << 32) | ((u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000)
}
