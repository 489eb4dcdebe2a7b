//! RTCP both ways: subscribers' requests are answered here, publishers are asked and reported to.
//!
//! Feedback is budgeted (threats.md rule 8): key frames by `KeyFrameRequester`, retransmissions by `ResendBudget`.

use std::net::SocketAddr;

use crate::error::DropReason;
use crate::id::{DownTrackKey, SlabKey, TransportKey, UpTrackKey};
use crate::limits::NACKS_PER_COMPOUND_MAX;
use crate::media::Stamp;
use crate::room::machine::encodings::encoding_with;
use crate::room::machine::{Machine, Turn};
use crate::wire::rtcp::{
    Compound, CompoundWriter, Nack, Packet, ReportBlocks, SenderInfo, write_nack, write_pli,
};

impl Machine {
    /// Takes one SRTCP compound of `key` in.
    ///
    /// # Errors
    /// Why it was not used.
    pub(super) fn receive_rtcp(
        &mut self,
        key: TransportKey,
        from: SocketAddr,
        datagram: &mut [u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let link = self.transports.get_mut(key);
        let link = link.ok_or(DropReason::UnknownSource)?;
        let len = link.transport.open_rtcp(from, datagram)?;
        let bytes = datagram.get(..len).ok_or(DropReason::RtcpMalformed)?;
        let compound = Compound::parse(bytes).map_err(|_| DropReason::RtcpMalformed)?;
        let mut nacks = 0;
        for packet in compound.packets().flatten() {
            nacks += usize::from(matches!(packet, Packet::Nack(_)));
            if nacks <= NACKS_PER_COMPOUND_MAX {
                self.handle_rtcp(key, &packet, turn);
            }
        }
        Ok(())
    }

    fn handle_rtcp(&mut self, key: TransportKey, packet: &Packet<'_>, turn: &mut Turn<'_>) {
        match packet {
            Packet::SenderReport { ssrc, info, blocks } => {
                self.handle_sender_report(key, *ssrc, info, turn);
                self.handle_report_blocks(key, blocks, turn);
            }
            Packet::ReceiverReport { blocks, .. } => self.handle_report_blocks(key, blocks, turn),
            Packet::Nack(nack) => self.resend(key, nack, turn),
            Packet::Pli { media_ssrc, .. } => self.want_key_frame(key, *media_ssrc, turn),
            Packet::Fir(fir) => {
                for entry in fir.entries() {
                    self.want_key_frame(key, entry.ssrc, turn);
                }
            }
            Packet::TransportFeedback(feedback) => {
                if let Some(link) = self.transports.get_mut(key) {
                    link.transport.handle_feedback(turn.now, feedback);
                }
            }
            // A track ends by signalling or consent, never by RTCP; REMB is what TWCC replaced.
            Packet::Bye(_) | Packet::Sdes(_) | Packet::Remb(_) | Packet::Unknown { .. } => {}
        }
    }

    fn handle_sender_report(
        &mut self,
        key: TransportKey,
        ssrc: u32,
        info: &SenderInfo,
        turn: &mut Turn<'_>,
    ) {
        let Some(link) = self.transports.get(key) else {
            return;
        };
        let route = link.routes.iter().find(|r| r.ssrc == ssrc);
        let Some(up) = route.and_then(|r| self.ups.get_mut(r.up)) else {
            return;
        };
        // A retransmission stream's reports have another clock mapping: only the media stream's count.
        if up.track.ssrc() != Some(ssrc) {
            return;
        }
        let first = up.track.mapping().is_none();
        let Some(clock) = self.clocks.get_mut(key.index()) else {
            return;
        };
        up.track.handle_sender_report(turn.now, info, clock);
        if first {
            // Subscribers cannot align audio and video before our first report: send it now.
            for down in &up.fan_out {
                let subscriber = self.downs.get(*down).map(|d| d.transport);
                if let Some(link) = subscriber.and_then(|s| self.transports.get_mut(s)) {
                    link.reports_due = turn.now;
                }
            }
        }
    }

    fn handle_report_blocks(
        &mut self,
        key: TransportKey,
        blocks: &ReportBlocks<'_>,
        turn: &mut Turn<'_>,
    ) {
        let Some(link) = self.transports.get_mut(key) else {
            return;
        };
        for block in *blocks {
            let down = link.down(block.ssrc).and_then(|k| self.downs.get_mut(k));
            if let Some(down) = down.filter(|d| d.track.ssrc() == block.ssrc) {
                down.track
                    .handle_report_block(turn.now, &block, &self.anchor);
                let now_ntp = self.anchor.to_ntp(turn.now);
                link.transport.handle_report_block(
                    now_ntp,
                    block.last_sr,
                    block.delay_since_last_sr,
                );
            }
        }
    }

    /// A subscriber misses packets.
    fn resend(&mut self, key: TransportKey, nack: &Nack<'_>, turn: &mut Turn<'_>) {
        let link = self.transports.get(key);
        let Some(down_key) = link.and_then(|l| l.down(nack.media_ssrc)) else {
            return;
        };
        // A lost retransmission is asked for again by its original number only.
        let down = self.downs.get(down_key);
        if down.is_none_or(|d| d.track.ssrc() != nack.media_ssrc) {
            return;
        }
        for sequence in nack.sequences().take(crate::limits::NACK_PER_PACKET_MAX) {
            let waits = self
                .transports
                .get(key)
                .is_some_and(|l| !l.waiting.is_empty());
            let sent = match waits {
                // Those asked for before go first.
                true => Err(DropReason::RtxPaced),
                false => self.resend_one(key, down_key, sequence, turn),
            };
            let link = self.transports.get_mut(key);
            match sent {
                Ok(()) => {}
                Err(DropReason::RtxPaced) if link.is_some_and(|l| l.wait(down_key, sequence)) => {}
                Err(reason) => turn.counters.drop_out(reason),
            }
        }
    }

    /// Sends what has waited, as far as its pace lets it.
    pub(super) fn resend_waiting(&mut self, key: TransportKey, turn: &mut Turn<'_>) {
        loop {
            let link = self.transports.get(key);
            let Some((down_key, sequence)) = link.and_then(|l| l.waiting.front().copied()) else {
                return;
            };
            let sent = self.resend_one(key, down_key, sequence, turn);
            if let Err(DropReason::RtxPaced | DropReason::TransmitFull) = sent {
                return;
            }
            if let Err(reason) = sent {
                turn.counters.drop_out(reason);
            }
            if let Some(link) = self.transports.get_mut(key) {
                link.waiting.pop_front();
            }
        }
    }

    fn resend_one(
        &mut self,
        key: TransportKey,
        down_key: DownTrackKey,
        sequence: u16,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let link = self.transports.get_mut(key);
        let (Some(link), Some(down)) = (link, self.downs.get_mut(down_key)) else {
            return Err(DropReason::RtxNotCached);
        };
        let to = link.media_address().ok_or(DropReason::SubscriberNotReady)?;
        let source = down.track.source_of(sequence).zip(down.plays);
        let up = source.and_then(|(source, plays)| encoding_with(&self.ups, plays, source));
        let up = up.ok_or(DropReason::RtxNotCached)?;
        if !link.pacer.admits(turn.now) {
            return Err(DropReason::RtxPaced);
        }
        let slot = turn.tx.reserve().ok_or(DropReason::TransmitFull)?;
        let (rewrite, cached) = down.track.resend(turn.now, sequence, up)?;
        let stamp = Stamp {
            now: turn.now,
            transport_sequence: link.next_transport_sequence(),
            padding: false,
        };
        let written = down.track.write_packet(
            &rewrite,
            cached.fields,
            cached.descriptor,
            cached.payload,
            &stamp,
            slot,
        )?;
        let len = link
            .transport
            .seal_rtp(slot, written.header_len, written.len)?;
        link.count_sent(turn.now);
        turn.tx.commit(to, len);
        turn.counters.packets_retransmitted += 1;
        link.pacer.spend(turn.now, len);
        self.costs.sent(link.cost, 1, len as u64);
        Ok(())
    }

    /// A subscriber cannot decode.
    fn want_key_frame(&mut self, key: TransportKey, media_ssrc: u32, turn: &mut Turn<'_>) {
        let Some(link) = self.transports.get(key) else {
            return;
        };
        let down = link.down(media_ssrc).and_then(|k| self.downs.get(k));
        let Some(up_key) = down.and_then(|d| d.next.or(d.up)) else {
            return;
        };
        let Some(up) = self.ups.get_mut(up_key) else {
            return;
        };
        up.track.request_key_frame();
        let publisher = up.transport;
        self.answer_publisher(publisher, up_key, turn);
    }

    /// Asks the publisher for what is due now: lost packets, a key frame.
    pub(super) fn answer_publisher(
        &mut self,
        key: TransportKey,
        up_key: UpTrackKey,
        turn: &mut Turn<'_>,
    ) {
        let Some(up) = self.ups.get_mut(up_key) else {
            return;
        };
        if up.track.poll_timeout().is_none_or(|due| due > turn.now) {
            return;
        }
        let (Some(link), Some(ssrc)) = (self.transports.get_mut(key), up.track.ssrc()) else {
            return;
        };
        let Some(to) = link.media_address() else {
            return;
        };
        // What is asked counts as asked: the slot comes first.
        let Some(slot) = turn.tx.reserve() else {
            turn.counters.drop_out(DropReason::TransmitFull);
            return;
        };
        self.nack_scratch.clear();
        up.track.nacks(turn.now, link.rtt(), &mut self.nack_scratch);
        let key_frame = up.track.key_frame_due(turn.now);
        let mut compound = CompoundWriter::new(slot);
        let own = link.transport.rtcp_ssrc();
        if !self.nack_scratch.is_empty()
            && compound.push(|out| write_nack(out, own, ssrc, &self.nack_scratch))
        {
            turn.counters.nacks_sent += self.nack_scratch.len() as u64;
        }
        if key_frame && compound.push(|out| write_pli(out, own, ssrc)) {
            turn.counters.key_frames_requested += 1;
        }
        let len = compound.len();
        if len == 0 {
            return;
        }
        match link.transport.seal_rtcp(slot, len) {
            Ok(len) => turn.tx.commit(to, len),
            Err(reason) => turn.counters.drop_out(reason),
        }
    }
}
