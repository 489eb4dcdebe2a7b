//! What a publisher sends, packet by packet: frames cut as a browser cuts them, audio, or a recorded stream played again.

use std::time::Duration;

use super::payload::PAYLOAD_BYTES_MIN;

/// Bytes that encryption and the RTP header of a test packet take of a datagram: 12 + 8 (one extension) + 16.
pub const OVERHEAD: u16 = 36;
/// Packets of a recording. More: the rest is not played.
pub const TRACE_PACKETS_MAX: usize = 1_000_000;
/// Time between the packets of audio.
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
/// Payload of 32 kbit/s of Opus.
const AUDIO_BYTES: u16 = 80;
/// Packets closer than this are of one frame, in a recording.
const BURST_GAP: Duration = Duration::from_micros(1500);
/// Datagrams of a recording smaller than this are audio or control.
const TRACE_VIDEO_BYTES: u16 = 300;

/// A packet to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When, from the start of the stream.
    pub at: Duration,
    /// Bytes of the payload.
    pub payload: u16,
    /// First packet of its frame.
    pub first: bool,
    /// Last packet of its frame.
    pub last: bool,
}

/// Video made up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Video {
    /// Bits per second, of datagrams.
    pub bitrate_bps: f64,
    /// Frames per second.
    pub fps: f64,
    /// Longest datagram.
    pub packet_bytes: u16,
}

impl Video {
    /// Datagrams of a frame.
    pub fn packets_per_frame(&self) -> u32 {
        let bytes = self.frame_bytes();
        bytes.div_ceil(u32::from(self.packet_bytes.max(1))).max(1)
    }

    fn frame_bytes(&self) -> u32 {
        (self.bitrate_bps / 8.0 / self.fps.max(0.1)).round() as u32
    }
}

/// Why a recording cannot be played.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A line that is not `microseconds,bytes`.
    #[error("line {line} of the recording is not `microseconds,bytes`: {text:?}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is there.
        text: String,
    },
    /// No video in it.
    #[error("the recording has no video packets (of {TRACE_VIDEO_BYTES} bytes or more)")]
    Empty,
}

/// One stream.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Video made up.
    Video(Video),
    /// Video as recorded, again and again.
    Trace(std::sync::Arc<[Due]>),
    /// Opus every 20 ms.
    Audio,
}

impl Shape {
    /// Reads a recording: lines of `microseconds,bytes` of the datagrams of one sender, `#` and a heading line aside. Its
    /// video is taken, its audio and control packets are left out.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn trace(csv: &str) -> Result<Shape, TraceError> {
        let mut packets: Vec<(Duration, u16)> = Vec::new();
        for (index, line) in csv.lines().enumerate().take(TRACE_PACKETS_MAX) {
            let text = line.trim();
            if text.is_empty() || text.starts_with('#') || text.starts_with("t_us") {
                continue;
            }
            let fields = text
                .split_once(',')
                .and_then(|(at, bytes)| Some((at.parse().ok()?, bytes.trim().parse().ok()?)));
            let Some((at, bytes)) = fields else {
                let text = text.chars().take(60).collect();
                let line = index + 1;
                return Err(TraceError::Line { line, text });
            };
            if bytes >= TRACE_VIDEO_BYTES {
                packets.push((Duration::from_micros(at), bytes));
            }
        }
        let begin = packets.first().ok_or(TraceError::Empty)?.0;
        let next = packets.iter().skip(1).map(|(at, _)| Some(*at));
        let ends: Vec<bool> = packets
            .iter()
            .zip(next.chain([None]))
            .map(|((at, _), next)| next.is_none_or(|next| next.saturating_sub(*at) > BURST_GAP))
            .collect();
        let mut first = true;
        let dues = packets.iter().zip(ends).map(|((at, bytes), last)| {
            let due = Due {
                at: at.saturating_sub(begin),
                payload: bytes.saturating_sub(OVERHEAD).max(PAYLOAD_BYTES_MIN as u16),
                first,
                last,
            };
            first = last;
            due
        });
        Ok(Shape::Trace(dues.collect()))
    }

    /// RTP clock, Hz.
    pub const fn clock_hz(&self) -> u64 {
        match self {
            Shape::Audio => 48_000,
            Shape::Video(_) | Shape::Trace(_) => 90_000,
        }
    }

    /// The same with width and height halved so many times: a quarter of the bitrate each time. Recordings and audio
    /// have one size only.
    #[must_use]
    pub fn halved(&self, times: u8) -> Shape {
        match self {
            Shape::Video(video) => Shape::Video(Video {
                bitrate_bps: video.bitrate_bps / 4_f64.powi(i32::from(times)),
                ..*video
            }),
            other => other.clone(),
        }
    }

    /// Whether it is video.
    pub const fn is_video(&self) -> bool {
        !matches!(self, Shape::Audio)
    }

    /// Packet `number` of the stream, from 0.
    pub fn due(&self, number: u64) -> Due {
        match self {
            Shape::Audio => Due {
                at: AUDIO_INTERVAL * number as u32,
                payload: AUDIO_BYTES,
                first: true,
                last: true,
            },
            Shape::Video(video) => video_due(video, number),
            Shape::Trace(dues) => {
                let len = dues.len().max(1) as u64;
                let (round, at) = (number / len, (number % len) as usize);
                let last = dues.last().map_or(Duration::ZERO, |d| d.at);
                let period = last + Duration::from_millis(33);
                let due = dues.get(at).copied();
                let due = due.unwrap_or(Due {
                    at: Duration::ZERO,
                    payload: PAYLOAD_BYTES_MIN as u16,
                    first: true,
                    last: true,
                });
                Due {
                    at: due.at + period * round as u32,
                    ..due
                }
            }
        }
    }
}

