//! ICE-lite agent of one peer: answers authenticated checks and decides where media may go.
//!
//! We are always controlled and never send checks. Invariants: an address exists here only after a check with
//! right MESSAGE-INTEGRITY came from it; the send address changes only by such a check (or by losing its consent);
//! an answer is never larger than its request; unknown or unauthenticated requests get no answer and leave no trace.
//! RFC 8445 sections 2.5, 7.3 and 12, RFC 8489, RFC 7675.

use std::net::SocketAddr;
use std::time::Duration;

use rand_core::RngCore;

use crate::error::DropReason;
use crate::limits::{CONSENT_TIMEOUT_MS, ICE_REMOTE_ADDRESSES_MAX, ICE_RETURN_TIMEOUT_MS};
use crate::time::Time;
use crate::transmit::TransmitQueue;
use crate::wire::stun::{
    Class, ERROR_ROLE_CONFLICT, METHOD_BINDING, Message, Role, write_binding_error,
    write_binding_success, write_unknown_attributes_error,
};

const CONSENT: Duration = Duration::from_millis(CONSENT_TIMEOUT_MS);
const RETURN: Duration = Duration::from_millis(ICE_RETURN_TIMEOUT_MS);
const UFRAG_CHARS: usize = 8;
/// 24 characters of 64 carry 144 bits; RFC 8445 section 5.3 asks for 128.
const PASSWORD_CHARS: usize = 24;
/// `ice-char` of RFC 8839 section 5.4: 64 of them, so six random bits pick one without bias.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// User name fragment and password of one side (RFC 8445 section 5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`. A secret: never logged.
    pub pwd: String,
}

impl IceCredentials {
    /// Random credentials.
    pub fn generate(rng: &mut impl RngCore) -> IceCredentials {
        IceCredentials {
            ufrag: ice_chars(rng, UFRAG_CHARS),
            pwd: ice_chars(rng, PASSWORD_CHARS),
        }
    }
}

fn ice_chars(rng: &mut impl RngCore, count: usize) -> String {
    (0..count)
        .map(|_| {
            let pick = (rng.next_u32() & 63) as usize;
            char::from(ICE_CHARS.get(pick).copied().unwrap_or(b'A'))
        })
        .collect()
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// What became of an authenticated check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceCheck {
    /// From an address that was valid before.
    Known,
    /// The address is valid from now on: route its datagrams to this peer. `evicted` no longer is, for want of checks.
    New {
        /// Address that lost its place.
        evicted: Option<SocketAddr>,
    },
    /// Answered with an error; the address is not valid by it.
    Refused,
}

/// What the agent tells its transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceEvent {
    /// There is an address to send to.
    Connected(SocketAddr),
    /// The address to send to is another one.
    AddressChanged {
        /// Until now.
        from: SocketAddr,
        /// From now on.
        to: SocketAddr,
    },
    /// No valid check for [`CONSENT_TIMEOUT_MS`]: nothing may be sent (RFC 7675 section 5.1).
    ConsentLost,
    /// Consent is lost, and no valid check has come for [`ICE_RETURN_TIMEOUT_MS`] since.
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Validated {
    address: SocketAddr,
    last_check: Time,
}

/// ICE-lite agent of one peer.
#[derive(Debug)]
#[repr(C)]
pub struct IceAgent {
    /// First in memory: every packet to the peer reads it (decision 13).
    selected: Option<SocketAddr>,
    local: IceCredentials,
    /// Before an ICE restart; good until the first check with the new ones.
    previous: Option<IceCredentials>,
    remote: Option<IceCredentials>,
    addresses: [Option<Validated>; ICE_REMOTE_ADDRESSES_MAX],
    /// When consent was lost, while it is.
    lost: Option<Time>,
}

impl IceAgent {
    /// An agent that answers checks for `local`.
    pub fn new(local: IceCredentials) -> IceAgent {
        IceAgent {
            local,
            previous: None,
            remote: None,
            addresses: [None; ICE_REMOTE_ADDRESSES_MAX],
            selected: None,
            lost: None,
        }
    }

