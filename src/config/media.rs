//! `[media]`: UDP ports and the addresses clients are told.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Media of all shards.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// Address the sockets are bound to; `::` is all of IPv6 and IPv4.
    pub bind: IpAddr,
    /// UDP port of shard 0; shard n uses `udp_port + n`. 0: any free ports.
    pub udp_port: u16,
    /// Addresses clients are told, IPv4 and IPv6. Behind 1:1 NAT: the public ones. Empty: those of this host.
    pub advertise: Vec<IpAddr>,
    /// Kernel buffer of each socket and direction, bytes; clamped to net.core.rmem_max and wmem_max.
    pub socket_buffer_bytes: usize,
    /// Datagrams of one size to one client leave together (UDP GSO) instead of one by one.
    pub trains: bool,
    /// Codecs rooms may use, most preferred first: `opus`, `VP8`, `VP9`, `H264`, `AV1`.
    pub codecs: Vec<Codec>,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            bind: IpAddr::from([0_u16; 8]),
            udp_port: 40000,
            advertise: Vec::new(),
            socket_buffer_bytes: 4 * 1024 * 1024,
            trains: true,
            codecs: vec![Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1],
        }
    }
}

/// A codec by its usual name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Codec {
    /// `opus`
    #[serde(rename = "opus")]
    Opus,
    /// `VP8`
    #[serde(rename = "VP8")]
    Vp8,
    /// `VP9`
    #[serde(rename = "VP9")]
    Vp9,
    /// `H264`
    H264,
    /// `AV1`
    #[serde(rename = "AV1")]
    Av1,
}
