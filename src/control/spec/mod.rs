//! Static room specs: YAML or TOML text with the elements of the Control API, checked and turned into [`RoomSpec`].
//!
//! Pure: `io` reads the files. Every error names the file and the element (`room/member/endpoint`).

mod element;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bus::client::RpcSettings;
use crate::bus::spec::{
    MemberSpec, P2P_MAX_MEMBERS, P2pPolicy, PlaySpec, PublishPolicy, PublishSpec, RoomSpec,
};
use crate::config::Timeouts;
use crate::id::{EndpointId, IdError, MemberId, RoomId};
use crate::limits::MESH_MEMBERS_MAX;

use element::{Credentials, Endpoint, Member, P2p, Policy, Publish, RoomElement};

/// Why a spec is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {element}: {message}")]
pub struct SpecError {
    /// Name of the file.
    pub file: String,
    /// Full id of the element, or `-` when the text cannot be read at all.
    pub element: String,
    /// What is wrong, and the cure.
    pub message: String,
}

/// How a spec is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.yaml`, `.yml`
    Yaml,
    /// `.toml`
    Toml,
}

/// Rooms by id.
#[derive(Debug, Clone, Default)]
pub struct SpecBook {
    rooms: BTreeMap<RoomId, Arc<RoomSpec>>,
}

impl SpecBook {
    /// Adds the room of one file.
    ///
    /// # Errors
    /// The first fault of the text, or that the room is there already.
    pub fn add(
        &mut self,
        file: &str,
        format: Format,
        text: &str,
        timeouts: &Timeouts,
    ) -> Result<(), SpecError> {
        let room = read(file, format, text)?;
        let spec = Reader { file, timeouts }.room(&room)?;
        if self.rooms.contains_key(&spec.id) {
            return Err(SpecError {
                file: file.to_owned(),
                element: spec.id.to_string(),
                message: "another file has this room already; give it another id".to_owned(),
            });
        }
        self.rooms.insert(spec.id.clone(), Arc::new(spec));
        Ok(())
    }

    /// The spec of a room.
    pub fn room_spec(&self, id: &RoomId) -> Option<Arc<RoomSpec>> {
        self.rooms.get(id).cloned()
    }

    /// Rooms in the book.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether the book has no rooms.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}

fn read(file: &str, format: Format, text: &str) -> Result<RoomElement, SpecError> {
    let read = match format {
        Format::Yaml => serde_saphyr::from_str(text).map_err(|e| e.to_string()),
        Format::Toml => toml::from_str(text).map_err(|e| e.to_string()),
    };
    read.map_err(|cause| SpecError {
        file: file.to_owned(),
        element: "-".to_owned(),
        message: cause.trim().replace('\n', " "),
    })
}

struct Reader<'a> {
    file: &'a str,
    timeouts: &'a Timeouts,
}

