//! The guards around the DTLS library: everything the network says passes here first.
//!
//! Attacks on the library end, at worst, one attempt of one peer: every call is fenced against panics, every handshake
//! is bounded in datagrams, bytes, time and tries, and once connected nothing unprotected but a trickle of
//! handshake retransmissions reaches it. Invariants: [`DtlsEvent::Connected`] is emitted once, after handshake,
//! fingerprint and profile are all good; a connected session never fails, it only stops listening. RFC 6347 section 4.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::error::DropReason;
use crate::limits::{
    DTLS_ATTEMPTS_MAX, DTLS_CERTIFICATE_BYTES_MAX, DTLS_DATAGRAM_BYTES_MAX,
    DTLS_DATAGRAM_BYTES_MIN, DTLS_FINGERPRINTS_MAX, DTLS_HANDSHAKE_BYTES_MAX,
    DTLS_HANDSHAKE_DATAGRAMS_MAX, DTLS_HANDSHAKE_DEADLINE_MS, DTLS_LATE_HANDSHAKE_PER_S,
};
use crate::time::{RateWindow, Time};

use super::super::srtp::SrtpKeys;
use super::records::{HANDSHAKE, Record, belongs_to_handshake, records, starts_with_client_hello};
use super::{Dtls, DtlsContext, DtlsError, DtlsOutput, DtlsRole, DtlsVersion, Fingerprint};

const DEADLINE: Duration = Duration::from_millis(DTLS_HANDSHAKE_DEADLINE_MS);
/// An active side whose attempt failed tries again after this.
const RETRY: Duration = Duration::from_millis(200);
/// A timer the library wants at once, or in the past, runs this much later: no library can spin the shard.
const TIMER_FLOOR: Duration = Duration::from_millis(1);
/// Outputs taken in one drain. The library never has that many; a loop that does not end would block the shard.
const OUTPUTS_PER_DRAIN: usize = 256;
/// Records of one datagram given to a connected session one by one.
const RECORDS_PER_DATAGRAM: usize = 16;

/// Why a DTLS session cannot be had with this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DtlsFailure {
    /// The certificate is not the one the description named.
    #[error(
        "peer's certificate matches no a=fingerprint of its description; offer and DTLS come from different sources"
    )]
    FingerprintMismatch,
    /// The certificate is larger than we accept.
    #[error(
        "peer's certificate is larger than {DTLS_CERTIFICATE_BYTES_MAX} bytes; use a self-signed ECDSA P-256 one"
    )]
    CertificateTooLarge,
    /// The handshake ended without an SRTP profile of ours.
    #[error(
        "peer negotiated no SRTP profile we speak; it must offer use_srtp with AES-GCM or AES-CM-SHA1-80"
    )]
    NoSrtpProfile,
    /// A handshake broke, and the peer has not begun another.
    #[error(
        "a DTLS handshake broke and the peer began no other within {DTLS_HANDSHAKE_DEADLINE_MS} ms"
    )]
    Abandoned,
    /// Too many tries failed.
    #[error(
        "{DTLS_ATTEMPTS_MAX} DTLS handshakes failed within {DTLS_HANDSHAKE_DEADLINE_MS} ms; the peer may lack ECDSA or extended master secret"
    )]
    TooManyAttempts,
}

/// What a session tells its transport.
#[derive(Debug)]
pub enum DtlsEvent {
    /// Handshake, fingerprint and profile are good: here are the keys.
    Connected(SrtpKeys),
    /// No session can be had; nothing more will happen.
    Failed(DtlsFailure),
    /// The peer closed the association.
    Closed,
}

/// Why an object is given up.
enum Fault {
    /// Error or panic: another attempt may follow.
    Broken,
    /// No attempt can help.
    Final(DtlsFailure),
}

impl From<DtlsError> for Fault {
    fn from(_: DtlsError) -> Fault {
        Fault::Broken
    }
}

