//! Configuration: one file per section, strict keys, errors with file, line and hint.
//!
//! Pure: text in, [`Config`] or [`load::ConfigError`] out. `docs/config.md` documents every key; a test holds it to that.

pub mod callbacks;
pub mod cores;
pub mod dtls;
pub mod ice;
pub mod limits;
pub mod load;
pub mod log;
pub mod media;
pub mod private;
pub mod public;
pub mod rooms;
pub mod timeouts;

use serde::Deserialize;

pub use callbacks::Callbacks;
pub use cores::Cores;
pub use dtls::Dtls;
pub use ice::Ice;
pub use limits::Limits;
pub use load::ConfigError;
pub use log::Log;
pub use media::{Media, UdpChoice, UdpWay};
pub use private::Private;
pub use public::Public;
pub use rooms::Rooms;
pub use timeouts::Timeouts;

/// Everything `colchis serve` can be told.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients connect.
    pub public: Public,
    /// Where operators connect.
    pub private: Private,
    /// Media ports and addresses.
    pub media: Media,
    /// Which core does what.
    pub cores: Cores,
    /// Pings, idleness, reconnects.
    pub timeouts: Timeouts,
    /// DTLS.
    pub dtls: Dtls,
    /// STUN and TURN servers of clients.
    pub ice: Ice,
    /// How much one server takes on.
    pub limits: Limits,
    /// Rooms known at start, and tokens.
    pub rooms: Rooms,
    /// How whoever made a room is asked and told.
    pub callbacks: Callbacks,
    /// What is written to stderr.
    pub log: Log,
}
