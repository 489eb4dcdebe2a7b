//! What a peer sends us: opens SRTP and SRTCP and keeps one replay state per SSRC.
//!
//! Invariants: state for an SSRC exists only after a packet of it verified; at most [`SSRCS_PER_PEER_MAX`] of them;
//! a packet is opened at most once. RFC 3711 sections 3.3 and 3.4.

use super::cipher::{Cipher, Stream};
use super::replay::{ReplayWindow, estimate_index};
use super::{MasterKey, SrtpProfile, rtcp_ssrc, rtp_ids};
use crate::error::DropReason;
use crate::limits::SSRCS_PER_PEER_MAX;

#[derive(Debug, Clone, Default)]
struct StreamState {
    rtp: ReplayWindow,
    rtcp: ReplayWindow,
}

/// Receiving half of a transport's SRTP.
pub struct Inbound {
    rtp: Cipher,
    rtcp: Cipher,
    /// SSRCs apart from their states: the look-up walks one or two cache lines.
    ssrcs: Vec<u32>,
    states: Vec<StreamState>,
}

impl Inbound {
    /// `None` cannot happen with a well-formed [`MasterKey`].
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Option<Inbound> {
        Some(Inbound {
            rtp: Cipher::new(profile, master, Stream::Rtp)?,
            rtcp: Cipher::new(profile, master, Stream::Rtcp)?,
            ssrcs: Vec::with_capacity(SSRCS_PER_PEER_MAX),
            states: Vec::with_capacity(SSRCS_PER_PEER_MAX),
        })
    }

    /// Opens an SRTP packet in place; `header_len` as [`super::rtp_header_len`] gives it. Returns the length of the RTP packet.
    /// Errors: [`DropReason::SrtpShort`], [`DropReason::SrtpReplay`], [`DropReason::SrtpAuth`],
    /// [`DropReason::TooManySsrcs`]; the packet's bytes are then undefined.
    pub fn open_rtp(&mut self, packet: &mut [u8], header_len: usize) -> Result<usize, DropReason> {
        let (sequence, ssrc) = rtp_ids(packet)?;
        let known = self.find(ssrc)?;
        let window = known.and_then(|at| self.states.get(at)).map(|s| &s.rtp);
        let index = estimate_index(window.and_then(ReplayWindow::highest), sequence)
            .ok_or(DropReason::SrtpReplay)?;
        if let Some(window) = window {
            window.check(index)?;
        }
        let len = self.rtp.open_rtp(packet, header_len, ssrc, index)?;
        if let Some(state) = self.state_mut(known, ssrc) {
            state.rtp.accept(index);
        }
        Ok(len)
    }

    /// Opens an SRTCP packet in place. Returns the length of the RTCP compound.
    /// Errors as [`open_rtp`](Self::open_rtp), and [`DropReason::SrtcpUnencrypted`] without the E flag.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let ssrc = rtcp_ssrc(packet)?;
        let (encrypted, index) = self.rtcp.rtcp_index(packet)?;
        if !encrypted {
            return Err(DropReason::SrtcpUnencrypted);
        }
        let known = self.find(ssrc)?;
        if let Some(state) = known.and_then(|at| self.states.get(at)) {
            state.rtcp.check(u64::from(index))?;
        }
        let len = self.rtcp.open_rtcp(packet, ssrc, index)?;
        if let Some(state) = self.state_mut(known, ssrc) {
            state.rtcp.accept(u64::from(index));
        }
        Ok(len)
    }

    /// SSRCs with state.
    pub fn ssrc_count(&self) -> usize {
        self.ssrcs.len()
    }

    /// Where the state of `ssrc` is. An unknown SSRC is refused before any crypto when the table is full.
    fn find(&self, ssrc: u32) -> Result<Option<usize>, DropReason> {
        match self.ssrcs.iter().position(|known| *known == ssrc) {
            None if self.ssrcs.len() >= SSRCS_PER_PEER_MAX => Err(DropReason::TooManySsrcs),
            found => Ok(found),
        }
    }

    /// The state of `ssrc`, made now if this is its first verified packet.
    fn state_mut(&mut self, known: Option<usize>, ssrc: u32) -> Option<&mut StreamState> {
        let at = known.unwrap_or_else(|| {
            self.ssrcs.push(ssrc);
            self.states.push(StreamState::default());
            self.states.len() - 1
        });
        self.states.get_mut(at)
    }
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound")
            .field("ssrcs", &self.ssrcs)
            .finish_non_exhaustive()
    }
}
