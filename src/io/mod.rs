//! The only impure folder: clock, executors and pinning, UDP, channels, WebSocket, HTTP, signals.

pub mod clock;
pub mod plan;
pub mod udp;
