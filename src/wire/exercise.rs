//! Every reader of this folder run over arbitrary bytes to its end: what fuzz targets and corpus replays call.
//!
//! A function returns for whatever bytes; a panic is a finding. The assertions are the readers' invariants.

use super::codec::{CodecKind, av1, h264, is_key_frame, key_frame_size, opus, vp8, vp9};
use super::demux::{Protocol, classify};
use super::rtcp::{Compound, Packet};
use super::rtp::{ExtensionKind, ExtensionMap, Extensions, RtpHeader, split_rtx};
use crate::limits::{RTCP_COMPOUND_MAX, STUN_BYTES_MAX};
use crate::wire::bytes::put;
use crate::wire::stun;

/// Classifies `bytes` and gives them to the parser of what they are.
pub fn datagram(bytes: &[u8]) {
    match classify(bytes) {
        Some(Protocol::Stun) => stun_message(bytes),
        Some(Protocol::Rtp) => rtp(bytes),
        Some(Protocol::Rtcp) => rtcp(bytes),
        Some(Protocol::Dtls) | None => {}
    }
}

/// Reads `bytes` as STUN.
pub fn stun_message(bytes: &[u8]) {
    let Ok(message) = stun::parse(bytes) else {
        return;
    };
    assert!(bytes.len() <= STUN_BYTES_MAX && message.len() == bytes.len());
    assert!(message.unknown_attributes().len() <= bytes.len() / 4);
    message.verify(b"a password of twenty-two");
    assert_eq!(
        message.local_ufrag().is_some(),
        message.remote_ufrag().is_some()
    );
}

/// Reads `attributes` as those of a Binding request whose header and FINGERPRINT are right.
pub fn stun_attributes(attributes: &[u8]) {
    const HEAD: &[u8] = b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction!";
    let len = attributes.len() & !3;
    let end = HEAD.len() + len;
    let mut out = [0; STUN_BYTES_MAX];
    let body = attributes.get(..len).unwrap_or(&[]);
    let write = |out: &mut [u8]| {
        put(out, 0, HEAD)?;
        put(out, HEAD.len(), body)?;
        put(out, 2, &(len as u16 + 8).to_be_bytes())?;
        let value = stun::fingerprint(out.get(..end)?);
        put(out, end, &[0x80, 0x28, 0, 4])?;
        put(out, end + 4, &value.to_be_bytes())
    };
    if write(&mut out).is_some() {
        stun_message(out.get(..end + 8).unwrap_or(&[]));
    }
}

/// Reads `bytes` as RTP, sealed and open, with every extension and every codec.
pub fn rtp(bytes: &[u8]) {
    let Ok(header) = RtpHeader::parse(bytes) else {
        return;
    };
    assert!(usize::from(header.header_len) <= bytes.len());
    let kinds = ExtensionKind::ALL.iter().copied();
    let map: ExtensionMap = (1u8..).zip(kinds).collect();
    let found = Extensions::locate(bytes, &header, &map).unwrap_or_default();
    for kind in ExtensionKind::ALL {
        let value = found.get(*kind, bytes);
        assert_eq!(value.is_some(), found.contains(*kind));
    }
    found.audio_level(bytes);
    found.transport_sequence(bytes);
    found.abs_send_time(bytes);
    found.video_orientation(bytes);
    found.playout_delay(bytes);
    found.abs_capture_time(bytes);
    if let Ok(payload) = header.payload(bytes) {
        codec(payload, found.dependency_descriptor(bytes));
        if let Some((_, original)) = split_rtx(payload) {
            codec(original, None);
        }
    }
}

/// Reads `payload` as each codec's, and `descriptor` as an AV1 dependency descriptor.
pub fn codec(payload: &[u8], descriptor: Option<&[u8]>) {
    for codec in CodecKind::ALL {
        is_key_frame(codec, payload, descriptor);
        key_frame_size(codec, payload, descriptor);
    }
    opus::is_dtx(payload);
    h264::summarize(payload);
    av1::AggregationHeader::parse(payload);
    if let Some(found) = vp8::Vp8Descriptor::parse(payload) {
        assert!(usize::from(found.len) < payload.len());
    }
    if let Some(found) = vp9::Vp9Descriptor::parse(payload) {
        assert!(usize::from(found.len) < payload.len());
    }
    let parsed = av1::DependencyDescriptor::parse(descriptor.unwrap_or(payload), None);
    let Some(structure) = parsed.and_then(|p| p.structure) else {
        return;
    };
    assert!(structure.templates().len() <= av1::TEMPLATES_MAX);
    for target in 0..structure.decode_targets {
        structure.target_layers(target);
    }
    for id in 0..64 {
        structure.template(id);
    }
    av1::DependencyDescriptor::parse(payload, Some(&structure));
}

/// Reads `bytes` as an RTCP compound, every packet to its end.
pub fn rtcp(bytes: &[u8]) {
    let Ok(compound) = Compound::parse(bytes) else {
        return;
    };
    let mut packets = 0;
    for packet in compound.packets() {
        packets += 1;
        let items = packet.map_or(0, |packet| rtcp_items(&packet));
        // A word of a NACK names 17 packets, a chunk of feedback 8,191.
        assert!(items <= bytes.len() * 8_192);
    }
    assert!(packets <= RTCP_COMPOUND_MAX);
}

fn rtcp_items(packet: &Packet<'_>) -> usize {
    match packet {
        Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
            blocks.count()
        }
        Packet::Sdes(sdes) => sdes.cnames().count(),
        Packet::Bye(bye) => bye.ssrcs().count(),
        Packet::Nack(nack) => nack.sequences().count(),
        Packet::Fir(fir) => fir.entries().count(),
        Packet::Remb(remb) => remb.ssrcs().count(),
        Packet::TransportFeedback(feedback) => {
            let count = feedback.statuses().count();
            assert_eq!(count, usize::from(feedback.status_count));
            count
        }
        Packet::Pli { .. } | Packet::Unknown { .. } => 0,
    }
}
