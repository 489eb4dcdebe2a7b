//! Session keys from a master key: the AES-CM pseudo-random function with a key derivation rate of zero.
//!
//! Runs once per handshake. RFC 3711 section 4.3, RFC 6188 section 3 (256-bit keys), RFC 7714 section 11 (96-bit salts
//! are padded to the right to 112 bits).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::{MasterKey, SrtpProfile};

/// Labels of RFC 3711 section 4.3.2.
#[derive(Debug, Clone, Copy)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// Fills `out` with the session key of `label`. `None` only if the cipher refuses the key, which a
/// [`MasterKey`] of the right length never causes.
pub(super) fn derive(
    profile: SrtpProfile,
    master: &MasterKey,
    label: Label,
    out: &mut [u8],
) -> Option<()> {
    let algorithm = match profile.key_len() {
        32 => &AES_256,
        _ => &AES_128,
    };
    let unbound = UnboundCipherKey::new(algorithm, master.key(profile)).ok()?;
    let cipher = EncryptingKey::ctr(unbound).ok()?;
    let mut iv = [0u8; 16];
    iv.get_mut(..14)?.copy_from_slice(&master.salt);
    *iv.get_mut(7)? ^= label as u8;
    out.fill(0);
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    cipher.less_safe_encrypt(out, context).ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    /// RFC 3711 appendix B.3.
    #[test]
    fn rfc3711_key_derivation() {
        let profile = SrtpProfile::Aes128CmHmacSha1_80;
        let master = MasterKey::new(
            profile,
            &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &hex("0EC675AD498AFEEBB6960B3AABE6"),
        )
        .unwrap();
        let cases = [
            (Label::RtpEncryption, "C61E7A93744F39EE10734AFE3FF7A087"),
            (Label::RtpSalt, "30CBBC08863D8C85D49DB34A9AE1"),
            (
                Label::RtpAuthentication,
                "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE\
                 E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25\
                 6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2DC68",
            ),
        ];
        for (label, want) in cases {
            let want = hex(want);
            let mut out = vec![0; want.len()];
            derive(profile, &master, label, &mut out).unwrap();
            assert_eq!(out, want, "{label:?}");
        }
    }

    /// RFC 6188 section 7.2 (AES-256-CM key derivation; the salt has 14 bytes there, so the master is built by hand).
    #[test]
    fn rfc6188_key_derivation() {
        let mut master = MasterKey {
            key: [0; 32],
            salt: [0; 14],
        };
        master.key.copy_from_slice(&hex(
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
        ));
        master
            .salt
            .copy_from_slice(&hex("3b04803de51ee7c96423ab5b78d2"));
        let cases = [
            (
                Label::RtpEncryption,
                "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
            ),
            (Label::RtpSalt, "fa31791685ca444a9e07c6c64e93"),
            (
                Label::RtpAuthentication,
                "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
            ),
        ];
        for (label, want) in cases {
            let want = hex(want);
            let mut out = vec![0; want.len()];
            derive(SrtpProfile::AeadAes256Gcm, &master, label, &mut out).unwrap();
            assert_eq!(out, want, "{label:?}");
        }
    }
}
