//! Reading and authenticating STUN messages without copies.
//!
//! Invariants: [`parse`] walks at most `STUN_ATTRIBUTES_MAX` attributes; what comes after MESSAGE-INTEGRITY is
//! invisible; of an attribute that comes twice the first counts (RFC 8489 section 14).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

use super::crc::fingerprint;
use super::{HEADER_BYTES, MAGIC_COOKIE, attribute};
use crate::limits::{STUN_ATTRIBUTES_MAX, STUN_BYTES_MAX};
use crate::wire::bytes::{array, u16_at, u32_at, u64_at};

/// The 96-bit transaction id.
pub type TransactionId = [u8; 12];

/// The one method of ICE.
pub const METHOD_BINDING: u16 = 1;

/// Unknown comprehension-required attributes remembered for an answer.
const UNKNOWN_MAX: usize = 4;

/// Why bytes are no STUN message for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// Shorter than a header, longer than [`STUN_BYTES_MAX`], or not the length the header says.
    #[error(
        "STUN message has {0} bytes, which is not what its header says or beyond {STUN_BYTES_MAX}; not STUN, or cut"
    )]
    BadLength(usize),
    /// The two top bits are set or the magic cookie is wrong.
    #[error("STUN magic cookie is missing; an RFC 3489 client, or not STUN")]
    NoMagicCookie,
    /// An attribute is longer than the message, has a wrong length, or there are too many.
    #[error("STUN attributes do not fit the message; the sender is broken")]
    BadAttribute,
    /// FINGERPRINT is absent, not last, or wrong.
    #[error("STUN FINGERPRINT is missing or wrong; ICE agents must send it (RFC 8445 section 7.1)")]
    NoFingerprint,
}

/// Class of a message (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// Answer: success.
    Success,
    /// Answer: error.
    Error,
}

/// ICE role the sender believes to have, with its tie breaker (RFC 8445 section 7.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// ICE-CONTROLLING.
    Controlling(u64),
    /// ICE-CONTROLLED.
    Controlled(u64),
}

/// A well-formed message with a right FINGERPRINT, borrowed from its datagram. Not authenticated.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Class.
    pub class: Class,
    /// Method, 12 bits; [`METHOD_BINDING`] for ICE.
    pub method: u16,
    /// Transaction id.
    pub transaction_id: TransactionId,
    /// USERNAME, as sent.
    pub username: Option<&'a [u8]>,
    /// USE-CANDIDATE is there: the controlling agent nominates this pair.
    pub use_candidate: bool,
    /// PRIORITY.
    pub priority: Option<u32>,
    /// ICE-CONTROLLING or ICE-CONTROLLED.
    pub role: Option<Role>,
    /// XOR-MAPPED-ADDRESS, decoded.
    pub mapped: Option<SocketAddr>,
    /// ERROR-CODE, 300–699.
    pub error_code: Option<u16>,
    /// Offset of MESSAGE-INTEGRITY.
    integrity_at: Option<usize>,
    unknown: [u16; UNKNOWN_MAX],
    unknown_count: usize,
}

/// Reads a datagram as a STUN message.
///
/// # Errors
/// [`StunError`]; the caller drops the datagram as `stun_malformed` and answers nothing (threats rule 2).
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, StunError> {
    let kind = u16_at(bytes, 0).ok_or(StunError::BadLength(bytes.len()))?;
    let body_len = u16_at(bytes, 2).ok_or(StunError::BadLength(bytes.len()))?;
    let whole = body_len.is_multiple_of(4)
        && bytes.len() == HEADER_BYTES + usize::from(body_len)
        && bytes.len() <= STUN_BYTES_MAX;
    if !whole {
        return Err(StunError::BadLength(bytes.len()));
    }
    if kind & 0xc000 != 0 || u32_at(bytes, 4) != Some(MAGIC_COOKIE) {
        return Err(StunError::NoMagicCookie);
    }
    check_fingerprint(bytes)?;
    let mut message = Message {
        bytes,
        class: match kind & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        },
        method: (kind & 0x000f) | ((kind & 0x00e0) >> 1) | ((kind & 0x3e00) >> 2),
        transaction_id: array(bytes, 8).ok_or(StunError::BadLength(bytes.len()))?,
        username: None,
        use_candidate: false,
        priority: None,
        role: None,
        mapped: None,
        error_code: None,
        integrity_at: None,
        unknown: [0; UNKNOWN_MAX],
        unknown_count: 0,
    };
    message.walk()?;
    Ok(message)
}

/// The last eight bytes are FINGERPRINT and right.
fn check_fingerprint(bytes: &[u8]) -> Result<(), StunError> {
    let (before, last) = bytes
        .split_last_chunk::<8>()
        .ok_or(StunError::NoFingerprint)?;
    let there = before.len() >= HEADER_BYTES
        && u16_at(last, 0) == Some(attribute::FINGERPRINT)
        && u16_at(last, 2) == Some(4)
        && u32_at(last, 4) == Some(fingerprint(before));
    there.then_some(()).ok_or(StunError::NoFingerprint)
}

impl<'a> Message<'a> {
    fn walk(&mut self) -> Result<(), StunError> {
        let end = self.bytes.len() - 8; // Before FINGERPRINT, which was found there.
        let mut at = HEADER_BYTES;
        let mut count = 0;
        while at < end {
            let header = |offset| u16_at(self.bytes, offset).ok_or(StunError::BadAttribute);
            let (kind, len) = (header(at)?, usize::from(header(at + 2)?));
            let next = at + 4 + len.next_multiple_of(4);
            count += 1;
            if next > end || count > STUN_ATTRIBUTES_MAX {
                return Err(StunError::BadAttribute);
            }
            if self.integrity_at.is_none() {
                let value = self.bytes.get(at + 4..at + 4 + len);
                self.take(kind, value.ok_or(StunError::BadAttribute)?, at)?;
            }
            at = next;
        }
        // A last attribute that only looked like FINGERPRINT would have overlapped: `next > end` caught it.
        Ok(())
    }

