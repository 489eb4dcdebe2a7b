//! From the elements as written to the spec that signalling and shards run.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bus::client::{EncodingParameters, RpcSettings};
use crate::bus::spec::{
    Credential, MemberSpec, P2P_MAX_MEMBERS, P2pPolicy, PlayEndpoint, PlaySource, PlaySpec,
    PublishPolicy, PublishSpec, RoomSpec,
};
use crate::config::Timeouts;
use crate::config::media::Codec;
use crate::control::error::{ControlError, ErrorCode};
use crate::id::{EndpointId, IdError, MemberId, RoomId};
use crate::limits::{
    CODECS_PER_TRACK_MAX, ENDPOINTS_PER_MEMBER_MAX, MEMBERS_PER_ROOM_MAX, MESH_MEMBERS_MAX,
    METADATA_BYTES_MAX,
};
use crate::wire::codec::CodecKind;

use super::element::{
    self, Credentials, Endpoint, Grants, Kind, Member, P2p, Play, Policy, Publish, RoomChild,
    RoomElement,
};

/// RTP stream ids of encodings, the best one's first; clients that have but one send without it.
const ENCODING_RIDS: [&str; 3] = ["f", "h", "q"];
/// What follows a room in the paths of the API.
const RESERVED: &str = "stats";

/// A checked room.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What signalling and shards run.
    pub spec: Arc<RoomSpec>,
    /// What looks wrong, but may be put right by the next request.
    pub warnings: Vec<ControlError>,
    /// Removed when empty for this long, ms.
    pub ttl_empty_ms: Option<u32>,
    /// Removed this long after the first member came, ms.
    pub max_duration_ms: Option<u32>,
}

/// Checks a room.
///
/// # Errors
/// The first fault, with the element it is in.
pub fn compile(room: &RoomElement, timeouts: &Timeouts) -> Result<Compiled, ControlError> {
    let mut compiler = Compiler {
        timeouts,
        warnings: Vec::new(),
        imports: BTreeMap::new(),
    };
    let spec = compiler.room(room)?;
    compiler.check_sources(room, &spec);
    Ok(Compiled {
        spec: Arc::new(spec),
        warnings: compiler.warnings,
        ttl_empty_ms: duration(&room.id, "ttl_empty", &room.ttl_empty)?,
        max_duration_ms: duration(&room.id, "max_duration", &room.max_duration)?,
    })
}

struct Compiler<'a> {
    timeouts: &'a Timeouts,
    warnings: Vec<ControlError>,
    /// Members of other rooms, by the names they get in this one.
    imports: BTreeMap<MemberId, (RoomId, MemberId)>,
}

fn error(element: &str, message: impl Into<String>) -> ControlError {
    ControlError::new(ErrorCode::InvalidSpec, element, message)
}

fn id<T>(element: &str, id: Result<T, IdError>) -> Result<T, ControlError> {
    id.map_err(|e| ControlError::new(ErrorCode::InvalidElementId, element, e.to_string()))
}

/// A duration in milliseconds, if the spec names one.
fn duration(element: &str, key: &str, text: &Option<String>) -> Result<Option<u32>, ControlError> {
    let wrong =
        |why| ControlError::new(ErrorCode::InvalidDuration, element, format!("{key}: {why}"));
    let ms = text.as_deref().map(element::duration_ms).transpose();
    ms.map_err(wrong)
}

