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

/// Streams whose state lies beside the keys: video and audio with their retransmissions. Those of more are a pointer away.
const NEAR_STREAMS: usize = 4;

/// Indices sent of one SSRC.
#[derive(Debug, Clone)]
struct SendState {
    ssrc: u32,
    sent: ReplayWindow,
}

/// State of each SSRC. A stream keeps its place as long as no other is forgotten.
#[derive(Debug, Default)]
struct Streams {
    /// Streams in the near places.
    near: usize,
    ssrcs: [u32; NEAR_STREAMS],
    sent: [ReplayWindow; NEAR_STREAMS],
    /// The others, sorted by SSRC.
    far: Vec<SendState>,
}

impl Streams {
    fn len(&self) -> usize {
        self.near + self.far.len()
    }

    /// Place of `ssrc`.
    #[inline]
    fn find(&self, ssrc: u32) -> Option<usize> {
        let near = self.ssrcs.iter().take(self.near).position(|s| *s == ssrc);
        near.or_else(|| {
            let far = self.far.binary_search_by_key(&ssrc, |s| s.ssrc).ok()?;
            Some(NEAR_STREAMS + far)
        })
    }

    /// The window of the stream in place `at`.
    #[inline]
    fn window(&mut self, at: usize) -> Option<&mut ReplayWindow> {
        match at.checked_sub(NEAR_STREAMS) {
            None => self.sent.get_mut(at),
            Some(far) => self.far.get_mut(far).map(|stream| &mut stream.sent),
        }
    }

    /// Makes room for `ssrc`, which has none; its place.
    #[cold]
    fn add(&mut self, ssrc: u32) -> usize {
        if let (Some(place), Some(sent)) =
            (self.ssrcs.get_mut(self.near), self.sent.get_mut(self.near))
        {
            *place = ssrc;
            *sent = ReplayWindow::default();
            self.near += 1;
            return self.near - 1;
        }
        let at = self.far.partition_point(|stream| stream.ssrc < ssrc);
        let sent = ReplayWindow::default();
        self.far.insert(at, SendState { ssrc, sent });
        NEAR_STREAMS + at
    }

    fn remove(&mut self, at: usize) {
        if let Some(far) = at.checked_sub(NEAR_STREAMS) {
            self.far.remove(far);
            return;
        }
        self.near -= 1;
        self.ssrcs.swap(at, self.near);
        self.sent.swap(at, self.near);
    }
}

/// Sending half of a transport's SRTP.
pub struct Outbound {
    rtp: Cipher,
    streams: Streams,
    /// Place of the stream that was asked about last.
    last: usize,
    rtcp: Cipher,
    /// One SRTCP index for all our SSRCs, as a plain counter (RFC 3711 section 3.4 asks for it to grow by packet).
    rtcp_index: u32,
}

impl Outbound {
    /// `None` cannot happen with a well-formed [`MasterKey`].
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Option<Outbound> {
        Some(Outbound {
            rtp: Cipher::new(profile, master, Stream::Rtp)?,
            rtcp: Cipher::new(profile, master, Stream::Rtcp)?,
            streams: Streams::default(),
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
        if let Some(at) = self.streams.find(ssrc) {
            self.streams.remove(at);
        }
    }

    /// SSRCs with state.
    pub fn ssrc_count(&self) -> usize {
        self.streams.len()
    }

    /// The index of `sequence`: a new highest one moves the stream, an older one has the counter of its time. No index comes out twice.
    fn index_of(&mut self, ssrc: u32, sequence: u16) -> Result<u64, DropReason> {
        let at = match self.streams.find(ssrc) {
            Some(at) => at,
            None if self.streams.len() >= SEND_SSRCS_MAX => return Err(DropReason::TooManySsrcs),
            None => self.streams.add(ssrc),
        };
        self.last = at;
        let sent = self.streams.window(at).ok_or(DropReason::TooManySsrcs)?;
        let index = estimate_index(sent.highest(), sequence).ok_or(DropReason::SrtpReplay)?;
        sent.check(index)?;
        Ok(index)
    }

    /// The packet that [`index_of`](Self::index_of) was asked about last is sealed: its index is used up.
    fn accept(&mut self, index: u64) {
        if let Some(sent) = self.streams.window(self.last) {
            sent.accept(index);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn each_stream_keeps_its_own_window(
            steps in proptest::collection::vec((0u32..9, proptest::bool::weighted(0.2)), 1..200),
        ) {
            let mut streams = Streams::default();
            let mut sent: BTreeMap<u32, u64> = BTreeMap::new();
            for (ssrc, forget) in steps {
                let known = streams.find(ssrc);
                prop_assert_eq!(known.is_some(), sent.contains_key(&ssrc));
                if forget {
                    known.into_iter().for_each(|at| streams.remove(at));
                    sent.remove(&ssrc);
                } else {
                    let at = known.unwrap_or_else(|| streams.add(ssrc));
                    let next = sent.get(&ssrc).map_or(0, |last| last + 1);
                    streams.window(at).unwrap().accept(next);
                    sent.insert(ssrc, next);
                }
                prop_assert_eq!(streams.len(), sent.len());
                for (ssrc, last) in &sent {
                    let at = streams.find(*ssrc).unwrap();
                    let window = streams.window(at).unwrap();
                    prop_assert_eq!(window.highest(), Some(*last));
                    prop_assert!(window.check(*last).is_err());
                }
            }
        }
    }
}
