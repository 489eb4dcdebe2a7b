//! The whole transport against a client made of the same parts in the other role: rules 1–7 and 11 of the threat list.

use std::net::SocketAddr;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::dtls::tests::{context_of, identity, ms};
use super::dtls::{DtlsIdentity, records::HEADER_BYTES};
use super::*;
use crate::limits::*;
use crate::wire::rtcp::{Compound, Packet};
use crate::wire::stun::{self, Role};

const CONTROLLING: Role = Role::Controlling(7);

fn address(last: u8) -> SocketAddr {
    ([192, 0, 2, last], 5000 + u16::from(last)).into()
}

/// A browser: controlling ICE agent, active DTLS.
struct Client {
    address: SocketAddr,
    credentials: IceCredentials,
    dtls: DtlsSession,
    context: DtlsContext,
    srtp: Option<(Inbound, Outbound)>,
    transactions: u8,
}

/// The server's transport, a client, and what was sent last.
struct World {
    transport: Transport,
    context: DtlsContext,
    tx: TransmitQueue,
    client: Client,
    now: Time,
    events: Vec<TransportEvent>,
}

impl World {
    fn new() -> World {
        let (server, client) = (identity(0), identity(0));
        World::with(&server, &client, &client, &server)
    }

    /// `*_says` is the identity whose fingerprint the description of that side carries.
    fn with(
        server: &DtlsIdentity,
        client: &DtlsIdentity,
        client_says: &DtlsIdentity,
        server_says: &DtlsIdentity,
    ) -> World {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut transport = Transport::new(IceCredentials::generate(&mut rng), 77, 1);
        let credentials = IceCredentials::generate(&mut rng);
        transport.set_remote(
            credentials.clone(),
            &[client_says.fingerprint],
            DtlsRole::Passive,
        );
        let mut dtls = DtlsSession::new(2);
        dtls.set_remote(DtlsRole::Active, &[server_says.fingerprint]);
        World {
            transport,
            context: context_of(server, false),
            tx: TransmitQueue::with_slots(64),
            client: Client {
                address: address(1),
                credentials,
                dtls,
                context: context_of(client, false),
                srtp: None,
                transactions: 0,
            },
            now: ms(1000),
            events: Vec::new(),
        }
    }

    /// A check as the client would send it.
    fn check(&mut self, role: Role, use_candidate: bool) -> Vec<u8> {
        let local = self.transport.local_credentials().clone();
        let name = format!("{}:{}", local.ufrag, self.client.credentials.ufrag);
        self.client.transactions += 1;
        let id = [self.client.transactions; 12];
        let mut out = [0; 300];
        let len = stun::write_binding_request(
            &mut out,
            &id,
            &name,
            local.pwd.as_bytes(),
            100,
            role,
            use_candidate,
        )
        .unwrap();
        out[..len].to_vec()
    }

