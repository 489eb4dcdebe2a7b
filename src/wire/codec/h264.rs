//! H.264 RTP payloads (RFC 6184): which NAL units a packet holds, and the picture size of its SPS.
//!
//! Single NAL units, STAP-A and FU-A are read, the packetization modes 0 and 1 that browsers use; interleaved
//! mode is not negotiated. Loops are bounded by the payload's length.

use super::bits::BitReader;
use crate::wire::bytes::u16_at;

/// Coded slice of an IDR picture.
const NAL_IDR: u8 = 5;
/// Sequence parameter set.
const NAL_SPS: u8 = 7;
/// Picture parameter set.
const NAL_PPS: u8 = 8;
/// Single-time aggregation packet.
const STAP_A: u8 = 24;
/// Fragmentation unit.
const FU_A: u8 = 28;

/// Bytes of an SPS read for the picture size.
const SPS_BYTES_MAX: usize = 128;

/// NAL units that begin in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NalSummary {
    /// Sequence parameter set.
    pub sps: bool,
    /// Picture parameter set.
    pub pps: bool,
    /// IDR slice (the first fragment of it, if fragmented).
    pub idr: bool,
}

/// The NAL units of a payload, headers included. A fragment counts when it is the first of its unit.
struct Nals<'a> {
    rest: &'a [u8],
    aggregated: bool,
}

impl<'a> Nals<'a> {
    fn new(payload: &'a [u8]) -> Self {
        let aggregated = payload.first().is_some_and(|b| b & 0x1f == STAP_A);
        let rest = match aggregated {
            true => payload.get(1..).unwrap_or(&[]),
            false => payload,
        };
        Self { rest, aggregated }
    }
}

impl<'a> Iterator for Nals<'a> {
    /// NAL unit type and the unit (for a first fragment, the fragment from its FU header on).
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.aggregated {
            let len = usize::from(u16_at(self.rest, 0)?);
            let (unit, rest) = self.rest.get(2..)?.split_at_checked(len)?;
            self.rest = rest;
            return Some((unit.first()? & 0x1f, unit));
        }
        let unit = std::mem::take(&mut self.rest);
        match unit.first()? & 0x1f {
            FU_A => {
                let fragment = unit.get(1..)?;
                let header = *fragment.first()?;
                (header & 0x80 != 0).then_some((header & 0x1f, fragment))
            }
            kind => Some((kind, unit)),
        }
    }
}

/// Which units of interest begin in the payload.
pub fn summarize(payload: &[u8]) -> NalSummary {
    let mut summary = NalSummary::default();
    for (kind, _) in Nals::new(payload) {
        summary.sps |= kind == NAL_SPS;
        summary.pps |= kind == NAL_PPS;
        summary.idr |= kind == NAL_IDR;
    }
    summary
}

/// Whether a decoder can start here: the packet has the sequence parameter set every browser puts before an
/// IDR picture. An IDR slice alone is no start, because the sets it needs may have been in a packet we skipped.
pub fn is_key_frame(payload: &[u8]) -> bool {
    summarize(payload).sps
}

/// Width and height of the picture from the packet's SPS.
pub fn key_frame_size(payload: &[u8]) -> Option<(u16, u16)> {
    let (_, sps) = Nals::new(payload).find(|(kind, _)| *kind == NAL_SPS)?;
    sps_size(sps)
}

/// Copies `unit` without emulation prevention bytes (ITU-T H.264 section 7.4.1). Returns the bytes used.
fn unescape(unit: &[u8], out: &mut [u8; SPS_BYTES_MAX]) -> usize {
    let mut len = 0;
    let mut zeros = 0;
    for byte in unit {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        let Some(slot) = out.get_mut(len) else {
            break;
        };
        *slot = *byte;
        len += 1;
    }
    len
}

