//! Builders shared by the tests of this layer.

use crate::error::DropReason;
use crate::media::*;
use crate::time::Time;
use crate::wire::rtp::{
    ExtensionKind, ExtensionMap, Extensions, HeaderFields, HeaderWriter, RtpHeader,
};
use crate::wire::sdp::CodecFormat;

pub const VP8_PT: u8 = 96;
pub const VP8_RTX_PT: u8 = 97;
pub const OPUS_PT: u8 = 111;
pub const DOWN_VP8_PT: u8 = 120;
pub const DOWN_RTX_PT: u8 = 121;
pub const DOWN_OPUS_PT: u8 = 109;
pub const UP_SSRC: u32 = 0x1111;
pub const UP_RTX_SSRC: u32 = 0x2222;
pub const DOWN_SSRC: u32 = 0xaaaa;
pub const DOWN_RTX_SSRC: u32 = 0xbbbb;

pub fn ms(ms: u64) -> Time {
    Time::from_millis(ms)
}

/// Extension ids of the publisher.
pub fn up_extensions() -> ExtensionMap {
    [
        (1, ExtensionKind::AudioLevel),
        (3, ExtensionKind::TransportCc),
        (13, ExtensionKind::VideoOrientation),
        (12, ExtensionKind::DependencyDescriptor),
    ]
    .into_iter()
    .collect()
}

/// Extension ids of the subscriber: all different from the publisher's.
pub fn down_extensions() -> ExtensionMap {
    [
        (9, ExtensionKind::AudioLevel),
        (5, ExtensionKind::TransportCc),
        (2, ExtensionKind::VideoOrientation),
        (4, ExtensionKind::Mid),
        (6, ExtensionKind::AbsSendTime),
        (7, ExtensionKind::DependencyDescriptor),
    ]
    .into_iter()
    .collect()
}

pub fn video_up(id: u32) -> UpTrack {
    UpTrack::new(UpTrackConfig {
        id,
        video: true,
        codecs: vec![
            UpCodec {
                format: CodecFormat::Vp8,
                payload_type: VP8_PT,
                rtx_payload_type: Some(VP8_RTX_PT),
            },
            UpCodec {
                format: CodecFormat::Av1 { profile: 0 },
                payload_type: 45,
                rtx_payload_type: None,
            },
        ],
        nack: true,
    })
}

pub fn audio_up(id: u32) -> UpTrack {
    UpTrack::new(UpTrackConfig {
        id,
        video: false,
        codecs: vec![UpCodec {
            format: CodecFormat::Opus,
            payload_type: OPUS_PT,
            rtx_payload_type: None,
        }],
        nack: false,
    })
}

pub fn down() -> DownTrack {
    down_with(Some(DOWN_RTX_SSRC))
}

pub fn down_with(rtx_ssrc: Option<u32>) -> DownTrack {
    let mut down = DownTrack::new(DownTrackConfig {
        ssrc: DOWN_SSRC,
        rtx_ssrc,
        first_sequence: 100,
        first_timestamp: 50_000,
        first_rtx_sequence: 7,
    });
    down.set_negotiated(&DownNegotiated {
        codecs: vec![
            DownCodec {
                format: CodecFormat::Vp8,
                payload_type: DOWN_VP8_PT,
                rtx_payload_type: Some(DOWN_RTX_PT),
            },
            DownCodec {
                format: CodecFormat::Opus,
                payload_type: DOWN_OPUS_PT,
                rtx_payload_type: None,
            },
        ],
        extensions: down_extensions(),
        mid: "s3".to_owned(),
    });
    down
}

/// A VP8 payload: picture id and TL0PICIDX, then `body`. A key frame says 640×360.
pub fn vp8(key: bool, first: bool, picture: u16, tl0: u8, body: &[u8]) -> Vec<u8> {
    let start = if first { 0x90 } else { 0x80 };
    let [p0, p1] = (picture | 0x8000).to_be_bytes();
    let mut payload = vec![start, 0xc0, p0, p1, tl0];
    if key && first {
        payload.extend_from_slice(&[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]);
    } else {
        payload.push(0x11);
    }
    payload.extend_from_slice(body);
    payload
}

/// One packet of a publisher.
#[derive(Clone)]
pub struct Sent {
    pub header: HeaderFields,
    pub payload: Vec<u8>,
    pub elements: Vec<(u8, Vec<u8>)>,
    pub padding: u8,
}

