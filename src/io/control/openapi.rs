//! The description of the REST API, made from its code, and the page that shows it.

use axum::Router;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::health;
use super::rest;
use super::rest::{PolicyName, ProblemBody};

const PAGE: &str = include_str!("docs.html");

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Colchis Control API",
        description = "Declares rooms, members and endpoints. docs/control-api.md is the manual.",
    ),
    paths(
        rest::get_rooms, rest::create_room, rest::put_room, rest::get_room, rest::delete_room,
        rest::create_member, rest::put_member, rest::get_member, rest::delete_member,
        rest::create_endpoint, rest::put_endpoint, rest::get_endpoint, rest::delete_endpoint,
        rest::room_stats, rest::start_drain, rest::stop_drain, health::shards, health::livez, health::readyz, health::metrics,
    ),
    components(schemas(ProblemBody, PolicyName)),
    modifiers(&Bearer),
    security(("bearer" = [])),
)]
pub(super) struct Description;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = api.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", scheme);
    }
}

/// The description at `/v1/openapi.json`, the page at `/v1/docs`. Both are for everybody who reaches the listener.
pub(super) fn router() -> Router {
    Router::new()
        .route("/v1/openapi.json", get(description))
        .route("/v1/docs", get(|| async { Html(PAGE) }))
}

async fn description() -> impl IntoResponse {
    axum::Json(Description::openapi())
}
