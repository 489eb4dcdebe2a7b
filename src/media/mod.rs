//! Media of published and subscribed tracks, without transport: what to forward, how it looks, what to ask for again.
//!
//! [`UpTrack`] takes a publisher's packets in, [`DownTrack`] decides per subscriber. One packet's way, as the shard
//! drives it: `up.handle_rtp` → for each subscriber `down.forward` → `down.write_packet` into a slot → seal.
//! Everything is a state machine over `now`; no IO, no randomness, no allocation per packet.

pub mod adaptation;
pub mod cache;
pub mod clock;
pub mod down_track;
pub mod fields;
pub mod key_frame;
pub mod munger;
pub mod nack;
pub mod rate;
pub mod receive_stats;
pub mod resend;
pub mod rewrite;
pub mod sequence;
pub mod up_track;

#[cfg(test)]
mod tests;

pub use cache::CachedPacket;
pub use clock::PublisherClock;
pub use down_track::{
    DownCodec, DownNegotiated, DownTrack, DownTrackConfig, DownTrackStats, Stamp, Written,
};
pub use fields::{PacketFields, SourceId};
pub use rate::Rates;
pub use rewrite::Rewrite;
pub use up_track::{Received, UpCodec, UpTrack, UpTrackConfig, UpTrackStats};
