//! The guards, one by one: real handshakes between two guarded sessions, and a scripted library that misbehaves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::records::HEADER_BYTES;
use super::*;
use crate::error::DropReason;
use crate::limits::*;
use crate::time::Anchor;
use crate::transport::srtp::SrtpKeys;

pub(crate) fn ms(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn anchor() -> Anchor {
    static INSTANT: OnceLock<Instant> = OnceLock::new();
    Anchor {
        instant: *INSTANT.get_or_init(Instant::now),
        ntp: 0,
    }
}

/// A fresh identity; `filler` bytes of name, as subject and as issuer, make the certificate twice that larger.
pub(crate) fn identity(filler: usize) -> DtlsIdentity {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    let name = "x".repeat(filler + 1);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let certificate = params.self_signed(&key).unwrap();
    DtlsIdentity::new(certificate.der().to_vec(), key.serialize_der())
}

pub(crate) fn context_of(identity: &DtlsIdentity, dtls13: bool) -> DtlsContext {
    let settings = DtlsSettings {
        dtls13,
        ..DtlsSettings::default()
    };
    DtlsContext::new(Box::new(
        DimplProvider::new(settings, identity, anchor()).unwrap(),
    ))
}

/// One side: a session, its shard's context, and what came out of it.
struct Side {
    session: DtlsSession,
    context: DtlsContext,
    out: VecDeque<Vec<u8>>,
    events: Vec<DtlsEvent>,
}

impl Side {
    fn new(identity: &DtlsIdentity, dtls13: bool, role: DtlsRole, expect: &[Fingerprint]) -> Side {
        let mut session = DtlsSession::new(1);
        session.set_remote(role, expect);
        Side {
            session,
            context: context_of(identity, dtls13),
            out: VecDeque::new(),
            events: Vec::new(),
        }
    }

    fn start(&mut self, now: Time) {
        let out = &mut self.out;
        let mut send = |bytes: &[u8]| out.push_back(bytes.to_vec());
        let event = self.session.start(now, &mut self.context, &mut send);
        self.events.extend(event);
    }

    fn feed(&mut self, now: Time, datagram: &[u8]) -> Result<(), DropReason> {
        let out = &mut self.out;
        let mut send = |bytes: &[u8]| out.push_back(bytes.to_vec());
        let event = self
            .session
            .handle_datagram(now, datagram, &mut self.context, &mut send)?;
        self.events.extend(event);
        Ok(())
    }

    fn timeout(&mut self, now: Time) {
        let out = &mut self.out;
        let mut send = |bytes: &[u8]| out.push_back(bytes.to_vec());
        let event = self
            .session
            .handle_timeout(now, &mut self.context, &mut send);
        self.events.extend(event);
    }

    fn keys(&self) -> Option<&SrtpKeys> {
        self.events.iter().find_map(|event| match event {
            DtlsEvent::Connected(keys) => Some(keys),
            _ => None,
        })
    }

    fn failure(&self) -> Option<DtlsFailure> {
        self.events.iter().find_map(|event| match event {
            DtlsEvent::Failed(failure) => Some(*failure),
            _ => None,
        })
    }
}

/// A client and a server that expect each other; returns them and the time.
struct Link {
    client: Side,
    server: Side,
    now: u64,
}

impl Link {
    fn new(dtls13: bool, filler: usize) -> Link {
        let (a, b) = (identity(filler), identity(0));
        Link {
            client: Side::new(&a, dtls13, DtlsRole::Active, &[b.fingerprint]),
            server: Side::new(&b, dtls13, DtlsRole::Passive, &[a.fingerprint]),
            now: 1000,
        }
    }

    /// Carries datagrams until both are silent, then lets timers run; `false` when that took over `limit_ms`.
    fn run(&mut self, limit_ms: u64) -> bool {
        let end = self.now + limit_ms;
        self.client.start(ms(self.now));
        while self.now < end {
            self.carry();
            if self.client.session.is_connected() && self.server.session.is_connected() {
                return true;
            }
            self.now += 50;
            self.client.timeout(ms(self.now));
            self.server.timeout(ms(self.now));
        }
        false
    }

    fn carry(&mut self) {
        loop {
            let up = self.client.out.pop_front();
            let down = self.server.out.pop_front();
            if up.is_none() && down.is_none() {
                return;
            }
            if let Some(datagram) = up {
                let _ = self.server.feed(ms(self.now), &datagram);
            }
            if let Some(datagram) = down {
                let _ = self.client.feed(ms(self.now), &datagram);
            }
        }
    }
}

fn record(content_type: u8, epoch: u16, sequence: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![content_type, 0xfe, 0xfd];
    out.extend(epoch.to_be_bytes());
    out.extend([0, 0, 0, 0, 0, sequence]);
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    assert_eq!(out.len(), HEADER_BYTES + body.len());
    out
}

/// A handshake message or a fragment of one.
fn handshake(kind: u8, message: u8, total: u8, offset: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, total, 0, message, 0, 0, offset];
    out.extend([0, 0, body.len() as u8]);
    out.extend(body);
    out
}

