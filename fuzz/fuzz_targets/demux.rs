//! Whole datagrams: classified, then read by the parser of what they are.
#![no_main]

use colchis::wire::exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::datagram(bytes));
