//! What protocol a datagram carries, from its first two bytes (RFC 7983, RFC 5761 section 4).
//!
//! One port per shard carries everything, so this is the first decision about each datagram. It believes
//! nothing else: whether the rest is well formed is each parser's business.

/// Protocol of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// STUN (RFC 8489): first byte 0–3.
    Stun,
    /// DTLS (RFC 6347, RFC 9147): first byte 20–63.
    Dtls,
    /// RTP or SRTP: first byte 128–191, second byte outside 192–223.
    Rtp,
    /// RTCP or SRTCP: first byte 128–191, second byte 192–223.
    Rtcp,
}

/// Protocol of `datagram`, or `None` when it is none of ours (ZRTP, TURN channels, QUIC, an empty datagram,
/// or one byte of what would be RTP).
#[inline]
pub fn classify(datagram: &[u8]) -> Option<Protocol> {
    match *datagram {
        [0..=3, ..] => Some(Protocol::Stun),
        [20..=63, ..] => Some(Protocol::Dtls),
        [128..=191, 192..=223, ..] => Some(Protocol::Rtcp),
        [128..=191, _, ..] => Some(Protocol::Rtp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_its_protocol() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Some(Protocol::Stun),
                20..=63 => Some(Protocol::Dtls),
                128..=191 => Some(Protocol::Rtp),
                _ => None,
            };
            assert_eq!(classify(&[first, 96, 0, 0]), expected, "{first}");
        }
    }

    #[test]
    fn second_byte_tells_rtcp_from_rtp() {
        for second in 0..=255u8 {
            let expected = if (192..224).contains(&second) {
                Protocol::Rtcp
            } else {
                Protocol::Rtp
            };
            assert_eq!(classify(&[0x80, second]), Some(expected), "{second}");
        }
    }

    #[test]
    fn too_short_is_nothing() {
        assert_eq!(classify(&[]), None);
        assert_eq!(classify(&[0x80]), None);
    }
}
