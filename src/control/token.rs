//! What a token (JWT, RFC 7519) grants: one member in one room that nobody has declared.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::bus::client::RpcSettings;
use crate::bus::spec::{MemberSpec, PlaySpec, PublishSpec};
use crate::config::Timeouts;
use crate::id::{EndpointId, MemberId, RoomId};

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

/// The member they make.
pub fn member_spec(claims: &Claims, timeouts: &Timeouts) -> MemberSpec {
    let publish = EndpointId::new("publish")
        .into_iter()
        .filter(|_| claims.publish)
        .map(|id| (id, PublishSpec::default()));
    let rpc = RpcSettings {
        idle_timeout_ms: timeouts.idle_timeout_ms,
        ping_interval_ms: timeouts.ping_interval_ms,
    };
    MemberSpec {
        publish: publish.collect(),
        play: match claims.subscribe {
            true => PlaySpec::Everyone,
            false => PlaySpec::Only(BTreeMap::new()),
        },
        // The credential is never compared: such a member shows its token again whenever it comes.
        ..MemberSpec::new("", rpc, timeouts.reconnect_timeout_ms)
    }
}
