//! STUN: published vectors, the `stun` package as oracle, forgeries, and sizes of answers.

use std::net::SocketAddr;

use ::stun::fingerprint::FINGERPRINT;
use ::stun::integrity::MessageIntegrity;
use ::stun::message::{BINDING_REQUEST, Getter, Message as Theirs, Setter};
use ::stun::textattrs::Username;
use ::stun::xoraddr::XorMappedAddress;
use proptest::prelude::*;

use super::crc::fingerprint;
use super::*;
use crate::limits::{STUN_ATTRIBUTES_MAX, STUN_BYTES_MAX};

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const ID: TransactionId = *b"transaction!";

/// RFC 5769 section 2.1: a request with ICE attributes.
const REQUEST: [u8; 108] = [
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86,
    0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73,
    0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff,
    0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09,
    0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14,
    0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49,
    0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
];

/// RFC 5769 section 2.2: an answer to an IPv4 address.
const ANSWER_V4: [u8; 80] = [
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86,
    0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63,
    0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43,
    0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9,
    0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
];

/// RFC 5769 section 2.3: an answer to an IPv6 address.
const ANSWER_V6: [u8; 92] = [
    0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86,
    0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63,
    0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa,
    0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9, 0x00, 0x08, 0x00, 0x14,
    0xa3, 0x82, 0x95, 0x4e, 0x4b, 0xe6, 0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92, 0xc2, 0x75,
    0xbf, 0xe3, 0xed, 0x41, 0x80, 0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
];

/// Sets the length field and appends a right FINGERPRINT.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = (bytes.len() + 8 - HEADER_BYTES) as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    let value = fingerprint(&bytes);
    bytes.extend([0x80, 0x28, 0, 4]);
    bytes.extend(value.to_be_bytes());
    bytes
}

/// A request of `attributes` and a right FINGERPRINT.
fn request(attributes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    bytes.extend(ID);
    bytes.extend(attributes);
    seal(bytes)
}

fn check(out: &mut [u8], nominate: bool) -> usize {
    let role = Role::Controlling(0x1122_3344_5566_7788);
    write_binding_request(
        out,
        &ID,
        "mine:theirs",
        PASSWORD,
        0x6e00_01ff,
        role,
        nominate,
    )
    .unwrap()
}

