//! VP9 payload descriptor (RFC 9628 section 4.2), flexible and non-flexible mode.
//!
//! ```text
//! |I|P|L|F|B|E|V|Z| mandatory
//! |M| PICTURE ID  | if I; two bytes if M
//! |TID|U| SID |D|   if L; then TL0PICIDX unless F
//! |  P_DIFF   |N|   if F and P; up to three
//! |  SS ..          if V
//! ```
//! Invariant: `len` lies inside the payload it was parsed from; loops are bounded by the 3- and 8-bit counts.

use super::vp8::PictureId;
use crate::wire::bytes::{put, u16_at};

/// What a VP9 payload descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp9Descriptor {
    /// Bytes of the descriptor: VP9 data follows.
    pub len: u16,
    /// I: picture id, if present.
    pub picture_id: Option<PictureId>,
    /// P: the frame uses earlier frames.
    pub inter_predicted: bool,
    /// F: flexible mode.
    pub flexible: bool,
    /// B: first packet of a layer frame.
    pub start_of_frame: bool,
    /// E: last packet of a layer frame.
    pub end_of_frame: bool,
    /// Z: not a reference for upper spatial layers.
    pub not_spatial_reference: bool,
    /// L: layer indices are there, the next four fields mean something.
    pub has_layers: bool,
    /// Temporal layer, 0–7.
    pub temporal_id: u8,
    /// U: a receiver may switch up to this temporal layer here.
    pub switching_up: bool,
    /// Spatial layer, 0–7.
    pub spatial_id: u8,
    /// D: depends on the lower spatial layer of the same picture.
    pub inter_layer_dependency: bool,
    /// TL0PICIDX (non-flexible mode), if present.
    pub tl0_pic_idx: Option<u8>,
    /// Offset of TL0PICIDX in the payload (0: absent).
    pub tl0_offset: u8,
    /// Spatial layers of the scalability structure (0: none sent).
    pub spatial_layers: u8,
    /// Width and height of the highest spatial layer, pixels, if the structure says them.
    pub size: Option<(u16, u16)>,
}

impl Vp9Descriptor {
    /// Reads the descriptor of an RTP payload. `None` when it is cut short or nothing follows it.
    pub fn parse(payload: &[u8]) -> Option<Vp9Descriptor> {
        let flags = *payload.first()?;
        let mut descriptor = Vp9Descriptor {
            len: 0,
            picture_id: None,
            inter_predicted: flags & 0x40 != 0,
            flexible: flags & 0x10 != 0,
            start_of_frame: flags & 0x08 != 0,
            end_of_frame: flags & 0x04 != 0,
            not_spatial_reference: flags & 0x01 != 0,
            has_layers: flags & 0x20 != 0,
            temporal_id: 0,
            switching_up: false,
            spatial_id: 0,
            inter_layer_dependency: false,
            tl0_pic_idx: None,
            tl0_offset: 0,
            spatial_layers: 0,
            size: None,
        };
        let mut at = 1;
        if flags & 0x80 != 0 {
            at = descriptor.read_picture_id(payload, at)?;
        }
        if descriptor.has_layers {
            at = descriptor.read_layers(payload, at)?;
        }
        if descriptor.flexible && descriptor.inter_predicted {
            for _ in 0..3 {
                let more = *payload.get(at)? & 1 != 0;
                at += 1;
                if !more {
                    break;
                }
            }
        }
        if flags & 0x02 != 0 {
            at = descriptor.read_structure(payload, at)?;
        }
        payload.get(at)?;
        descriptor.len = u16::try_from(at).ok()?;
        Some(descriptor)
    }

    fn read_picture_id(&mut self, payload: &[u8], at: usize) -> Option<usize> {
        let wide = *payload.get(at)? & 0x80 != 0;
        let value = match wide {
            true => u16_at(payload, at)? & 0x7fff,
            false => u16::from(*payload.get(at)?),
        };
        self.picture_id = Some(PictureId {
            value,
            wide,
            offset: at as u8,
        });
        Some(at + if wide { 2 } else { 1 })
    }

