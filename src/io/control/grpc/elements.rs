//! Elements as the gRPC API writes them, to and fro.

use crate::control::error::{ControlError, ErrorCode};
use crate::control::fid::Fid;
use crate::control::spec::element::{
    Credentials, Endpoint, Kind, Member, P2p, Pipeline, Play, Policy, Publish, RoomChild,
    RoomElement, Settings, VideoSettings, duration_ms,
};
use crate::control::store::Element;

use super::wire::{self as proto, PutElement};

/// Where the element of a request goes, and what it is.
pub(super) fn fid_and_element(
    parent: &str,
    el: Option<PutElement>,
) -> Result<(Fid, Element), ControlError> {
    let Some(el) = el else {
        return Err(ControlError::new(
            ErrorCode::NoElement,
            parent,
            "the request has no element",
        ));
    };
    let below = |id: &str| Fid::parse(&format!("{parent}/{id}"));
    Ok(match el {
        PutElement::Room(room) => {
            // Some services name the room itself for its parent.
            let id = match room.id.is_empty() {
                true => parent.to_owned(),
                false => room.id.clone(),
            };
            (
                Fid::of(&id, None, None)?,
                Element::Room(room_element(id, room)?),
            )
        }
        PutElement::Member(found) => {
            let fid = below(&found.id)?;
            (fid, Element::Member(member(found)?))
        }
        PutElement::Play(found) => {
            let fid = below(&found.id)?;
            (fid, Element::Endpoint(play(found)))
        }
        PutElement::Publish(found) => {
            let fid = below(&found.id)?;
            (fid, Element::Endpoint(publish(found)))
        }
    })
}

fn room_element(id: String, room: proto::Room) -> Result<RoomElement, ControlError> {
    let mut pipeline = std::collections::BTreeMap::new();
    for (name, element) in room.pipeline {
        let Some(proto::RoomChild::Member(found)) = element.el else {
            return Err(ControlError::new(
                ErrorCode::NotMemberInSpec,
                format!("{id}/{name}"),
                "a room has members; endpoints belong to a member",
            ));
        };
        pipeline.insert(name, RoomChild::Member(member(found)?));
    }
    Ok(RoomElement {
        id,
        spec: Pipeline { pipeline },
        ..RoomElement::default()
    })
}

fn member(member: proto::Member) -> Result<Member, ControlError> {
    let time = |key: &str, value: Option<proto::Duration>| match value {
        None => Ok(None),
        Some(d) => match (u64::try_from(d.seconds), u64::try_from(d.nanos)) {
            (Ok(s), Ok(ns)) => {
                let ms = s.saturating_mul(1000).saturating_add(ns / 1_000_000);
                Ok(Some(format!("{ms}ms")))
            }
            _ => Err(ControlError::new(
                ErrorCode::InvalidDuration,
                &member.id,
                format!("{key} is negative"),
            )),
        },
    };
    let pipeline = member
        .pipeline
        .into_iter()
        .filter_map(|(name, element)| {
            let endpoint = match element.el? {
                proto::MemberChild::Play(found) => play(found),
                proto::MemberChild::Publish(found) => publish(found),
            };
            Some((name, endpoint))
        })
        .collect();
    Ok(Member {
        credentials: member.credentials.map(|credentials| match credentials {
            proto::Credentials::Hash(hash) => Credentials {
                plain: None,
                hash: Some(hash),
            },
            proto::Credentials::Plain(plain) => Credentials {
                plain: Some(plain),
                hash: None,
            },
        }),
        on_join: said(member.on_join),
        on_leave: said(member.on_leave),
        idle_timeout: time("idle_timeout", member.idle_timeout)?,
        reconnect_timeout: time("reconnect_timeout", member.reconnect_timeout)?,
        ping_interval: time("ping_interval", member.ping_interval)?,
        spec: Pipeline { pipeline },
        ..Member::default()
    })
}

