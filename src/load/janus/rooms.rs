//! Rooms of Janus' videoroom, made and removed. They stay when the session that has made them ends.

use serde_json::{Value, json};

use super::link::{JanusError, Link, Said, read};
use super::room;
use crate::load::Crowd;

const NO_SUCH_ROOM: u64 = 426;

/// A conversation that makes rooms, or removes them.
#[derive(Debug)]
pub struct Rooms {
    link: Link,
    bodies: std::vec::IntoIter<Value>,
    done: bool,
}

impl Rooms {
    /// Makes the rooms of a load anew.
    pub fn make(crowd: Crowd) -> Self {
        let bodies = (0..crowd.rooms).map(room).flat_map(|room| {
            let create = json!({"request": "create", "room": room, "permanent": false,
                "is_private": true, "publishers": crowd.publishers, "bitrate": 0, "fir_freq": 0,
                "audiocodec": "opus", "videocodec": "vp8", "notify_joining": false});
            // An earlier load may have left its rooms behind.
            [destroy(room), create]
        });
        Self::new(bodies.collect())
    }

    /// Removes them.
    pub fn remove(crowd: Crowd) -> Self {
        Self::new((0..crowd.rooms).map(room).map(destroy).collect())
    }

    fn new(bodies: Vec<Value>) -> Self {
        Self {
            link: Link::default(),
            bodies: bodies.into_iter(),
            done: false,
        }
    }

    /// The first request.
    pub fn begin(&mut self) -> Value {
        self.link.request("create")
    }

    /// Whether all is done.
    pub fn done(&self) -> bool {
        self.done
    }

    /// Takes one message; the next request, if one is due.
    ///
    /// # Errors
    /// See [`JanusError`].
    pub fn handle(&mut self, message: &Value) -> Result<Option<Value>, JanusError> {
        match read(message) {
            Ok(Said::Nothing) => return Ok(None),
            Ok(Said::Opened) => {
                if let Some(attach) = self.link.open(message)? {
                    return Ok(Some(attach));
                }
            }
            Ok(Said::Plugin(_)) => {}
            Err(JanusError::Refused { code, .. }) if code == NO_SUCH_ROOM => {}
            Err(error) => return Err(error),
        }
        let body = self.bodies.next();
        self.done = body.is_none();
        Ok(body.map(|body| self.link.message(body)))
    }
}

fn destroy(room: u64) -> Value {
    json!({"request": "destroy", "room": room, "permanent": false})
}