fn fatal_alert(epoch: u16) -> Vec<u8> {
    record(21, epoch, 200, &[2, 40])
}

/// Seals with one side's keys what the other must be able to open.
fn keys_fit(client: &SrtpKeys, server: &SrtpKeys) {
    use crate::transport::srtp::{Inbound, Outbound};
    for (from, to) in [(client, server), (server, client)] {
        assert_eq!(from.profile, to.profile);
        let mut outbound = Outbound::new(from.profile, &from.local).unwrap();
        let mut inbound = Inbound::new(to.profile, &to.remote).unwrap();
        let mut slot = [0u8; 64];
        slot[0] = 0x80;
        let len = outbound.seal_rtp(&mut slot, 12, 40).unwrap();
        assert_eq!(inbound.open_rtp(&mut slot[..len], 12), Ok(40));
    }
}

#[test]
fn two_sides_agree_on_keys() {
    for dtls13 in [false, true] {
        let mut link = Link::new(dtls13, 0);
        assert!(link.run(2000), "DTLS 1.3: {dtls13}");
        let (client, server) = (link.client.keys().unwrap(), link.server.keys().unwrap());
        keys_fit(client, server);
        assert_ne!(client.profile, SrtpProfile::Aes128CmHmacSha1_80);
        assert_eq!(link.server.events.len(), 1);
    }
}

#[test]
fn lost_flights_are_sent_again() {
    let mut link = Link::new(false, 0);
    link.client.start(ms(link.now));
    // Every datagram is lost the first time it is sent.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        link.client.out.retain(|d| !seen.insert((0, d.len())));
        link.server.out.retain(|d| !seen.insert((1, d.len())));
        link.carry();
        link.now += 50;
        link.client.timeout(ms(link.now));
        link.server.timeout(ms(link.now));
    }
    assert!(link.client.keys().is_some() && link.server.keys().is_some());
}

#[test]
fn guard1_shape_is_checked_first() {
    let mut link = Link::new(false, 0);
    let cases: [(Vec<u8>, DropReason); 6] = [
        (vec![], DropReason::BadLength),
        (vec![22; 12], DropReason::BadLength),
        (vec![22; 2049], DropReason::BadLength),
        (vec![19; 100], DropReason::DtlsGuard),
        (vec![64; 100], DropReason::DtlsGuard),
        // A 26-byte ClientKeyExchange as first datagram made another library panic.
        (
            record(22, 0, 0, &handshake(16, 0, 1, 0, &[0])),
            DropReason::DtlsGuard,
        ),
    ];
    for (datagram, want) in cases {
        assert_eq!(link.server.feed(ms(1), &datagram), Err(want));
    }
    assert!(link.run(2000));
}

#[test]
fn guard1_hostile_records_do_nothing() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/hostile/dtls_record"
    );
    let mut link = Link::new(false, 0);
    let inputs: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(!inputs.is_empty());
    for input in &inputs {
        assert!(link.server.feed(ms(1), input).is_err());
    }
    assert!(link.run(2000));
    for input in &inputs {
        let _ = link.server.feed(ms(link.now), input);
    }
    assert_eq!(link.server.events.len(), 1, "the session must not notice");
}

#[test]
fn guard1_nothing_starts_before_the_peer_is_described() {
    let b = identity(0);
    let mut client = Side::new(&identity(0), false, DtlsRole::Active, &[b.fingerprint]);
    client.start(ms(1));
    let hello = client.out.pop_front().unwrap();
    let mut server = Side::new(&b, false, DtlsRole::Passive, &[]);
    assert_eq!(server.feed(ms(1), &hello), Err(DropReason::DtlsGuard));
    assert!(server.out.is_empty());
}

