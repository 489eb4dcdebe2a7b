//! Health, readiness, metrics, shards: for everybody who reaches the private listener.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};

use super::plane::Plane;
use crate::control::ShardView;
use crate::io::clock;
use crate::metrics::ProcessUse;

pub(super) fn router(plane: Arc<Plane>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/shards", get(shards))
        .with_state(plane)
}

/// Whether the process lives.
#[utoipa::path(get, path = "/livez", tag = "server", security(()), responses((status = 200, body = String)))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether it should get new clients; if not, why.
#[utoipa::path(get, path = "/readyz", tag = "server", security(()), responses(
    (status = 200, body = String), (status = 503, body = String)))]
pub(super) async fn readyz(State(plane): State<Arc<Plane>>) -> impl IntoResponse {
    let not_ready = plane.health.read().await.not_ready(plane.clock.now());
    match not_ready {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// CPU time and memory of the process. Zero where /proc does not say.
fn process_use() -> ProcessUse {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    ProcessUse {
        cpu_s: clock::process_cpu().as_secs_f64(),
        resident_bytes: pages.unwrap_or(0) * rustix::param::page_size() as u64,
    }
}

/// Counters, OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "server", security(()), responses((status = 200, body = String)))]
pub(super) async fn metrics(State(plane): State<Arc<Plane>>) -> impl IntoResponse {
    let text = plane.health.read().await.metrics(process_use());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}

/// What each shard carries.
#[utoipa::path(get, path = "/v1/shards", tag = "server", security(()), responses((status = 200, body = Vec<ShardView>)))]
pub(super) async fn shards(State(plane): State<Arc<Plane>>) -> impl IntoResponse {
    Json(plane.health.read().await.shards(plane.clock.now()))
}
