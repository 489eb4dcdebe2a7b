//! What the process is started with, whichever command asked for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bus::spec::{P2pPolicy, RoomSpec};
use crate::config::Config;
use crate::control::guest;
use crate::control::spec::SpecBook;
use crate::id::RoomId;
use crate::io::control::TokenKeys;
use crate::io::specs::{ReadError, read_config, read_specs, read_token_keys, read_token_template};
use crate::signalling::Template;

/// Everything a server needs to start.
pub struct Launch {
    /// Configuration, checked.
    pub config: Config,
    /// Rooms of spec files.
    pub book: SpecBook,
    /// Makes rooms that nobody has declared.
    pub template: Option<Template>,
    /// Keys of the tokens that open such rooms; none: their own credential does.
    pub tokens: TokenKeys,
    /// Where the configuration was read from; `None` in dev mode.
    pub config_path: Option<PathBuf>,
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
        let open = Arc::new(guest::member(DEV_CREDENTIAL, &config.timeouts, true, true));
        let p2p = options.p2p;
        let template: Template = Box::new(move |room: &RoomId| {
            Some(Arc::new(RoomSpec {
                p2p,
                open: Some(open.clone()),
                ..RoomSpec::new(room.clone())
            }))
        });
        Self {
            config,
            book: SpecBook::default(),
            template: Some(template),
            tokens: TokenKeys::default(),
            config_path: None,
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
        let tokens = read_token_keys(&config)?;
        let template = match tokens.is_empty() {
            true => None,
            false => Some(token_template(read_token_template(&config)?)),
        };
        Ok(Self {
            config,
            book,
            template,
            tokens,
            config_path: Some(path.to_owned()),
            dev_credential: None,
            shards_min: 1,
        })
    }
}

/// Rooms opened by tokens: as the template says, with the members that tokens bring.
fn token_template(like: RoomSpec) -> Template {
    Box::new(move |room: &RoomId| {
        Some(Arc::new(RoomSpec {
            id: room.clone(),
            ..like.clone()
        }))
    })
}