impl Compiler<'_> {
    fn room(&mut self, room: &RoomElement) -> Result<RoomSpec, ControlError> {
        let room_id = id(&room.id, RoomId::new(&room.id))?;
        let mut members = BTreeMap::new();
        for (name, child) in &room.spec.pipeline {
            let element = format!("{}/{name}", room.id);
            let member_id = id(&element, MemberId::new(name))?;
            if name == RESERVED {
                return Err(error(
                    &element,
                    "the API itself uses this name; choose another",
                ));
            }
            if let RoomChild::Member(member) = child {
                let spec = self.member(&element, room, member)?;
                members.insert(member_id, Arc::new(spec));
            }
        }
        if members.len() > MEMBERS_PER_ROOM_MAX {
            let message = format!(
                "{} members; a room has at most {MEMBERS_PER_ROOM_MAX}",
                members.len()
            );
            return Err(ControlError::new(
                ErrorCode::LimitReached,
                &room.id,
                message,
            ));
        }
        if let Some(name) = self.imports.keys().find(|name| members.contains_key(*name)) {
            return Err(error(
                &format!("{}/{name}", room.id),
                "a member of another room that is played here has this name; choose another",
            ));
        }
        Ok(RoomSpec {
            p2p: self.p2p(room, members.len())?,
            p2p_max_members: p2p_max_members(room)?,
            codecs: codecs(room)?,
            members_max: members_max(room)?,
            id: room_id,
            open: None,
            members,
            imports: std::mem::take(&mut self.imports),
        })
    }

    /// The room's own word, or what its publish endpoints agree on.
    fn p2p(&mut self, room: &RoomElement, members: usize) -> Result<P2pPolicy, ControlError> {
        let mut said = room.p2p;
        for (name, child) in &room.spec.pipeline {
            let RoomChild::Member(member) = child else {
                continue;
            };
            for (endpoint, found) in &member.spec.pipeline {
                let Endpoint::WebRtcPublishEndpoint { spec } = found else {
                    continue;
                };
                let (Some(p2p), before) = (spec.p2p, said) else {
                    continue;
                };
                if before.is_some_and(|before| before != p2p) {
                    let message = format!(
                        "p2p is {p2p:?}, elsewhere in the room it is {:?}; a room is connected one way",
                        before.unwrap_or_default()
                    );
                    let element = format!("{}/{name}/{endpoint}", room.id);
                    self.warnings.push(error(&element, message));
                }
                said = Some(agreed(room.p2p, before, p2p));
            }
        }
        match said.unwrap_or_default() {
            P2p::Never => Ok(P2pPolicy::Never),
            P2p::Always if members > MESH_MEMBERS_MAX => Err(error(
                &room.id,
                format!(
                    "p2p: Always is for at most {MESH_MEMBERS_MAX} members; each has a connection with each other one"
                ),
            )),
            P2p::Always => Ok(P2pPolicy::Always),
            P2p::IfPossible => Ok(P2pPolicy::IfPossible),
        }
    }

    fn member(
        &mut self,
        element: &str,
        room: &RoomElement,
        member: &Member,
    ) -> Result<MemberSpec, ControlError> {
        callback(element, "on_join", &member.on_join)?;
        callback(element, "on_leave", &member.on_leave)?;
        if member.spec.pipeline.len() > ENDPOINTS_PER_MEMBER_MAX {
            return Err(ControlError::new(
                ErrorCode::LimitReached,
                element,
                format!("a member has at most {ENDPOINTS_PER_MEMBER_MAX} endpoints"),
            ));
        }
        let reconnect = self.timeouts.reconnect_timeout_ms;
        let mut spec = MemberSpec {
            credential: credential(element, &member.credentials)?,
            rpc: self.rpc(element, member)?,
            reconnect_timeout_ms: duration(
                element,
                "reconnect_timeout",
                &member.reconnect_timeout,
            )?
            .unwrap_or(reconnect),
            asks_join: member.on_join.is_some(),
            tells_leave: member.on_leave.is_some(),
            publish: BTreeMap::new(),
            play: PlaySpec::Only(BTreeMap::new()),
            ice_servers: Vec::new(),
            force_relay: false,
        };
        let mut play = BTreeMap::new();
        for (name, endpoint) in &member.spec.pipeline {
            let element = format!("{element}/{name}");
            let endpoint_id = id(&element, EndpointId::new(name))?;
            match endpoint {
                Endpoint::WebRtcPublishEndpoint { spec: publish } => {
                    spec.force_relay |= publish.force_relay;
                    let publish = self.publish(&element, room, publish)?;
                    spec.publish.insert(endpoint_id, publish);
                }
                Endpoint::WebRtcPlayEndpoint { spec: wanted } => {
                    spec.force_relay |= wanted.force_relay;
                    play.insert(endpoint_id, self.play_endpoint(&element, room, wanted)?);
                }
            }
        }
        spec.play = PlaySpec::Only(play);
        check_metadata(element, member)?;
        Ok(granted(spec, member.grants.unwrap_or_default()))
    }

    /// Ping interval and idle timeout, the member's own or those of the configuration.
    fn rpc(&self, element: &str, member: &Member) -> Result<RpcSettings, ControlError> {
        let timeouts = self.timeouts;
        let ping = duration(element, "ping_interval", &member.ping_interval)?;
        let idle = duration(element, "idle_timeout", &member.idle_timeout)?;
        let rpc = RpcSettings {
            ping_interval_ms: ping.unwrap_or(timeouts.ping_interval_ms),
            idle_timeout_ms: idle.unwrap_or(timeouts.idle_timeout_ms),
        };
        if rpc.ping_interval_ms == 0 || rpc.idle_timeout_ms < rpc.ping_interval_ms.saturating_mul(2)
        {
            return Err(error(
                element,
                "idle_timeout must be at least 2 x ping_interval: known clients crash on less",
            ));
        }
        Ok(rpc)
    }

    fn publish(
        &mut self,
        element: &str,
        room: &RoomElement,
        publish: &Publish,
    ) -> Result<PublishSpec, ControlError> {
        media_callback(element, "on_start", &publish.on_start)?;
        media_callback(element, "on_stop", &publish.on_stop)?;
        let hub = match &publish.hub {
            None => None,
            Some(name) => {
                if !has_hub(room, name) {
                    let message = format!("hub {name:?} is not in the room; add that Hub");
                    self.warnings.push(error(element, message));
                }
                Some(id(element, EndpointId::new(name))?)
            }
        };
        Ok(PublishSpec {
            audio: kind_policy(element, publish, Kind::Audio)?,
            video: kind_policy(element, publish, Kind::Video)?,
            encodings: encodings(element, publish)?,
            device_only: false,
            hub,
            tells: publish.on_start.is_some() || publish.on_stop.is_some(),
        })
    }

    fn play_endpoint(
        &mut self,
        element: &str,
        room: &RoomElement,
        play: &Play,
    ) -> Result<PlayEndpoint, ControlError> {
        media_callback(element, "on_start", &play.on_start)?;
        media_callback(element, "on_stop", &play.on_stop)?;
        Ok(PlayEndpoint {
            source: self.source(element, room, &play.src)?,
            tells: play.on_start.is_some() || play.on_stop.is_some(),
        })
    }

    /// `local://room/member/endpoint`, of this room or of another one, or `local://room/hub` of this one.
    fn source(
        &mut self,
        element: &str,
        room: &RoomElement,
        src: &str,
    ) -> Result<PlaySource, ControlError> {
        let wrong = |message| ControlError::new(ErrorCode::InvalidSrcUri, element, message);
        let parts: Vec<&str> = src
            .strip_prefix("local://")
            .map(|rest| rest.split('/').collect())
            .unwrap_or_default();
        match parts.as_slice() {
            [here, hub] if *here == room.id => {
                Ok(PlaySource::Hub(id(element, EndpointId::new(hub))?))
            }
            [_, _] => Err(wrong(format!(
                "src {src:?} is a hub of another room; play local://room/member/endpoint of that room instead"
            ))),
            [here, member, endpoint] if *here == room.id => Ok(PlaySource::Endpoint(
                id(element, MemberId::new(member))?,
                id(element, EndpointId::new(endpoint))?,
            )),
            [other, member, endpoint] => {
                let name = id(element, MemberId::new(&format!("{member}@{other}")))?;
                let origin = (
                    id(element, RoomId::new(other))?,
                    id(element, MemberId::new(member))?,
                );
                self.imports.insert(name.clone(), origin);
                Ok(PlaySource::Endpoint(
                    name,
                    id(element, EndpointId::new(endpoint))?,
                ))
            }
            _ => Err(wrong(format!(
                "src {src:?} is not local://room/member/endpoint, nor local://room/hub"
            ))),
        }
    }

    /// Whatever is played should be published.
    fn check_sources(&mut self, room: &RoomElement, spec: &RoomSpec) {
        for (member_id, member) in &spec.members {
            let PlaySpec::Only(play) = &member.play else {
                continue;
            };
            for (name, play) in play {
                let element = format!("{}/{member_id}/{name}", room.id);
                let message = match &play.source {
                    // Another room may come and go.
                    PlaySource::Endpoint(publisher, _) if spec.imports.contains_key(publisher) => {
                        None
                    }
                    PlaySource::Endpoint(publisher, endpoint) => {
                        (!has_publish(room, publisher, endpoint)).then(|| format!(
                            "src names {publisher}/{endpoint}, which publishes nothing; add that WebRtcPublishEndpoint"
                        ))
                    }
                    PlaySource::Hub(hub) => (!has_hub(room, hub.as_str()))
                        .then(|| format!("src names hub {hub}, which is not there; add that Hub")),
                };
                if let Some(message) = message {
                    self.warnings.push(error(&element, message));
                }
            }
        }
    }
}

