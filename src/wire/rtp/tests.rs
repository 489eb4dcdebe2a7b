//! RTP: tables of packets, the `rtp` package as oracle, and properties of random bytes.

use ::rtp::header::{Extension, Header};
use bytes::Bytes;
use proptest::prelude::*;
use webrtc_util::marshal::{Marshal, Unmarshal};

use super::*;

const FIXED: [u8; 12] = [0x80, 0xe0, 0x12, 0x34, 0, 0, 0, 9, 0xde, 0xad, 0xbe, 0xef];

/// A packet with the extension block `profile`, `block`, and one byte of payload.
fn with_block(profile: u16, block: &[u8]) -> Vec<u8> {
    assert_eq!(block.len() % 4, 0);
    let mut packet = FIXED.to_vec();
    packet[0] |= 0x10;
    packet.extend(profile.to_be_bytes());
    packet.extend(((block.len() / 4) as u16).to_be_bytes());
    packet.extend(block);
    packet.push(0xaa);
    packet
}

fn map() -> ExtensionMap {
    [
        (1, ExtensionKind::AudioLevel),
        (2, ExtensionKind::AbsSendTime),
        (3, ExtensionKind::TransportCc),
        (4, ExtensionKind::Mid),
        (13, ExtensionKind::DependencyDescriptor),
        (20, ExtensionKind::Rid),
        (255, ExtensionKind::VideoOrientation),
    ]
    .into_iter()
    .collect()
}

fn locate(packet: &[u8]) -> Result<Extensions, RtpError> {
    Extensions::locate(packet, &RtpHeader::parse(packet)?, &map())
}

#[test]
fn fixed_header() {
    let header = RtpHeader::parse(&FIXED).unwrap();
    assert!(header.marker && !header.padding);
    assert_eq!(header.payload_type, 0x60);
    assert_eq!(header.sequence, 0x1234);
    assert_eq!(header.timestamp, 9);
    assert_eq!(header.ssrc, 0xdead_beef);
    assert_eq!(header.header_len, 12);
    assert_eq!(header.payload(&FIXED), Ok(&[][..]));
    for cut in 0..12 {
        assert_eq!(RtpHeader::parse(&FIXED[..cut]), Err(RtpError::Truncated));
    }
    let mut other = FIXED;
    other[0] = 0x40;
    assert_eq!(RtpHeader::parse(&other), Err(RtpError::Version(1)));
}

#[test]
fn csrcs_are_part_of_the_header() {
    let mut packet = FIXED.to_vec();
    packet[0] |= 2;
    packet.extend([0, 0, 0, 1, 0, 0, 0, 2]);
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(header.header_len, 20);
    assert_eq!(header.csrc(&packet, 1), Some(2));
    assert_eq!(header.csrc(&packet, 2), None);
    assert_eq!(RtpHeader::parse(&packet[..19]), Err(RtpError::Truncated));
}

#[test]
fn padding_is_counted_by_the_last_byte() {
    // (bytes after the header, padding, payload length)
    let table: [(&[u8], Result<u8, RtpError>, usize); 5] = [
        (&[7, 7, 0, 2], Ok(2), 2),
        (&[0, 0, 3], Ok(3), 0),
        (&[7, 0], Err(RtpError::BadPadding), 0),
        (&[7, 3], Err(RtpError::BadPadding), 0),
        (&[], Err(RtpError::BadPadding), 0),
    ];
    for (tail, expected, payload_len) in table {
        let mut packet = FIXED.to_vec();
        packet[0] |= 0x20;
        packet.extend(tail);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(header.padding_len(&packet), expected, "{tail:?}");
        let payload = header.payload(&packet).map(<[u8]>::len);
        assert_eq!(payload, expected.map(|_| payload_len), "{tail:?}");
    }
}

#[test]
fn one_byte_elements() {
    let packet = with_block(
        0xbede,
        &[
            0x10, 0x85, 0, 0, 0x31, 0x12, 0x34, 0, 0x22, 1, 2, 3, 0x40, b'7', 0xf0, 0x10,
        ],
    );
    let found = locate(&packet).unwrap();
    let level = found.audio_level(&packet).unwrap();
    assert_eq!((level.level, level.voice), (5, true));
    assert_eq!(found.transport_sequence(&packet), Some(0x1234));
    assert_eq!(found.abs_send_time(&packet), Some(0x01_0203));
    assert_eq!(found.mid(&packet), Some(&b"7"[..]));
    assert!(!found.contains(ExtensionKind::Rid));
    assert_eq!(found.rid(&packet), None);
}

