//! `colchis load`: real clients by the hundred against a server, and what they see.

mod adapter;
mod args;
mod janus;
mod media;
mod progress;
pub mod signal;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::io::clock::Clock;
use crate::io::identity;
use crate::load::client::Shared;
use crate::load::describe::Describer;
use crate::load::report::{Report, Stage};
use crate::load::{Seat, html};
use crate::transport::dtls::{DimplProvider, DtlsIdentity, DtlsSettings};
use crate::wire::sdp::IceParams;

use adapter::Adapter;
pub use args::LoadArgs;
use args::Plan;
use media::{MediaThread, Newcomer, News, Order};
use progress::Progress;

/// Clients may take this long from the last join to be connected.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Time between a change of pace and the beginning of the stage.
const SETTLE: Duration = Duration::from_secs(1);
/// Stages of a ramp.
const STAGES_MAX: usize = 40;
/// Orders on their way to the media thread.
const ORDERS_MAX: usize = 16_384;
/// Faults of clients that are told one by one.
const FAULTS_TOLD: usize = 5;

/// Why a load did not run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A combination of options.
    #[error("{0}")]
    Options(String),
    /// The server's signalling socket.
    #[error("signalling socket: {0}; is the server there, and --server or --janus its address?")]
    Socket(String),
    /// The server's control API.
    #[error(
        "{call}: {cause}; cure: --control with the private address of the server and --key with its key"
    )]
    Control {
        /// What was asked.
        call: String,
        /// What came.
        cause: String,
    },
    /// Signalling broke its promises.
    #[error(transparent)]
    Signal(#[from] crate::load::colchis::SignalError),
    /// Janus' signalling.
    #[error(transparent)]
    Janus(#[from] crate::load::janus::JanusError),
    /// Certificate or DTLS.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// DTLS.
    #[error(transparent)]
    Dtls(#[from] crate::transport::dtls::DtlsConfigError),
    /// Sockets, threads, files.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody could connect.
    #[error("{connected} of {wanted} clients connected, {failed} handshakes failed{faults}")]
    Connect {
        /// Clients with keys.
        connected: usize,
        /// Clients in all.
        wanted: usize,
        /// Handshakes that failed.
        failed: usize,
        /// What clients said, if anything.
        faults: String,
    },
}

fn io_error(what: &str) -> impl Fn(std::io::Error) -> LoadError {
    move |source| LoadError::Io {
        what: what.to_owned(),
        source,
    }
}

/// Runs a load and tells what it showed.
///
/// # Errors
/// See [`LoadError`].
pub fn run(args: &LoadArgs) -> Result<(), LoadError> {
    let plan = args.plan()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io_error("runtime"))?;
    let report = runtime.block_on(LocalSet::new().run_until(load(&plan)))?;
    println!("\n{}", report.table());
    println!("{}", report.ended);
    if let Some(path) = &plan.json {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        std::fs::write(path, text).map_err(io_error("--json"))?;
    }
    if let Some(path) = &plan.html {
        std::fs::write(path, html::page(&report)).map_err(io_error("--html"))?;
    }
    Ok(())
}

/// What clients reported to have gone wrong.
type Faults = Rc<RefCell<Vec<String>>>;

/// The parts of a running load.
struct Load<'a> {
    plan: &'a Plan,
    adapter: Rc<dyn Adapter>,
    orders: Sender<Order>,
    faults: Faults,
    progress: Progress,
}

async fn load(plan: &Plan) -> Result<Report, LoadError> {
    let clock = Clock::start();
    let identity = identity::generate()?;
    let orders = start_media(plan, clock, &identity)?;
    let load = Load {
        plan,
        adapter: adapter::of(plan)?,
        orders,
        faults: Faults::default(),
        progress: Progress::new(),
    };
    load.adapter.prepare(plan.crowd).await?;
    let report = load.go(&identity).await;
    load.progress.done();
    load.adapter.clean(plan.crowd).await;
    report
}

fn start_media(
    plan: &Plan,
    clock: Clock,
    identity: &DtlsIdentity,
) -> Result<Sender<Order>, LoadError> {
    let provider = DimplProvider::new(DtlsSettings::default(), identity, clock.anchor())?;
    let (orders, inbox) = crossbeam_channel::bounded(ORDERS_MAX);
    let (pace, sample_every) = (plan.pace, plan.sample_every);
    let work = move || {
        let shared = Shared::new(Box::new(provider), clock.anchor(), pace, sample_every);
        MediaThread::new(shared, clock)?.run(&inbox)
    };
    std::thread::Builder::new()
        .name("load-media".to_owned())
        .spawn(move || {
            if let Err(error) = work() {
                eprintln!(
                    "colchis load: media thread: {error}; cure: `ulimit -n` above the clients"
                );
            }
        })
        .map_err(io_error("media thread"))?;
    Ok(orders)
}

