//! What crosses between cores, as plain data: the client protocol and the shard's commands and events.
//!
//! No behaviour beyond (de)serialisation lives here; see `docs/protocol.md` for the meaning of each message.

pub mod client;
pub mod control;
pub mod shard;
pub mod spec;
