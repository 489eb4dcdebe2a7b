//! One session key at work: seals and opens the bytes of one packet, given its index.
//!
//! Stateless on purpose: who may use which index is decided in `inbound` and `outbound`. Tags are compared in constant
//! time. AES-CM costs one CTR pass and one HMAC-SHA1 over the packet; both keys are scheduled once, and neither
//! call allocates. RFC 3711 sections 4.1.1 and 4.2.1, RFC 7714 sections 8 and 9.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use subtle::ConstantTimeEq;

use super::kdf::{Label, derive};
use super::{MasterKey, SrtpProfile};
use crate::error::DropReason;

/// Encrypted flag of the SRTCP index word (RFC 3711 section 3.4).
pub(super) const SRTCP_E_FLAG: u32 = 1 << 31;
/// Header of an RTCP packet that stays in the clear: fixed word and SSRC.
const RTCP_CLEAR_BYTES: usize = 8;
const AEAD_TAG_BYTES: usize = 16;
const HMAC_TAG_BYTES: usize = 10;
/// The SRTCP word with E flag and index.
pub(super) const SRTCP_INDEX_BYTES: usize = 4;

/// Which of the two streams of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Rtp,
    Rtcp,
}

/// Session keys of one direction and stream.
#[allow(clippy::large_enum_variant)] // One for each direction of a transport: no array of them, and no pointer to chase.
pub(super) enum Cipher {
    /// AEAD_AES_128_GCM or AEAD_AES_256_GCM.
    Gcm { key: LessSafeKey, salt: [u8; 12] },
    /// AES_128_CM with HMAC-SHA1-80.
    Cm {
        key: EncryptingKey,
        mac: hmac::Key,
        salt: [u8; 14],
    },
}