impl Reader<'_> {
    fn error(&self, element: &str, message: impl Into<String>) -> SpecError {
        SpecError {
            file: self.file.to_owned(),
            element: element.to_owned(),
            message: message.into(),
        }
    }

    fn id<T>(&self, element: &str, id: Result<T, IdError>) -> Result<T, SpecError> {
        id.map_err(|e| self.error(element, e.to_string()))
    }

    fn room(&self, room: &RoomElement) -> Result<RoomSpec, SpecError> {
        let id = self.id(&room.id, RoomId::new(&room.id))?;
        if room.kind != "Room" {
            let found = &room.kind;
            return Err(self.error(
                &room.id,
                format!("kind is {found:?}; a spec file has one \"Room\""),
            ));
        }
        let mut members = BTreeMap::new();
        for (name, member) in &room.spec.pipeline {
            let element = format!("{}/{name}", room.id);
            let member_id = self.id(&element, MemberId::new(name))?;
            members.insert(member_id, Arc::new(self.member(&element, &id, member)?));
        }
        self.check_sources(&room.id, &members)?;
        Ok(RoomSpec {
            p2p: self.p2p(room, &members)?,
            p2p_max_members: self.p2p_max_members(room)?,
            id,
            open: None,
            members,
        })
    }

    /// The room's own word, or what its publish endpoints agree on.
    fn p2p(
        &self,
        room: &RoomElement,
        members: &BTreeMap<MemberId, Arc<MemberSpec>>,
    ) -> Result<P2pPolicy, SpecError> {
        let mut said = room.p2p;
        for (name, member) in &room.spec.pipeline {
            for (endpoint, found) in &member.spec.pipeline {
                let Endpoint::WebRtcPublishEndpoint {
                    spec: Publish { p2p: Some(p2p), .. },
                } = found
                else {
                    continue;
                };
                if *said.get_or_insert(*p2p) != *p2p {
                    let message = format!(
                        "p2p is {p2p:?}, elsewhere in the room it is {:?}; a room is connected one way",
                        said.unwrap_or_default()
                    );
                    return Err(self.error(&format!("{}/{name}/{endpoint}", room.id), message));
                }
            }
        }
        match said.unwrap_or_default() {
            P2p::Never => Ok(P2pPolicy::Never),
            P2p::Always if members.len() > MESH_MEMBERS_MAX => Err(self.error(
                &room.id,
                format!("p2p: Always is for at most {MESH_MEMBERS_MAX} members; each has a connection with each other one"),
            )),
            P2p::Always => Ok(P2pPolicy::Always),
            P2p::IfPossible => Ok(P2pPolicy::IfPossible),
        }
    }

    fn p2p_max_members(&self, room: &RoomElement) -> Result<usize, SpecError> {
        let most = room.p2p_max_members.unwrap_or(P2P_MAX_MEMBERS);
        if !(P2P_MAX_MEMBERS..=MESH_MEMBERS_MAX).contains(&most) {
            return Err(self.error(
                &room.id,
                format!(
                    "p2p_max_members is {most}; it is from {P2P_MAX_MEMBERS} to {MESH_MEMBERS_MAX}"
                ),
            ));
        }
        Ok(most)
    }

    fn member(
        &self,
        element: &str,
        room: &RoomId,
        member: &Member,
    ) -> Result<MemberSpec, SpecError> {
        if member.kind != "Member" {
            let found = &member.kind;
            return Err(self.error(
                element,
                format!("kind is {found:?}; a room's pipeline has \"Member\"s"),
            ));
        }
        let credential = self.credential(element, member)?;
        let rpc = self.rpc(element, member)?;
        let reconnect = self.timeouts.reconnect_timeout_ms;
        let mut spec = MemberSpec {
            credential,
            rpc,
            reconnect_timeout_ms: self.duration(
                element,
                "reconnect_timeout",
                &member.reconnect_timeout,
                reconnect,
            )?,
            publish: BTreeMap::new(),
            play: PlaySpec::Only(BTreeMap::new()),
            ice_servers: Vec::new(),
            force_relay: false,
        };
        let mut play = BTreeMap::new();
        for (name, endpoint) in &member.spec.pipeline {
            let element = format!("{element}/{name}");
            let endpoint_id = self.id(&element, EndpointId::new(name))?;
            match endpoint {
                Endpoint::WebRtcPublishEndpoint { spec: publish } => {
                    spec.force_relay |= publish.force_relay;
                    spec.publish.insert(endpoint_id, publish_spec(publish));
                }
                Endpoint::WebRtcPlayEndpoint { spec: wanted } => {
                    spec.force_relay |= wanted.force_relay;
                    play.insert(endpoint_id, self.source(&element, room, &wanted.src)?);
                }
            }
        }
        spec.play = PlaySpec::Only(play);
        Ok(spec)
    }

    /// The secret a client must show.
    fn credential(&self, element: &str, member: &Member) -> Result<String, SpecError> {
        match &member.credentials {
            Some(Credentials {
                plain: Some(plain),
                hash: None,
            }) if !plain.is_empty() => Ok(plain.clone()),
            Some(Credentials { hash: Some(_), .. }) => Err(self.error(
                element,
                "credentials.hash is not supported yet; use credentials.plain",
            )),
            _ => Err(self.error(
                element,
                "no credentials; set credentials.plain to a secret of this member",
            )),
        }
    }

    /// Ping interval and idle timeout, the member's own or those of the configuration.
    fn rpc(&self, element: &str, member: &Member) -> Result<RpcSettings, SpecError> {
        let ms = |key: &str, value: &Option<String>, default: u32| {
            self.duration(element, key, value, default)
        };
        let rpc = RpcSettings {
            ping_interval_ms: ms(
                "ping_interval",
                &member.ping_interval,
                self.timeouts.ping_interval_ms,
            )?,
            idle_timeout_ms: ms(
                "idle_timeout",
                &member.idle_timeout,
                self.timeouts.idle_timeout_ms,
            )?,
        };
        if rpc.ping_interval_ms == 0 || rpc.idle_timeout_ms < rpc.ping_interval_ms.saturating_mul(2)
        {
            return Err(self.error(
                element,
                "idle_timeout must be at least 2 x ping_interval: known clients crash on less",
            ));
        }
        Ok(rpc)
    }

    /// A duration in milliseconds, or `default` where the spec says nothing.
    fn duration(
        &self,
        element: &str,
        key: &str,
        value: &Option<String>,
        default: u32,
    ) -> Result<u32, SpecError> {
        match value {
            None => Ok(default),
            Some(text) => element::duration_ms(text)
                .map_err(|why| self.error(element, format!("{key}: {why}"))),
        }
    }

    /// `local://room/member/endpoint`
    fn source(
        &self,
        element: &str,
        room: &RoomId,
        src: &str,
    ) -> Result<(MemberId, EndpointId), SpecError> {
        let parts: Vec<&str> = src
            .strip_prefix("local://")
            .map(|rest| rest.split('/').collect())
            .unwrap_or_default();
        let [in_room, member, endpoint] = parts.as_slice() else {
            return Err(self.error(
                element,
                format!("src {src:?} is not local://room/member/endpoint"),
            ));
        };
        if *in_room != room.as_str() {
            return Err(self.error(
                element,
                format!("src {src:?} is in another room, which is not supported yet"),
            ));
        }
        Ok((
            self.id(element, MemberId::new(member))?,
            self.id(element, EndpointId::new(endpoint))?,
        ))
    }

    /// Whatever is played must be published.
    fn check_sources(
        &self,
        room: &str,
        members: &BTreeMap<MemberId, Arc<MemberSpec>>,
    ) -> Result<(), SpecError> {
        for (id, member) in members {
            let PlaySpec::Only(play) = &member.play else {
                continue;
            };
            for (name, (publisher, endpoint)) in play {
                let there = members
                    .get(publisher)
                    .is_some_and(|m| m.publish.contains_key(endpoint));
                if !there {
                    let message = format!(
                        "src names {publisher}/{endpoint}, which publishes nothing; add that WebRtcPublishEndpoint"
                    );
                    return Err(self.error(&format!("{room}/{id}/{name}"), message));
                }
            }
        }
        Ok(())
    }
}

fn publish_spec(publish: &Publish) -> PublishSpec {
    let policy = |p: Policy| match p {
        Policy::Optional => PublishPolicy::Optional,
        Policy::Required => PublishPolicy::Required,
        Policy::Disabled => PublishPolicy::Disabled,
    };
    PublishSpec {
        audio: policy(publish.audio_settings.publish_policy),
        video: policy(publish.video_settings.publish_policy),
        device_only: false,
    }
}

#[cfg(test)]
mod tests;
