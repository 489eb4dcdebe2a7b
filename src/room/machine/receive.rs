//! The hot path: one RTP packet in, N out (`docs/architecture.md`, one packet's way).
//!
//! No allocation, no lock, no log, no hash but the one that found the transport.

use std::net::SocketAddr;

use crate::error::DropReason;
use crate::faults;
use crate::id::{TransportKey, UpTrackKey};
use crate::limits::{DATAGRAM_BYTES_MAX, SRTP_TAG_BYTES_MAX};
use crate::media::{Received, Stamp};
use crate::room::machine::{DownEntry, Link, Machine, Turn};
use crate::time::Time;
use crate::wire::rtp::{Extensions, RtpHeader};

/// Longest payload that is padded: there must be room for any header.
const PADDED_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - 200;

impl Machine {
    /// Takes one SRTP packet of `key` in and forwards it to all who subscribe, with `pad` bytes of padding.
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
        let forwarded = received.and_then(|received| self.fan_out(up_key, &received, pad, turn));
        self.answer_publisher(key, up_key, turn);
        forwarded
    }

    /// One copy for each subscriber, rewritten and sealed into its slot.
    fn fan_out(
        &mut self,
        up_key: UpTrackKey,
        received: &Received<'_>,
        pad: u8,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let up = self
            .ups
            .get_mut(up_key)
            .ok_or(DropReason::RtpUnknownTrack)?;
        if up.fan_out.is_empty() {
            return Err(DropReason::NoSubscriber);
        }
        let (payload, padding) =
            lay_out(&mut self.payload, received, pad).ok_or(DropReason::Oversize)?;
        let (mut wants_key_frame, mut taken_over) = (false, false);
        for down_key in &up.fan_out {
            let Some(down) = self.downs.get_mut(*down_key) else {
                continue;
            };
            if !down.takes(up_key, &received.fields) {
                wants_key_frame |= down.next == Some(up_key);
                turn.counters.drop_out(DropReason::EncodingNotChosen);
                continue;
            }
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
            match copy(down, link, received, payload, padding, turn.now, slot) {
                Ok(len) => {
                    turn.tx.commit(to, len);
                    turn.counters.packets_forwarded += 1;
                    self.costs.sent(link.cost, len);
                    taken_over |= down.next == Some(up_key);
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
        if taken_over {
            self.finish_switches(up_key);
        }
        Ok(())
    }
}

/// The payload where it may be changed, padded if that leaves it a datagram; and whether it is padded.
fn lay_out<'a>(
    room: &'a mut [u8],
    received: &Received<'_>,
    pad: u8,
) -> Option<(&'a mut [u8], bool)> {
    let len = received.payload.len();
    let padded = len + usize::from(pad);
    let fits = pad > 0 && padded <= PADDED_BYTES_MAX && received.fields.codec.kind().is_video();
    let room = room.get_mut(..if fits { padded } else { len })?;
    let (media, padding) = room.split_at_mut(len);
    media.copy_from_slice(received.payload);
    padding.fill(0);
    // RFC 3550 section 5.1: the last byte counts them.
    if let Some(last) = padding.last_mut() {
        *last = pad;
    }
    Some((room, fits))
}

/// Decides how the packet looks to one subscriber and seals it into `slot`: one pass over the payload, whose few bytes that
/// differ between subscribers are set anew for each.
#[inline]
fn copy(
    down: &mut DownEntry,
    link: &mut Link,
    received: &Received<'_>,
    payload: &mut [u8],
    padding: bool,
    now: Time,
    slot: &mut [u8],
) -> Result<usize, DropReason> {
    let rewrite = down.track.forward(&received.fields)?;
    let stamp = Stamp {
        now,
        transport_sequence: link.next_transport_sequence(now),
        padding,
    };
    let (fields, descriptor) = (&received.fields, received.descriptor);
    let header_len = down
        .track
        .write_header(&rewrite, fields, descriptor, &stamp, slot)
        .ok_or(DropReason::Oversize)?;
    if header_len + payload.len() > DATAGRAM_BYTES_MAX - SRTP_TAG_BYTES_MAX {
        return Err(DropReason::Oversize);
    }
    rewrite.patch.apply(payload);
    link.transport.seal_rtp_from(slot, header_len, payload)
}
