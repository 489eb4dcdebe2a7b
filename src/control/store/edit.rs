//! A request's effect on the element of its room.

use std::collections::BTreeMap;

use super::{Element, Mode};
use crate::control::error::{ControlError, ErrorCode};
use crate::control::fid::Fid;
use crate::control::spec::element::{Member, RoomChild, RoomElement};

/// The room after `element` has been put to `fid`.
pub(super) fn edited(
    before: Option<&RoomElement>,
    fid: &Fid,
    element: Element,
    mode: Mode,
) -> Result<RoomElement, ControlError> {
    match (fid, element) {
        (Fid::Room(id), Element::Room(mut room)) => {
            if !room.id.is_empty() && room.id != id.as_str() {
                return Err(ControlError::new(
                    ErrorCode::ElementIdMismatch,
                    fid.to_string(),
                    format!(
                        "the element's id is {:?}; leave it out, or say the same",
                        room.id
                    ),
                ));
            }
            room.id = id.to_string();
            match (before, mode) {
                (Some(_), Mode::Create) => Err(exists(ErrorCode::RoomAlreadyExists, fid)),
                (Some(before), Mode::Append) => Ok(appended_room(before.clone(), room)),
                (_, _) => Ok(room),
            }
        }
        (Fid::Member(_, member), Element::Member(found)) => {
            let child = RoomChild::Member(found);
            put_child(parent(before, fid)?, member.as_str(), child, fid, mode)
        }
        (Fid::Member(_, hub), Element::Hub(found)) => {
            let child = RoomChild::Hub(found);
            put_child(parent(before, fid)?, hub.as_str(), child, fid, mode)
        }
        (Fid::Endpoint(_, member, endpoint), Element::Endpoint(found)) => {
            let mut room = parent(before, fid)?;
            let Some(RoomChild::Member(owner)) = room.spec.pipeline.get_mut(member.as_str()) else {
                return Err(ControlError::new(
                    ErrorCode::MemberNotFound,
                    fid.to_string(),
                    format!("there is no member {member}; create it first"),
                ));
            };
            let pipeline = &mut owner.spec.pipeline;
            if mode == Mode::Create && pipeline.contains_key(endpoint.as_str()) {
                return Err(exists(ErrorCode::EndpointAlreadyExists, fid));
            }
            pipeline.insert(endpoint.to_string(), found);
            Ok(room)
        }
        (fid, _) => Err(ControlError::new(
            ErrorCode::ElementIdMismatch,
            fid.to_string(),
            "an element of this kind does not go there: rooms have members and hubs, members have endpoints",
        )),
    }
}

fn parent(before: Option<&RoomElement>, fid: &Fid) -> Result<RoomElement, ControlError> {
    let missing = || {
        ControlError::new(
            ErrorCode::RoomNotFound,
            fid.to_string(),
            format!("there is no room {}; create it first", fid.room()),
        )
    };
    before.cloned().ok_or_else(missing)
}

fn exists(code: ErrorCode, fid: &Fid) -> ControlError {
    let message = "it is there already; apply it instead to change it";
    ControlError::new(code, fid.to_string(), message)
}

fn put_child(
    mut room: RoomElement,
    name: &str,
    child: RoomChild,
    fid: &Fid,
    mode: Mode,
) -> Result<RoomElement, ControlError> {
    let known = room.spec.pipeline.contains_key(name);
    if known && mode == Mode::Create {
        return Err(exists(ErrorCode::MemberAlreadyExists, fid));
    }
    match mode {
        Mode::Append => append_child(&mut room.spec.pipeline, name.to_owned(), child),
        Mode::Create | Mode::Apply => {
            room.spec.pipeline.insert(name.to_owned(), child);
        }
    }
    Ok(room)
}

fn appended_room(mut room: RoomElement, more: RoomElement) -> RoomElement {
    room.p2p = more.p2p.or(room.p2p);
    room.p2p_max_members = more.p2p_max_members.or(room.p2p_max_members);
    room.codecs = more.codecs.or(room.codecs);
    room.limits = more.limits.or(room.limits);
    room.ttl_empty = more.ttl_empty.or(room.ttl_empty);
    room.max_duration = more.max_duration.or(room.max_duration);
    for (name, child) in more.spec.pipeline {
        append_child(&mut room.spec.pipeline, name, child);
    }
    room
}

fn append_child(pipeline: &mut BTreeMap<String, RoomChild>, name: String, child: RoomChild) {
    let merged = match (pipeline.remove(&name), child) {
        (Some(RoomChild::Member(before)), RoomChild::Member(more)) => {
            RoomChild::Member(appended_member(before, more))
        }
        (_, child) => child,
    };
    pipeline.insert(name, merged);
}

fn appended_member(mut member: Member, more: Member) -> Member {
    member.credentials = more.credentials.or(member.credentials);
    member.on_join = more.on_join.or(member.on_join);
    member.on_leave = more.on_leave.or(member.on_leave);
    member.idle_timeout = more.idle_timeout.or(member.idle_timeout);
    member.reconnect_timeout = more.reconnect_timeout.or(member.reconnect_timeout);
    member.ping_interval = more.ping_interval.or(member.ping_interval);
    member.metadata = more.metadata.or(member.metadata);
    member.grants = more.grants.or(member.grants);
    member.spec.pipeline.extend(more.spec.pipeline);
    member
}

/// Takes `fid` out of `room`, which becomes `None` when it is the room itself.
pub(super) fn remove(room: &mut Option<RoomElement>, fid: &Fid) {
    let Some(found) = room else {
        return;
    };
    match fid {
        Fid::Room(_) => *room = None,
        Fid::Member(_, member) => {
            found.spec.pipeline.remove(member.as_str());
        }
        Fid::Endpoint(_, member, endpoint) => {
            if let Some(RoomChild::Member(owner)) = found.spec.pipeline.get_mut(member.as_str()) {
                owner.spec.pipeline.remove(endpoint.as_str());
            }
        }
    }
}

/// The element `fid` in `room`.
pub(super) fn find(room: &RoomElement, fid: &Fid) -> Option<Element> {
    let child = |name: &str| room.spec.pipeline.get(name);
    match fid {
        Fid::Room(_) => Some(Element::Room(room.clone())),
        Fid::Member(_, member) => Some(match child(member.as_str())? {
            RoomChild::Member(found) => Element::Member(found.clone()),
            RoomChild::Hub(found) => Element::Hub(found.clone()),
        }),
        Fid::Endpoint(_, member, endpoint) => match child(member.as_str())? {
            RoomChild::Member(owner) => {
                let found = owner.spec.pipeline.get(endpoint.as_str())?;
                Some(Element::Endpoint(found.clone()))
            }
            RoomChild::Hub(_) => None,
        },
    }
}
