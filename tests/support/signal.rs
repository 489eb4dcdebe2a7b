//! The client's half of the signalling protocol (docs/protocol.md), as a state machine over JSON values: events in,
//! commands out. It knows nothing of sockets, so that the simulation and the end-to-end client share it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sdp::{Credentials, Kind, LocalSdp, RemoteSdp, SendTrack};

/// A track as the server described it.
#[derive(Debug, Clone)]
pub struct TrackInfo {
    /// Client API id.
    pub id: u64,
    /// Whether this client sends it.
    pub send: bool,
    /// Audio or video.
    pub kind: Kind,
    /// Screen, not camera or microphone.
    pub display: bool,
    /// The sender of a received track.
    pub sender: Option<String>,
    /// Receivers of a sent track.
    pub receivers: Vec<String>,
    /// m-section, once known.
    pub mid: Option<String>,
    /// `SendRecv`, `SendOnly`, `RecvOnly` or `Inactive`.
    pub media_direction: String,
    /// The publisher says that it sends silence or black.
    pub muted: bool,
    /// Bitrate limits of its encodings, bit/s; 0: none.
    pub max_bitrates: Vec<u64>,
}

fn max_bitrates(encodings: &Value) -> Vec<u64> {
    let encodings = encodings.as_array().map_or(&[][..], Vec::as_slice);
    let limits = encodings.iter().map(|e| e["max_bitrate"].as_u64());
    limits.map(Option::unwrap_or_default).collect()
}

impl TrackInfo {
    /// As `SynchronizeMe` wants it.
    fn state(&self) -> Value {
        let settings = json!({
            "required": false, "encoding_parameters": [],
            "source_kind": if self.display { "Display" } else { "Device" }});
        let kind = if self.kind == Kind::Video {
            "Video"
        } else {
            "Audio"
        };
        json!({
            "id": self.id, "connection_mode": "Sfu", "mid": self.mid, "media_type": {kind: settings},
            "receivers": self.receivers, "sender_id": self.sender.as_deref().unwrap_or("nobody"),
            "muted": self.muted, "media_direction": self.media_direction})
    }
}

/// One member's conversation with the server about one room.
#[derive(Debug)]
pub struct Signal {
    /// Who this is.
    pub member: String,
    /// Send camera and microphone; screens are never sent.
    pub publish: bool,
    /// Peer, once created.
    pub peer: Option<u64>,
    /// Our descriptions.
    pub sdp: LocalSdp,
    /// Tracks by id.
    pub tracks: BTreeMap<u64, TrackInfo>,
    /// The server's last description.
    pub remote: Option<RemoteSdp>,
    /// Counts completed negotiations.
    pub negotiations: u32,
    /// `Some(is_reconnect)` while a member of the room.
    pub joined: Option<bool>,
    /// Close reason, once out.
    pub left: Option<String>,
    /// Shard that carries the room.
    pub shard: Option<u64>,
    /// State told by the last `StateSynchronized`.
    pub state: Option<Value>,
    /// How well each other member is connected, as last told.
    pub quality: BTreeMap<String, String>,
    ssrc_next: u32,
    unacknowledged: Option<String>,
    offer_pending: bool,
    restart_ice: bool,
}

impl Signal {
    /// A member that has not joined yet. `ssrc_base` keeps the SSRCs of different clients apart.
    pub fn new(member: &str, credentials: Credentials, publish: bool, ssrc_base: u32) -> Self {
        Self {
            member: member.to_owned(),
            publish,
            peer: None,
            sdp: LocalSdp::new(credentials),
            tracks: BTreeMap::new(),
            remote: None,
            negotiations: 0,
            joined: None,
            left: None,
            shard: None,
            state: None,
            quality: BTreeMap::new(),
            ssrc_next: ssrc_base,
            unacknowledged: None,
            offer_pending: false,
            restart_ice: false,
        }
    }

    /// The command that joins the room.
    pub fn join(&self, credential: &str) -> Value {
        json!({"command": "JoinRoom", "data": {
            "member_id": self.member, "credential": credential,
            "capabilities": {"audio_tx": [], "audio_rx": [], "video_tx": [], "video_rx": []}}})
    }

    /// The command that leaves the room.
    pub fn leave(&self) -> Value {
        json!({"command": "LeaveRoom", "data": {"member_id": self.member}})
    }

