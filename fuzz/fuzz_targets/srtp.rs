//! SRTP and SRTCP of every profile: nothing opens without the key.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| colchis::transport::exercise::srtp(bytes));
