//! SRTP and SRTCP in place over aws-lc-rs: what protects every media packet after the DTLS handshake.
//!
//! Own code because the published Rust crates allocate per packet and accept or panic on forged SRTCP; it is
//! checked against the vectors of RFC 3711, RFC 6188 and RFC 7714 and against an independent crate.
//! Invariants: nothing is believed, and no state is made, before the tag verifies; replay windows are always on;
//! no allocation per packet once an SSRC is known. RFC 3711, RFC 5764 section 4.2, RFC 7714.

mod cipher;
mod inbound;
mod kdf;
mod outbound;
mod replay;
#[cfg(test)]
mod tests;

pub use inbound::Inbound;
pub use outbound::Outbound;

use crate::error::DropReason;

/// Bytes an SRTP tag adds at most (AEAD).
pub const SRTP_TAG_BYTES_MAX: usize = 16;
/// Bytes SRTCP adds at most: AEAD tag and the E flag with the index.
pub const SRTCP_OVERHEAD_BYTES_MAX: usize = 20;

/// Protection profiles we agree to, best first (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// `SRTP_AEAD_AES_128_GCM` (0x0007).
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (0x0008).
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (0x0001), four times dearer because of SHA-1.
    Aes128CmHmacSha1_80,
}

impl SrtpProfile {
    /// Every profile, best first.
    pub const ALL: [SrtpProfile; 3] = [
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmHmacSha1_80,
    ];

    /// Master (and session) encryption key, bytes.
    pub const fn key_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::Aes128CmHmacSha1_80 => 16,
            SrtpProfile::AeadAes256Gcm => 32,
        }
    }

    /// Master (and session) salt, bytes.
    pub const fn salt_len(self) -> usize {
        match self {
            SrtpProfile::Aes128CmHmacSha1_80 => 14,
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 12,
        }
    }

    /// Tag bytes of a packet, RTP or RTCP.
    pub const fn tag_len(self) -> usize {
        match self {
            SrtpProfile::Aes128CmHmacSha1_80 => 10,
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 16,
        }
    }

    /// Name as browsers report it in `getStats` (`srtpCipher`).
    pub const fn name(self) -> &'static str {
        match self {
            SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
            SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
            SrtpProfile::Aes128CmHmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        }
    }
}

/// Master key and salt of one direction. Not printable, and wiped when dropped.
#[derive(Clone)]
pub struct MasterKey {
    key: [u8; 32],
    salt: [u8; 14],
}

impl MasterKey {
    /// `key` and `salt` of exactly the profile's lengths, else `None`.
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Option<MasterKey> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return None;
        }
        let mut master = MasterKey {
            key: [0; 32],
            salt: [0; 14],
        };
        master.key.get_mut(..key.len())?.copy_from_slice(key);
        master.salt.get_mut(..salt.len())?.copy_from_slice(salt);
        Some(master)
    }

    /// The key's bytes for `profile`.
    fn key(&self, profile: SrtpProfile) -> &[u8] {
        self.key.get(..profile.key_len()).unwrap_or_default()
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.fill(0);
        self.salt.fill(0);
        // Keeps the two stores from being removed as dead.
        std::hint::black_box((&self.key, &self.salt));
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// What a DTLS handshake yields: the profile and one master key per direction (RFC 5764 section 4.2).
#[derive(Debug, Clone)]
pub struct SrtpKeys {
    /// The negotiated profile.
    pub profile: SrtpProfile,
    /// Protects what we send.
    pub local: MasterKey,
    /// Protects what the peer sends.
    pub remote: MasterKey,
}

impl SrtpKeys {
    /// Splits exported keying material: client key, server key, client salt, server salt.
    /// `None` when `material` has not exactly the profile's length.
    pub fn from_exporter(
        profile: SrtpProfile,
        material: &[u8],
        we_are_client: bool,
    ) -> Option<SrtpKeys> {
        let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
        if material.len() != 2 * (key_len + salt_len) {
            return None;
        }
        let (client_key, rest) = material.split_at_checked(key_len)?;
        let (server_key, rest) = rest.split_at_checked(key_len)?;
        let (client_salt, server_salt) = rest.split_at_checked(salt_len)?;
        let client = MasterKey::new(profile, client_key, client_salt)?;
        let server = MasterKey::new(profile, server_key, server_salt)?;
        let (local, remote) = if we_are_client {
            (client, server)
        } else {
            (server, client)
        };
        Some(SrtpKeys {
            profile,
            local,
            remote,
        })
    }
}

/// Length of the RTP header of `packet` with CSRCs and extension: the part SRTP leaves in the clear.
/// `None` unless the version is 2 and the whole header is there (RFC 3550 section 5.1).
pub fn rtp_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut len = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = u16::from_be_bytes([*packet.get(len + 2)?, *packet.get(len + 3)?]);
        len += 4 + 4 * usize::from(words);
    }
    (len <= packet.len()).then_some(len)
}

/// Sequence number and SSRC of an RTP packet.
fn rtp_ids(packet: &[u8]) -> Result<(u16, u32), DropReason> {
    match packet {
        [_, _, s0, s1, _, _, _, _, a, b, c, d, ..] => Ok((
            u16::from_be_bytes([*s0, *s1]),
            u32::from_be_bytes([*a, *b, *c, *d]),
        )),
        _ => Err(DropReason::SrtpShort),
    }
}

/// SSRC of the sender of an RTCP compound.
fn rtcp_ssrc(packet: &[u8]) -> Result<u32, DropReason> {
    match packet {
        [_, _, _, _, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => Err(DropReason::SrtpShort),
    }
}
