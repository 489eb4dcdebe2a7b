//! STUN binding messages as ICE uses them (RFC 8489, RFC 8445 section 7): a guarded reader and the writers.
//!
//! The reader is ours, because the network is not to be trusted with the `stun` package (it honours attributes
//! after MESSAGE-INTEGRITY and copies everything); the messages we send are put together by that package and
//! protected by aws-lc-rs. What a reader accepts:
//! exact length, magic cookie, FINGERPRINT present, last and right; attributes after MESSAGE-INTEGRITY do not exist.
//! A parsed message is still unauthenticated: nothing but its ufrag may be believed before [`Message::verify`].

mod crc;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use crc::fingerprint;
pub use reader::{Class, METHOD_BINDING, Message, Role, StunError, TransactionId, parse};
pub use writer::{
    BINDING_SUCCESS_BYTES_MAX, ERROR_BAD_REQUEST, ERROR_ROLE_CONFLICT, ERROR_UNAUTHENTICATED,
    ERROR_UNKNOWN_ATTRIBUTE, write_binding_error, write_binding_request, write_binding_success,
    write_unknown_attributes_error,
};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 20;
/// Magic cookie (RFC 8489 section 5).
pub(crate) const MAGIC_COOKIE: u32 = 0x2112_a442;

/// Attribute types (RFC 8489 section 18.3, RFC 8445 section 16.1).
pub(crate) mod attribute {
    pub(crate) const MAPPED_ADDRESS: u16 = 0x0001;
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const PRIORITY: u16 = 0x0024;
    pub(crate) const USE_CANDIDATE: u16 = 0x0025;
    pub(crate) const FINGERPRINT: u16 = 0x8028;
    pub(crate) const ICE_CONTROLLED: u16 = 0x8029;
    pub(crate) const ICE_CONTROLLING: u16 = 0x802a;
}