    /// Patches of every send track of `kind`.
    pub fn update_send(&self, kind: Kind, enabled: Option<bool>, muted: Option<bool>) -> Value {
        let own = self
            .tracks
            .values()
            .filter(|t| t.send && t.kind == kind && !t.display);
        self.patch(own.map(|t| t.id).collect(), enabled, muted)
    }

    /// Patches of every received track of `kind`.
    pub fn update_recv(&self, kind: Kind, enabled: bool) -> Value {
        let own = self
            .tracks
            .values()
            .filter(|t| !t.send && t.kind == kind && !t.display);
        self.patch(own.map(|t| t.id).collect(), Some(enabled), None)
    }

    fn patch(&self, tracks: Vec<u64>, enabled: Option<bool>, muted: Option<bool>) -> Value {
        let patches: Vec<Value> = tracks
            .iter()
            .map(|id| json!({"id": id, "enabled": enabled, "muted": muted}))
            .collect();
        json!({"command": "UpdateTracks", "data": {
            "peer_id": self.peer.unwrap_or(0), "tracks_patches": patches}})
    }

    /// Whether a description of ours waits for the server's acknowledgement.
    pub fn negotiating(&self) -> bool {
        self.unacknowledged.is_some() || self.offer_pending
    }

    /// Takes one event and returns the commands that answer it.
    ///
    /// # Panics
    /// When the event breaks the protocol.
    pub fn handle(&mut self, event: &Value) -> Vec<Value> {
        let data = &event["data"];
        match event["event"].as_str().expect("an event has a kind") {
            "RoomJoined" => {
                assert_eq!(data["member_id"], self.member.as_str());
                self.joined = Some(data["is_reconnect"].as_bool().expect("is_reconnect"));
                self.shard = data["shard"].as_u64();
                if self.joined == Some(true) {
                    vec![self.synchronize_me()]
                } else {
                    Vec::new()
                }
            }
            "RoomLeft" => {
                self.left = data["close_reason"].as_str().map(str::to_owned);
                self.reload();
                Vec::new()
            }
            "PeerCreated" => self.peer_created(data),
            "PeerUpdated" => self.peer_updated(data),
            "SdpAnswerMade" => {
                self.own_peer(data);
                assert!(self.offer_pending, "an answer follows an offer");
                self.offer_pending = false;
                self.negotiated(RemoteSdp::parse(
                    data["sdp_answer"].as_str().expect("sdp_answer"),
                ));
                Vec::new()
            }
            "LocalDescriptionApplied" => {
                self.own_peer(data);
                let applied = data["sdp_offer"].as_str().map(str::to_owned);
                assert_eq!(
                    applied, self.unacknowledged,
                    "the server names the description it took"
                );
                self.unacknowledged = None;
                Vec::new()
            }
            "PeersRemoved" => {
                let ids = data["peer_ids"].as_array().expect("peer_ids");
                if ids.iter().any(|id| id.as_u64() == self.peer) {
                    self.forget_peer();
                }
                Vec::new()
            }
            "StateSynchronized" => {
                self.state = Some(data["state"].clone());
                self.synchronized(&data["state"])
            }
            "IceCandidateDiscovered" => Vec::new(),
            "ConnectionQualityUpdated" => {
                let word = |key: &str| data[key].as_str().expect("a word").to_owned();
                self.quality
                    .insert(word("partner_member_id"), word("quality_score"));
                Vec::new()
            }
            other => panic!("{other} is not an event of the base protocol"),
        }
    }

    /// The client's own state after a reconnect: a reloaded page has none.
    fn synchronize_me(&self) -> Value {
        let mut peers = serde_json::Map::new();
        if let Some(peer) = self.peer {
            let side = |send: bool| -> serde_json::Map<String, Value> {
                let tracks = self.tracks.values().filter(|t| t.send == send);
                tracks.map(|t| (t.id.to_string(), t.state())).collect()
            };
            peers.insert(peer.to_string(), json!({
                "id": peer, "connection_mode": "Sfu", "senders": side(true), "receivers": side(false),
                "force_relay": false, "ice_servers": [], "negotiation_role": null, "local_sdp": null,
                "remote_sdp": null, "restart_ice": false, "ice_candidates": [],
                "stats_scrape_interval_ms": 1000}));
        }
        json!({"command": "SynchronizeMe", "data": {"state": {"peers": peers}}})
    }

