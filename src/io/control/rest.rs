//! The Control API over HTTP and JSON. `docs/control-api.md` is its manual, `/v1/openapi.json` its description.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{self, Key};
use super::plane::{Drain, Plane};
use crate::bus::control::RoomStats;
use crate::control::error::{ControlError, ErrorCode};
use crate::control::fid::Fid;
use crate::control::spec::element::{Endpoint, RoomChild, RootElement};
use crate::control::store::{Element, Mode, Outcome};
use crate::limits::CONTROL_REQUEST_BYTES_MAX;

type Shared = State<Arc<Plane>>;
type Answer = Result<Response, Problem>;

/// What a request has done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Applied {
    /// Where the client of each member dials, for the members that the request names.
    sids: BTreeMap<String, String>,
    /// What looks wrong but may be put right by the next request.
    warnings: Vec<String>,
}

/// Elements by full id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Elements {
    elements: BTreeMap<String, ElementBody>,
}

/// An element as it is written.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ElementBody {
    /// A room.
    Root(RootElement),
    /// A member or hub.
    Child(RoomChild),
    /// An endpoint.
    Endpoint(Endpoint),
}

/// How an element is applied.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Policy {
    /// `apply`: what is not said goes. `append`: what is not said stays.
    policy: PolicyName,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum PolicyName {
    #[default]
    Apply,
    Append,
}

/// A drain.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DrainBody {
    /// Everybody who is still here is put out after this many seconds; left out: nobody is.
    deadline_s: Option<u32>,
}

/// An error, RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemBody {
    /// Where the code is explained.
    r#type: String,
    /// The code in words.
    title: &'static str,
    /// HTTP status.
    status: u16,
    /// What is wrong, and the cure.
    detail: String,
    /// Stable code.
    code: ErrorCode,
    /// Full id of the element it is about, or `-`.
    element: String,
}

/// An error on its way out.
pub(super) struct Problem(pub(super) ControlError);

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let ControlError {
            code,
            element,
            message,
        } = self.0;
        let body = ProblemBody {
            r#type: format!("/v1/docs#{}", code.text()),
            title: code.text(),
            status: code.status(),
            detail: message,
            code,
            element,
        };
        let status = StatusCode::from_u16(body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(body)).into_response()
    }
}

/// Everything under `/v1` that changes or shows rooms.
pub(super) fn router(plane: Arc<Plane>, key: Key) -> Router {
    Router::new()
        .route("/v1/rooms", get(get_rooms))
        .route(
            "/v1/rooms/{room}",
            post(create_room)
                .put(put_room)
                .get(get_room)
                .delete(delete_room),
        )
        .route(
            "/v1/rooms/{room}/{member}",
            post(create_member)
                .put(put_member)
                .get(get_member)
                .delete(delete_member),
        )
        .route(
            "/v1/rooms/{room}/{member}/{endpoint}",
            post(create_endpoint)
                .put(put_endpoint)
                .get(get_endpoint)
                .delete(delete_endpoint),
        )
        .route("/v1/rooms/{room}/stats", get(room_stats).fallback(reserved))
        .route("/v1/drain", post(start_drain).delete(stop_drain))
        .layer(DefaultBodyLimit::max(CONTROL_REQUEST_BYTES_MAX))
        .layer(middleware::from_fn_with_state(key, auth::require))
        .with_state(plane)
}

/// Reads a body: JSON, or YAML if its type says so.
fn read<T: DeserializeOwned>(
    fid: &Fid,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<T, ControlError> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let read = match kind.contains("yaml") {
        false => serde_json::from_slice(body).map_err(|e| e.to_string()),
        true => std::str::from_utf8(body)
            .map_err(|e| e.to_string())
            .and_then(|text| {
                serde_saphyr::from_str(text).map_err(|e| e.to_string().trim().replace('\n', " "))
            }),
    };
    read.map_err(|cause| ControlError::new(ErrorCode::MalformedRequest, fid.to_string(), cause))
}

