//! `Rewrite`: the decision how one packet looks to one subscriber, as plain data, and its bytes.
//!
//! Why a value: deciding is pure and testable, writing goes straight into the outgoing slot, and a retransmission
//! that makes the same decision writes the same payload bytes.

use super::fields::{PacketFields, Vp8Fields};
use crate::wire::rtp::RTX_OSN_BYTES;

/// How one packet looks to one subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrite {
    /// SSRC of the subscriber's stream: media, or retransmission.
    pub ssrc: u32,
    /// Subscriber's payload type.
    pub payload_type: u8,
    /// Sequence number in that stream.
    pub sequence: u16,
    /// Timestamp of the subscriber's stream.
    pub timestamp: u32,
    /// M bit.
    pub marker: bool,
    /// In the retransmission stream: the number the packet had in the media stream (RFC 4588 section 4).
    pub original_sequence: Option<u16>,
    /// What changes inside the payload.
    pub patch: PayloadPatch,
}

impl Rewrite {
    /// Bytes between header and payload: the original sequence number of a retransmission.
    pub fn prefix_len(&self) -> usize {
        match self.original_sequence {
            Some(_) => RTX_OSN_BYTES,
            None => 0,
        }
    }
}

/// VP8 running numbers to write over a payload. Never changes its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PayloadPatch {
    picture: Option<(u8, [u8; 2])>,
    wide: bool,
    tl0: Option<(u8, u8)>,
}

impl PayloadPatch {
    /// Writes the numbers into `payload`, a copy of the packet's payload (without RTX number).
    #[inline]
    pub fn apply(&self, payload: &mut [u8]) {
        if let Some((at, bytes)) = self.picture {
            let len = if self.wide { 2 } else { 1 };
            let at = usize::from(at);
            if let (Some(to), Some(from)) = (payload.get_mut(at..at + len), bytes.get(..len)) {
                to.copy_from_slice(from);
            }
        }
        if let Some((at, value)) = self.tl0
            && let Some(to) = payload.get_mut(usize::from(at))
        {
            *to = value;
        }
    }
}

/// Constant distance between a source's VP8 running numbers and a subscriber's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp8Shift {
    picture: u16,
    tl0: u8,
}

/// The newest VP8 running numbers a subscriber has seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vp8Progress {
    picture: Option<u16>,
    tl0: Option<u8>,
}

impl Vp8Progress {
    /// The shift with which a source that goes on with `first` continues the numbers; the first source keeps its own.
    pub fn continue_with(&self, first: &Vp8Fields) -> Vp8Shift {
        let picture = match (self.picture, first.picture_id) {
            (Some(seen), Some(new)) => seen.wrapping_add(1).wrapping_sub(new),
            _ => 0,
        };
        let tl0 = match (self.tl0, first.tl0_pic_idx) {
            (Some(seen), Some(new)) => seen.wrapping_add(1).wrapping_sub(new),
            _ => 0,
        };
        Vp8Shift { picture, tl0 }
    }