/// Whether it is declared, whatever its member is granted.
fn has_publish(room: &RoomElement, publisher: &MemberId, endpoint: &EndpointId) -> bool {
    let member = match room.spec.pipeline.get(publisher.as_str()) {
        Some(RoomChild::Member(member)) => member,
        _ => return false,
    };
    let found = member.spec.pipeline.get(endpoint.as_str());
    matches!(found, Some(Endpoint::WebRtcPublishEndpoint { .. }))
}

fn has_hub(room: &RoomElement, name: &str) -> bool {
    matches!(room.spec.pipeline.get(name), Some(RoomChild::Hub(_)))
}

/// Endpoints that do not agree: the room's word counts, else whatever needs the server most.
fn agreed(room: Option<P2p>, before: Option<P2p>, found: P2p) -> P2p {
    if let Some(room) = room {
        return room;
    }
    match (before.unwrap_or(found), found) {
        (P2p::Never, _) | (_, P2p::Never) => P2p::Never,
        (P2p::IfPossible, _) | (_, P2p::IfPossible) => P2p::IfPossible,
        (P2p::Always, P2p::Always) => P2p::Always,
    }
}

fn p2p_max_members(room: &RoomElement) -> Result<usize, ControlError> {
    let most = room.p2p_max_members.unwrap_or(P2P_MAX_MEMBERS);
    if !(P2P_MAX_MEMBERS..=MESH_MEMBERS_MAX).contains(&most) {
        let message = format!(
            "p2p_max_members is {most}; it is from {P2P_MAX_MEMBERS} to {MESH_MEMBERS_MAX}"
        );
        return Err(error(&room.id, message));
    }
    Ok(most)
}

