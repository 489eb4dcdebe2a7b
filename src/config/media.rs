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
    /// How datagrams go to the kernel and back: `auto`, or one of [`UdpWay`].
    pub udp: UdpChoice,
    /// Packets of a frame that differ by a byte or two are padded to one length, so that they leave as one train.
    pub equalize: bool,
    /// Huge pages are asked for in the memory that every datagram of a shard passes through.
    pub huge_pages: bool,
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
            udp: UdpChoice::Auto,
            equalize: true,
            huge_pages: false,
            codecs: vec![Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1],
        }
    }
}

/// A way of moving datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UdpWay {
    /// `trains`: one system call for a batch of trains both ways (UDP GSO and GRO).
    Trains,
    /// `uring`: trains both ways by an io_uring of the shard's own (multishot receive into provided buffers).
    Uring,
    /// `batches`: one system call for a batch of datagrams.
    Batches,
    /// `plain`: one system call for each datagram.
    Plain,
}

impl UdpWay {
    /// All of them, the one that is best on most hosts first.
    pub const ALL: [UdpWay; 4] = [
        UdpWay::Trains,
        UdpWay::Uring,
        UdpWay::Batches,
        UdpWay::Plain,
    ];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            UdpWay::Trains => "trains",
            UdpWay::Uring => "uring",
            UdpWay::Batches => "batches",
            UdpWay::Plain => "plain",
        }
    }

    /// Whether datagrams of one size to one destination leave as a train.
    pub const fn has_trains(self) -> bool {
        matches!(self, UdpWay::Trains | UdpWay::Uring)
    }
}

/// What `media.udp` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UdpChoice {
    /// Measured at start; the cheapest is taken.
    Auto,
    /// See [`UdpWay::Trains`].
    Trains,
    /// See [`UdpWay::Uring`].
    Uring,
    /// See [`UdpWay::Batches`].
    Batches,
    /// See [`UdpWay::Plain`].
    Plain,
}

impl UdpChoice {
    /// The way it pins, if it does.
    pub const fn pinned(self) -> Option<UdpWay> {
        match self {
            UdpChoice::Auto => None,
            UdpChoice::Trains => Some(UdpWay::Trains),
            UdpChoice::Uring => Some(UdpWay::Uring),
            UdpChoice::Batches => Some(UdpWay::Batches),
            UdpChoice::Plain => Some(UdpWay::Plain),
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
