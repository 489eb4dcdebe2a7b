//! SRTP against the RFCs' vectors, an independent crate, hostile inputs and itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
use proptest::prelude::*;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::cipher::Cipher;
use super::*;
use crate::limits::{REPLAY_WINDOW, SEND_SSRCS_MAX, SSRCS_PER_PEER_MAX};

/// Bytes of a hexadecimal string, white space ignored.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16).map(|d| d as u8))
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SALT: &str = "517569642070726f2071756f";

fn gcm(key_len: usize) -> Cipher {
    let algorithm = if key_len == 16 {
        &AES_128_GCM
    } else {
        &AES_256_GCM
    };
    let key = UnboundKey::new(algorithm, &hex(KEY_256)[..key_len]).unwrap();
    Cipher::Gcm {
        key: LessSafeKey::new(key),
        salt: hex(SALT).try_into().unwrap(),
    }
}

/// RFC 7714 sections 16.1 and 16.2: session keys given, roll-over counter 0.
#[test]
fn rfc7714_rtp() {
    let plain = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
         69736120 696e2070 61727465 73207472 6573",
    );
    let cases = [
        (
            16,
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
             42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        ),
        (
            32,
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3
             b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        ),
    ];
    for (key_len, want) in cases {
        let cipher = gcm(key_len);
        let mut slot = [0; 100];
        slot[..plain.len()].copy_from_slice(&plain);
        let len = cipher
            .seal_rtp(&mut slot, 12, plain.len(), 0x5501_a0b2, 0xf17b)
            .unwrap();
        assert_eq!(slot[..len], hex(want), "{key_len}");
        let mut other = [0; 100];
        other[..12].copy_from_slice(&plain[..12]);
        let len = cipher
            .seal_rtp_from(&mut other, 12, &plain[12..], 0x5501_a0b2, 0xf17b)
            .unwrap();
        assert_eq!(other[..len], slot[..len], "one pass and in place differ");
        let opened = cipher
            .open_rtp(&mut slot[..len], 12, 0x5501_a0b2, 0xf17b)
            .unwrap();
        assert_eq!(slot[..opened], plain);
    }
}

/// RFC 7714 sections 17.1 and 17.3: SRTCP index 0x5d4.
#[test]
fn rfc7714_rtcp() {
    let plain = hex(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
         deadbeef deadbeef deadbeef deadbeef deadbeef",
    );
    let cases = [
        (
            16,
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
             730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        ),
        (
            32,
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1
             110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
        ),
    ];
    for (key_len, want) in cases {
        let cipher = gcm(key_len);
        let mut slot = [0; 100];
        slot[..plain.len()].copy_from_slice(&plain);
        let len = cipher
            .seal_rtcp(&mut slot, plain.len(), 0x4d61_7273, 0x5d4)
            .unwrap();
        assert_eq!(slot[..len], hex(want), "{key_len}");
        assert_eq!(cipher.rtcp_index(&slot[..len]), Ok((true, 0x5d4)));
        let opened = cipher
            .open_rtcp(&mut slot[..len], 0x4d61_7273, 0x5d4)
            .unwrap();
        assert_eq!(slot[..opened], plain);
    }
}

/// RFC 3711 appendix B.2: key stream of AES-CM with SSRC 0 and index 0.
#[test]
fn rfc3711_key_stream() {
    use aws_lc_rs::cipher::{AES_128, EncryptingKey, UnboundCipherKey};
    use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key};
    let key = hex("2B7E151628AED2A6ABF7158809CF4F3C");
    let cipher = Cipher::Cm {
        key: EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, &key).unwrap()).unwrap(),
        mac: Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[0; 20]),
        salt: hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap(),
    };
    let mut slot = [0; 12 + 48 + 10];
    cipher.seal_rtp(&mut slot, 12, 60, 0, 0).unwrap();
    let want = hex(
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
         41E95B3BB0A2E8DD477901E4FCA894C0",
    );
    assert_eq!(slot[12..60], want);
}

fn master(profile: SrtpProfile, fill: u8) -> (Vec<u8>, Vec<u8>, MasterKey) {
    let key: Vec<u8> = (0..profile.key_len()).map(|i| fill ^ i as u8).collect();
    let salt: Vec<u8> = (0..profile.salt_len())
        .map(|i| fill ^ 0x80 ^ i as u8)
        .collect();
    let master = MasterKey::new(profile, &key, &salt).unwrap();
    (key, salt, master)
}