#[test]
fn id_15_ends_the_walk_and_unknown_ids_are_skipped() {
    let packet = with_block(0xbede, &[0x90, 0xff, 0x40, b'1', 0xf0, 0x10, 0x05, 0x00]);
    let found = locate(&packet).unwrap();
    assert_eq!(found.mid(&packet), Some(&b"1"[..]));
    assert_eq!(found.audio_level(&packet), None);
}

#[test]
fn two_byte_elements() {
    for profile in [0x1000, 0x100f] {
        let packet = with_block(
            profile,
            &[4, 0, 0, 20, 2, b'h', b'i', 255, 1, 3, 1, 1, 0x7f, 0, 0, 0],
        );
        let found = locate(&packet).unwrap();
        assert_eq!(found.mid(&packet), Some(&[][..]), "empty, but there");
        assert_eq!(found.rid(&packet), Some(&b"hi"[..]));
        assert_eq!(found.video_orientation(&packet), Some(3));
        let level = found.audio_level(&packet).unwrap();
        assert_eq!((level.level, level.voice), (127, false));
    }
}

#[test]
fn other_profiles_are_skipped() {
    let packet = with_block(0xabac, &[0x1f, 1, 2, 3]);
    assert_eq!(locate(&packet), Ok(Extensions::default()));
}

#[test]
fn elements_beyond_their_block_are_refused() {
    for (profile, block) in [
        (0xbede, [0, 0, 0x41, 1]),
        (0xbede, [0x1f, 1, 2, 3]),
        (0x1000, [4, 3, 1, 2]),
        (0x1000, [0, 0, 0, 4]),
    ] {
        let packet = with_block(profile, &block);
        assert_eq!(locate(&packet), Err(RtpError::BadExtension), "{block:?}");
    }
    let many = with_block(0xbede, &[0x50, 0].repeat(34));
    assert_eq!(locate(&many), Err(RtpError::BadExtension));
}

#[test]
fn short_values_are_absent_not_wrong() {
    let packet = with_block(0xbede, &[0x30, 1, 0x21, 1, 2, 0, 0, 0]);
    let found = locate(&packet).unwrap();
    assert_eq!(found.transport_sequence(&packet), None);
    assert_eq!(found.abs_send_time(&packet), None);
}

#[test]
fn playout_delay_and_capture_time() {
    let map: ExtensionMap = [
        (1, ExtensionKind::PlayoutDelay),
        (2, ExtensionKind::AbsCaptureTime),
    ]
    .into_iter()
    .collect();
    let packet = with_block(
        0xbede,
        &[
            0x12, 0x00, 0xa0, 0x64, 0x27, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,
        ],
    );
    let header = RtpHeader::parse(&packet).unwrap();
    let found = Extensions::locate(&packet, &header, &map).unwrap();
    let delay = found.playout_delay(&packet).unwrap();
    assert_eq!((delay.min, delay.max), (10, 100));
    assert_eq!(found.abs_capture_time(&packet), Some(0x1_0000_0002));
}

#[test]
fn extension_map_is_one_to_one() {
    let mut map = map();
    assert_eq!(map.kind(4), Some(ExtensionKind::Mid));
    assert_eq!(map.kind(20), Some(ExtensionKind::Rid));
    assert_eq!(map.kind(255), Some(ExtensionKind::VideoOrientation));
    assert_eq!(
        (map.kind(0), map.kind(14), map.kind(99)),
        (None, None, None)
    );
    assert_eq!(map.id(ExtensionKind::Mid), Some(4));
    assert!(!map.insert(4, ExtensionKind::RepairedRid), "id taken");
    assert!(!map.insert(9, ExtensionKind::Mid), "kind taken");
    assert!(!map.insert(0, ExtensionKind::RepairedRid), "id 0");
    assert!(map.insert(16, ExtensionKind::RepairedRid));
    assert_eq!(map.kind(16), Some(ExtensionKind::RepairedRid));
    assert_eq!(map.iter().count(), 8);
    for (id, kind) in map.iter() {
        assert_eq!((map.kind(id), map.id(kind)), (Some(kind), Some(id)));
    }
    for kind in ExtensionKind::ALL {
        assert_eq!(ExtensionKind::from_uri(kind.uri()), Some(*kind));
    }
}