    fn synchronized(&mut self, state: &Value) -> Vec<Value> {
        let peers = state["peers"].as_object().expect("peers");
        assert!(peers.len() <= 1, "one peer per member in an SFU room");
        let Some(theirs) = peers.values().next() else {
            self.forget_peer();
            return Vec::new();
        };
        if theirs["id"].as_u64() != self.peer {
            self.forget_peer();
            self.peer = theirs["id"].as_u64();
        }
        let mut known: Vec<u64> = Vec::new();
        for (side, from, name) in [
            ("senders", "receivers", "Send"),
            ("receivers", "sender_id", "Recv"),
        ] {
            for track in theirs[side].as_object().expect("tracks").values() {
                let field = if name == "Send" {
                    "receivers"
                } else {
                    "sender"
                };
                let mid = self
                    .tracks
                    .get(&track["id"].as_u64().unwrap_or(0))
                    .and_then(|t| t.mid.clone());
                let mid = track["mid"].as_str().map(str::to_owned).or(mid);
                self.add_track(&json!({
                    "id": track["id"], "media_direction": track["media_direction"], "muted": track["muted"],
                    "media_type": track["media_type"],
                    "direction": {name: {field: track[from], "mid": mid}}}));
                known.extend(track["id"].as_u64());
            }
        }
        self.tracks.retain(|id, _| known.contains(id));
        let offer = self.unacknowledged.take();
        let waited = std::mem::take(&mut self.offer_pending);
        self.restart_ice = theirs["restart_ice"] == true;
        if !theirs["negotiation_role"].is_null() {
            return self.negotiate(&theirs["negotiation_role"]);
        }
        // The answer was on its way when the socket went.
        if waited && offer.as_deref() == theirs["local_sdp"].as_str() {
            self.negotiated(RemoteSdp::parse(
                theirs["remote_sdp"].as_str().expect("remote_sdp"),
            ));
        }
        Vec::new()
    }

    fn own_peer(&self, data: &Value) -> u64 {
        let peer = data["peer_id"].as_u64();
        assert!(
            peer.is_some() && peer == self.peer,
            "event for peer {peer:?}, mine is {:?}",
            self.peer
        );
        peer.unwrap_or(0)
    }

    /// The page was reloaded: nothing is known any more.
    pub fn reload(&mut self) {
        self.forget_peer();
        self.joined = None;
        self.state = None;
    }

    /// Out of the room.
    fn forget_peer(&mut self) {
        self.peer = None;
        self.sdp = LocalSdp::new(self.sdp.credentials.clone());
        self.tracks.clear();
        self.remote = None;
        self.unacknowledged = None;
        self.offer_pending = false;
        self.restart_ice = false;
    }

    fn peer_created(&mut self, data: &Value) -> Vec<Value> {
        assert_eq!(data["connection_mode"], "Sfu");
        if self.peer.is_some() {
            // The state before a reconnect is void once the server makes a new peer.
            self.forget_peer();
        }
        self.peer = data["peer_id"].as_u64();
        for track in data["tracks"].as_array().expect("tracks") {
            self.add_track(track);
        }
        self.negotiate(&data["negotiation_role"])
    }

    fn peer_updated(&mut self, data: &Value) -> Vec<Value> {
        self.own_peer(data);
        for update in data["updates"].as_array().expect("updates") {
            if let Some(track) = update.get("Added") {
                self.add_track(track);
            } else if let Some(id) = update.get("Removed").and_then(Value::as_u64) {
                let track = self
                    .tracks
                    .remove(&id)
                    .expect("only a known track is removed");
                if track.send {
                    self.stop_sending(&track);
                }
            } else if let Some(patch) = update.get("Updated") {
                self.patch_track(patch);
            } else if *update == "IceRestart" {
                self.restart_ice = true;
            }
        }
        if data["negotiation_role"].is_null() {
            Vec::new()
        } else {
            self.negotiate(&data["negotiation_role"])
        }
    }

    fn stop_sending(&mut self, track: &TrackInfo) {
        for section in &mut self.sdp.sections {
            if section.send.as_ref().is_some_and(|s| s.track == track.id) {
                section.send = None;
            }
        }
    }

