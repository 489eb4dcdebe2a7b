//! What a test packet carries after its RTP header: a codec's own bytes, a [`Mark`], and filler that follows from the mark.

use crate::time::Time;

/// Bytes before the mark in video: VP8 payload descriptor with picture id (RFC 7741 section 4.2) and payload header.
const VIDEO_HEAD: usize = 4 + 10;
/// Bytes before the mark in audio: a table-of-contents byte of Opus (RFC 6716 section 3.1).
const AUDIO_HEAD: usize = 1;
const MAGIC: u32 = 0xC01C_4153;
const MARK_BYTES: usize = 28;
/// Fewest bytes of a payload.
pub const PAYLOAD_BYTES_MIN: usize = VIDEO_HEAD + MARK_BYTES;

/// Who sent a packet, which one it is, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Number of the publisher.
    pub publisher: u32,
    /// Its packet of this track, from 0.
    pub number: u64,
    /// When it was sent, by the load generator's clock.
    pub sent: Time,
}

/// What kind of payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A packet of a VP8 frame.
    Video {
        /// First packet of the frame.
        first: bool,
        /// The frame is a key frame.
        key: bool,
        /// 15 bits.
        picture: u16,
        /// A key frame's 1280 × 720 is halved so many times.
        halvings: u8,
    },
    /// An Opus frame.
    Audio,
}

impl Content {
    fn head(self) -> usize {
        match self {
            Content::Video { .. } => VIDEO_HEAD,
            Content::Audio => AUDIO_HEAD,
        }
    }
}

/// Fills `out`, which has [`PAYLOAD_BYTES_MIN`] bytes at least.
pub fn write(out: &mut [u8], content: Content, mark: Mark) {
    let Some((head, rest)) = out.split_at_mut_checked(content.head()) else {
        return;
    };
    match content {
        Content::Audio => head.fill(0xFC),
        Content::Video {
            first,
            key,
            picture,
            halvings,
        } => {
            let [high, low] = picture.to_be_bytes();
            let [width, height] = [1280_u16, 720].map(|n| (n >> halvings.min(4)).to_le_bytes());
            // Frame tag and, for a key frame, start code, width and height (RFC 7741 section 4.3, RFC 6386 section 9.1).
            let tag = if key { 0x10 } else { 0x11 };
            let start = if first { 0x90 } else { 0x80 };
            let bytes = [
                start,
                0x80,
                0x80 | high,
                low,
                tag,
                0,
                0,
                0x9D,
                0x01,
                0x2A,
                width[0],
                width[1],
                height[0],
                height[1],
            ];
            head.copy_from_slice(&bytes);
        }
    }
    let Some((place, filler)) = rest.split_at_mut_checked(MARK_BYTES) else {
        return;
    };
    let mut bytes = [0; MARK_BYTES];
    bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&mark.publisher.to_be_bytes());
    bytes[8..16].copy_from_slice(&mark.number.to_be_bytes());
    bytes[16..24].copy_from_slice(&mark.sent.as_micros().to_be_bytes());
    bytes[24..].copy_from_slice(&check(mark).to_be_bytes());
    place.copy_from_slice(&bytes);
    for (piece, word) in filler.chunks_mut(8).zip(words(mark)) {
        piece.copy_from_slice(word.to_le_bytes().get(..piece.len()).unwrap_or_default());
    }
}

/// Reads a payload back. `None`: it is not what was written.
pub fn read(payload: &[u8], video: bool) -> Option<Mark> {
    let head = if video { VIDEO_HEAD } else { AUDIO_HEAD };
    let (mark, filler) = payload.get(head..)?.split_at_checked(MARK_BYTES)?;
    let word = |at: usize| Some(u32::from_be_bytes(mark.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_be_bytes(mark.get(at..at + 8)?.try_into().ok()?));
    let found = Mark {
        publisher: word(4)?,
        number: long(8)?,
        sent: Time::from_micros(long(16)?),
    };
    let good = word(0)? == MAGIC && word(24)? == check(found);
    let whole = filler
        .chunks(8)
        .zip(words(found))
        .all(|(piece, word)| word.to_le_bytes().starts_with(piece));
    (good && whole).then_some(found)
}

fn check(mark: Mark) -> u32 {
    let mixed =
        mix(u64::from(mark.publisher) ^ mark.number.rotate_left(32) ^ mark.sent.as_micros());
    (mixed >> 32) as u32
}

/// Filler that follows from the mark.
fn words(mark: Mark) -> impl Iterator<Item = u64> {
    let start = mix(mark.number ^ u64::from(mark.publisher) << 32);
    (0_u64..).map(move |n| start.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// The finalizer of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::{CodecKind, is_key_frame};

    #[test]
    fn marks_come_back_and_nothing_else_does() {
        let mark = Mark {
            publisher: 7,
            number: 1 << 40,
            sent: Time::from_micros(123_456_789),
        };
        for (content, len) in [
            (Content::Audio, 80),
            (
                Content::Video {
                    first: true,
                    key: true,
                    picture: 77,
                    halvings: 0,
                },
                PAYLOAD_BYTES_MIN,
            ),
            (
                Content::Video {
                    first: false,
                    key: false,
                    picture: 0x7FFF,
                    halvings: 2,
                },
                1111,
            ),
        ] {
            let video = content != Content::Audio;
            let mut payload = vec![0; len];
            write(&mut payload, content, mark);
            assert_eq!(read(&payload, video), Some(mark));
            for at in content.head()..len {
                payload[at] ^= 1;
                assert_eq!(read(&payload, video), None, "byte {at} of {len}");
                payload[at] ^= 1;
            }
            assert_eq!(read(&payload[..20], video), None);
        }
    }

    #[test]
    fn video_looks_like_vp8_to_the_server() {
        for (key, first) in [(true, true), (false, true), (true, false)] {
            let mut payload = vec![0; 500];
            let content = Content::Video {
                first,
                key,
                picture: 300,
                halvings: 1,
            };
            let mark = Mark {
                publisher: 1,
                number: 2,
                sent: Time::ZERO,
            };
            write(&mut payload, content, mark);
            let seen = is_key_frame(CodecKind::Vp8, &payload, None);
            assert_eq!(seen, key && first);
        }
    }
}