/// One connection object and what we know of it.
struct Connection {
    object: Box<dyn Dtls>,
    role: DtlsRole,
    started: Time,
    datagrams: u32,
    bytes: u32,
    certificate_good: bool,
    handshake_done: bool,
    keys: Option<SrtpKeys>,
    connected: bool,
    closed_by_peer: bool,
    timer: Option<Time>,
}

enum State {
    Idle,
    Open(Box<Connection>),
    /// Failed, closed, or connected and no longer listening.
    Ended,
}

/// DTLS of one peer inside its guards.
pub struct DtlsSession {
    role: Option<DtlsRole>,
    fingerprints: Vec<Fingerprint>,
    seed: u64,
    state: State,
    attempts: [Option<Time>; DTLS_ATTEMPTS_MAX as usize],
    attempts_total: u64,
    late_handshakes: RateWindow,
    retry_at: Option<Time>,
    /// When a broken handshake that the peer has not begun again is a failure.
    abandoned_at: Option<Time>,
    clock: Time,
    /// A session was connected, whatever became of its object since.
    ever_connected: bool,
}

impl DtlsSession {
    /// A session that does nothing until it knows the peer. `seed` only matters to a seeded provider.
    pub fn new(seed: u64) -> DtlsSession {
        DtlsSession {
            role: None,
            fingerprints: Vec::new(),
            seed,
            state: State::Idle,
            attempts: [None; DTLS_ATTEMPTS_MAX as usize],
            attempts_total: 0,
            late_handshakes: RateWindow::new(DTLS_LATE_HANDSHAKE_PER_S, Duration::from_secs(1)),
            retry_at: None,
            abandoned_at: None,
            clock: Time::ZERO,
            ever_connected: false,
        }
    }

    /// Our role and the peer's fingerprints, from its description. Ignored once a handshake has begun: a session is
    /// tied to what was signalled before it. At most [`DTLS_FINGERPRINTS_MAX`] fingerprints are kept.
    pub fn set_remote(&mut self, role: DtlsRole, fingerprints: &[Fingerprint]) {
        if matches!(self.state, State::Idle) && !self.ever_connected {
            self.role = Some(role);
            self.fingerprints = fingerprints
                .iter()
                .take(DTLS_FINGERPRINTS_MAX)
                .copied()
                .collect();
        }
    }

    /// Whether keys were released.
    pub fn is_connected(&self) -> bool {
        self.ever_connected
    }

    /// Starts the handshake if we are the active side and nothing has started yet. Call when ICE has an address.
    pub fn start(
        &mut self,
        now: Time,
        context: &mut DtlsContext,
        send: &mut dyn FnMut(&[u8]),
    ) -> Option<DtlsEvent> {
        let now = self.tick(now);
        let ready = self.role == Some(DtlsRole::Active)
            && matches!(self.state, State::Idle)
            && !self.fingerprints.is_empty();
        if !ready {
            return None;
        }
        match self.open(now, DtlsRole::Active, context) {
            Ok(None) => self.advance(now, &[], context, send),
            Ok(event) => event,
            Err(_) => {
                self.retry_at = Some(now + RETRY);
                None
            }
        }
    }

