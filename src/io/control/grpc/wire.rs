//! The messages of the public services `api.ControlApi` and `callback.Callback` (protocol buffers 3), by tag.
//!
//! Written by hand, so that a build needs no `protoc`; `tests/control_oracle.rs` holds them to the public crate's own.

use std::collections::HashMap;

use prost::{Enumeration, Message, Oneof};

/// `CreateRequest` and `ApplyRequest`, which are the same on the wire.
#[derive(Clone, PartialEq, Message)]
pub struct PutRequest {
    #[prost(string, tag = "1")]
    pub parent_fid: String,
    #[prost(oneof = "PutElement", tags = "2, 3, 4, 5")]
    pub el: Option<PutElement>,
}

/// What is put.
#[derive(Clone, PartialEq, Oneof)]
pub enum PutElement {
    #[prost(message, tag = "2")]
    Member(Member),
    #[prost(message, tag = "3")]
    Room(Room),
    #[prost(message, tag = "4")]
    Play(WebRtcPlayEndpoint),
    #[prost(message, tag = "5")]
    Publish(WebRtcPublishEndpoint),
}

/// `IdRequest`
#[derive(Clone, PartialEq, Message)]
pub struct IdRequest {
    #[prost(string, repeated, tag = "1")]
    pub fid: Vec<String>,
}

/// `Response`
#[derive(Clone, PartialEq, Message)]
pub struct DeleteResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<Error>,
}

/// `CreateResponse`
#[derive(Clone, PartialEq, Message)]
pub struct PutResponse {
    #[prost(map = "string, string", tag = "1")]
    pub sid: HashMap<String, String>,
    #[prost(message, optional, tag = "2")]
    pub error: Option<Error>,
}

/// `GetResponse`
#[derive(Clone, PartialEq, Message)]
pub struct GetResponse {
    #[prost(map = "string, message", tag = "1")]
    pub elements: HashMap<String, Element>,
    #[prost(message, optional, tag = "2")]
    pub error: Option<Error>,
}

/// `Error`
#[derive(Clone, PartialEq, Message)]
pub struct Error {
    #[prost(uint32, tag = "1")]
    pub code: u32,
    #[prost(string, tag = "2")]
    pub text: String,
    #[prost(string, tag = "3")]
    pub doc: String,
    #[prost(string, tag = "4")]
    pub element: String,
}

/// `Element`
#[derive(Clone, PartialEq, Message)]
pub struct Element {
    #[prost(oneof = "AnyElement", tags = "1, 2, 3, 4")]
    pub el: Option<AnyElement>,
}

/// What an [`Element`] is.
#[derive(Clone, PartialEq, Oneof)]
pub enum AnyElement {
    #[prost(message, tag = "1")]
    Member(Member),
    #[prost(message, tag = "2")]
    Room(Room),
    #[prost(message, tag = "3")]
    Play(WebRtcPlayEndpoint),
    #[prost(message, tag = "4")]
    Publish(WebRtcPublishEndpoint),
}

/// `Room`
#[derive(Clone, PartialEq, Message)]
pub struct Room {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(map = "string, message", tag = "2")]
    pub pipeline: HashMap<String, RoomElement>,
}

/// `Room.Element`
#[derive(Clone, PartialEq, Message)]
pub struct RoomElement {
    #[prost(oneof = "RoomChild", tags = "1, 2, 3")]
    pub el: Option<RoomChild>,
}

/// What a [`RoomElement`] is.
#[derive(Clone, PartialEq, Oneof)]
pub enum RoomChild {
    #[prost(message, tag = "1")]
    Member(Member),
    #[prost(message, tag = "2")]
    Play(WebRtcPlayEndpoint),
    #[prost(message, tag = "3")]
    Publish(WebRtcPublishEndpoint),
}

