//! DTLS of one peer: identity, fingerprints, the library behind a trait, and the guards around it.
//!
//! The library (`dimpl`) sits behind [`Dtls`] and [`DtlsProvider`], so that another one can take its place; everything
//! the network sends goes through [`DtlsSession`] first. Invariants: no key leaves this module before handshake,
//! fingerprint and profile are all good; what one peer sends costs that peer only. RFC 6347, RFC 9147, RFC 5763, RFC 5764.

mod dimpl_provider;
mod fingerprint;
pub mod records;
mod session;
#[cfg(test)]
pub(crate) mod tests;

pub use dimpl_provider::{DimplProvider, DtlsConfigError, DtlsSettings};
pub use fingerprint::{Fingerprint, FingerprintError, HashFunction};
pub use session::{DtlsEvent, DtlsFailure, DtlsSession};

use std::sync::Arc;
use std::time::Duration;

use crate::limits::{DTLS_HANDSHAKES_PER_S, DTLS_POLL_BUFFER_BYTES};
use crate::time::{RateWindow, Time};

use super::srtp::SrtpProfile;

/// Which side of the handshake we are (RFC 5763 section 5; `a=setup` in SDP).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// We send the first ClientHello.
    Active,
    /// We wait for it. What we ask browsers to let us be, because the client's order of profiles then yields AES-GCM.
    Passive,
}

/// Protocol version of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsVersion {
    /// DTLS 1.2 (RFC 6347).
    V12,
    /// DTLS 1.3 (RFC 9147).
    V13,
}

/// Our certificate, made once at start by `io` and the same for every peer.
#[derive(Clone)]
pub struct DtlsIdentity {
    /// X.509 certificate with an ECDSA P-256 key, DER.
    pub certificate: Vec<u8>,
    /// Its private key, PKCS#8 DER.
    pub private_key: Vec<u8>,
    /// SHA-256 fingerprint of the certificate, for SDP.
    pub fingerprint: Fingerprint,
}

impl DtlsIdentity {
    /// Takes a certificate and its key and computes the fingerprint.
    pub fn new(certificate: Vec<u8>, private_key: Vec<u8>) -> DtlsIdentity {
        DtlsIdentity {
            fingerprint: Fingerprint::of(HashFunction::Sha256, &certificate),
            certificate,
            private_key,
        }
    }
}

impl std::fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsIdentity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// The library gave up on a connection object; it must be dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("DTLS library error: {0}; the handshake is started afresh")]
pub struct DtlsError(pub String);

/// What the library has to say, one item at a time.
#[derive(Debug)]
pub enum DtlsOutput<'a> {
    /// A datagram for the peer.
    Datagram(&'a [u8]),
    /// The peer's leaf certificate, DER. Its signature is *not* verified yet.
    PeerCertificate(&'a [u8]),
    /// Exported keying material (RFC 5764 section 4.2) and its profile; `None` for a profile we do not know.
    KeyingMaterial(Vec<u8>, Option<SrtpProfile>),
    /// The handshake is complete.
    Connected,
    /// The peer closed the association.
    CloseNotify,
    /// Something we have no use for (application data).
    Ignored,
    /// Nothing more; call `handle_timeout` at this time.
    Timeout(Time),
}

/// One connection object of a DTLS library: bytes and time in, outputs out, no IO.
pub trait Dtls {
    /// Takes one datagram.
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsError>;
    /// Tells the time; never earlier than before.
    fn handle_timeout(&mut self, now: Time) -> Result<(), DtlsError>;
    /// The next output, written into `buffer` where it needs bytes.
    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> Result<DtlsOutput<'a>, DtlsError>;
    /// Starts closing: a close_notify may follow from `poll_output`.
    fn close(&mut self) -> Result<(), DtlsError>;
    /// The version of the session, when it is settled.
    fn version(&self) -> Option<DtlsVersion>;
}

/// Makes connection objects.
pub trait DtlsProvider: Send {
    /// A fresh object. `seed` makes its randomness repeatable where the provider was set up so (simulation only).
    fn create(&self, role: DtlsRole, now: Time, seed: u64) -> Result<Box<dyn Dtls>, DtlsError>;
}

/// What all transports of a shard share for DTLS: the provider, the poll buffer and the admission of handshakes.
pub struct DtlsContext {
    pub(super) provider: Arc<dyn DtlsProvider>,
    pub(super) poll_buffer: Box<[u8]>,
    pub(super) admission: RateWindow,
    handshakes_per_s: u32,
}

impl DtlsContext {
    /// A context with a poll buffer of [`DTLS_POLL_BUFFER_BYTES`] and [`DTLS_HANDSHAKES_PER_S`] handshakes per second.
    pub fn new(provider: Box<dyn DtlsProvider>) -> DtlsContext {
        Self::with(Arc::from(provider))
    }

    /// A fresh context with the same provider.
    pub fn share(&self) -> DtlsContext {
        let fresh = Self::with(Arc::clone(&self.provider));
        fresh.with_handshakes_per_s(self.handshakes_per_s)
    }

    /// With `per_s` handshakes admitted per second, not more than [`DTLS_HANDSHAKES_PER_S`].
    pub fn with_handshakes_per_s(mut self, per_s: u32) -> DtlsContext {
        self.handshakes_per_s = per_s.min(DTLS_HANDSHAKES_PER_S);
        self.admission = RateWindow::new(self.handshakes_per_s, Duration::from_secs(1));
        self
    }

    fn with(provider: Arc<dyn DtlsProvider>) -> DtlsContext {
        DtlsContext {
            handshakes_per_s: DTLS_HANDSHAKES_PER_S,
            provider,
            poll_buffer: vec![0; DTLS_POLL_BUFFER_BYTES].into_boxed_slice(),
            admission: RateWindow::new(DTLS_HANDSHAKES_PER_S, Duration::from_secs(1)),
        }
    }
}

impl std::fmt::Debug for DtlsContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsContext").finish_non_exhaustive()
    }
}