#[test]
fn rtx_wraps_and_unwraps() {
    let mut out = [0; 8];
    let len = write_rtx_payload(&mut out, 0xfffe, b"media").unwrap();
    assert_eq!(split_rtx(&out[..len]), Some((0xfffe, &b"media"[..])));
    assert_eq!(write_rtx_payload(&mut out, 0, b"too long"), None);
    assert_eq!(split_rtx(&[]), None);
    assert_eq!(split_rtx(&[1]), None);
    assert_eq!(split_rtx(&[1, 2]), Some((0x0102, &[][..])));
}

#[test]
fn padding_packets_have_no_payload() {
    let fields = HeaderFields {
        payload_type: 97,
        ..HeaderFields::default()
    };
    let mut writer = HeaderWriter::new(fields);
    writer.push(3, &[0, 7]);
    let mut slot = [0xcc; 400];
    let len = write_padding_packet(&mut slot, &writer, 255).unwrap();
    assert_eq!(len, writer.len() + 255);
    let packet = &slot[..len];
    let header = RtpHeader::parse(packet).unwrap();
    assert_eq!(header.payload(packet), Ok(&[][..]));
    assert_eq!(locate(packet).unwrap().transport_sequence(packet), Some(7));
    assert_eq!(slot[len], 0xcc, "nothing after the packet is touched");
    assert_eq!(write_padding_packet(&mut slot, &writer, 0), None);
    assert_eq!(write_padding_packet(&mut slot[..270], &writer, 255), None);
}

#[test]
fn two_byte_form_only_when_needed() {
    let long = [9; 17];
    // (id, value, two-byte form)
    let table: [(u8, &[u8], bool); 5] = [
        (14, &[1; 16], false),
        (1, &[1], false),
        (15, &[1], true),
        (1, &[], true),
        (1, &long, true),
    ];
    for (id, value, two_byte) in table {
        let mut writer = HeaderWriter::new(HeaderFields::default());
        assert!(writer.push(3, &[1, 2]) && writer.push(id, value));
        let mut slot = [0xcc; 64];
        let len = writer.write(&mut slot).unwrap();
        let header = RtpHeader::parse(&slot[..len]).unwrap();
        assert_eq!(
            header.extension_profile == 0x1000,
            two_byte,
            "{id} {value:?}"
        );
        assert_eq!(usize::from(header.header_len), len);
        assert_eq!(writer.write(&mut slot[..len - 1]), None);
    }
}

#[test]
fn writer_refuses_what_the_wire_cannot_say() {
    let long = [0; 256];
    let mut writer = HeaderWriter::new(HeaderFields::default());
    assert!(!writer.push(0, &[1]));
    assert!(!writer.push(1, &long));
    assert_eq!(writer.len(), 12);
    for id in 1..=ELEMENTS_MAX as u8 {
        assert!(writer.push(id, &[1]));
    }
    assert!(!writer.push(13, &[1]));
}

fn fields() -> impl Strategy<Value = HeaderFields> {
    let numbers = (0..128u8, any::<u16>(), any::<u32>(), any::<u32>());
    (any::<bool>(), numbers).prop_map(|(marker, (payload_type, sequence, timestamp, ssrc))| {
        HeaderFields {
            marker,
            padding: false,
            payload_type,
            sequence,
            timestamp,
            ssrc,
        }
    })
}

fn elements(id_max: u8, len_max: usize) -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let value = proptest::collection::vec(any::<u8>(), 1..=len_max);
    proptest::collection::btree_map(1..=id_max, value, 0..ELEMENTS_MAX)
        .prop_map(|map| map.into_iter().collect())
}

