//! What we send a peer: seals SRTP and SRTCP and tracks the roll-over counter of each SSRC.
//!
//! Invariant: one (SSRC, index) pair protects one packet: sealing other bytes under an index already used would break
//! GCM, so an index is refused the second time, whatever the caller does. The caller must never reuse an SSRC for
//! another stream on this transport. RFC 3711 section 3.3.1, RFC 7714 section 8.4.

use super::cipher::{Cipher, SRTCP_E_FLAG, Stream};
use super::replay::{ReplayWindow, estimate_index};
use super::{MasterKey, SrtpProfile, rtcp_ssrc, rtp_ids};
use crate::error::DropReason;
use crate::limits::SEND_SSRCS_MAX;

/// Indices sent of one SSRC.
#[derive(Debug, Clone)]
struct SendState {
    ssrc: u32,
    sent: ReplayWindow,
}

/// Sending half of a transport's SRTP.
pub struct Outbound {
    rtp: Cipher,
    rtcp: Cipher,
    /// Sorted by SSRC.
    streams: Vec<SendState>,
    /// Where the last packet's SSRC was found: packets of one stream come in runs.
    last: usize,
    /// One SRTCP index for all our SSRCs, as a plain counter (RFC 3711 section 3.4 asks for it to grow by packet).
    rtcp_index: u32,
}

impl Outbound {
    /// `None` cannot happen with a well-formed [`MasterKey`].
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Option<Outbound> {
        Some(Outbound {
            rtp: Cipher::new(profile, master, Stream::Rtp)?,
            rtcp: Cipher::new(profile, master, Stream::Rtcp)?,
            streams: Vec::new(),
            last: 0,
            rtcp_index: 0,
        })
    }

    /// Bytes [`seal_rtp`](Self::seal_rtp) adds.
    pub fn rtp_overhead(&self) -> usize {
        self.rtp.tag_len()
    }

    /// Seals the RTP packet `slot[..len]` in place, `header_len` bytes of it staying clear; returns the new length.
    /// Errors: [`DropReason::Oversize`] (no room for the tag), [`DropReason::SrtpShort`],
    /// [`DropReason::TooManySsrcs`], [`DropReason::SrtpReplay`] (the number was sealed before, or is far behind the newest).
    pub fn seal_rtp(
        &mut self,
        slot: &mut [u8],
        header_len: usize,
        len: usize,
    ) -> Result<usize, DropReason> {
        let (sequence, ssrc) = rtp_ids(slot)?;
        let index = self.index_of(ssrc, sequence)?;
        let total = self.rtp.seal_rtp(slot, header_len, len, ssrc, index)?;
        self.accept(index);
        Ok(total)
    }

    /// Seals the header in `slot[..header_len]` and `payload` into `slot`: one pass over the payload with GCM.
    /// Errors as [`seal_rtp`](Self::seal_rtp).
    pub fn seal_rtp_from(
        &mut self,
        slot: &mut [u8],
        header_len: usize,
        payload: &[u8],
    ) -> Result<usize, DropReason> {
        let (sequence, ssrc) = rtp_ids(slot)?;
        let index = self.index_of(ssrc, sequence)?;
        let total = self
            .rtp
            .seal_rtp_from(slot, header_len, payload, ssrc, index)?;
        self.accept(index);
        Ok(total)
    }

    /// Seals the RTCP compound `slot[..len]` in place; returns the new length.
    /// Errors: [`DropReason::Oversize`], [`DropReason::SrtpShort`], [`DropReason::SrtpReplay`] after 2^31 packets.
    pub fn seal_rtcp(&mut self, slot: &mut [u8], len: usize) -> Result<usize, DropReason> {
        let ssrc = rtcp_ssrc(slot)?;
        let index = self.rtcp_index;
        if index >= SRTCP_E_FLAG {
            return Err(DropReason::SrtpReplay);
        }
        let total = self.rtcp.seal_rtcp(slot, len, ssrc, index)?;
        self.rtcp_index = index + 1;
        Ok(total)
    }

    /// Drops the state of `ssrc`. The caller never sends it again: its indices would count as unused.
    pub fn forget(&mut self, ssrc: u32) {
        if let Ok(at) = self.streams.binary_search_by_key(&ssrc, |s| s.ssrc) {
            self.streams.remove(at);
        }
    }

    /// SSRCs with state.
    pub fn ssrc_count(&self) -> usize {
        self.streams.len()
    }

    /// The index of `sequence`: a new highest one moves the stream, an older one has the counter of its time. No index comes out twice.
    fn index_of(&mut self, ssrc: u32, sequence: u16) -> Result<u64, DropReason> {
        let at = match self.streams.get(self.last) {
            Some(stream) if stream.ssrc == ssrc => self.last,
            _ => match self.streams.binary_search_by_key(&ssrc, |s| s.ssrc) {
                Ok(at) => at,
                Err(_) if self.streams.len() >= SEND_SSRCS_MAX => {
                    return Err(DropReason::TooManySsrcs);
                }
                Err(at) => {
                    let sent = ReplayWindow::default();
                    self.streams.insert(at, SendState { ssrc, sent });
                    at
                }
            },
        };
        self.last = at;
        let stream = self.streams.get_mut(at).ok_or(DropReason::TooManySsrcs)?;
        let index =
            estimate_index(stream.sent.highest(), sequence).ok_or(DropReason::SrtpReplay)?;
        stream.sent.check(index)?;
        Ok(index)
    }

    /// The packet that [`index_of`](Self::index_of) was asked about last is sealed: its index is used up.
    fn accept(&mut self, index: u64) {
        if let Some(stream) = self.streams.get_mut(self.last) {
            stream.sent.accept(index);
        }
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("ssrcs", &self.streams.len())
            .field("rtcp_index", &self.rtcp_index)
            .finish_non_exhaustive()
    }
}
