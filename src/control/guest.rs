//! Members of rooms that nobody has declared: what the configuration says goes for them.

use std::collections::BTreeMap;

use crate::bus::client::RpcSettings;
use crate::bus::spec::{MemberSpec, PlaySpec, PublishSpec};
use crate::config::Timeouts;
use crate::id::EndpointId;

/// Ping interval and idle timeout where nothing else is said.
pub fn rpc(timeouts: &Timeouts) -> RpcSettings {
    RpcSettings {
        idle_timeout_ms: timeouts.idle_timeout_ms,
        ping_interval_ms: timeouts.ping_interval_ms,
    }
}

/// A member that shows `plain`, sends by one endpoint if it may `publish`, and receives everybody if it may `subscribe`.
pub fn member(plain: &str, timeouts: &Timeouts, publish: bool, subscribe: bool) -> MemberSpec {
    let endpoint = EndpointId::new("publish").into_iter();
    MemberSpec {
        publish: endpoint
            .filter(|_| publish)
            .map(|id| (id, PublishSpec::default()))
            .collect(),
        play: match subscribe {
            true => PlaySpec::Everyone,
            false => PlaySpec::Only(BTreeMap::new()),
        },
        ..MemberSpec::new(plain, rpc(timeouts), timeouts.reconnect_timeout_ms)
    }
}