fn pair(profile: SrtpProfile) -> (Outbound, Inbound) {
    let (_, _, master) = master(profile, 7);
    (
        Outbound::new(profile, &master).unwrap(),
        Inbound::new(profile, &master).unwrap(),
    )
}

fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn rtcp(ssrc: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, (1 + body.len() / 4) as u8];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(body);
    packet
}

fn seal_rtp(outbound: &mut Outbound, packet: &[u8]) -> Vec<u8> {
    let mut slot = packet.to_vec();
    slot.resize(packet.len() + SRTP_TAG_BYTES_MAX, 0xee);
    let header_len = rtp_header_len(packet).unwrap();
    let len = outbound
        .seal_rtp(&mut slot, header_len, packet.len())
        .unwrap();
    slot.truncate(len);
    slot
}

fn seal_rtcp(outbound: &mut Outbound, packet: &[u8]) -> Vec<u8> {
    let mut slot = packet.to_vec();
    slot.resize(packet.len() + SRTCP_OVERHEAD_BYTES_MAX, 0xee);
    let len = outbound.seal_rtcp(&mut slot, packet.len()).unwrap();
    slot.truncate(len);
    slot
}

fn open_rtp(inbound: &mut Inbound, sealed: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut packet = sealed.to_vec();
    let header_len = rtp_header_len(&packet).ok_or(DropReason::RtpMalformed)?;
    let len = inbound.open_rtp(&mut packet, header_len)?;
    packet.truncate(len);
    Ok(packet)
}

fn open_rtcp(inbound: &mut Inbound, sealed: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut packet = sealed.to_vec();
    let len = inbound.open_rtcp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

#[test]
fn keying_material_is_split_as_rfc5764_says() {
    let material: Vec<u8> = (0..56).collect();
    for (client, local_first) in [(true, 0), (false, 16)] {
        let keys = SrtpKeys::from_exporter(SrtpProfile::AeadAes128Gcm, &material, client).unwrap();
        assert_eq!(keys.local.key[0], local_first);
        assert_eq!(keys.remote.key[0], 16 - local_first);
        assert_eq!(keys.local.salt[0], if client { 32 } else { 44 });
    }
    assert!(SrtpKeys::from_exporter(SrtpProfile::AeadAes256Gcm, &material, true).is_none());
}

#[test]
fn a_packet_opens_once_and_only_unchanged() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let plain = rtp(5, 100, b"some payload");
        let sealed = seal_rtp(&mut outbound, &plain);
        assert_eq!(sealed.len(), plain.len() + profile.tag_len());
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 0x01;
            assert!(
                open_rtp(&mut inbound, &forged).is_err(),
                "{profile:?} byte {at}"
            );
        }
        assert_eq!(inbound.ssrc_count(), 0, "forgeries must leave no state");
        assert_eq!(open_rtp(&mut inbound, &sealed), Ok(plain));
        assert_eq!(open_rtp(&mut inbound, &sealed), Err(DropReason::SrtpReplay));
    }
}

#[test]
fn an_srtcp_packet_opens_once_and_only_unchanged() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let plain = rtcp(5, b"twelve bytes");
        let sealed = seal_rtcp(&mut outbound, &plain);
        assert_eq!(sealed.len(), plain.len() + profile.tag_len() + 4);
        for at in 0..sealed.len() {
            for bit in [0x01, 0x80] {
                let mut forged = sealed.clone();
                forged[at] ^= bit;
                assert!(
                    open_rtcp(&mut inbound, &forged).is_err(),
                    "{profile:?} byte {at}"
                );
            }
        }
        assert_eq!(inbound.ssrc_count(), 0, "forgeries must leave no state");
        assert_eq!(open_rtcp(&mut inbound, &sealed), Ok(plain.clone()));
        assert_eq!(
            open_rtcp(&mut inbound, &sealed),
            Err(DropReason::SrtpReplay)
        );
        assert_eq!(
            open_rtcp(&mut inbound, &seal_rtcp(&mut outbound, &plain)),
            Ok(plain)
        );
    }
}

/// The published crate accepts this forgery under AES-CM: E flag 0 and any tag.
#[test]
fn srtcp_without_the_e_flag_is_refused() {
    for profile in SrtpProfile::ALL {
        let (_, mut inbound) = pair(profile);
        let mut forged = rtcp(5, &[0; 40]);
        forged.extend([0; 20]);
        assert_eq!(
            open_rtcp(&mut inbound, &forged),
            Err(DropReason::SrtcpUnencrypted)
        );
    }
}

