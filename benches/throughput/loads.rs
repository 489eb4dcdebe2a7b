//! The reference loads.

use serde_json::{Value, json};

use crate::sfu::Subject;
use crate::{bare, janus, sfu};

/// Share of its core a saturated shard is driven to: more, and packets queue up and make longer trains.
const SATURATED: f64 = 0.85;
/// The goal for the time inside the process is set at this share.
const BUSY: f64 = 0.70;
/// Length of what is measured.
pub const STAGE_S: f64 = 6.0;

/// One load.
pub struct Load {
    pub name: &'static str,
    /// Options of `colchis load`.
    args: Vec<String>,
    /// More of `[media]`.
    media: &'static str,
    fan_out: usize,
    /// Packets of a frame, where the bare limit is measured beside it.
    train: Option<usize>,
    /// Frames per second at pace 1.
    fps: f64,
    /// Go so fast that the shard is busy for this share of its core.
    busy: Option<f64>,
    /// Against Janus.
    janus: bool,
}

impl Load {
    fn new(name: &'static str, args: &str) -> Load {
        Load {
            name,
            args: args.split(' ').map(str::to_owned).collect(),
            media: "",
            fan_out: 0,
            train: None,
            fps: 0.0,
            busy: None,
            janus: false,
        }
    }

    /// Frames of `train` packets of 1200 bytes to `fan_out`.
    pub fn frames(name: &'static str, fan_out: usize, train: usize, fps: f64) -> Load {
        let kbps = train as f64 * 1200.0 * 8.0 * fps / 1000.0;
        let args = format!("--no-audio --subscribers {fan_out} --video-kbps {kbps} --fps {fps}");
        Load {
            fan_out,
            train: Some(train),
            fps,
            ..Load::new(name, &args)
        }
    }

    fn without_bare(self) -> Load {
        Load {
            train: None,
            ..self
        }
    }

    /// Goes so fast that the shard is busy for `share` of its core.
    pub fn at_busy(self, share: f64) -> Load {
        Load {
            busy: Some(share),
            ..self
        }
    }

    /// One stage of `colchis load`.
    pub fn measure(&self, subject: &Subject, pace: f64, seconds: f64) -> Result<Value, String> {
        let mut args = self.args.clone();
        let more = [
            ("--pace", pace.to_string()),
            ("--stage-s", seconds.to_string()),
            ("--sample-every", "256".to_owned()),
        ];
        args.extend(more.into_iter().flat_map(|(n, v)| [n.to_owned(), v]));
        let report = if self.janus {
            janus::measure(&args).ok_or("Janus is not installed")??
        } else {
            sfu::measure(subject, self.media, &args)?
        };
        let stages = report["stages"].as_array();
        let stage = stages.and_then(|s| s.last()).cloned();
        stage.ok_or("no stage".to_owned())
    }

    /// How fast it goes.
    pub fn pace(&self, subject: &Subject) -> Result<f64, String> {
        let mut pace = 1.0;
        let Some(busy) = self.busy else {
            return Ok(pace);
        };
        // Twice nearer to the goal: a busier shard has longer trains and costs less for each packet.
        for _ in 0..2 {
            let stage = self.measure(&subject.unwatched(), pace, 3.0)?;
            let used = stage["server"]["cpu_s"].as_f64().unwrap_or(0.0);
            let seconds = stage["seconds"].as_f64().unwrap_or(1.0);
            pace *= busy / (used / seconds).max(0.001);
        }
        Ok(pace)
    }

    /// Runs it; what came of it as JSON.
    pub fn run(&self, subject: &Subject) -> Result<Value, String> {
        let pace = self.pace(subject)?;
        let stage = self.measure(subject, pace, STAGE_S)?;
        // Whoever looks at a profile does not look at figures: a profiler slows the shard down.
        let bare = self
            .train
            .filter(|_| subject.profile.is_none())
            .map(|train| bare::measure(self.fan_out, train, self.fps * pace, STAGE_S));
        Ok(
            json!({"name": self.name, "pace": pace, "fan_out": self.fan_out, "stage": stage, "bare": bare}),
        )
    }
}

/// Those whose names begin with `only`, or the one that is named exactly so.
pub fn chosen(only: &str) -> Vec<Load> {
    let exact = all().iter().any(|load| load.name == only);
    let mut loads = all();
    loads.retain(|load| match exact {
        true => load.name == only,
        false => load.name.starts_with(only),
    });
    loads
}

/// All of them.
fn all() -> Vec<Load> {
    let trace = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benches/data/chromium-2.7mbps.csv"
    );
    vec![
        Load::frames("1→32, trains of 8", 32, 8, 500.0).at_busy(SATURATED),
        Load::frames("1→32, trains of 4", 32, 4, 500.0).at_busy(SATURATED),
        Load::frames("1→32, trains of 1", 32, 1, 1000.0).at_busy(SATURATED),
        Load::frames("1→32, trains of 8, at 70 %", 32, 8, 500.0)
            .at_busy(BUSY)
            .without_bare(),
        Load::frames("1→32, trains of 4, at 70 %", 32, 4, 500.0)
            .at_busy(BUSY)
            .without_bare(),
        Load::frames("1→32, trains of 1, at 70 %", 32, 1, 1000.0)
            .at_busy(BUSY)
            .without_bare(),
        Load::new(
            "1→32, Chromium 2.7 Mbit/s replayed",
            &format!("--no-audio --subscribers 32 --trace {trace}"),
        ),
        Load::new(
            "1→32, video of 2.5 Mbit/s and audio",
            "--subscribers 32 --video-kbps 2500",
        ),
        Load {
            media: "equalize = false",
            ..Load::new(
                "1→32, Chromium replayed, not padded",
                &format!("--no-audio --subscribers 32 --trace {trace}"),
            )
        },
        Load::frames("1→100, 125 packets/s", 100, 1, 125.0),
        Load {
            media: "udp = \"uring\"",
            ..Load::frames("1→100, 125 packets/s, by io_uring", 100, 1, 125.0)
        }
        .without_bare(),
        Load {
            janus: true,
            ..Load::frames("Janus: 1→100, 125 packets/s", 100, 1, 125.0)
        }
        .without_bare(),
        Load::frames("1→500, trains of 4", 500, 4, 30.0),
        Load::new(
            "1→500, audio only",
            "--subscribers 500 --video-kbps 0 --joins-per-s 150",
        ),
        Load::new(
            "10 rooms × 10 all to all",
            "--rooms 10 --publishers 10 --subscribers 0 --all-to-all --video-kbps 300 --fps 15",
        ),
        Load::new(
            "20 rooms × 1→100, 125 packets/s",
            "--rooms 20 --no-audio --subscribers 100 --video-kbps 300 --fps 31.25 --joins-per-s 150",
        ),
    ]
}
