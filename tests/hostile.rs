//! Inputs known to have broken a parser of this field, and what can be made of them, through everything that reads the
//! network.
//!
//! The files are in `tests/data/hostile` (found by fuzzing public packages, see
//! `docs/decisions/0001-packages-and-the-network.md`), and whatever fuzzing has kept is in `fuzz/corpus` and
//! `fuzz/seeds`. Each goes in as it is, cut short, and with the first bytes of every protocol. Nothing may panic, take
//! long, be believed without a key, or be answered.

#[path = "support/datagram_sequence.rs"]
mod datagram_sequence;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use colchis::error::DropReason;
use colchis::id::RoomId;
use colchis::limits::ICE_ADDRESS_OWNED_MS;
use colchis::signalling;
use colchis::time::Time;
use colchis::transport::dtls::DtlsContext;
use colchis::transport::ice::IceCredentials;
use colchis::transport::srtp::{Inbound, MasterKey, SrtpProfile, rtp_header_len};
use colchis::wire::codec::{self, CodecKind};
use colchis::wire::rtcp::{Compound, Packet};
use colchis::wire::rtp::{ExtensionKind, ExtensionMap, Extensions, RtpHeader, split_rtx};
use colchis::wire::{demux, sdp, stun};
use datagram_sequence::{Bench, address, provider};

// --- the inputs -----------------------------------------------------------------------------

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            files(&path, out);
        } else {
            out.push(path);
        }
    }
}

/// Every kept input by its path, sorted.
fn inputs() -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths = Vec::new();
    for dir in ["tests/data/hostile", "fuzz/corpus", "fuzz/seeds"] {
        files(&root().join(dir), &mut paths);
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let bytes = std::fs::read(&path).expect("an input is readable");
            (path, bytes)
        })
        .collect()
}

/// First two bytes that lead to each protocol: STUN, DTLS records, RTP with and without extension, RTCP of each type.
const STARTS: &[[u8; 2]] = &[
    [0x00, 0x01],
    [0x01, 0x01],
    [20, 254],
    [21, 254],
    [22, 254],
    [23, 254],
    [0x2f, 0x00],
    [0x80, 96],
    [0x90, 111],
    [0xbf, 96],
    [0x81, 200],
    [0x81, 201],
    [0x82, 202],
    [0x81, 203],
    [0x81, 205],
    [0x8f, 205],
    [0x81, 206],
    [0x84, 206],
    [0x8f, 206],
    [0xa1, 207],
];

/// The input itself, its prefixes (all of a short one, some of a long one), and with other first bytes.
fn variants(input: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![input.to_vec()];
    let step = (input.len() / 64).max(1);
    out.extend(
        (0..input.len())
            .step_by(step)
            .map(|len| input[..len].to_vec()),
    );
    for start in STARTS.iter().filter(|_| input.len() >= 2) {
        let mut other = input.to_vec();
        other[..2].copy_from_slice(start);
        out.push(other);
    }
    out
}

/// Runs `check` on every variant of every input, and names the input if it panics or takes long.
fn for_each(mut check: impl FnMut(&[u8])) {
    struct Named(Option<PathBuf>);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the input was {:?}", self.0);
            }
        }
    }
    let mut named = Named(None);
    let inputs = inputs();
    assert!(
        inputs.len() >= 60,
        "{} inputs only: is tests/data/hostile there?",
        inputs.len()
    );
    for (path, input) in inputs {
        named.0 = Some(path);
        let start = Instant::now();
        let variants = variants(&input);
        for variant in &variants {
            check(variant);
        }
        let each = start.elapsed() / variants.len() as u32;
        assert!(each < Duration::from_secs(1), "{each:?} for one input");
    }
}

// --- parsers --------------------------------------------------------------------------------

