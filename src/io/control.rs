//! The control thread: health and metrics on the private listener, and signals. The only thread that runs tokio.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{RwLock, mpsc, oneshot};

use crate::control::Control;
use crate::io::channel::Sender;
use crate::io::clock::Clock;
use crate::io::listener::ListenError;
use crate::io::signalling::{Observation, Observer, SignallingRequest};
use crate::limits::CONTROL_REPORTS_MAX;
use crate::metrics::{ShardSnapshot, SignallingCounters};

/// Why the control thread did not start.
#[derive(Debug, thiserror::Error)]
#[error("control thread: {what}: {source}; cure: raise `ulimit -n` and `ulimit -u`")]
pub struct ControlError {
    what: &'static str,
    source: io::Error,
}

/// What the other cores report.
#[derive(Debug)]
enum Report {
    Shard(Box<ShardSnapshot>),
    Signalling(SignallingCounters),
}

/// Receiving end of the cores' reports.
#[derive(Debug)]
pub struct Reports(mpsc::Receiver<Report>);

/// The running thread.
#[derive(Debug)]
pub struct ControlThread {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// An observer for signalling, and where its reports come out. A full channel loses reports: the next one says more.
pub fn reports() -> (Observer, Reports) {
    let (sender, receiver) = mpsc::channel(CONTROL_REPORTS_MAX);
    let observer: Observer = Box::new(move |observation: Observation<'_>| {
        let report = match observation {
            Observation::Shard(snapshot) => Report::Shard(Box::new(snapshot.clone())),
            Observation::Signalling(counters) => Report::Signalling(counters),
        };
        let _ = sender.try_send(report);
    });
    (observer, Reports(receiver))
}

/// Binds the private listener.
pub fn bind(address: SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|cause| ListenError::new(address, cause))
}

/// Starts the thread. It asks signalling to shut down at SIGTERM or SIGINT.
pub fn spawn(
    shards: usize,
    clock: Clock,
    reports: Reports,
    listener: std::net::TcpListener,
    signalling: Sender<SignallingRequest>,
) -> Result<ControlThread, ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ControlError {
            what: "runtime",
            source,
        })?;
    let (stop, stopped) = oneshot::channel();
    let serve = async move {
        let shared = Shared {
            control: Arc::new(RwLock::new(Control::new(shards))),
            clock,
        };
        let served = run(shared, reports, listener, signalling, stopped).await;
        if let Err(error) = served {
            tracing::error!(%error, "private listener failed; health and metrics are gone, calls go on");
        }
    };
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || runtime.block_on(serve))
        .map_err(|source| ControlError {
            what: "thread",
            source,
        })?;
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

#[derive(Clone)]
struct Shared {
    control: Arc<RwLock<Control>>,
    clock: Clock,
}

async fn run(
    shared: Shared,
    mut reports: Reports,
    listener: std::net::TcpListener,
    signalling: Sender<SignallingRequest>,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = router(shared.clone());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    loop {
        tokio::select! {
            report = reports.0.recv() => take_report(&shared, report).await,
            () = any(&mut terminate, &mut interrupt) => {
                tracing::info!("stopping");
                shared.control.write().await.handle_stop();
                // A full inbox means that signalling is overloaded; a second signal tries again.
                let _ = signalling.try_send(SignallingRequest::Shutdown);
            }
            _ = &mut stopped => break,
        }
    }
    server.abort();
    Ok(())
}

async fn any(a: &mut Signal, b: &mut Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}

async fn take_report(shared: &Shared, report: Option<Report>) {
    let now = shared.clock.now();
    let mut control = shared.control.write().await;
    match report {
        Some(Report::Shard(snapshot)) => control.handle_shard(now, *snapshot),
        Some(Report::Signalling(counters)) => control.handle_signalling(counters),
        // Signalling is gone: only `stopped` can come now. Waiting here keeps the loop from spinning.
        None => {
            drop(control);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/shards", get(shards))
        .with_state(shared)
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.control.read().await.not_ready(shared.clock.now()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let text = shared.control.read().await.metrics();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn shards(State(shared): State<Shared>) -> impl IntoResponse {
    Json(shared.control.read().await.shards(shared.clock.now()))
}
