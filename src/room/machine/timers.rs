//! What time alone brings about: retries, reports, consent, handshake retransmissions.
//!
//! One tick of [`TICK`] serves all transports: a list walk is cheaper than a timer per stream, and bounds the work.

use std::time::Duration;

use crate::error::DropReason;
use crate::faults;
use crate::id::{RoomId, SlabKey, TransportKey};
use crate::room::machine::encodings::CHOICE_INTERVAL;
use crate::room::machine::{Machine, Turn};
use crate::time::Time;
use crate::wire::rtcp::{CompoundWriter, ReportBlock, write_receiver_report, write_sender_report};

/// Time between two looks at every transport.
pub const TICK: Duration = Duration::from_millis(20);
/// Time between two reports to a peer (RFC 3550 section 6.2 scaled to sessions of a few Mbit/s).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Report blocks of one compound (RFC 3550 section 6.4.1 allows 31).
const BLOCKS_MAX: usize = 31;
/// Free slots of the outgoing batch one transport may need in a tick: its reports, feedback and a handshake's flight.
const TICK_SLOTS_FREE: usize = 128;
/// Room left in a datagram for the SRTCP trailer.
const RTCP_ROOM: usize = 1200;

impl Machine {
    /// Looks at every transport: call at [`TICK`] intervals. Stops when the outgoing batch is nearly full and goes on
    /// where it stopped with the next call, which is due at once.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        while self.tick_at < self.transports.slots() {
            if turn.tx.free() < TICK_SLOTS_FREE {
                return;
            }
            let key = TransportKey(self.tick_at as u32);
            self.tick_at += 1;
            self.tick_transport(key, turn);
        }
        self.tick_at = 0;
    }

    /// Room of the transport the tick looked at last.
    pub fn ticked_room(&self) -> Option<RoomId> {
        let key = TransportKey(self.tick_at.checked_sub(1)? as u32);
        Some(self.transports.get(key)?.room.clone())
    }

    fn tick_transport(&mut self, key: TransportKey, turn: &mut Turn<'_>) {
        let Some(link) = self.transports.get_mut(key) else {
            return;
        };
        faults::trip(faults::Point::Tick);
        link.transport
            .handle_timeout(turn.now, &mut self.dtls, turn.tx);
        self.take_transport_events(key, turn);
        let mut at = 0;
        while let Some(up) = self
            .transports
            .get(key)
            .and_then(|l| l.ups.get(at).copied())
        {
            self.answer_publisher(key, up, turn);
            at += 1;
        }
        self.choose_when_due(key, turn);
        self.adapt_when_due(key, turn);
        self.resend_waiting(key, turn);
        let due = self
            .transports
            .get(key)
            .is_some_and(|l| l.reports_due <= turn.now);
        if due {
            self.send_receiver_reports(key, turn);
            self.send_sender_reports(key, turn);
            self.set_pace(key, turn);
            if let Some(link) = self.transports.get_mut(key) {
                link.reports_due = turn.now + REPORT_INTERVAL;
            }
        }
    }

    /// Which encodings its subscribers get.
    fn choose_when_due(&mut self, key: TransportKey, turn: &mut Turn<'_>) {
        let Some(link) = self.transports.get_mut(key) else {
            return;
        };
        if link.choice_due > turn.now || link.mids.iter().all(|m| m.encodings.is_empty()) {
            return;
        }
        link.choice_due = turn.now + CHOICE_INTERVAL;
        self.choose_encodings(key, turn);
    }

    /// Reports to a publisher on what it sends.
    fn send_receiver_reports(&mut self, key: TransportKey, turn: &mut Turn<'_>) {
        let Some(link) = self.transports.get_mut(key) else {
            return;
        };
        let Some(to) = link.media_address() else {
            return;
        };
        let mut blocks = [ReportBlock::default(); BLOCKS_MAX];
        let mut count = 0;
        for up in &link.ups {
            let track = self.ups.get_mut(*up).map(|u| &mut u.track);
            let block = track.and_then(|t| t.report_block(turn.now));
            if let (Some(block), Some(slot)) = (block, blocks.get_mut(count)) {
                *slot = block;
                count += 1;
            }
        }
        if count == 0 {
            return;
        }
        let Some(slot) = turn.tx.reserve() else {
            turn.counters.drop_out(DropReason::TransmitFull);
            return;
        };
        let own = link.transport.rtcp_ssrc();
        let mut compound = CompoundWriter::new(slot);
        let blocks = blocks.get(..count).unwrap_or_default();
        compound.push(|out| write_receiver_report(out, own, blocks));
        let len = compound.len();
        match link.transport.seal_rtcp(slot, len) {
            Ok(len) => turn.tx.commit(to, len),
            Err(reason) => turn.counters.drop_out(reason),
        }
    }

    /// Reports to a subscriber on what it is sent: one sender report each, as many to a datagram as fit.
    fn send_sender_reports(&mut self, key: TransportKey, turn: &mut Turn<'_>) {
        let Some(link) = self.transports.get_mut(key) else {
            return;
        };
        let Some(to) = link.media_address() else {
            return;
        };
        let mut at = 0;
        while at < link.downs.len() {
            let Some(slot) = turn.tx.reserve() else {
                turn.counters.drop_out(DropReason::TransmitFull);
                return;
            };
            let room = slot.get_mut(..RTCP_ROOM).unwrap_or_default();
            let mut compound = CompoundWriter::new(room);
            while let Some((ssrc, down_key)) = link.downs.get(at) {
                let report = self.downs.get(*down_key).and_then(|down| {
                    // The same subscription is listed once more under its retransmissions' SSRC.
                    if down.track.ssrc() != ssrc.0 {
                        return None;
                    }
                    let up = self.ups.get(down.up?)?;
                    let clock = self.clocks.get(up.transport.index())?;
                    let info =
                        down.track
                            .sender_report(turn.now, &up.track, clock, &self.anchor)?;
                    Some((down.track.ssrc(), info))
                });
                if let Some((ssrc, info)) = report
                    && !compound.push(|out| write_sender_report(out, ssrc, &info, &[]))
                {
                    break;
                }
                at += 1;
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

    /// Retransmissions keep pace with the media a subscriber takes.
    fn set_pace(&mut self, key: TransportKey, turn: &mut Turn<'_>) {
        let Some(link) = self.transports.get_mut(key) else {
            return;
        };
        let subscriptions = link.subscriptions(&self.downs);
        let media_bps = subscriptions.map(|(_, d)| d.track.sent_bps(turn.now)).sum();
        link.pacer.set_media_rate(media_bps);
    }

    /// When [`tick`](Self::tick) is due, given when it ran last; `None` when there is nothing to look at.
    pub fn next_tick(&self, last: Time) -> Option<Time> {
        if self.tick_at > 0 {
            return Some(last);
        }
        (!self.transports.is_empty()).then(|| last + TICK)
    }
}
