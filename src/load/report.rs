//! What a load has shown: stages with their counts, as a table, and as data for whoever compares runs.

use serde::Serialize;

use super::Crowd;
use super::judge::Tally;

/// What the server says of itself, from its metrics; differences over a stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ServerUse {
    /// CPU time of all shards, s.
    pub cpu_s: f64,
    /// CPU time of the process, s.
    pub process_cpu_s: f64,
    /// Memory in RAM at the end of the stage.
    pub resident_bytes: u64,
    /// RTP packets forwarded.
    pub forwarded: u64,
    /// Longest time inside the process of half of the copies, of 99 in 100, µs (bounds of a histogram).
    pub forward_us: [u64; 2],
    /// Datagrams sent.
    pub datagrams: u64,
    /// Ways through the kernel they took.
    pub trains: u64,
    /// Busiest shard at the end of the stage, 0.0 to 1.0.
    pub busy: f64,
    /// Buckets of the time inside the process: most µs, copies that took no longer.
    #[serde(skip)]
    pub forward_buckets: Vec<(u64, u64)>,
}

impl ServerUse {
    /// What was used since `earlier`.
    pub fn since(self, earlier: &ServerUse) -> ServerUse {
        let old = earlier.forward_buckets.iter();
        let buckets: Vec<(u64, u64)> = self
            .forward_buckets
            .iter()
            .zip(old)
            .map(|((us, new), (_, old))| (*us, new.saturating_sub(*old)))
            .collect();
        let all = buckets.last().map_or(0, |(_, count)| *count);
        let within = |share: f64| {
            let wanted = (all as f64 * share) as u64;
            let bucket = buckets.iter().find(|(_, count)| *count >= wanted);
            bucket.map_or(0, |(us, _)| *us)
        };
        ServerUse {
            cpu_s: self.cpu_s - earlier.cpu_s,
            process_cpu_s: self.process_cpu_s - earlier.process_cpu_s,
            forwarded: self.forwarded.saturating_sub(earlier.forwarded),
            datagrams: self.datagrams.saturating_sub(earlier.datagrams),
            trains: self.trains.saturating_sub(earlier.trains),
            forward_us: [within(0.5), within(0.99)],
            resident_bytes: self.resident_bytes,
            busy: self.busy,
            forward_buckets: buckets,
        }
    }
}

/// One stage at one pace.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// How much faster than their shapes the streams went.
    pub pace: f64,
    /// How long, s.
    pub seconds: f64,
    /// Media packets sent by publishers.
    pub sent: u64,
    /// What subscribers counted.
    pub tally: Tally,
    /// Packets the generator left out because it was late: then it was the bottleneck.
    pub skipped: u64,
    /// Samples decrypted and looked at.
    pub checked: u64,
    /// Samples that were not what was sent.
    pub spoilt: u64,
    /// One-way latency of samples, µs: half of them, 99 in 100, 999 in 1000.
    pub latency_us: [u64; 3],
    /// CPU time of the generator, s.
    pub generator_cpu_s: f64,
    /// The server, if it has metrics.
    pub server: Option<ServerUse>,
}

impl Stage {
    /// Packets received per second.
    pub fn received_per_s(&self) -> f64 {
        self.tally.received as f64 / self.seconds.max(0.001)
    }

    /// Copies the server forwarded per second of CPU time of its shards, which is read in the same instant. If it does not
    /// count them: copies received, and the CPU time of its process.
    pub fn per_cpu_s(&self) -> Option<f64> {
        let server = self.server.as_ref()?;
        let copies = match server.forwarded {
            0 => self.tally.received,
            forwarded => forwarded,
        };
        let cpu_s = match server.cpu_s > 0.0 {
            true => server.cpu_s,
            false => server.process_cpu_s,
        };
        (cpu_s > 0.0).then(|| copies as f64 / cpu_s)
    }
}

/// A whole load.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was loaded.
    pub server: String,
    /// Who was there.
    pub crowd: Crowd,
    /// What was sent, in words.
    pub shape: String,
    /// Clients whose connection came about.
    pub connected: usize,
    /// From the first join to the last connection, s.
    pub joined_in_s: f64,
    /// Stages.
    pub stages: Vec<Stage>,
    /// Why it ended.
    pub ended: String,
}

const HEADINGS: [&str; 9] = [
    "pace",
    "sent/s",
    "received/s",
    "lost",
    "late",
    "p50 ms",
    "p99 ms",
    "per CPU s",
    "train",
];

impl Report {
    /// The stages as a table of text, 80 columns at most.
    pub fn table(&self) -> String {
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        rows.extend(self.stages.iter().map(row));
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(String::len).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
        let mut out = String::new();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(c, w)| format!("{c:>w$}"));
            out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            out.push('\n');
        }
        out
    }
}

fn row(stage: &Stage) -> [String; HEADINGS.len()] {
    let [p50, p99, _] = stage.latency_us.map(|us| us as f64 / 1000.0);
    let server = stage.server.as_ref().filter(|s| s.trains > 0);
    [
        format!("{:.2}", stage.pace),
        format!("{:.0}", stage.sent as f64 / stage.seconds.max(0.001)),
        format!("{:.0}", stage.received_per_s()),
        format!("{:.3}%", stage.tally.loss() * 100.0),
        stage.tally.late.to_string(),
        format!("{p50:.2}"),
        format!("{p99:.2}"),
        stage
            .per_cpu_s()
            .map_or("-".to_owned(), |n| format!("{n:.0}")),
        server.map_or("-".to_owned(), |s| {
            format!("{:.1}", s.datagrams as f64 / s.trains as f64)
        }),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn report() -> Report {
        let stage = |pace| Stage {
            pace,
            seconds: 2.0,
            sent: 1000,
            tally: Tally {
                streams: 32,
                received: 31_990,
                lost: 10,
                late: 1,
            },
            skipped: 0,
            checked: 500,
            spoilt: 0,
            latency_us: [120, 800, 1500],
            generator_cpu_s: 0.5,
            server: Some(ServerUse {
                cpu_s: 0.05,
                process_cpu_s: 0.06,
                forwarded: 32_000,
                resident_bytes: 1 << 25,
                forward_us: [50, 200],
                datagrams: 32_000,
                trains: 8000,
                busy: 0.4,
                forward_buckets: Vec::new(),
            }),
        };
        Report {
            server: "ws://127.0.0.1:8080/ws".to_owned(),
            crowd: Crowd {
                rooms: 1,
                publishers: 1,
                subscribers: 32,
                all_to_all: false,
            },
            shape: "video <2.5> Mbit/s".to_owned(),
            connected: 33,
            joined_in_s: 0.2,
            stages: vec![stage(1.0), stage(2.0)],
            ended: "all stages are done".to_owned(),
        }
    }

    #[test]
    fn the_table_says_what_was_measured() {
        let table = report().table();
        let line = table.lines().nth(1).unwrap();
        for word in [
            "1.00", "500", "15995", "0.031%", "0.12", "0.80", "640000", "4.0",
        ] {
            assert!(line.contains(word), "{word}: {table}");
        }
        assert!(table.lines().all(|l| l.len() <= 80), "{table}");
    }
}
