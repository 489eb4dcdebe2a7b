//! A client's half of the Janus API (WebSocket transport, videoroom plugin of Janus 1.x), as far as a load needs it: messages
//! in, requests out. It knows nothing of sockets.
//!
//! Every client has a session and one handle. Publishers offer; subscribers get one offer with all streams of the room.

mod link;
mod rooms;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::{Value, json};

use self::link::{Link, Said, read};
use super::Seat;
use super::describe::{Describer, Remote, Sending};
use crate::time::Time;
pub use link::JanusError;
pub use rooms::Rooms;

/// WebSocket subprotocol.
pub const PROTOCOL: &str = "janus-protocol";
/// Janus ends sessions of which it has heard nothing for 60 s.
const KEEPALIVE: Duration = Duration::from_secs(25);
/// A subscriber may come before its publishers' handshakes are done: it asks again after this time.
const RETRY: Duration = Duration::from_millis(500);
/// So often.
const RETRIES_MAX: u32 = 60;
/// Number of the first room; far from those of the demo configuration.
const FIRST_ROOM: u64 = 100_000;
const NO_SUCH_FEED: u64 = 428;

/// What publishers send.
#[derive(Debug, Clone, Copy)]
pub struct Kinds {
    /// Audio.
    pub audio: bool,
    /// Video.
    pub video: bool,
}

/// One client's conversation about one room.
#[derive(Debug)]
pub struct Member {
    seat: Seat,
    publishers: usize,
    kinds: Kinds,
    link: Link,
    describer: Describer,
    connection: Option<(Remote, Vec<Sending>)>,
    retries: u32,
    retry_due: Time,
    keepalive_due: Time,
}

impl Member {
    /// A client that has not joined its room, where `publishers` send `kinds` each.
    pub fn new(seat: Seat, publishers: usize, kinds: Kinds, describer: Describer) -> Self {
        Self {
            seat,
            publishers,
            kinds,
            link: Link::default(),
            describer,
            connection: None,
            retries: 0,
            retry_due: Time::MAX,
            keepalive_due: Time::MAX,
        }
    }

    /// The first request.
    pub fn begin(&mut self, now: Time) -> Value {
        self.keepalive_due = now + KEEPALIVE;
        self.link.request("create")
    }

    /// When [`Member::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Time {
        self.retry_due.min(self.keepalive_due)
    }

    /// Requests that are due.
    pub fn handle_timeout(&mut self, now: Time) -> Vec<Value> {
        let mut requests = Vec::new();
        if now >= self.keepalive_due {
            self.keepalive_due = now + KEEPALIVE;
            requests.push(self.link.request("keepalive"));
        }
        if now >= self.retry_due {
            self.retry_due = Time::MAX;
            requests.push(self.join());
        }
        requests
    }

    /// What the last negotiation has settled, once.
    pub fn take_connection(&mut self) -> Option<(Remote, Vec<Sending>)> {
        self.connection.take()
    }

    /// Takes one message; the requests that answer it.
    ///
    /// # Errors
    /// See [`JanusError`].
    pub fn handle(&mut self, now: Time, message: &Value) -> Result<Vec<Value>, JanusError> {
        let data = match read(message) {
            Ok(Said::Nothing) => return Ok(Vec::new()),
            Ok(Said::Opened) => {
                let next = self.link.open(message)?;
                return Ok(vec![next.unwrap_or_else(|| self.join())]);
            }
            Ok(Said::Plugin(data)) => data,
            Err(JanusError::Refused { code, .. })
                if code == NO_SUCH_FEED && self.retries < RETRIES_MAX =>
            {
                self.retries += 1;
                self.retry_due = now + RETRY;
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let jsep = &message["jsep"];
        match (data["videoroom"].as_str(), jsep["type"].as_str()) {
            (_, Some("offer")) => self.answer(text_of(jsep)?),
            (_, Some("answer")) => {
                self.connection = Some(self.describer.learn(text_of(jsep)?)?);
                Ok(Vec::new())
            }
            (Some("joined"), _) => Ok(self.offer()),
            // Others of the room come and go.
            _ => Ok(Vec::new()),
        }
    }

    fn join(&mut self) -> Value {
        let room = room(self.seat.room);
        if self.seat.publishes {
            let id = feed(self.seat.place);
            let body = json!({"request": "join", "ptype": "publisher", "room": room, "id": id});
            return self.link.message(body);
        }
        let feeds = (0..self.publishers).map(|place| json!({"feed": feed(place)}));
        let streams: Vec<Value> = feeds.collect();
        self.link.message(
            json!({"request": "join", "ptype": "subscriber", "room": room, "streams": streams}),
        )
    }

    fn offer(&mut self) -> Vec<Value> {
        let Kinds { audio, video } = self.kinds;
        for is_video in [(audio, false), (video, true)]
            .into_iter()
            .filter_map(|(on, is_video)| on.then_some(is_video))
        {
            self.describer.add(is_video, true);
        }
        let offer = self.describer.offer();
        self.link
            .describe(json!({"request": "configure"}), "offer", &offer)
    }

    fn answer(&mut self, offer: &str) -> Result<Vec<Value>, JanusError> {
        let answer = self.describer.answer(offer)?;
        let (mut remote, sending) = self.describer.learn(offer)?;
        remote.controls = !remote.lite;
        self.connection = Some((remote, sending));
        let body = json!({"request": "start"});
        Ok(self.link.describe(body, "answer", &answer))
    }
}

fn text_of(jsep: &Value) -> Result<&str, JanusError> {
    jsep["sdp"].as_str().ok_or(JanusError::Message("jsep.sdp"))
}

fn room(number: usize) -> u64 {
    FIRST_ROOM + number as u64
}

/// What a publisher is called by those who subscribe to it.
fn feed(place: usize) -> u64 {
    1 + place as u64
}