#[test]
fn request_of_rfc_5769() {
    let message = parse(&REQUEST).unwrap();
    assert_eq!(
        (message.class, message.method),
        (Class::Request, METHOD_BINDING)
    );
    assert_eq!(message.transaction_id, REQUEST[8..20]);
    assert_eq!(message.username, Some(&b"evtj:h6vY"[..]));
    assert_eq!(message.local_ufrag(), Some(&b"evtj"[..]));
    assert_eq!(message.remote_ufrag(), Some(&b"h6vY"[..]));
    assert_eq!(message.priority, Some(0x6e00_01ff));
    assert_eq!(message.role, Some(Role::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(!message.use_candidate);
    assert!(message.verify(PASSWORD));
    assert!(!message.verify(b"VOkJxbRl1RmTxUk/WvJxBT"));
    assert!(!message.verify(b""));
}

#[test]
fn answers_of_rfc_5769() {
    let v4 = parse(&ANSWER_V4).unwrap();
    assert_eq!(v4.class, Class::Success);
    assert_eq!(v4.mapped, Some("192.0.2.1:32853".parse().unwrap()));
    assert!(v4.verify(PASSWORD));
    let v6 = parse(&ANSWER_V6).unwrap();
    let address = "[2001:db8:1234:5678:11:2233:4455:6677]:32853";
    assert_eq!(v6.mapped, Some(address.parse().unwrap()));
    assert!(v6.verify(PASSWORD));
}

#[test]
fn every_flipped_bit_is_noticed() {
    for at in 0..REQUEST.len() * 8 {
        let mut bytes = REQUEST;
        bytes[at / 8] ^= 1 << (at % 8);
        assert!(parse(&bytes).is_err(), "bit {at}: FINGERPRINT");
        // With a repaired FINGERPRINT it is MESSAGE-INTEGRITY that notices.
        if at < (REQUEST.len() - 8) * 8 {
            let repaired = seal(bytes[..REQUEST.len() - 8].to_vec());
            let verified = parse(&repaired).is_ok_and(|m| m.verify(PASSWORD));
            // The length field is not the sender's word alone: `seal` has repaired it.
            assert_eq!(
                verified,
                (16..32).contains(&at),
                "bit {at}: MESSAGE-INTEGRITY"
            );
        }
    }
}

#[test]
fn our_request_is_read_by_both() {
    let mut out = [0; 200];
    for nominate in [false, true] {
        let len = check(&mut out, nominate);
        let message = parse(&out[..len]).unwrap();
        assert_eq!(
            (message.class, message.transaction_id),
            (Class::Request, ID)
        );
        assert_eq!(message.local_ufrag(), Some(&b"mine"[..]));
        assert_eq!(message.remote_ufrag(), Some(&b"theirs"[..]));
        assert_eq!(message.role, Some(Role::Controlling(0x1122_3344_5566_7788)));
        assert_eq!(message.priority, Some(0x6e00_01ff));
        assert_eq!(message.use_candidate, nominate);
        assert!(message.unknown_attributes().is_empty());
        assert!(message.verify(PASSWORD));

        let mut theirs = Theirs::new();
        theirs.unmarshal_binary(&out[..len]).unwrap();
        FINGERPRINT.check(&theirs).unwrap();
        MessageIntegrity(PASSWORD.to_vec())
            .check(&mut theirs)
            .unwrap();
    }
    let role = Role::Controlled(1);
    let long = "x".repeat(514);
    assert_eq!(
        write_binding_request(&mut [0; 900], &ID, &long, PASSWORD, 1, role, false),
        None
    );
}

#[test]
fn success_answers_and_their_sizes() {
    for (address, len) in [
        ("203.0.113.9:5000", 64),
        ("[2001:db8::7]:65535", BINDING_SUCCESS_BYTES_MAX),
    ] {
        let address: SocketAddr = address.parse().unwrap();
        let mut out = [0; 100];
        assert_eq!(
            write_binding_success(&mut out, &ID, address, PASSWORD),
            Some(len)
        );
        let message = parse(&out[..len]).unwrap();
        assert_eq!(
            (message.class, message.mapped),
            (Class::Success, Some(address))
        );
        assert!(message.verify(PASSWORD));
        let mut theirs = Theirs::new();
        theirs.unmarshal_binary(&out[..len]).unwrap();
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&theirs).unwrap();
        assert_eq!((mapped.ip, mapped.port), (address.ip(), address.port()));
        assert_eq!(
            write_binding_success(&mut out[..len - 1], &ID, address, PASSWORD),
            None
        );
    }
    // A browser's smallest check is larger than the largest answer.
    assert!(check(&mut [0; 200], false) >= BINDING_SUCCESS_BYTES_MAX);
}

#[test]
fn error_answers() {
    let mut out = [0; 200];
    let len = write_binding_error(
        &mut out,
        &ID,
        ERROR_ROLE_CONFLICT,
        "Role Conflict",
        PASSWORD,
    )
    .unwrap();
    assert_eq!(len, 60 + 16);
    let message = parse(&out[..len]).unwrap();
    assert_eq!(
        (message.class, message.error_code),
        (Class::Error, Some(487))
    );
    assert!(message.verify(PASSWORD));
    assert_eq!(write_binding_error(&mut out, &ID, 200, "", PASSWORD), None);
    assert_eq!(write_binding_error(&mut out, &ID, 700, "", PASSWORD), None);

    let len = write_unknown_attributes_error(&mut out, &ID, &[0x7001, 0x7002], PASSWORD).unwrap();
    let message = parse(&out[..len]).unwrap();
    assert_eq!(message.error_code, Some(ERROR_UNKNOWN_ATTRIBUTE));
    assert!(message.verify(PASSWORD));
    assert!(
        out[..len]
            .windows(8)
            .any(|w| w == [0, 0x0a, 0, 4, 0x70, 1, 0x70, 2])
    );
}

#[test]
fn what_follows_message_integrity_does_not_exist() {
    let mut out = [0; 200];
    let len = check(&mut out, false);
    let mut forged = out[..len - 8].to_vec();
    forged.extend([0, 0x25, 0, 0]); // USE-CANDIDATE
    forged.extend([0x7f, 0, 0, 0]); // an unknown attribute
    let forged = seal(forged);
    let message = parse(&forged).unwrap();
    assert!(message.verify(PASSWORD), "the signed part is as it was");
    assert!(!message.use_candidate, "the forged part is not believed");
    assert!(message.unknown_attributes().is_empty());
}

#[test]
fn guard_refuses() {
    let good = request(&[]);
    assert!(parse(&good).is_ok());
    assert!(
        !parse(&good).unwrap().verify(PASSWORD),
        "no MESSAGE-INTEGRITY"
    );
    // No FINGERPRINT at all; one that is not last; a wrong cookie; a length that is not the datagram's.
    let mut bare = good[..20].to_vec();
    bare[2..4].copy_from_slice(&[0, 0]);
    assert_eq!(parse(&bare).unwrap_err(), StunError::NoFingerprint);
    let early = request(&[0x80, 0x28, 0, 4, 1, 2, 3, 4]);
    assert_eq!(parse(&early).unwrap_err(), StunError::NoFingerprint);
    let mut cookie = good.clone();
    cookie[4] = 0;
    assert_eq!(parse(&cookie).unwrap_err(), StunError::NoMagicCookie);
    let mut longer = good.clone();
    longer.extend([0; 4]);
    assert_eq!(parse(&longer).unwrap_err(), StunError::BadLength(32));
    assert_eq!(parse(&good[..27]).unwrap_err(), StunError::BadLength(27));
    assert_eq!(parse(&[]).unwrap_err(), StunError::BadLength(0));
    let huge = request(&vec![0; STUN_BYTES_MAX]);
    assert!(matches!(parse(&huge).unwrap_err(), StunError::BadLength(_)));
}

#[test]
fn attributes_that_do_not_fit_are_refused() {
    for attributes in [
        &[0, 6, 0, 9, 0, 0, 0, 0][..],   // USERNAME longer than the message
        &[0, 6, 0xff, 0xff, 0, 0, 0, 0], // far longer
        &[0, 0x24, 0, 3, 0, 0, 0, 0],    // PRIORITY of three bytes
        &[0, 0x25, 0, 1, 0, 0, 0, 0],    // USE-CANDIDATE with a value
        &[0x80, 0x2a, 0, 4, 0, 0, 0, 0], // short tie breaker
        &[0, 8, 0, 4, 0, 0, 0, 0],       // short MESSAGE-INTEGRITY
        &[0, 0x20, 0, 4, 0, 1, 0, 0],    // short XOR-MAPPED-ADDRESS
        &[0, 9, 0, 4, 0, 0, 2, 0],       // ERROR-CODE 200
        &[0, 9, 0, 4, 0, 0, 4, 100],     // ERROR-CODE 4|100
    ] {
        let error = parse(&request(attributes)).unwrap_err();
        assert_eq!(error, StunError::BadAttribute, "{attributes:02x?}");
    }
    let many = request(&[0x80, 0x30, 0, 0].repeat(STUN_ATTRIBUTES_MAX + 1));
    assert_eq!(parse(&many).unwrap_err(), StunError::BadAttribute);
    assert!(parse(&request(&[0x80, 0x30, 0, 0].repeat(STUN_ATTRIBUTES_MAX))).is_ok());
}

#[test]
fn first_of_a_repeated_attribute_counts() {
    let bytes = request(&[
        0, 6, 0, 3, b'a', b':', b'b', 0, 0, 6, 0, 3, b'c', b':', b'd', 0,
    ]);
    assert_eq!(parse(&bytes).unwrap().local_ufrag(), Some(&b"a"[..]));
    let bytes = request(&[0, 6, 0, 3, b'a', b'b', b'c', 0]);
    assert_eq!(parse(&bytes).unwrap().local_ufrag(), None, "no colon");
}

#[test]
fn unknown_attributes_are_listed_when_they_must_be_understood() {
    let bytes = request(&[0x7f, 1, 0, 0, 0xc0, 0x57, 0, 0, 0x7f, 2, 0, 0]);
    assert_eq!(
        parse(&bytes).unwrap().unknown_attributes(),
        [0x7f01, 0x7f02]
    );
    let bytes = request(&[0x7f, 1, 0, 0].repeat(20));
    assert_eq!(parse(&bytes).unwrap().unknown_attributes().len(), 4);
}

#[test]
fn classes_and_methods() {
    for (kind, class, method) in [
        (0x0001u16, Class::Request, 1),
        (0x0011, Class::Indication, 1),
        (0x0101, Class::Success, 1),
        (0x0111, Class::Error, 1),
        (0x0003, Class::Request, 3),
        (0x3eef, Class::Request, 0xfff),
    ] {
        let mut bytes = request(&[]);
        bytes.truncate(20);
        bytes[..2].copy_from_slice(&kind.to_be_bytes());
        let bytes = seal(bytes);
        let message = parse(&bytes).unwrap();
        assert_eq!(
            (message.class, message.method),
            (class, method),
            "{kind:04x}"
        );
    }
}

proptest! {
    #[test]
    fn we_read_what_the_package_writes(local in "[a-zA-Z0-9+/]{4,32}", remote in "[a-zA-Z0-9+/]{4,32}", password in "[a-zA-Z0-9+/]{22,64}") {
        let mut theirs = Theirs::new();
        let setters: [Box<dyn Setter>; 4] = [
            Box::new(BINDING_REQUEST),
            Box::new(Username::new(::stun::attributes::ATTR_USERNAME, format!("{local}:{remote}"))),
            Box::new(MessageIntegrity::new_short_term_integrity(password.clone())),
            Box::new(FINGERPRINT),
        ];
        theirs.build(&setters).unwrap();
        let message = parse(&theirs.raw).unwrap();
        prop_assert_eq!(message.local_ufrag(), Some(local.as_bytes()));
        prop_assert_eq!(message.remote_ufrag(), Some(remote.as_bytes()));
        prop_assert!(message.verify(password.as_bytes()));
        prop_assert!(!message.verify(local.as_bytes()));
    }

    #[test]
    fn attributes_of_any_shape_are_walked(attributes in proptest::collection::vec(any::<u8>(), 0..200), kinds in proptest::collection::vec(prop_oneof![Just(6u16), Just(8), Just(0x20), Just(0x24), Just(0x25), Just(9), Just(0x8029), any::<u16>()], 8)) {
        let mut bytes = attributes;
        bytes.truncate(bytes.len() / 4 * 4);
        let mut at = 0;
        for kind in kinds {
            let Some([k0, k1, l0, l1]) = bytes.get_mut(at..).and_then(|b| b.first_chunk_mut()) else { break };
            [*k0, *k1] = kind.to_be_bytes();
            (*l0, *l1) = (0, *l1 % 24);
            at += 4 + usize::from(*l1).next_multiple_of(4);
        }
        crate::wire::exercise::stun_message(&request(&bytes));
    }
}
