//! Simulcast: a published track that comes in several encodings (RFC 8853), of which each subscriber gets one.
//!
//! Every encoding is an [`UpTrack`] of its own, with its own numbers, losses and cache. The first of them stands for
//! the published track. A subscriber changes over at a key frame of the encoding it is to have; until then it keeps what
//! it has, so a change is never seen as a gap. Invariant: a subscription is in the fan-out of exactly the encodings
//! that its `up` and `next` name.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::bus::control::EncodingStats;
use crate::id::{DownTrackKey, TransportKey, UpTrackKey};
use crate::limits::ENCODINGS_MAX;
use crate::media::{PacketFields, SourceId, UpCodec, UpTrack, UpTrackConfig, UpTrackStats};
use crate::room::machine::{DownEntry, Machine, Turn, UpEntry};
use crate::room::slab::Slab;
use crate::time::Time;

/// An encoding without a packet for this long, and for the time of so many frames, has been given up by its publisher, who
/// lacks the bandwidth or the processor for it: its subscribers go on with another one.
const SILENCE: Duration = Duration::from_millis(500);
const SILENT_FRAMES: u32 = 3;
/// An encoding that has come for this long is one to change over to.
const SETTLED: Duration = Duration::from_secs(1);
/// One of the same size is better from so many percent of the bits on: else two would take turns.
const BETTER_BITS_PERCENT: u64 = 125;
/// Time between two choices.
pub(super) const CHOICE_INTERVAL: Duration = Duration::from_millis(100);

/// One encoding of a published track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// RTP stream id (RFC 8851), as in packets.
    pub rid: Box<[u8]>,
    /// Its media.
    pub up: UpTrackKey,
}

/// An encoding that could be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub up: UpTrackKey,
    /// Pixels of a picture, then bits per second.
    pub quality: (u32, u64),
    /// For at least a second.
    settled: bool,
}

impl DownEntry {
    /// Whether a packet of `up` is for this subscriber: of what it gets, or of what takes over, from its key frame on.
    #[inline]
    pub(super) fn takes(&self, up: UpTrackKey, fields: &PacketFields) -> bool {
        self.up == Some(up)
            || self.next == Some(up) && (fields.key_frame || self.track.flows(fields.source))
    }

    /// `up` is gone.
    pub(super) fn forget(&mut self, up: UpTrackKey) {
        for place in [
            &mut self.up,
            &mut self.next,
            &mut self.plays,
            &mut self.ceiling,
        ] {
            place.take_if(|key| *key == up);
        }
    }
}

impl UpEntry {
    fn candidate(&self, up: UpTrackKey, now: Time) -> Option<Candidate> {
        let rates = self.track.stats(now).rates;
        let frames = Duration::from_secs(1) * SILENT_FRAMES / rates.frames_per_s.max(1);
        let patience = match rates.frames_per_s {
            0 => SILENCE,
            _ => SILENCE.max(frames),
        };
        let alive = self
            .track
            .heard()
            .is_some_and(|at| now.since(at) < patience);
        alive.then_some(Candidate {
            up,
            quality: self.quality(now),
            settled: self.track.came_for(now).is_some_and(|time| time >= SETTLED),
        })
    }

    fn quality(&self, now: Time) -> (u32, u64) {
        let stats = self.track.stats(now);
        let (width, height) = stats.size.unwrap_or_default();
        let pixels = u32::from(width) * u32::from(height);
        (pixels, stats.rates.bits_per_s)
    }
}

/// The encoding of `plays` that packets of `source` came from.
pub(super) fn encoding_with(
    ups: &Slab<UpTrackKey, UpEntry>,
    plays: UpTrackKey,
    source: SourceId,
) -> Option<&UpTrack> {
    let first = ups.get(plays)?;
    if first.encodings.is_empty() {
        return Some(&first.track);
    }
    let mut tracks = first.encodings.iter().filter_map(|e| ups.get(e.up));
    tracks
        .find(|up| up.track.source() == source)
        .map(|up| &up.track)
}

