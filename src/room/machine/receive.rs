//! The hot path, first half: one RTP packet in (`docs/architecture.md`, one packet's way). `forward` is the second.
//!
//! No allocation, no lock, no log, no hash but the one that found the transport.

use std::net::SocketAddr;

use crate::error::DropReason;
use crate::faults;
use crate::id::TransportKey;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::room::machine::{Machine, Turn};
use crate::wire::rtp::{Extensions, RtpHeader};

impl Machine {
    /// Takes one SRTP packet of `key` in, to be forwarded to all who subscribe with `pad` bytes of padding.
    ///
    /// # Errors
    /// Why it went no further.
    pub(super) fn receive_rtp(
        &mut self,
        key: TransportKey,
        from: SocketAddr,
        datagram: &mut [u8],
        pad: u8,
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
        let subscribers = up.fan_out.len();
        let taken =
            received.and_then(|received| self.burst.push(up_key, subscribers, &received, pad));
        self.answer_publisher(key, up_key, turn);
        taken
    }
}
