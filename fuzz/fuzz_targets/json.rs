//! WebSocket text: messages of clients, and whole conversations with the signalling core.
#![no_main]

use colchis::signalling::exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::client(bytes));
