//! The hot path: one RTP packet in, N out (`docs/architecture.md`, one packet's way).
//!
//! No allocation, no lock, no log, no hash but the one that found the transport.

use std::net::SocketAddr;

use crate::error::DropReason;
use crate::faults;
use crate::id::{TransportKey, UpTrackKey};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::media::{Received, Stamp};
use crate::room::machine::{Machine, Turn};
use crate::wire::rtp::{Extensions, RtpHeader};

impl Machine {
    /// Takes one SRTP packet of `key` in and forwards it to all who subscribe.
    ///
    /// # Errors
    /// Why it went no further.
    pub(super) fn receive_rtp(
        &mut self,
        key: TransportKey,
        from: SocketAddr,
        datagram: &mut [u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let link = self.transports.get_mut(key);
        let link = link.ok_or(DropReason::UnknownSource)?;
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(DropReason::BadLength);
        }
        let len = link.transport.open_rtp(from, datagram)?;
        faults::trip(faults::Point::Media);
        let packet = datagram.get(..len).ok_or(DropReason::RtpMalformed)?;
        let header = RtpHeader::parse(packet).map_err(|_| DropReason::RtpMalformed)?;
        let extensions = Extensions::locate(packet, &header, &link.extensions)
            .map_err(|_| DropReason::RtpMalformed)?;
        if let Some(sequence) = extensions.transport_sequence(packet) {
            link.transport
                .record_arrival(turn.now, sequence, header.ssrc);
        }
        let up_key = link.route(header.ssrc, &extensions, packet)?;
        let up = self
            .ups
            .get_mut(up_key)
            .ok_or(DropReason::RtpUnknownTrack)?;
        let received = up.track.handle_rtp(turn.now, packet, &header, &extensions);
        let forwarded = received.and_then(|received| self.fan_out(up_key, &received, turn));
        self.answer_publisher(key, up_key, turn);
        forwarded
    }

    /// One copy for each subscriber, rewritten and sealed into its slot.
    fn fan_out(
        &mut self,
        up_key: UpTrackKey,
        received: &Received<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let up = self
            .ups
            .get_mut(up_key)
            .ok_or(DropReason::RtpUnknownTrack)?;
        if up.fan_out.is_empty() {
            return Err(DropReason::NoSubscriber);
        }
        let mut wants_key_frame = false;
        for down_key in &up.fan_out {
            let Some(down) = self.downs.get_mut(*down_key) else {
                continue;
            };
            let Some(link) = self.transports.get_mut(down.transport) else {
                continue;
            };
            let Some(to) = link.media_address() else {
                turn.counters.drop_out(DropReason::SubscriberNotReady);
                continue;
            };
            // Without a slot nothing is decided: a number that is given out must be sent.
            let Some(slot) = turn.tx.reserve() else {
                turn.counters.drop_out(DropReason::TransmitFull);
                continue;
            };
            let sent = down.track.forward(&received.fields).and_then(|rewrite| {
                let stamp = Stamp {
                    now: turn.now,
                    transport_sequence: link.next_transport_sequence(turn.now),
                };
                let written = down.track.write_packet(
                    &rewrite,
                    &received.fields,
                    received.descriptor,
                    received.payload,
                    &stamp,
                    slot,
                )?;
                link.transport
                    .seal_rtp(slot, written.header_len, written.len)
            });
            match sent {
                Ok(len) => {
                    turn.tx.commit(to, len);
                    turn.counters.packets_forwarded += 1;
                }
                Err(reason) => {
                    wants_key_frame |= reason == DropReason::AwaitingKeyFrame;
                    turn.counters.drop_out(reason);
                }
            }
        }
        if wants_key_frame {
            up.track.request_key_frame();
        }
        Ok(())
    }
}
