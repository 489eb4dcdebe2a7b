//! Counter blocks: plain numbers owned by one core, copied out once a second.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::DropReason;
use crate::id::{RoomId, ShardId};
use crate::limits::TRAIN_DATAGRAMS_MAX;

/// Longest train of each bucket of a histogram, datagrams; the last one is as long as trains get.
pub const TRAIN_BUCKETS: [u16; 7] = [1, 2, 4, 8, 16, 32, 64];
const _: () = assert!(TRAIN_BUCKETS[TRAIN_BUCKETS.len() - 1] as usize == TRAIN_DATAGRAMS_MAX);

/// What came of sending a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams the kernel took.
    pub datagrams: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Datagrams the kernel did not take (buffer full, unreachable): lost, as on any network.
    pub refused: u64,
    /// Trains taken, by their length (see [`TRAIN_BUCKETS`]).
    pub trains: [u64; TRAIN_BUCKETS.len()],
}

impl Sent {
    /// A train of `datagrams` with `bytes` has left.
    pub fn count(&mut self, datagrams: u16, bytes: u64) {
        self.datagrams += u64::from(datagrams);
        self.bytes += bytes;
        let bucket = TRAIN_BUCKETS.iter().position(|most| datagrams <= *most);
        if let Some(count) = bucket.and_then(|at| self.trains.get_mut(at)) {
            *count += 1;
        }
    }

    /// Adds what came of some of the batch.
    pub fn add(&mut self, other: &Sent) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.refused += other.refused;
        for (count, more) in self.trains.iter_mut().zip(other.trains) {
            *count += more;
        }
    }
}

/// Longest time of each bucket of [`Forwarding`], µs; what takes longer is in none.
pub const FORWARD_BUCKETS_US: [u64; 13] = [
    25, 50, 75, 100, 150, 200, 300, 400, 700, 1_000, 2_000, 5_000, 20_000,
];

/// How long datagrams were inside the process: from the read of their batch until the kernel had the copy.
/// Read after each chunk of copies that has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Copies by the time they took (see [`FORWARD_BUCKETS_US`]).
    pub buckets: [u64; FORWARD_BUCKETS_US.len()],
    /// Copies in all.
    pub count: u64,
    /// Sum of their times, µs.
    pub sum_us: u64,
}

impl Forwarding {
    /// Adds the times of other copies.
    pub fn add(&mut self, other: &Forwarding) {
        self.count += other.count;
        self.sum_us += other.sum_us;
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count += more;
        }
    }

    /// `copies` have taken `us`.
    pub fn count(&mut self, copies: u64, us: u64) {
        self.count += copies;
        self.sum_us += copies * us;
        let bucket = FORWARD_BUCKETS_US.iter().position(|most| us <= *most);
        if let Some(count) = bucket.and_then(|at| self.buckets.get_mut(at)) {
            *count += copies;
        }
    }
}

/// Counters of one shard, all since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardCounters {
    /// Datagrams read from the socket.
    pub datagrams_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// What was written to the socket.
    pub sent: Sent,
    /// How long that took.
    pub forwarding: Forwarding,
    /// RTP packets received that were used (forwarded to at least one subscriber, or kept for retransmission).
    pub packets_used: u64,
    /// Datagrams that ended here by purpose: STUN, DTLS, RTCP.
    pub consumed: u64,
    /// RTP packets sent to subscribers, retransmissions not counted.
    pub packets_forwarded: u64,
    /// Retransmissions sent to subscribers.
    pub packets_retransmitted: u64,
    /// NACKed packets asked of publishers.
    pub nacks_sent: u64,
    /// Key frames asked of publishers.
    pub key_frames_requested: u64,
    /// Smaller encodings given to subscribers whose line was too full.
    pub encodings_lowered: u64,
    /// Larger ones tried again.
    pub encodings_raised: u64,
    /// DTLS handshakes completed.
    pub handshakes_completed: u64,
    /// DTLS handshakes failed.
    pub handshakes_failed: u64,
    /// Commands of clients refused.
    pub commands_refused: u64,
    /// Rooms closed by a fault in their code.
    pub rooms_panicked: u64,
    /// Times the shard started anew after a fault outside a room.
    pub restarts: u64,
    /// Received datagrams dropped, by `DropReason as usize`.
    pub drops_in: [u64; DropReason::COUNT],
    /// Copies not sent to a subscriber, by `DropReason as usize`.
    pub drops_out: [u64; DropReason::COUNT],
}

