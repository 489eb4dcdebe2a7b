//! A second WebRTC stack beside the server's own: STUN from `stun`, DTLS from `dtls`, SRTP from `webrtc-srtp`.
//! Full ICE agent in the controlling role with one candidate pair, DTLS client.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use colchis::transport::srtp::{MasterKey, Outbound, SrtpProfile, rtp_header_len};
use dtls::config::Config as DtlsConfig;
use dtls::conn::DTLSConn;
use dtls::crypto::Certificate;
use dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use stun::agent::TransactionId;
use stun::attributes::{
    ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, RawAttribute,
};
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, Setter};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, mpsc};
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;
use webrtc_util::conn::Conn;

use crate::support::sdp::Credentials;

/// DTLS identity of a client.
#[derive(Clone)]
pub struct Identity {
    certificate: Certificate,
    /// ICE credentials and fingerprint for descriptions.
    pub credentials: Credentials,
}

impl Identity {
    /// A fresh self-signed ECDSA certificate and ICE credentials made of `name`.
    pub fn new(name: &str) -> Self {
        // Two providers are compiled in, by the server and by `dtls`; an error means that one is chosen already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let certificate =
            Certificate::generate_self_signed(vec!["client".to_owned()]).expect("certificate");
        let der = certificate.certificate[0].as_ref();
        let fingerprint = fingerprint(der);
        let tail: String = fingerprint.chars().filter(|c| *c != ':').take(28).collect();
        let credentials = Credentials {
            ufrag: format!("{name}{}", &tail[..6]),
            pwd: tail,
            fingerprint,
        };
        Self {
            certificate,
            credentials,
        }
    }
}

/// SHA-256 of a certificate as descriptions write it.
pub fn fingerprint(der: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    hash.as_ref()
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect::<Vec<_>>()
        .join(":")
}

/// A controlling connectivity check. Returns it with its transaction id.
pub fn binding_request(
    local_ufrag: &str,
    remote_ufrag: &str,
    remote_pwd: &str,
) -> (Vec<u8>, TransactionId) {
    let mut message = Message::new();
    let id = TransactionId::new();
    let raw = |typ, value: Vec<u8>| RawAttribute {
        typ,
        length: value.len() as u16,
        value,
    };
    let setters: Vec<Box<dyn Setter>> = vec![
        Box::new(BINDING_REQUEST),
        Box::new(id),
        Box::new(TextAttribute::new(
            ATTR_USERNAME,
            format!("{remote_ufrag}:{local_ufrag}"),
        )),
        Box::new(raw(ATTR_ICE_CONTROLLING, vec![1, 2, 3, 4, 5, 6, 7, 8])),
        Box::new(raw(ATTR_PRIORITY, 0x6EFF_FFFFu32.to_be_bytes().to_vec())),
        Box::new(raw(ATTR_USE_CANDIDATE, Vec::new())),
        Box::new(MessageIntegrity::new_short_term_integrity(
            remote_pwd.to_owned(),
        )),
        Box::new(FINGERPRINT),
    ];
    message.build(&setters).expect("a binding request");
    (message.raw, id)
}

/// Reads an answer to a check: the mapped address, if it is authentic.
pub fn binding_success(datagram: &[u8], remote_pwd: &str) -> Option<(TransactionId, SocketAddr)> {
    let mut message = Message::new();
    message.unmarshal_binary(datagram).ok()?;
    if message.typ != BINDING_SUCCESS {
        return None;
    }
    FINGERPRINT.check(&message).ok()?;
    let integrity = MessageIntegrity::new_short_term_integrity(remote_pwd.to_owned());
    integrity.check(&mut message).ok()?;
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(&message).ok()?;
    Some((
        message.transaction_id,
        SocketAddr::new(mapped.ip, mapped.port),
    ))
}

/// The demultiplexed DTLS side of a socket, as `dtls` wants it.
pub struct DtlsLink {
    socket: Arc<UdpSocket>,
    remote: SocketAddr,
    inbox: Mutex<mpsc::UnboundedReceiver<Vec<u8>>>,
}

impl DtlsLink {
    /// Datagrams sent into the returned channel are read by the DTLS connection.
    pub fn new(
        socket: Arc<UdpSocket>,
        remote: SocketAddr,
    ) -> (Arc<Self>, mpsc::UnboundedSender<Vec<u8>>) {
        let (sender, inbox) = mpsc::unbounded_channel();
        (
            Arc::new(Self {
                socket,
                remote,
                inbox: Mutex::new(inbox),
            }),
            sender,
        )
    }
}

type UtilResult<T> = Result<T, webrtc_util::Error>;

#[async_trait]
impl Conn for DtlsLink {
    async fn connect(&self, _addr: SocketAddr) -> UtilResult<()> {
        Ok(())
    }
    async fn recv(&self, buf: &mut [u8]) -> UtilResult<usize> {
        let datagram = self.inbox.lock().await.recv().await;
        let datagram = datagram.ok_or(webrtc_util::Error::ErrAlreadyClosed)?;
        let len = datagram.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
    async fn recv_from(&self, buf: &mut [u8]) -> UtilResult<(usize, SocketAddr)> {
        Ok((self.recv(buf).await?, self.remote))
    }
    async fn send(&self, buf: &[u8]) -> UtilResult<usize> {
        self.socket
            .send_to(buf, self.remote)
            .await
            .map_err(webrtc_util::Error::from_std)
    }
    async fn send_to(&self, buf: &[u8], _target: SocketAddr) -> UtilResult<usize> {
        self.send(buf).await
    }
    fn local_addr(&self) -> UtilResult<SocketAddr> {
        self.socket
            .local_addr()
            .map_err(webrtc_util::Error::from_std)
    }
    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.remote)
    }
    async fn close(&self) -> UtilResult<()> {
        Ok(())
    }
    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