/// Picture size of a sequence parameter set, cropping applied (ITU-T H.264 section 7.3.2.1.1).
fn sps_size(unit: &[u8]) -> Option<(u16, u16)> {
    let mut buffer = [0; SPS_BYTES_MAX];
    let len = unescape(unit, &mut buffer);
    let mut reader = BitReader::new(buffer.get(1..len)?);
    let profile = reader.bits(8)?;
    reader.bits(16)?; // Constraint flags and level.
    reader.exp_golomb()?; // SPS id.
    let mut chroma = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128) {
        chroma = high_profile_fields(&mut reader)?;
    }
    reader.exp_golomb()?; // log2_max_frame_num_minus4
    match reader.exp_golomb()? {
        0 => {
            reader.exp_golomb()?;
        }
        1 => {
            reader.bit()?;
            reader.exp_golomb()?;
            reader.exp_golomb()?;
            let cycle = reader.exp_golomb()?;
            for _ in 0..cycle.min(255) {
                reader.exp_golomb()?;
            }
        }
        _ => {}
    }
    reader.exp_golomb()?; // max_num_ref_frames
    reader.bit()?;
    let width_blocks = reader.exp_golomb()?.checked_add(1)?;
    let height_units = reader.exp_golomb()?.checked_add(1)?;
    let frames_only = reader.bit()?;
    if !frames_only {
        reader.bit()?;
    }
    reader.bit()?; // direct_8x8_inference_flag
    let mut crop = [0; 4];
    if reader.bit()? {
        for side in &mut crop {
            *side = reader.exp_golomb()?;
        }
    }
    let [left, right, top, bottom] = crop;
    let fields = if frames_only { 1 } else { 2 };
    let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma == 1 { 2 } else { 1 } * fields;
    let size = |blocks: u32, scale: u32, before: u32, after: u32, unit: u32| {
        let whole = blocks.checked_mul(16 * scale)?;
        let cropped = before.checked_add(after)?.checked_mul(unit)?;
        u16::try_from(whole.checked_sub(cropped)?).ok()
    };
    Some((
        size(width_blocks, 1, left, right, unit_x)?,
        size(height_units, fields, top, bottom, unit_y)?,
    ))
}

/// Skips the fields only high profiles have; returns chroma_format_idc (0 when planes are separate).
fn high_profile_fields(reader: &mut BitReader<'_>) -> Option<u32> {
    let mut chroma = reader.exp_golomb()?;
    let lists = if chroma == 3 { 12 } else { 8 };
    if chroma == 3 && reader.bit()? {
        chroma = 0;
    }
    reader.exp_golomb()?; // Bit depths.
    reader.exp_golomb()?;
    reader.bit()?;
    if reader.bit()? {
        for list in 0..lists {
            if reader.bit()? {
                skip_scaling_list(reader, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(chroma)
}

/// Skips a scaling list (ITU-T H.264 section 7.3.2.1.1.1).
fn skip_scaling_list(reader: &mut BitReader<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            let code = i64::from(reader.exp_golomb()?);
            let delta = if code % 2 == 1 {
                (code + 1) / 2
            } else {
                -(code / 2)
            };
            next = (last + delta).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Constrained baseline, 640x480, as OpenH264 writes it (with an emulation prevention byte).
    const SPS_640X480: [u8; 14] = [
        0x67, 0x42, 0xc0, 0x1e, 0x8c, 0x8d, 0x40, 0x50, 0x1e, 0xd0, 0x0f, 0x08, 0x84, 0x6a,
    ];

    #[test]
    fn nal_units_of_every_packetization() {
        let stap = [0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68, 0, 2, 0x65, 0x88];
        // (payload, sps, pps, idr)
        let table: [(&[u8], bool, bool, bool); 9] = [
            (&[], false, false, false),
            (&[0x67, 0x42], true, false, false),
            (&[0x65, 0x88], false, false, true),
            (&[0x41, 0x9a], false, false, false),
            (&stap, true, true, true),
            (&stap[..5], true, false, false),
            (&[0x7c, 0x85, 0x88], false, false, true),
            (&[0x7c, 0x05, 0x88], false, false, false),
            (&[0x78, 0xff, 0xff, 0x67], false, false, false),
        ];
        for (payload, sps, pps, idr) in table {
            let expected = NalSummary { sps, pps, idr };
            assert_eq!(summarize(payload), expected, "{payload:02x?}");
            assert_eq!(is_key_frame(payload), sps);
        }
    }

    #[test]
    fn sps_says_the_picture_size() {
        assert_eq!(key_frame_size(&SPS_640X480), Some((640, 480)));
        let mut stap = vec![0x78, 0, SPS_640X480.len() as u8];
        stap.extend_from_slice(&SPS_640X480);
        assert_eq!(key_frame_size(&stap), Some((640, 480)));
        assert_eq!(key_frame_size(&SPS_640X480[..6]), None);
    }
}