impl Default for ShardCounters {
    fn default() -> Self {
        Self {
            datagrams_in: 0,
            bytes_in: 0,
            sent: Sent::default(),
            forwarding: Forwarding::default(),
            packets_used: 0,
            consumed: 0,
            packets_forwarded: 0,
            packets_retransmitted: 0,
            nacks_sent: 0,
            key_frames_requested: 0,
            encodings_lowered: 0,
            encodings_raised: 0,
            handshakes_completed: 0,
            handshakes_failed: 0,
            commands_refused: 0,
            rooms_panicked: 0,
            restarts: 0,
            drops_in: [0; DropReason::COUNT],
            drops_out: [0; DropReason::COUNT],
        }
    }
}

impl ShardCounters {
    /// Counts a received datagram that went no further.
    pub fn drop_in(&mut self, reason: DropReason) {
        self.drops_in[reason as usize] += 1;
    }

    /// Counts a copy that was not sent to a subscriber.
    pub fn drop_out(&mut self, reason: DropReason) {
        self.drop_outs(reason, 1);
    }

    /// Counts `copies` that were not sent to a subscriber.
    pub fn drop_outs(&mut self, reason: DropReason, copies: u64) {
        self.drops_out[reason as usize] += copies;
    }

    /// threats.md rule 5: received = used + consumed + Σ drops.
    pub fn balanced(&self) -> bool {
        self.datagrams_in == self.packets_used + self.consumed + self.drops_in.iter().sum::<u64>()
    }
}

/// Time a shard's loop has worked, by what it did. Time in which it sleeps or looks for work is in none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Busy {
    /// Datagrams of clients, and what is sent for them.
    pub packets: Duration,
    /// Commands of signalling.
    pub commands: Duration,
    /// Timers: retries, reports, consent, figures.
    pub timers: Duration,
}

impl Busy {
    /// All of it.
    pub fn all(&self) -> Duration {
        self.packets + self.commands + self.timers
    }

    /// What has come to it since it was `earlier`.
    pub fn since(&self, earlier: &Busy) -> Busy {
        Busy {
            packets: self.packets.saturating_sub(earlier.packets),
            commands: self.commands.saturating_sub(earlier.commands),
            timers: self.timers.saturating_sub(earlier.timers),
        }
    }

    /// Share of `elapsed`, 0.0–1.0.
    pub fn ratio(&self, elapsed: Duration) -> f64 {
        // A turn counts when it ends, so a second may have a little more than itself.
        let share = self.all().as_secs_f64() / elapsed.as_secs_f64().max(1e-6);
        share.min(1.0)
    }
}

/// What a room costs its shard. Its share of the time the shard works on packets is estimated: by the datagrams it receives
/// and sends, weighted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct RoomCost {
    /// Datagrams that came from its members since it was opened.
    pub datagrams_received: u64,
    /// Media packets sent to its members since then, retransmissions included.
    pub datagrams_sent: u64,
    /// Bytes of them.
    pub bytes_sent: u64,
    /// Time of the shard's core spent on them, s, up to the last full second.
    pub busy_s: f64,
    /// Share of the core in the last second, 0.0–1.0.
    pub busy_ratio: f64,
}

/// What a shard tells once a second.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardSnapshot {
    /// Which shard.
    pub shard: ShardId,
    /// Its counters.
    pub counters: ShardCounters,
    /// Rooms it carries.
    pub rooms: u32,
    /// Members in them.
    pub members: u32,
    /// Live transports.
    pub transports: u32,
    /// Published tracks with media state.
    pub up_tracks: u32,
    /// Subscriptions with media state.
    pub down_tracks: u32,
    /// Share of the last second the loop was busy, 0.0–1.0.
    pub busy_ratio: f64,
    /// Time it has worked since its start.
    pub busy: Busy,
    /// The rooms that cost most in the last second, the costliest first; [`COSTLY_ROOMS_MAX`](crate::limits::COSTLY_ROOMS_MAX)
    /// at most.
    pub costly: Vec<(RoomId, RoomCost)>,
    /// CPU time its thread has used since it started, s, that of the kernel for it included.
    pub cpu_s: f64,
    /// How its datagrams go (`media.udp`).
    pub udp: &'static str,
}

/// What the process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessUse {
    /// CPU time since its start, that of the kernel for it included, s.
    pub cpu_s: f64,
    /// Memory that is in RAM.
    pub resident_bytes: u64,
}

/// Counters of the signalling core since its start, and sizes now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SignallingCounters {
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames that were not a message of the protocol.
    pub frames_bad: u64,
    /// Joins that became memberships.
    pub joins: u64,
    /// Joins refused for an unknown room or member, or a wrong credential.
    pub joins_rejected: u64,
    /// Sessions closed for a limit.
    pub evicted: u64,
    /// Times the core started anew after a fault.
    pub restarts: u64,
    /// Sessions open now.
    pub sessions: u64,
    /// Rooms known now.
    pub rooms: u64,
    /// Members lost now, whose media still runs.
    pub lost: u64,
}
