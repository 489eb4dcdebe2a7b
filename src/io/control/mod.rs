//! The control thread: health and metrics, the Control API, callbacks, and signals. The only thread that runs tokio.

mod auth;
mod callbacks;
#[cfg(feature = "grpc")]
mod grpc;
mod health;
mod openapi;
mod plane;
mod questions;
mod rest;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::bus::control::{Answer, MediaChange, MediaNotice, Notice, Question, Ticket};
use crate::config::Config;
use crate::control::Control;
use crate::control::fid::Fid;
use crate::control::store::{Occasion, Store};
use crate::io::channel::Sender;
use crate::io::clock::Clock;
use crate::io::listener::ListenError;
use crate::io::signalling::{Observation, Observer, SignallingRequest};
use crate::io::specs::{read_config, read_specs};
use crate::limits::{CONTROL_NOTICES_MAX, CONTROL_REPORTS_MAX};
use crate::metrics::{ShardSnapshot, SignallingCounters};
use crate::time::Time;

use auth::Key;
use callbacks::{Callbacks, EventKind};
use plane::Plane;
use questions::Questions;
pub use questions::TokenKeys;

/// Why the control thread did not start.
#[derive(Debug, thiserror::Error)]
#[error("control thread: {what}: {source}; cure: raise `ulimit -n` and `ulimit -u`")]
pub struct ControlError {
    what: &'static str,
    source: io::Error,
}

/// How long callbacks that wait may take once everything else has ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the other cores report.
#[derive(Debug)]
enum Report {
    Shard(Box<ShardSnapshot>),
    Signalling(SignallingCounters),
}

/// What must not be lost.
#[derive(Debug)]
enum Message {
    Ask(Ticket, Question),
    Tell(Notice),
}

/// Receiving end of the cores' reports.
#[derive(Debug)]
pub struct Reports {
    reports: mpsc::Receiver<Report>,
    messages: mpsc::Receiver<Message>,
}

/// The running thread.
#[derive(Debug)]
pub struct ControlThread {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// What the thread is started with.
pub struct ControlSetup {
    /// Shards there are.
    pub shards: usize,
    /// The clock all cores share.
    pub clock: Clock,
    /// What the cores report.
    pub reports: Reports,
    /// The private listener.
    pub listener: std::net::TcpListener,
    /// Requests to signalling.
    pub signalling: Sender<SignallingRequest>,
    /// What is declared at start.
    pub store: Store,
    /// Keys of tokens.
    pub tokens: TokenKeys,
    /// Configuration.
    pub config: Config,
    /// Where it was read from; `None` in dev mode, in which nobody has to show a key.
    pub config_path: Option<PathBuf>,
}

/// An observer for signalling, and where its reports come out. A full channel loses reports: the next one says more.
pub fn reports() -> (Observer, Reports) {
    let (report, reports) = mpsc::channel(CONTROL_REPORTS_MAX);
    let (message, messages) = mpsc::channel(CONTROL_NOTICES_MAX);
    let observer: Observer = Box::new(move |observation: Observation<'_>| match observation {
        Observation::Shard(snapshot) => report
            .try_send(Report::Shard(Box::new(snapshot.clone())))
            .is_ok(),
        Observation::Signalling(counters) => report.try_send(Report::Signalling(counters)).is_ok(),
        Observation::Ask { ticket, question } => {
            message.try_send(Message::Ask(ticket, question)).is_ok()
        }
        Observation::Tell(notice) => message.try_send(Message::Tell(notice)).is_ok(),
    });
    (observer, Reports { reports, messages })
}

/// Binds the private listener.
pub fn bind(address: SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|cause| ListenError::new(address, cause))
}

/// What the thread needs of the process before anybody can see that it is there.
pub struct Prepared {
    runtime: Runtime,
    signals: Signals,
}

/// Signals to the process. From here on they wait for the thread instead of ending the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// Makes the runtime and takes the signals over.
pub fn prepare() -> Result<Prepared, ControlError> {
    let failed = |what| move |source| ControlError { what, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("runtime"))?;
    let guard = runtime.enter();
    let take = |kind| signal(kind).map_err(failed("signals"));
    let signals = Signals {
        terminate: take(SignalKind::terminate())?,
        interrupt: take(SignalKind::interrupt())?,
        hangup: take(SignalKind::hangup())?,
    };
    drop(guard);
    Ok(Prepared { runtime, signals })
}

