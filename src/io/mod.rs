//! The only impure folder: clock, executors and pinning, UDP, channels, WebSocket, HTTP, signals.

pub mod addresses;
pub mod channel;
pub mod clock;
pub mod executor;
pub mod identity;
pub mod plan;
pub mod preflight;
pub mod shard;
pub mod udp;
