//! Packets that were taken in and wait to be forwarded, grouped by track: a *run* of each.
//!
//! Why: all packets of a run go to one subscriber before the next one's turn comes, so that its state is looked up once
//! and its copies are neighbours in the outgoing queue (decision 13). Payloads are copied once, when they are taken in.
//! Invariants: packets of a track keep their order; the copies of a whole burst fit an empty outgoing queue. Nothing here
//! allocates after construction.

use crate::error::DropReason;
use crate::id::{DownTrackKey, UpTrackKey};
use crate::limits::{
    BURST_COPIES_MAX, BURST_PACKETS_MAX, DATAGRAM_BYTES_MAX, HEADER_ROOM_BYTES, PAD_ROOM_BYTES,
};
use crate::media::{PacketFields, Received};

/// Longest payload that is padded: there must be room for any header.
const PADDED_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - HEADER_ROOM_BYTES;
/// Bytes of a packet: payload, padding and descriptor. Payload and descriptor come from one datagram.
const SLOT_BYTES: usize = DATAGRAM_BYTES_MAX + PAD_ROOM_BYTES;

/// A packet without its bytes.
#[derive(Debug, Clone, Copy)]
struct Held {
    fields: PacketFields,
    /// Bytes of the payload, padding included, at the start of its slot.
    payload_len: u16,
    /// Bytes of the dependency descriptor behind it.
    descriptor_len: u16,
    padding: bool,
    /// The next packet of the run, if it has one.
    next: u8,
}

/// Packets of one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The track,
    pub up: UpTrackKey,
    /// and its own id: the key may have become another track's.
    pub track: u32,
    /// Its first packet.
    pub first: u8,
    last: u8,
    /// How many it has.
    pub packets: u8,
}

/// One packet of a run.
#[derive(Debug)]
pub(super) struct Packet<'b> {
    /// What is known of it.
    pub fields: &'b PacketFields,
    /// Dependency descriptor element, empty if absent.
    pub descriptor: &'b [u8],
    /// Payload with padding, to be patched for each subscriber.
    pub payload: &'b mut [u8],
    /// The payload ends with padding.
    pub padding: bool,
    /// The next packet of the run, if it is not the last.
    pub next: u8,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Burst {
    packets: Vec<Held>,
    bytes: Box<[u8]>,
    runs: Vec<Run>,
    /// Copies its packets make at most.
    copies: usize,
    /// The run that is being forwarded,
    current: usize,
    /// to the subscribers up to this one,
    served: Option<DownTrackKey>,
    /// and what they leave to be done.
    left: Left,
}

/// What the subscribers of a run leave to be done once all have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Somebody cannot go on without a key frame.
    pub awaits_key_frame: bool,
    /// The run's encoding has taken over from another one.
    pub takes_over: bool,
}

impl Burst {
    /// Without packets.
    pub(super) fn new() -> Self {
        Self {
            packets: Vec::with_capacity(BURST_PACKETS_MAX),
            bytes: vec![0; BURST_PACKETS_MAX * SLOT_BYTES].into_boxed_slice(),
            runs: Vec::with_capacity(BURST_PACKETS_MAX),
            copies: 0,
            current: 0,
            served: None,
            left: Left::default(),
        }
    }