    fn stun(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<IceCheck, DropReason> {
        let message = stun::parse(bytes).map_err(|_| DropReason::StunMalformed)?;
        let (context, tx) = (&mut self.context, &mut self.tx);
        let result = self
            .transport
            .handle_stun(self.now, from, &message, context, tx);
        self.collect();
        result
    }

    fn good_check(&mut self, from: SocketAddr) -> IceCheck {
        let check = self.check(CONTROLLING, true);
        self.stun(from, &check).unwrap()
    }

    fn dtls(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<(), DropReason> {
        let (context, tx) = (&mut self.context, &mut self.tx);
        let result = self
            .transport
            .handle_dtls(self.now, from, bytes, context, tx);
        self.collect();
        result
    }

    fn timeout(&mut self, now: Time) {
        self.now = now;
        self.transport
            .handle_timeout(now, &mut self.context, &mut self.tx);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.transport.poll_event() {
            self.events.push(event);
        }
    }

    fn sent(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let all = self.tx.iter().map(|(to, b)| (to, b.to_vec())).collect();
        self.tx.clear();
        all
    }

    /// Gives `answers` to the client's DTLS and returns what it says to them.
    fn client_dtls(&mut self, answers: &[(SocketAddr, Vec<u8>)]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut events = Vec::new();
        let mut send = |bytes: &[u8]| out.push(bytes.to_vec());
        let client = &mut self.client;
        events.extend(client.dtls.start(self.now, &mut client.context, &mut send));
        for (_, datagram) in answers {
            let event =
                client
                    .dtls
                    .handle_datagram(self.now, datagram, &mut client.context, &mut send);
            events.extend(event.ok().flatten());
        }
        for event in events {
            if let DtlsEvent::Connected(keys) = event {
                client.srtp = Some((
                    Inbound::new(keys.profile, &keys.remote).unwrap(),
                    Outbound::new(keys.profile, &keys.local).unwrap(),
                ));
            }
        }
        out
    }

    /// A check, then DTLS until both sides have nothing to say.
    fn connect(&mut self) {
        let from = self.client.address;
        assert_eq!(self.good_check(from), IceCheck::New { evicted: None });
        self.sent();
        let mut answers = Vec::new();
        for _ in 0..20 {
            for datagram in self.client_dtls(&answers) {
                let _ = self.dtls(from, &datagram);
            }
            answers = self.sent();
        }
    }

    fn sealed_rtp(&mut self, sequence: u16) -> Vec<u8> {
        let mut slot = vec![0x80, 96];
        slot.extend(sequence.to_be_bytes());
        slot.resize(12 + 100 + 16, 9);
        let (_, outbound) = self.client.srtp.as_mut().unwrap();
        let len = outbound.seal_rtp(&mut slot, 12, 112).unwrap();
        slot.truncate(len);
        slot
    }
}

fn world_connected() -> World {
    let mut world = World::new();
    world.connect();
    assert!(world.transport.is_connected());
    world
}

#[test]
fn a_call_connects_and_media_flows_both_ways() {
    let mut world = world_connected();
    assert!(matches!(
        world.events[..],
        [
            TransportEvent::IceConnected(_),
            TransportEvent::DtlsConnected { .. }
        ]
    ));
    let from = world.client.address;
    let mut packet = world.sealed_rtp(1);
    assert_eq!(world.transport.open_rtp(from, &mut packet), Ok(112));
    let mut slot = [0x80; 200];
    let len = world.transport.seal_rtp(&mut slot, 12, 150).unwrap();
    let (inbound, _) = world.client.srtp.as_mut().unwrap();
    assert_eq!(inbound.open_rtp(&mut slot[..len], 12), Ok(150));
    let mut slot = [0x80; 200];
    let len = world.transport.seal_rtcp(&mut slot, 40).unwrap();
    assert_eq!(inbound.open_rtcp(&mut slot[..len]), Ok(40));
}

#[test]
fn the_active_side_of_dtls_works_too() {
    let (server, client) = (identity(0), identity(0));
    let mut world = World::with(&server, &client, &client, &server);
    let credentials = world.client.credentials.clone();
    world
        .transport
        .set_remote(credentials, &[client.fingerprint], DtlsRole::Active);
    world
        .client
        .dtls
        .set_remote(DtlsRole::Passive, &[server.fingerprint]);
    world.good_check(address(1));
    for _ in 0..20 {
        let answers: Vec<_> = world.sent();
        for datagram in world.client_dtls(&answers) {
            let _ = world.dtls(address(1), &datagram);
        }
    }
    assert!(world.transport.is_connected());
    assert!(world.client.srtp.is_some());
}

#[test]
fn rule1_nothing_counts_from_an_address_no_check_validated() {
    let mut world = World::new();
    let hello = world.client_dtls(&[]).remove(0);
    assert_eq!(
        world.dtls(address(1), &hello),
        Err(DropReason::UnknownSource)
    );
    assert!(world.sent().is_empty());
    let mut world = world_connected();
    let mut packet = world.sealed_rtp(1);
    let spoofed = address(66);
    assert_eq!(
        world.transport.open_rtp(spoofed, &mut packet.clone()),
        Err(DropReason::UnknownSource)
    );
    assert_eq!(
        world.transport.open_rtcp(spoofed, &mut packet.clone()),
        Err(DropReason::UnknownSource)
    );
    assert_eq!(world.dtls(spoofed, &hello), Err(DropReason::UnknownSource));
    assert_eq!(world.transport.send_address(), Some(address(1)));
    let from = world.client.address;
    assert_eq!(world.transport.open_rtp(from, &mut packet), Ok(112));
}

#[test]
fn rule1_only_an_authenticated_nomination_moves_the_send_address() {
    let mut world = world_connected();
    world.events.clear();
    // Valid but not nominated: may send to us, gets nothing.
    let plain = world.check(CONTROLLING, false);
    assert!(matches!(
        world.stun(address(2), &plain),
        Ok(IceCheck::New { .. })
    ));
    assert_eq!(world.transport.send_address(), Some(address(1)));
    let mut packet = world.sealed_rtp(1);
    assert_eq!(world.transport.open_rtp(address(2), &mut packet), Ok(112));
    assert_eq!(
        world.transport.send_address(),
        Some(address(1)),
        "media moves nothing"
    );
    // A forged nomination.
    let mut forged = world.check(CONTROLLING, true);
    let at = forged.len() - 20;
    forged[at] ^= 1;
    assert!(world.stun(address(3), &forged).is_err());
    assert_eq!(world.transport.send_address(), Some(address(1)));
    assert_eq!(world.good_check(address(2)), IceCheck::Known);
    assert_eq!(world.transport.send_address(), Some(address(2)));
    let (from, to) = (address(1), address(2));
    assert_eq!(world.events, [TransportEvent::AddressChanged { from, to }]);
}

/// A check with right FINGERPRINT whose integrity is computed with `password`.
fn check_with(username: &str, password: &[u8]) -> Vec<u8> {
    let mut out = [0; 300];
    let id = [9; 12];
    let len = stun::write_binding_request(&mut out, &id, username, password, 1, CONTROLLING, true)
        .unwrap();
    out[..len].to_vec()
}

#[test]
fn rule2_the_unauthenticated_get_silence_and_leave_nothing() {
    let mut world = World::new();
    let local = world.transport.local_credentials().clone();
    let name = format!("{}:abcd", local.ufrag);
    let wrong_password = check_with(&name, b"not the password at all!");
    let wrong_ufrag = check_with("nobody:abcd", local.pwd.as_bytes());
    let mut answer = [0; 200];
    let len = stun::write_binding_success(&mut answer, &[1; 12], address(1), local.pwd.as_bytes());
    let cases = [
        (wrong_password, DropReason::StunBadIntegrity),
        (wrong_ufrag, DropReason::StunUnknownUfrag),
        (answer[..len.unwrap()].to_vec(), DropReason::StunUnexpected),
    ];
    for (bytes, want) in cases {
        assert_eq!(world.stun(address(5), &bytes), Err(want));
        assert!(world.sent().is_empty());
        assert_eq!(world.transport.remote_addresses().count(), 0);
        assert_eq!(world.transport.poll_timeout(), None);
        assert!(world.events.is_empty());
    }
}

#[test]
fn rule2_answers_are_no_larger_than_requests() {
    for from in [address(1), "[2001:db8::1]:9".parse().unwrap()] {
        for role in [CONTROLLING, Role::Controlled(3)] {
            let mut world = World::new();
            let check = world.check(role, true);
            assert!(world.stun(from, &check).is_ok());
            let sent = world.sent();
            assert_eq!(sent.len(), 1);
            assert_eq!(sent[0].0, from);
            assert!(sent[0].1.len() <= check.len(), "{from} {role:?}");
        }
    }
}

#[test]
fn rule2_a_role_conflict_is_answered_with_487_and_validates_nothing() {
    let mut world = World::new();
    let check = world.check(Role::Controlled(u64::MAX), true);
    assert_eq!(world.stun(address(1), &check), Ok(IceCheck::Refused));
    let sent = world.sent();
    let answer = stun::parse(&sent[0].1).unwrap();
    assert_eq!(answer.error_code, Some(stun::ERROR_ROLE_CONFLICT));
    assert!(answer.verify(world.transport.local_credentials().pwd.as_bytes()));
    assert_eq!(world.transport.send_address(), None);
}

#[test]
fn rule2_at_most_eight_addresses_and_only_silent_ones_make_room() {
    let mut world = World::new();
    for last in 1..=ICE_REMOTE_ADDRESSES_MAX as u8 {
        world.now = ms(1000 + u64::from(last));
        assert_eq!(
            world.good_check(address(last)),
            IceCheck::New { evicted: None }
        );
    }
    world.sent();
    let ninth = world.check(CONTROLLING, true);
    assert_eq!(
        world.stun(address(99), &ninth),
        Err(DropReason::StunTooManyAddresses)
    );
    assert!(world.sent().is_empty());
    let later = ms(1000 + CONSENT_TIMEOUT_MS);
    world.now = later;
    let kept = ICE_REMOTE_ADDRESSES_MAX as u8;
    assert_eq!(world.good_check(address(kept)), IceCheck::Known);
    world.now = ms(1001 + CONSENT_TIMEOUT_MS);
    let evicted = Some(address(1));
    assert_eq!(world.good_check(address(99)), IceCheck::New { evicted });
    assert_eq!(
        world.transport.remote_addresses().count(),
        ICE_REMOTE_ADDRESSES_MAX
    );
}

#[test]
fn rule3_attributes_after_message_integrity_do_not_exist() {
    let mut world = world_connected();
    // USE-CANDIDATE is put behind MESSAGE-INTEGRITY of an honest check without it, by somebody in the middle.
    let honest = world.check(CONTROLLING, false);
    let body = &honest[..honest.len() - 8];
    let mut forged = body.to_vec();
    forged.extend([0x00, 0x25, 0, 0]);
    let len = (forged.len() + 8 - 20) as u16;
    forged[2..4].copy_from_slice(&len.to_be_bytes());
    let crc = crc32(&forged) ^ 0x5354_554e;
    forged.extend([0x80, 0x28, 0, 4]);
    forged.extend(crc.to_be_bytes());
    assert!(matches!(
        world.stun(address(2), &forged),
        Ok(IceCheck::New { .. })
    ));
    assert_eq!(world.transport.send_address(), Some(address(1)));
    let mut without = honest[..honest.len() - 8].to_vec();
    let len = (without.len() - 20) as u16;
    without[2..4].copy_from_slice(&len.to_be_bytes());
    assert_eq!(
        world.stun(address(3), &without),
        Err(DropReason::StunMalformed)
    );
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
        }
        crc
    })
}