/// Keys of a finished handshake.
pub struct Secured {
    /// Kept alive: it answers retransmissions of the last flight.
    pub _conn: DTLSConn,
    /// Name of the chosen profile.
    pub profile: &'static str,
    /// Seals what we send.
    pub local: Context,
    /// Opens what the server sends.
    pub remote: Context,
    /// Seals what `webrtc-srtp` cannot: its own readers panic on the hostile inputs (tests/packages.rs). It is the
    /// one place where this client borrows code of the server; what it seals is judged by the other members.
    hostile: Outbound,
}

impl Secured {
    /// Seals bytes that have the outline of an RTP packet.
    pub fn seal_hostile_rtp(&mut self, plain: &[u8]) -> Option<Bytes> {
        let header_len = rtp_header_len(plain)?;
        let mut slot = plain.to_vec();
        slot.resize(plain.len() + 32, 0);
        let len = self
            .hostile
            .seal_rtp(&mut slot, header_len, plain.len())
            .ok()?;
        slot.truncate(len);
        Some(slot.into())
    }

    /// Seals bytes that have the outline of an RTCP packet.
    pub fn seal_hostile_rtcp(&mut self, plain: &[u8]) -> Option<Bytes> {
        let mut slot = plain.to_vec();
        slot.resize(plain.len() + 32, 0);
        let len = self.hostile.seal_rtcp(&mut slot, plain.len()).ok()?;
        slot.truncate(len);
        Some(slot.into())
    }
}

/// What we are as DTLS client: our certificate, and the only one the server may have.
fn dtls_config(
    identity: &Identity,
    expected: String,
    profiles: Vec<SrtpProtectionProfile>,
) -> DtlsConfig {
    DtlsConfig {
        certificates: vec![identity.certificate.clone()],
        srtp_protection_profiles: profiles,
        insecure_skip_verify: true,
        verify_peer_certificate: Some(Arc::new(move |chain, _| {
            match chain.first().map(|der| fingerprint(der)) {
                Some(found) if found == expected => Ok(()),
                other => Err(dtls::Error::Other(format!(
                    "fingerprint {other:?}, SDP said {expected}"
                ))),
            }
        })),
        extended_master_secret: dtls::config::ExtendedMasterSecretType::Require,
        ..Default::default()
    }
}

/// A negotiated profile as the SRTP crate, our own SRTP and browsers name it.
fn names_of(
    negotiated: SrtpProtectionProfile,
) -> Result<(ProtectionProfile, SrtpProfile, &'static str), String> {
    Ok(match negotiated {
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => (
            ProtectionProfile::AeadAes128Gcm,
            SrtpProfile::AeadAes128Gcm,
            "AEAD_AES_128_GCM",
        ),
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => (
            ProtectionProfile::AeadAes256Gcm,
            SrtpProfile::AeadAes256Gcm,
            "AEAD_AES_256_GCM",
        ),
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => (
            ProtectionProfile::Aes128CmHmacSha1_80,
            SrtpProfile::Aes128CmHmacSha1_80,
            "AES_CM_128_HMAC_SHA1_80",
        ),
        other => return Err(format!("SRTP profile {other:?}")),
    })
}

/// Shakes hands as DTLS client and checks the server's fingerprint.
///
/// # Errors
/// Text for a failed assertion.
pub async fn handshake(
    link: Arc<DtlsLink>,
    identity: &Identity,
    server_fingerprint: &str,
    profiles: Vec<SrtpProtectionProfile>,
) -> Result<Secured, String> {
    let expected = server_fingerprint.to_owned();
    let config = dtls_config(identity, expected, profiles);
    let conn = DTLSConn::new(link, config, true, None)
        .await
        .map_err(|e| e.to_string())?;
    let (profile, ours, name) = names_of(conn.selected_srtpprotection_profile())?;
    let mut config = webrtc_srtp::config::Config {
        profile,
        ..Default::default()
    };
    config
        .extract_session_keys_from_dtls(conn.connection_state().await, true)
        .await
        .map_err(|e| e.to_string())?;
    let keys = &config.keys;
    let local = Context::new(
        &keys.local_master_key,
        &keys.local_master_salt,
        profile,
        None,
        None,
    );
    let remote = Context::new(
        &keys.remote_master_key,
        &keys.remote_master_salt,
        profile,
        Some(webrtc_srtp::option::srtp_replay_protection(256)),
        Some(webrtc_srtp::option::srtcp_replay_protection(256)),
    );
    let master = MasterKey::new(ours, &keys.local_master_key, &keys.local_master_salt);
    let hostile = master
        .and_then(|m| Outbound::new(ours, &m))
        .ok_or("keys of the wrong length")?;
    Ok(Secured {
        hostile,
        _conn: conn,
        profile: name,
        local: local.map_err(|e| e.to_string())?,
        remote: remote.map_err(|e| e.to_string())?,
    })
}