    /// Whether nothing waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether it takes no more packets before all of it is forwarded.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.packets.len() >= BURST_PACKETS_MAX || self.copies >= BURST_COPIES_MAX
    }

    /// Takes a packet of `up` in, which goes to `fan_out` subscribers, with `pad` bytes of padding if it is video and stays
    /// a datagram with them.
    ///
    /// # Errors
    /// [`DropReason::NoSubscriber`]; [`DropReason::TransmitFull`] where the caller should have forwarded first;
    /// [`DropReason::Oversize`].
    pub(super) fn push(
        &mut self,
        up: UpTrackKey,
        fan_out: usize,
        received: &Received<'_>,
        pad: u8,
    ) -> Result<(), DropReason> {
        if fan_out == 0 {
            return Err(DropReason::NoSubscriber);
        }
        if self.is_full() {
            return Err(DropReason::TransmitFull);
        }
        let at = self.packets.len();
        let room = self.bytes.get_mut(at * SLOT_BYTES..(at + 1) * SLOT_BYTES);
        let room = room.ok_or(DropReason::Oversize)?;
        let (payload_len, padding) = lay_out(room, received, pad).ok_or(DropReason::Oversize)?;
        self.packets.push(Held {
            fields: received.fields,
            payload_len: payload_len as u16,
            descriptor_len: received.descriptor.len() as u16,
            padding,
            next: 0,
        });
        self.copies += fan_out;
        self.join(up, received.fields.source.track, at as u8);
        Ok(())
    }

    /// Puts packet `at` behind those of its track.
    fn join(&mut self, up: UpTrackKey, track: u32, at: u8) {
        // Most often it is the last one's. What has begun to be forwarded takes no more.
        let open = self.runs.get_mut(self.current..).unwrap_or_default();
        let run = open
            .iter_mut()
            .rev()
            .find(|run| run.up == up && run.track == track);
        let Some(run) = run.filter(|_| self.served.is_none()) else {
            self.runs.push(Run {
                up,
                track,
                first: at,
                last: at,
                packets: 1,
            });
            return;
        };
        if let Some(last) = self.packets.get_mut(usize::from(run.last)) {
            last.next = at;
        }
        run.last = at;
        run.packets += 1;
    }

    /// The run whose turn it is, and the last subscriber that has its packets.
    #[inline]
    pub(super) fn current(&self) -> Option<(Run, Option<DownTrackKey>)> {
        let run = self.runs.get(self.current)?;
        Some((*run, self.served))
    }

    /// Packet `at`.
    #[inline]
    pub(super) fn packet(&mut self, at: u8) -> Option<Packet<'_>> {
        let at = usize::from(at);
        let held = self.packets.get(at)?;
        let slot = self.bytes.get_mut(at * SLOT_BYTES..)?;
        let (payload, rest) = slot.split_at_mut_checked(usize::from(held.payload_len))?;
        Some(Packet {
            fields: &held.fields,
            descriptor: rest.get(..usize::from(held.descriptor_len))?,
            payload,
            padding: held.padding,
            next: held.next,
        })
    }

    /// `down` is given the packets of the current run.
    #[inline]
    pub(super) fn serve(&mut self, down: DownTrackKey) {
        self.served = Some(down);
    }

    /// A subscriber that has had the current run leaves this to be done.
    pub(super) fn leave(&mut self, left: Left) {
        self.left.awaits_key_frame |= left.awaits_key_frame;
        self.left.takes_over |= left.takes_over;
    }

    /// What those who have had the current run leave to be done.
    pub(super) fn left(&self) -> Left {
        self.left
    }

    /// The current run is through, and what it left is done. After the last run the burst is empty.
    pub(super) fn finish_run(&mut self) {
        self.left = Left::default();
        self.current += 1;
        self.served = None;
        if self.current >= self.runs.len() {
            self.packets.clear();
            self.runs.clear();
            self.copies = 0;
            self.current = 0;
        }
    }
}