#[test]
fn roll_over_with_loss_and_reordering() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let mut kept = Vec::new();
        // Three turns of the sequence number in steps that skip packets as loss does.
        for index in (0..200_000u64).step_by(61) {
            let plain = rtp(9, index as u16, &index.to_be_bytes());
            let sealed = seal_rtp(&mut outbound, &plain);
            if index % 7 == 3 {
                kept.push((plain, sealed));
                continue;
            }
            assert_eq!(open_rtp(&mut inbound, &sealed), Ok(plain), "{index}");
            if let Some((plain, sealed)) = kept.pop() {
                // One step late, also across the wrap; the same number is never sealed twice.
                let mut again = plain.clone();
                again.resize(plain.len() + 32, 0);
                assert_eq!(
                    outbound.seal_rtp(&mut again, 12, plain.len()),
                    Err(DropReason::SrtpReplay)
                );
                assert_eq!(open_rtp(&mut inbound, &sealed), Ok(plain));
            }
        }
    }
}

#[test]
fn packets_behind_the_window_are_replays() {
    let (mut outbound, mut inbound) = pair(SrtpProfile::AeadAes128Gcm);
    let sealed: Vec<_> = (0..=REPLAY_WINDOW as u16)
        .map(|sequence| seal_rtp(&mut outbound, &rtp(1, sequence, b"x")))
        .collect();
    assert!(open_rtp(&mut inbound, sealed.last().unwrap()).is_ok());
    assert_eq!(
        open_rtp(&mut inbound, &sealed[0]),
        Err(DropReason::SrtpReplay)
    );
    assert!(open_rtp(&mut inbound, &sealed[1]).is_ok());
}

#[test]
fn ssrcs_are_bounded_both_ways() {
    let (mut outbound, mut inbound) = pair(SrtpProfile::AeadAes128Gcm);
    for ssrc in 0..SEND_SSRCS_MAX as u32 {
        // An odd stride, so that the sorted table is filled out of order.
        let ssrc = ssrc.wrapping_mul(0x9e37_79b1);
        let sealed = seal_rtp(&mut outbound, &rtp(ssrc, 1, b"x"));
        let opened = open_rtp(&mut inbound, &sealed);
        if inbound.ssrc_count() < SSRCS_PER_PEER_MAX {
            assert!(opened.is_ok());
        }
    }
    assert_eq!(inbound.ssrc_count(), SSRCS_PER_PEER_MAX);
    let one_more = rtp(3, 1, b"x");
    let mut slot = one_more.clone();
    slot.resize(100, 0);
    assert_eq!(
        outbound.seal_rtp(&mut slot, 12, one_more.len()),
        Err(DropReason::TooManySsrcs)
    );
    let (mut other, _) = pair(SrtpProfile::AeadAes128Gcm);
    let sealed = seal_rtp(&mut other, &one_more);
    assert_eq!(
        open_rtp(&mut inbound, &sealed),
        Err(DropReason::TooManySsrcs)
    );
    let known = seal_rtp(&mut outbound, &rtp(0, 2, b"x"));
    assert!(open_rtp(&mut inbound, &known).is_ok(), "known ones go on");
}

#[test]
fn no_room_for_the_tag_is_oversize() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, _) = pair(profile);
        let mut slot = rtp(1, 1, b"payload");
        let len = slot.len();
        slot.resize(len + profile.tag_len() - 1, 0);
        assert_eq!(
            outbound.seal_rtp(&mut slot, 12, len),
            Err(DropReason::Oversize)
        );
        assert_eq!(
            outbound.seal_rtp_from(&mut slot, 12, b"payload"),
            Err(DropReason::Oversize)
        );
        assert_eq!(
            outbound.seal_rtcp(&mut slot, len),
            Err(DropReason::Oversize)
        );
        assert_eq!(
            outbound.seal_rtp(&mut slot[..9], 12, 9),
            Err(DropReason::SrtpShort)
        );
    }
}

