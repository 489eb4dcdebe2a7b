//! The gRPC Control API and callback client, as in the public crate `medea-control-api-proto`: another way into [`Plane`].
//!
//! What its messages cannot say (hubs, room-wide settings) is left alone by `Create` and taken away by `Apply` of a
//! room, which says all there is to be.

mod elements;
mod wire;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use axum::routing::post;
use tonic::Status;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::auth::Key;
use super::callbacks::{Event, EventKind, LeaveWord};
use super::plane::Plane;
use crate::control::error::{ControlError, ErrorCode};
use crate::control::fid::Fid;
use crate::control::store::{Mode, Outcome};
use elements::{fid_and_element, proto_element};

/// What all calls share.
#[derive(Clone)]
struct Service {
    plane: Arc<Plane>,
    key: Key,
}

/// The service `api.ControlApi`.
pub(super) fn router(plane: Arc<Plane>, key: Key) -> Router {
    let service = Service { plane, key };
    Router::new()
        .route("/api.ControlApi/Create", post(create))
        .route("/api.ControlApi/Apply", post(apply))
        .route("/api.ControlApi/Delete", post(delete))
        .route("/api.ControlApi/Get", post(get))
        .route("/api.ControlApi/Healthz", post(healthz))
        .with_state(service)
}

impl Service {
    /// One request, one answer; without the key, a refusal.
    async fn unary<Q, A, F>(
        self,
        request: Request,
        act: impl FnOnce(Arc<Plane>, Q) -> F,
    ) -> Response
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
        F: Future<Output = Result<A, Status>> + Send,
    {
        let allowed = self.key.check(request.headers());
        let mut act = Some(act);
        let answer = service_fn(move |request: tonic::Request<Q>| {
            let act = act.take();
            let plane = Arc::clone(&self.plane);
            let future = act.map(|act| act(plane, request.into_inner()));
            async move {
                let future = future.ok_or_else(|| Status::internal("asked twice"))?;
                future.await.map(tonic::Response::new)
            }
        });
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<A, Q>::default());
        let response = match allowed {
            Ok(()) => grpc.unary(answer, request).await,
            Err(error) => refuse(&error).into_http(),
        };
        response.map(Body::new)
    }
}

/// Why a request without the key goes no further.
fn refuse(error: &ControlError) -> Status {
    match error.code {
        ErrorCode::Unauthorized => Status::unauthenticated(&error.message),
        _ => Status::permission_denied(&error.message),
    }
}

async fn create(State(service): State<Service>, request: Request) -> Response {
    service
        .unary(request, |plane, put_request| {
            put(plane, put_request, Mode::Create)
        })
        .await
}

async fn apply(State(service): State<Service>, request: Request) -> Response {
    service
        .unary(request, |plane, put_request| {
            put(plane, put_request, Mode::Apply)
        })
        .await
}

async fn put(
    plane: Arc<Plane>,
    request: wire::PutRequest,
    mode: Mode,
) -> Result<wire::PutResponse, Status> {
    let done = async {
        let (fid, element) = fid_and_element(&request.parent_fid, request.el)?;
        plane.put(&fid, element, mode).await
    };
    Ok(match done.await {
        Ok(Outcome { sids, .. }) => wire::PutResponse {
            sid: sids
                .into_iter()
                .map(|(id, sid)| (id.to_string(), sid))
                .collect(),
            error: None,
        },
        Err(error) => wire::PutResponse {
            sid: HashMap::new(),
            error: Some(proto_error(error)),
        },
    })
}

async fn delete(State(service): State<Service>, request: Request) -> Response {
    let act = |plane: Arc<Plane>, request: wire::IdRequest| async move {
        let done = async {
            let fids = fids(&request.fid)?;
            plane.delete(&fids).await
        };
        let error = done.await.err().map(proto_error);
        Ok(wire::DeleteResponse { error })
    };
    service.unary(request, act).await
}

async fn get(State(service): State<Service>, request: Request) -> Response {
    let act = |plane: Arc<Plane>, request: wire::IdRequest| async move {
        let found = async {
            let fids = fids(&request.fid)?;
            plane.get(&fids).await
        };
        let (elements, error) = match found.await {
            Ok(found) => {
                let elements = found.into_iter().filter_map(|(fid, element)| {
                    let name = fid.to_string();
                    Some((name, proto_element(&fid, element)?))
                });
                (elements.collect(), None)
            }
            Err(error) => (HashMap::new(), Some(proto_error(error))),
        };
        Ok(wire::GetResponse { elements, error })
    };
    service.unary(request, act).await
}

async fn healthz(State(service): State<Service>, request: Request) -> Response {
    let act = |plane: Arc<Plane>, ping: wire::Nonce| async move {
        let not_ready = plane.health.read().await.not_ready(plane.clock.now());
        match not_ready {
            None => Ok(ping),
            Some(why) => Err(Status::unavailable(why)),
        }
    };
    service.unary(request, act).await
}

fn fids(texts: &[String]) -> Result<Vec<Fid>, ControlError> {
    texts.iter().map(|text| Fid::parse(text)).collect()
}

fn proto_error(error: ControlError) -> wire::Error {
    wire::Error {
        code: error.code.number(),
        text: error.message,
        doc: format!("/v1/docs#{}", error.code.text()),
        element: match error.element.as_str() {
            "-" => String::new(),
            _ => error.element,
        },
    }
}

/// Asks or tells the callback service at `grpc://host:port`.
pub(super) async fn call_back(url: &str, event: &Event) -> Result<(), String> {
    let kind = match event.kind {
        EventKind::Join => wire::CallbackEvent::OnJoin(wire::Empty {}),
        EventKind::Leave { reason } => {
            let reason = match reason {
                LeaveWord::Disconnected => wire::Reason::Disconnected,
                LeaveWord::Lost => wire::Reason::Lost,
                LeaveWord::Kicked => wire::Reason::Kicked,
                LeaveWord::ServerShutdown => wire::Reason::Shutdown,
            };
            wire::CallbackEvent::OnLeave(wire::OnLeave {
                reason: reason.into(),
            })
        }
        // Refused when the spec is compiled.
        EventKind::Start { .. } | EventKind::Stop { .. } => {
            return Err("the gRPC callback service has no word for media".to_owned());
        }
    };
    let request = wire::CallbackRequest {
        fid: event.fid.clone(),
        at: event.at.clone(),
        event: Some(kind),
    };
    let http = url.replacen("grpc://", "http://", 1);
    let endpoint = Endpoint::from_shared(http).map_err(|e| e.to_string())?;
    let channel = endpoint.connect().await.map_err(|e| e.to_string())?;
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|e| e.to_string())?;
    let path = PathAndQuery::from_static("/callback.Callback/OnEvent");
    let codec = ProstCodec::<wire::CallbackRequest, wire::Empty>::default();
    let done = grpc.unary(tonic::Request::new(request), path, codec).await;
    done.map(drop)
        .map_err(|status| format!("{}: {}", status.code(), status.message()))
}
