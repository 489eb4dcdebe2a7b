//! AV1 RTP payloads: the aggregation header, and the dependency descriptor header extension (AV1 RTP
//! specification 1.0, section 4.4 and appendix A), which says a frame's layers without looking at its payload.
//!
//! Bounds: at most 64 templates and 32 decode targets (the widths of their fields), four spatial and eight
//! temporal layers; lists end with the descriptor, which is at most 255 bytes.

use super::bits::BitReader;

/// Templates of one structure.
pub const TEMPLATES_MAX: usize = 64;
/// Spatial layers of one structure.
pub const SPATIAL_LAYERS_MAX: usize = 4;
/// Temporal layers of one structure.
const TEMPORAL_LAYERS_MAX: u8 = 8;

/// The aggregation header, first byte of every AV1 payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AggregationHeader {
    /// Z: the first element continues one of the previous packet.
    pub continues: bool,
    /// Y: the last element continues in the next packet.
    pub continued: bool,
    /// W: number of elements, 0: each has a length.
    pub elements: u8,
    /// N: first packet of a coded video sequence, that is, of a key frame.
    pub new_sequence: bool,
}

impl AggregationHeader {
    /// Reads the header; `None` when nothing follows it.
    pub fn parse(payload: &[u8]) -> Option<AggregationHeader> {
        let [byte, _, ..] = *payload else {
            return None;
        };
        Some(AggregationHeader {
            continues: byte & 0x80 != 0,
            continued: byte & 0x40 != 0,
            elements: (byte >> 4) & 3,
            new_sequence: byte & 0x08 != 0,
        })
    }
}

/// What a decode target needs of a frame (appendix A.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeTargetIndication {
    /// The frame is not part of it.
    NotPresent,
    /// Nothing else of it depends on the frame.
    Discardable,
    /// One may switch to it here.
    Switch,
    /// The frame is needed.
    Required,
}

/// A frame template: layer ids and decode target indications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Template {
    /// Spatial layer, 0–3.
    pub spatial_id: u8,
    /// Temporal layer, 0–7.
    pub temporal_id: u8,
    /// Two bits per decode target, target 0 lowest.
    indications: u64,
}

impl Template {
    /// What decode target `target` (0–31) needs of a frame of this template.
    pub fn indication(&self, target: u8) -> DecodeTargetIndication {
        match (self.indications >> (2 * u32::from(target % 32))) & 3 {
            0 => DecodeTargetIndication::NotPresent,
            1 => DecodeTargetIndication::Discardable,
            2 => DecodeTargetIndication::Switch,
            _ => DecodeTargetIndication::Required,
        }
    }
}

/// Template structure of a stream; a key frame brings one and it holds until the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependencyStructure {
    template_id_offset: u8,
    /// Decode targets, 1–32.
    pub decode_targets: u8,
    /// Chains, 0–32.
    pub chains: u8,
    /// Spatial layers, 1–4.
    pub spatial_layers: u8,
    templates: [Template; TEMPLATES_MAX],
    template_count: u8,
    sizes: [(u16, u16); SPATIAL_LAYERS_MAX],
    has_sizes: bool,
}

impl DependencyStructure {
    /// The templates, in order of their ids from the structure's offset on.
    pub fn templates(&self) -> &[Template] {
        let count = usize::from(self.template_count);
        self.templates.get(..count).unwrap_or(&[])
    }

    /// Template of a frame with `template_id`, if the structure has it.
    pub fn template(&self, template_id: u8) -> Option<&Template> {
        let index = template_id.wrapping_sub(self.template_id_offset) & 0x3f;
        self.templates().get(usize::from(index))
    }

    /// Highest spatial and temporal layer of decode target `target`.
    pub fn target_layers(&self, target: u8) -> (u8, u8) {
        self.templates()
            .iter()
            .filter(|t| t.indication(target) != DecodeTargetIndication::NotPresent)
            .fold((0, 0), |(spatial, temporal), t| {
                (spatial.max(t.spatial_id), temporal.max(t.temporal_id))
            })
    }

    /// Width and height of spatial layer `layer`, pixels, if the structure says them.
    pub fn size(&self, layer: u8) -> Option<(u16, u16)> {
        let known = self.has_sizes && layer < self.spatial_layers;
        known.then(|| self.sizes.get(usize::from(layer)).copied())?
    }

    fn parse(reader: &mut BitReader<'_>) -> Option<DependencyStructure> {
        let mut structure = DependencyStructure {
            template_id_offset: reader.bits(6)? as u8,
            decode_targets: reader.bits(5)? as u8 + 1,
            chains: 0,
            spatial_layers: 1,
            templates: [Template::default(); TEMPLATES_MAX],
            template_count: 0,
            sizes: [(0, 0); SPATIAL_LAYERS_MAX],
            has_sizes: false,
        };
        structure.read_layers(reader)?;
        structure.read_indications(reader)?;
        structure.skip_frame_diffs(reader)?;
        structure.read_chains(reader)?;
        structure.read_sizes(reader)?;
        Some(structure)
    }