fn codecs(room: &RoomElement) -> Result<Option<Vec<CodecKind>>, ControlError> {
    let Some(codecs) = &room.codecs else {
        return Ok(None);
    };
    let video = |c: &Codec| *c != Codec::Opus;
    if !codecs.contains(&Codec::Opus)
        || !codecs.iter().any(video)
        || codecs.len() > CODECS_PER_TRACK_MAX
    {
        return Err(error(
            &room.id,
            "codecs: name opus and at least one of vp8, vp9, h264, av1, or leave it out",
        ));
    }
    Ok(Some(codecs.iter().map(codec_kind).collect()))
}

/// A codec of a spec or of the configuration, as shards know it.
pub fn codec_kind(codec: &Codec) -> CodecKind {
    match codec {
        Codec::Opus => CodecKind::Opus,
        Codec::Vp8 => CodecKind::Vp8,
        Codec::Vp9 => CodecKind::Vp9,
        Codec::H264 => CodecKind::H264,
        Codec::Av1 => CodecKind::Av1,
    }
}

fn members_max(room: &RoomElement) -> Result<Option<usize>, ControlError> {
    let asked = room.limits.as_ref().and_then(|l| l.members);
    match asked {
        Some(most) if !(1..=MEMBERS_PER_ROOM_MAX).contains(&most) => Err(error(
            &room.id,
            format!("limits.members is {most}; it is from 1 to {MEMBERS_PER_ROOM_MAX}"),
        )),
        asked => Ok(asked),
    }
}

/// The secret a client must show.
fn credential(
    element: &str,
    credentials: &Option<Credentials>,
) -> Result<Credential, ControlError> {
    match credentials {
        Some(Credentials {
            plain: Some(plain),
            hash: None,
        }) => Ok(Credential::Plain(plain.clone())),
        Some(Credentials {
            plain: None,
            hash: Some(hash),
        }) => match super::super::secret::check_hash(hash) {
            Ok(()) => Ok(Credential::Hash(Arc::from(hash.as_str()))),
            Err(why) => Err(error(element, format!("credentials.hash: {why}"))),
        },
        Some(Credentials {
            plain: Some(_),
            hash: Some(_),
        }) => Err(error(
            element,
            "credentials has plain and hash; leave one out",
        )),
        Some(_) | None => Err(error(
            element,
            "no credentials; set credentials.plain to a secret of this member",
        )),
    }
}

/// A member that may not send has nothing to send by, and so on.
fn granted(mut spec: MemberSpec, grants: Grants) -> MemberSpec {
    if !grants.publish {
        spec.publish.clear();
    }
    if !grants.subscribe {
        spec.play = PlaySpec::Only(BTreeMap::new());
    }
    spec
}

