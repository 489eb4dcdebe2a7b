//! Marked media: sources that write who, what and which packet into every payload, and sinks that check it.
//!
//! A sink holds what a player would notice: nobody else's media, no altered payload, one content per sequence number,
//! order and spacing as sent, continuous VP8 picture ids, a key frame first.

use std::collections::BTreeMap;

use super::sdp::Kind;

/// Bytes of a mark, without filler and checksum.
const MARK_BYTES: usize = 18;
const MAGIC: [u8; 2] = [0xC0, 0x1C];

/// What a payload says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Number of the room.
    pub room: u16,
    /// Number of the member.
    pub member: u16,
    /// Video, not audio.
    pub video: bool,
    /// Which life of the publisher: a rejoin starts a new one.
    pub epoch: u8,
    /// Packets of this source before this one.
    pub index: u32,
    /// RTP timestamp as the publisher sent it.
    pub timestamp: u32,
    /// VP8 picture id as the publisher sent it; 0 for audio.
    pub picture_id: u16,
}

impl Mark {
    /// The mark, then filler, then a checksum: `len` bytes in all, at least 24.
    pub fn write(&self, len: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.room.to_be_bytes());
        out.extend_from_slice(&self.member.to_be_bytes());
        out.push(u8::from(self.video));
        out.push(self.epoch);
        out.extend_from_slice(&self.index.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.picture_id.to_be_bytes());
        let mut filler = self.index.wrapping_mul(0x9E37_79B1) | 1;
        while out.len() < start + len.max(MARK_BYTES + 6) - 4 {
            filler = filler.wrapping_mul(0x0019_660D).wrapping_add(0x3C6E_F35F);
            out.push((filler >> 24) as u8);
        }
        let sum = checksum(&out[start..]);
        out.extend_from_slice(&sum.to_be_bytes());
    }

    /// Reads what [`Mark::write`] wrote; any changed byte is an error.
    pub fn read(bytes: &[u8]) -> Result<Mark, String> {
        if bytes.len() < MARK_BYTES + 6 || bytes[..2] != MAGIC {
            return Err(format!(
                "no mark in {} bytes {:02x?}",
                bytes.len(),
                &bytes[..bytes.len().min(24)]
            ));
        }
        let (body, sum) = bytes.split_at(bytes.len() - 4);
        if checksum(body).to_be_bytes() != sum {
            return Err(format!("payload of {} bytes was altered", bytes.len()));
        }
        let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
        Ok(Mark {
            room: word(2),
            member: word(4),
            video: body[6] == 1,
            epoch: body[7],
            index: long(8),
            timestamp: long(12),
            picture_id: word(16),
        })
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |h, b| {
        (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)
    })
}

/// One RTP packet before header and encryption.
#[derive(Debug, Clone)]
pub struct MediaPacket {
    /// Last packet of a frame.
    pub marker: bool,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP payload.
    pub payload: Vec<u8>,
}

/// A microphone or a camera.
#[derive(Debug, Clone)]
pub struct Source {
    /// Next mark.
    mark: Mark,
    sequence: u16,
    frames: u32,
    key_wanted: bool,
    /// Key frames made.
    pub key_frames: u32,
    /// Timestamp of the last frame.
    pub timestamp: u32,
    /// Bytes of payload made.
    pub octets: u32,
}

impl Source {
    /// A source that starts at `sequence`; the first video frame is a key frame.
    pub fn new(
        room: u16,
        member: u16,
        kind: Kind,
        epoch: u8,
        sequence: u16,
        timestamp: u32,
    ) -> Self {
        let video = kind == Kind::Video;
        let picture_id = if video {
            (sequence ^ 0x2A5A) & 0x7FFF
        } else {
            0
        };
        let mark = Mark {
            room,
            member,
            video,
            epoch,
            index: 0,
            timestamp,
            picture_id,
        };
        Self {
            mark,
            sequence,
            frames: 0,
            key_wanted: video,
            key_frames: 0,
            timestamp,
            octets: 0,
        }
    }

    /// The next video frame is to be a key frame.
    pub fn want_key_frame(&mut self) {
        self.key_wanted = self.mark.video;
    }

    /// Packets made so far.
    pub fn packets(&self) -> u32 {
        self.mark.index
    }

    /// Sequence number of the next packet.
    pub fn next_sequence(&self) -> u16 {
        self.sequence
    }

