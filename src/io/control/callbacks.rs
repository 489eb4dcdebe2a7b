//! Asks and tells whoever made a room, in order per room: one task per room that has something to say.
//!
//! `http://` and `https://` get a signed POST, `grpc://` the public callback service. What is no question is tried
//! again with growing pauses; a question has one try, because a client waits for its answer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::plane::Plane;
use crate::bus::control::{Answer, LeaveReason, MediaChange, Ticket};
use crate::config;
use crate::control::fid::Fid;
use crate::control::store::JoinAnswer;
use crate::id::RoomId;
use crate::io::signalling::SignallingRequest;
use crate::limits::{CALLBACK_ROOMS_MAX, CALLBACKS_PER_ROOM_MAX, JOIN_ANSWER_BYTES_MAX};

/// First pause before another try; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked or told. Its JSON is the body of an HTTP callback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    /// Full id of the element.
    pub(super) fid: String,
    /// When it happened, RFC 3339.
    pub(super) at: String,
    /// What.
    #[serde(flatten)]
    pub(super) kind: EventKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "event")]
pub(super) enum EventKind {
    #[serde(rename = "on_join")]
    Join,
    #[serde(rename = "on_leave")]
    Leave { reason: LeaveWord },
    #[serde(rename = "on_start")]
    Start { media: MediaWord },
    #[serde(rename = "on_stop")]
    Stop { media: MediaWord, reason: StopWord },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LeaveWord {
    Disconnected,
    Lost,
    Kicked,
    ServerShutdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MediaWord {
    Audio,
    Video,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StopWord {
    Muted,
    NoMedia,
    Removed,
}

impl From<LeaveReason> for LeaveWord {
    fn from(reason: LeaveReason) -> Self {
        match reason {
            LeaveReason::Disconnected => Self::Disconnected,
            LeaveReason::Lost => Self::Lost,
            LeaveReason::Kicked => Self::Kicked,
            LeaveReason::ServerShutdown => Self::ServerShutdown,
        }
    }
}

impl EventKind {
    /// Media of an endpoint has started or stopped.
    pub(super) fn media(video: bool, change: MediaChange) -> Self {
        let media = match video {
            true => MediaWord::Video,
            false => MediaWord::Audio,
        };
        let stop = |reason| Self::Stop { media, reason };
        match change {
            MediaChange::Started => Self::Start { media },
            MediaChange::Muted => stop(StopWord::Muted),
            MediaChange::NoMedia => stop(StopWord::NoMedia),
            MediaChange::Removed => stop(StopWord::Removed),
        }
    }
}

/// A callback on its way.
struct Job {
    url: String,
    event: Event,
    /// Who waits for the answer.
    ticket: Option<Ticket>,
}

type Queues = HashMap<RoomId, VecDeque<Job>>;

/// Sends callbacks. Clone it for every user.
#[derive(Clone)]
pub(super) struct Callbacks {
    plane: Arc<Plane>,
    http: reqwest::Client,
    settings: Arc<config::Callbacks>,
    queues: Arc<Mutex<Queues>>,
}

impl Callbacks {
    pub(super) fn new(
        plane: Arc<Plane>,
        settings: config::Callbacks,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_millis(u64::from(settings.timeout_ms)))
            .build()?;
        Ok(Self {
            plane,
            http,
            settings: Arc::new(settings),
            queues: Arc::default(),
        })
    }

    /// Puts a callback behind those of its room. `false`: too many wait.
    pub(super) fn push(
        &self,
        room: &RoomId,
        url: String,
        fid: String,
        kind: EventKind,
        ticket: Option<Ticket>,
    ) -> bool {
        let at = OffsetDateTime::now_utc();
        let event = Event {
            fid,
            at: at.format(&Rfc3339).unwrap_or_default(),
            kind,
        };
        let job = Job { url, event, ticket };
        let mut queues = self.queues();
        let rooms = queues.len();
        match queues.get_mut(room) {
            Some(queue) if queue.len() >= CALLBACKS_PER_ROOM_MAX => return false,
            Some(queue) => queue.push_back(job),
            None if rooms >= CALLBACK_ROOMS_MAX => return false,
            None => {
                queues.insert(room.clone(), VecDeque::from([job]));
                tokio::spawn(self.clone().run(room.clone()));
            }
        }
        true
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.queues().is_empty()
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self, room: RoomId) {
        loop {
            let job = {
                let mut queues = self.queues();
                let job = queues.get_mut(&room).and_then(VecDeque::pop_front);
                if job.is_none() {
                    queues.remove(&room);
                }
                job
            };
            match job {
                None => return,
                Some(Job {
                    url,
                    event,
                    ticket: Some(ticket),
                }) => self.ask(&room, &url, &event, ticket).await,
                Some(job) => self.tell(&job.url, &job.event).await,
            }
        }
    }

    async fn ask(&self, room: &RoomId, url: &str, event: &Event, ticket: Ticket) {
        let answer = match self.join(room, url, event).await {
            Ok(()) => Answer::Yes,
            Err(why) => {
                tracing::info!(fid = event.fid, url, why, "on_join: the member is refused");
                Answer::No
            }
        };
        let answered = self
            .plane
            .send(SignallingRequest::Answer { ticket, answer })
            .await;
        if answered.is_err() {
            tracing::error!(
                fid = event.fid,
                "signalling takes no answers: the join runs out of time"
            );
        }
    }

    /// Asks, and takes in what is answered besides yes.
    async fn join(&self, room: &RoomId, url: &str, event: &Event) -> Result<(), String> {
        if url.starts_with("grpc://") {
            return self.send_grpc(url, event).await;
        }
        let answer = join_answer(self.post(url, event).await?).await?;
        let Ok(Fid::Member(_, member)) = Fid::parse(&event.fid) else {
            return Ok(());
        };
        let amended = self.plane.amend(room, &member, &answer).await;
        amended.map_err(|e| format!("its answer cannot be taken: {}", e.message))
    }

    async fn tell(&self, url: &str, event: &Event) {
        let mut pause = PAUSE;
        for last in (0..self.settings.tries).rev() {
            match self.send(url, event).await {
                Ok(()) => return,
                Err(why) if last == 0 => {
                    let tries = self.settings.tries;
                    tracing::error!(fid = event.fid, url, why, tries, "a callback is given up");
                }
                Err(why) => {
                    tracing::debug!(fid = event.fid, url, why, "a callback is tried again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    async fn send(&self, url: &str, event: &Event) -> Result<(), String> {
        match url.starts_with("grpc://") {
            true => self.send_grpc(url, event).await,
            false => self.post(url, event).await.map(drop),
        }
    }

    async fn post(&self, url: &str, event: &Event) -> Result<reqwest::Response, String> {
        let body = serde_json::to_string(event).map_err(|e| e.to_string())?;
        let mut request = self
            .http
            .post(url)
            .header("content-type", "application/json");
        if let Some(key) = &self.settings.signing_key {
            let now_s = OffsetDateTime::now_utc().unix_timestamp();
            request = request.header("colchis-signature", signature(key, now_s, &body));
        }
        let answer = request.body(body).send().await.map_err(|e| e.to_string())?;
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(format!("status {}", answer.status())),
        }
    }

    #[cfg(feature = "grpc")]
    async fn send_grpc(&self, url: &str, event: &Event) -> Result<(), String> {
        let within = Duration::from_millis(u64::from(self.settings.timeout_ms));
        match tokio::time::timeout(within, super::grpc::call_back(url, event)).await {
            Ok(done) => done,
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    #[cfg(not(feature = "grpc"))]
    async fn send_grpc(&self, _url: &str, _event: &Event) -> Result<(), String> {
        Err("this server is built without gRPC".to_owned())
    }
}

/// What is said besides yes: nothing, unless it is JSON.
async fn join_answer(mut answer: reqwest::Response) -> Result<JoinAnswer, String> {
    let kind = answer.headers().get("content-type");
    let is_json = kind.is_some_and(|k| k.as_bytes().starts_with(b"application/json"));
    if !is_json {
        return Ok(JoinAnswer::default());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| e.to_string())? {
        body.extend_from_slice(&chunk);
        if body.len() > JOIN_ANSWER_BYTES_MAX {
            return Err(format!(
                "its answer has more than {JOIN_ANSWER_BYTES_MAX} bytes"
            ));
        }
    }
    if body.is_empty() {
        return Ok(JoinAnswer::default());
    }
    serde_json::from_slice(&body).map_err(|e| format!("its answer is not understood: {e}"))
}

/// `t=<seconds since 1970>,v1=<HMAC-SHA-256 of "<t>.<body>" in hexadecimal>`
fn signature(key: &str, unix_s: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, format!("{unix_s}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("t={unix_s},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_say_what_happened() {
        let body = |kind| {
            let event = Event {
                fid: "r/m".to_owned(),
                at: "2026-01-01T00:00:00Z".to_owned(),
                kind,
            };
            serde_json::to_string(&event).unwrap()
        };
        assert_eq!(
            body(EventKind::Join),
            r#"{"fid":"r/m","at":"2026-01-01T00:00:00Z","event":"on_join"}"#
        );
        let stop = EventKind::media(true, MediaChange::NoMedia);
        assert!(body(stop).ends_with(r#""event":"on_stop","media":"video","reason":"no_media"}"#));
    }

    #[test]
    fn signatures_cover_time_and_body() {
        // printf '1.{}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signature("key", 1, "{}"),
            "t=1,v1=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
        );
    }
}
