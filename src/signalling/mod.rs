//! The signalling core as a state machine: sessions, room → shard map, timeouts.
