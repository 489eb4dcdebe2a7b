//! Why `rtp`, `rtcp`, `stun`, `webrtc-srtp` and `dtls` must not read what the network sends: one test per reason.
//!
//! Each test gives a package the input that breaks it and asserts that it still breaks. They are the evidence of
//! `docs/decisions/0001-packages-and-the-network.md`. A test that fails here is good news: a release has repaired
//! the package, and the decision can be looked at again. The same inputs go through our own readers in
//! `tests/hostile.rs`, where breaking is not allowed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stun::message::Setter;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;
use webrtc_util::conn::Conn;
use webrtc_util::marshal::Unmarshal;

const GONE: &str = "the reason is gone: see docs/decisions/0001-packages-and-the-network.md";

/// Whether `f` panics. The harness shows the message only when a test fails.
fn panics<T>(f: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

// --- rtp, rtcp ------------------------------------------------------------------------------

#[test]
fn rtp_panics_on_a_truncated_extension_before_authentication() {
    // A one-byte-form element (id 2) that claims 16 bytes where 3 are left; 20 bytes in all.
    let mut one_byte = vec![0x90, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xbe, 0xde, 0, 1];
    one_byte.extend([0x2f, 0, 0, 0]);
    // The same in the two-byte form.
    let mut two_byte = one_byte.clone();
    two_byte[12..14].copy_from_slice(&[0x10, 0x00]);
    two_byte[16..20].copy_from_slice(&[2, 16, 0, 0]);
    for packet in [one_byte, two_byte] {
        assert_eq!(packet.len(), 20);
        assert!(
            panics(|| rtp::header::Header::unmarshal(&mut &packet[..])),
            "rtp: {GONE}"
        );
    }
}

#[test]
fn rtcp_panics_on_an_eight_byte_fir() {
    let fir: [u8; 8] = [0x84, 0xce, 0, 1, 0, 0, 0, 1];
    assert!(
        panics(|| rtcp::packet::unmarshal(&mut &fir[..])),
        "rtcp: {GONE}"
    );
}

// --- stun -----------------------------------------------------------------------------------

#[test]
fn stun_honours_attributes_after_message_integrity() {
    use stun::attributes::ATTR_USE_CANDIDATE;
    use stun::integrity::MessageIntegrity;
    use stun::message::{BINDING_REQUEST, Message};

    let key = MessageIntegrity::new_short_term_integrity("secret".to_owned());
    let mut message = Message::new();
    let setters: [Box<dyn Setter>; 2] = [Box::new(BINDING_REQUEST), Box::new(key.clone())];
    message.build(&setters).unwrap();
    // An attacker on the path appends this without knowing the password (RFC 8489 section 9: to be ignored).
    message.add(ATTR_USE_CANDIDATE, &[]);

    let mut read = Message::new();
    read.unmarshal_binary(&message.raw).unwrap();
    assert!(key.check(&mut read).is_ok(), "the forged message verifies");
    assert!(read.contains(ATTR_USE_CANDIDATE), "stun: {GONE}");
}

// --- webrtc-srtp ----------------------------------------------------------------------------

fn srtp(profile: ProtectionProfile) -> Context {
    let key = vec![7; profile.key_len()];
    let salt = vec![9; profile.salt_len()];
    Context::new(&key, &salt, profile, None, None).unwrap()
}

#[test]
fn srtp_panics_on_short_srtcp() {
    for profile in [
        ProtectionProfile::Aes128CmHmacSha1_80,
        ProtectionProfile::AeadAes128Gcm,
    ] {
        let four: [u8; 4] = [0x80, 0xc8, 0, 0];
        assert!(
            panics(|| srtp(profile).decrypt_rtcp(&four)),
            "webrtc-srtp {profile:?}: {GONE}"
        );
    }
}

#[test]
fn srtp_accepts_forged_srtcp_without_the_e_flag() {
    // Receiver report, then index with E = 0, then ten bytes that are no tag at all.
    let mut forged = vec![0x80, 0xc9, 0, 1, 0xde, 0xad, 0xbe, 0xef];
    forged.extend([0, 0, 0, 1]);
    forged.extend([0xff; 10]);
    let opened = srtp(ProtectionProfile::Aes128CmHmacSha1_80).decrypt_rtcp(&forged);
    assert_eq!(
        opened.expect(GONE).as_ref(),
        &forged[..8],
        "webrtc-srtp: {GONE}"
    );
}

#[test]
fn srtp_replays_unless_told_otherwise() {
    let profile = ProtectionProfile::AeadAes128Gcm;
    let plain = [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3];
    let sealed = srtp(profile).encrypt_rtp(&plain).unwrap();
    let mut receiver = srtp(profile);
    assert!(receiver.decrypt_rtp(&sealed).is_ok());
    assert!(
        receiver.decrypt_rtp(&sealed).is_ok(),
        "webrtc-srtp with the default options: {GONE}"
    );
}

// --- dtls -----------------------------------------------------------------------------------

/// Exit code of a child in which the package panicked.
const PANICKED: i32 = 42;

/// A server still alive after this long, with the attack delivered, has survived it.
const SURVIVED: Duration = Duration::from_secs(5);

/// A handshake record of epoch 0 (RFC 6347 section 4.2.2) with one fragment of one byte or less.
fn handshake(
    kind: u8,
    message_seq: u16,
    length: u32,
    offset: u32,
    body: &[u8],
    record: u16,
) -> Vec<u8> {
    let mut bytes = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0];
    bytes.extend(record.to_be_bytes());
    bytes.extend((12 + body.len() as u16).to_be_bytes());
    bytes.push(kind);
    bytes.extend(&length.to_be_bytes()[1..]);
    bytes.extend(message_seq.to_be_bytes());
    bytes.extend(&offset.to_be_bytes()[1..]);
    bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
    bytes.extend(body);
    bytes
}