    fn read_layers(&mut self, reader: &mut BitReader<'_>) -> Option<()> {
        let (mut spatial_id, mut temporal_id) = (0u8, 0u8);
        loop {
            let slot = self.templates.get_mut(usize::from(self.template_count))?;
            (slot.spatial_id, slot.temporal_id) = (spatial_id, temporal_id);
            self.template_count += 1;
            match reader.bits(2)? {
                0 => {}
                1 => temporal_id += 1,
                2 => (spatial_id, temporal_id) = (spatial_id + 1, 0),
                _ => break,
            }
            if usize::from(spatial_id) >= SPATIAL_LAYERS_MAX || temporal_id >= TEMPORAL_LAYERS_MAX {
                return None;
            }
        }
        self.spatial_layers = spatial_id + 1;
        Some(())
    }

    fn read_indications(&mut self, reader: &mut BitReader<'_>) -> Option<()> {
        let count = usize::from(self.template_count);
        for template in self.templates.iter_mut().take(count) {
            for target in 0..self.decode_targets {
                let bits = u64::from(reader.bits(2)?);
                template.indications |= bits << (2 * u32::from(target));
            }
        }
        Some(())
    }

    fn skip_frame_diffs(&self, reader: &mut BitReader<'_>) -> Option<()> {
        for _ in 0..self.template_count {
            while reader.bit()? {
                reader.bits(4)?;
            }
        }
        Some(())
    }

    fn read_chains(&mut self, reader: &mut BitReader<'_>) -> Option<()> {
        let chains = reader.non_symmetric(u32::from(self.decode_targets) + 1)?;
        self.chains = chains as u8;
        if chains == 0 {
            return Some(());
        }
        for _ in 0..self.decode_targets {
            reader.non_symmetric(chains)?;
        }
        for _ in 0..u32::from(self.template_count) * chains {
            reader.bits(4)?;
        }
        Some(())
    }

    fn read_sizes(&mut self, reader: &mut BitReader<'_>) -> Option<()> {
        self.has_sizes = reader.bit()?;
        if self.has_sizes {
            let layers = usize::from(self.spatial_layers);
            for size in self.sizes.iter_mut().take(layers) {
                let (width, height) = (reader.bits(16)? as u16, reader.bits(16)? as u16);
                *size = (width.saturating_add(1), height.saturating_add(1));
            }
        }
        Some(())
    }
}

/// The three bytes every dependency descriptor begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameFields {
    /// First packet of the frame.
    pub start_of_frame: bool,
    /// Last packet of the frame.
    pub end_of_frame: bool,
    /// Template of the frame, 0–63.
    pub template_id: u8,
    /// Running frame number, wrapping.
    pub frame_number: u16,
}

impl FrameFields {
    /// Reads the mandatory fields of a descriptor.
    #[inline]
    pub fn parse(descriptor: &[u8]) -> Option<FrameFields> {
        let [flags, n0, n1] = *descriptor.first_chunk()?;
        Some(FrameFields {
            start_of_frame: flags & 0x80 != 0,
            end_of_frame: flags & 0x40 != 0,
            template_id: flags & 0x3f,
            frame_number: u16::from_be_bytes([n0, n1]),
        })
    }
}

/// A dependency descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependencyDescriptor {
    /// Mandatory fields.
    pub frame: FrameFields,
    /// New structure, on the first packet of a key frame.
    pub structure: Option<DependencyStructure>,
    /// Decode targets the sender still produces, target 0 lowest bit, when it says so.
    pub active_targets: Option<u32>,
}

impl DependencyDescriptor {
    /// Reads a descriptor. `known` is the structure in force, which says how many decode targets there are.
    /// `None` when it is cut short or out of bounds. Custom per-frame dependencies are not read.
    pub fn parse(
        descriptor: &[u8],
        known: Option<&DependencyStructure>,
    ) -> Option<DependencyDescriptor> {
        let mut parsed = DependencyDescriptor {
            frame: FrameFields::parse(descriptor)?,
            structure: None,
            active_targets: None,
        };
        let extended = descriptor.get(3..)?;
        if extended.is_empty() {
            return Some(parsed);
        }
        let mut reader = BitReader::new(extended);
        let (has_structure, has_active) = (reader.bit()?, reader.bit()?);
        reader.bits(3)?; // Custom indications, frame differences and chains follow what is read here.
        let mut targets = known.map(|structure| structure.decode_targets);
        if has_structure {
            let structure = DependencyStructure::parse(&mut reader)?;
            targets = Some(structure.decode_targets);
            parsed.active_targets = Some(u32::MAX >> (32 - u32::from(structure.decode_targets)));
            parsed.structure = Some(structure);
        }
        if let (true, Some(targets)) = (has_active, targets) {
            // The first bit stands for the highest target.
            parsed.active_targets = Some(reader.bits(u32::from(targets))?);
        }
        Some(parsed)
    }
}

