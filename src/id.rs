//! Newtype identifiers. Wire identifiers are bounded strings or `u32`; machine keys index slabs.
//!
//! A key is only meaningful inside the shard whose slab handed it out.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Serialize};

use crate::limits::ID_BYTES_MAX;

/// Why a string cannot be an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The identifier has no characters.
    #[error("identifier is empty; give it 1 to {ID_BYTES_MAX} bytes")]
    Empty,
    /// The identifier is longer than [`ID_BYTES_MAX`].
    #[error("identifier has {0} bytes; at most {ID_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A control character or `/`, which separates ids in `local://` URIs.
    #[error("identifier contains {0:?}; control characters and '/' are not allowed")]
    BadChar(char),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong(text.len()));
    }
    match text.chars().find(|c| c.is_control() || *c == '/') {
        Some(c) => Err(IdError::BadChar(c)),
        None => Ok(()),
    }
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks length and characters, then wraps `text`.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The identifier as it is on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

string_id!(
    /// A conference. Unique in the server.
    RoomId
);
string_id!(
    /// A user of a room. Unique in its room.
    MemberId
);
string_id!(
    /// A publish or play endpoint of a member. Unique in its member.
    EndpointId
);

/// Reads a number, also where it is text: keys of JSON objects are, and serde only undoes that for derived types
/// as long as `"command"` stands before `"data"`, which no client has to keep to.
struct NumberVisitor<T>(PhantomData<T>);

impl<T: TryFrom<u64> + FromStr> Visitor<'_> for NumberVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number that is not negative")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse()
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(NumberVisitor(PhantomData)).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_id!(
    /// One `RTCPeerConnection` of a member (Client API `peer_id`). Unique in its room.
    PeerId, u32
);
number_id!(
    /// One media track as the client sees it (Client API `track_id`). Unique in its room.
    TrackId, u32
);
number_id!(
    /// One WebSocket conversation. Unique in the process, never reused.
    SessionId, u64
);
number_id!(
    /// One shard, counted from 0.
    ShardId, u16
);
number_id!(
    /// RTP synchronization source (RFC 3550 section 3).
    Ssrc, u32
);

macro_rules! slab_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl crate::id::SlabKey for $name {
            fn from_index(index: u32) -> Self {
                Self(index)
            }
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

/// A typed index into a [`crate::room::slab::Slab`].
pub trait SlabKey: Copy {
    /// Wraps a slot number.
    fn from_index(index: u32) -> Self;
    /// The slot number.
    fn index(self) -> usize;
}

slab_key!(
    /// Index of a `Transport` in its shard's slab.
    TransportKey
);
slab_key!(
    /// Index of an `UpTrack` in its shard's slab.
    UpTrackKey
);
slab_key!(
    /// Index of a `DownTrack` in its shard's slab.
    DownTrackKey
);
slab_key!(
    /// Index of a room's account in its shard's slab: what the room costs.
    RoomCostKey
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_and_clean() {
        assert!(RoomId::new("kitchen").is_ok());
        assert_eq!(RoomId::new(""), Err(IdError::Empty));
        assert_eq!(
            MemberId::new(&"x".repeat(ID_BYTES_MAX + 1)),
            Err(IdError::TooLong(ID_BYTES_MAX + 1))
        );
        assert_eq!(MemberId::new("a/b"), Err(IdError::BadChar('/')));
        assert!(serde_json::from_str::<RoomId>("\"a\\n\"").is_err());
    }

    #[test]
    fn numbers_are_read_as_values_and_as_keys() {
        use std::collections::BTreeMap;
        assert_eq!(serde_json::from_str::<TrackId>("7").unwrap(), TrackId(7));
        assert!(serde_json::from_str::<TrackId>("-1").is_err());
        assert!(serde_json::from_str::<TrackId>("4294967296").is_err());
        let map: BTreeMap<TrackId, bool> = serde_json::from_str("{\"7\":true}").unwrap();
        assert_eq!(map, BTreeMap::from([(TrackId(7), true)]));
    }

    #[test]
    fn numbers_are_read_whatever_the_order_of_tag_and_data() {
        use crate::bus::client::{ClientMsg, Command};
        let text = r#"{"Command":{"command":{"data":{"sdp_offer":"v=0","mids":{"3":"0"},"peer_id":1},
                       "command":"MakeSdpOffer"},"room_id":"r"}}"#;
        let msg: ClientMsg = serde_json::from_str(text).unwrap();
        let ClientMsg::Command { command, .. } = msg else {
            panic!("{msg:?}");
        };
        assert!(matches!(command, Command::MakeSdpOffer { mids, .. } if mids[&TrackId(3)] == "0"));
    }
}
