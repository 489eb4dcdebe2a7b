//! The only impure folder: clock, executors and pinning, UDP, channels, WebSocket, HTTP, signals.

pub mod addresses;
pub mod channel;
pub mod cli;
pub mod clock;
pub mod control;
pub mod executor;
mod http;
mod huge;
pub mod identity;
pub mod launch;
pub mod listener;
pub mod load;
pub mod plan;
pub mod preflight;
pub mod report;
pub mod runtime;
pub mod shard;
pub mod signalling;
mod site;
pub mod specs;
pub mod tls;
pub mod tune;
pub mod udp;
mod ws;