/// Writes payload, padding and descriptor into `room`; the bytes of the first two, and whether there is padding.
fn lay_out(room: &mut [u8], received: &Received<'_>, pad: u8) -> Option<(usize, bool)> {
    let len = received.payload.len();
    let padded = len + usize::from(pad);
    let fits = pad > 0 && padded <= PADDED_BYTES_MAX && received.fields.codec.kind().is_video();
    let whole = if fits { padded } else { len };
    let (payload, rest) = room.split_at_mut_checked(whole)?;
    let (media, padding) = payload.split_at_mut_checked(len)?;
    media.copy_from_slice(received.payload);
    padding.fill(0);
    // RFC 3550 section 5.1: the last byte counts them.
    if let Some(last) = padding.last_mut() {
        *last = pad;
    }
    let descriptor = rest.get_mut(..received.descriptor.len())?;
    descriptor.copy_from_slice(received.descriptor);
    Some((whole, fits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sdp::CodecFormat;

    fn received(track: u32, sequence: u64, payload: &[u8]) -> Received<'_> {
        let mut fields = PacketFields::sample(sequence);
        fields.source.track = track;
        fields.payload_len = payload.len() as u16;
        Received {
            fields,
            descriptor: &[],
            payload,
            recovered: false,
        }
    }

    fn push(burst: &mut Burst, up: u32, sequence: u64) -> Result<(), DropReason> {
        burst.push(
            UpTrackKey(up),
            1,
            &received(up, sequence, &[up as u8; 9]),
            0,
        )
    }

    /// Every run's track and the numbers of its packets; empties the burst.
    fn drained(burst: &mut Burst) -> Vec<(u32, Vec<u64>)> {
        let mut all = Vec::new();
        while let Some((run, _)) = burst.current() {
            let (mut at, mut numbers) = (run.first, Vec::new());
            for _ in 0..run.packets {
                let packet = burst.packet(at).unwrap();
                assert_eq!(packet.payload, [run.track as u8; 9]);
                numbers.push(packet.fields.sequence);
                at = packet.next;
            }
            all.push((run.track, numbers));
            burst.finish_run();
        }
        all
    }

    #[test]
    fn packets_of_a_track_are_one_run_in_order() {
        let mut burst = Burst::new();
        for (up, sequence) in [(7, 1), (7, 2), (9, 5), (7, 4), (8, 1), (9, 4)] {
            push(&mut burst, up, sequence).unwrap();
        }
        let runs = vec![(7, vec![1, 2, 4]), (9, vec![5, 4]), (8, vec![1])];
        assert_eq!(drained(&mut burst), runs);
        assert!(burst.is_empty());
        push(&mut burst, 1, 1).unwrap();
        assert_eq!(drained(&mut burst), [(1, vec![1])], "and used again");
    }

    #[test]
    fn a_run_that_is_being_forwarded_takes_no_more_packets() {
        let mut burst = Burst::new();
        push(&mut burst, 1, 1).unwrap();
        burst.serve(DownTrackKey(3));
        push(&mut burst, 1, 2).unwrap();
        assert_eq!(drained(&mut burst), [(1, vec![1]), (1, vec![2])]);
    }

    #[test]
    fn a_key_that_has_become_another_tracks_begins_a_run() {
        let mut burst = Burst::new();
        for track in [4, 5] {
            let packet = received(track, 1, &[0]);
            burst.push(UpTrackKey(2), 1, &packet, 0).unwrap();
        }
        let (run, _) = burst.current().unwrap();
        assert_eq!((run.track, run.packets), (4, 1));
    }

    #[test]
    fn it_is_full_by_packets_and_by_copies() {
        let mut burst = Burst::new();
        for sequence in 0..BURST_PACKETS_MAX as u64 {
            assert!(!burst.is_full());
            push(&mut burst, 1, sequence).unwrap();
        }
        assert!(burst.is_full());
        assert_eq!(push(&mut burst, 1, 99), Err(DropReason::TransmitFull));
        burst.finish_run();
        assert!(!burst.is_full());
        let packet = received(1, 1, &[0]);
        burst
            .push(UpTrackKey(1), BURST_COPIES_MAX, &packet, 0)
            .unwrap();
        assert!(burst.is_full());
        let nobodys = burst.push(UpTrackKey(1), 0, &packet, 0);
        assert_eq!(nobodys, Err(DropReason::NoSubscriber));
    }

    #[test]
    fn padding_and_descriptor_are_kept_apart() {
        let mut burst = Burst::new();
        let mut packet = received(1, 1, b"media");
        packet.descriptor = b"described";
        burst.push(UpTrackKey(1), 1, &packet, 2).unwrap();
        packet.fields.codec = CodecFormat::Opus;
        burst.push(UpTrackKey(1), 1, &packet, 2).unwrap();
        let long = vec![7; PADDED_BYTES_MAX];
        packet.fields.codec = CodecFormat::Vp8;
        packet.payload = &long;
        burst.push(UpTrackKey(1), 1, &packet, 1).unwrap();
        let padded = burst.packet(0).unwrap();
        assert_eq!(padded.payload, b"media\0\x02");
        assert_eq!(
            (padded.descriptor, padded.padding),
            (&b"described"[..], true)
        );
        let audio = burst.packet(1).unwrap();
        assert_eq!((&*audio.payload, audio.padding), (&b"media"[..], false));
        let long = burst.packet(2).unwrap();
        assert_eq!(
            (long.payload.len(), long.padding),
            (PADDED_BYTES_MAX, false)
        );
        assert_eq!(long.descriptor, b"described");
    }

    #[test]
    fn what_somebody_waits_for_is_said_once() {
        let mut burst = Burst::new();
        push(&mut burst, 1, 1).unwrap();
        push(&mut burst, 2, 1).unwrap();
        let left = Left {
            awaits_key_frame: true,
            takes_over: true,
        };
        burst.leave(left);
        burst.leave(Left::default());
        assert_eq!(burst.left(), left);
        burst.finish_run();
        assert_eq!(burst.left(), Left::default());
    }
}
