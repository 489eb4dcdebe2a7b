//! The hot path, second half: what was taken in goes out, one subscriber after another (decision 13).
//!
//! No allocation, no lock, no log, no hash. A subscriber gets all packets of a run at once, so that its state is looked up
//! and brought into the cache once, and its copies lie side by side in the outgoing queue.

use std::net::SocketAddr;

use crate::error::DropReason;
use crate::faults;
use crate::id::RoomId;
use crate::limits::{DATAGRAM_BYTES_MAX, SRTP_TAG_BYTES_MAX};
use crate::media::Stamp;
use crate::room::machine::burst::{Burst, Left, Packet, Run};
use crate::room::machine::{DownEntry, Link, Machine, Turn};
use crate::time::Time;

impl Machine {
    /// Whether packets were taken in that are not forwarded yet.
    #[inline]
    pub fn is_pending(&self) -> bool {
        !self.burst.is_empty()
    }

    /// Whether what was taken in has to be forwarded before more is.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.burst.is_full()
    }

    /// Forwards what was taken in, until the queue has `most` datagrams or somewhat more: a subscriber gets all of a run.
    /// `true`: there is more, which goes on where this has stopped once the queue has room.
    pub fn forward(&mut self, most: usize, turn: &mut Turn<'_>) -> bool {
        while let Some((run, _)) = self.burst.current() {
            if !self.forward_run(run, most, turn) {
                return true;
            }
            // Before the run is finished: should this panic, it is this run's room that is closed.
            let left = self.burst.left();
            if left.takes_over {
                self.finish_switches(run.up);
            }
            if left.awaits_key_frame
                && let Some(up) = self.ups.get_mut(run.up)
            {
                up.track.request_key_frame();
                let publisher = up.transport;
                self.answer_publisher(publisher, run.up, turn);
            }
            self.burst.finish_run();
        }
        false
    }

    /// Gives up the run at which forwarding panicked; the room of its publisher, if it is still there.
    pub fn abandon_run(&mut self) -> Option<RoomId> {
        let (run, _) = self.burst.current()?;
        self.burst.finish_run();
        let up = self.ups.get(run.up)?;
        Some(self.transports.get(up.transport)?.room.clone())
    }

    /// The current run to those who have not had it. `false`: the queue has `most` datagrams before all have.
    fn forward_run(&mut self, run: Run, most: usize, turn: &mut Turn<'_>) -> bool {
        let up = self.ups.get(run.up);
        let Some(up) = up.filter(|up| up.track.source().track == run.track) else {
            return true; // The publisher has left.
        };
        // By key, not by place: nothing should come in between, and if it did, nobody would be served twice.
        let from = match self.burst.current() {
            Some((_, Some(served))) => up.fan_out.partition_point(|down| *down <= served),
            _ => 0,
        };
        for down_key in up.fan_out.get(from..).unwrap_or_default() {
            if turn.tx.len() >= most {
                return false;
            }
            self.burst.serve(*down_key);
            faults::trip(faults::Point::Forward);
            let Some(down) = self.downs.get_mut(*down_key) else {
                continue;
            };
            let Some(link) = self.transports.get_mut(down.transport) else {
                continue;
            };
            let Some(to) = link.media_address() else {
                turn.counters
                    .drop_outs(DropReason::SubscriberNotReady, u64::from(run.packets));
                continue;
            };
            let (sent, bytes) = give(&mut self.burst, run, down, link, to, turn);
            turn.counters.packets_forwarded += sent;
            self.costs.sent(link.cost, sent, bytes);
        }
        true
    }
}

/// All packets of the run to one subscriber; how many are sent, and their bytes.
#[inline]
fn give(
    burst: &mut Burst,
    run: Run,
    down: &mut DownEntry,
    link: &mut Link,
    to: SocketAddr,
    turn: &mut Turn<'_>,
) -> (u64, u64) {
    let (mut sent, mut bytes) = (0, 0);
    let mut left = Left::default();
    let mut at = run.first;
    for _ in 0..run.packets {
        let Some(packet) = burst.packet(at) else {
            break;
        };
        at = packet.next;
        if !down.takes(run.up, packet.fields) {
            // Who cannot decode it would ask for ever.
            left.awaits_key_frame |= down.track.understands(packet.fields.codec);
            turn.counters.drop_out(DropReason::EncodingNotChosen);
            continue;
        }
        // Without a slot nothing is decided: a number that is given out must be sent.
        let Some(slot) = turn.tx.reserve() else {
            turn.counters.drop_out(DropReason::TransmitFull);
            continue;
        };
        match copy(down, link, packet, turn.now, slot) {
            Ok(len) => {
                turn.tx.commit(to, len);
                sent += 1;
                bytes += len as u64;
                left.awaits_key_frame = false;
                left.takes_over |= down.next == Some(run.up);
            }
            Err(reason) => {
                // Unless the key frame is in the run too.
                left.awaits_key_frame |= reason == DropReason::AwaitingKeyFrame;
                turn.counters.drop_out(reason);
            }
        }
    }
    if left != Left::default() {
        burst.leave(left);
    }
    (sent, bytes)
}

/// Decides how the packet looks to one subscriber and seals it into `slot`: one pass over the payload, whose few bytes that
/// differ between subscribers are set anew for each.
#[inline]
fn copy(
    down: &mut DownEntry,
    link: &mut Link,
    packet: Packet<'_>,
    now: Time,
    slot: &mut [u8],
) -> Result<usize, DropReason> {
    let rewrite = down.track.forward(packet.fields)?;
    let stamp = Stamp {
        now,
        transport_sequence: link.next_transport_sequence(),
        padding: packet.padding,
    };
    let header_len = down
        .track
        .write_header(&rewrite, packet.fields, packet.descriptor, &stamp, slot)
        .ok_or(DropReason::Oversize)?;
    if header_len + packet.payload.len() > DATAGRAM_BYTES_MAX - SRTP_TAG_BYTES_MAX {
        return Err(DropReason::Oversize);
    }
    rewrite.patch.apply(packet.payload);
    let sealed = link
        .transport
        .seal_rtp_from(slot, header_len, packet.payload)?;
    link.count_sent(now);
    Ok(sealed)
}