#[test]
fn guard2_large_certificates_do_not_panic() {
    // The library asserts when a certificate is larger than its poll buffer.
    let too_large = Some(DtlsFailure::CertificateTooLarge);
    for (filler, want) in [(1200, None), (2048, too_large), (6000, too_large)] {
        let mut link = Link::new(false, filler);
        assert_eq!(link.run(3000), want.is_none(), "{filler}");
        assert_eq!(link.server.failure(), want);
        assert_eq!(link.server.keys().is_some(), want.is_none());
    }
}

#[test]
fn guard3_a_wedged_object_is_replaced() {
    let mut link = Link::new(false, 0);
    link.client.start(ms(link.now));
    let hello = link.client.out.pop_front().unwrap();
    // A forged fragment of the expected ClientHello, with a length no honest one has.
    let forged = record(22, 0, 0, &handshake(1, 0, 200, 0, &[0xaa; 100]));
    assert_eq!(link.server.feed(ms(link.now), &forged), Ok(()));
    let mut answered = false;
    // The client repeats itself; at the latest after the deadline the server listens to it.
    for _ in 0..25 {
        link.now += 500;
        let _ = link.server.feed(ms(link.now), &hello);
        link.server.timeout(ms(link.now));
        answered |= !link.server.out.is_empty();
    }
    assert!(
        answered,
        "a forged fragment must not wedge the peer for ever"
    );
    assert!(link.server.failure().is_none());
}

#[test]
fn guard3_datagrams_and_bytes_of_a_handshake_are_bounded() {
    for (len, most) in [
        (100, DTLS_HANDSHAKE_DATAGRAMS_MAX as usize),
        (2000, DTLS_HANDSHAKE_BYTES_MAX as usize / 2048 + 1),
    ] {
        let mut link = Link::new(false, 0);
        let hello = record(22, 0, 0, &handshake(1, 0, 200, 0, &[0xaa; 100]));
        assert_eq!(link.server.feed(ms(1), &hello), Ok(()));
        // A fragment of a message that is not expected yet.
        let body = vec![0; len - HEADER_BYTES - 12];
        let total = (len as u16).to_be_bytes();
        let size = (body.len() as u16).to_be_bytes();
        let mut message = vec![
            11, 0, total[0], total[1], 0, 9, 0, 0, 0, 0, size[0], size[1],
        ];
        message.extend(body);
        let junk = record(22, 0, 0, &message);
        let taken = (0..200)
            .take_while(|_| link.server.feed(ms(1), &junk).is_ok())
            .count();
        assert!(taken < most, "{taken} datagrams of {len}");
        assert!(
            link.server.session.poll_timeout() >= Some(ms(DTLS_HANDSHAKE_DEADLINE_MS)),
            "the object and its timers are gone"
        );
        assert!(link.run(2000), "a fresh object serves the honest client");
    }
}

#[test]
fn guard3_tries_are_bounded_then_it_fails() {
    let mut link = Link::new(false, 0);
    let hello = record(22, 0, 0, &handshake(1, 0, 200, 0, &[0xaa; 100]));
    // Each round wears one object out.
    for round in 0..20 * DTLS_HANDSHAKE_DATAGRAMS_MAX {
        let _ = link.server.feed(ms(1000 + u64::from(round)), &hello);
    }
    assert_eq!(link.server.failure(), Some(DtlsFailure::TooManyAttempts));
    assert_eq!(link.server.events.len(), 1);
    assert_eq!(
        link.server.feed(ms(9000), &hello),
        Err(DropReason::DtlsDead)
    );
}

#[test]
fn guard3_the_deadline_ends_an_attempt() {
    let mut link = Link::new(false, 0);
    let hello = record(22, 0, 0, &handshake(1, 0, 200, 0, &[0xaa; 100]));
    assert_eq!(link.server.feed(ms(1000), &hello), Ok(()));
    let at = link.server.session.poll_timeout().unwrap();
    assert!(at <= ms(1000 + DTLS_HANDSHAKE_DEADLINE_MS));
    for now in (1000..=1000 + DTLS_HANDSHAKE_DEADLINE_MS).step_by(500) {
        link.server.timeout(ms(now));
    }
    let gone = ms(1000 + DTLS_HANDSHAKE_DEADLINE_MS);
    assert!(
        link.server.session.poll_timeout() > Some(gone),
        "the object and its timers are gone"
    );
}