#[test]
fn rule4_and_5_bad_packets_leave_no_state_and_end_nothing() {
    let mut world = world_connected();
    let from = world.client.address;
    for n in 0..200u32 {
        let mut forged = vec![0x80, 96, 0, 1, 0, 0, 0, 0];
        forged.extend(n.to_be_bytes());
        forged.resize(100, n as u8);
        assert_eq!(
            world.transport.open_rtp(from, &mut forged.clone()),
            Err(DropReason::SrtpAuth)
        );
        forged[1] = 200;
        assert!(world.transport.open_rtcp(from, &mut forged).is_err());
        let junk = vec![20 + (n % 44) as u8; HEADER_BYTES + n as usize];
        let _ = world.dtls(from, &junk);
    }
    world.sent();
    let srtp = world.transport.srtp.as_ref().unwrap();
    assert_eq!(srtp.inbound.ssrc_count(), 0);
    let mut packet = world.sealed_rtp(1);
    assert_eq!(world.transport.open_rtp(from, &mut packet), Ok(112));
    assert_eq!(world.events.len(), 2, "{:?}", world.events);
    assert!(world.transport.is_connected());
}

#[test]
fn rule6_no_media_key_without_the_right_fingerprint() {
    let (server, client, other) = (identity(0), identity(0), identity(0));
    let mut world = World::with(&server, &client, &other, &server);
    world.connect();
    let failure = TransportError::Dtls(DtlsFailure::FingerprintMismatch);
    assert_eq!(world.events.last(), Some(&TransportEvent::Failed(failure)));
    assert!(!world.transport.is_connected());
    assert_eq!(world.transport.send_address(), None);
    let mut slot = [0x80; 100];
    assert_eq!(
        world.transport.seal_rtp(&mut slot, 12, 50),
        Err(DropReason::SrtpNoKeys)
    );
    let from = world.client.address;
    assert_eq!(
        world.transport.open_rtp(from, &mut slot),
        Err(DropReason::SrtpNoKeys)
    );
}