impl Cipher {
    /// Derives the session keys of `stream`. `None` cannot happen with a well-formed [`MasterKey`].
    pub(super) fn new(profile: SrtpProfile, master: &MasterKey, stream: Stream) -> Option<Cipher> {
        let (encryption, authentication, salting) = match stream {
            Stream::Rtp => (
                Label::RtpEncryption,
                Label::RtpAuthentication,
                Label::RtpSalt,
            ),
            Stream::Rtcp => (
                Label::RtcpEncryption,
                Label::RtcpAuthentication,
                Label::RtcpSalt,
            ),
        };
        let mut key = [0u8; 32];
        let key = key.get_mut(..profile.key_len())?;
        derive(profile, master, encryption, key)?;
        let algorithm = match profile {
            SrtpProfile::AeadAes128Gcm => &AES_128_GCM,
            SrtpProfile::AeadAes256Gcm => &AES_256_GCM,
            SrtpProfile::Aes128CmHmacSha1_80 => {
                let mut salt = [0u8; 14];
                derive(profile, master, salting, &mut salt)?;
                let mut mac = [0u8; 20];
                derive(profile, master, authentication, &mut mac)?;
                return Some(Cipher::Cm {
                    key: EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, key).ok()?).ok()?,
                    mac: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &mac),
                    salt,
                });
            }
        };
        let mut salt = [0u8; 12];
        derive(profile, master, salting, &mut salt)?;
        Some(Cipher::Gcm {
            key: LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?),
            salt,
        })
    }

    /// Bytes a tag takes.
    pub(super) fn tag_len(&self) -> usize {
        match self {
            Cipher::Gcm { .. } => AEAD_TAG_BYTES,
            Cipher::Cm { .. } => HMAC_TAG_BYTES,
        }
    }

    /// Seals `slot[..len]`, of which `header_len` bytes stay clear; the tag follows. Returns the new length.
    pub(super) fn seal_rtp(
        &self,
        slot: &mut [u8],
        header_len: usize,
        len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, DropReason> {
        let total = len + self.tag_len();
        let packet = slot.get_mut(..total).ok_or(DropReason::Oversize)?;
        let (clear, tag) = packet
            .split_at_mut_checked(len)
            .ok_or(DropReason::Oversize)?;
        match self {
            Cipher::Gcm { key, salt } => {
                let (header, payload) = clear
                    .split_at_mut_checked(header_len)
                    .ok_or(DropReason::SrtpShort)?;
                let nonce = gcm_nonce(salt, ssrc, index);
                key.seal_in_place_scatter(nonce, Aad::from(&*header), payload, &[], tag)
                    .map_err(|_| DropReason::SrtpAuth)?;
            }
            Cipher::Cm { key, mac, salt } => {
                let payload = clear.get_mut(header_len..).ok_or(DropReason::SrtpShort)?;
                ctr(key, salt, ssrc, index, payload)?;
                write_tag(mac, clear, roc_bytes(index), tag);
            }
        }
        Ok(total)
    }

    /// Like [`seal_rtp`](Self::seal_rtp), but the plaintext comes from `payload`: written and sealed in one pass with
    /// GCM, copied first with AES-CM. `slot[..header_len]` holds the header.
    pub(super) fn seal_rtp_from(
        &self,
        slot: &mut [u8],
        header_len: usize,
        payload: &[u8],
        ssrc: u32,
        index: u64,
    ) -> Result<usize, DropReason> {
        let len = header_len + payload.len();
        match self {
            Cipher::Gcm { key, salt } => {
                let total = len + AEAD_TAG_BYTES;
                let packet = slot.get_mut(..total).ok_or(DropReason::Oversize)?;
                let (clear, tag) = packet
                    .split_at_mut_checked(len)
                    .ok_or(DropReason::Oversize)?;
                let (header, out) = clear
                    .split_at_mut_checked(header_len)
                    .ok_or(DropReason::SrtpShort)?;
                let nonce = gcm_nonce(salt, ssrc, index);
                key.seal_out_of_place_scatter(nonce, Aad::from(&*header), payload, out, &[], tag)
                    .map_err(|_| DropReason::SrtpAuth)?;
                Ok(total)
            }
            Cipher::Cm { .. } => {
                slot.get_mut(header_len..len)
                    .ok_or(DropReason::Oversize)?
                    .copy_from_slice(payload);
                self.seal_rtp(slot, header_len, len, ssrc, index)
            }
        }
    }

    /// Verifies and decrypts `packet` in place. Returns the length without the tag.
    /// On failure the payload's bytes are undefined: the packet must be dropped.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, DropReason> {
        let len = packet
            .len()
            .checked_sub(self.tag_len())
            .filter(|len| *len >= header_len)
            .ok_or(DropReason::SrtpShort)?;
        match self {
            Cipher::Gcm { key, salt } => {
                let (header, body) = packet
                    .split_at_mut_checked(header_len)
                    .ok_or(DropReason::SrtpShort)?;
                let nonce = gcm_nonce(salt, ssrc, index);
                key.open_in_place(nonce, Aad::from(&*header), body)
                    .map_err(|_| DropReason::SrtpAuth)?;
            }
            Cipher::Cm { key, mac, salt } => {
                let (clear, tag) = packet
                    .split_at_mut_checked(len)
                    .ok_or(DropReason::SrtpShort)?;
                verify_tag(mac, clear, roc_bytes(index), tag)?;
                let payload = clear.get_mut(header_len..).ok_or(DropReason::SrtpShort)?;
                ctr(key, salt, ssrc, index, payload)?;
            }
        }
        Ok(len)
    }

    /// Seals the RTCP compound `slot[..len]` with SRTCP index `index` (31 bits). Returns the new length.
    pub(super) fn seal_rtcp(
        &self,
        slot: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, DropReason> {
        let total = len + self.tag_len() + SRTCP_INDEX_BYTES;
        let word = (SRTCP_E_FLAG | index).to_be_bytes();
        let packet = slot.get_mut(..total).ok_or(DropReason::Oversize)?;
        let (clear, trailer) = packet
            .split_at_mut_checked(len)
            .ok_or(DropReason::Oversize)?;
        match self {
            Cipher::Gcm { key, salt } => {
                let (header, payload) = clear
                    .split_at_mut_checked(RTCP_CLEAR_BYTES)
                    .ok_or(DropReason::SrtpShort)?;
                let (tag, index_word) = trailer
                    .split_at_mut_checked(AEAD_TAG_BYTES)
                    .ok_or(DropReason::Oversize)?;
                index_word.copy_from_slice(&word);
                let aad = rtcp_aad(header, word);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                key.seal_in_place_scatter(nonce, Aad::from(aad), payload, &[], tag)
                    .map_err(|_| DropReason::SrtpAuth)?;
            }
            Cipher::Cm { key, mac, salt } => {
                let payload = clear
                    .get_mut(RTCP_CLEAR_BYTES..)
                    .ok_or(DropReason::SrtpShort)?;
                ctr(key, salt, ssrc, u64::from(index), payload)?;
                let (index_word, tag) = trailer
                    .split_at_mut_checked(SRTCP_INDEX_BYTES)
                    .ok_or(DropReason::Oversize)?;
                index_word.copy_from_slice(&word);
                write_tag(mac, clear, word, tag);
            }
        }
        Ok(total)
    }

    /// The index word of an SRTCP packet: (E flag set, index). Not yet authenticated.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<(bool, u32), DropReason> {
        let after = match self {
            Cipher::Gcm { .. } => 0,
            Cipher::Cm { .. } => HMAC_TAG_BYTES,
        };
        let smallest = RTCP_CLEAR_BYTES + self.tag_len() + SRTCP_INDEX_BYTES;
        if packet.len() < smallest {
            return Err(DropReason::SrtpShort);
        }
        let word = packet
            .len()
            .checked_sub(after)
            .and_then(|end| packet.get(..end)?.last_chunk::<SRTCP_INDEX_BYTES>())
            .ok_or(DropReason::SrtpShort)?;
        let word = u32::from_be_bytes(*word);
        Ok((word & SRTCP_E_FLAG != 0, word & !SRTCP_E_FLAG))
    }

    /// Verifies and decrypts an SRTCP packet whose E flag is set. Returns the length of the RTCP compound.
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        index: u32,
    ) -> Result<usize, DropReason> {
        let len = packet
            .len()
            .checked_sub(self.tag_len() + SRTCP_INDEX_BYTES)
            .filter(|len| *len >= RTCP_CLEAR_BYTES)
            .ok_or(DropReason::SrtpShort)?;
        let word = (SRTCP_E_FLAG | index).to_be_bytes();
        match self {
            Cipher::Gcm { key, salt } => {
                let (header, body) = packet
                    .split_at_mut_checked(RTCP_CLEAR_BYTES)
                    .ok_or(DropReason::SrtpShort)?;
                let end = len - RTCP_CLEAR_BYTES + AEAD_TAG_BYTES;
                let body = body.get_mut(..end).ok_or(DropReason::SrtpShort)?;
                let aad = rtcp_aad(header, word);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                key.open_in_place(nonce, Aad::from(aad), body)
                    .map_err(|_| DropReason::SrtpAuth)?;
            }
            Cipher::Cm { key, mac, salt } => {
                let (clear, trailer) = packet
                    .split_at_mut_checked(len)
                    .ok_or(DropReason::SrtpShort)?;
                let tag = trailer
                    .get(SRTCP_INDEX_BYTES..)
                    .ok_or(DropReason::SrtpShort)?;
                verify_tag(mac, clear, word, tag)?;
                let payload = clear
                    .get_mut(RTCP_CLEAR_BYTES..)
                    .ok_or(DropReason::SrtpShort)?;
                ctr(key, salt, ssrc, u64::from(index), payload)?;
            }
        }
        Ok(len)
    }
}

