//! A client's half of Colchis' own signalling (docs/protocol.md), as far as a load needs it: events in, commands out. It knows
//! nothing of sockets.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::describe::{DescribeError, Describer, Remote, Sending};

/// Why a conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// An event without something the protocol promises.
    #[error("{event}: {what} is missing or of a wrong kind")]
    Event {
        /// Its name.
        event: String,
        /// What is missing.
        what: &'static str,
    },
    /// The member is out.
    #[error("the server closed the room for this member: {0}")]
    Left(String),
    /// A description.
    #[error(transparent)]
    Describe(#[from] DescribeError),
}

/// A track the server has told.
#[derive(Debug, Clone)]
struct Track {
    sends: bool,
    video: bool,
    display: bool,
    mid: Option<String>,
}

/// One member's conversation about one room.
#[derive(Debug)]
pub struct Signal {
    room: String,
    member: String,
    describer: Describer,
    peer: Option<u64>,
    joined: bool,
    tracks: BTreeMap<u64, Track>,
    connection: Option<(Remote, Vec<Sending>)>,
}

impl Signal {
    /// A member that has not joined.
    pub fn new(room: &str, member: &str, describer: Describer) -> Self {
        Self {
            room: room.to_owned(),
            member: member.to_owned(),
            describer,
            peer: None,
            joined: false,
            tracks: BTreeMap::new(),
            connection: None,
        }
    }

    /// The command that joins.
    pub fn join(&self, credential: &str) -> Value {
        self.command(
            "JoinRoom",
            &json!({"member_id": self.member, "credential": credential,
                "capabilities": {"audio_tx": [], "audio_rx": [], "video_tx": [], "video_rx": []}}),
        )
    }

    /// The command that leaves.
    pub fn leave(&self) -> Value {
        self.command("LeaveRoom", &json!({"member_id": self.member}))
    }

    /// Whether the server has let it in.
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// What the last negotiation has settled, once.
    pub fn take_connection(&mut self) -> Option<(Remote, Vec<Sending>)> {
        self.connection.take()
    }

    fn command(&self, name: &str, data: &Value) -> Value {
        json!({"Command": {"room_id": self.room, "command": {"command": name, "data": data}}})
    }

    /// Takes one event; the commands that answer it.
    ///
    /// # Errors
    /// See [`SignalError`].
    pub fn handle(&mut self, event: &Value) -> Result<Vec<Value>, SignalError> {
        let (name, data) = (event["event"].as_str().unwrap_or_default(), &event["data"]);
        let missing = |what| SignalError::Event {
            event: name.to_owned(),
            what,
        };
        match name {
            "RoomJoined" => self.joined = true,
            "RoomLeft" => {
                let reason = data["close_reason"].as_str().unwrap_or("no reason");
                return Err(SignalError::Left(reason.to_owned()));
            }
            "PeerCreated" => {
                self.peer = Some(data["peer_id"].as_u64().ok_or(missing("peer_id"))?);
                self.tracks.clear();
                for track in data["tracks"].as_array().ok_or(missing("tracks"))? {
                    self.add(track).ok_or(missing("a track"))?;
                }
                return self.negotiate(&data["negotiation_role"]);
            }
            "PeerUpdated" => {
                for update in data["updates"].as_array().ok_or(missing("updates"))? {
                    if let Some(track) = update.get("Added") {
                        self.add(track).ok_or(missing("a track"))?;
                    } else if let Some(id) = update.get("Removed").and_then(Value::as_u64) {
                        self.tracks.remove(&id);
                    }
                }
                return self.negotiate(&data["negotiation_role"]);
            }
            "SdpAnswerMade" => {
                let answer = data["sdp_answer"].as_str();
                let answer = answer.ok_or(missing("sdp_answer"))?;
                self.connection = Some(self.describer.learn(answer)?);
            }
            // Candidates are in the descriptions, quality and the rest are of no interest here.
            _ => {}
        }
        Ok(Vec::new())
    }

