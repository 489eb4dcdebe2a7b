//! Certificate fingerprints as SDP carries them: the only thing that ties a DTLS session to a signalled peer.
//!
//! Invariant: only collision-resistant hashes exist here; an `a=fingerprint` with another one is refused, never ignored
//! into a match. RFC 8122 section 5.

use std::fmt;

use aws_lc_rs::digest;
use subtle::ConstantTimeEq;

/// Hash functions accepted in `a=fingerprint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashFunction {
    /// `sha-256`, what browsers use.
    Sha256,
    /// `sha-384`.
    Sha384,
    /// `sha-512`.
    Sha512,
}

impl HashFunction {
    /// From its name in SDP, in any case.
    pub fn from_name(name: &str) -> Option<HashFunction> {
        [Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|hash| hash.name().eq_ignore_ascii_case(name))
    }

    /// Its name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            HashFunction::Sha256 => "sha-256",
            HashFunction::Sha384 => "sha-384",
            HashFunction::Sha512 => "sha-512",
        }
    }

    const fn len(self) -> usize {
        match self {
            HashFunction::Sha256 => 32,
            HashFunction::Sha384 => 48,
            HashFunction::Sha512 => 64,
        }
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            HashFunction::Sha256 => &digest::SHA256,
            HashFunction::Sha384 => &digest::SHA384,
            HashFunction::Sha512 => &digest::SHA512,
        }
    }
}

/// Why an `a=fingerprint` cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// The hash function is none of ours (SHA-1 and MD5 are refused on purpose).
    #[error("fingerprint hash function is not supported; use sha-256, sha-384 or sha-512")]
    UnknownHash,
    /// Not pairs of hexadecimal digits with colons between them, or too few or many of them.
    #[error("fingerprint is not the colon-separated hexadecimal value of its hash function")]
    BadValue,
}

/// Hash of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    hash: HashFunction,
    bytes: [u8; 64],
}

impl Fingerprint {
    /// From a digest; `None` when it has not the hash's length.
    pub fn from_digest(hash: HashFunction, digest: &[u8]) -> Option<Fingerprint> {
        if digest.len() != hash.algorithm().output_len() {
            return None;
        }
        let mut bytes = [0; 64];
        bytes.get_mut(..digest.len())?.copy_from_slice(digest);
        Some(Fingerprint { hash, bytes })
    }

    /// Of a certificate in DER.
    pub fn of(hash: HashFunction, certificate: &[u8]) -> Fingerprint {
        let digest = digest::digest(hash.algorithm(), certificate);
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Fingerprint { hash, bytes }
    }

    /// From the two words of an `a=fingerprint` line: `"sha-256"`, `"AB:CD:…"`.
    pub fn parse(hash: &str, value: &str) -> Result<Fingerprint, FingerprintError> {
        let hash = HashFunction::from_name(hash).ok_or(FingerprintError::UnknownHash)?;
        let mut bytes = [0; 64];
        let mut count = 0;
        for (at, pair) in value.split(':').enumerate() {
            let both_hex = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
            if !both_hex || at >= hash.len() {
                return Err(FingerprintError::BadValue);
            }
            let to = bytes.get_mut(at).ok_or(FingerprintError::BadValue)?;
            *to = u8::from_str_radix(pair, 16).map_err(|_| FingerprintError::BadValue)?;
            count += 1;
        }
        if count != hash.len() {
            return Err(FingerprintError::BadValue);
        }
        Ok(Fingerprint { hash, bytes })
    }

    /// The hash function.
    pub fn hash(&self) -> HashFunction {
        self.hash
    }

    /// The hash value.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.hash.len()).unwrap_or_default()
    }

    /// Whether `certificate` (DER) is the one this fingerprint names.
    pub fn matches(&self, certificate: &[u8]) -> bool {
        let of = Fingerprint::of(self.hash, certificate);
        of.bytes.ct_eq(&self.bytes).into()
    }

    /// The value alone, as SDP writes it: `AB:CD:…`.
    pub fn value(&self) -> String {
        let pairs: Vec<String> = self.bytes().iter().map(|b| format!("{b:02X}")).collect();
        pairs.join(":")
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.hash.name(), self.value())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_matches_its_certificate_only() {
        for hash in [
            HashFunction::Sha256,
            HashFunction::Sha384,
            HashFunction::Sha512,
        ] {
            let print = Fingerprint::of(hash, b"certificate");
            let text = print.to_string();
            let (name, value) = text.split_once(' ').unwrap();
            assert_eq!(Fingerprint::parse(name, value), Ok(print));
            assert_eq!(
                Fingerprint::parse(&name.to_uppercase(), &value.to_lowercase()),
                Ok(print)
            );
            assert!(print.matches(b"certificate"));
            assert!(!print.matches(b"certificatf"));
        }
    }

    #[test]
    fn weak_or_broken_fingerprints_are_errors() {
        let good = Fingerprint::of(HashFunction::Sha256, b"").value();
        let cases = [
            ("sha-1", good.as_str(), FingerprintError::UnknownHash),
            ("md5", "AB:CD", FingerprintError::UnknownHash),
            ("sha-256", "", FingerprintError::BadValue),
            ("sha-256", &good[..92], FingerprintError::BadValue),
            ("sha-512", &good, FingerprintError::BadValue),
            (
                "sha-256",
                &good.replace(':', ""),
                FingerprintError::BadValue,
            ),
            (
                "sha-256",
                &good.replace('E', "é"),
                FingerprintError::BadValue,
            ),
            ("sha-256", &format!("{good}:00"), FingerprintError::BadValue),
            (
                "sha-256",
                &good.replacen("E3", "+3", 1),
                FingerprintError::BadValue,
            ),
        ];
        for (hash, value, want) in cases {
            assert_eq!(Fingerprint::parse(hash, value), Err(want), "{hash} {value}");
        }
    }
}