    fn read_layers(&mut self, payload: &[u8], at: usize) -> Option<usize> {
        let byte = *payload.get(at)?;
        self.temporal_id = byte >> 5;
        self.switching_up = byte & 0x10 != 0;
        self.spatial_id = (byte >> 1) & 7;
        self.inter_layer_dependency = byte & 1 != 0;
        if self.flexible {
            return Some(at + 1);
        }
        self.tl0_pic_idx = Some(*payload.get(at + 1)?);
        self.tl0_offset = (at + 1) as u8;
        Some(at + 2)
    }

    /// Scalability structure: sizes of the layers, then the picture group, which is only skipped.
    fn read_structure(&mut self, payload: &[u8], at: usize) -> Option<usize> {
        let head = *payload.get(at)?;
        let mut at = at + 1;
        self.spatial_layers = (head >> 5) + 1;
        if head & 0x10 != 0 {
            for _ in 0..self.spatial_layers {
                self.size = Some((u16_at(payload, at)?, u16_at(payload, at + 2)?));
                at += 4;
            }
        }
        if head & 0x08 != 0 {
            let pictures = *payload.get(at)?;
            at += 1;
            for _ in 0..pictures {
                let references = (*payload.get(at)? >> 2) & 3;
                at += 1 + usize::from(references);
            }
        }
        Some(at)
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

    /// First packet of a key frame: begins the lowest spatial layer and uses no earlier frame.
    pub fn key_frame(&self) -> bool {
        self.start_of_frame && !self.inter_predicted && self.spatial_id == 0
    }
}

/// Whether the packet is the first of a key frame.
pub fn is_key_frame(payload: &[u8]) -> bool {
    Vp9Descriptor::parse(payload).is_some_and(|d| d.key_frame())
}

/// Width and height of the highest spatial layer, from the scalability structure of a key frame.
pub fn key_frame_size(payload: &[u8]) -> Option<(u16, u16)> {
    Vp9Descriptor::parse(payload)
        .filter(|d| d.key_frame())?
        .size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frame_with_structure() {
        // I L B V, non-flexible; picture id 0x1234; TID 0 U SID 0; TL0 7; SS: 2 layers with sizes, group of 1 with 2 refs.
        let payload = [
            0xaa, 0x92, 0x34, 0x10, 0x07, 0x38, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68,
            0x01, 0x08, 0x01, 0x02, 0xff,
        ];
        let d = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!(d.len, 18);
        assert_eq!(d.picture_id.unwrap().value, 0x1234);
        assert_eq!(d.tl0_pic_idx, Some(7));
        assert!(d.switching_up && d.key_frame());
        assert_eq!((d.spatial_layers, d.size), (2, Some((640, 360))));
        for cut in 0..payload.len() {
            assert_eq!(Vp9Descriptor::parse(&payload[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn flexible_mode_with_references() {
        // I P L F B E; 7-bit id; TID 2 SID 1 D; three P_DIFF.
        let payload = [0xfc, 0x11, 0x43, 0x03, 0x05, 0x06, 0xff];
        let d = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!(d.len, 6);
        assert_eq!((d.temporal_id, d.spatial_id), (2, 1));
        assert!(d.inter_layer_dependency && d.inter_predicted && !d.key_frame());
        assert_eq!(d.tl0_pic_idx, None);
    }

    #[test]
    fn only_the_first_packet_of_the_lowest_layer_is_a_start() {
        assert!(is_key_frame(&[0x08, 0xff]));
        assert!(!is_key_frame(&[0x04, 0xff]), "continuation");
        assert!(!is_key_frame(&[0x48, 0xff]), "predicted");
        assert!(!is_key_frame(&[0x28, 0x02, 0x00, 0xff]), "spatial layer 1");
    }

    #[test]
    fn ids_are_rewritten_in_place() {
        let mut payload = [0xa8, 0x92, 0x34, 0x10, 0x07, 0xff];
        let d = Vp9Descriptor::parse(&payload).unwrap();
        d.write_picture_id(&mut payload, 0x4321).unwrap();
        d.write_tl0_pic_idx(&mut payload, 9).unwrap();
        assert_eq!(payload, [0xa8, 0xc3, 0x21, 0x10, 0x09, 0xff]);
    }
}
