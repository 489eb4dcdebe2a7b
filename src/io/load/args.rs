//! Options of `colchis load`, and the plan they make.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::LoadError;
use crate::load::Crowd;
use crate::load::report::Stage;
use crate::load::shape::{Shape, Video};

/// Clients of one load.
const CLIENTS_MAX: usize = 20_000;

/// One subscriber in so many is heard, where most are not.
const HEARD: usize = 32;

/// Options of `colchis load`.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// Signalling address of the server: ws:// and the address of its public listener.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/ws")]
    server: String,
    /// Its private listener: rooms are made and metrics read there.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    control: String,
    /// Its `private.api_key`, if it has one.
    #[arg(
        long,
        value_name = "KEY",
        env = "COLCHIS_API_KEY",
        hide_env_values = true
    )]
    key: Option<String>,
    /// Load a Janus gateway (1.x) instead, by its videoroom: ws:// and the address of its WebSocket transport.
    #[arg(long, value_name = "URL", conflicts_with_all = ["server", "control"])]
    janus: Option<String>,
    /// Process of that Janus: its CPU time and memory are read from /proc.
    #[arg(long, value_name = "PID", requires = "janus")]
    server_pid: Option<u32>,
    /// Rooms.
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: usize,
    /// Publishers in each room.
    #[arg(long, value_name = "N", default_value_t = 1)]
    publishers: usize,
    /// Subscribers in each room that send nothing.
    #[arg(long, value_name = "N", default_value_t = 10)]
    subscribers: usize,
    /// Publishers receive each other too: a conference.
    #[arg(long)]
    all_to_all: bool,
    /// Bitrate of each publisher's video; 0: no video.
    #[arg(long, value_name = "KBIT/S", default_value_t = 2500.0)]
    video_kbps: f64,
    /// Frames per second of it.
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    fps: f64,
    /// Longest datagram of it.
    #[arg(long, value_name = "BYTES", default_value_t = 1200, value_parser = clap::value_parser!(u16).range(200..=1400))]
    packet_bytes: u16,
    /// Video as recorded instead: a file with lines of `microseconds,bytes`.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Send video in three encodings: that one, and two with half and a quarter of its width and height.
    #[arg(long, conflicts_with = "trace")]
    simulcast: bool,
    /// No audio.
    #[arg(long)]
    no_audio: bool,
    /// How much faster than that streams go.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pace: f64,
    /// Go faster by this factor, stage by stage, until a bound breaks.
    #[arg(long, value_name = "FACTOR", num_args = 0..=1, default_missing_value = "1.25")]
    ramp: Option<f64>,
    /// Length of a stage.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    stage_s: f64,
    /// Bound: share of packets lost.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    max_loss: f64,
    /// Bound: one-way latency of 99 in 100 packets.
    #[arg(long, value_name = "MS", default_value_t = 50.0)]
    max_p99_ms: f64,
    /// Decrypt and check one packet in so many.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    sample_every: u16,
    /// Joins per second. A server admits 200 handshakes per second and shard.
    #[arg(long, value_name = "N", default_value_t = 100.0)]
    joins_per_s: f64,
    /// Address the clients' sockets are bound to.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0")]
    bind: IpAddr,
    /// Bind all subscribers but one in 32 to this address, for benches that throw away what goes there.
    #[arg(long, value_name = "ADDR", hide = true)]
    unheard_bind: Option<IpAddr>,
    /// Write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the result as a page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A load that can be run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub server: String,
    /// The server is a Janus.
    pub janus: bool,
    pub server_pid: Option<u32>,
    pub control: String,
    pub key: Option<String>,
    pub crowd: Crowd,
    /// What each publisher sends.
    pub shapes: Vec<Shape>,
    /// Video in three encodings.
    pub simulcast: bool,
    pub pace: f64,
    pub ramp: Option<f64>,
    pub stage: Duration,
    max_loss: f64,
    max_p99_us: u64,
    pub sample_every: u16,
    pub joins_per_s: f64,
    bind: IpAddr,
    unheard_bind: Option<IpAddr>,
    pub json: Option<PathBuf>,
    pub html: Option<PathBuf>,
}