fn answer(status: StatusCode, outcome: Outcome) -> Response {
    let body = Applied {
        sids: outcome
            .sids
            .into_iter()
            .map(|(id, sid)| (id.to_string(), sid))
            .collect(),
        warnings: outcome.warnings.iter().map(ToString::to_string).collect(),
    };
    (status, Json(body)).into_response()
}

fn mode(policy: &Policy) -> Mode {
    match policy.policy {
        PolicyName::Apply => Mode::Apply,
        PolicyName::Append => Mode::Append,
    }
}

async fn put(plane: &Plane, fid: Fid, element: Element, mode: Mode) -> Answer {
    let outcome = plane.put(&fid, element, mode).await?;
    let status = match mode {
        Mode::Create => StatusCode::CREATED,
        Mode::Apply | Mode::Append => StatusCode::OK,
    };
    Ok(answer(status, outcome))
}

fn room_element(fid: &Fid, headers: &HeaderMap, body: &[u8]) -> Result<Element, ControlError> {
    let RootElement::Room(room) = read(fid, headers, body)?;
    Ok(Element::Room(room))
}

fn child_element(fid: &Fid, headers: &HeaderMap, body: &[u8]) -> Result<Element, ControlError> {
    Ok(match read(fid, headers, body)? {
        RoomChild::Member(member) => Element::Member(member),
        RoomChild::Hub(hub) => Element::Hub(hub),
    })
}

async fn delete(plane: &Plane, fids: &[Fid]) -> Answer {
    plane.delete(fids).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn show(plane: &Plane, fids: &[Fid]) -> Answer {
    let found = plane.get(fids).await?;
    if let ([only], true) = (fids, found.is_empty()) {
        let (code, what) = match only {
            Fid::Room(_) => (ErrorCode::RoomNotFound, "room"),
            Fid::Member(..) => (ErrorCode::MemberNotFound, "member or hub"),
            Fid::Endpoint(..) => (ErrorCode::EndpointNotFound, "endpoint"),
        };
        let message = format!("there is no such {what}");
        return Err(ControlError::new(code, only.to_string(), message).into());
    }
    let body = |element| match element {
        Element::Room(room) => ElementBody::Root(RootElement::Room(room)),
        Element::Member(member) => ElementBody::Child(RoomChild::Member(member)),
        Element::Hub(hub) => ElementBody::Child(RoomChild::Hub(hub)),
        Element::Endpoint(endpoint) => ElementBody::Endpoint(endpoint),
    };
    let elements = found
        .into_iter()
        .map(|(fid, element)| (fid.to_string(), body(element)))
        .collect();
    Ok(Json(Elements { elements }).into_response())
}

/// Every room.
#[utoipa::path(get, path = "/v1/rooms", tag = "rooms", responses(
    (status = 200, body = Elements), (status = "default", body = ProblemBody)))]
pub(super) async fn get_rooms(State(plane): Shared) -> Answer {
    show(&plane, &[]).await
}

/// Create a room, with everything in it.
#[utoipa::path(post, path = "/v1/rooms/{room}", tag = "rooms", request_body = RootElement,
    params(("room" = String, Path, description = "its id")), responses(
    (status = 201, body = Applied), (status = "default", body = ProblemBody)))]
pub(super) async fn create_room(
    State(plane): Shared,
    Path(room): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let fid = Fid::of(&room, None, None)?;
    let element = room_element(&fid, &headers, &body)?;
    put(&plane, fid, element, Mode::Create).await
}

/// Make a room what is said, whether it is there or not. People in it stay, unless they are not in the spec any more.
#[utoipa::path(put, path = "/v1/rooms/{room}", tag = "rooms", request_body = RootElement,
    params(("room" = String, Path, description = "its id"), Policy), responses(
    (status = 200, body = Applied), (status = "default", body = ProblemBody)))]
pub(super) async fn put_room(
    State(plane): Shared,
    Path(room): Path<String>,
    Query(policy): Query<Policy>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let fid = Fid::of(&room, None, None)?;
    let element = room_element(&fid, &headers, &body)?;
    put(&plane, fid, element, mode(&policy)).await
}