/// Inputs that crashed or fooled the published crate, and every prefix and length around them.
#[test]
fn hostile_inputs_are_counted_drops() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hostile");
    let mut read = 0;
    for profile in SrtpProfile::ALL {
        let (_, mut inbound) = pair(profile);
        for kind in std::fs::read_dir(folder).unwrap() {
            for file in std::fs::read_dir(kind.unwrap().path()).unwrap() {
                let bytes = std::fs::read(file.unwrap().path()).unwrap();
                read += 1;
                for end in 0..=bytes.len() {
                    assert!(open_rtp(&mut inbound, &bytes[..end]).is_err());
                    assert!(open_rtcp(&mut inbound, &bytes[..end]).is_err());
                    for header_len in [0, 1, 12, end, end + 1] {
                        let mut copy = bytes[..end].to_vec();
                        assert!(inbound.open_rtp(&mut copy, header_len).is_err());
                    }
                }
            }
        }
        assert_eq!(inbound.ssrc_count(), 0);
    }
    assert!(read > 100, "hostile inputs are missing from {folder}");
}

fn oracle(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Context {
    let profile = match profile {
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    Context::new(key, salt, profile, None, None).unwrap()
}

/// A valid RTP packet of any shape: CSRCs, extension, payload.
fn any_rtp() -> impl Strategy<Value = (u32, Vec<u8>, Option<Vec<u8>>, Vec<u8>)> {
    let csrcs = proptest::collection::vec(any::<u8>(), 0..4)
        .prop_map(|c| c.iter().flat_map(|b| [*b, 1, 2, 3]).collect::<Vec<u8>>());
    let extension = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..5).prop_map(
        // One-byte elements of length 1, each filling a word.
        |e| e.iter().flat_map(|b| [0x10, *b, 0, 0]).collect::<Vec<u8>>(),
    ));
    let payload = proptest::collection::vec(any::<u8>(), 1..1200);
    (0u32..3, csrcs, extension, payload)
}

fn build(
    ssrc: u32,
    sequence: u16,
    csrcs: &[u8],
    extension: Option<&[u8]>,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = rtp(ssrc, sequence, csrcs);
    packet[0] |= (csrcs.len() / 4) as u8;
    if let Some(extension) = extension {
        packet[0] |= 0x10;
        packet.extend([0xbe, 0xde, 0, (extension.len() / 4) as u8]);
        packet.extend(extension);
    }
    packet.extend(payload);
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn agrees_with_an_independent_crate(
        packets in proptest::collection::vec(any_rtp(), 1..40),
        start in prop_oneof![Just(65_500u16), Just(0u16), 0u16..40_000],
        fill: u8,
        which in 0usize..3,
    ) {
        let profile = SrtpProfile::ALL[which];
        let (key, salt, master) = master(profile, fill);
        let mut theirs_in = oracle(profile, &key, &salt);
        let mut theirs_out = oracle(profile, &key, &salt);
        let mut outbound = Outbound::new(profile, &master).unwrap();
        let mut inbound = Inbound::new(profile, &master).unwrap();
        for (at, (ssrc, csrcs, extension, payload)) in packets.iter().enumerate() {
            let sequence = start.wrapping_add(at as u16 * 3);
            let plain = build(*ssrc, sequence, csrcs, extension.as_deref(), payload);
            let sealed = seal_rtp(&mut outbound, &plain);
            let theirs = theirs_out.encrypt_rtp(&plain).unwrap();
            prop_assert_eq!(&sealed[..], &theirs[..]);
            prop_assert_eq!(&theirs_in.decrypt_rtp(&sealed).unwrap()[..], &plain[..]);
            prop_assert_eq!(open_rtp(&mut inbound, &theirs), Ok(plain));

            let words = payload.len() / 4 * 4;
            let compound = rtcp(*ssrc, &payload[..words.min(200)]);
            let sealed = seal_rtcp(&mut outbound, &compound);
            prop_assert_eq!(&theirs_in.decrypt_rtcp(&sealed).unwrap()[..], &compound[..]);
            let theirs = theirs_out.encrypt_rtcp(&compound).unwrap();
            prop_assert_eq!(open_rtcp(&mut inbound, &theirs), Ok(compound));
        }
    }

    #[test]
    fn random_bytes_never_open_and_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        header_len in 0usize..220,
        which in 0usize..3,
    ) {
        let (_, mut inbound) = pair(SrtpProfile::ALL[which]);
        let mut copy = bytes.clone();
        let result = catch_unwind(AssertUnwindSafe(|| inbound.open_rtp(&mut copy, header_len)));
        prop_assert!(matches!(result, Ok(Err(_))));
        prop_assert!(open_rtcp(&mut inbound, &bytes).is_err());
        prop_assert_eq!(inbound.ssrc_count(), 0);
    }
}