/// A frame's packets are equal to a byte, the larger ones last, as libwebrtc cuts them.
fn video_due(video: &Video, number: u64) -> Due {
    let packets = video.packets_per_frame();
    let (frame, nth) = (
        number / u64::from(packets),
        (number % u64::from(packets)) as u32,
    );
    let bytes = video.frame_bytes();
    let larger = nth >= packets - bytes % packets;
    let datagram = bytes / packets + u32::from(larger);
    Due {
        at: Duration::from_secs_f64(frame as f64 / video.fps.max(0.1)),
        payload: (datagram as u16)
            .saturating_sub(OVERHEAD)
            .max(PAYLOAD_BYTES_MIN as u16),
        first: nth == 0,
        last: nth + 1 == packets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_bitrate_and_equal_packets() {
        let video = Video {
            bitrate_bps: 2_500_000.0,
            fps: 30.0,
            packet_bytes: 1200,
        };
        let shape = Shape::Video(video);
        assert_eq!(video.packets_per_frame(), 9);
        let dues: Vec<Due> = (0..9 * 30).map(|n| shape.due(n)).collect();
        let bytes: u32 = dues.iter().map(|d| u32::from(d.payload + OVERHEAD)).sum();
        assert!(
            (bytes * 8).abs_diff(2_500_000) < 10_000,
            "{} bit/s",
            bytes * 8
        );
        assert!(dues[..9].is_sorted_by_key(|d| d.payload));
        assert!(dues[8].payload - dues[0].payload <= 1);
        assert_eq!(dues.iter().filter(|d| d.first).count(), 30);
        assert!(dues[8].last && !dues[8].first && dues[9].first);
        assert_eq!(dues[9].at, Duration::from_secs_f64(1.0 / 30.0));
    }

    #[test]
    fn frames_of_whole_packets_have_one_size() {
        let shape = Shape::Video(Video {
            bitrate_bps: 8.0 * 1200.0 * 4.0 * 25.0,
            fps: 25.0,
            packet_bytes: 1200,
        });
        assert!((0..100).all(|n| shape.due(n).payload == 1200 - OVERHEAD));
    }

    #[test]
    fn a_recording_is_played_again_and_again() {
        let csv = "# a comment\nt_us,bytes\n0,78\n1000,1000\n1100,1001\n30000,900\n30100,90\n";
        let shape = Shape::trace(csv).unwrap();
        let dues: Vec<Due> = (0..6).map(|n| shape.due(n)).collect();
        let sizes: Vec<u16> = dues.iter().map(|d| d.payload + OVERHEAD).collect();
        assert_eq!(sizes, [1000, 1001, 900, 1000, 1001, 900]);
        let ends: Vec<bool> = dues.iter().map(|d| d.last).collect();
        assert_eq!(ends, [false, true, true, false, true, true]);
        assert!(dues.is_sorted_by_key(|d| d.at));
        assert_eq!(
            Shape::trace("what,ever\n").unwrap_err().to_string(),
            "line 1 of the recording is not `microseconds,bytes`: \"what,ever\""
        );
        assert_eq!(Shape::trace("0,10\n").unwrap_err(), TraceError::Empty);
    }

    #[test]
    fn audio_comes_every_20_ms() {
        assert_eq!(Shape::Audio.due(50).at, Duration::from_secs(1));
    }
}