/// Starts the thread. It asks signalling to shut down at SIGTERM or SIGINT, and reads spec files again at SIGHUP.
pub fn spawn(
    setup: ControlSetup,
    Prepared { runtime, signals }: Prepared,
) -> Result<ControlThread, ControlError> {
    let failed = |what| move |source| ControlError { what, source };
    let timeouts = setup.config.timeouts.clone();
    let questions = Questions::spawn(setup.tokens.clone(), timeouts, setup.signalling.clone())
        .map_err(failed("thread for credentials"))?;
    let (stop, stopped) = oneshot::channel();
    let serve = async move {
        if let Err(error) = run(setup, questions, signals, stopped).await {
            tracing::error!(%error, "private listener failed; health, metrics and the Control API are gone, calls go on");
        }
    };
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || runtime.block_on(serve))
        .map_err(failed("thread"))?;
    Ok(ControlThread { thread, stop })
}

impl ControlThread {
    /// Ends the thread and waits for it.
    pub fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the control thread had died before the end");
        }
    }
}

/// What the loop needs.
struct Conductor {
    plane: Arc<Plane>,
    questions: Questions,
    callbacks: Callbacks,
    config_path: Option<PathBuf>,
}

async fn run(
    setup: ControlSetup,
    questions: Questions,
    signals: Signals,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let ControlSetup {
        shards,
        clock,
        reports,
        listener,
        signalling,
        store,
        config,
        config_path,
        ..
    } = setup;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let plane = Plane::new(Control::new(shards), clock, store, signalling);
    let callbacks =
        Callbacks::new(Arc::clone(&plane), config.callbacks.clone()).map_err(io::Error::other)?;
    let app = router(&plane, &config, config_path.is_none());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let conductor = Conductor {
        plane,
        questions,
        callbacks,
        config_path,
    };
    conductor.conduct(reports, signals, stopped).await;
    server.abort();
    Ok(())
}

fn router(plane: &Arc<Plane>, config: &Config, dev: bool) -> Router {
    let key = match (&config.private.api_key, dev) {
        (Some(key), _) => Key::Bearer(Arc::from(key.as_str())),
        (None, true) => Key::None,
        (None, false) => Key::Unset,
    };
    let app = Router::new()
        .merge(health::router(Arc::clone(plane)))
        .merge(openapi::router())
        .merge(rest::router(Arc::clone(plane), key.clone()));
    with_grpc(app, plane, key, config.private.grpc_without_key)
}

#[cfg(feature = "grpc")]
fn with_grpc(app: Router, plane: &Arc<Plane>, key: Key, open: bool) -> Router {
    let key = match open {
        true => Key::None,
        false => key,
    };
    app.merge(grpc::router(Arc::clone(plane), key))
}

#[cfg(not(feature = "grpc"))]
fn with_grpc(app: Router, _plane: &Arc<Plane>, _key: Key, _open: bool) -> Router {
    app
}

impl Conductor {
    /// Reports, questions, notices, signals and time, until `stopped`.
    async fn conduct(
        self,
        mut reports: Reports,
        mut signals: Signals,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut due = self.plane.timeout().await;
        loop {
            tokio::select! {
                report = reports.reports.recv() => self.take_report(report).await,
                message = reports.messages.recv() => self.take_message(message).await,
                () = self.plane.changed.notified() => due = self.plane.timeout().await,
                () = self.sleep(due) => due = self.plane.timeout().await,
                () = any(&mut signals.terminate, &mut signals.interrupt) => {
                    tracing::info!("stopping");
                    self.plane.health.write().await.handle_stop();
                    // A full inbox means that signalling is overloaded; a second signal tries again.
                    let _ = self.plane.send(SignallingRequest::Shutdown).await;
                }
                _ = signals.hangup.recv() => self.reload().await,
                _ = &mut stopped => break,
            }
        }
        while let Ok(message) = reports.messages.try_recv() {
            self.take_message(Some(message)).await;
        }
        let idle = async {
            while !self.callbacks.is_idle() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, idle).await;
    }

