//! Sequences of datagrams, right checks and passing time into the media state of a whole shard.
#![no_main]

#[path = "../../tests/support/datagram_sequence.rs"]
mod datagram_sequence;

libfuzzer_sys::fuzz_target!(|script: &[u8]| datagram_sequence::run(script));