impl Machine {
    /// All encodings of a published track; just itself without simulcast.
    pub fn encodings_of(&self, first: UpTrackKey) -> Vec<UpTrackKey> {
        match self.ups.get(first).map(|up| up.encodings.as_slice()) {
            None => Vec::new(),
            Some([]) => vec![first],
            Some(all) => all.iter().map(|e| e.up).collect(),
        }
    }

    /// Splits a published track into the encodings `rids`, at most [`ENCODINGS_MAX`]; those there are stay. Without
    /// `rids` it is one stream. Call after [`route_up`](Self::route_up). What the shard has no more room for is not
    /// received.
    pub fn set_encodings(&mut self, first: UpTrackKey, rids: &[String], config: &UpTrackConfig) {
        let Some(transport) = self.ups.get(first).map(|up| up.transport) else {
            return;
        };
        let before = self
            .ups
            .get_mut(first)
            .map(|up| std::mem::take(&mut up.encodings));
        let mut before = before.unwrap_or_default();
        let named = |e: &Encoding| e.up == first && rids.iter().any(|r| *e.rid == *r.as_bytes());
        let first_is_named = before.iter().any(named);
        let mut encodings = Vec::new();
        // Room is left for it where the client has no name for it.
        let most = ENCODINGS_MAX - usize::from(!before.is_empty() && !first_is_named);
        for rid in rids.iter().take(most) {
            let known = before.iter().position(|e| *e.rid == *rid.as_bytes());
            let up = match known {
                Some(at) => Some(before.remove(at).up),
                None if encodings.is_empty() && !first_is_named => Some(first),
                None => self.add_up(transport, config.clone()),
            };
            let taken = |e: &Encoding| Some(e.up) == up;
            if let Some(up) = up.filter(|_| !encodings.iter().any(taken)) {
                let rid = rid.as_bytes().into();
                encodings.push(Encoding { rid, up });
            }
        }
        // The first one stands for the track: it stays, silent, where the client has another name for all it sends.
        if !encodings.is_empty() && encodings.iter().all(|e| e.up != first) {
            let rid = before.iter().find(|e| e.up == first).map(|e| e.rid.clone());
            let rid = rid.unwrap_or_default();
            encodings.push(Encoding { rid, up: first });
        }
        if let Some(link) = self.transports.get_mut(transport)
            && let Some(route) = link.mids.iter_mut().find(|m| m.up == first)
        {
            route.encodings.clone_from(&encodings);
        }
        let kept = |key: UpTrackKey| key == first || encodings.iter().any(|e| e.up == key);
        let gone: Vec<UpTrackKey> = before.iter().map(|e| e.up).filter(|k| !kept(*k)).collect();
        if let Some(up) = self.ups.get_mut(first) {
            up.encodings = encodings;
        }
        for key in gone {
            self.hand_over(key, first);
            self.each_subscriber(first, |down| {
                down.ceiling.take_if(|ceiling| *ceiling == key);
            });
            self.remove_encoding(key);
        }
    }

    /// Whoever plays a track that goes forgets it, whichever encoding they get: its key may be another's next.
    pub(super) fn forget_played(&mut self, first: UpTrackKey) {
        self.each_subscriber(first, |down| {
            down.plays.take_if(|plays| *plays == first);
            down.ceiling = None;
        });
    }

    /// All who get any encoding of a track.
    fn each_subscriber(&mut self, first: UpTrackKey, act: impl Fn(&mut DownEntry)) {
        for up in self.encodings_of(first) {
            let fan_out = self.ups.get(up).map(|up| up.fan_out.as_slice());
            for key in fan_out.unwrap_or_default() {
                if let Some(down) = self.downs.get_mut(*key) {
                    act(down);
                }
            }
        }
    }

    /// Subscribers of `from` go on with `to`.
    fn hand_over(&mut self, from: UpTrackKey, to: UpTrackKey) {
        let Some(from_entry) = self.ups.get_mut(from) else {
            return;
        };
        for key in std::mem::take(&mut from_entry.fan_out) {
            let Some(down) = self.downs.get_mut(key) else {
                continue;
            };
            down.next.take_if(|next| *next == from);
            down.ceiling.take_if(|ceiling| *ceiling == from);
            if down.up == Some(from) {
                let joined = self.ups.get_mut(to).is_some_and(|up| up.join(key));
                down.up = joined.then_some(to);
                down.next.take_if(|next| *next == to);
            }
        }
    }