    fn take(&mut self, kind: u16, value: &'a [u8], at: usize) -> Result<(), StunError> {
        fn want(ok: bool) -> Result<(), StunError> {
            ok.then_some(()).ok_or(StunError::BadAttribute)
        }
        match kind {
            attribute::USERNAME => {
                self.username.get_or_insert(value);
            }
            attribute::MESSAGE_INTEGRITY => {
                want(value.len() == 20)?;
                self.integrity_at = Some(at);
            }
            attribute::USE_CANDIDATE => {
                want(value.is_empty())?;
                self.use_candidate = true;
            }
            attribute::PRIORITY => {
                want(value.len() == 4)?;
                self.priority = self.priority.or(u32_at(value, 0));
            }
            attribute::ICE_CONTROLLING | attribute::ICE_CONTROLLED => {
                want(value.len() == 8)?;
                let tie_breaker = u64_at(value, 0).ok_or(StunError::BadAttribute)?;
                self.role.get_or_insert(match kind {
                    attribute::ICE_CONTROLLING => Role::Controlling(tie_breaker),
                    _ => Role::Controlled(tie_breaker),
                });
            }
            attribute::XOR_MAPPED_ADDRESS => {
                let address = unxor(value, &self.transaction_id).ok_or(StunError::BadAttribute)?;
                self.mapped.get_or_insert(address);
            }
            attribute::ERROR_CODE => {
                let [_, _, class, number] = array(value, 0).ok_or(StunError::BadAttribute)?;
                let code = u16::from(class & 7) * 100 + u16::from(number);
                want((300..700).contains(&code) && number < 100)?;
                self.error_code.get_or_insert(code);
            }
            attribute::FINGERPRINT => return Err(StunError::NoFingerprint), // Only last.
            attribute::MAPPED_ADDRESS
            | attribute::UNKNOWN_ATTRIBUTES
            | attribute::REALM
            | attribute::NONCE
            | attribute::MESSAGE_INTEGRITY_SHA256 => {}
            other => self.note_unknown(other),
        }
        Ok(())
    }

    /// Attribute types below 0x8000 must be understood (RFC 8489 section 14).
    fn note_unknown(&mut self, kind: u16) {
        if kind >= 0x8000 {
            return;
        }
        if let Some(slot) = self.unknown.get_mut(self.unknown_count) {
            *slot = kind;
            self.unknown_count += 1;
        }
    }

    /// The receiver's ufrag: what is before the colon of USERNAME (RFC 8445 section 7.2.2). In a request to us
    /// it is one of ours. `None` without USERNAME or colon.
    pub fn local_ufrag(&self) -> Option<&'a [u8]> {
        Some(self.split_username()?.0)
    }

    /// The sender's ufrag: what is after the colon of USERNAME.
    pub fn remote_ufrag(&self) -> Option<&'a [u8]> {
        Some(self.split_username()?.1)
    }

    fn split_username(&self) -> Option<(&'a [u8], &'a [u8])> {
        let username = self.username?;
        let colon = username.iter().position(|byte| *byte == b':')?;
        Some((username.get(..colon)?, username.get(colon + 1..)?))
    }

    /// Comprehension-required attributes we do not know, at most four of them: a request with any is answered
    /// with 420 ([`super::write_unknown_attributes_error`]), after it was verified.
    pub fn unknown_attributes(&self) -> &[u16] {
        self.unknown.get(..self.unknown_count).unwrap_or(&[])
    }

    /// Whether MESSAGE-INTEGRITY is there and right for `password` (RFC 8489 section 14.5). In constant time.
    pub fn verify(&self, password: &[u8]) -> bool {
        let Some(at) = self.integrity_at else {
            return false;
        };
        let Some(sent) = self.bytes.get(at + 4..at + 24) else {
            return false;
        };
        let Some(expected) = integrity(self.bytes.get(..at).unwrap_or(&[]), password) else {
            return false;
        };
        bool::from(expected.as_ref().ct_eq(sent))
    }

    /// Bytes of the message: no answer may be larger (threats rule 2).
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a message has a header.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// HMAC-SHA1 over `before`, the message up to MESSAGE-INTEGRITY, with the length field counting that attribute.
pub(super) fn integrity(before: &[u8], password: &[u8]) -> Option<hmac::Tag> {
    let mut header: [u8; HEADER_BYTES] = array(before, 0)?;
    let len = u16::try_from(before.len() - HEADER_BYTES + 24).ok()?;
    let [.., l0, l1] = len.to_be_bytes();
    let [_, _, h2, h3, ..] = &mut header;
    (*h2, *h3) = (l0, l1);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
    let mut context = hmac::Context::with_key(&key);
    context.update(&header);
    context.update(before.get(HEADER_BYTES..)?);
    Some(context.sign())
}

/// Decodes XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
fn unxor(value: &[u8], transaction_id: &TransactionId) -> Option<SocketAddr> {
    let port = u16_at(value, 2)? ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match (*value.get(1)?, value.len()) {
        (1, 8) => IpAddr::V4(Ipv4Addr::from(u32_at(value, 4)? ^ MAGIC_COOKIE)),
        (2, 20) => {
            let mut mask = [0; 16];
            let (cookie, id) = mask.split_at_mut(4);
            cookie.copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            id.copy_from_slice(transaction_id);
            let address = u128::from_be_bytes(array(value, 4)?);
            IpAddr::V6(Ipv6Addr::from(address ^ u128::from_be_bytes(mask)))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}
