//! Binding requests and answers, put together by the `stun` package and protected by aws-lc-rs.
//!
//! A few per second and peer, and only after a request was authenticated, so that the package's allocations do
//! no harm. Every writer fills `out` and returns the length, or `None` when it does not fit or a field is too long.

use std::net::SocketAddr;

use stun::attributes::{
    ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY,
    ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType,
};
use stun::error_code::{ErrorCode, ErrorCodeAttribute};
use stun::fingerprint::FINGERPRINT;
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, METHOD_BINDING,
    Message as Builder, MessageClass, MessageType, Setter,
};
use stun::uattrs::UnknownAttributes;
use stun::xoraddr::XorMappedAddress;

use super::reader::{Role, TransactionId, integrity};
use crate::wire::bytes::put;

/// Bytes of the largest answer of [`write_binding_success`]: 76 to an IPv6 address, 64 to an IPv4 one.
pub const BINDING_SUCCESS_BYTES_MAX: usize = 76;

/// Malformed request (RFC 8489 section 14.8).
pub const ERROR_BAD_REQUEST: u16 = 400;
/// Wrong or missing credentials.
pub const ERROR_UNAUTHENTICATED: u16 = 401;
/// Attribute that must be understood and is not.
pub const ERROR_UNKNOWN_ATTRIBUTE: u16 = 420;
/// Both agents believe to have the same role (RFC 8445 section 7.3.1.1).
pub const ERROR_ROLE_CONFLICT: u16 = 487;

fn builder(class: MessageClass, transaction_id: &TransactionId) -> Builder {
    let mut message = Builder::new();
    message.set_type(MessageType::new(METHOD_BINDING, class));
    message.transaction_id.0 = *transaction_id;
    message.write_header();
    message
}

/// Adds MESSAGE-INTEGRITY and FINGERPRINT and copies the message out.
fn finish(mut message: Builder, password: &[u8], out: &mut [u8]) -> Option<usize> {
    let tag = integrity(&message.raw, password)?;
    message.add(ATTR_MESSAGE_INTEGRITY, tag.as_ref());
    FINGERPRINT.add_to(&mut message).ok()?;
    put(out, 0, &message.raw)?;
    Some(message.raw.len())
}

/// Success answer: the request `transaction_id` came from `mapped`; `password` is ours.
pub fn write_binding_success(
    out: &mut [u8],
    transaction_id: &TransactionId,
    mapped: SocketAddr,
    password: &[u8],
) -> Option<usize> {
    let mut message = builder(CLASS_SUCCESS_RESPONSE, transaction_id);
    let address = XorMappedAddress {
        ip: mapped.ip(),
        port: mapped.port(),
    };
    address.add_to(&mut message).ok()?;
    finish(message, password, out)
}

/// Error answer with `code` (300–699) and `reason`: 60 bytes and the reason, rounded up to four.
pub fn write_binding_error(
    out: &mut [u8],
    transaction_id: &TransactionId,
    code: u16,
    reason: &str,
    password: &[u8],
) -> Option<usize> {
    let mut message = builder(CLASS_ERROR_RESPONSE, transaction_id);
    add_error(&mut message, code, reason)?;
    finish(message, password, out)
}

/// Error answer 420 that lists `attributes`, at most four of them ([`super::Message::unknown_attributes`]).
pub fn write_unknown_attributes_error(
    out: &mut [u8],
    transaction_id: &TransactionId,
    attributes: &[u16],
    password: &[u8],
) -> Option<usize> {
    let mut message = builder(CLASS_ERROR_RESPONSE, transaction_id);
    add_error(&mut message, ERROR_UNKNOWN_ATTRIBUTE, "")?;
    let list = attributes.iter().take(4).map(|kind| AttrType(*kind));
    UnknownAttributes(list.collect())
        .add_to(&mut message)
        .ok()?;
    finish(message, password, out)
}

fn add_error(message: &mut Builder, code: u16, reason: &str) -> Option<()> {
    if !(300..700).contains(&code) || reason.len() > 127 {
        return None;
    }
    let error = ErrorCodeAttribute {
        code: ErrorCode(code),
        reason: reason.as_bytes().to_vec(),
    };
    error.add_to(message).ok()
}

/// A connectivity check as a full agent sends it (RFC 8445 section 7.2.2). `username` is
/// `receiver's ufrag:sender's ufrag`, `password` the receiver's. Clients of tests and the simulation use it.
pub fn write_binding_request(
    out: &mut [u8],
    transaction_id: &TransactionId,
    username: &str,
    password: &[u8],
    priority: u32,
    role: Role,
    use_candidate: bool,
) -> Option<usize> {
    if username.len() > 513 {
        return None; // RFC 8489 section 14.3.
    }
    let mut message = builder(CLASS_REQUEST, transaction_id);
    message.add(ATTR_USERNAME, username.as_bytes());
    message.add(ATTR_PRIORITY, &priority.to_be_bytes());
    match role {
        Role::Controlling(tie) => message.add(ATTR_ICE_CONTROLLING, &tie.to_be_bytes()),
        Role::Controlled(tie) => message.add(ATTR_ICE_CONTROLLED, &tie.to_be_bytes()),
    }
    if use_candidate {
        message.add(ATTR_USE_CANDIDATE, &[]);
    }
    finish(message, password, out)
}
