//! Metrics as OpenMetrics text. Counters are copies of the cores' own, so they are encoded, not counted, here.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::control::Control;
use crate::error::DropReason;
use crate::metrics::{
    Busy, FORWARD_BUCKETS_US, ProcessUse, RoomCost, ShardCounters, ShardSnapshot,
    SignallingCounters, TRAIN_BUCKETS,
};

type Read<S, T> = (&'static str, &'static str, fn(&S) -> T);

const SHARD_COUNTERS: &[Read<ShardCounters, u64>] = &[
    ("datagrams_in", "Datagrams read from the socket", |c| {
        c.datagrams_in
    }),
    ("bytes_in", "Bytes read from the socket", |c| c.bytes_in),
    ("datagrams_out", "Datagrams written to the socket", |c| {
        c.sent.datagrams
    }),
    ("bytes_out", "Bytes written to the socket", |c| c.sent.bytes),
    (
        "datagrams_refused",
        "Datagrams the kernel did not take",
        |c| c.sent.refused,
    ),
    ("packets_used", "RTP packets received that were used", |c| {
        c.packets_used
    }),
    ("consumed", "STUN, DTLS and RTCP datagrams used", |c| {
        c.consumed
    }),
    (
        "packets_forwarded",
        "RTP packets sent to subscribers",
        |c| c.packets_forwarded,
    ),
    (
        "packets_retransmitted",
        "Retransmissions sent to subscribers",
        |c| c.packets_retransmitted,
    ),
    ("nacks_sent", "Lost packets asked of publishers", |c| {
        c.nacks_sent
    }),
    (
        "key_frames_requested",
        "Key frames asked of publishers",
        |c| c.key_frames_requested,
    ),
    (
        "encodings_lowered",
        "Smaller encodings given to subscribers whose line was too full",
        |c| c.encodings_lowered,
    ),
    (
        "encodings_raised",
        "Larger encodings tried for subscribers whose line was free again",
        |c| c.encodings_raised,
    ),
    ("handshakes_completed", "DTLS handshakes completed", |c| {
        c.handshakes_completed
    }),
    ("handshakes_failed", "DTLS handshakes failed", |c| {
        c.handshakes_failed
    }),
    ("commands_refused", "Commands of clients refused", |c| {
        c.commands_refused
    }),
    (
        "rooms_panicked",
        "Rooms closed by a fault in their code",
        |c| c.rooms_panicked,
    ),
    (
        "restarts",
        "Times the shard started anew after a fault outside a room",
        |c| c.restarts,
    ),
];

const SHARD_GAUGES: &[Read<ShardSnapshot, f64>] = &[
    ("rooms", "Rooms", |s| f64::from(s.rooms)),
    ("members", "Members", |s| f64::from(s.members)),
    ("transports", "Live transports", |s| f64::from(s.transports)),
    ("up_tracks", "Published tracks with media state", |s| {
        f64::from(s.up_tracks)
    }),
    ("down_tracks", "Subscriptions with media state", |s| {
        f64::from(s.down_tracks)
    }),
    (
        "busy_ratio",
        "Share of the last second the loop worked",
        |s| s.busy_ratio,
    ),
];

/// Of the costliest rooms only, which are others from second to second: gauges, even where they only grow.
const ROOM_GAUGES: &[Read<RoomCost, f64>] = &[
    (
        "busy_ratio",
        "Share of its shard's core in the last second, estimated; of the costliest rooms",
        |c| c.busy_ratio,
    ),
    (
        "busy_seconds",
        "Time of its shard's core since it was opened, estimated",
        |c| c.busy_s,
    ),
    (
        "datagrams_received",
        "Datagrams that came from its members since it was opened",
        |c| c.datagrams_received as f64,
    ),
    (
        "datagrams_sent",
        "Media packets sent to its members since it was opened",
        |c| c.datagrams_sent as f64,
    ),
    (
        "bytes_sent",
        "Bytes of media sent to its members since it was opened",
        |c| c.bytes_sent as f64,
    ),
];