#[test]
fn rule6_a_forged_alert_does_not_end_a_call() {
    let mut world = world_connected();
    let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 40];
    let from = world.client.address;
    assert_eq!(world.dtls(from, &alert), Err(DropReason::DtlsGuard));
    assert!(world.transport.is_connected());
}

#[test]
fn rule7_hostile_files_through_every_entrance() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hostile");
    let mut world = world_connected();
    let from = world.client.address;
    let mut read = 0;
    for kind in std::fs::read_dir(folder).unwrap() {
        for file in std::fs::read_dir(kind.unwrap().path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            read += 1;
            assert!(world.transport.open_rtp(from, &mut bytes.clone()).is_err());
            assert!(world.transport.open_rtcp(from, &mut bytes.clone()).is_err());
            let _ = world.dtls(from, &bytes);
            assert!(world.stun(from, &bytes).is_err());
        }
    }
    assert!(read > 100);
    assert!(world.transport.is_connected());
}

#[test]
fn rule11_sending_ends_when_checks_do() {
    let mut world = world_connected();
    world.events.clear();
    let last_check = world.now;
    let consent_end = last_check + Duration::from_millis(CONSENT_TIMEOUT_MS);
    let mut at = world.transport.poll_timeout().unwrap();
    while at < consent_end {
        world.timeout(at);
        assert!(world.transport.is_connected(), "too early: {at:?}");
        let next = world.transport.poll_timeout().unwrap();
        assert!(next > at, "a timer must move on");
        at = next;
    }
    assert_eq!(at, consent_end);
    world.timeout(at);
    assert_eq!(world.events, [TransportEvent::ConsentLost]);
    assert_eq!(world.transport.send_address(), None);
    assert!(!world.transport.is_connected());
    let mut packet = world.sealed_rtp(1);
    let from = world.client.address;
    assert_eq!(
        world.transport.open_rtp(from, &mut packet),
        Err(DropReason::UnknownSource)
    );
    let gone = consent_end + Duration::from_millis(ICE_RETURN_TIMEOUT_MS);
    assert_eq!(world.transport.poll_timeout(), Some(gone));
    world.good_check(from);
    assert!(world.transport.is_connected(), "a new check brings it back");
}

