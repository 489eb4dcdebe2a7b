//! Full ids of elements: `room`, `room/member`, `room/member/endpoint`; in REST several of the last part, by commas.

use std::fmt;

use crate::control::error::{ControlError, ErrorCode};
use crate::id::{EndpointId, IdError, MemberId, RoomId};

/// Full id of an element. A hub is named like a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fid {
    /// A room.
    Room(RoomId),
    /// A member or hub of a room.
    Member(RoomId, MemberId),
    /// An endpoint of a member.
    Endpoint(RoomId, MemberId, EndpointId),
}

impl fmt::Display for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(room) => write!(f, "{room}"),
            Self::Member(room, member) => write!(f, "{room}/{member}"),
            Self::Endpoint(room, member, endpoint) => write!(f, "{room}/{member}/{endpoint}"),
        }
    }
}

impl Fid {
    /// The room it is, or is in.
    pub fn room(&self) -> &RoomId {
        match self {
            Self::Room(room) | Self::Member(room, _) | Self::Endpoint(room, _, _) => room,
        }
    }

    /// Reads a full id.
    ///
    /// # Errors
    /// Empty parts, bad characters, more than three parts.
    pub fn parse(text: &str) -> Result<Self, ControlError> {
        let mut parts = text.split('/');
        let next = |parts: &mut std::str::Split<'_, char>| parts.next().map(str::to_owned);
        let room = next(&mut parts).unwrap_or_default();
        let (member, endpoint) = (next(&mut parts), next(&mut parts));
        if parts.next().is_some() {
            return Err(ControlError::new(
                ErrorCode::ElementIdIsTooLong,
                text,
                "a full id has at most three parts: room/member/endpoint",
            ));
        }
        Self::of(&room, member.as_deref(), endpoint.as_deref())
    }

    /// From its parts.
    ///
    /// # Errors
    /// Parts that are no ids.
    pub fn of(
        room: &str,
        member: Option<&str>,
        endpoint: Option<&str>,
    ) -> Result<Self, ControlError> {
        let wrong = |e: IdError| {
            let mut element = room.to_owned();
            for part in [member, endpoint].into_iter().flatten() {
                element.push('/');
                element.push_str(part);
            }
            ControlError::new(ErrorCode::InvalidElementId, element, e.to_string())
        };
        let room = RoomId::new(room).map_err(wrong)?;
        let Some(member) = member else {
            return Ok(Self::Room(room));
        };
        let member = MemberId::new(member).map_err(wrong)?;
        let Some(endpoint) = endpoint else {
            return Ok(Self::Member(room, member));
        };
        let endpoint = EndpointId::new(endpoint).map_err(wrong)?;
        Ok(Self::Endpoint(room, member, endpoint))
    }

    /// Several of the last part: `room/ann,bob`.
    ///
    /// # Errors
    /// As [`Fid::of`].
    pub fn several(
        room: &str,
        member: Option<&str>,
        endpoint: Option<&str>,
    ) -> Result<Vec<Self>, ControlError> {
        match (member, endpoint) {
            (None, _) => room.split(',').map(|r| Self::of(r, None, None)).collect(),
            (Some(member), None) => member
                .split(',')
                .map(|m| Self::of(room, Some(m), None))
                .collect(),
            (Some(member), Some(endpoint)) => endpoint
                .split(',')
                .map(|e| Self::of(room, Some(member), Some(e)))
                .collect(),
        }
    }
}