/// Whether the packet is the first of a key frame: the descriptor brings a structure, or, without a
/// descriptor, the aggregation header's N bit is set.
pub fn is_key_frame(payload: &[u8], dependency_descriptor: Option<&[u8]>) -> bool {
    match dependency_descriptor {
        Some([flags, _, _, rest @ ..]) => {
            flags & 0x80 != 0 && rest.first().is_some_and(|extended| extended & 0x80 != 0)
        }
        _ => AggregationHeader::parse(payload).is_some_and(|header| header.new_sequence),
    }
}

/// Width and height of the highest spatial layer, if the descriptor's structure says them.
pub fn key_frame_size(dependency_descriptor: &[u8]) -> Option<(u16, u16)> {
    let structure = DependencyDescriptor::parse(dependency_descriptor, None)?.structure?;
    structure.size(structure.spatial_layers - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs (value, width) pairs, first bit on top.
    fn pack(fields: &[(u32, u32)]) -> Vec<u8> {
        let mut bits: Vec<bool> = Vec::new();
        for (value, width) in fields {
            bits.extend((0..*width).rev().map(|bit| value >> bit & 1 == 1));
        }
        bits.chunks(8)
            .map(|byte| {
                byte.iter()
                    .enumerate()
                    .fold(0, |acc, (i, bit)| acc | (u8::from(*bit) << (7 - i)))
            })
            .collect()
    }

    /// Two temporal layers, two decode targets, one chain, 640x360.
    fn l1t2() -> Vec<u8> {
        pack(&[
            (1, 1),
            (0, 1),
            (5, 6),
            (0x1234, 16), // start, end, template id, frame number
            (1, 1),
            (1, 1),
            (0, 3), // structure, active targets, no custom fields
            (5, 6),
            (1, 5), // template id offset, two decode targets
            (1, 2),
            (3, 2), // next temporal layer, end
            (2, 2),
            (3, 2),
            (0, 2),
            (1, 2), // indications: T0 switch/required, T1 none/discardable
            (0, 1),
            (1, 1),
            (0, 4),
            (0, 1), // frame differences: none; one
            (1, 1),
            (0, 1), // chains: ns(3) = 1 -> "10"
            (0, 0),
            (0, 0), // protected by: ns(1) has no bits
            (0, 4),
            (1, 4), // chain differences
            (1, 1),
            (639, 16),
            (359, 16), // sizes
            (3, 2),    // both targets active
        ])
    }

    #[test]
    fn structure_of_two_temporal_layers() {
        let bytes = l1t2();
        let parsed = DependencyDescriptor::parse(&bytes, None).unwrap();
        assert_eq!(
            parsed.frame,
            FrameFields {
                start_of_frame: true,
                end_of_frame: false,
                template_id: 5,
                frame_number: 0x1234
            }
        );
        let structure = parsed.structure.unwrap();
        assert_eq!((structure.decode_targets, structure.chains), (2, 1));
        assert_eq!(structure.size(0), Some((640, 360)));
        assert_eq!(structure.size(1), None);
        let [t0, t1] = structure.templates() else {
            panic!("{structure:?}");
        };
        assert_eq!((t0.temporal_id, t1.temporal_id), (0, 1));
        assert_eq!(t0.indication(0), DecodeTargetIndication::Switch);
        assert_eq!(t0.indication(1), DecodeTargetIndication::Required);
        assert_eq!(t1.indication(0), DecodeTargetIndication::NotPresent);
        assert_eq!(t1.indication(1), DecodeTargetIndication::Discardable);
        assert_eq!(structure.target_layers(0), (0, 0));
        assert_eq!(structure.target_layers(1), (0, 1));
        assert_eq!(structure.template(6).map(|t| t.temporal_id), Some(1));
        assert_eq!(structure.template(7), None);
        assert_eq!(parsed.active_targets, Some(3));
        assert_eq!(key_frame_size(&bytes), Some((640, 360)));
        for cut in 4..bytes.len() {
            assert_eq!(
                DependencyDescriptor::parse(&bytes[..cut], None),
                None,
                "{cut}"
            );
        }
    }

    #[test]
    fn short_descriptor_has_no_structure() {
        let parsed = DependencyDescriptor::parse(&[0x41, 0, 9], None).unwrap();
        assert!(parsed.structure.is_none() && parsed.frame.end_of_frame);
        assert_eq!(DependencyDescriptor::parse(&[0x41, 0], None), None);
    }

    #[test]
    fn endless_templates_are_refused() {
        let mut fields = vec![(0x0080_0000, 24), (0x10, 5), (0, 11)];
        fields.extend(std::iter::repeat_n((0, 2), 500));
        assert_eq!(DependencyDescriptor::parse(&pack(&fields), None), None);
    }

    #[test]
    fn key_frames() {
        assert!(is_key_frame(&[0x08, 1], None));
        assert!(!is_key_frame(&[0x10, 1], None));
        assert!(!is_key_frame(&[0x08], None), "nothing but a header");
        assert!(is_key_frame(&[0x10, 1], Some(&l1t2())));
        assert!(!is_key_frame(&[0x10, 1], Some(&[0x80, 0, 1])));
        assert!(
            !is_key_frame(&[0x18, 1], Some(&[0x00, 0, 1, 0x80])),
            "not its first packet"
        );
    }
}