/// Rooms, several by commas.
#[utoipa::path(get, path = "/v1/rooms/{room}", tag = "rooms",
    params(("room" = String, Path, description = "ids, by commas")), responses(
    (status = 200, body = Elements), (status = "default", body = ProblemBody)))]
pub(super) async fn get_room(State(plane): Shared, Path(room): Path<String>) -> Answer {
    show(&plane, &Fid::several(&room, None, None)?).await
}

/// Remove rooms, several by commas. Everybody in them is put out.
#[utoipa::path(delete, path = "/v1/rooms/{room}", tag = "rooms",
    params(("room" = String, Path, description = "ids, by commas")), responses(
    (status = 204), (status = "default", body = ProblemBody)))]
pub(super) async fn delete_room(State(plane): Shared, Path(room): Path<String>) -> Answer {
    delete(&plane, &Fid::several(&room, None, None)?).await
}

/// Create a member or a hub.
#[utoipa::path(post, path = "/v1/rooms/{room}/{member}", tag = "members", request_body = RoomChild,
    params(("room" = String, Path, description = "id of the room"), ("member" = String, Path, description = "its id")), responses(
    (status = 201, body = Applied), (status = "default", body = ProblemBody)))]
pub(super) async fn create_member(
    State(plane): Shared,
    Path((room, member)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let fid = Fid::of(&room, Some(&member), None)?;
    let element = child_element(&fid, &headers, &body)?;
    put(&plane, fid, element, Mode::Create).await
}

/// Make a member or a hub what is said.
#[utoipa::path(put, path = "/v1/rooms/{room}/{member}", tag = "members", request_body = RoomChild,
    params(("room" = String, Path, description = "id of the room"), ("member" = String, Path, description = "its id"), Policy), responses(
    (status = 200, body = Applied), (status = "default", body = ProblemBody)))]
pub(super) async fn put_member(
    State(plane): Shared,
    Path((room, member)): Path<(String, String)>,
    Query(policy): Query<Policy>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let fid = Fid::of(&room, Some(&member), None)?;
    let element = child_element(&fid, &headers, &body)?;
    put(&plane, fid, element, mode(&policy)).await
}

/// Members and hubs, several by commas.
#[utoipa::path(get, path = "/v1/rooms/{room}/{member}", tag = "members",
    params(("room" = String, Path, description = "id of the room"), ("member" = String, Path, description = "ids, by commas")), responses(
    (status = 200, body = Elements), (status = "default", body = ProblemBody)))]
pub(super) async fn get_member(
    State(plane): Shared,
    Path((room, member)): Path<(String, String)>,
) -> Answer {
    show(&plane, &Fid::several(&room, Some(&member), None)?).await
}

/// Remove members and hubs, several by commas. A member that is in the room is put out.
#[utoipa::path(delete, path = "/v1/rooms/{room}/{member}", tag = "members",
    params(("room" = String, Path, description = "id of the room"), ("member" = String, Path, description = "ids, by commas")), responses(
    (status = 204), (status = "default", body = ProblemBody)))]
pub(super) async fn delete_member(
    State(plane): Shared,
    Path((room, member)): Path<(String, String)>,
) -> Answer {
    delete(&plane, &Fid::several(&room, Some(&member), None)?).await
}

type ThreeIds = Path<(String, String, String)>;

/// Create an endpoint.
#[utoipa::path(post, path = "/v1/rooms/{room}/{member}/{endpoint}", tag = "endpoints", request_body = Endpoint,
    params(("room" = String, Path), ("member" = String, Path), ("endpoint" = String, Path, description = "its id")), responses(
    (status = 201, body = Applied), (status = "default", body = ProblemBody)))]
pub(super) async fn create_endpoint(
    State(plane): Shared,
    Path((room, member, endpoint)): ThreeIds,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let fid = Fid::of(&room, Some(&member), Some(&endpoint))?;
    let element = Element::Endpoint(read(&fid, &headers, &body)?);
    put(&plane, fid, element, Mode::Create).await
}