#[test]
fn a_peer_that_does_not_come_back_is_gone() {
    let mut world = world_connected();
    world.events.clear();
    let lost = world.now + Duration::from_millis(CONSENT_TIMEOUT_MS);
    let gone = lost + Duration::from_millis(ICE_RETURN_TIMEOUT_MS);
    world.timeout(lost);
    world.timeout(gone - Duration::from_millis(1));
    assert_eq!(world.events, [TransportEvent::ConsentLost]);
    world.timeout(gone);
    assert_eq!(world.events.last(), Some(&TransportEvent::Gone));
    assert_eq!(world.transport.poll_timeout(), None, "said once");
}

#[test]
fn rule11_a_silent_address_gives_way_to_one_that_is_checked() {
    let mut world = world_connected();
    world.events.clear();
    world.now = ms(20_000);
    let check = world.check(CONTROLLING, false);
    assert!(world.stun(address(2), &check).is_ok());
    world.timeout(ms(1000 + CONSENT_TIMEOUT_MS));
    let (from, to) = (address(1), address(2));
    assert_eq!(world.events, [TransportEvent::AddressChanged { from, to }]);
    assert_eq!(world.transport.send_address(), Some(address(2)));
}

#[test]
fn ice_restart_keeps_the_old_ufrag_until_the_new_one_is_used() {
    let mut world = world_connected();
    let old_check = world.check(CONTROLLING, true);
    let old_ufrag = world.transport.local_credentials().ufrag.clone();
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    assert_eq!(
        world
            .transport
            .restart_ice(IceCredentials::generate(&mut rng)),
        None
    );
    assert_eq!(world.transport.local_ufrags().count(), 2);
    assert_eq!(world.stun(address(1), &old_check), Ok(IceCheck::Known));
    assert_eq!(
        world.good_check(address(4)),
        IceCheck::New { evicted: None }
    );
    assert_eq!(world.transport.local_ufrags().count(), 1);
    assert_eq!(
        world.stun(address(1), &old_check),
        Err(DropReason::StunUnknownUfrag)
    );
    assert!(
        world.transport.is_connected(),
        "media goes on through the restart"
    );
    assert_eq!(world.transport.send_address(), Some(address(4)));
    let newer = IceCredentials::generate(&mut rng);
    world.transport.restart_ice(newer.clone());
    let third = world
        .transport
        .restart_ice(IceCredentials::generate(&mut rng));
    assert_ne!(third.as_deref(), Some(old_ufrag.as_str()));
    assert_eq!(world.transport.local_ufrags().count(), ICE_UFRAGS_PER_PEER);
}