    /// The numbers of a packet after `shift`; remembers them when they are the newest.
    #[inline]
    pub fn patch(&mut self, packet: &PacketFields, shift: Vp8Shift) -> PayloadPatch {
        let vp8 = &packet.vp8;
        let mut patch = PayloadPatch {
            wide: vp8.wide,
            ..PayloadPatch::default()
        };
        if let Some(id) = vp8.picture_id {
            let id = id.wrapping_add(shift.picture);
            let bits = if vp8.wide { 15 } else { 7 };
            let mask = (1u16 << bits) - 1;
            let value = id & mask;
            let newer = |seen: u16| (value.wrapping_sub(seen) & mask).wrapping_sub(1) < mask / 2;
            if self.picture.is_none_or(newer) {
                self.picture = Some(value);
            }
            let bytes = match vp8.wide {
                true => (value | 0x8000).to_be_bytes(),
                false => [value as u8, 0],
            };
            patch.picture = Some((vp8.picture_id_offset, bytes));
        }
        if let Some(tl0) = vp8.tl0_pic_idx {
            let value = tl0.wrapping_add(shift.tl0);
            if self
                .tl0
                .is_none_or(|seen| (value.wrapping_sub(seen) as i8) > 0)
            {
                self.tl0 = Some(value);
            }
            patch.tl0 = Some((vp8.tl0_offset, value));
        }
        patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::vp8::Vp8Descriptor;

    /// A VP8 packet with picture id and TL0PICIDX, and its fields.
    fn packet(picture: u16, wide: bool, tl0: u8) -> (Vec<u8>, PacketFields) {
        let mut payload = vec![0x90, 0xc0];
        if wide {
            payload.extend_from_slice(&(picture | 0x8000).to_be_bytes());
        } else {
            payload.push(picture as u8);
        }
        payload.extend_from_slice(&[tl0, 0x01, 0xaa]);
        let mut fields = PacketFields::sample(0);
        fields.vp8 = Vp8Fields::from(&Vp8Descriptor::parse(&payload).unwrap());
        (payload, fields)
    }

    fn patched(
        progress: &mut Vp8Progress,
        shift: Vp8Shift,
        picture: u16,
        wide: bool,
        tl0: u8,
    ) -> (u16, u8) {
        let (mut payload, fields) = packet(picture, wide, tl0);
        let before = payload.clone();
        progress.patch(&fields, shift).apply(&mut payload);
        assert_eq!(payload.len(), before.len());
        assert_eq!(payload[payload.len() - 2..], before[before.len() - 2..]);
        let descriptor = Vp8Descriptor::parse(&payload).unwrap();
        (
            descriptor.picture_id.unwrap().value,
            descriptor.tl0_pic_idx.unwrap(),
        )
    }

    #[test]
    fn picture_ids_go_on_across_sources() {
        // (newest before, first of the new source, wide, expected, then +1 expected)
        let table = [
            (100, 5000, true, 101, 102),
            (0x7fff, 77, true, 0, 1),
            (0x7ffe, 0x7fff, true, 0x7fff, 0),
            (100, 3, false, 101, 102),
            (127, 9, false, 0, 1),
        ];
        for (seen, first, wide, expected, next) in table {
            let mut progress = Vp8Progress::default();
            assert_eq!(
                patched(&mut progress, Vp8Shift::default(), seen, wide, 255),
                (seen, 255)
            );
            let (_, fields) = packet(first, wide, 10);
            let shift = progress.continue_with(&fields.vp8);
            assert_eq!(
                patched(&mut progress, shift, first, wide, 10),
                (expected, 0)
            );
            let second = if wide {
                (first + 1) & 0x7fff
            } else {
                (first + 1) & 0x7f
            };
            assert_eq!(patched(&mut progress, shift, second, wide, 11), (next, 1));
            assert_eq!(
                patched(&mut progress, shift, first, wide, 10),
                (expected, 0),
                "late ones keep theirs"
            );
            let (_, fields) = packet(1, wide, 1);
            let third = progress.continue_with(&fields.vp8);
            let mask = if wide { 0x7fff } else { 0x7f };
            assert_eq!(
                patched(&mut progress, third, 1, wide, 1),
                ((next + 1) & mask, 2)
            );
        }
    }

    #[test]
    fn a_payload_without_running_numbers_is_left_alone() {
        let mut payload = [0x10, 0x01, 0x02];
        let patch =
            Vp8Progress::default().patch(&PacketFields::sample(0), Vp8Shift { picture: 9, tl0: 9 });
        patch.apply(&mut payload);
        assert_eq!(payload, [0x10, 0x01, 0x02]);
    }

    #[test]
    fn a_patch_never_writes_outside_a_shorter_payload() {
        let (_, fields) = packet(300, true, 4);
        let patch = Vp8Progress::default().patch(&fields, Vp8Shift::default());
        for len in 0..6 {
            let mut short = vec![0; len];
            patch.apply(&mut short);
        }
    }
}
