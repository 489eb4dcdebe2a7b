//! Argon2 hashes of credentials (RFC 9106) as PHC strings: what is accepted, and whether a credential has one.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordVerifier};

use crate::limits::{ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX};

/// Whether the text is a hash whose check costs no more than we spend on one.
///
/// # Errors
/// What is wrong with it.
pub fn check_hash(hash: &str) -> Result<(), String> {
    let parsed =
        PasswordHash::new(hash).map_err(|e| format!("no PHC string of an Argon2 hash ({e})"))?;
    if !matches!(
        parsed.algorithm.as_str(),
        "argon2id" | "argon2i" | "argon2d"
    ) {
        return Err(format!("{} is not Argon2", parsed.algorithm));
    }
    let params = Params::try_from(&parsed).map_err(|e| format!("parameters: {e}"))?;
    if params.m_cost() > ARGON2_MEMORY_KIB_MAX
        || params.t_cost() > ARGON2_PASSES_MAX
        || params.p_cost() > ARGON2_LANES_MAX
    {
        return Err(format!(
            "costs too much to check: at most m={ARGON2_MEMORY_KIB_MAX}, t={ARGON2_PASSES_MAX}, p={ARGON2_LANES_MAX}"
        ));
    }
    Ok(())
}

/// Whether `secret` has this hash. Takes tens of milliseconds.
pub fn has_hash(secret: &str, hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else {
        return false;
    };
    Argon2::default()
        .verify_password(secret.as_bytes(), &parsed)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::spec::NOBODYS_HASH;

    /// Made with argon2-cffi from the password `sesame`.
    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y29sY2hpcyB0ZXN0IHNhbHQ$50inHZ5eiulUxAeAfbZ+q9BpuqTP/J24e6pgbJXOEpk";

    #[test]
    fn a_secret_is_known_by_its_hash() {
        assert_eq!(check_hash(HASH), Ok(()));
        assert!(has_hash("sesame", HASH));
        assert!(!has_hash("Sesame", HASH) && !has_hash("", HASH));
        assert!(!has_hash("sesame", "no hash"));
    }

    #[test]
    fn nobodys_hash_takes_as_long_as_any() {
        assert_eq!(check_hash(NOBODYS_HASH), Ok(()));
        assert!(!has_hash("nobody knows", NOBODYS_HASH));
    }

    #[test]
    fn what_costs_too_much_is_refused() {
        let dear = "$argon2id$v=19$m=1048576,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$WMEOmcEMOxJTPpBLFNGXdQrHhzvL+N8BZCTkxhH0bBw";
        assert!(check_hash(dear).unwrap_err().contains("costs too much"));
        assert!(check_hash("x").unwrap_err().contains("no PHC string"));
    }
}
