//! RTCP compounds, every packet to its end.
#![no_main]

use colchis::wire::exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::rtcp(bytes));