fn check_metadata(element: &str, member: &Member) -> Result<(), ControlError> {
    let bytes = member.metadata.as_ref().map(serde_json::to_string);
    match bytes {
        Some(Ok(text)) if text.len() > METADATA_BYTES_MAX => Err(error(
            element,
            format!(
                "metadata has {} bytes; keep at most {METADATA_BYTES_MAX} here, and the rest elsewhere",
                text.len()
            ),
        )),
        Some(Err(why)) => Err(error(element, format!("metadata: {why}"))),
        _ => Ok(()),
    }
}

/// Policy of a kind of media: one that the endpoint does not send does not exist.
fn kind_policy(
    element: &str,
    publish: &Publish,
    kind: Kind,
) -> Result<PublishPolicy, ControlError> {
    let said = match kind {
        Kind::Audio => publish.audio_settings.publish_policy,
        Kind::Video => publish.video_settings.publish_policy,
    };
    let sent = publish.kinds.as_ref().is_none_or(|k| k.contains(&kind));
    match (said, sent) {
        (Policy::Required, false) => Err(error(
            element,
            format!(
                "{kind:?} is Required, but not one of kinds; name it there, or make it Optional"
            ),
        )),
        (Policy::Disabled, _) | (_, false) => Ok(PublishPolicy::Disabled),
        (Policy::Required, true) => Ok(PublishPolicy::Required),
        (Policy::Optional, true) => Ok(PublishPolicy::Optional),
    }
}

/// The camera's encodings, as clients are told them: the smallest first, as browsers give bandwidth to the first first.
fn encodings(element: &str, publish: &Publish) -> Result<Vec<EncodingParameters>, ControlError> {
    let mut said: Vec<_> = publish.video_settings.encodings.iter().collect();
    if said.len() > ENCODING_RIDS.len() {
        return Err(error(
            element,
            "encodings: three at most; browsers send no more",
        ));
    }
    let wrong =
        |e: &&element::Encoding| e.scale_resolution_down_by == Some(0) || e.max_bitrate == Some(0);
    if said.iter().any(wrong) {
        return Err(error(
            element,
            "encodings: max_bitrate and scale_resolution_down_by are at least 1; leave out what does not matter",
        ));
    }
    said.sort_by_key(|e| {
        let scale = e.scale_resolution_down_by.unwrap_or(1);
        (Reverse(scale), e.max_bitrate.unwrap_or(u32::MAX))
    });
    let rids = ENCODING_RIDS.iter().take(said.len()).rev();
    let told = said
        .iter()
        .zip(rids)
        .map(|(encoding, rid)| EncodingParameters {
            rid: (*rid).to_owned(),
            active: true,
            codec: None,
            max_bitrate: encoding.max_bitrate,
            scale_resolution_down_by: encoding.scale_resolution_down_by,
            scalability_mode: encoding.scalability_mode.clone(),
        });
    Ok(told.collect())
}

/// Callbacks about media: the gRPC callback service has no word for them.
fn media_callback(element: &str, key: &str, url: &Option<String>) -> Result<(), ControlError> {
    if url.as_ref().is_some_and(|u| u.starts_with("grpc://")) {
        return Err(ControlError::new(
            ErrorCode::UnsupportedCallbackUrl,
            element,
            format!(
                "{key}: the gRPC callback service knows on_join and on_leave only; use http:// or https://"
            ),
        ));
    }
    callback(element, key, url)
}

/// Callbacks go to `http://`, `https://` and `grpc://`.
fn callback(element: &str, key: &str, url: &Option<String>) -> Result<(), ControlError> {
    let Some(url) = url else {
        return Ok(());
    };
    let wrong = |code, why| ControlError::new(code, element, format!("{key}: {url:?} {why}"));
    let rest = ["http://", "https://", "grpc://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    match rest {
        None => Err(wrong(
            ErrorCode::UnsupportedCallbackUrl,
            "does not begin with http://, https:// or grpc://",
        )),
        Some(rest)
            if rest.is_empty()
                || rest.starts_with('/')
                || url.parse::<axum::http::Uri>().is_err() =>
        {
            Err(wrong(
                ErrorCode::InvalidCallbackUrl,
                "is no URL with a host",
            ))
        }
        Some(_) => Ok(()),
    }
}