/// Make an endpoint what is said.
#[utoipa::path(put, path = "/v1/rooms/{room}/{member}/{endpoint}", tag = "endpoints", request_body = Endpoint,
    params(("room" = String, Path), ("member" = String, Path), ("endpoint" = String, Path, description = "its id"), Policy), responses(
    (status = 200, body = Applied), (status = "default", body = ProblemBody)))]
pub(super) async fn put_endpoint(
    State(plane): Shared,
    Path((room, member, endpoint)): ThreeIds,
    Query(policy): Query<Policy>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let fid = Fid::of(&room, Some(&member), Some(&endpoint))?;
    let element = Element::Endpoint(read(&fid, &headers, &body)?);
    put(&plane, fid, element, mode(&policy)).await
}

/// Endpoints, several by commas.
#[utoipa::path(get, path = "/v1/rooms/{room}/{member}/{endpoint}", tag = "endpoints",
    params(("room" = String, Path), ("member" = String, Path), ("endpoint" = String, Path, description = "ids, by commas")), responses(
    (status = 200, body = Elements), (status = "default", body = ProblemBody)))]
pub(super) async fn get_endpoint(
    State(plane): Shared,
    Path((room, member, endpoint)): ThreeIds,
) -> Answer {
    show(
        &plane,
        &Fid::several(&room, Some(&member), Some(&endpoint))?,
    )
    .await
}

/// Remove endpoints, several by commas.
#[utoipa::path(delete, path = "/v1/rooms/{room}/{member}/{endpoint}", tag = "endpoints",
    params(("room" = String, Path), ("member" = String, Path), ("endpoint" = String, Path, description = "ids, by commas")), responses(
    (status = 204), (status = "default", body = ProblemBody)))]
pub(super) async fn delete_endpoint(
    State(plane): Shared,
    Path((room, member, endpoint)): ThreeIds,
) -> Answer {
    delete(
        &plane,
        &Fid::several(&room, Some(&member), Some(&endpoint))?,
    )
    .await
}

/// How a room does.
#[utoipa::path(get, path = "/v1/rooms/{room}/stats", tag = "rooms",
    params(("room" = String, Path, description = "its id")), responses(
    (status = 200, body = RoomStats), (status = "default", body = ProblemBody)))]
pub(super) async fn room_stats(State(plane): Shared, Path(room): Path<String>) -> Answer {
    let fid = Fid::of(&room, None, None)?;
    let room = fid.room();
    match plane.stats(room).await? {
        Some(stats) => Ok(Json(stats).into_response()),
        None if plane.is_declared(room).await => Ok(Json(RoomStats::empty()).into_response()),
        None => {
            let message = "there is no such room";
            let error = ControlError::new(ErrorCode::RoomNotFound, room.as_str(), message);
            Err(error.into())
        }
    }
}

/// A member cannot have this name.
async fn reserved(Path(room): Path<String>) -> Problem {
    Problem(ControlError::new(
        ErrorCode::InvalidSpec,
        format!("{room}/stats"),
        "the API itself uses this name; choose another",
    ))
}

/// Let no new members in; those who are here may come back until the deadline.
#[utoipa::path(post, path = "/v1/drain", tag = "server", request_body = Option<DrainBody>, responses(
    (status = 204), (status = "default", body = ProblemBody)))]
pub(super) async fn start_drain(State(plane): Shared, body: Bytes) -> Answer {
    let asked: DrainBody = match body.is_empty() {
        true => DrainBody::default(),
        false => serde_json::from_slice(&body)
            .map_err(|e| ControlError::new(ErrorCode::MalformedRequest, "-", e.to_string()))?,
    };
    let after = |s| plane.clock.now() + Duration::from_secs(u64::from(s));
    let drain = Drain {
        deadline: asked.deadline_s.map(after),
    };
    plane.set_drain(Some(drain)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Let new members in again.
#[utoipa::path(delete, path = "/v1/drain", tag = "server", responses(
    (status = 204), (status = "default", body = ProblemBody)))]
pub(super) async fn stop_drain(State(plane): Shared) -> Answer {
    plane.set_drain(None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