impl Sent {
    pub fn video(sequence: u16, timestamp: u32, payload: Vec<u8>) -> Sent {
        Sent {
            header: HeaderFields {
                payload_type: VP8_PT,
                sequence,
                timestamp,
                ssrc: UP_SSRC,
                ..HeaderFields::default()
            },
            payload,
            elements: Vec::new(),
            padding: 0,
        }
    }

    pub fn audio(sequence: u16, timestamp: u32) -> Sent {
        let mut sent = Sent::video(sequence, timestamp, vec![0xfc, 1, 2, 3]);
        sent.header.payload_type = OPUS_PT;
        sent.elements = vec![(1, vec![0x80 | 30])];
        sent
    }

    /// The same packet as a retransmission.
    pub fn rtx(&self, rtx_sequence: u16) -> Sent {
        let mut rtx = self.clone();
        rtx.header.payload_type = VP8_RTX_PT;
        rtx.header.ssrc = UP_RTX_SSRC;
        rtx.header.sequence = rtx_sequence;
        rtx.payload = self.header.sequence.to_be_bytes().to_vec();
        rtx.payload.extend_from_slice(&self.payload);
        rtx
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut header = self.header;
        header.padding = self.padding > 0;
        let mut writer = HeaderWriter::new(header);
        for (id, value) in &self.elements {
            assert!(writer.push(*id, value));
        }
        let mut packet = vec![0; 1500];
        let len = writer.write(&mut packet).unwrap();
        packet.truncate(len);
        packet.extend_from_slice(&self.payload);
        if self.padding > 0 {
            packet.resize(packet.len() + usize::from(self.padding), self.padding);
        }
        packet
    }
}

/// A packet taken in, with its bytes owned so that a test can keep it.
#[derive(Debug, Clone)]
pub struct Taken {
    pub fields: PacketFields,
    pub descriptor: Vec<u8>,
    pub payload: Vec<u8>,
    pub recovered: bool,
}

pub fn take(up: &mut UpTrack, now: Time, sent: &Sent) -> Result<Taken, DropReason> {
    let bytes = sent.bytes();
    let header = RtpHeader::parse(&bytes).unwrap();
    let extensions = Extensions::locate(&bytes, &header, &up_extensions()).unwrap();
    let received = up.handle_rtp(now, &bytes, &header, &extensions)?;
    Ok(Taken {
        fields: received.fields,
        descriptor: received.descriptor.to_vec(),
        payload: received.payload.to_vec(),
        recovered: received.recovered,
    })
}

/// A packet as a subscriber gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub header: RtpHeader,
    pub payload: Vec<u8>,
    pub bytes: Vec<u8>,
}

pub fn write(down: &DownTrack, rewrite: &Rewrite, packet: &Taken) -> Got {
    let stamp = Stamp {
        now: packet.fields.arrival,
        transport_sequence: Some(0x1234),
        padding: false,
    };
    let mut slot = vec![0xee; 1500];
    let written = down
        .write_packet(
            rewrite,
            &packet.fields,
            &packet.descriptor,
            &packet.payload,
            &stamp,
            &mut slot,
        )
        .unwrap();
    slot.truncate(written.len);
    let header = RtpHeader::parse(&slot).unwrap();
    assert_eq!(usize::from(header.header_len), written.header_len);
    let payload = header.payload(&slot).unwrap().to_vec();
    Got {
        header,
        payload,
        bytes: slot,
    }
}

/// Publisher's packet to subscriber's packet.
pub fn relay(
    up: &mut UpTrack,
    down: &mut DownTrack,
    now: Time,
    sent: &Sent,
) -> Result<Got, DropReason> {
    let taken = take(up, now, sent)?;
    let rewrite = down.forward(&taken.fields)?;
    Ok(write(down, &rewrite, &taken))
}

/// Subscriber's NACK to the packet it gets.
pub fn resend(
    up: &UpTrack,
    down: &mut DownTrack,
    now: Time,
    sequence: u16,
) -> Result<Got, DropReason> {
    let (rewrite, cached) = down.resend(now, sequence, up)?;
    let taken = Taken {
        fields: *cached.fields,
        descriptor: cached.descriptor.to_vec(),
        payload: cached.payload.to_vec(),
        recovered: false,
    };
    Ok(write(down, &rewrite, &taken))
}