    pub(super) fn remove_encoding(&mut self, up: UpTrackKey) {
        let transport = self.ups.get(up).map(|u| u.transport);
        if let Some(link) = transport.and_then(|t| self.transports.get_mut(t)) {
            link.unpublish(up);
        }
        self.remove_up_entry(up);
    }

    /// The publisher's codecs, for every encoding.
    pub fn set_up_codecs(&mut self, first: UpTrackKey, codecs: &[UpCodec], nack: bool) {
        for key in self.encodings_of(first) {
            if let Some(up) = self.ups.get_mut(key) {
                up.track.set_codecs(codecs, nack);
            }
        }
    }

    /// The publisher has disabled or enabled the track, all of it.
    pub fn set_up_enabled(&mut self, first: UpTrackKey, enabled: bool) {
        for key in self.encodings_of(first) {
            if let Some(up) = self.ups.get_mut(key) {
                up.track.set_enabled(enabled);
            }
        }
    }

    /// What comes of a published track: of its encodings, packets and bits of all, the picture of the best one that comes.
    pub fn up_stats(&self, first: UpTrackKey, now: Time) -> Option<UpTrackStats> {
        let entry = self.ups.get(first)?;
        let all = entry.encodings.iter().filter_map(|e| self.ups.get(e.up));
        let best = self.ups.get(self.best_encoding(first, now))?;
        let none = UpTrackStats {
            rates: Default::default(),
            packets: 0,
            lost: 0,
            recovered: 0,
            ..best.track.stats(now)
        };
        if entry.encodings.is_empty() {
            return Some(entry.track.stats(now));
        }
        Some(
            all.map(|up| up.track.stats(now))
                .fold(none, UpTrackStats::and),
        )
    }

    /// Each encoding of a published track; none without simulcast.
    pub fn encoding_stats(&self, first: UpTrackKey, now: Time) -> Vec<EncodingStats> {
        let entry = self.ups.get(first);
        let encodings = entry.map(|up| up.encodings.as_slice()).unwrap_or_default();
        let stats = encodings.iter().filter_map(|encoding| {
            let up = self.ups.get(encoding.up)?;
            let stats = up.track.stats(now);
            let sent = |key: &&DownTrackKey| {
                let down = self.downs.get(**key);
                down.is_some_and(|d| d.up == Some(encoding.up))
            };
            Some(EncodingStats {
                rid: String::from_utf8_lossy(&encoding.rid).into_owned(),
                bits_per_s: stats.rates.bits_per_s,
                size: stats.size,
                subscribers: up.fan_out.iter().filter(sent).count() as u32,
            })
        });
        stats.collect()
    }

    /// Width and height of what a subscriber gets, pixels.
    pub fn received_size(&self, down: DownTrackKey, now: Time) -> Option<(u16, u16)> {
        let up = self.downs.get(down)?.up?;
        self.ups.get(up)?.track.stats(now).size
    }

    /// Encodings that come at the moment, the best first.
    pub(super) fn candidates(&self, first: UpTrackKey, now: Time) -> Vec<Candidate> {
        let entry = self.ups.get(first);
        let encodings = entry.map(|up| up.encodings.as_slice()).unwrap_or_default();
        let mut out: Vec<Candidate> = encodings
            .iter()
            .filter_map(|e| self.ups.get(e.up)?.candidate(e.up, now))
            .collect();
        out.sort_by_key(|c| std::cmp::Reverse(c.quality));
        out
    }

    /// The best encoding that comes at the moment; the first one when none does.
    pub(super) fn best_encoding(&self, first: UpTrackKey, now: Time) -> UpTrackKey {
        let best = self.candidates(first, now).first().map(|c| c.up);
        best.unwrap_or(first)
    }