/// A socket that delivers what it was made with and then stays silent.
struct Replay(Mutex<VecDeque<Vec<u8>>>);

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

#[async_trait::async_trait]
impl Conn for Replay {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Ok(())
    }
    async fn recv(&self, buf: &mut [u8]) -> webrtc_util::Result<usize> {
        let next = self.0.lock().unwrap().pop_front();
        match next {
            Some(datagram) => {
                buf[..datagram.len()].copy_from_slice(&datagram);
                Ok(datagram.len())
            }
            None => std::future::pending().await,
        }
    }
    async fn recv_from(&self, buf: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        Ok((self.recv(buf).await?, NOWHERE))
    }
    async fn send(&self, buf: &[u8]) -> webrtc_util::Result<usize> {
        Ok(buf.len())
    }
    async fn send_to(&self, buf: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
        Ok(buf.len())
    }
    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Ok(NOWHERE)
    }
    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(NOWHERE)
    }
    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }
    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

/// The datagrams of an attack by name.
fn attack(name: &str) -> VecDeque<Vec<u8>> {
    match name {
        // 26 bytes as the very first datagram: a ClientKeyExchange with a body of one byte.
        "client_key_exchange" => VecDeque::from([handshake(16, 0, 1, 0, &[0], 0)]),
        // The first fragment comes last, so that the package walks the whole chain at once, by recursion.
        "fragments" => {
            const FRAGMENTS: u32 = 30_000;
            (1..FRAGMENTS)
                .chain([0])
                .zip(0..)
                .map(|(offset, record)| handshake(1, 0, FRAGMENTS, offset, &[0], record))
                .collect()
        }
        "junk" => VecDeque::from([vec![0xff; 26]]),
        other => panic!("no attack is called {other}"),
    }
}

/// What the tests below run in a process of its own, because what happens to it cannot be caught.
#[test]
#[ignore = "run as a child by the dtls tests"]
fn dtls_child() {
    let name = std::env::var("COLCHIS_ATTACK").expect("set by the parent");
    // Two providers are linked in this test; without a choice rustls itself would panic.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("the first and only choice");
    // The package panics in a task of its own: only the hook sees it.
    std::panic::set_hook(Box::new(|_| std::process::exit(PANICKED)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let certificate =
            dtls::crypto::Certificate::generate_self_signed(vec!["server".to_owned()]).unwrap();
        let config = dtls::config::Config {
            certificates: vec![certificate],
            ..Default::default()
        };
        let socket = Arc::new(Replay(Mutex::new(attack(&name))));
        let server = dtls::conn::DTLSConn::new(socket.clone(), config, false, None);
        // A repaired package waits for a real ClientHello until this ends it.
        let _ = tokio::time::timeout(SURVIVED, server).await;
    });
}

fn child(attack: &str) -> std::process::ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["dtls_child", "--exact", "--ignored", "--nocapture"])
        .env("COLCHIS_ATTACK", attack)
        .output()
        .unwrap()
        .status
}

/// Shows that the tests below see the attack's effect and not a child that never works.
#[test]
fn dtls_child_survives_junk() {
    assert_eq!(child("junk").code(), Some(0));
}

#[test]
fn dtls_panics_on_a_first_datagram_of_26_bytes() {
    assert_eq!(attack("client_key_exchange")[0].len(), 26);
    assert_eq!(
        child("client_key_exchange").code(),
        Some(PANICKED),
        "dtls: {GONE}"
    );
}

#[test]
fn dtls_aborts_the_process_on_one_byte_fragments() {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(
        attack("fragments").iter().map(Vec::len).sum::<usize>(),
        780_000
    );
    let signal = child("fragments").signal();
    assert!(signal.is_some(), "dtls: {GONE}");
}