    /// Takes one datagram from the peer's validated address. `send` gets the answers.
    /// Errors: [`DropReason::BadLength`], [`DropReason::DtlsGuard`], [`DropReason::DtlsRate`],
    /// [`DropReason::DtlsDead`].
    pub fn handle_datagram(
        &mut self,
        now: Time,
        datagram: &[u8],
        context: &mut DtlsContext,
        send: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<DtlsEvent>, DropReason> {
        if !(DTLS_DATAGRAM_BYTES_MIN..=DTLS_DATAGRAM_BYTES_MAX).contains(&datagram.len()) {
            return Err(DropReason::BadLength);
        }
        if !matches!(datagram.first(), Some(20..=63)) {
            return Err(DropReason::DtlsGuard);
        }
        let now = self.tick(now);
        self.expire(now);
        match &self.state {
            State::Ended => return Err(DropReason::DtlsDead),
            State::Open(_) => {}
            State::Idle => {
                // Only the peer's first message is worth an object, and only once we know whom to expect.
                let welcome = self.role == Some(DtlsRole::Passive)
                    && !self.fingerprints.is_empty()
                    && starts_with_client_hello(datagram);
                if !welcome {
                    return Err(DropReason::DtlsGuard);
                }
                if let Some(event) = self.open(now, DtlsRole::Passive, context)? {
                    return Ok(Some(event));
                }
            }
        }
        if !self.count(datagram.len()) {
            self.give_up(now, Fault::Broken);
            return Err(DropReason::DtlsGuard);
        }
        self.pass_records(now, datagram, context, send)
    }

    /// Runs due timers: retransmissions, the deadline, a new try of the active side.
    pub fn handle_timeout(
        &mut self,
        now: Time,
        context: &mut DtlsContext,
        send: &mut dyn FnMut(&[u8]),
    ) -> Option<DtlsEvent> {
        let now = self.tick(now);
        self.expire(now);
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            return self.start(now, context, send);
        }
        if self.abandoned_at.is_some_and(|at| at <= now) {
            return self.give_up(now, Fault::Final(DtlsFailure::Abandoned));
        }
        match &self.state {
            State::Open(c) if c.timer.is_some_and(|at| at <= now) => {
                self.advance(now, &[], context, send)
            }
            _ => None,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let (timer, deadline) = match &self.state {
            State::Open(c) => (c.timer, (!c.connected).then(|| c.started + DEADLINE)),
            _ => (None, None),
        };
        [timer, deadline, self.retry_at, self.abandoned_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Says goodbye to the peer if there is a session, and ends.
    pub fn close(&mut self, now: Time, context: &mut DtlsContext, send: &mut dyn FnMut(&[u8])) {
        let now = self.tick(now);
        if let State::Open(connection) = &mut self.state {
            let closed = fenced(|| {
                connection.object.handle_timeout(now)?;
                connection.object.close().map_err(Fault::from)
            });
            if closed.is_ok() && connection.connected {
                // Only the alert is of interest; the object is dropped below whatever happens.
                let _ = drain(connection, &self.fingerprints, now, context, send);
            }
        }
        self.replace_state(State::Ended);
        self.retry_at = None;
        self.abandoned_at = None;
    }

    /// Time as the library may see it: never backwards.
    fn tick(&mut self, now: Time) -> Time {
        self.clock = self.clock.max(now);
        self.clock
    }

    /// Gives up an attempt that is older than the deadline.
    fn expire(&mut self, now: Time) {
        if let State::Open(c) = &self.state
            && !c.connected
            && now.since(c.started) >= DEADLINE
        {
            self.give_up(now, Fault::Broken);
        }
    }

    /// Makes a fresh object. `Ok(None)`: it is there. `Ok(Some)`: the tries are used up.
    fn open(
        &mut self,
        now: Time,
        role: DtlsRole,
        context: &mut DtlsContext,
    ) -> Result<Option<DtlsEvent>, DropReason> {
        let free = self
            .attempts
            .iter_mut()
            .find(|at| at.is_none_or(|at| now.since(at) >= DEADLINE));
        let Some(free) = free else {
            return Ok(self.give_up(now, Fault::Final(DtlsFailure::TooManyAttempts)));
        };
        if !context.admission.admit(now) {
            return Err(DropReason::DtlsRate);
        }
        *free = Some(now);
        self.abandoned_at = None;
        self.attempts_total += 1;
        let seed = self.seed ^ self.attempts_total.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let provider = &context.provider;
        let object = fenced(|| provider.create(role, now, seed).map_err(Fault::from));
        let Ok(object) = object else {
            return Err(DropReason::DtlsGuard);
        };
        self.state = State::Open(Box::new(Connection {
            object,
            role,
            started: now,
            datagrams: 0,
            bytes: 0,
            certificate_good: false,
            handshake_done: false,
            keys: None,
            connected: false,
            closed_by_peer: false,
            timer: None,
        }));
        Ok(None)
    }

    /// Counts a datagram of a handshake; `false` when it has had enough of them.
    fn count(&mut self, len: usize) -> bool {
        let State::Open(c) = &mut self.state else {
            return false;
        };
        if c.connected {
            return true;
        }
        c.datagrams += 1;
        c.bytes = c
            .bytes
            .saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        c.datagrams <= DTLS_HANDSHAKE_DATAGRAMS_MAX && c.bytes <= DTLS_HANDSHAKE_BYTES_MAX
    }

    /// Gives the library the records of `datagram` that it may hear now, one by one.
    fn pass_records(
        &mut self,
        now: Time,
        datagram: &[u8],
        context: &mut DtlsContext,
        send: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<DtlsEvent>, DropReason> {
        let mut passed = Err(DropReason::DtlsGuard);
        for record in records(datagram).take(RECORDS_PER_DATAGRAM) {
            let State::Open(connection) = &self.state else {
                break;
            };
            let may_pass = if connection.connected {
                let version = connection.object.version();
                self.may_pass_connected(now, version, &record)
            } else {
                belongs_to_handshake(&record)
            };
            if !may_pass {
                continue;
            }
            let event = self.advance(now, record.bytes(), context, send);
            let done = event.is_some();
            passed = Ok(event);
            if done {
                break;
            }
        }
        passed
    }

    /// Whether a connected session may hear `record`: protected ones, and in DTLS 1.2 a few retransmitted handshake
    /// records, so that a client that lost our last flight gets it again.
    fn may_pass_connected(
        &mut self,
        now: Time,
        version: Option<DtlsVersion>,
        record: &Record<'_>,
    ) -> bool {
        match (version, record) {
            (Some(DtlsVersion::V13), Record::Unified { .. }) => true,
            (Some(DtlsVersion::V13), _) | (_, Record::Unified { .. }) => false,
            (
                _,
                Record::Plain {
                    content_type,
                    epoch: 0,
                    ..
                },
            ) => *content_type == HANDSHAKE && self.late_handshakes.admit(now),
            (_, Record::Plain { content_type, .. }) => (20..=23).contains(content_type),
        }
    }

    /// Time, then `packet` if there is one, then every output.
    fn advance(
        &mut self,
        now: Time,
        packet: &[u8],
        context: &mut DtlsContext,
        send: &mut dyn FnMut(&[u8]),
    ) -> Option<DtlsEvent> {
        let State::Open(connection) = &mut self.state else {
            return None;
        };
        let fed = fenced(|| {
            connection.object.handle_timeout(now)?;
            if !packet.is_empty() {
                connection.object.handle_packet(packet)?;
            }
            Ok(())
        });
        let drained = match &fed {
            // A panic leaves the object in no state to be asked anything.
            Err(Caught::Panic) => Err(Fault::Broken),
            _ => drain(connection, &self.fingerprints, now, context, send),
        };
        match (fed, drained) {
            (_, Err(fault)) | (Err(Caught::Fault(fault)), Ok(())) => self.give_up(now, fault),
            (Err(Caught::Panic), Ok(())) => self.give_up(now, Fault::Broken),
            (Ok(()), Ok(())) => self.settle(now),
        }
    }

    /// After a clean drain: release the keys when everything is good, end when the peer has closed.
    fn settle(&mut self, now: Time) -> Option<DtlsEvent> {
        let State::Open(c) = &mut self.state else {
            return None;
        };
        if c.handshake_done && !c.connected {
            let good = c.certificate_good;
            return match c.keys.take() {
                Some(keys) if good => {
                    c.connected = true;
                    self.ever_connected = true;
                    Some(DtlsEvent::Connected(keys))
                }
                Some(_) => self.give_up(now, Fault::Final(DtlsFailure::FingerprintMismatch)),
                None => self.give_up(now, Fault::Final(DtlsFailure::NoSrtpProfile)),
            };
        }
        if c.closed_by_peer {
            let event = c.connected.then_some(DtlsEvent::Closed);
            let next = if c.connected {
                State::Ended
            } else {
                State::Idle
            };
            self.replace_state(next);
            return event;
        }
        None
    }

    /// Drops the object. A connected session stays connected and stops listening; others try again or fail.
    fn give_up(&mut self, now: Time, fault: Fault) -> Option<DtlsEvent> {
        let connected = matches!(&self.state, State::Open(c) if c.connected);
        match fault {
            _ if connected => {
                self.replace_state(State::Ended);
                None
            }
            Fault::Broken => {
                self.replace_state(State::Idle);
                // Only the active side can begin again by itself.
                match self.role {
                    Some(DtlsRole::Active) => self.retry_at = Some(now + RETRY),
                    _ => self.abandoned_at = Some(now + DEADLINE),
                }
                None
            }
            Fault::Final(failure) => {
                self.replace_state(State::Ended);
                self.retry_at = None;
                self.abandoned_at = None;
                Some(DtlsEvent::Failed(failure))
            }
        }
    }

    /// Drops the old state behind the fence: a broken object may panic even then.
    fn replace_state(&mut self, state: State) {
        let old = std::mem::replace(&mut self.state, state);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(old)));
    }
}

enum Caught {
    Fault(Fault),
    Panic,
}

/// Runs one call of the library; a panic costs this peer only.
fn fenced<T>(call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Caught> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(Caught::Fault),
        Err(_) => Err(Caught::Panic),
    }
}

/// Takes every output the object has.
fn drain(
    connection: &mut Connection,
    fingerprints: &[Fingerprint],
    now: Time,
    context: &mut DtlsContext,
    send: &mut dyn FnMut(&[u8]),
) -> Result<(), Fault> {
    for _ in 0..OUTPUTS_PER_DRAIN {
        let object = &mut connection.object;
        let buffer = &mut context.poll_buffer;
        let output = fenced(|| object.poll_output(buffer).map_err(Fault::from));
        let output = match output {
            Ok(output) => output,
            Err(Caught::Fault(fault)) => return Err(fault),
            Err(Caught::Panic) => return Err(Fault::Broken),
        };
        match output {
            DtlsOutput::Datagram(bytes) => send(bytes),
            DtlsOutput::PeerCertificate(der) => {
                if der.len() > DTLS_CERTIFICATE_BYTES_MAX {
                    return Err(Fault::Final(DtlsFailure::CertificateTooLarge));
                }
                if !fingerprints.iter().any(|print| print.matches(der)) {
                    return Err(Fault::Final(DtlsFailure::FingerprintMismatch));
                }
                connection.certificate_good = true;
            }
            DtlsOutput::KeyingMaterial(mut material, profile) => {
                let client = connection.role == DtlsRole::Active;
                connection.keys =
                    profile.and_then(|p| SrtpKeys::from_exporter(p, &material, client));
                material.fill(0);
            }
            DtlsOutput::Connected => connection.handshake_done = true,
            DtlsOutput::CloseNotify => connection.closed_by_peer = true,
            DtlsOutput::Ignored => {}
            DtlsOutput::Timeout(at) => {
                connection.timer = Some(at.max(now + TIMER_FLOOR));
                return Ok(());
            }
        }
    }
    Err(Fault::Broken)
}

impl std::fmt::Debug for DtlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Idle => "idle",
            State::Open(c) if c.connected => "connected",
            State::Open(_) => "handshaking",
            State::Ended => "ended",
        };
        f.debug_struct("DtlsSession")
            .field("role", &self.role)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