/// RFC 7714 sections 8.1 and 9.1: two zero bytes, SSRC, 48-bit index, XOR the salt.
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut bytes = (u128::from(ssrc) << 48) | u128::from(index);
    bytes ^= be_u128(salt);
    let wide = bytes.to_be_bytes();
    let mut nonce = [0u8; 12];
    nonce.copy_from_slice(wide.last_chunk::<12>().unwrap_or(&[0; 12]));
    Nonce::assume_unique_for_key(nonce)
}

fn be_u128(salt: &[u8; 12]) -> u128 {
    salt.iter().fold(0, |n, byte| (n << 8) | u128::from(*byte))
}

/// RFC 7714 section 9.2: the clear header and the index word are authenticated.
fn rtcp_aad(header: &[u8], word: [u8; 4]) -> [u8; 12] {
    let mut aad = [0u8; 12];
    if let (Some(start), Some(header)) = (aad.first_chunk_mut::<8>(), header.first_chunk::<8>()) {
        *start = *header;
    }
    if let Some(end) = aad.last_chunk_mut::<4>() {
        *end = word;
    }
    aad
}

/// RFC 3711 section 4.1.1: counter block from salt, SSRC and index.
fn ctr(
    key: &EncryptingKey,
    salt: &[u8; 14],
    ssrc: u32,
    index: u64,
    payload: &mut [u8],
) -> Result<(), DropReason> {
    let salt = salt
        .iter()
        .fold(0u128, |n, byte| (n << 8) | u128::from(*byte));
    let iv = (salt << 16) ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
    let context = EncryptionContext::Iv128(FixedLength::from(iv.to_be_bytes()));
    key.less_safe_encrypt(payload, context)
        .map(|_| ())
        .map_err(|_| DropReason::SrtpAuth)
}

fn roc_bytes(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn hmac_of(mac: &hmac::Key, packet: &[u8], suffix: [u8; 4]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(mac);
    context.update(packet);
    context.update(&suffix);
    context.sign()
}

fn write_tag(mac: &hmac::Key, packet: &[u8], suffix: [u8; 4], out: &mut [u8]) {
    let tag = hmac_of(mac, packet, suffix);
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
}

fn verify_tag(
    mac: &hmac::Key,
    packet: &[u8],
    suffix: [u8; 4],
    tag: &[u8],
) -> Result<(), DropReason> {
    let full = hmac_of(mac, packet, suffix);
    let want = full.as_ref().get(..HMAC_TAG_BYTES).unwrap_or_default();
    // A slice of another length compares as different.
    if bool::from(want.ct_eq(tag)) {
        Ok(())
    } else {
        Err(DropReason::SrtpAuth)
    }
}
