//! The shard as a state machine: datagrams, commands and time in; datagrams and events out.
