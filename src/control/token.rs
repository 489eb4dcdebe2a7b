//! What a token (JWT, RFC 7519) grants: one member in one room that nobody has declared.

use serde::Deserialize;

use crate::bus::spec::MemberSpec;
use crate::config::Timeouts;
use crate::control::guest;
use crate::id::{MemberId, RoomId};

/// Claims of a token. Others are ignored; `exp` is required and checked with the signature.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Claims {
    /// The room.
    pub room: String,
    /// The member.
    pub member: String,
    /// Whether it may send; yes if left out.
    #[serde(default = "yes")]
    pub publish: bool,
    /// Whether it may receive; yes if left out.
    #[serde(default = "yes")]
    pub subscribe: bool,
}

fn yes() -> bool {
    true
}

impl Claims {
    /// Whether they are about this member of this room.
    pub fn is_for(&self, room: &RoomId, member: &MemberId) -> bool {
        self.room == room.as_str() && self.member == member.as_str()
    }
}

/// The member they make. Its credential is never compared: it shows its token again whenever it comes.
pub fn member_spec(claims: &Claims, timeouts: &Timeouts) -> MemberSpec {
    guest::member("", timeouts, claims.publish, claims.subscribe)
}
