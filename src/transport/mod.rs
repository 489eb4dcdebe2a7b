//! One peer's transport: ICE-lite, DTLS, SRTP and transport-wide feedback behind one object of bytes and events.
//!
//! Invariants: DTLS and media count only from an address a check has validated; keys exist only after handshake and
//! fingerprint; nothing is sent without consent; the same inputs give the same outputs (seeded provider included).
//! RFC 5763, RFC 5764, RFC 7675, RFC 8445.

pub mod congestion;
pub mod dtls;
pub mod exercise;
pub mod ice;
pub mod pacer;
pub mod srtp;
#[cfg(test)]
mod tests;
pub mod turn;
pub mod twcc;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::DropReason;
use crate::limits::{ICE_ADDRESS_OWNED_MS, ICE_PROOF_TIMEOUT_MS, TRANSPORT_EVENTS_MAX};
use crate::time::Time;
use crate::transmit::TransmitQueue;
use crate::wire::rtcp::TransportFeedback;
use crate::wire::stun::Message;

use congestion::Congestion;
use dtls::{DtlsContext, DtlsEvent, DtlsFailure, DtlsRole, DtlsSession, Fingerprint};
use ice::{IceAgent, IceCheck, IceCredentials, IceEvent};
use srtp::{Inbound, Outbound, SrtpKeys, SrtpProfile, rtp_header_len};
use twcc::{TwccReceiver, TwccReport, TwccSender, round_trip_of_report};

const PROOF: Duration = Duration::from_millis(ICE_PROOF_TIMEOUT_MS);
const ADDRESS_OWNED: Duration = Duration::from_millis(ICE_ADDRESS_OWNED_MS);

/// Why a transport will never carry media (again).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// DTLS cannot be had with this peer.
    #[error("DTLS failed: {0}")]
    Dtls(#[from] DtlsFailure),
    /// The keys of the handshake make no SRTP session.
    #[error("SRTP keys cannot be used; the DTLS library exported the wrong length")]
    SrtpKeys,
}

/// What a transport tells the room that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportEvent {
    /// A check validated the first address (or the first one after consent was lost).
    IceConnected(SocketAddr),
    /// Media goes elsewhere from now on.
    AddressChanged {
        /// Until now.
        from: SocketAddr,
        /// From now on.
        to: SocketAddr,
    },
    /// Keys are there: media can flow.
    DtlsConnected {
        /// The negotiated profile.
        profile: SrtpProfile,
    },
    /// No media will ever flow. The owner frees the transport.
    Failed(TransportError),
    /// No valid check for `CONSENT_TIMEOUT_MS`: nothing is sent until the next one. The owner restarts ICE.
    ConsentLost,
    /// Without consent for `ICE_RETURN_TIMEOUT_MS`, or back without keys (`ICE_PROOF_TIMEOUT_MS`). The owner frees the
    /// transport.
    Gone,
    /// The peer closed DTLS. The owner frees the transport.
    Closed,
}

struct Srtp {
    profile: SrtpProfile,
    inbound: Inbound,
    outbound: Outbound,
}

/// ICE, DTLS, SRTP and TWCC of one peer. In this order in memory: what every packet to the peer reads comes first, side by
/// side (decision 13).
#[repr(C)]
pub struct Transport {
    srtp: Option<Box<Srtp>>,
    twcc_sender: TwccSender,
    ended: bool,
    ice: IceAgent,
    dtls: DtlsSession,
    twcc_receiver: TwccReceiver,
    congestion: Congestion,
    /// SSRC of the RTCP we send on our own account.
    rtcp_ssrc: u32,
    round_trip: Option<Duration>,
    /// The peer has sent something authentic since the last time that was in doubt.
    heard: bool,
    /// When it must have, being back.
    proof_due: Option<Time>,
    events: VecDeque<TransportEvent>,
}

impl Transport {
    /// A transport that answers checks for `local`. `rtcp_ssrc` is the sender of our feedback; `seed` only matters to
    /// a seeded DTLS provider. The caller sees to it that no two transports of a shard have the same ufrag.
    pub fn new(local: IceCredentials, rtcp_ssrc: u32, seed: u64) -> Transport {
        Transport {
            ice: IceAgent::new(local),
            dtls: DtlsSession::new(seed),
            srtp: None,
            twcc_receiver: TwccReceiver::default(),
            twcc_sender: TwccSender::default(),
            congestion: Congestion::default(),
            rtcp_ssrc,
            round_trip: None,
            heard: false,
            proof_due: None,
            events: VecDeque::with_capacity(TRANSPORT_EVENTS_MAX),
            ended: false,
        }
    }

