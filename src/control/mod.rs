//! The control core as a state machine: health, readiness, metrics.
//!
//! Reports of the other cores come in, texts go out; `io` serves them on the private listener. Invariant: one
//! snapshot per shard, the newest.

pub mod error;
pub mod fid;
pub mod guest;
pub mod prometheus;
pub mod secret;
pub mod spec;
pub mod store;
pub mod token;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::id::ShardId;
use crate::metrics::{ShardSnapshot, SignallingCounters};
use crate::time::Time;

/// A shard that has not reported for this long is not ready. Shards report every second.
pub const SHARD_SILENT: Duration = Duration::from_secs(5);

/// What the control core knows of the others.
#[derive(Debug, Default)]
pub struct Control {
    shards_expected: usize,
    shards: BTreeMap<ShardId, (Time, ShardSnapshot)>,
    signalling: SignallingCounters,
    stopping: bool,
    draining: bool,
}

/// A shard in `GET /v1/shards`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ShardView {
    /// Its number.
    #[schema(value_type = u16)]
    pub id: ShardId,
    /// Rooms it carries.
    pub rooms: u32,
    /// Members in them.
    pub members: u32,
    /// Live transports.
    pub transports: u32,
    /// Published tracks.
    pub up_tracks: u32,
    /// Subscriptions.
    pub down_tracks: u32,
    /// Share of the last second its loop worked, 0.0–1.0.
    pub busy_ratio: f64,
    /// Age of these figures, ms.
    pub age_ms: u64,
}

impl Control {
    /// Knows nothing yet of `shards` shards.
    pub fn new(shards: usize) -> Self {
        Self {
            shards_expected: shards,
            ..Self::default()
        }
    }

    /// A shard's report.
    pub fn handle_shard(&mut self, now: Time, snapshot: ShardSnapshot) {
        self.shards.insert(snapshot.shard, (now, snapshot));
    }

    /// Signalling's report.
    pub fn handle_signalling(&mut self, counters: SignallingCounters) {
        self.signalling = counters;
    }

    /// The server is going down: no longer ready.
    pub fn handle_stop(&mut self) {
        self.stopping = true;
    }

    /// No new members are let in, or they are again.
    pub fn handle_drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Why the server should get no new clients; `None`: it should.
    pub fn not_ready(&self, now: Time) -> Option<String> {
        if self.stopping {
            return Some("the server is going down".to_owned());
        }
        if self.draining {
            return Some("the server is draining: it lets no new members in".to_owned());
        }
        if self.shards.len() < self.shards_expected {
            let missing = self.shards_expected - self.shards.len();
            return Some(format!("{missing} shards have not reported yet"));
        }
        let silent = self
            .shards
            .iter()
            .find(|(_, (at, _))| now.since(*at) > SHARD_SILENT);
        silent.map(|(id, (at, _))| {
            format!(
                "shard {id} has been silent for {} s",
                now.since(*at).as_secs()
            )
        })
    }

    /// `GET /v1/shards`.
    pub fn shards(&self, now: Time) -> Vec<ShardView> {
        let view = |(id, (at, s)): (&ShardId, &(Time, ShardSnapshot))| ShardView {
            id: *id,
            rooms: s.rooms,
            members: s.members,
            transports: s.transports,
            up_tracks: s.up_tracks,
            down_tracks: s.down_tracks,
            busy_ratio: s.busy_ratio,
            age_ms: now.since(*at).as_millis() as u64,
        };
        self.shards.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RoomId;
    use crate::metrics::{RoomCost, ShardCounters};

    fn snapshot(shard: u16) -> ShardSnapshot {
        ShardSnapshot {
            shard: ShardId(shard),
            counters: ShardCounters::default(),
            rooms: 1,
            members: 2,
            transports: 2,
            up_tracks: 3,
            down_tracks: 4,
            busy_ratio: 0.5,
            busy: crate::metrics::Busy::default(),
            costly: Vec::new(),
            cpu_s: 0.0,
            udp: "trains",
        }
    }

    #[test]
    fn ready_when_every_shard_reports() {
        let mut control = Control::new(2);
        let at = Time::from_millis(1000);
        control.handle_shard(at, snapshot(0));
        assert_eq!(
            control.not_ready(at).unwrap(),
            "1 shards have not reported yet"
        );
        control.handle_shard(at, snapshot(1));
        assert_eq!(control.not_ready(at), None);
        let late = at + SHARD_SILENT + Duration::from_secs(1);
        assert!(control.not_ready(late).unwrap().contains("shard 0"));
        control.handle_stop();
        assert!(control.not_ready(at).unwrap().contains("going down"));
    }

    #[test]
    fn metrics_name_every_counter_and_drop_reason() {
        let mut control = Control::new(1);
        let mut s = snapshot(0);
        s.counters.drop_in(crate::error::DropReason::SrtpReplay);
        control.handle_shard(Time::ZERO, s);
        let text = control.metrics(crate::metrics::ProcessUse::default());
        assert!(
            text.contains(r#"colchis_shard_drops_in_total{shard="0",reason="srtp_replay"} 1"#),
            "{text}"
        );
        for reason in crate::error::DropReason::ALL {
            assert!(text.contains(reason.label()), "{}", reason.label());
        }
        assert!(text.contains(r#"colchis_shard_busy_ratio{shard="0"} 0.5"#));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn metrics_tell_what_the_loop_did_and_which_rooms_cost_most() {
        let mut control = Control::new(1);
        let mut s = snapshot(0);
        s.busy.packets = Duration::from_millis(1500);
        s.busy.timers = Duration::from_millis(250);
        let cost = RoomCost {
            datagrams_received: 10,
            datagrams_sent: 90,
            bytes_sent: 90_000,
            busy_s: 1.25,
            busy_ratio: 0.4,
        };
        // A name that whoever opens a room may choose.
        s.costly = vec![(RoomId::new("a \"quoted\" room").unwrap(), cost)];
        control.handle_shard(Time::ZERO, s);
        let text = control.metrics(crate::metrics::ProcessUse::default());
        for line in [
            r#"colchis_shard_busy_seconds_total{shard="0",work="packets"} 1.5"#,
            r#"colchis_shard_busy_seconds_total{shard="0",work="commands"} 0.0"#,
            r#"colchis_shard_busy_seconds_total{shard="0",work="timers"} 0.25"#,
            r#"colchis_room_busy_ratio{shard="0",room="a \"quoted\" room"} 0.4"#,
            r#"colchis_room_busy_seconds{shard="0",room="a \"quoted\" room"} 1.25"#,
            r#"colchis_room_datagrams_received{shard="0",room="a \"quoted\" room"} 10.0"#,
            r#"colchis_room_datagrams_sent{shard="0",room="a \"quoted\" room"} 90.0"#,
            r#"colchis_room_bytes_sent{shard="0",room="a \"quoted\" room"} 90000.0"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}