    /// The next frame, captured at RTP time `timestamp`, in `packets` packets of about `bytes` each.
    pub fn frame(
        &mut self,
        timestamp: u32,
        packets: usize,
        bytes: usize,
        out: &mut Vec<MediaPacket>,
    ) {
        self.timestamp = timestamp;
        let key = std::mem::take(&mut self.key_wanted);
        self.key_frames += u32::from(key);
        let packets = if key { packets + 1 } else { packets };
        for n in 0..packets {
            let mut payload = Vec::with_capacity(bytes + 32);
            if self.mark.video {
                self.vp8_header(n == 0, key, &mut payload);
            } else {
                payload.push(0x78); // Opus TOC: CELT, 20 ms, mono.
            }
            self.mark.timestamp = timestamp;
            self.mark.write(bytes, &mut payload);
            self.octets = self.octets.wrapping_add(payload.len() as u32);
            out.push(MediaPacket {
                marker: if self.mark.video {
                    n + 1 == packets
                } else {
                    self.mark.index == 0
                },
                sequence: self.sequence,
                timestamp,
                payload,
            });
            self.mark.index += 1;
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.frames += 1;
        if self.mark.video {
            self.mark.picture_id = (self.mark.picture_id + 1) & 0x7FFF;
        }
    }

    /// RFC 7741 section 4.2 descriptor with picture id and TL0PICIDX, and section 9.1 of RFC 6386 on first packets.
    fn vp8_header(&self, first: bool, key: bool, out: &mut Vec<u8>) {
        out.push(0x80 | if first { 0x10 } else { 0 });
        out.push(0x80 | 0x40 | 0x20); // picture id, TL0PICIDX, TID present
        out.extend_from_slice(&(0x8000 | self.mark.picture_id).to_be_bytes());
        out.push((self.frames & 0xFF) as u8);
        out.push(0);
        if first && key {
            out.extend_from_slice(&[0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xF0, 0x00]);
        } else if first {
            out.extend_from_slice(&[0x11, 0x02, 0x00]);
        }
    }
}

/// What stands before the mark of a VP8 payload.
struct Vp8 {
    start: bool,
    key: bool,
    picture_id: u16,
    mark_at: usize,
}

fn read_vp8(payload: &[u8]) -> Result<Vp8, String> {
    let fault = || {
        format!(
            "VP8 descriptor of {:02x?} is cut or lacks a picture id",
            &payload[..payload.len().min(12)]
        )
    };
    let head = *payload.first().ok_or_else(fault)?;
    let flags = if head & 0x80 != 0 {
        *payload.get(1).ok_or_else(fault)?
    } else {
        0
    };
    if flags & 0x80 == 0 {
        return Err(fault());
    }
    let mut at = 2;
    let byte = *payload.get(at).ok_or_else(fault)?;
    let picture_id = if byte & 0x80 != 0 {
        at += 1;
        u16::from(byte & 0x7F) << 8 | u16::from(*payload.get(at).ok_or_else(fault)?)
    } else {
        u16::from(byte)
    };
    at += 1;
    at += usize::from(flags & 0x40 != 0) + usize::from(flags & 0x30 != 0);
    let start = head & 0x10 != 0 && head & 0x07 == 0;
    let key = start && *payload.get(at).ok_or_else(fault)? & 1 == 0;
    at += if key {
        10
    } else if start {
        3
    } else {
        0
    };
    Ok(Vp8 {
        start,
        key,
        picture_id,
        mark_at: at,
    })
}

/// One received packet, reduced to what later packets are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    mark: Mark,
    timestamp: u32,
    picture_id: u16,
    frame_start: bool,
    key: bool,
    sum: u32,
}

/// Player of one SSRC.
#[derive(Debug, Default)]
pub struct Sink {
    entries: BTreeMap<u64, Entry>,
    highest: Option<u64>,
    lowest_expected: Option<u64>,
    /// Different packets received.
    pub received: u64,
    /// Packets received again.
    pub duplicates: u64,
    /// Key frames begun.
    pub key_frames: u64,
    /// Packets that came by retransmission only.
    pub recovered: u64,
    /// Changes of the publisher or of its life.
    pub switches: u64,
    /// Highest source index of the current source.
    pub last_mark: Option<Mark>,
}

impl Sink {
    /// Extends a 16-bit sequence number (RFC 3550 appendix A.1).
    fn extend(&self, sequence: u16) -> u64 {
        match self.highest {
            None => 0x1_0000 + u64::from(sequence),
            Some(highest) => {
                let diff = sequence.wrapping_sub(highest as u16) as i16;
                highest.wrapping_add_signed(i64::from(diff))
            }
        }
    }

    /// Takes a packet; `Err` says what a player would notice. The `(room, member)` filter is the caller's.
    pub fn receive(
        &mut self,
        video: bool,
        sequence: u16,
        timestamp: u32,
        payload: &[u8],
        retransmitted: bool,
    ) -> Result<Mark, String> {
        let vp8 = if video {
            Some(read_vp8(payload)?)
        } else {
            None
        };
        let mark_at = vp8.as_ref().map_or(1, |v| v.mark_at);
        let mark = Mark::read(payload.get(mark_at..).unwrap_or(&[]))?;
        if mark.video != video {
            return Err(format!("{mark:?} came as the other kind"));
        }
        let entry = Entry {
            mark,
            timestamp,
            picture_id: vp8.as_ref().map_or(0, |v| v.picture_id),
            frame_start: vp8.as_ref().is_none_or(|v| v.start),
            key: vp8.as_ref().is_some_and(|v| v.key),
            sum: checksum(payload),
        };
        let extended = self.extend(sequence);
        if let Some(known) = self.entries.get(&extended) {
            self.duplicates += 1;
            return if *known == entry {
                Ok(mark)
            } else {
                Err(format!(
                    "sequence number {sequence} carried {known:?}, now {entry:?}"
                ))
            };
        }
        self.compare_neighbours(extended, &entry)?;
        self.count(extended, entry, retransmitted);
        Ok(mark)
    }