/// What a loop does, and how long it has.
type BusyPart = (&'static str, fn(&Busy) -> Duration);

const BUSY_PARTS: &[BusyPart] = &[
    ("packets", |b| b.packets),
    ("commands", |b| b.commands),
    ("timers", |b| b.timers),
];

const SIGNALLING_COUNTERS: &[Read<SignallingCounters, u64>] = &[
    ("sessions_opened", "Sessions opened", |c| c.sessions_opened),
    ("frames_in", "Frames received", |c| c.frames_in),
    (
        "frames_bad",
        "Frames that were no message of the protocol",
        |c| c.frames_bad,
    ),
    ("joins", "Joins that became memberships", |c| c.joins),
    ("joins_rejected", "Joins refused", |c| c.joins_rejected),
    ("evicted", "Sessions closed for a limit", |c| c.evicted),
    (
        "restarts",
        "Times the signalling core started anew after a fault",
        |c| c.restarts,
    ),
];

const SIGNALLING_GAUGES: &[Read<SignallingCounters, u64>] = &[
    ("sessions", "Sessions open", |c| c.sessions),
    ("rooms", "Rooms known", |c| c.rooms),
    ("lost", "Members lost whose media still runs", |c| c.lost),
];

impl Control {
    /// `GET /metrics`: OpenMetrics 1.0 text.
    pub fn metrics(&self, process: ProcessUse) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(View {
            shards: self.shards.values().map(|(_, s)| s.clone()).collect(),
            signalling: self.signalling,
            process,
        }));
        let mut out = String::new();
        match text::encode(&mut out, &registry) {
            Ok(()) => out,
            // Writing to a String does not fail; a broken label would.
            Err(error) => format!("# metrics cannot be encoded: {error}\n# EOF\n"),
        }
    }
}

#[derive(Debug)]
struct View {
    shards: Vec<ShardSnapshot>,
    signalling: SignallingCounters,
    process: ProcessUse,
}

impl Collector for View {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.encode_process(&mut encoder)?;
        for (name, help, read) in SHARD_COUNTERS {
            let name = format!("colchis_shard_{name}");
            let kind = ConstCounter::new(0_u64).metric_type();
            let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
            for shard in &self.shards {
                let labels = [("shard", shard.shard.to_string())];
                ConstCounter::new(read(&shard.counters)).encode(family.encode_family(&labels)?)?;
            }
        }
        self.encode_drops(&mut encoder)?;
        self.encode_trains(&mut encoder)?;
        self.encode_forwarding(&mut encoder)?;
        self.encode_ways(&mut encoder)?;
        self.encode_cpu(&mut encoder)?;
        self.encode_busy(&mut encoder)?;
        self.encode_rooms(&mut encoder)?;
        for (name, help, read) in SHARD_GAUGES {
            let name = format!("colchis_shard_{name}");
            let kind = ConstGauge::new(0_f64).metric_type();
            let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
            for shard in &self.shards {
                let labels = [("shard", shard.shard.to_string())];
                ConstGauge::new(read(shard)).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, read) in SIGNALLING_COUNTERS {
            let name = format!("colchis_signalling_{name}");
            let metric = ConstCounter::new(read(&self.signalling));
            let value = encoder.encode_descriptor(&name, help, None, metric.metric_type())?;
            metric.encode(value)?;
        }
        for (name, help, read) in SIGNALLING_GAUGES {
            let name = format!("colchis_signalling_{name}");
            let metric = ConstGauge::new(read(&self.signalling) as i64);
            let value = encoder.encode_descriptor(&name, help, None, metric.metric_type())?;
            metric.encode(value)?;
        }
        Ok(())
    }
}

/// Which of its two blocks of drops a shard's counters are asked for.
type ReadDrops = fn(&ShardCounters) -> &[u64; DropReason::COUNT];