fn said(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn play(play: proto::WebRtcPlayEndpoint) -> Endpoint {
    Endpoint::WebRtcPlayEndpoint {
        spec: Play {
            src: play.src,
            force_relay: play.force_relay,
            on_start: said(play.on_start),
            on_stop: said(play.on_stop),
        },
    }
}

fn publish(publish: proto::WebRtcPublishEndpoint) -> Endpoint {
    let p2p = match publish.p2p() {
        proto::P2p::Never => P2p::Never,
        proto::P2p::IfPossible => P2p::IfPossible,
        proto::P2p::Always => P2p::Always,
    };
    let audio = publish.audio_settings.map_or(0, |s| s.publish_policy);
    let video = publish.video_settings.map_or(0, |s| s.publish_policy);
    Endpoint::WebRtcPublishEndpoint {
        spec: Publish {
            p2p: Some(p2p),
            hub: None,
            force_relay: publish.force_relay,
            kinds: None,
            audio_settings: Settings {
                publish_policy: policy(audio),
            },
            video_settings: VideoSettings {
                publish_policy: policy(video),
                encodings: Vec::new(),
            },
            on_start: said(publish.on_start),
            on_stop: said(publish.on_stop),
        },
    }
}

fn policy(policy: i32) -> Policy {
    let policy = proto::PublishPolicy::try_from(policy).unwrap_or(proto::PublishPolicy::Optional);
    match policy {
        proto::PublishPolicy::Optional => Policy::Optional,
        proto::PublishPolicy::Required => Policy::Required,
        proto::PublishPolicy::Disabled => Policy::Disabled,
    }
}

/// The other way; `None` for what the gRPC API has no word for.
pub(super) fn proto_element(fid: &Fid, element: Element) -> Option<proto::Element> {
    let el = match (fid, element) {
        (_, Element::Room(room)) => proto::AnyElement::Room(proto_room(room)),
        (Fid::Member(_, id), Element::Member(found)) => {
            proto::AnyElement::Member(proto_member(id.as_str(), found))
        }
        (Fid::Endpoint(_, _, id), Element::Endpoint(found)) => {
            match proto_endpoint(id.as_str(), found) {
                proto::MemberChild::Play(p) => proto::AnyElement::Play(p),
                proto::MemberChild::Publish(p) => proto::AnyElement::Publish(p),
            }
        }
        _ => return None,
    };
    Some(proto::Element { el: Some(el) })
}

fn proto_room(room: RoomElement) -> proto::Room {
    let pipeline = room.spec.pipeline.into_iter();
    proto::Room {
        id: room.id,
        pipeline: pipeline
            .filter_map(|(name, child)| match child {
                RoomChild::Member(found) => {
                    let el = proto::RoomChild::Member(proto_member(&name, found));
                    Some((name, proto::RoomElement { el: Some(el) }))
                }
                RoomChild::Hub(_) => None,
            })
            .collect(),
    }
}

fn proto_member(id: &str, member: Member) -> proto::Member {
    let time = |text: Option<String>| {
        let ms = duration_ms(&text?).ok()?;
        Some(proto::Duration {
            seconds: i64::from(ms / 1000),
            nanos: i32::try_from(ms % 1000).unwrap_or(0) * 1_000_000,
        })
    };
    let pipeline = member.spec.pipeline.into_iter();
    proto::Member {
        id: id.to_owned(),
        on_join: member.on_join.unwrap_or_default(),
        on_leave: member.on_leave.unwrap_or_default(),
        idle_timeout: time(member.idle_timeout),
        reconnect_timeout: time(member.reconnect_timeout),
        ping_interval: time(member.ping_interval),
        pipeline: pipeline
            .map(|(name, endpoint)| {
                let el = Some(proto_endpoint(&name, endpoint));
                (name, proto::MemberElement { el })
            })
            .collect(),
        credentials: member.credentials.and_then(|c| match (c.plain, c.hash) {
            (Some(plain), _) => Some(proto::Credentials::Plain(plain)),
            (None, Some(hash)) => Some(proto::Credentials::Hash(hash)),
            (None, None) => None,
        }),
    }
}

fn proto_endpoint(id: &str, endpoint: Endpoint) -> proto::MemberChild {
    match endpoint {
        Endpoint::WebRtcPlayEndpoint { spec } => {
            proto::MemberChild::Play(proto::WebRtcPlayEndpoint {
                id: id.to_owned(),
                src: spec.src,
                on_start: spec.on_start.unwrap_or_default(),
                on_stop: spec.on_stop.unwrap_or_default(),
                force_relay: spec.force_relay,
            })
        }
        Endpoint::WebRtcPublishEndpoint { spec } => {
            let p2p = match spec.p2p.unwrap_or_default() {
                P2p::Never => proto::P2p::Never,
                P2p::IfPossible => proto::P2p::IfPossible,
                P2p::Always => proto::P2p::Always,
            };
            let audio = spec.audio_settings.publish_policy;
            let video = spec.video_settings.publish_policy;
            proto::MemberChild::Publish(proto::WebRtcPublishEndpoint {
                id: id.to_owned(),
                p2p: p2p.into(),
                on_start: spec.on_start.unwrap_or_default(),
                on_stop: spec.on_stop.unwrap_or_default(),
                force_relay: spec.force_relay,
                audio_settings: settings(spec.kinds.as_ref(), Kind::Audio, audio),
                video_settings: settings(spec.kinds.as_ref(), Kind::Video, video),
            })
        }
    }
}

/// A kind that is not sent is one that is disabled.
fn settings(kinds: Option<&Vec<Kind>>, kind: Kind, policy: Policy) -> Option<proto::Settings> {
    let sent = kinds.is_none_or(|kinds| kinds.contains(&kind));
    let policy = match (policy, sent) {
        (Policy::Disabled, _) | (_, false) => proto::PublishPolicy::Disabled,
        (Policy::Optional, true) => proto::PublishPolicy::Optional,
        (Policy::Required, true) => proto::PublishPolicy::Required,
    };
    Some(proto::Settings {
        publish_policy: policy.into(),
    })
}
