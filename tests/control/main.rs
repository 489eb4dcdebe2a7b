//! The Control API against the real process: REST and gRPC through one table, callbacks, and who gets into a room.
//!
//! gRPC is spoken by the public crate's own client and callback server, so that whatever they can say is understood and
//! whatever we say parses with them.
#[path = "../support/process.rs"]
mod process;
#[path = "../e2e/ws.rs"]
mod ws;

mod callbacks;
mod joins;
mod lifetimes;
mod openapi;
mod server;
mod table;
mod ways;