impl Load<'_> {
    async fn go(&self, identity: &DtlsIdentity) -> Result<Report, LoadError> {
        let start = Instant::now();
        self.join_all(identity).await;
        let news = self.connect_all().await?;
        let joined_in_s = start.elapsed().as_secs_f64();
        let (stages, ended) = self.stages().await?;
        Ok(Report {
            server: self.plan.server.clone(),
            crowd: self.plan.crowd,
            shape: self.plan.shape_words(),
            connected: news.connected,
            joined_in_s,
            stages,
            ended,
        })
    }

    fn order(&self, order: Order) -> Result<(), LoadError> {
        let sent = self.orders.send(order);
        sent.map_err(|_| LoadError::Options("the media thread has ended, see above".to_owned()))
    }

    async fn news(&self) -> Result<News, LoadError> {
        let (to, from) = crossbeam_channel::bounded(1);
        self.order(Order::Tell(to))?;
        loop {
            match from.try_recv() {
                Ok(news) => return Ok(news),
                Err(crossbeam_channel::TryRecvError::Empty) => {
                    sleep(Duration::from_millis(1)).await;
                }
                Err(crossbeam_channel::TryRecvError::Disconnected) => {
                    return Err(LoadError::Options(
                        "the media thread has ended, see above".to_owned(),
                    ));
                }
            }
        }
    }

    /// Lets everybody join, so many per second.
    async fn join_all(&self, identity: &DtlsIdentity) {
        let crowd = self.plan.crowd;
        let seats = Seat::all(crowd);
        let pause = Duration::from_secs_f64(1.0 / self.plan.joins_per_s);
        let mut due = Instant::now();
        for (at, seat) in seats.iter().enumerate() {
            let number = seat.number(crowd);
            let ice = IceParams {
                ufrag: format!("ld{number:06}"),
                pwd: format!("password-of-load-client-{number:08}"),
            };
            let shapes = if seat.publishes {
                self.plan.shapes.clone()
            } else {
                Vec::new()
            };
            let newcomer = Newcomer {
                number,
                ice: ice.clone(),
                shapes,
                bind: self.plan.bind_of(at, seat.publishes),
            };
            if self.order(Order::Add(newcomer)).is_err() {
                return;
            }
            let first_ssrc = 0x0100_0000 + (number << 6);
            let describer = Describer::new(&seat.member(), ice, identity.fingerprint, first_ssrc)
                .with_simulcast(self.plan.simulcast);
            let orders = self.orders.clone();
            let connect: adapter::Connect = Box::new(move |remote, sending| {
                // A full queue is a thread that has ended: that is told elsewhere.
                let _ = orders.send(Order::Connect(at, remote, sending));
            });
            let talk = self.adapter.talk(*seat, describer, connect);
            let (faults, name) = (self.faults.clone(), seat.member());
            let room = seat.room;
            tokio::task::spawn_local(async move {
                if let Err(error) = talk.await {
                    faults
                        .borrow_mut()
                        .push(format!("room {room}, {name}: {error}"));
                }
            });
            self.progress.joining(at + 1, seats.len());
            due += pause;
            tokio::time::sleep_until(due).await;
        }
    }

    async fn connect_all(&self) -> Result<News, LoadError> {
        let deadline = Instant::now() + CONNECT_MAX;
        let wanted = self.plan.crowd.clients();
        loop {
            let news = self.news().await?;
            self.progress.connecting(news.connected, wanted);
            if news.connected == wanted {
                return Ok(news);
            }
            let (told, count) = self.faults_told();
            if Instant::now() > deadline || count >= wanted.div_ceil(2) {
                return Err(LoadError::Connect {
                    connected: news.connected,
                    wanted,
                    failed: news.failed,
                    faults: told,
                });
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The first faults of clients, a line for each, and how many there were.
    fn faults_told(&self) -> (String, usize) {
        let faults = self.faults.borrow();
        let told = faults.iter().take(FAULTS_TOLD);
        (told.map(|f| format!("\n  {f}")).collect(), faults.len())
    }

    async fn stages(&self) -> Result<(Vec<Stage>, String), LoadError> {
        let mut stages = Vec::new();
        let mut pace = self.plan.pace;
        loop {
            let stage = self.stage(pace).await?;
            let broken = self.plan.broken(&stage);
            stages.push(stage);
            if let Some(fault) = self.faults.borrow().first() {
                return Ok((stages, format!("ended: a client was thrown out: {fault}")));
            }
            match (broken, self.plan.ramp) {
                (Some(why), _) => return Ok((stages, why)),
                (None, Some(factor)) if stages.len() < STAGES_MAX => pace *= factor,
                _ => return Ok((stages, "all stages are done".to_owned())),
            }
        }
    }

    async fn stage(&self, pace: f64) -> Result<Stage, LoadError> {
        self.order(Order::Pace(pace))?;
        sleep(SETTLE).await;
        self.order(Order::Reset)?;
        let server = self.adapter.server_use().await;
        let (before, start) = (self.news().await?, Instant::now());
        let end = start + self.plan.stage;
        while Instant::now() < end {
            let news = self.news().await?;
            self.progress
                .stage(pace, start.elapsed(), self.plan.stage, &news);
            sleep(Duration::from_millis(200).min(end - Instant::now())).await;
        }
        let (after, seconds) = (self.news().await?, start.elapsed().as_secs_f64());
        let used = match (server, self.adapter.server_use().await) {
            (Some(before), Some(after)) => Some(after.since(&before)),
            _ => None,
        };
        Ok(Stage {
            pace,
            seconds,
            sent: after.sent - before.sent,
            tally: after.tally.since(before.tally),
            skipped: after.skipped - before.skipped,
            checked: after.checked,
            spoilt: after.spoilt,
            latency_us: after.latency_us,
            generator_cpu_s: after.cpu_s - before.cpu_s,
            server: used,
        })
    }
}
