//! `dimpl` 0.9 behind the [`Dtls`] trait.
//!
//! Only translation and configuration live here; the guards are in `session`. The library picks the SRTP profile by its
//! own order when we are the server (AES-256-GCM, AES-128-GCM, AES-CM), and offers nothing to change that.
//! RFC 6347, RFC 9147.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::{DTLS_HANDSHAKE_DEADLINE_MS, DTLS_POLL_BUFFER_BYTES};
use crate::time::{Anchor, Time};

use super::super::srtp::SrtpProfile;
use super::{Dtls, DtlsError, DtlsIdentity, DtlsOutput, DtlsProvider, DtlsRole, DtlsVersion};

/// First retransmission of a flight. Doubles from there.
const FLIGHT_START_RTO_MS: u64 = 250;
/// Retransmissions of one flight.
const FLIGHT_RETRIES: usize = 8;
/// Datagrams the library may hold for us between two drains.
const QUEUE_TX_MAX: usize = 64;

/// How sessions are set up.
#[derive(Clone, Default)]
pub struct DtlsSettings {
    /// Also speak DTLS 1.3 (RFC 9147). Off: 1.2 only.
    pub dtls13: bool,
    /// Cryptography other than aws-lc-rs: the simulation passes one whose keys and signatures repeat.
    pub provider: Option<dimpl::crypto::CryptoProvider>,
    /// Take every random value of the protocol from the seed given at creation. Simulation only: never on a network.
    pub seeded: bool,
}

impl std::fmt::Debug for DtlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsSettings")
            .field("dtls13", &self.dtls13)
            .field("own_provider", &self.provider.is_some())
            .field("seeded", &self.seeded)
            .finish()
    }
}

/// Why DTLS cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "DTLS cannot be configured: {0}; check the certificate and its ECDSA P-256 key (PKCS#8, DER)"
)]
pub struct DtlsConfigError(pub String);

/// Makes `dimpl` objects that share one configuration and identity.
#[derive(Debug)]
pub struct DimplProvider {
    settings: DtlsSettings,
    config: ConfigBox,
    certificate: dimpl::DtlsCertificate,
    anchor: Anchor,
}

/// `dimpl::Config` has no `Debug`.
struct ConfigBox(Arc<dimpl::Config>);

impl std::fmt::Debug for ConfigBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Config")
    }
}

impl DimplProvider {
    /// Checks configuration and identity by making one object. `anchor` is the shard's, for the library's clock type.
    pub fn new(
        settings: DtlsSettings,
        identity: &DtlsIdentity,
        anchor: Anchor,
    ) -> Result<DimplProvider, DtlsConfigError> {
        let config = build_config(&settings, None).map_err(|e| DtlsConfigError(e.0))?;
        let provider = DimplProvider {
            settings,
            config: ConfigBox(config),
            certificate: dimpl::DtlsCertificate {
                certificate: identity.certificate.clone(),
                private_key: identity.private_key.clone(),
            },
            anchor,
        };
        // The library panics on a key it cannot read: find out now, not at the first peer.
        let probe = || {
            provider
                .create(DtlsRole::Passive, Time::ZERO, 0)
                .map(|_| ())
        };
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(probe)) {
            Ok(Ok(())) => Ok(provider),
            Ok(Err(error)) => Err(DtlsConfigError(error.0)),
            Err(_) => Err(DtlsConfigError("the key cannot be read".to_owned())),
        }
    }
}

fn build_config(
    settings: &DtlsSettings,
    seed: Option<u64>,
) -> Result<Arc<dimpl::Config>, DtlsError> {
    let mut builder = dimpl::Config::builder()
        .handshake_timeout(Duration::from_millis(DTLS_HANDSHAKE_DEADLINE_MS))
        .flight_start_rto(Duration::from_millis(FLIGHT_START_RTO_MS))
        .flight_retries(FLIGHT_RETRIES)
        .max_queue_tx(QUEUE_TX_MAX)
        .require_client_certificate(true)
        // Costs a round trip, but an off-path forger of ClientHellos cannot wedge a handshake without the cookie.
        .use_server_cookie(true);
    if let Some(provider) = &settings.provider {
        builder = builder.with_crypto_provider(provider.clone());
    }
    if let Some(seed) = seed {
        builder = builder.dangerously_set_rng_seed(seed);
    }
    builder.build().map(Arc::new).map_err(library_error)
}

fn library_error(error: dimpl::Error) -> DtlsError {
    DtlsError(error.to_string())
}

impl DtlsProvider for DimplProvider {
    fn create(&self, role: DtlsRole, now: Time, seed: u64) -> Result<Box<dyn Dtls>, DtlsError> {
        let config = if self.settings.seeded {
            build_config(&self.settings, Some(seed))?
        } else {
            Arc::clone(&self.config.0)
        };
        let instant = self.anchor.to_instant(now);
        let certificate = self.certificate.clone();
        let mut inner = if self.settings.dtls13 {
            dimpl::Dtls::new_auto(config, certificate, instant)
        } else {
            dimpl::Dtls::new_12(config, certificate, instant)
        };
        inner.set_active(role == DtlsRole::Active);
        // Before the first packet, or the library panics for want of its random value.
        inner.handle_timeout(instant).map_err(library_error)?;
        Ok(Box::new(DimplObject {
            inner,
            anchor: self.anchor,
        }))
    }
}

struct DimplObject {
    inner: dimpl::Dtls,
    anchor: Anchor,
}

impl Dtls for DimplObject {
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsError> {
        self.inner.handle_packet(packet).map_err(library_error)
    }

    fn handle_timeout(&mut self, now: Time) -> Result<(), DtlsError> {
        let instant = self.anchor.to_instant(now);
        self.inner.handle_timeout(instant).map_err(library_error)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> Result<DtlsOutput<'a>, DtlsError> {
        debug_assert!(buffer.len() >= DTLS_POLL_BUFFER_BYTES);
        Ok(match self.inner.poll_output(buffer) {
            dimpl::Output::Packet(bytes) => DtlsOutput::Datagram(bytes),
            dimpl::Output::PeerCert(der) => DtlsOutput::PeerCertificate(der),
            dimpl::Output::Connected => DtlsOutput::Connected,
            dimpl::Output::CloseNotify => DtlsOutput::CloseNotify,
            dimpl::Output::Timeout(at) => DtlsOutput::Timeout(self.anchor.to_time(at)),
            dimpl::Output::KeyingMaterial(material, profile) => {
                DtlsOutput::KeyingMaterial(material.to_vec(), known_profile(profile))
            }
            dimpl::Output::BufferTooSmall { needed } => {
                return Err(DtlsError(format!("an output of {needed} bytes")));
            }
            _ => DtlsOutput::Ignored,
        })
    }

    fn close(&mut self) -> Result<(), DtlsError> {
        self.inner.close().map_err(library_error)
    }

    fn version(&self) -> Option<DtlsVersion> {
        match self.inner.protocol_version()? {
            dimpl::ProtocolVersion::DTLS1_3 => Some(DtlsVersion::V13),
            _ => Some(DtlsVersion::V12),
        }
    }
}

/// The allow-list: a profile the library may learn later is not ours until we implement it.
fn known_profile(profile: dimpl::SrtpProfile) -> Option<SrtpProfile> {
    match profile {
        dimpl::SrtpProfile::AEAD_AES_128_GCM => Some(SrtpProfile::AeadAes128Gcm),
        dimpl::SrtpProfile::AEAD_AES_256_GCM => Some(SrtpProfile::AeadAes256Gcm),
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => Some(SrtpProfile::Aes128CmHmacSha1_80),
        _ => None,
    }
}