    /// Our ICE credentials, for the description.
    pub fn local_credentials(&self) -> &IceCredentials {
        self.ice.local()
    }

    /// Every ufrag that routes to this transport now (two during an ICE restart).
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        self.ice.local_ufrags()
    }

    /// Every address a check has validated: datagrams from these belong to this transport.
    pub fn remote_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ice.addresses()
    }

    /// Whether the last valid check from `address` is so recent that no other peer may claim it.
    pub fn owns_address(&self, now: Time, address: SocketAddr) -> bool {
        let last = self.ice.last_check(address);
        last.is_some_and(|at| now.since(at) < ADDRESS_OWNED)
    }

    /// How long no valid check has come; `None` before the first.
    pub fn silence(&self, now: Time) -> Option<Duration> {
        Some(now.since(self.ice.freshest_check()?))
    }

    /// SSRC of the RTCP we send on our own account.
    pub fn rtcp_ssrc(&self) -> u32 {
        self.rtcp_ssrc
    }

    /// What the peer's description says: ICE credentials, fingerprints, and our side of DTLS. May come again with
    /// every renegotiation; role and fingerprints count only until the handshake begins.
    /// `true` when the peer restarted ICE.
    pub fn set_remote(
        &mut self,
        credentials: IceCredentials,
        fingerprints: &[Fingerprint],
        role: DtlsRole,
    ) -> bool {
        self.dtls.set_remote(role, fingerprints);
        self.ice.set_remote(credentials)
    }

    /// New local ICE credentials; the old ones work until the first check with the new ones.
    /// Returns a ufrag that must no longer route here, if there is one.
    pub fn restart_ice(&mut self, local: IceCredentials) -> Option<String> {
        self.ice.restart(local)
    }

    /// Takes a STUN message that names one of our ufrags. On [`IceCheck::New`] the caller routes `from` to this
    /// transport, and `evicted` no more. Errors: see [`IceAgent::handle_check`]; they leave no trace.
    pub fn handle_stun(
        &mut self,
        now: Time,
        from: SocketAddr,
        message: &Message<'_>,
        context: &mut DtlsContext,
        tx: &mut TransmitQueue,
    ) -> Result<IceCheck, DropReason> {
        if self.ended {
            return Err(DropReason::DtlsDead);
        }
        let (restarting, away) = (self.ice.is_restarting(), self.ice.selected().is_none());
        let events = &mut self.events;
        let check = self
            .ice
            .handle_check(now, from, message, tx, &mut |event| {
                push_event(events, event.into())
            })?;
        let is_back = restarting && !self.ice.is_restarting() || away;
        if is_back && std::mem::take(&mut self.heard) {
            self.proof_due = Some(now + PROOF);
        }
        if let Some(to) = self.ice.selected()
            && self.srtp.is_none()
        {
            let event = self.dtls.start(now, context, &mut send_to(to, tx));
            self.take_dtls_event(event);
        }
        Ok(check)
    }

    /// Takes a DTLS datagram. Errors: [`DropReason::UnknownSource`] from an address that is not validated,
    /// and those of [`DtlsSession::handle_datagram`].
    pub fn handle_dtls(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        context: &mut DtlsContext,
        tx: &mut TransmitQueue,
    ) -> Result<(), DropReason> {
        if self.ended {
            return Err(DropReason::DtlsDead);
        }
        let to = self
            .ice
            .selected()
            .filter(|_| self.ice.is_valid(from))
            .ok_or(DropReason::UnknownSource)?;
        let event = self
            .dtls
            .handle_datagram(now, datagram, context, &mut send_to(to, tx))?;
        self.take_dtls_event(event);
        Ok(())
    }

    /// Opens an SRTP packet in place; returns the length of the RTP packet. Errors: [`DropReason::UnknownSource`],
    /// [`DropReason::SrtpNoKeys`], [`DropReason::RtpMalformed`], and those of [`Inbound::open_rtp`].
    pub fn open_rtp(&mut self, from: SocketAddr, packet: &mut [u8]) -> Result<usize, DropReason> {
        let srtp = self.receiving(from)?;
        let header_len = rtp_header_len(packet).ok_or(DropReason::RtpMalformed)?;
        let len = srtp.inbound.open_rtp(packet, header_len)?;
        self.heard = true;
        Ok(len)
    }

    /// Opens an SRTCP packet in place; returns the length of the compound. Errors: [`DropReason::UnknownSource`],
    /// [`DropReason::SrtpNoKeys`], and those of [`Inbound::open_rtcp`].
    pub fn open_rtcp(&mut self, from: SocketAddr, packet: &mut [u8]) -> Result<usize, DropReason> {
        let len = self.receiving(from)?.inbound.open_rtcp(packet)?;
        self.heard = true;
        Ok(len)
    }

    fn receiving(&mut self, from: SocketAddr) -> Result<&mut Srtp, DropReason> {
        if !self.ice.is_valid(from) {
            return Err(DropReason::UnknownSource);
        }
        self.srtp.as_deref_mut().ok_or(DropReason::SrtpNoKeys)
    }

    /// Seals the RTP packet `slot[..len]` in place; see [`Outbound::seal_rtp`]. [`DropReason::SrtpNoKeys`] before keys.
    pub fn seal_rtp(
        &mut self,
        slot: &mut [u8],
        header_len: usize,
        len: usize,
    ) -> Result<usize, DropReason> {
        let srtp = self.srtp.as_deref_mut().ok_or(DropReason::SrtpNoKeys)?;
        srtp.outbound.seal_rtp(slot, header_len, len)
    }

    /// Seals the header in `slot[..header_len]` with `payload` behind it: one pass over the payload. See
    /// [`Outbound::seal_rtp_from`].
    pub fn seal_rtp_from(
        &mut self,
        slot: &mut [u8],
        header_len: usize,
        payload: &[u8],
    ) -> Result<usize, DropReason> {
        let srtp = self.srtp.as_deref_mut().ok_or(DropReason::SrtpNoKeys)?;
        srtp.outbound.seal_rtp_from(slot, header_len, payload)
    }

    /// Drops the state of an SSRC that is never sent again; see [`Outbound::forget`].
    pub fn forget_sent(&mut self, ssrc: u32) {
        if let Some(srtp) = self.srtp.as_deref_mut() {
            srtp.outbound.forget(ssrc);
        }
    }

    /// Seals the RTCP compound `slot[..len]` in place; see [`Outbound::seal_rtcp`].
    pub fn seal_rtcp(&mut self, slot: &mut [u8], len: usize) -> Result<usize, DropReason> {
        let srtp = self.srtp.as_deref_mut().ok_or(DropReason::SrtpNoKeys)?;
        srtp.outbound.seal_rtcp(slot, len)
    }

    /// Where to send; `None` before the first check and after consent was lost.
    pub fn send_address(&self) -> Option<SocketAddr> {
        self.ice.selected().filter(|_| !self.ended)
    }

    /// Whether media can be sent: an address with consent, and keys.
    pub fn is_connected(&self) -> bool {
        self.srtp.is_some() && self.send_address().is_some()
    }

    /// The negotiated SRTP profile.
    pub fn srtp_profile(&self) -> Option<SrtpProfile> {
        self.srtp.as_ref().map(|srtp| srtp.profile)
    }

    /// Notes the transport-wide sequence number of an opened RTP packet of `ssrc`, for feedback.
    pub fn record_arrival(&mut self, now: Time, sequence: u16, ssrc: u32) {
        self.twcc_receiver.record(now, sequence, ssrc);
    }

    /// The transport-wide sequence number of the next packet; see [`count_sent`](Self::count_sent).
    #[inline]
    pub fn next_transport_sequence(&self) -> u16 {
        self.twcc_sender.next_sequence()
    }

    /// The packet with that number is sealed and leaves.
    #[inline]
    pub fn count_sent(&mut self, now: Time) {
        self.twcc_sender.sent(now);
    }

    /// Takes in the peer's feedback on what we sent.
    pub fn handle_feedback(&mut self, now: Time, feedback: &TransportFeedback<'_>) -> TwccReport {
        let report = self.twcc_sender.handle_feedback(now, feedback);
        self.congestion.handle_report(now, &report);
        if self.round_trip.is_none() {
            self.round_trip = report.round_trip;
        }
        report
    }

    /// What is known of the line to the peer.
    pub fn congestion(&self) -> &Congestion {
        &self.congestion
    }

    /// Takes in a report block on what we sent; `now_ntp` is our NTP time now.
    pub fn handle_report_block(&mut self, now_ntp: u64, last_sr: u32, delay: u32) {
        if let Some(sample) = round_trip_of_report(now_ntp, last_sr, delay) {
            self.round_trip = Some(match self.round_trip {
                Some(old) => (old * 7 + sample) / 8,
                None => sample,
            });
        }
    }

    /// Smoothed round-trip time.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Runs due timers: consent, proof of keys, DTLS, feedback.
    pub fn handle_timeout(&mut self, now: Time, context: &mut DtlsContext, tx: &mut TransmitQueue) {
        if self.ended {
            return;
        }
        let events = &mut self.events;
        self.ice
            .handle_timeout(now, &mut |event| push_event(events, event.into()));
        let Some(to) = self.ice.selected() else {
            return;
        };
        if self.proof_due.take_if(|due| *due <= now).is_some() && !self.heard {
            self.ended = true;
            return push_event(&mut self.events, TransportEvent::Gone);
        }
        let event = self.dtls.handle_timeout(now, context, &mut send_to(to, tx));
        self.take_dtls_event(event);
        self.send_feedback(now, to, tx);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.ended {
            return None;
        }
        let consent = self.ice.poll_timeout()?;
        if self.ice.selected().is_none() {
            // Without an address nothing can be sent, and the peer's next check wakes the others.
            return Some(consent);
        }
        let others = [
            self.dtls.poll_timeout(),
            self.twcc_receiver.poll_timeout(),
            self.proof_due,
        ];
        others.into_iter().flatten().chain([consent]).min()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// Says goodbye if there is anybody to say it to, and ends. No event follows.
    pub fn close(&mut self, now: Time, context: &mut DtlsContext, tx: &mut TransmitQueue) {
        if let Some(to) = self.send_address() {
            self.dtls.close(now, context, &mut send_to(to, tx));
        }
        self.ended = true;
    }

    fn send_feedback(&mut self, now: Time, to: SocketAddr, tx: &mut TransmitQueue) {
        let Some(srtp) = self.srtp.as_deref_mut() else {
            return;
        };
        while self
            .twcc_receiver
            .poll_timeout()
            .is_some_and(|at| at <= now)
        {
            let Some(slot) = tx.reserve() else {
                return;
            };
            let Some(room) = slot.len().checked_sub(srtp::SRTCP_OVERHEAD_BYTES_MAX) else {
                return;
            };
            let out = slot.get_mut(..room).unwrap_or_default();
            let Some(len) = self.twcc_receiver.write_feedback(now, self.rtcp_ssrc, out) else {
                return;
            };
            if let Ok(len) = srtp.outbound.seal_rtcp(slot, len) {
                tx.commit(to, len);
            }
        }
    }

    fn take_dtls_event(&mut self, event: Option<DtlsEvent>) {
        let event = match event {
            None => return,
            Some(DtlsEvent::Closed) => {
                self.ended = true;
                TransportEvent::Closed
            }
            Some(DtlsEvent::Failed(failure)) => {
                self.ended = true;
                TransportEvent::Failed(failure.into())
            }
            Some(DtlsEvent::Connected(keys)) => match make_srtp(&keys) {
                Some(srtp) => {
                    let profile = srtp.profile;
                    self.srtp = Some(Box::new(srtp));
                    TransportEvent::DtlsConnected { profile }
                }
                None => {
                    self.ended = true;
                    TransportEvent::Failed(TransportError::SrtpKeys)
                }
            },
        };
        push_event(&mut self.events, event);
    }
}

