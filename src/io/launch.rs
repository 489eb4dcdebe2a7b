//! What the process is started with, whichever command asked for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::bus::client::RpcSettings;
use crate::bus::spec::{MemberSpec, P2P_MAX_MEMBERS, P2pPolicy, PlaySpec, PublishSpec, RoomSpec};
use crate::config::{Config, Timeouts};
use crate::id::{EndpointId, RoomId};
use crate::io::specs::{ReadError, read_config, read_specs};
use crate::signalling::SpecLookup;

/// Everything a server needs to start.
pub struct Launch {
    /// Configuration, checked.
    pub config: Config,
    /// Rooms and their members.
    pub specs: SpecLookup,
    /// Told to the page, in dev mode.
    pub dev_credential: Option<String>,
    /// Shards at least, when cores are not listed.
    pub shards_min: usize,
}

/// Choices of `colchis dev`.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// Address of the page.
    pub listen: SocketAddr,
    /// Address of health and metrics.
    pub private_listen: SocketAddr,
    /// Shards; `None`: one per core but signalling's, two at least.
    pub shards: Option<usize>,
    /// First UDP port; 0: any.
    pub udp_port: u16,
    /// Whether members are connected with each other.
    pub p2p: P2pPolicy,
}

/// Shards of dev mode at least, so that two rooms show two shards.
const DEV_SHARDS: usize = 2;

/// The credential of every room in dev mode. No secret: the page tells it to everybody who opens it.
const DEV_CREDENTIAL: &str = "dev";

impl Launch {
    /// `colchis dev`: every room is open, the page is served, nothing has to be configured.
    pub fn dev(options: &DevOptions) -> Self {
        let mut config = Config::default();
        config.public.listen = options.listen;
        config.public.page = true;
        config.private.listen = options.private_listen;
        config.media.udp_port = options.udp_port;
        let open = Arc::new(open_member(&config.timeouts));
        let p2p = options.p2p;
        let specs: SpecLookup = Box::new(move |room: &RoomId| {
            Some(Arc::new(RoomSpec {
                id: room.clone(),
                p2p,
                p2p_max_members: P2P_MAX_MEMBERS,
                open: Some(open.clone()),
                members: BTreeMap::new(),
            }))
        });
        Self {
            config,
            specs,
            dev_credential: Some(DEV_CREDENTIAL.to_owned()),
            shards_min: options.shards.unwrap_or(DEV_SHARDS),
        }
    }
}

impl Launch {
    /// `colchis serve`: configuration and specs from files.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn serve(path: &Path) -> Result<Self, ReadError> {
        let config = read_config(path)?;
        let book = read_specs(&config)?;
        Ok(Self {
            config,
            specs: Box::new(move |room: &RoomId| book.room_spec(room)),
            dev_credential: None,
            shards_min: 1,
        })
    }
}

/// A member of an open room: publishes one endpoint, plays everybody.
fn open_member(timeouts: &Timeouts) -> MemberSpec {
    let publish = EndpointId::new("publish")
        .into_iter()
        .map(|id| (id, PublishSpec::default()));
    MemberSpec {
        credential: DEV_CREDENTIAL.to_owned(),
        rpc: RpcSettings {
            idle_timeout_ms: timeouts.idle_timeout_ms,
            ping_interval_ms: timeouts.ping_interval_ms,
        },
        reconnect_timeout_ms: timeouts.reconnect_timeout_ms,
        publish: publish.collect(),
        play: PlaySpec::Everyone,
        ice_servers: Vec::new(),
        force_relay: false,
    }
}
