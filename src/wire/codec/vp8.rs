//! VP8 payload descriptor (RFC 7741 section 4.2): read in place, with the offsets a munger rewrites.
//!
//! ```text
//! |X|R|N|S|R| PID | mandatory
//! |I|L|T|K| RSV   | if X
//! |M| PictureID   | if I; two bytes if M
//! |   TL0PICIDX   | if L
//! |TID|Y| KEYIDX  | if T or K
//! ```
//! Invariant: an offset of the descriptor lies inside the payload it was parsed from.

use crate::wire::bytes::{put, u16_at};

/// A VP8 picture id and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    /// 7 or 15 bits, as `wide` says.
    pub value: u16,
    /// Whether the 15-bit form is used.
    pub wide: bool,
    /// Offset of its first byte in the payload.
    pub offset: u8,
}

impl PictureId {
    /// Writes `value` over this picture id of `payload`, keeping its width.
    pub(super) fn write(self, payload: &mut [u8], value: u16) -> Option<()> {
        let at = usize::from(self.offset);
        match self.wide {
            true => put(payload, at, &(value | 0x8000).to_be_bytes()),
            false => put(payload, at, &[value as u8 & 0x7f]),
        }
    }
}

/// What a VP8 payload descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// Bytes of the descriptor: the VP8 payload header follows.
    pub len: u8,
    /// N: no other frame depends on this one.
    pub non_reference: bool,
    /// S: the packet begins a partition.
    pub start_of_partition: bool,
    /// PID: partition number, 0–7.
    pub partition: u8,
    /// PictureID, if present.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX, if present: running index of base-layer frames.
    pub tl0_pic_idx: Option<u8>,
    /// Offset of TL0PICIDX in the payload (0: absent).
    pub tl0_offset: u8,
    /// TID: temporal layer, 0–3, if present.
    pub temporal_id: Option<u8>,
    /// Y: the frame depends on base-layer frames only, so a receiver may switch up here.
    pub layer_sync: bool,
    /// KEYIDX, 0–31, if present.
    pub key_idx: Option<u8>,
    /// Offset of the TID/Y/KEYIDX byte in the payload (0: absent).
    pub layer_offset: u8,
    /// First packet of a key frame.
    pub key_frame: bool,
}

impl Vp8Descriptor {
    /// Reads the descriptor of an RTP payload. `None` when it is cut short or no VP8 byte follows it.
    pub fn parse(payload: &[u8]) -> Option<Vp8Descriptor> {
        let first = *payload.first()?;
        let extended = first & 0x80 != 0;
        let flags = if extended { *payload.get(1)? } else { 0 };
        let mut at = if extended { 2 } else { 1 };
        let mut descriptor = Vp8Descriptor {
            len: 0,
            non_reference: first & 0x20 != 0,
            start_of_partition: first & 0x10 != 0,
            partition: first & 0x07,
            picture_id: None,
            tl0_pic_idx: None,
            tl0_offset: 0,
            temporal_id: None,
            layer_sync: false,
            key_idx: None,
            layer_offset: 0,
            key_frame: false,
        };
        if flags & 0x80 != 0 {
            let wide = *payload.get(at)? & 0x80 != 0;
            let value = match wide {
                true => u16_at(payload, at)? & 0x7fff,
                false => u16::from(*payload.get(at)?),
            };
            descriptor.picture_id = Some(PictureId {
                value,
                wide,
                offset: at as u8,
            });
            at += if wide { 2 } else { 1 };
        }
        if flags & 0x40 != 0 {
            descriptor.tl0_pic_idx = Some(*payload.get(at)?);
            descriptor.tl0_offset = at as u8;
            at += 1;
        }
        if flags & 0x30 != 0 {
            let byte = *payload.get(at)?;
            if flags & 0x20 != 0 {
                descriptor.temporal_id = Some(byte >> 6);
                descriptor.layer_sync = byte & 0x20 != 0;
            }
            if flags & 0x10 != 0 {
                descriptor.key_idx = Some(byte & 0x1f);
            }
            descriptor.layer_offset = at as u8;
            at += 1;
        }
        // RFC 7741 section 4.3: the P bit of the first partition's first byte is 0 in a key frame.
        let frame = *payload.get(at)?;
        descriptor.len = at as u8;
        descriptor.key_frame =
            descriptor.start_of_partition && descriptor.partition == 0 && frame & 1 == 0;
        Some(descriptor)
    }

    /// Writes `value` over the picture id of `payload`, a payload with this very descriptor, keeping its width.
    /// `None`, and nothing written, when there is no picture id.
    pub fn write_picture_id(&self, payload: &mut [u8], value: u16) -> Option<()> {
        self.picture_id?.write(payload, value)
    }

    /// Writes `value` over TL0PICIDX. `None`, and nothing written, when there is none.
    pub fn write_tl0_pic_idx(&self, payload: &mut [u8], value: u8) -> Option<()> {
        self.tl0_pic_idx?;
        put(payload, usize::from(self.tl0_offset), &[value])
    }