    fn count(&mut self, extended: u64, entry: Entry, retransmitted: bool) {
        if self
            .last_mark
            .is_none_or(|m| (m.member, m.epoch) != (entry.mark.member, entry.mark.epoch))
        {
            self.switches += 1;
        }
        if self.highest.is_none_or(|h| extended > h) {
            self.highest = Some(extended);
            self.last_mark = Some(entry.mark);
        }
        self.lowest_expected = Some(self.lowest_expected.map_or(extended, |l| l.min(extended)));
        self.received += 1;
        self.recovered += u64::from(retransmitted);
        self.key_frames += u64::from(entry.key);
        self.entries.insert(extended, entry);
        if self.entries.len() > 2048 {
            self.entries.pop_first();
        }
    }

    fn compare_neighbours(&self, extended: u64, entry: &Entry) -> Result<(), String> {
        let before = self.entries.range(..extended).next_back();
        let after = self.entries.range(extended + 1..).next();
        if let Some((at, one)) = before {
            compare(one, entry, extended - at)?;
        }
        after.map_or(Ok(()), |(at, other)| compare(entry, other, at - extended))
    }

    /// Whether the first packet of the stream began a key frame; `None` before the first packet.
    pub fn starts_with_key_frame(&self) -> Option<bool> {
        let (first, entry) = self.entries.first_key_value()?;
        (Some(*first) == self.lowest_expected).then_some(entry.key)
    }

    /// Sequence numbers missing between the first and the last packet, as far as remembered.
    pub fn missing(&self) -> u64 {
        let span = match (
            self.entries.first_key_value(),
            self.entries.last_key_value(),
        ) {
            (Some((first, _)), Some((last, _))) => last - first + 1,
            _ => 0,
        };
        span - self.entries.len() as u64
    }

    /// Sequence numbers skipped by the arrival of `sequence`, oldest first, at most 64.
    pub fn gap_before(&self, sequence: u16) -> impl Iterator<Item = u16> + use<> {
        let to = self.extend(sequence);
        let from = self
            .highest
            .map_or(to, |h| h + 1)
            .max(to.saturating_sub(64));
        (from..to).map(|s| s as u16)
    }

    /// Highest extended sequence number, cycles included (RFC 3550 section 6.4.1).
    pub fn highest(&self) -> u32 {
        self.highest.map_or(0, |h| (h - 0x1_0000) as u32)
    }
}

/// `one` and `other` follow each other in the received order, `gap` sequence numbers apart.
fn compare(one: &Entry, other: &Entry, gap: u64) -> Result<(), String> {
    let same = (one.mark.member, one.mark.epoch) == (other.mark.member, other.mark.epoch);
    if !same {
        return if other.mark.video
            && other.mark.epoch < one.mark.epoch
            && one.mark.member == other.mark.member
        {
            Err(format!(
                "an earlier life came back: {one:?}, then {other:?}"
            ))
        } else {
            Ok(())
        };
    }
    if other.mark.index <= one.mark.index {
        return Err(format!("order turned round: {one:?}, then {other:?}"));
    }
    if u64::from(other.mark.index - one.mark.index) < gap {
        return Err(format!(
            "{gap} numbers for fewer packets: {one:?}, then {other:?}"
        ));
    }
    // After a pause (packets left out without a hole in the numbers, or a publisher that said nothing) the server
    // may set the clock anew, within what nobody notices; picture ids then go on without a jump.
    let sent = other.mark.timestamp.wrapping_sub(one.mark.timestamp);
    let left_out = u64::from(other.mark.index - one.mark.index) > gap;
    let rate: u32 = if one.mark.video { 90_000 } else { 48_000 };
    let paused = left_out || sent > rate / 2;
    let got = other.timestamp.wrapping_sub(one.timestamp);
    let off = (got.wrapping_sub(sent) as i32).unsigned_abs();
    let forward = (got as i32) >= 0;
    if !forward || off > if paused { rate / 5 } else { 0 } {
        return Err(format!(
            "timestamps {sent} apart came {got} apart: {one:?}, then {other:?}"
        ));
    }
    let sent = other.mark.picture_id.wrapping_sub(one.mark.picture_id) & 0x7FFF;
    let got = other.picture_id.wrapping_sub(one.picture_id) & 0x7FFF;
    let fits = if paused {
        got <= sent && (got > 0 || sent == 0)
    } else {
        got == sent
    };
    if !fits {
        return Err(format!(
            "picture ids {sent} apart came {got} apart: {one:?}, then {other:?}"
        ));
    }
    Ok(())
}
