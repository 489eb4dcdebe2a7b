//! The server's DTLS certificate: made afresh at each start, as WebRTC endpoints do (RFC 8827 section 6.5).
//!
//! Clients pin it by the fingerprint in the session description, which signalling protects; nobody has to trust it else.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::transport::dtls::DtlsIdentity;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[error(
    "the DTLS certificate cannot be made: {0}; cure: see whether the system's random source works"
)]
pub struct IdentityError(#[from] rcgen::Error);

/// A self-signed ECDSA P-256 certificate, which every browser takes, and its key.
pub fn generate() -> Result<DtlsIdentity, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "colchis");
    params.distinguished_name = name;
    let certificate = params.self_signed(&key)?;
    Ok(DtlsIdentity::new(
        certificate.der().to_vec(),
        key.serialize_der(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_its_own() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert_ne!(a.fingerprint, b.fingerprint);
        assert_eq!(a.fingerprint.bytes().len(), 32);
    }
}
