//! RTP packets: header, extensions, padding, RTX and every codec's descriptor.
#![no_main]

use colchis::wire::exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::rtp(bytes));