    fn add_track(&mut self, track: &Value) {
        let (kind, settings) = match track["media_type"].get("Audio") {
            Some(settings) => (Kind::Audio, settings),
            None => (Kind::Video, &track["media_type"]["Video"]),
        };
        let (send, side) = match track["direction"].get("Send") {
            Some(side) => (true, side),
            None => (false, &track["direction"]["Recv"]),
        };
        let receivers = side["receivers"].as_array().map_or(&[][..], Vec::as_slice);
        let info = TrackInfo {
            id: track["id"].as_u64().expect("a track has an id"),
            send,
            kind,
            display: settings["source_kind"] == "Display",
            sender: side["sender"].as_str().map(str::to_owned),
            receivers: receivers
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            mid: side["mid"].as_str().map(str::to_owned),
            media_direction: track["media_direction"].as_str().unwrap_or("").to_owned(),
            muted: track["muted"].as_bool().unwrap_or(false),
            max_bitrates: max_bitrates(&settings["encoding_parameters"]),
        };
        assert_ne!(
            info.sender.as_deref(),
            Some(self.member.as_str()),
            "nobody receives themselves"
        );
        self.tracks.insert(info.id, info);
    }

    fn patch_track(&mut self, patch: &Value) {
        let id = patch["id"].as_u64().expect("a patch names a track");
        let track = self
            .tracks
            .get_mut(&id)
            .expect("a patch names a known track");
        if let Some(direction) = patch["media_direction"].as_str() {
            track.media_direction = direction.to_owned();
        }
        if let Some(muted) = patch["muted"].as_bool() {
            track.muted = muted;
        }
        if !patch["encoding_parameters"].is_null() {
            track.max_bitrates = max_bitrates(&patch["encoding_parameters"]);
        }
        if let Some(receivers) = patch["receivers"].as_array() {
            track.receivers = receivers
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
        }
    }

    fn negotiate(&mut self, role: &Value) -> Vec<Value> {
        assert!(
            !self.negotiating(),
            "{}: one negotiation at a time",
            self.member
        );
        let statuses: BTreeMap<u64, bool> = self
            .tracks
            .values()
            .filter(|t| t.send)
            .map(|t| (t.id, self.publish && !t.display))
            .collect();
        let peer = self.peer;
        let restart = std::mem::take(&mut self.restart_ice);
        if let Some(offer) = role["Answerer"].as_str() {
            let remote = RemoteSdp::parse(offer);
            assert_eq!(
                remote.setup, "actpass",
                "RFC 8842 section 5.1: an offer is actpass"
            );
            let answer = self.sdp.answer(&remote);
            self.unacknowledged = Some(answer.clone());
            self.negotiated(remote);
            return vec![json!({"command": "MakeSdpAnswer", "data": {
                "peer_id": peer, "sdp_answer": answer, "transceivers_statuses": statuses}})];
        }
        assert_eq!(*role, "Offerer");
        if restart {
            // RFC 8445 section 9: an offer with other credentials.
            self.sdp.credentials.ufrag.push('r');
        }
        self.place_tracks();
        let offer = self.sdp.offer();
        self.unacknowledged = Some(offer.clone());
        self.offer_pending = true;
        let mids: BTreeMap<u64, &str> = self
            .tracks
            .values()
            .filter_map(|t| Some((t.id, t.mid.as_deref()?)))
            .collect();
        vec![json!({"command": "MakeSdpOffer", "data": {
            "peer_id": peer, "sdp_offer": offer, "mids": mids, "transceivers_statuses": statuses}})]
    }

    /// Gives every track without an m-section one of its own.
    fn place_tracks(&mut self) {
        let stream = format!("stream-{}", self.member);
        for track in self.tracks.values_mut().filter(|t| t.mid.is_none()) {
            let send = track.send.then(|| {
                let ssrc = self.ssrc_next;
                self.ssrc_next += 2;
                let rtx_ssrc = (track.kind == Kind::Video).then_some(ssrc + 1);
                SendTrack {
                    track: track.id,
                    ssrc,
                    rtx_ssrc,
                    stream: stream.clone(),
                }
            });
            track.mid = Some(self.sdp.add(track.kind, send, !track.send));
        }
    }

    fn negotiated(&mut self, remote: RemoteSdp) {
        let mut taken: Vec<String> = self.tracks.values().filter_map(|t| t.mid.clone()).collect();
        for track in self
            .tracks
            .values_mut()
            .filter(|t| !t.send && t.mid.is_none())
        {
            // The stream of a received track is named after its sender.
            let section = remote.sections.iter().find(|s| {
                s.sends
                    && s.kind == Some(track.kind)
                    && s.stream == track.sender
                    && !taken.contains(&s.mid)
            });
            track.mid = section.map(|s| s.mid.clone());
            taken.extend(track.mid.clone());
        }
        self.negotiations += 1;
        self.remote = Some(remote);
    }
}
