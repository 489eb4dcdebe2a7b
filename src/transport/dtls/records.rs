//! The record headers of a DTLS datagram, read before the library sees it.
//!
//! Total: a malformed rest ends the walk. RFC 6347 section 4.1, RFC 9147 section 4.

use crate::limits::DTLS_CERTIFICATE_BYTES_MAX;

/// Content type of ChangeCipherSpec.
pub const CHANGE_CIPHER_SPEC: u8 = 20;
/// Content type of alerts.
pub const ALERT: u8 = 21;
/// Content type of handshake messages.
pub const HANDSHAKE: u8 = 22;
/// Bytes of a plaintext (and DTLS 1.2) record header.
pub const HEADER_BYTES: usize = 13;
/// Bytes of a handshake header with its fragment fields.
const HANDSHAKE_HEADER_BYTES: usize = 12;
/// Longest handshake message an honest peer sends: a certificate of the largest size we take, and room.
const HANDSHAKE_BYTES_MAX: usize = 4 * DTLS_CERTIFICATE_BYTES_MAX;

/// One record of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// Thirteen-byte header: every record of DTLS 1.2, the unprotected ones of DTLS 1.3.
    Plain {
        /// Content type.
        content_type: u8,
        /// Epoch; 0 is unprotected.
        epoch: u16,
        /// Header and body.
        bytes: &'a [u8],
    },
    /// Unified header of DTLS 1.3: always protected.
    Unified {
        /// Header and body.
        bytes: &'a [u8],
    },
}

impl<'a> Record<'a> {
    /// Header and body.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Record::Plain { bytes, .. } | Record::Unified { bytes } => bytes,
        }
    }
}

/// The records of `datagram`, in order.
pub fn records(datagram: &[u8]) -> Records<'_> {
    Records { rest: datagram }
}

/// Iterator over the records of a datagram.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Bytes that were not read: empty unless the datagram is malformed.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let first = *self.rest.first()?;
        // 001CSLEE: connection id, 16-bit sequence number, length present, epoch bits.
        let unified = first & 0xe0 == 0x20;
        let end = if unified {
            if first & 0x10 != 0 {
                return None;
            }
            let length_at = if first & 0x08 != 0 { 3 } else { 2 };
            if first & 0x04 != 0 {
                length_at + 2 + be16(self.rest.get(length_at..)?)?
            } else {
                self.rest.len()
            }
        } else {
            HEADER_BYTES + be16(self.rest.get(11..)?)?
        };
        let (bytes, rest) = self.rest.split_at_checked(end)?;
        let record = if unified {
            Record::Unified { bytes }
        } else {
            Record::Plain {
                content_type: first,
                epoch: be16(bytes.get(3..)?)? as u16,
                bytes,
            }
        };
        self.rest = rest;
        Some(record)
    }
}

/// Whether a handshake under way may hear `record`: what an honest peer can send before it is connected, in shape.
/// Rubbish from the peer's address (anybody who can spoof it) is told apart here, because an error of the library costs
/// the whole attempt. Alerts without protection never count (RFC 6347 section 4.1.2.7).
pub fn belongs_to_handshake(record: &Record<'_>) -> bool {
    let Record::Plain {
        content_type,
        epoch,
        bytes,
    } = record
    else {
        return true;
    };
    // DTLS 1.0 is what a first ClientHello may be labelled with; later ones say 1.2, also in DTLS 1.3.
    let known_version = matches!(bytes.get(1..3), Some([0xfe, 0xff | 0xfd]));
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    known_version
        && match (*epoch, *content_type) {
            (0, HANDSHAKE) => is_handshake(body),
            (0, CHANGE_CIPHER_SPEC) => body == [1],
            // Explicit nonce and tag are the least a protected record has (RFC 5288 section 3).
            (1, ALERT | HANDSHAKE) => body.len() >= 8 + 16,
            _ => false,
        }
}

/// Whether `body` is whole handshake messages or fragments of them, each of a known type and within its message.
fn is_handshake(mut body: &[u8]) -> bool {
    let mut any = false;
    while !body.is_empty() {
        let Some((header, rest)) = body.split_first_chunk::<HANDSHAKE_HEADER_BYTES>() else {
            return false;
        };
        let [kind, l2, l1, l0, _, _, o2, o1, o0, f2, f1, f0] = *header;
        let number = |a, b, c| usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let (length, offset) = (number(l2, l1, l0), number(o2, o1, o0));
        let fragment = number(f2, f1, f0);
        let known = matches!(kind, 0..=5 | 8 | 11..=16 | 20..=24);
        if !known || offset + fragment > length || length > HANDSHAKE_BYTES_MAX {
            return false;
        }
        let Some((_, next)) = rest.split_at_checked(fragment) else {
            return false;
        };
        body = next;
        any = true;
    }
    any
}

