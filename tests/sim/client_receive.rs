//! What the fake browser makes of what the server sends: the judge's half of the client.

use super::*;

/// For how long feedback about a source that is not sent any more may still come.
const STOPPED: Duration = Duration::from_secs(2);

impl FakeClient {
    pub(super) fn handle_srtp(&mut self, now: Time, datagram: &mut [u8]) {
        let Some((_, open)) = &mut self.keys else {
            return;
        };
        let Some(header_len) = rtp_header_len(datagram) else {
            return self
                .faults
                .push("the server's RTP header is cut".to_owned());
        };
        let len = match open.open_rtp(datagram, header_len) {
            Ok(len) => len,
            // The network doubles packets; the replay window is there for that.
            Err(DropReason::SrtpReplay) => return,
            // A browser has no such limit. Every subscription that comes back has SSRCs of its own; none wraps here.
            Err(DropReason::TooManySsrcs) => {
                let keys = self.srtp_keys.as_ref();
                if let Some(fresh) = keys.and_then(|k| Inbound::new(k.profile, &k.remote)) {
                    *open = fresh;
                }
                match open.open_rtp(datagram, header_len) {
                    Ok(len) => len,
                    Err(_) => return,
                }
            }
            Err(reason) => {
                return self
                    .faults
                    .push(format!("{now:?}: SRTP of the server: {reason:?}"));
            }
        };
        let packet = &datagram[..len];
        if let Err(fault) = self.handle_rtp(now, packet) {
            self.faults.push(format!("{now:?}: {fault}"));
        }
    }

    pub(super) fn handle_rtp(&mut self, now: Time, packet: &[u8]) -> Result<(), String> {
        let header = RtpHeader::parse(packet).map_err(|e| e.to_string())?;
        let Some(known) = self.receiving.get(&header.ssrc).cloned() else {
            if self.retired.contains(&header.ssrc) {
                return Ok(()); // Under way when the description changed.
            }
            return Err(format!("SSRC {:#x} is in no description", header.ssrc));
        };
        if known.pt != Some(header.payload_type) {
            return Err(format!(
                "payload type {} instead of {:?}",
                header.payload_type, known.pt
            ));
        }
        let extensions =
            Extensions::locate(packet, &header, &known.extensions).map_err(|e| e.to_string())?;
        if let Some(mid) = extensions.mid(packet)
            && mid != known.mid.as_bytes()
        {
            return Err(format!("mid {mid:?} on the stream of {}", known.mid));
        }
        if let Some(sequence) = extensions.transport_sequence(packet) {
            self.note_arrival(now, sequence);
        }
        let payload = header.payload(packet).map_err(|e| e.to_string())?;
        if payload.is_empty() {
            return Ok(());
        }
        let (sequence, payload) = match known.rtx {
            true => split_rtx(payload).ok_or("RTX without an original")?,
            false => (header.sequence, payload),
        };
        self.tally.padded += u64::from(header.padding);
        self.tally.rtx += u64::from(known.rtx);
        self.play(now, &known, sequence, header.timestamp, payload)
    }

    pub(super) fn play(
        &mut self,
        now: Time,
        known: &Receiving,
        sequence: u16,
        timestamp: u32,
        payload: &[u8],
    ) -> Result<(), String> {
        let sender = self.sender_on(&known.mid);
        let stream = self.streams.entry(known.media_ssrc).or_default();
        stream.video = known.video;
        let gap: Vec<u16> = stream.sink.gap_before(sequence).collect();
        let before = stream.sink.received;
        let mark = stream
            .sink
            .receive(known.video, sequence, timestamp, payload, known.rtx)?;
        self.tally.received += stream.sink.received - before;
        stream.last = Some((mark.timestamp, timestamp));
        stream.lost.remove(&sequence);
        if known.video {
            for lost in gap {
                stream
                    .lost
                    .insert(lost, (0, now + Duration::from_millis(20)));
            }
            if !stream.lost.is_empty() && self.nack_due.is_none() {
                self.nack_due = Some(now + Duration::from_millis(20));
            }
            if self.lossless && stream.sink.received == 1 && stream.sink.key_frames == 0 {
                return Err(format!("video began without a key frame: {mark:?}"));
            }
        }
        if let Some(sender) = sender {
            stream.sender = sender;
        }
        self.judge_mark(&mark, known)
    }