#[test]
fn a_peer_back_from_a_restart_without_keys_is_gone() {
    for (sends_before, sends_after) in [(true, true), (true, false), (false, false)] {
        let mut world = world_connected();
        let from = address(1);
        if sends_before {
            let mut packet = world.sealed_rtp(1);
            world.transport.open_rtp(from, &mut packet).unwrap();
        }
        world.events.clear();
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let fresh = IceCredentials::generate(&mut rng);
        world.transport.restart_ice(fresh);
        world.good_check(from);
        let due = world.now + Duration::from_millis(ICE_PROOF_TIMEOUT_MS);
        if sends_after {
            let mut packet = world.sealed_rtp(2);
            world.transport.open_rtp(from, &mut packet).unwrap();
        }
        world.timeout(due - Duration::from_millis(1));
        assert_eq!(world.events, []);
        world.timeout(due);
        // Who never sent anything has nothing to prove.
        let gone = sends_before && !sends_after;
        let told = world.events.contains(&TransportEvent::Gone);
        assert_eq!((told, world.transport.is_connected()), (gone, !gone));
    }
}

#[test]
fn the_peer_restarting_ice_is_noticed() {
    let mut world = World::new();
    let same = world.client.credentials.clone();
    let print = identity(0).fingerprint;
    assert!(
        !world
            .transport
            .set_remote(same, &[print], DtlsRole::Passive)
    );
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let other = IceCredentials::generate(&mut rng);
    assert!(
        world
            .transport
            .set_remote(other, &[print], DtlsRole::Passive)
    );
}

#[test]
fn closing_says_goodbye_and_ends() {
    let mut world = world_connected();
    world.sent();
    let (context, tx) = (&mut world.context, &mut world.tx);
    world.transport.close(world.now, context, tx);
    let goodbye = world.sent();
    assert!(!goodbye.is_empty());
    assert_eq!(world.transport.send_address(), None);
    assert_eq!(world.transport.poll_timeout(), None);
    let check = world.check(CONTROLLING, true);
    assert!(world.stun(address(1), &check).is_err());
}

#[test]
fn the_peers_goodbye_is_an_event() {
    let mut world = world_connected();
    let mut out = Vec::new();
    let mut send = |bytes: &[u8]| out.push(bytes.to_vec());
    let client = &mut world.client;
    client.dtls.close(world.now, &mut client.context, &mut send);
    for datagram in out {
        world.dtls(address(1), &datagram).unwrap();
    }
    assert_eq!(world.events.last(), Some(&TransportEvent::Closed));
}

#[test]
fn feedback_tells_what_arrived_and_what_did_not() {
    let mut world = world_connected();
    world.sent();
    let start = world.now;
    for (at, sequence) in [(0, 65_534u16), (1, 65_535), (3, 1), (2, 0), (5, 3)] {
        let now = start + Duration::from_millis(at);
        world.transport.record_arrival(now, sequence, 4242);
    }
    let due = start + Duration::from_millis(TWCC_INTERVAL_MS);
    assert!(world.transport.poll_timeout().unwrap() <= due);
    world.timeout(due);
    let mut sealed = world.sent().remove(0).1;
    let (inbound, _) = world.client.srtp.as_mut().unwrap();
    let len = inbound.open_rtcp(&mut sealed).unwrap();
    let compound = Compound::parse(&sealed[..len]).unwrap();
    let Some(Ok(Packet::TransportFeedback(feedback))) = compound.packets().next() else {
        panic!("no feedback in {compound:?}");
    };
    assert_eq!((feedback.sender_ssrc, feedback.media_ssrc), (77, 4242));
    let told: Vec<_> = feedback
        .statuses()
        .map(|s| (s.sequence, s.delta_ticks.is_some()))
        .collect();
    let want = [
        (65_534, true),
        (65_535, true),
        (0, true),
        (1, true),
        (2, false),
        (3, true),
    ];
    assert_eq!(told, want);
    world.timeout(due + Duration::from_secs(1));
    assert!(world.sent().is_empty(), "nothing new, nothing told");
}