#[test]
fn guard3_a_broken_handshake_that_nobody_begins_again_fails() {
    let mut link = Link::new(false, 0);
    let hello = record(22, 0, 0, &handshake(1, 0, 200, 0, &[0xaa; 100]));
    assert_eq!(link.server.feed(ms(1000), &hello), Ok(()));
    for now in (1000..=1000 + 2 * DTLS_HANDSHAKE_DEADLINE_MS).step_by(500) {
        link.server.timeout(ms(now));
    }
    // The owner gives the peer a fresh transport; without this it would wait for ever.
    assert_eq!(link.server.failure(), Some(DtlsFailure::Abandoned));
    assert_eq!(link.server.session.poll_timeout(), None);
}

#[test]
fn guard5_rubbish_does_not_disturb_a_handshake() {
    for dtls13 in [false, true] {
        let mut link = Link::new(dtls13, 0);
        link.client.start(ms(link.now));
        let mut noise = 1u64;
        for _ in 0..60 {
            for first in [20, 21, 22, 23, 25] {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let mut junk = noise.to_be_bytes().repeat(12);
                junk[0] = first;
                let _ = link.server.feed(ms(link.now), &junk);
            }
            let _ = link.server.feed(ms(link.now), &fatal_alert(0));
            link.carry();
            link.now += 50;
            link.client.timeout(ms(link.now));
            link.server.timeout(ms(link.now));
        }
        assert!(
            link.client.keys().is_some() && link.server.keys().is_some(),
            "DTLS 1.3: {dtls13}"
        );
        assert_eq!(link.server.events.len(), 1);
    }
}

#[test]
fn guard5_forged_plaintext_cannot_end_a_connected_session() {
    for dtls13 in [false, true] {
        let mut link = Link::new(dtls13, 0);
        assert!(link.run(2000));
        let now = link.now;
        assert_eq!(
            link.server.feed(ms(now), &fatal_alert(0)),
            Err(DropReason::DtlsGuard)
        );
        let unknown = record(30, 0, 1, &[0; 40]);
        assert_eq!(
            link.server.feed(ms(now), &unknown),
            Err(DropReason::DtlsGuard)
        );
        // Eleven empty Finished messages in one datagram end an unguarded session.
        let finished: Vec<u8> = (0..11u8)
            .flat_map(|i| record(22, 0, i, &handshake(20, i, 0, 0, &[])))
            .collect();
        let _ = link.server.feed(ms(now), &finished);
        let _ = link.server.feed(ms(now), &fatal_alert(1));
        let _ = link.server.feed(ms(now), &[0x2f; 60]);
        assert_eq!(link.server.events.len(), 1);
        // It still listens: a real close of the peer is heard.
        let out = &mut link.client.out;
        let mut send = |bytes: &[u8]| out.push_back(bytes.to_vec());
        link.client
            .session
            .close(ms(now), &mut link.client.context, &mut send);
        link.carry();
        assert!(
            matches!(link.server.events.last(), Some(DtlsEvent::Closed)),
            "{dtls13}"
        );
    }
}

#[test]
fn guard5_late_handshake_records_are_rationed() {
    let mut link = Link::new(false, 0);
    assert!(link.run(2000));
    let late = record(22, 0, 9, &handshake(16, 2, 1, 0, &[0]));
    let passed = |link: &mut Link, now| {
        (0..50)
            .filter(|_| link.server.feed(ms(now), &late).is_ok())
            .count()
    };
    let now = link.now;
    assert_eq!(passed(&mut link, now), DTLS_LATE_HANDSHAKE_PER_S as usize);
    assert_eq!(
        passed(&mut link, now + 1000),
        DTLS_LATE_HANDSHAKE_PER_S as usize
    );
    let flood: Vec<u8> = (0..100).flat_map(|_| late.clone()).collect();
    let before = link.server.out.len();
    let _ = link.server.feed(ms(now + 2000), &flood[..1300]);
    assert!(
        link.server.out.len() - before <= 8,
        "answers are bounded too"
    );
}

#[test]
fn guard5_a_client_that_lost_our_last_flight_gets_it_again() {
    let mut link = Link::new(false, 0);
    link.client.start(ms(link.now));
    while !link.server.session.is_connected() {
        for datagram in std::mem::take(&mut link.client.out) {
            let _ = link.server.feed(ms(link.now), &datagram);
        }
        if link.server.session.is_connected() {
            link.server.out.clear();
        }
        for datagram in std::mem::take(&mut link.server.out) {
            let _ = link.client.feed(ms(link.now), &datagram);
        }
    }
    assert!(!link.client.session.is_connected());
    assert!(link.run(5000), "the last flight must come again");
}

