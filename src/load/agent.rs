//! One client's connection: an ICE agent with one pair, DTLS, SRTP keys (RFC 8445, RFC 5763, RFC 5764).
//!
//! Pure: datagrams and time in, datagrams out.

use std::net::SocketAddr;
use std::time::Duration;

use super::describe::Remote;
use crate::time::Time;
use crate::transport::dtls::{DtlsContext, DtlsEvent, DtlsSession};
use crate::transport::srtp::{Inbound, Outbound, SrtpKeys};
use crate::wire::sdp::IceParams;
use crate::wire::stun::{self, Class, Role};

/// Time between checks before the first answer.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Time between checks after it: consent (RFC 7675 asks for one in 4 to 6 s).
const CONSENT_INTERVAL: Duration = Duration::from_secs(4);
/// Priority of a peer-reflexive candidate (RFC 8445 section 5.1.2).
const PRIORITY: u32 = 0x6E00_01FF;

/// What has come of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It does not know the server yet.
    Idle,
    /// Checks are sent.
    Checking,
    /// The handshake runs.
    Securing,
    /// Media may flow.
    Connected,
    /// The handshake has failed.
    Failed,
}

/// See the module.
pub struct Agent {
    tie_breaker: u64,
    ice: IceParams,
    remote: Option<Remote>,
    dtls: DtlsSession,
    keys: Option<(Outbound, Inbound)>,
    stage: Stage,
    check_due: Time,
    transaction: u64,
}

impl Agent {
    /// An agent with credentials of its own. `seed` tells agents apart.
    pub fn new(seed: u64, ice: IceParams) -> Self {
        Self {
            tie_breaker: seed,
            ice,
            remote: None,
            dtls: DtlsSession::new(seed),
            keys: None,
            stage: Stage::Idle,
            check_due: Time::MAX,
            transaction: 0,
        }
    }

    /// Tells it where the server is; the first time, it begins.
    pub fn set_remote(&mut self, now: Time, remote: Remote) {
        if self.remote.is_none() {
            self.dtls.set_remote(remote.role, &remote.fingerprints);
            self.check_due = now;
            self.stage = Stage::Checking;
        }
        self.remote = Some(remote);
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The server.
    pub fn server(&self) -> Option<SocketAddr> {
        Some(self.remote.as_ref()?.address)
    }

    /// Keys of what is sent and received, once there are any.
    pub fn keys(&mut self) -> Option<(&mut Outbound, &mut Inbound)> {
        self.keys.as_mut().map(|(seal, open)| (seal, open))
    }

    /// When [`Agent::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Time {
        self.dtls
            .poll_timeout()
            .map_or(self.check_due, |at| at.min(self.check_due))
    }

    /// Sends what is due.
    pub fn handle_timeout(
        &mut self,
        now: Time,
        context: &mut DtlsContext,
        send: &mut dyn FnMut(&[u8]),
    ) {
        if now >= self.check_due {
            self.check(now, send);
        }
        let event = self.dtls.handle_timeout(now, context, send);
        self.take(event);
    }

    fn check(&mut self, now: Time, send: &mut dyn FnMut(&[u8])) {
        let Some(remote) = &self.remote else {
            self.check_due = Time::MAX;
            return;
        };
        let pause = match self.stage {
            Stage::Checking => CHECK_INTERVAL,
            _ => CONSENT_INTERVAL,
        };
        self.check_due = now + pause;
        self.transaction += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&(self.transaction as u32).to_be_bytes());
        id[4..].copy_from_slice(&self.tie_breaker.to_be_bytes());
        let username = format!("{}:{}", remote.ice.ufrag, self.ice.ufrag);
        let mut request = [0; 256];
        let role = match remote.controls {
            true => Role::Controlled(self.tie_breaker),
            false => Role::Controlling(self.tie_breaker),
        };
        let password = remote.ice.pwd.as_bytes();
        let len = stun::write_binding_request(
            &mut request,
            &id,
            &username,
            password,
            PRIORITY,
            role,
            !remote.controls,
        );
        if let Some(request) = len.and_then(|len| request.get(..len)) {
            send(request);
        }
    }

    /// Takes a STUN message.
    pub fn handle_stun(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        context: &mut DtlsContext,
        send: &mut dyn FnMut(&[u8]),
    ) {
        let (Ok(message), Some(remote)) = (stun::parse(datagram), &self.remote) else {
            return;
        };
        match message.class {
            Class::Success
                if self.stage == Stage::Checking && message.verify(remote.ice.pwd.as_bytes()) =>
            {
                self.stage = Stage::Securing;
                self.check_due = now + CONSENT_INTERVAL;
                let event = self.dtls.start(now, context, send);
                self.take(event);
            }
            // Servers that are full agents check us as well.
            Class::Request if message.verify(self.ice.pwd.as_bytes()) => {
                let mut answer = [0; 256];
                let password = self.ice.pwd.as_bytes();
                let id = &message.transaction_id;
                let len = stun::write_binding_success(&mut answer, id, from, password);
                if let Some(answer) = len.and_then(|len| answer.get(..len)) {
                    send(answer);
                }
            }
            _ => {}
        }
    }

    /// Takes a DTLS datagram.
    pub fn handle_dtls(
        &mut self,
        now: Time,
        datagram: &[u8],
        context: &mut DtlsContext,
        send: &mut dyn FnMut(&[u8]),
    ) {
        if let Ok(event) = self.dtls.handle_datagram(now, datagram, context, send) {
            self.take(event);
        }
    }

    fn take(&mut self, event: Option<DtlsEvent>) {
        match event {
            Some(DtlsEvent::Connected(keys)) => {
                self.keys = ciphers(&keys);
                self.stage = match self.keys {
                    Some(_) => Stage::Connected,
                    None => Stage::Failed,
                };
            }
            Some(DtlsEvent::Failed(_) | DtlsEvent::Closed) => self.stage = Stage::Failed,
            None => {}
        }
    }
}

fn ciphers(keys: &SrtpKeys) -> Option<(Outbound, Inbound)> {
    let seal = Outbound::new(keys.profile, &keys.local)?;
    let open = Inbound::new(keys.profile, &keys.remote)?;
    Some((seal, open))
}