fn all_extensions() -> ExtensionMap {
    let kinds = [
        ExtensionKind::Mid,
        ExtensionKind::Rid,
        ExtensionKind::RepairedRid,
        ExtensionKind::AbsSendTime,
        ExtensionKind::TransportCc,
        ExtensionKind::AudioLevel,
        ExtensionKind::DependencyDescriptor,
        ExtensionKind::VideoOrientation,
        ExtensionKind::PlayoutDelay,
        ExtensionKind::AbsCaptureTime,
    ];
    let mut map = ExtensionMap::new();
    for (id, kind) in (1..).zip(kinds) {
        assert!(map.insert(id, kind));
    }
    map
}

fn read_rtp(packet: &[u8], map: &ExtensionMap) {
    let Ok(header) = RtpHeader::parse(packet) else {
        return;
    };
    let _ = (
        header.csrc(packet, 0),
        header.csrc(packet, 14),
        header.csrc(packet, 255),
    );
    let payload = header.payload(packet).unwrap_or_default();
    assert!(payload.len() <= packet.len());
    let mut descriptor = None;
    if let Ok(found) = Extensions::locate(packet, &header, map) {
        let _ = (
            found.mid(packet),
            found.rid(packet),
            found.repaired_rid(packet),
        );
        let _ = (found.audio_level(packet), found.transport_sequence(packet));
        let _ = (found.abs_send_time(packet), found.video_orientation(packet));
        let _ = (found.playout_delay(packet), found.abs_capture_time(packet));
        descriptor = found.dependency_descriptor(packet);
    }
    let _ = split_rtx(payload);
    for kind in CodecKind::ALL {
        codec::is_key_frame(kind, payload, descriptor);
        codec::key_frame_size(kind, payload, descriptor);
        codec::is_key_frame(kind, packet, Some(packet));
        codec::key_frame_size(kind, packet, Some(packet));
    }
}

fn read_rtcp(bytes: &[u8]) {
    let Ok(compound) = Compound::parse(bytes) else {
        return;
    };
    for packet in compound.packets().flatten() {
        let items = match packet {
            Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                blocks.count()
            }
            Packet::Sdes(sdes) => sdes.cnames().count(),
            Packet::Bye(bye) => bye.ssrcs().count(),
            Packet::Nack(nack) => nack.sequences().count(),
            Packet::Fir(fir) => fir.entries().count(),
            Packet::Remb(remb) => remb.ssrcs().count(),
            Packet::TransportFeedback(feedback) => feedback.statuses().count(),
            Packet::Pli { .. } | Packet::Unknown { .. } => 0,
        };
        // Run lengths must not let a few bytes cost millions of steps.
        assert!(
            items <= 17 * bytes.len() + colchis::limits::TWCC_STATUSES_MAX,
            "{items}"
        );
    }
}

#[test]
fn parsers_survive_and_believe_nothing() {
    let map = all_extensions();
    for_each(|bytes| {
        demux::classify(bytes);
        if let Ok(message) = stun::parse(bytes) {
            let _ = (
                message.local_ufrag(),
                message.remote_ufrag(),
                message.unknown_attributes(),
            );
            assert!(!message.verify(b"not the password"));
        }
        read_rtp(bytes, &map);
        read_rtcp(bytes);
        let text = String::from_utf8_lossy(bytes);
        let _ = sdp::parse(&text);
        signalling::exercise::client(bytes);
    });
}

// --- SRTP -----------------------------------------------------------------------------------

#[test]
fn srtp_opens_nothing_without_the_key_and_keeps_no_state() {
    for profile in SrtpProfile::ALL {
        let key = vec![1; profile.key_len()];
        let salt = vec![2; profile.salt_len()];
        let master = MasterKey::new(profile, &key, &salt).expect("lengths are right");
        let mut inbound = Inbound::new(profile, &master).expect("the key is well-formed");
        for_each(|bytes| {
            if let Some(header_len) = rtp_header_len(bytes) {
                assert!(inbound.open_rtp(&mut bytes.to_vec(), header_len).is_err());
            }
            assert!(inbound.open_rtcp(&mut bytes.to_vec()).is_err());
        });
        assert_eq!(
            inbound.ssrc_count(),
            0,
            "{profile:?}: state for a packet that was not authentic"
        );
    }
}

// --- DTLS and the machine -------------------------------------------------------------------