#[test]
fn guard6_a_wrong_certificate_gets_no_keys() {
    for wrong_side in [DtlsRole::Active, DtlsRole::Passive] {
        let (a, b, other) = (identity(0), identity(0), identity(0));
        let expect = |right: &DtlsIdentity, side| {
            if side == wrong_side {
                other.fingerprint
            } else {
                right.fingerprint
            }
        };
        let mut link = Link {
            client: Side::new(&a, false, DtlsRole::Active, &[expect(&b, DtlsRole::Active)]),
            server: Side::new(
                &b,
                false,
                DtlsRole::Passive,
                &[expect(&a, DtlsRole::Passive)],
            ),
            now: 1000,
        };
        assert!(!link.run(3000));
        let side = if wrong_side == DtlsRole::Active {
            &link.client
        } else {
            &link.server
        };
        assert!(side.keys().is_none());
        assert_eq!(side.failure(), Some(DtlsFailure::FingerprintMismatch));
    }
}

#[test]
fn guard6_one_of_several_fingerprints_is_enough() {
    let (a, b, other) = (identity(0), identity(0), identity(0));
    let strong = Fingerprint::of(HashFunction::Sha512, &a.certificate);
    let mut link = Link {
        client: Side::new(&a, false, DtlsRole::Active, &[b.fingerprint]),
        server: Side::new(&b, false, DtlsRole::Passive, &[other.fingerprint, strong]),
        now: 1000,
    };
    assert!(link.run(2000));
}

#[test]
fn guard7_handshakes_are_admitted_at_a_bounded_rate() {
    let b = identity(0);
    let mut context = context_of(&b, false);
    let hello = record(22, 0, 0, &handshake(1, 0, 200, 0, &[0xaa; 100]));
    let mut send = |_: &[u8]| {};
    let mut admitted = |now: Time, context: &mut DtlsContext| {
        (0..2 * DTLS_HANDSHAKES_PER_S)
            .filter(|_| {
                let mut session = DtlsSession::new(0);
                session.set_remote(DtlsRole::Passive, &[b.fingerprint]);
                let result = session.handle_datagram(now, &hello, context, &mut send);
                if result.is_err() {
                    assert!(matches!(result, Err(DropReason::DtlsRate)));
                }
                result.is_ok()
            })
            .count()
    };
    assert_eq!(
        admitted(ms(5), &mut context),
        DTLS_HANDSHAKES_PER_S as usize
    );
    assert_eq!(admitted(ms(1004), &mut context), 0);
    assert_eq!(
        admitted(ms(1005), &mut context),
        DTLS_HANDSHAKES_PER_S as usize
    );
}

/// What a scripted object does when asked.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Script {
    PanicOnPacket,
    PanicOnPoll,
    PanicOnTimeout,
    PanicOnDrop,
    NeverEndingOutput,
    ConnectedWithoutKeys,
    ConnectedWithUnknownProfile,
    ConnectedWithoutCertificate,
    ErrorOnPacket,
}

struct Scripted {
    script: Script,
    outputs: VecDeque<&'static str>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        assert!(
            self.script != Script::PanicOnDrop || std::thread::panicking(),
            "scripted"
        );
    }
}

impl Dtls for Scripted {
    fn handle_packet(&mut self, _packet: &[u8]) -> Result<(), DtlsError> {
        match self.script {
            Script::PanicOnPacket => panic!("scripted"),
            Script::ErrorOnPacket | Script::PanicOnDrop => {
                return Err(DtlsError("scripted".into()));
            }
            Script::ConnectedWithoutKeys => self.outputs.extend(["certificate", "connected"]),
            Script::ConnectedWithUnknownProfile => {
                self.outputs.extend(["certificate", "unknown", "connected"]);
            }
            Script::ConnectedWithoutCertificate => self.outputs.extend(["keys", "connected"]),
            _ => {}
        }
        Ok(())
    }

    fn handle_timeout(&mut self, _now: Time) -> Result<(), DtlsError> {
        assert!(self.script != Script::PanicOnTimeout, "scripted");
        Ok(())
    }

