//! Parsers and writers of everything on the wire: what a datagram is and what is in it.
//!
//! Total functions: no panic, no recursion on input, no allocation by an attacker's length. Readers are views
//! over the caller's bytes; writers fill a caller's slot and return the length, or `None` when it is too small.

pub(crate) mod bytes;
pub mod codec;
pub mod demux;
#[doc(hidden)]
pub mod exercise;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod stun;

#[cfg(test)]
mod tests;