/// The client's check, and that it is answered.
fn check(bench: &mut Bench, from: SocketAddr, credentials: &IceCredentials) {
    assert_eq!(bench.check(from, credentials), Ok(false));
    assert_eq!(bench.tx.len(), 1, "answered");
    bench.tx.clear();
}

#[test]
fn strangers_are_dropped_unanswered() {
    let (mut bench, _) = Bench::new();
    for_each(|bytes| {
        let done = bench.feed(address(200), &mut bytes.to_vec());
        assert!(done.is_err(), "{done:?}");
        assert!(bench.tx.is_empty(), "answered");
    });
    assert_eq!(bench.machine.poll_notice(), None);
    assert_eq!(
        bench.machine.room_of(address(200)),
        None,
        "no state for a stranger"
    );
}

#[test]
fn a_validated_address_with_hostile_datagrams_harms_nobody() {
    let (mut bench, credentials) = Bench::new();
    check(&mut bench, address(1), &credentials[0]);
    check(&mut bench, address(2), &credentials[1]);
    let mut reasons: BTreeMap<DropReason, u32> = BTreeMap::new();
    for_each(|bytes| {
        bench.now = bench.now + Duration::from_millis(1);
        if let Err(reason) = bench.feed(address(1), &mut bytes.to_vec()) {
            *reasons.entry(reason).or_default() += 1;
        }
        assert!(bench.tx.is_empty(), "answered");
    });
    for expected in [
        DropReason::SrtpNoKeys,
        DropReason::DtlsGuard,
        DropReason::StunMalformed,
    ] {
        assert!(
            reasons.contains_key(&expected),
            "{expected:?} not in {reasons:?}"
        );
    }
    assert_eq!(
        bench.machine.poll_notice(),
        None,
        "nobody's transport ended"
    );
    check(&mut bench, address(1), &credentials[0]);
    check(&mut bench, address(2), &credentials[1]);
}

/// A member that can spoof source addresses can send a right check of its own from another's. While the owner checks
/// too it gets neither the address nor an answer; once the owner has been silent for long, it does.
#[test]
fn rule1_an_address_stays_its_owners_while_the_owner_checks() {
    let (mut bench, credentials) = Bench::new();
    let ann = RoomId::new("ann").ok();
    check(&mut bench, address(1), &credentials[0]);
    assert_eq!(bench.machine.room_of(address(1)), ann);
    let claim = bench.check(address(1), &credentials[1]);
    assert_eq!(claim, Err(DropReason::StunAddressTaken));
    assert!(bench.tx.is_empty(), "the claim is not answered");
    assert_eq!(bench.machine.room_of(address(1)), ann);
    bench.now = bench.now + Duration::from_millis(ICE_ADDRESS_OWNED_MS);
    check(&mut bench, address(1), &credentials[1]);
    assert_ne!(bench.machine.room_of(address(1)), ann);
}

/// The handshake's guards alone, as a peer with the right ufrag meets them.
#[test]
fn dtls_sessions_survive() {
    use colchis::transport::dtls::{DtlsRole, DtlsSession, Fingerprint, HashFunction};
    let mut context = DtlsContext::new(Box::new(provider()));
    let print = Fingerprint::of(HashFunction::Sha256, b"somebody");
    let mut millis = 0;
    for_each(|bytes| {
        millis += 20;
        let now = Time::from_millis(millis);
        let mut session = DtlsSession::new(0);
        session.set_remote(DtlsRole::Passive, &[print]);
        let mut sent = 0;
        for _ in 0..3 {
            let done =
                session.handle_datagram(now, bytes, &mut context, &mut |out| sent += out.len());
            assert!(!matches!(done, Ok(Some(_))), "an event: {done:?}");
        }
        assert!(!session.is_connected());
        assert!(sent <= 3 * bytes.len(), "{sent} bytes for {}", bytes.len());
    });
}

/// Whatever fuzzing of the shard has kept, and every other input taken for a script.
#[test]
fn sequences_of_datagrams_are_survived() {
    for (_, input) in inputs() {
        datagram_sequence::run(&input);
    }
}