/// `Member`
#[derive(Clone, PartialEq, Message)]
pub struct Member {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub on_join: String,
    #[prost(string, tag = "3")]
    pub on_leave: String,
    #[prost(oneof = "Credentials", tags = "4, 5")]
    pub credentials: Option<Credentials>,
    #[prost(message, optional, tag = "6")]
    pub idle_timeout: Option<Duration>,
    #[prost(message, optional, tag = "7")]
    pub reconnect_timeout: Option<Duration>,
    #[prost(message, optional, tag = "8")]
    pub ping_interval: Option<Duration>,
    #[prost(map = "string, message", tag = "9")]
    pub pipeline: HashMap<String, MemberElement>,
}

/// `Member.credentials`
#[derive(Clone, PartialEq, Oneof)]
pub enum Credentials {
    #[prost(string, tag = "4")]
    Hash(String),
    #[prost(string, tag = "5")]
    Plain(String),
}

/// `Member.Element`
#[derive(Clone, PartialEq, Message)]
pub struct MemberElement {
    #[prost(oneof = "MemberChild", tags = "1, 2")]
    pub el: Option<MemberChild>,
}

/// What a [`MemberElement`] is.
#[derive(Clone, PartialEq, Oneof)]
pub enum MemberChild {
    #[prost(message, tag = "1")]
    Play(WebRtcPlayEndpoint),
    #[prost(message, tag = "2")]
    Publish(WebRtcPublishEndpoint),
}

/// `google.protobuf.Duration`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Duration {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `WebRtcPublishEndpoint`
#[derive(Clone, PartialEq, Message)]
pub struct WebRtcPublishEndpoint {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(enumeration = "P2p", tag = "2")]
    pub p2p: i32,
    #[prost(string, tag = "3")]
    pub on_start: String,
    #[prost(string, tag = "4")]
    pub on_stop: String,
    #[prost(bool, tag = "5")]
    pub force_relay: bool,
    #[prost(message, optional, tag = "6")]
    pub audio_settings: Option<Settings>,
    #[prost(message, optional, tag = "7")]
    pub video_settings: Option<Settings>,
}

/// `WebRtcPublishEndpoint.AudioSettings` and `VideoSettings`, which are the same on the wire.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Settings {
    #[prost(enumeration = "PublishPolicy", tag = "1")]
    pub publish_policy: i32,
}

/// `WebRtcPublishEndpoint.PublishPolicy`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum PublishPolicy {
    Optional = 0,
    Required = 1,
    Disabled = 2,
}

/// `WebRtcPublishEndpoint.P2P`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum P2p {
    Never = 0,
    IfPossible = 1,
    Always = 2,
}

/// `WebRtcPlayEndpoint`
#[derive(Clone, PartialEq, Message)]
pub struct WebRtcPlayEndpoint {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub src: String,
    #[prost(string, tag = "3")]
    pub on_start: String,
    #[prost(string, tag = "4")]
    pub on_stop: String,
    #[prost(bool, tag = "5")]
    pub force_relay: bool,
}

/// `Ping` and `Pong`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Nonce {
    #[prost(uint32, tag = "1")]
    pub nonce: u32,
}

/// `callback.Request`
#[derive(Clone, PartialEq, Message)]
pub struct CallbackRequest {
    #[prost(string, tag = "1")]
    pub fid: String,
    #[prost(string, tag = "2")]
    pub at: String,
    #[prost(oneof = "CallbackEvent", tags = "3, 4")]
    pub event: Option<CallbackEvent>,
}

/// What a [`CallbackRequest`] is about.
#[derive(Clone, Copy, PartialEq, Oneof)]
pub enum CallbackEvent {
    #[prost(message, tag = "3")]
    OnJoin(Empty),
    #[prost(message, tag = "4")]
    OnLeave(OnLeave),
}

/// `callback.OnJoin` and `callback.Response`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Empty {}

/// `callback.OnLeave`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct OnLeave {
    #[prost(enumeration = "Reason", tag = "1")]
    pub reason: i32,
}

/// `callback.OnLeave.Reason`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum Reason {
    Disconnected = 0,
    Lost = 1,
    Kicked = 2,
    Shutdown = 3,
}