    fn add(&mut self, track: &Value) -> Option<()> {
        let video = track["media_type"].get("Video");
        let media = video.or_else(|| track["media_type"].get("Audio"))?;
        let sends = track["direction"].get("Send");
        let side = sends.or_else(|| track["direction"].get("Recv"))?;
        let info = Track {
            sends: sends.is_some(),
            video: video.is_some(),
            display: media["source_kind"] == "Display",
            mid: side["mid"].as_str().map(str::to_owned),
        };
        self.tracks.insert(track["id"].as_u64()?, info);
        Some(())
    }

    fn negotiate(&mut self, role: &Value) -> Result<Vec<Value>, SignalError> {
        if role.is_null() {
            return Ok(Vec::new());
        }
        if let Some(offer) = role["Answerer"].as_str() {
            let answer = self.describer.answer(offer)?;
            self.connection = Some(self.describer.learn(offer)?);
            let data = json!({"peer_id": self.peer, "sdp_answer": answer,
                "transceivers_statuses": self.statuses()});
            return Ok(vec![self.command("MakeSdpAnswer", &data)]);
        }
        for track in self.tracks.values_mut().filter(|t| t.mid.is_none()) {
            // Screens are never shared: their m-sections stay silent.
            track.mid = Some(self.describer.add(track.video, track.sends));
        }
        let offer = self.describer.offer();
        let mids: BTreeMap<u64, &str> = self
            .tracks
            .iter()
            .filter_map(|(id, t)| Some((*id, t.mid.as_deref()?)))
            .collect();
        let data = json!({"peer_id": self.peer, "sdp_offer": offer, "mids": mids,
            "transceivers_statuses": self.statuses()});
        Ok(vec![self.command("MakeSdpOffer", &data)])
    }

    fn statuses(&self) -> BTreeMap<u64, bool> {
        let sent = self.tracks.iter().filter(|(_, t)| t.sends);
        sent.map(|(id, t)| (*id, !t.display)).collect()
    }

    /// Those streams that are of camera or microphone: screens are never shared.
    pub fn devices_of(&self, mut sending: Vec<Sending>) -> Vec<Sending> {
        let screens = self.tracks.values().filter(|t| t.sends && t.display);
        let mids: Vec<&str> = screens.filter_map(|t| t.mid.as_deref()).collect();
        sending.retain(|s| {
            let mid = self.describer.mid_of(s.ssrc);
            mid.is_none_or(|mid| !mids.contains(&mid))
        });
        sending
    }
}

/// `room` as the Control API takes it: publishers, and members that receive all they send.
pub fn room_spec(room: &str, crowd: super::Crowd, audio: bool, video: bool) -> Value {
    let mut pipeline = serde_json::Map::new();
    pipeline.insert("all".to_owned(), json!({"kind": "Hub"}));
    let kinds: Vec<&str> = [("audio", audio), ("video", video)]
        .into_iter()
        .filter_map(|(kind, on)| on.then_some(kind))
        .collect();
    let room_seats = super::Crowd { rooms: 1, ..crowd };
    for seat in super::Seat::all(room_seats) {
        let mut endpoints = serde_json::Map::new();
        if seat.publishes {
            let spec = json!({"hub": "all", "kinds": kinds});
            endpoints.insert(
                "out".to_owned(),
                json!({"kind": "WebRtcPublishEndpoint", "spec": spec}),
            );
        }
        if !seat.publishes || crowd.all_to_all {
            endpoints.insert(
                "in".to_owned(),
                json!({"kind": "WebRtcPlayEndpoint", "spec": {"src": format!("local://{room}/all")}}),
            );
        }
        pipeline.insert(
            seat.member(),
            json!({"kind": "Member", "credentials": {"plain": "load"}, "spec": {"pipeline": endpoints}}),
        );
    }
    json!({"kind": "Room", "p2p": "Never", "spec": {"pipeline": pipeline}})
}
