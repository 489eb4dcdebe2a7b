//! The two ways into the Control API, as one: what to do, in words both can render, and what came of it.

use std::collections::BTreeMap;

use medea_control_api_proto::grpc::api as proto;
use medea_control_api_proto::grpc::api::control_api_client::ControlApiClient;
use medea_control_api_proto::member::Sid;
use medea_control_api_proto::{Element, Fid};
use serde_json::{Value, json};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::server::{KEY, Server};

/// An element both ways have words for.
#[derive(Debug, Clone)]
pub enum El {
    Room(Vec<(&'static str, Member)>),
    Member(Member),
    Publish { p2p: i32, policy: i32, relay: bool },
    Play { src: &'static str },
}

/// A member both ways have words for.
#[derive(Debug, Clone, Default)]
pub struct Member {
    pub plain: Option<&'static str>,
    pub hash: Option<&'static str>,
    pub on_join: String,
    pub on_leave: String,
    pub idle_ms: Option<i64>,
    pub endpoints: Vec<(&'static str, El)>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Apply,
}

/// Refused: number of the code, and element.
pub type Refusal = (u32, String);

/// What came of it: URL by member, or the refusal.
pub type Done = Result<BTreeMap<String, String>, Refusal>;

const P2P: [&str; 3] = ["Never", "IfPossible", "Always"];
const POLICY: [&str; 3] = ["Optional", "Required", "Disabled"];

impl El {
    pub fn json(&self) -> Value {
        match self {
            El::Room(members) => {
                let pipeline: serde_json::Map<String, Value> = members
                    .iter()
                    .map(|(id, m)| ((*id).to_owned(), m.json()))
                    .collect();
                json!({"kind": "Room", "spec": {"pipeline": pipeline}})
            }
            El::Member(member) => member.json(),
            El::Publish { p2p, policy, relay } => {
                let policy = json!({"publish_policy": POLICY[*policy as usize]});
                json!({"kind": "WebRtcPublishEndpoint", "spec": {
                    "p2p": P2P[*p2p as usize], "force_relay": relay,
                    "audio_settings": policy, "video_settings": policy}})
            }
            El::Play { src } => json!({"kind": "WebRtcPlayEndpoint", "spec": {"src": src}}),
        }
    }

    fn proto(&self, id: &str) -> proto::create_request::El {
        use proto::create_request::El as To;
        match self {
            El::Room(members) => To::Room(proto::Room {
                id: id.to_owned(),
                pipeline: members
                    .iter()
                    .map(|(id, m)| {
                        let el = proto::room::element::El::Member(m.proto(id));
                        ((*id).to_owned(), proto::room::Element { el: Some(el) })
                    })
                    .collect(),
            }),
            El::Member(member) => To::Member(member.proto(id)),
            El::Publish { .. } | El::Play { .. } => match self.child(id) {
                proto::member::element::El::WebrtcPub(p) => To::WebrtcPub(p),
                proto::member::element::El::WebrtcPlay(p) => To::WebrtcPlay(p),
            },
        }
    }

    fn child(&self, id: &str) -> proto::member::element::El {
        use proto::member::element::El as To;
        use proto::web_rtc_publish_endpoint::{AudioSettings, VideoSettings};
        match self {
            El::Publish { p2p, policy, relay } => To::WebrtcPub(proto::WebRtcPublishEndpoint {
                id: id.to_owned(),
                p2p: *p2p,
                force_relay: *relay,
                audio_settings: Some(AudioSettings {
                    publish_policy: *policy,
                }),
                video_settings: Some(VideoSettings {
                    publish_policy: *policy,
                }),
                ..Default::default()
            }),
            El::Play { src } => To::WebrtcPlay(proto::WebRtcPlayEndpoint {
                id: id.to_owned(),
                src: (*src).to_owned(),
                ..Default::default()
            }),
            other => panic!("{other:?} is no endpoint"),
        }
    }
}

impl Member {
    fn json(&self) -> Value {
        let mut value = json!({"kind": "Member"});
        if self.plain.is_some() || self.hash.is_some() {
            let mut credentials = serde_json::Map::new();
            for (key, text) in [("plain", self.plain), ("hash", self.hash)] {
                if let Some(text) = text {
                    credentials.insert(key.to_owned(), json!(text));
                }
            }
            value["credentials"] = Value::Object(credentials);
        }
        for (key, url) in [("on_join", &self.on_join), ("on_leave", &self.on_leave)] {
            if !url.is_empty() {
                value[key] = json!(url);
            }
        }
        if let Some(ms) = self.idle_ms {
            value["idle_timeout"] = json!(format!("{ms}ms"));
        }
        let pipeline: serde_json::Map<String, Value> = self
            .endpoints
            .iter()
            .map(|(id, e)| ((*id).to_owned(), e.json()))
            .collect();
        value["spec"] = json!({"pipeline": pipeline});
        value
    }

    fn proto(&self, id: &str) -> proto::Member {
        let credentials = match (self.plain, self.hash) {
            (Some(plain), _) => Some(proto::member::Credentials::Plain(plain.to_owned())),
            (None, Some(hash)) => Some(proto::member::Credentials::Hash(hash.to_owned())),
            (None, None) => None,
        };
        proto::Member {
            id: id.to_owned(),
            on_join: self.on_join.clone(),
            on_leave: self.on_leave.clone(),
            credentials,
            idle_timeout: self.idle_ms.map(|ms| prost_types::Duration {
                seconds: ms / 1000,
                nanos: (ms % 1000) as i32 * 1_000_000,
            }),
            pipeline: self
                .endpoints
                .iter()
                .map(|(id, e)| {
                    let el = Some(e.child(id));
                    ((*id).to_owned(), proto::member::Element { el })
                })
                .collect(),
            ..Default::default()
        }
    }
}

/// REST.
pub struct Rest {
    http: reqwest::Client,
    base: String,
}

impl Rest {
    pub fn new(server: &Server) -> Self {
        Self {
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("client"),
            base: server.url("/v1/rooms"),
        }
    }

    /// One call; status and body.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let method: reqwest::Method = method.parse().expect("a method");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(KEY);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn put(&self, verb: Verb, fid: &str, el: &El) -> Done {
        let method = match verb {
            Verb::Create => "POST",
            Verb::Apply => "PUT",
        };
        let (status, body) = self
            .call(method, &format!("/{fid}"), Some(&el.json()))
            .await;
        if status < 300 {
            let sids = body["sids"].as_object().expect("sids");
            let text = |v: &Value| v.as_str().expect("a URL").to_owned();
            return Ok(sids.iter().map(|(k, v)| (k.clone(), text(v))).collect());
        }
        Err(refusal(status, &body))
    }

    async fn delete(&self, fids: &[&str]) -> Result<(), Refusal> {
        for fid in fids {
            let (status, body) = self.call("DELETE", &format!("/{fid}"), None).await;
            if status != 204 {
                return Err(refusal(status, &body));
            }
        }
        Ok(())
    }

    async fn get(&self, fids: &[&str]) -> Result<Vec<String>, Refusal> {
        let mut out = Vec::new();
        for fid in fids {
            let (status, body) = self.call("GET", &format!("/{fid}"), None).await;
            match status {
                200 => out.extend(
                    body["elements"]
                        .as_object()
                        .expect("elements")
                        .keys()
                        .cloned(),
                ),
                404 => {}
                status => return Err(refusal(status, &body)),
            }
        }
        Ok(out)
    }
}

/// The number of a REST answer's code, as gRPC has it.
fn refusal(status: u16, body: &Value) -> Refusal {
    let code = body["code"]
        .as_str()
        .unwrap_or_else(|| panic!("status {status}: {body}"));
    let known = colchis::control::error::ErrorCode::ALL;
    let code = known
        .iter()
        .find(|c| c.text() == code)
        .expect("a known code");
    assert_eq!(code.status(), status, "{body}");
    assert!(body["type"].as_str().expect("type").ends_with(code.text()));
    (
        code.number(),
        body["element"].as_str().unwrap_or("").to_owned(),
    )
}

type Keyed = InterceptedService<
    Channel,
    fn(tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status>,
>;

/// gRPC, by the public crate's client.
pub struct Grpc(pub ControlApiClient<Keyed>);

fn with_key(mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
    let key = format!("Bearer {KEY}").parse().expect("metadata");
    request.metadata_mut().insert("authorization", key);
    Ok(request)
}

impl Grpc {
    pub async fn new(server: &Server) -> Self {
        let endpoint = Channel::from_shared(server.url("")).expect("a URL");
        let channel = endpoint.connect().await.expect("connected");
        Self(ControlApiClient::with_interceptor(channel, with_key))
    }

    async fn put(&mut self, verb: Verb, fid: &str, el: &El) -> Done {
        let (parent, id) = fid.rsplit_once('/').unwrap_or(("", fid));
        let el = el.proto(id);
        let answer = match verb {
            Verb::Create => {
                let request = proto::CreateRequest {
                    parent_fid: parent.to_owned(),
                    el: Some(el),
                };
                self.0.create(request).await
            }
            Verb::Apply => {
                use proto::{apply_request::El as To, create_request::El as From};
                let el = match el {
                    From::Room(e) => To::Room(e),
                    From::Member(e) => To::Member(e),
                    From::WebrtcPlay(e) => To::WebrtcPlay(e),
                    From::WebrtcPub(e) => To::WebrtcPub(e),
                };
                let request = proto::ApplyRequest {
                    // As existing services do for rooms.
                    parent_fid: if parent.is_empty() { id } else { parent }.to_owned(),
                    el: Some(el),
                };
                self.0.apply(request).await
            }
        };
        let answer = answer.expect("an answer").into_inner();
        match answer.error {
            None => {
                for sid in answer.sid.values() {
                    sid.parse::<Sid>().unwrap_or_else(|e| panic!("{sid}: {e}"));
                }
                Ok(answer.sid.into_iter().collect())
            }
            Some(error) => Err((error.code, error.element)),
        }
    }

    async fn delete(&mut self, fids: &[&str]) -> Result<(), Refusal> {
        let fid = fids.iter().map(|f| (*f).to_owned()).collect();
        let answer = self.0.delete(proto::IdRequest { fid }).await;
        match answer.expect("an answer").into_inner().error {
            None => Ok(()),
            Some(error) => Err((error.code, error.element)),
        }
    }

    async fn get(&mut self, fids: &[&str]) -> Result<Vec<String>, Refusal> {
        let fid = fids.iter().map(|f| (*f).to_owned()).collect();
        let answer = self.0.get(proto::IdRequest { fid }).await;
        let answer = answer.expect("an answer").into_inner();
        if let Some(error) = answer.error {
            return Err((error.code, error.element));
        }
        let mut out = Vec::new();
        for (fid, element) in answer.elements {
            // Whatever we say parses with the crate's own types.
            let id: Fid = fid.parse().expect("a full id");
            let el = element.el.expect("an element");
            Element::try_from(proto::Element { el: Some(el) })
                .unwrap_or_else(|e| panic!("{id}: {e}"));
            out.push(fid);
        }
        Ok(out)
    }
}

/// Either.
pub enum Way {
    Rest(Rest),
    Grpc(Grpc),
}

impl Way {
    pub async fn put(&mut self, verb: Verb, fid: &str, el: &El) -> Done {
        match self {
            Way::Rest(rest) => rest.put(verb, fid, el).await,
            Way::Grpc(grpc) => grpc.put(verb, fid, el).await,
        }
    }

    pub async fn delete(&mut self, fids: &[&str]) -> Result<(), Refusal> {
        match self {
            Way::Rest(rest) => rest.delete(fids).await,
            Way::Grpc(grpc) => grpc.delete(fids).await,
        }
    }

    pub async fn get(&mut self, fids: &[&str]) -> Result<Vec<String>, Refusal> {
        let mut found = match self {
            Way::Rest(rest) => rest.get(fids).await?,
            Way::Grpc(grpc) => grpc.get(fids).await?,
        };
        found.sort();
        Ok(found)
    }
}