impl View {
    fn encode_forwarding(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "colchis_shard_forward_seconds",
            "Time datagrams were inside the process: from the read of their batch until the kernel had their copies",
            None,
            MetricType::Histogram,
        )?;
        for shard in &self.shards {
            let forwarding = &shard.counters.forwarding;
            let bounds = FORWARD_BUCKETS_US.iter().map(|us| *us as f64 / 1e6);
            let mut buckets: Vec<(f64, u64)> = bounds.zip(forwarding.buckets).collect();
            let within: u64 = forwarding.buckets.iter().sum();
            buckets.push((f64::MAX, forwarding.count - within));
            let labels = [("shard", shard.shard.to_string())];
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(
                    forwarding.sum_us as f64 / 1e6,
                    forwarding.count,
                    &buckets,
                    None,
                )?;
        }
        Ok(())
    }

    /// By the names that dashboards know.
    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let cpu = ConstCounter::new(self.process.cpu_s);
        let help = "CPU time of the process, that of the kernel for it included";
        let kind = cpu.metric_type();
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)?;
        let memory = ConstGauge::new(self.process.resident_bytes as i64);
        let (name, help) = ("process_resident_memory_bytes", "Memory in RAM");
        let kind = memory.metric_type();
        memory.encode(encoder.encode_descriptor(name, help, None, kind)?)
    }

    fn encode_ways(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "How the shard's datagrams go to the kernel and back";
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut family = encoder.encode_descriptor("colchis_udp_way_info", help, None, kind)?;
        for shard in &self.shards {
            let labels = [
                ("shard", shard.shard.to_string()),
                ("way", shard.udp.to_owned()),
            ];
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_cpu(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "CPU time of the shard's thread, that of the kernel for it included";
        let kind = ConstCounter::new(0_f64).metric_type();
        let mut family =
            encoder.encode_descriptor("colchis_shard_cpu_seconds", help, None, kind)?;
        for shard in &self.shards {
            let labels = [("shard", shard.shard.to_string())];
            ConstCounter::new(shard.cpu_s).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_busy(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Time the shard's loop worked, by what it did; sleeping and looking for work are not in it";
        let kind = ConstCounter::new(0_f64).metric_type();
        let mut family =
            encoder.encode_descriptor("colchis_shard_busy_seconds", help, None, kind)?;
        for shard in &self.shards {
            for (work, read) in BUSY_PARTS {
                let labels = [
                    ("shard", shard.shard.to_string()),
                    ("work", (*work).to_owned()),
                ];
                let value = ConstCounter::new(read(&shard.busy).as_secs_f64());
                value.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_rooms(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, read) in ROOM_GAUGES {
            let name = format!("colchis_room_{name}");
            let kind = ConstGauge::new(0_f64).metric_type();
            let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
            for shard in &self.shards {
                for (room, cost) in &shard.costly {
                    let labels = [
                        ("shard", shard.shard.to_string()),
                        ("room", room.to_string()),
                    ];
                    ConstGauge::new(read(cost)).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn encode_trains(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "colchis_shard_train_datagrams",
            "Datagrams that left together, by one way through the kernel",
            None,
            MetricType::Histogram,
        )?;
        for shard in &self.shards {
            let sent = &shard.counters.sent;
            let bounds = TRAIN_BUCKETS.iter().map(|most| f64::from(*most));
            let mut buckets: Vec<(f64, u64)> = bounds.zip(sent.trains).collect();
            // The format wants a bucket without a bound.
            buckets.push((f64::MAX, 0));
            let labels = [("shard", shard.shard.to_string())];
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(
                    sent.datagrams as f64,
                    sent.trains.iter().sum(),
                    &buckets,
                    None,
                )?;
        }
        Ok(())
    }

    fn encode_drops(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let tables: [(&str, &str, ReadDrops); 2] = [
            (
                "colchis_shard_drops_in",
                "Received datagrams that went no further",
                |c| &c.drops_in,
            ),
            (
                "colchis_shard_drops_out",
                "Copies not sent to a subscriber",
                |c| &c.drops_out,
            ),
        ];
        for (name, help, read) in tables {
            let kind = ConstCounter::new(0_u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for shard in &self.shards {
                let counts = read(&shard.counters);
                for (reason, count) in DropReason::ALL.iter().zip(counts) {
                    let labels = [
                        ("shard", shard.shard.to_string()),
                        ("reason", reason.label().to_owned()),
                    ];
                    ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
