//! STUN: the bytes as they are, and as attributes behind a right header and FINGERPRINT, which no fuzzer guesses.
#![no_main]

use colchis::wire::exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    exercise::stun_message(bytes);
    exercise::stun_attributes(bytes);
});