impl LoadArgs {
    /// Checks the options.
    pub fn plan(&self) -> Result<Plan, LoadError> {
        let wrong = |text: String| Err(LoadError::Options(text));
        let crowd = Crowd {
            rooms: self.rooms,
            publishers: self.publishers,
            subscribers: self.subscribers,
            all_to_all: self.all_to_all,
        };
        if self.rooms == 0 || self.publishers == 0 || crowd.clients() > CLIENTS_MAX {
            return wrong(format!(
                "--rooms {} with --publishers {} and --subscribers {}: one of each at least, {CLIENTS_MAX} clients at most",
                self.rooms, self.publishers, self.subscribers
            ));
        }
        if crowd.fan_out() == 0 {
            return wrong("nobody would receive anything: --subscribers, or --all-to-all with two --publishers".to_owned());
        }
        if self.janus.is_some() && self.all_to_all {
            return wrong("--all-to-all with --janus: Janus wants a second connection of whoever sends and receives, a client here has one".to_owned());
        }
        let positive = [
            ("--fps", self.fps),
            ("--pace", self.pace),
            ("--stage-s", self.stage_s),
            ("--joins-per-s", self.joins_per_s),
        ];
        for (name, value) in positive {
            if !(0.01..=10_000.0).contains(&value) {
                return wrong(format!("{name} {value}: between 0.01 and 10000"));
            }
        }
        if self
            .ramp
            .is_some_and(|factor| !(1.01..=10.0).contains(&factor))
        {
            return wrong("--ramp: a factor between 1.01 and 10".to_owned());
        }
        let shapes = self.shapes()?;
        Ok(Plan {
            server: self.janus.as_ref().unwrap_or(&self.server).clone(),
            janus: self.janus.is_some(),
            server_pid: self.server_pid,
            control: self.control.trim_end_matches('/').to_owned(),
            key: self.key.clone(),
            crowd,
            shapes,
            simulcast: self.simulcast,
            pace: self.pace,
            ramp: self.ramp,
            stage: Duration::from_secs_f64(self.stage_s),
            max_loss: self.max_loss / 100.0,
            max_p99_us: (self.max_p99_ms * 1000.0) as u64,
            sample_every: self.sample_every,
            joins_per_s: self.joins_per_s,
            bind: self.bind,
            unheard_bind: self.unheard_bind,
            json: self.json.clone(),
            html: self.html.clone(),
        })
    }

    fn shapes(&self) -> Result<Vec<Shape>, LoadError> {
        let mut shapes = Vec::new();
        if let Some(path) = &self.trace {
            let text = std::fs::read_to_string(path).map_err(|source| LoadError::Io {
                what: format!("--trace {}", path.display()),
                source,
            })?;
            let shape = Shape::trace(&text);
            shapes.push(shape.map_err(|e| LoadError::Options(e.to_string()))?);
        } else if self.video_kbps > 0.0 {
            shapes.push(Shape::Video(Video {
                bitrate_bps: self.video_kbps * 1000.0,
                fps: self.fps,
                packet_bytes: self.packet_bytes,
            }));
        }
        if !self.no_audio {
            shapes.push(Shape::Audio);
        }
        if shapes.is_empty() {
            return Err(LoadError::Options(
                "--no-audio and --video-kbps 0: nothing would be sent".to_owned(),
            ));
        }
        Ok(shapes)
    }
}

impl Plan {
    /// What publishers send, in words.
    pub fn shape_words(&self) -> String {
        let words = self.shapes.iter().map(|shape| match shape {
            Shape::Audio => "Opus every 20 ms".to_owned(),
            Shape::Trace(dues) => format!("a recording of {} packets", dues.len()),
            Shape::Video(video) => format!(
                "video of {:.2} Mbit/s, {} frames/s of {} packets{}",
                video.bitrate_bps / 1e6,
                video.fps,
                video.packets_per_frame(),
                if self.simulcast {
                    ", in three encodings"
                } else {
                    ""
                }
            ),
        });
        words.collect::<Vec<_>>().join(" and ")
    }

    /// Address that client `at` is bound to.
    pub fn bind_of(&self, at: usize, publishes: bool) -> IpAddr {
        match self.unheard_bind {
            Some(unheard) if !publishes && !at.is_multiple_of(HEARD) => unheard,
            _ => self.bind,
        }
    }

    /// Which bound a stage has broken, if any.
    pub fn broken(&self, stage: &Stage) -> Option<String> {
        let [_, p99, _] = stage.latency_us;
        let pace = stage.pace;
        if stage.skipped > 0 {
            return Some(format!(
                "at pace {pace:.2} the generator itself was late {} times: what it says of this stage is its own limit",
                stage.skipped
            ));
        }
        if stage.spoilt > 0 {
            return Some(format!(
                "at pace {pace:.2} {} of {} samples were not what was sent",
                stage.spoilt, stage.checked
            ));
        }
        if stage.tally.loss() > self.max_loss {
            let loss = stage.tally.loss() * 100.0;
            return Some(format!("at pace {pace:.2} {loss:.3} % were lost"));
        }
        (p99 > self.max_p99_us).then(|| {
            let ms = p99 as f64 / 1000.0;
            format!("at pace {pace:.2} one in 100 packets took {ms:.1} ms or more")
        })
    }
}