    pub(super) fn judge_mark(&self, mark: &Mark, known: &Receiving) -> Result<(), String> {
        if self.hears_rooms {
            return Ok(());
        }
        if mark.room != self.room || mark.member == self.number {
            return Err(format!(
                "{mark:?} reached member {} of room {}",
                self.number, self.room
            ));
        }
        let stream = self.streams.get(&known.media_ssrc);
        let expected = format!("m{}", mark.member);
        if stream.is_some_and(|s| !s.sender.is_empty() && s.sender != expected) {
            return Err(format!(
                "{mark:?} came on the stream of {:?}",
                stream.map(|s| &s.sender)
            ));
        }
        Ok(())
    }

    pub(super) fn sender_on(&self, mid: &str) -> Option<String> {
        let mut tracks = self.signal.tracks.values().filter(|t| !t.send);
        tracks
            .find(|t| t.mid.as_deref() == Some(mid))
            .and_then(|t| t.sender.clone())
    }

    pub(super) fn note_arrival(&mut self, now: Time, sequence: u16) {
        let last = self
            .arrivals
            .last()
            .map_or(self.arrival_base, |a| a.sequence);
        let extended = if last == 0 {
            0x1_0000 + u64::from(sequence)
        } else {
            last.wrapping_add_signed(i64::from(sequence.wrapping_sub(last as u16) as i16))
        };
        if extended > last && self.arrivals.len() < 256 {
            self.arrivals.push(Arrival {
                sequence: extended,
                at: now,
            });
        }
    }

    pub(super) fn handle_srtcp(
        &mut self,
        now: Time,
        sent_at: Time,
        datagram: &mut [u8],
        out: &mut Vec<Vec<u8>>,
    ) {
        let Some((_, open)) = &mut self.keys else {
            return;
        };
        let len = match open.open_rtcp(datagram) {
            Ok(len) => len,
            Err(DropReason::SrtpReplay) => return,
            // A browser has no such limit. Every subscription that comes back has SSRCs of its own; none wraps here.
            Err(DropReason::TooManySsrcs) => {
                let keys = self.srtp_keys.as_ref();
                if let Some(fresh) = keys.and_then(|k| Inbound::new(k.profile, &k.remote)) {
                    *open = fresh;
                }
                return;
            }
            Err(reason) => return self.faults.push(format!("SRTCP of the server: {reason:?}")),
        };
        let Ok(compound) = Compound::parse(&datagram[..len]) else {
            return self
                .faults
                .push(format!("RTCP of the server: {:02x?}", &datagram[..len]));
        };
        for packet in compound.packets() {
            let Ok(packet) = packet else {
                self.faults
                    .push("the server's RTCP has a bad packet inside".to_owned());
                continue;
            };
            match packet {
                Packet::SenderReport { ssrc, info, blocks } => {
                    self.sender_report(now, sent_at, ssrc, &info);
                    self.judge_blocks(sent_at, blocks.collect());
                }
                Packet::ReceiverReport { blocks, .. } => {
                    self.judge_blocks(sent_at, blocks.collect())
                }
                Packet::Nack(nack) => {
                    let lost: Vec<u16> = nack.sequences().collect();
                    self.retransmit(now, nack.media_ssrc, &lost, out);
                }
                Packet::Pli { media_ssrc, .. } => self.key_frame(sent_at, media_ssrc),
                Packet::Fir(fir) => {
                    let asked: Vec<u32> = fir.entries().map(|e| e.ssrc).collect();
                    asked
                        .into_iter()
                        .for_each(|ssrc| self.key_frame(sent_at, ssrc));
                }
                Packet::TransportFeedback(_) => self.tally.twcc += 1,
                _ => {}
            }
        }
    }

    pub(super) fn sender_report(&mut self, now: Time, sent_at: Time, ssrc: u32, info: &SenderInfo) {
        self.tally.reports += 1;
        if self.retired.contains(&ssrc) && !self.receiving.contains_key(&ssrc) {
            return;
        }
        if !self.receiving.contains_key(&ssrc) {
            self.faults.push(format!(
                "sender report of SSRC {ssrc:#x} that no description names"
            ));
            return;
        }
        let stream = self.streams.entry(ssrc).or_default();
        stream.report = Some((info.ntp, info.rtp_timestamp));
        stream.sr_at = Some(((info.ntp >> 16) as u32, now));
        // The publisher's clock is the world's: the report must name a time near its sending.
        let told = info.ntp.wrapping_sub(self.anchor.ntp);
        let told_us = colchis::time::ntp_to_micros(told);
        let off = told_us.abs_diff(sent_at.as_micros());
        if off > 2_000_000 {
            self.faults.push(format!(
                "sender report of {ssrc:#x} is {off} µs off its sending"
            ));
        }
    }