    /// Until `due`.
    async fn sleep(&self, due: Option<Time>) {
        match due {
            Some(due) => tokio::time::sleep(due.since(self.plane.clock.now())).await,
            None => std::future::pending().await,
        }
    }

    async fn take_report(&self, report: Option<Report>) {
        let now = self.plane.clock.now();
        let mut health = self.plane.health.write().await;
        match report {
            Some(Report::Shard(snapshot)) => health.handle_shard(now, *snapshot),
            Some(Report::Signalling(counters)) => health.handle_signalling(counters),
            // Signalling is gone: only `stopped` can come now. Waiting here keeps the loop from spinning.
            None => {
                drop(health);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn take_message(&self, message: Option<Message>) {
        match message {
            Some(Message::Ask(ticket, question)) => self.take_question(ticket, question).await,
            Some(Message::Tell(notice)) => self.take_notice(notice).await,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }

    async fn take_question(&self, ticket: Ticket, question: Question) {
        let answer = match question {
            Question::Join { room, member } => {
                let fid = Fid::Member(room.clone(), member);
                match self.plane.callback(&fid, Occasion::Join).await {
                    // The spec has been changed meanwhile: nobody wants to be asked.
                    None => Answer::Yes,
                    Some(url) => {
                        let name = fid.to_string();
                        let kind = EventKind::Join;
                        if self.callbacks.push(&room, url, name, kind, Some(ticket)) {
                            return;
                        }
                        Answer::Busy
                    }
                }
            }
            question => match self.questions.ask(ticket, question) {
                true => return,
                false => Answer::Busy,
            },
        };
        let _ = self
            .plane
            .send(SignallingRequest::Answer { ticket, answer })
            .await;
    }

    async fn take_notice(&self, notice: Notice) {
        if let Notice::Stats { ticket, stats } = notice {
            return self.plane.stats_answer(ticket, stats).await;
        }
        self.plane.notice(&notice).await;
        let (fid, occasion, kind) = match notice {
            Notice::Occupied(_) | Notice::Empty(_) | Notice::Stats { .. } => return,
            Notice::Left {
                room,
                member,
                reason,
            } => {
                let reason = reason.into();
                let kind = EventKind::Leave { reason };
                (Fid::Member(room, member), Occasion::Leave, kind)
            }
            Notice::Media(MediaNotice {
                room,
                member,
                endpoint,
                video,
                change,
            }) => {
                let occasion = match change {
                    MediaChange::Started => Occasion::Start,
                    _ => Occasion::Stop,
                };
                let kind = EventKind::media(video, change);
                (Fid::Endpoint(room, member, endpoint), occasion, kind)
            }
        };
        let Some(url) = self.plane.callback(&fid, occasion).await else {
            return;
        };
        let name = fid.to_string();
        if !self.callbacks.push(fid.room(), url, name, kind, None) {
            tracing::error!(%fid, "too many callbacks wait: one is lost");
        }
    }

    /// Reads the spec files again. A fault in one of them changes nothing.
    async fn reload(&self) {
        let Some(path) = self.config_path.clone() else {
            return;
        };
        let read = tokio::task::spawn_blocking(move || {
            let config = read_config(&path)?;
            read_specs(&config)
        });
        let book = match read.await {
            Ok(Ok(book)) => book,
            Ok(Err(error)) => {
                return tracing::error!(%error, "spec files are not applied: one is wrong, and nothing has changed");
            }
            Err(error) => return tracing::error!(%error, "spec files could not be read"),
        };
        match self.plane.apply_files(&book).await {
            Ok(changes) => tracing::info!(
                added = changes.added.len(),
                changed = changes.changed.len(),
                removed = changes.removed.len(),
                kept = changes.kept.len(),
                "spec files are applied"
            ),
            Err(error) => tracing::error!(%error, "spec files are not applied"),
        }
    }
}

async fn any(a: &mut Signal, b: &mut Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}