    /// Our current credentials, for the description.
    pub fn local(&self) -> &IceCredentials {
        &self.local
    }

    /// Every ufrag checks may name now: the current one, and during a restart the one before.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        let previous = self.previous.as_ref().map(|c| c.ufrag.as_str());
        std::iter::once(self.local.ufrag.as_str()).chain(previous)
    }

    /// The peer's credentials, if its description came.
    pub fn remote(&self) -> Option<&IceCredentials> {
        self.remote.as_ref()
    }

    /// The peer's credentials, from its description. `true` when they replace others: the peer restarted ICE.
    pub fn set_remote(&mut self, remote: IceCredentials) -> bool {
        let restarted = self.remote.as_ref().is_some_and(|old| *old != remote);
        self.remote = Some(remote);
        restarted
    }

    /// Takes new local credentials (RFC 8445 section 9). The old ones work until the first check with the new ones.
    /// Returns the ufrag that no longer does, when a restart was already under way.
    pub fn restart(&mut self, local: IceCredentials) -> Option<String> {
        let older = self.previous.take().map(|c| c.ufrag);
        self.previous = Some(std::mem::replace(&mut self.local, local));
        older
    }

    /// Where to send.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// Whether datagrams from `address` count: it was validated and consent is not lost.
    pub fn is_valid(&self, address: SocketAddr) -> bool {
        self.selected.is_some()
            && (self.selected == Some(address)
                || self
                    .addresses
                    .iter()
                    .flatten()
                    .any(|v| v.address == address))
    }

    /// When the last valid check from `address` came.
    pub fn last_check(&self, address: SocketAddr) -> Option<Time> {
        let mut addresses = self.addresses.iter().flatten();
        let validated = addresses.find(|v| v.address == address)?;
        Some(validated.last_check)
    }

    /// Whether a restart waits for its first check.
    pub fn is_restarting(&self) -> bool {
        self.previous.is_some()
    }

    /// When the last valid check came, from wherever.
    pub fn freshest_check(&self) -> Option<Time> {
        let addresses = self.addresses.iter().flatten();
        addresses.map(|v| v.last_check).max()
    }

    /// Every validated address.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().flatten().map(|v| v.address)
    }

    /// When consent of the send address ends, or the wait for a peer that has lost it.
    pub fn poll_timeout(&self) -> Option<Time> {
        let Some(selected) = self.selected else {
            return self.lost.map(|at| at + RETURN);
        };
        let of = |v: &&Validated| v.address == selected;
        let validated = self.addresses.iter().flatten().find(of)?;
        Some(validated.last_check + CONSENT)
    }

    /// Takes a STUN message whose ufrag is ours; answers into `tx`.
    /// Errors leave no trace: [`DropReason::StunUnexpected`] (not a binding request, or an answer would be larger),
    /// [`DropReason::StunUnknownUfrag`], [`DropReason::StunBadIntegrity`], [`DropReason::StunTooManyAddresses`],
    /// [`DropReason::TransmitFull`].
    pub fn handle_check(
        &mut self,
        now: Time,
        from: SocketAddr,
        message: &Message<'_>,
        tx: &mut TransmitQueue,
        events: &mut impl FnMut(IceEvent),
    ) -> Result<IceCheck, DropReason> {
        if message.class != Class::Request || message.method != METHOD_BINDING {
            return Err(DropReason::StunUnexpected);
        }
        let ufrag = message.local_ufrag().ok_or(DropReason::StunMalformed)?;
        let is_current = ufrag == self.local.ufrag.as_bytes();
        let credentials = if is_current {
            &self.local
        } else {
            self.previous
                .as_ref()
                .filter(|c| c.ufrag.as_bytes() == ufrag)
                .ok_or(DropReason::StunUnknownUfrag)?
        };
        let password = credentials.pwd.as_bytes();
        if !message.verify(password) {
            return Err(DropReason::StunBadIntegrity);
        }
        let id = &message.transaction_id;
        if !message.unknown_attributes().is_empty() {
            let unknown = message.unknown_attributes();
            return answer(message, from, tx, |out| {
                write_unknown_attributes_error(out, id, unknown, password)
            })
            .map(|()| IceCheck::Refused);
        }
        if matches!(message.role, Some(Role::Controlled(_))) {
            // A lite agent cannot take the controlling role, whatever the tie breakers say (RFC 8445 section 7.3.1.1).
            return answer(message, from, tx, |out| {
                write_binding_error(out, id, ERROR_ROLE_CONFLICT, "", password)
            })
            .map(|()| IceCheck::Refused);
        }
        let (slot, check) = self.place_for(now, from)?;
        answer(message, from, tx, |out| {
            write_binding_success(out, id, from, password)
        })?;
        if let Some(place) = self.addresses.get_mut(slot) {
            *place = Some(Validated {
                address: from,
                last_check: now,
            });
        }
        if is_current {
            self.previous = None;
        }
        self.select(from, message.use_candidate, events);
        Ok(check)
    }

    /// Ends the consent of addresses without recent checks, and the wait for a peer without any.
    pub fn handle_timeout(&mut self, now: Time, events: &mut impl FnMut(IceEvent)) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        let Some(selected) = self.selected else {
            self.lost = None;
            return events(IceEvent::Gone);
        };
        let freshest = self
            .addresses
            .iter()
            .flatten()
            .filter(|v| v.address != selected && now < v.last_check + CONSENT)
            .max_by_key(|v| v.last_check)
            .map(|v| v.address);
        self.selected = freshest;
        events(match freshest {
            Some(to) => IceEvent::AddressChanged { from: selected, to },
            None => {
                self.lost = Some(now);
                IceEvent::ConsentLost
            }
        });
    }

    /// Where `from` is kept or may be kept: its own place, a free one, or that of the longest silent address whose
    /// consent is over.
    fn place_for(&self, now: Time, from: SocketAddr) -> Result<(usize, IceCheck), DropReason> {
        let is_from = |v: &Option<Validated>| v.is_some_and(|v| v.address == from);
        if let Some(slot) = self.addresses.iter().position(is_from) {
            return Ok((slot, IceCheck::Known));
        }
        if let Some(slot) = self.addresses.iter().position(Option::is_none) {
            return Ok((slot, IceCheck::New { evicted: None }));
        }
        self.addresses
            .iter()
            .enumerate()
            .filter_map(|(slot, v)| v.map(|v| (slot, v)))
            .filter(|(_, v)| now >= v.last_check + CONSENT && self.selected != Some(v.address))
            .min_by_key(|(_, v)| v.last_check)
            .map(|(slot, v)| {
                let evicted = Some(v.address);
                (slot, IceCheck::New { evicted })
            })
            .ok_or(DropReason::StunTooManyAddresses)
    }

    /// The first valid address is used at once; later only a nomination moves us (RFC 8445 section 8.1.1).
    fn select(&mut self, from: SocketAddr, nominated: bool, events: &mut impl FnMut(IceEvent)) {
        match self.selected {
            None => {
                self.selected = Some(from);
                self.lost = None;
                events(IceEvent::Connected(from));
            }
            Some(old) if nominated && old != from => {
                self.selected = Some(from);
                events(IceEvent::AddressChanged {
                    from: old,
                    to: from,
                });
            }
            Some(_) => {}
        }
    }
}

/// Writes an answer into a slot and commits it, unless it would be larger than the request.
fn answer(
    request: &Message<'_>,
    to: SocketAddr,
    tx: &mut TransmitQueue,
    write: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Result<(), DropReason> {
    let slot = tx.reserve().ok_or(DropReason::TransmitFull)?;
    let len = write(slot)
        .filter(|len| *len <= request.len())
        .ok_or(DropReason::StunUnexpected)?;
    tx.commit(to, len);
    Ok(())
}
