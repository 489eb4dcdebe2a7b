//! Payload descriptors of every codec. The first byte says how much of the rest is the dependency descriptor.
#![no_main]

use colchis::wire::exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    exercise::codec(bytes, None);
    if let [len, rest @ ..] = bytes {
        let (descriptor, payload) = rest.split_at(usize::from(*len).min(rest.len()));
        exercise::codec(payload, Some(descriptor));
    }
});
