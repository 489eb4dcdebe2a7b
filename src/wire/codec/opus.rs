//! Opus (RFC 7587): the little a forwarder may ask of an audio packet.

/// Whether the payload is discontinuous-transmission filler: a TOC byte and at most one more
/// (RFC 6716 section 3.1: one byte per frame at most means no coded audio).
pub fn is_dtx(payload: &[u8]) -> bool {
    payload.len() <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tiny_packets_are_silence() {
        assert!(is_dtx(&[0x78]));
        assert!(is_dtx(&[0x78, 0]));
        assert!(!is_dtx(&[0x78, 1, 2]));
    }
}