/// Whether `datagram` starts with an unprotected ClientHello: the only thing worth a fresh server object.
pub fn starts_with_client_hello(datagram: &[u8]) -> bool {
    let Some(Record::Plain {
        content_type: HANDSHAKE,
        epoch: 0,
        bytes,
    }) = records(datagram).next()
    else {
        return false;
    };
    bytes.len() >= HEADER_BYTES + HANDSHAKE_HEADER_BYTES && bytes.get(HEADER_BYTES) == Some(&1)
}

fn be16(bytes: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(*bytes.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(content_type: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
        let mut out = vec![content_type, 0xfe, 0xfd];
        out.extend(epoch.to_be_bytes());
        out.extend([0; 6]);
        out.extend((body.len() as u16).to_be_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn walks_plain_and_unified_records() {
        let mut datagram = plain(22, 0, b"abc");
        datagram.extend(plain(21, 1, b""));
        datagram.extend([0x2c, 0, 1, 0, 2, 9, 9]);
        datagram.extend([0x20, 7, 5, 5, 5]);
        let all: Vec<_> = records(&datagram).collect();
        assert_eq!(all.len(), 4);
        assert!(
            matches!(all[0], Record::Plain { content_type: 22, epoch: 0, bytes } if bytes.len() == 16)
        );
        assert!(
            matches!(all[1], Record::Plain { content_type: 21, epoch: 1, bytes } if bytes.len() == 13)
        );
        assert_eq!(all[2].bytes(), [0x2c, 0, 1, 0, 2, 9, 9]);
        assert_eq!(all[3].bytes(), [0x20, 7, 5, 5, 5]);
    }

    #[test]
    fn a_truncated_record_ends_the_walk() {
        let mut datagram = plain(22, 0, b"abc");
        datagram.extend(&plain(22, 0, b"abc")[..15]);
        let mut walk = records(&datagram);
        assert!(walk.next().is_some());
        assert!(walk.next().is_none());
        assert_eq!(walk.rest().len(), 15);
    }

    #[test]
    fn only_a_client_hello_is_one() {
        let hello = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(starts_with_client_hello(&plain(22, 0, &hello)));
        assert!(!starts_with_client_hello(&plain(22, 0, &hello[..11])));
        assert!(!starts_with_client_hello(&plain(22, 1, &hello)));
        assert!(!starts_with_client_hello(&plain(21, 0, &hello)));
        let exchange = [16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(!starts_with_client_hello(&plain(22, 0, &exchange)));
    }

    fn message(kind: u8, length: u8, offset: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0, 0, length, 0, 0, 0, 0, offset];
        out.extend([0, 0, body.len() as u8]);
        out.extend(body);
        out
    }

    #[test]
    fn only_what_honest_peers_send_belongs_to_a_handshake() {
        let two = [message(11, 3, 0, b"abc"), message(16, 2, 0, b"de")].concat();
        let cases: [(&str, u8, u16, Vec<u8>, bool); 14] = [
            ("a message", 22, 0, message(1, 3, 0, b"abc"), true),
            ("a fragment", 22, 0, message(11, 200, 9, b"abc"), true),
            ("two messages", 22, 0, two, true),
            ("nothing", 22, 0, vec![], false),
            ("a torn header", 22, 0, vec![1; 11], false),
            (
                "a fragment past its message",
                22,
                0,
                message(11, 5, 3, b"abc"),
                false,
            ),
            (
                "an unknown message",
                22,
                0,
                message(99, 3, 0, b"abc"),
                false,
            ),
            ("change cipher spec", 20, 0, vec![1], true),
            ("another such byte", 20, 0, vec![2], false),
            ("an alert anybody can forge", 21, 0, vec![2, 40], false),
            ("a protected Finished", 22, 1, vec![7; 40], true),
            (
                "a protected record too short to be one",
                22,
                1,
                vec![7; 23],
                false,
            ),
            ("data before there is a session", 23, 1, vec![7; 40], false),
            ("a far epoch", 22, 7, vec![7; 40], false),
        ];
        for (what, content_type, epoch, body, want) in cases {
            let bytes = plain(content_type, epoch, &body);
            let record = records(&bytes).next().unwrap();
            assert_eq!(belongs_to_handshake(&record), want, "{what}");
        }
        let mut wrong_version = plain(22, 0, &message(1, 3, 0, b"abc"));
        wrong_version[1] = 3;
        let record = records(&wrong_version).next().unwrap();
        assert!(!belongs_to_handshake(&record), "TLS over UDP is not DTLS");
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_without_overlap(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut walk = records(&bytes);
            let mut sum = 0;
            for record in walk.by_ref() {
                prop_assert!(!record.bytes().is_empty());
                belongs_to_handshake(&record);
                sum += record.bytes().len();
            }
            prop_assert_eq!(sum + walk.rest().len(), bytes.len());
        }
    }
}
