//! Newtype identifiers. Wire identifiers are bounded strings or `u32`; machine keys index slabs.
//!
//! A key is only meaningful inside the shard whose slab handed it out.

use std::fmt;
use std::sync::Arc;

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

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $repr);

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
}