impl From<IceEvent> for TransportEvent {
    fn from(event: IceEvent) -> TransportEvent {
        match event {
            IceEvent::Connected(address) => TransportEvent::IceConnected(address),
            IceEvent::AddressChanged { from, to } => TransportEvent::AddressChanged { from, to },
            IceEvent::ConsentLost => TransportEvent::ConsentLost,
            IceEvent::Gone => TransportEvent::Gone,
        }
    }
}

fn make_srtp(keys: &SrtpKeys) -> Option<Srtp> {
    Some(Srtp {
        profile: keys.profile,
        inbound: Inbound::new(keys.profile, &keys.remote)?,
        outbound: Outbound::new(keys.profile, &keys.local)?,
    })
}

fn send_to(to: SocketAddr, tx: &mut TransmitQueue) -> impl FnMut(&[u8]) {
    // A full queue loses a datagram of a handshake; its retransmission timer is still armed.
    move |bytes| {
        tx.push(to, bytes);
    }
}

/// An owner that does not poll loses address changes first: only the last one matters.
fn push_event(events: &mut VecDeque<TransportEvent>, event: TransportEvent) {
    if events.len() >= TRANSPORT_EVENTS_MAX {
        let change = |e: &TransportEvent| matches!(e, TransportEvent::AddressChanged { .. });
        match events.iter().position(change) {
            Some(at) => drop(events.remove(at)),
            None => drop(events.pop_front()),
        }
    }
    events.push_back(event);
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("ice", &self.ice)
            .field("dtls", &self.dtls)
            .field("profile", &self.srtp_profile())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