/// Writes with ours, reads with the package.
fn check_written(fields: HeaderFields, elements: &[(u8, Vec<u8>)]) {
    let mut writer = HeaderWriter::new(fields);
    for (id, value) in elements {
        assert!(writer.push(*id, value));
    }
    let mut slot = [0xcc; 4096];
    let len = writer.write(&mut slot).unwrap();
    assert_eq!(len, writer.len());
    let theirs = Header::unmarshal(&mut &slot[..len]).unwrap();
    assert_eq!(theirs.marker, fields.marker);
    assert_eq!(theirs.payload_type, fields.payload_type);
    assert_eq!(theirs.sequence_number, fields.sequence);
    assert_eq!(theirs.timestamp, fields.timestamp);
    assert_eq!(theirs.ssrc, fields.ssrc);
    assert_eq!(theirs.get_extension_ids().len(), elements.len());
    for (id, value) in elements {
        assert_eq!(theirs.get_extension(*id).as_deref(), Some(&value[..]));
    }
}

/// Writes with the package, reads with ours.
fn check_read(fields: HeaderFields, elements: &[(u8, Vec<u8>)], profile: u16, csrcs: &[u32]) {
    let extensions = elements.iter().map(|(id, value)| Extension {
        id: *id,
        payload: Bytes::copy_from_slice(value),
    });
    let theirs = Header {
        version: 2,
        extension: !elements.is_empty(),
        marker: fields.marker,
        payload_type: fields.payload_type,
        sequence_number: fields.sequence,
        timestamp: fields.timestamp,
        ssrc: fields.ssrc,
        csrc: csrcs.to_vec(),
        extension_profile: profile,
        extensions: extensions.collect(),
        ..Header::default()
    };
    let packet = theirs.marshal().unwrap();
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(header.marker, fields.marker);
    assert_eq!(header.payload_type, fields.payload_type);
    assert_eq!(header.sequence, fields.sequence);
    assert_eq!(header.timestamp, fields.timestamp);
    assert_eq!(header.ssrc, fields.ssrc);
    assert_eq!(usize::from(header.header_len), packet.len());
    for (i, csrc) in csrcs.iter().enumerate() {
        assert_eq!(header.csrc(&packet, i as u8), Some(*csrc));
    }
    let kinds = ExtensionKind::ALL.iter();
    let map: ExtensionMap = elements
        .iter()
        .map(|(id, _)| *id)
        .zip(kinds.copied())
        .collect();
    let found = Extensions::locate(&packet, &header, &map).unwrap();
    for ((_, value), kind) in elements.iter().zip(ExtensionKind::ALL) {
        assert_eq!(found.get(*kind, &packet), Some(&value[..]), "{kind:?}");
    }
}

proptest! {
    #[test]
    fn the_package_reads_what_we_write(fields in fields(), short in elements(14, 16), long in elements(255, 255)) {
        check_written(fields, &short);
        check_written(fields, &long);
    }

    #[test]
    fn we_read_what_the_package_writes(
        fields in fields(),
        short in elements(14, 16),
        long in elements(255, 255),
        csrcs in proptest::collection::vec(any::<u32>(), 0..16),
    ) {
        check_read(fields, &short, 0xbede, &csrcs);
        check_read(fields, &long, 0x1000, &csrcs);
    }

    #[test]
    fn whatever_comes_spans_stay_inside(
        mut packet in proptest::collection::vec(any::<u8>(), 0..200),
        profile in prop_oneof![Just(0xbedeu16), Just(0x1000), any::<u16>()],
        words in 0..8u16,
    ) {
        if packet.len() >= 16 {
            packet[0] = 0x90 | (packet[0] & 0x20);
            packet[12..14].copy_from_slice(&profile.to_be_bytes());
            packet[14..16].copy_from_slice(&words.to_be_bytes());
        }
        let Ok(header) = RtpHeader::parse(&packet) else { return Ok(()) };
        prop_assert!(usize::from(header.header_len) <= packet.len());
        if let Ok(payload) = header.payload(&packet) {
            prop_assert!(payload.len() <= packet.len() - usize::from(header.header_len));
        }
        if let Ok(found) = Extensions::locate(&packet, &header, &map()) {
            let block = packet[..usize::from(header.header_len)].as_ptr_range();
            for kind in ExtensionKind::ALL {
                if let Some(value) = found.get(*kind, &packet) {
                    prop_assert!(block.start <= value.as_ptr() && value.as_ptr_range().end <= block.end);
                }
            }
        }
    }
}