    /// Writes `value` (0–31) over KEYIDX. `None`, and nothing written, when there is none.
    pub fn write_key_idx(&self, payload: &mut [u8], value: u8) -> Option<()> {
        self.key_idx?;
        let byte = payload.get_mut(usize::from(self.layer_offset))?;
        *byte = (*byte & 0xe0) | (value & 0x1f);
        Some(())
    }
}

/// Whether the packet is the first of a key frame.
pub fn is_key_frame(payload: &[u8]) -> bool {
    Vp8Descriptor::parse(payload).is_some_and(|d| d.key_frame)
}

/// Width and height of a key frame from its first packet (RFC 6386 section 9.1).
pub fn key_frame_size(payload: &[u8]) -> Option<(u16, u16)> {
    let descriptor = Vp8Descriptor::parse(payload).filter(|d| d.key_frame)?;
    let frame = payload.get(usize::from(descriptor.len)..)?;
    let (tag, size) = frame.split_at_checked(3)?;
    match (tag, size) {
        (_, [0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..]) => Some((
            u16::from_le_bytes([*w0, *w1]) & 0x3fff,
            u16::from_le_bytes([*h0, *h1]) & 0x3fff,
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_every_shape() {
        // (payload, len, picture id, tl0, tid, key idx, key frame)
        type Row<'a> = (
            &'a [u8],
            u8,
            Option<u16>,
            Option<u8>,
            Option<u8>,
            Option<u8>,
            bool,
        );
        let table: [Row<'_>; 7] = [
            (&[0x10, 0x00], 1, None, None, None, None, true),
            (&[0x10, 0x01], 1, None, None, None, None, false),
            (&[0x00, 0x00], 1, None, None, None, None, false),
            (
                &[0x90, 0x80, 0x11, 0x00],
                3,
                Some(0x11),
                None,
                None,
                None,
                true,
            ),
            (
                &[0x90, 0x80, 0x92, 0x34, 0x00],
                4,
                Some(0x1234),
                None,
                None,
                None,
                true,
            ),
            (
                &[0x90, 0xe0, 0x92, 0x34, 0x07, 0xa0, 0x01],
                6,
                Some(0x1234),
                Some(7),
                Some(2),
                None,
                false,
            ),
            (
                &[0x90, 0xf0, 0x92, 0x34, 0x07, 0x45, 0x01],
                6,
                Some(0x1234),
                Some(7),
                Some(1),
                Some(5),
                false,
            ),
        ];
        for (bytes, len, pid, tl0, tid, key_idx, key) in table {
            let d = Vp8Descriptor::parse(bytes).unwrap();
            assert_eq!(d.len, len, "{bytes:02x?}");
            assert_eq!(d.picture_id.map(|p| p.value), pid, "{bytes:02x?}");
            assert_eq!(d.tl0_pic_idx, tl0, "{bytes:02x?}");
            assert_eq!(d.temporal_id, tid, "{bytes:02x?}");
            assert_eq!(d.key_idx, key_idx, "{bytes:02x?}");
            assert_eq!(d.key_frame, key, "{bytes:02x?}");
            for cut in 0..bytes.len() {
                assert_eq!(
                    Vp8Descriptor::parse(&bytes[..cut]),
                    None,
                    "{cut} of {bytes:02x?}"
                );
            }
        }
    }

    #[test]
    fn rewriting_changes_only_what_was_asked() {
        let before = [0x90, 0xf0, 0x92, 0x34, 0x07, 0x45, 0x01, 0xff];
        let mut bytes = before;
        let d = Vp8Descriptor::parse(&bytes).unwrap();
        d.write_picture_id(&mut bytes, 0x7fff).unwrap();
        d.write_tl0_pic_idx(&mut bytes, 200).unwrap();
        d.write_key_idx(&mut bytes, 31).unwrap();
        let after = Vp8Descriptor::parse(&bytes).unwrap();
        assert_eq!(after.picture_id.unwrap().value, 0x7fff);
        assert_eq!(after.tl0_pic_idx, Some(200));
        assert_eq!(after.key_idx, Some(31));
        assert_eq!((after.temporal_id, after.layer_sync), (Some(1), false));
        assert_eq!(bytes[6..], before[6..]);

        let mut narrow = [0x90, 0x80, 0x11, 0x00];
        let d = Vp8Descriptor::parse(&narrow).unwrap();
        d.write_picture_id(&mut narrow, 0x1ff).unwrap();
        assert_eq!(narrow, [0x90, 0x80, 0x7f, 0x00], "a 7-bit id stays 7 bits");
        assert_eq!(d.write_tl0_pic_idx(&mut narrow, 1), None);
    }

    #[test]
    fn key_frame_says_its_size() {
        // 640x360, scaling bits set in the top of both.
        let payload = [
            0x10, 0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0x68, 0x81,
        ];
        assert_eq!(key_frame_size(&payload), Some((640, 360)));
        assert_eq!(key_frame_size(&payload[..10]), None);
    }
}