    /// Chooses, for everybody who plays a track that `publisher` sends in several encodings, which one it is.
    pub(super) fn choose_encodings(&mut self, publisher: TransportKey, turn: &mut Turn<'_>) {
        let mut at = 0;
        loop {
            let link = self.transports.get(publisher);
            let Some(route) = link.and_then(|l| l.mids.get(at)) else {
                return;
            };
            at += 1;
            if route.encodings.is_empty() {
                continue;
            }
            let candidates = self.candidates(route.up, turn.now);
            for key in self.encodings_of(route.up) {
                self.choose_among(&candidates, key, turn);
            }
        }
    }

    /// The same for those who get encoding `up` now.
    fn choose_among(&mut self, candidates: &[Candidate], up: UpTrackKey, turn: &mut Turn<'_>) {
        let listed = |machine: &Self, at| machine.ups.get(up)?.fan_out.get(at).copied();
        let mut at = 0;
        while let Some(key) = listed(self, at) {
            at += 1;
            let Some(down) = self.downs.get(key).filter(|d| d.up == Some(up)) else {
                continue;
            };
            let (next, ceiling) = (down.next, down.ceiling);
            let Some(chosen) = self.pick(candidates, up, ceiling, turn.now) else {
                return;
            };
            let wanted = (chosen != up).then_some(chosen);
            if next != wanted {
                self.prepare(key, wanted, turn);
            }
        }
    }

    /// The encoding for a subscriber who gets `up` now: the best up to `ceiling`, else the smallest there is. One that has
    /// only begun is no reason to leave one that comes.
    fn pick(
        &self,
        candidates: &[Candidate],
        up: UpTrackKey,
        ceiling: Option<UpTrackKey>,
        now: Time,
    ) -> Option<UpTrackKey> {
        let comes = candidates.iter().any(|c| c.up == up);
        let highest = ceiling.and_then(|key| Some((key, self.ups.get(key)?.quality(now))));
        let allowed = |c: &&Candidate| {
            highest.is_none_or(|(key, quality)| c.up == key || c.quality < quality)
        };
        let current = candidates.iter().filter(allowed).find(|c| c.up == up);
        let beats = |c: &Candidate| match current.map(|current| current.quality) {
            Some((pixels, bits)) if pixels == c.quality.0 => {
                c.quality.1 >= bits.saturating_mul(BETTER_BITS_PERCENT) / 100
            }
            _ => true,
        };
        let mut good = candidates.iter().filter(allowed);
        let best = good.find(|c| c.up == up || !comes || c.settled && beats(c));
        Some(best.or(candidates.last())?.up)
    }

    /// `next` is to take over from what a subscriber gets, with its next key frame; `None`: nothing is.
    fn prepare(&mut self, key: DownTrackKey, next: Option<UpTrackKey>, turn: &mut Turn<'_>) {
        let Some(down) = self.downs.get_mut(key) else {
            return;
        };
        if let Some(before) = down.next.take().and_then(|k| self.ups.get_mut(k)) {
            before.leave(key);
        }
        let joined = |up: &UpTrackKey| self.ups.get_mut(*up).is_some_and(|up| up.join(key));
        down.next = next.filter(joined);
        if down.next.is_some() {
            self.start(key, turn);
        }
    }

    /// Subscribers that were waiting for a key frame of `up` have had it: it is what they get from now on.
    #[cold]
    pub(super) fn finish_switches(&mut self, up: UpTrackKey) {
        let Some(entry) = self.ups.get(up) else {
            return;
        };
        let source = entry.track.source();
        for at in 0..entry.fan_out.len() {
            let key = self.ups.get(up).and_then(|e| e.fan_out.get(at)).copied();
            let Some((key, down)) = key.and_then(|k| Some((k, self.downs.get_mut(k)?))) else {
                continue;
            };
            if down.next != Some(up) || !down.track.flows(source) {
                continue;
            }
            down.next = None;
            let before = down.up.replace(up);
            if let Some(before) = before.and_then(|k| self.ups.get_mut(k)) {
                before.leave(key);
            }
        }
    }
}