    fn poll_output<'a>(&mut self, _buffer: &'a mut [u8]) -> Result<DtlsOutput<'a>, DtlsError> {
        assert!(self.script != Script::PanicOnPoll, "scripted");
        if self.script == Script::NeverEndingOutput {
            return Ok(DtlsOutput::Ignored);
        }
        let profile = SrtpProfile::AeadAes128Gcm;
        Ok(match self.outputs.pop_front() {
            Some("certificate") => DtlsOutput::PeerCertificate(b"the peer"),
            Some("keys") => DtlsOutput::KeyingMaterial(vec![0; 56], Some(profile)),
            Some("unknown") => DtlsOutput::KeyingMaterial(vec![0; 56], None),
            Some(_) => DtlsOutput::Connected,
            // In the past: must not spin the shard.
            None => DtlsOutput::Timeout(Time::ZERO),
        })
    }

    fn close(&mut self) -> Result<(), DtlsError> {
        Ok(())
    }

    fn version(&self) -> Option<DtlsVersion> {
        Some(DtlsVersion::V12)
    }
}

struct ScriptedProvider {
    script: Script,
    made: Arc<AtomicU32>,
}

impl DtlsProvider for ScriptedProvider {
    fn create(&self, _: DtlsRole, _: Time, _: u64) -> Result<Box<dyn Dtls>, DtlsError> {
        self.made.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Scripted {
            script: self.script,
            outputs: VecDeque::new(),
        }))
    }
}

fn scripted(script: Script) -> (Side, Arc<AtomicU32>) {
    let made = Arc::new(AtomicU32::new(0));
    let mut session = DtlsSession::new(1);
    let print = Fingerprint::of(HashFunction::Sha256, b"the peer");
    session.set_remote(DtlsRole::Passive, &[print]);
    let provider = ScriptedProvider {
        script,
        made: Arc::clone(&made),
    };
    let side = Side {
        session,
        context: DtlsContext::new(Box::new(provider)),
        out: VecDeque::new(),
        events: Vec::new(),
    };
    (side, made)
}

fn client_hello() -> Vec<u8> {
    record(22, 0, 0, &handshake(1, 0, 100, 0, &[0; 100]))
}

#[test]
fn guard4_a_panic_costs_one_attempt_of_one_peer() {
    for script in [
        Script::PanicOnPacket,
        Script::PanicOnPoll,
        Script::PanicOnTimeout,
        Script::PanicOnDrop,
        Script::NeverEndingOutput,
        Script::ErrorOnPacket,
    ] {
        let (mut side, made) = scripted(script);
        for try_ in 1..=DTLS_ATTEMPTS_MAX {
            assert_eq!(side.feed(ms(1), &client_hello()), Ok(()), "{script:?}");
            assert_eq!(
                made.load(Ordering::Relaxed),
                try_,
                "{script:?}: each try has a fresh object"
            );
        }
        assert!(side.events.is_empty());
        assert_eq!(side.feed(ms(1), &client_hello()), Ok(()));
        assert_eq!(
            side.failure(),
            Some(DtlsFailure::TooManyAttempts),
            "{script:?}"
        );
    }
}

#[test]
fn guard6_no_keys_without_profile_and_certificate() {
    for (script, want) in [
        (Script::ConnectedWithoutKeys, DtlsFailure::NoSrtpProfile),
        (
            Script::ConnectedWithUnknownProfile,
            DtlsFailure::NoSrtpProfile,
        ),
        (
            Script::ConnectedWithoutCertificate,
            DtlsFailure::FingerprintMismatch,
        ),
    ] {
        let (mut side, _) = scripted(script);
        assert_eq!(side.feed(ms(1), &client_hello()), Ok(()));
        assert_eq!(side.failure(), Some(want));
        assert!(side.keys().is_none());
        assert_eq!(side.feed(ms(2), &client_hello()), Err(DropReason::DtlsDead));
    }
}

#[test]
fn a_timer_in_the_past_does_not_spin() {
    let (mut side, _) = scripted(Script::ConnectedWithoutKeys);
    side.session.set_remote(
        DtlsRole::Active,
        &[Fingerprint::of(HashFunction::Sha256, b"the peer")],
    );
    side.start(ms(100));
    assert!(side.session.poll_timeout().unwrap() > ms(100));
}

#[test]
fn an_unreadable_key_is_a_configuration_error_not_a_panic() {
    let mut broken = identity(0);
    broken.private_key.truncate(20);
    let result = DimplProvider::new(DtlsSettings::default(), &broken, anchor());
    assert!(result.unwrap_err().to_string().contains("certificate"));
}
