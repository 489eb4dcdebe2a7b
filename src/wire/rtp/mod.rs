//! RTP packets (RFC 3550 section 5.1): a `Copy` view of the header, header extensions, writing, RTX, padding.
//!
//! The header is read from the packet as it came, sealed or open: SRTP neither moves nor encrypts it
//! (RFC 3711 section 3.1), so offsets found once stay valid after `open`. Only padding is inside the
//! encrypted part, which is why its length is asked for separately.

mod extension;
mod header;
mod rtx;
mod writer;

#[cfg(test)]
mod tests;

pub use extension::{AudioLevel, ExtensionKind, ExtensionMap, Extensions, PlayoutDelay};
pub use header::{RtpError, RtpHeader};
pub use rtx::{RTX_OSN_BYTES, split_rtx, write_rtx_payload};
pub use writer::{ELEMENTS_MAX, HeaderFields, HeaderWriter, write_padding_packet};