    pub(super) fn judge_blocks(&mut self, sent_at: Time, blocks: Vec<ReportBlock>) {
        for block in blocks {
            let Some(sending) = self
                .sending
                .iter()
                .find(|s| s.ssrc == block.ssrc || s.rtx_ssrc == Some(block.ssrc))
            else {
                self.not_ours(sent_at, block.ssrc, "report");
                continue;
            };
            self.tally.blocks += 1;
            let Some(source) = self
                .sources
                .get(&sending.mid)
                .filter(|_| block.ssrc == sending.ssrc)
            else {
                continue;
            };
            let behind = source
                .next_sequence()
                .wrapping_sub(1)
                .wrapping_sub(block.highest_sequence as u16);
            if behind > 400 {
                self.faults
                    .push(format!("report is {behind} packets behind: {block:?}"));
            }
        }
    }

    /// Feedback about something we do not send: a fault, unless we have just stopped sending it.
    fn not_ours(&mut self, at: Time, ssrc: u32, what: &str) {
        let just_stopped = self
            .stopped
            .get(&ssrc)
            .is_some_and(|since| at.since(*since) < STOPPED);
        if !just_stopped {
            self.faults
                .push(format!("{what} about SSRC {ssrc:#x}, which is not ours"));
        }
    }

    pub(super) fn retransmit(
        &mut self,
        now: Time,
        ssrc: u32,
        lost: &[u16],
        out: &mut Vec<Vec<u8>>,
    ) {
        let Some(sending) = self.sending.iter().find(|s| s.ssrc == ssrc).cloned() else {
            return self.not_ours(now, ssrc, "NACK");
        };
        self.tally.nacked += lost.len() as u64;
        for sequence in lost {
            if let Some(media) = self.sent.get(&(ssrc, *sequence)).cloned() {
                self.send_packet(now, &sending, &media, true, out);
            }
        }
    }

    pub(super) fn key_frame(&mut self, sent_at: Time, ssrc: u32) {
        let Some(sending) = self.sending.iter().find(|s| s.ssrc == ssrc) else {
            return self.not_ours(sent_at, ssrc, "key frame");
        };
        self.tally.key_frames_asked += 1;
        if let Some(source) = self.sources.get_mut(&sending.mid) {
            source.want_key_frame();
        }
        if let Some(last) = self.last_key_ask.insert(ssrc, sent_at) {
            let apart = sent_at.since(last).max(last.since(sent_at));
            if apart < Duration::from_millis(colchis::limits::KEY_FRAME_INTERVAL_MS) {
                self.faults
                    .push(format!("key frames of {ssrc:#x} asked {apart:?} apart"));
            }
        }
    }

    pub(super) fn send_nacks(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        self.nack_due = None;
        let mut compounds: Vec<Vec<u8>> = Vec::new();
        for (ssrc, stream) in &mut self.streams {
            stream.lost.retain(|_, (tries, _)| *tries < NACK_TRIES);
            let mut due: Vec<u16> = Vec::new();
            for (sequence, (tries, at)) in &mut stream.lost {
                if now >= *at && due.len() < 40 {
                    (*tries, *at) = (*tries + 1, now + Duration::from_millis(NACK_MS * 3));
                    due.push(*sequence);
                }
            }
            if !stream.lost.is_empty() {
                self.nack_due = Some(now + Duration::from_millis(NACK_MS));
            }
            if !due.is_empty() {
                let mut buffer = vec![0; 512];
                if let Some(len) = write_nack(&mut buffer, 1, *ssrc, &due) {
                    self.tally.asked += due.len() as u64;
                    buffer.truncate(len);
                    compounds.push(buffer);
                }
            }
        }
        for compound in compounds {
            self.seal_rtcp(&compound, out);
        }
    }
}
