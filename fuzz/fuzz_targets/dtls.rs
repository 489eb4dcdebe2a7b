//! A guarded DTLS server in every stage of a handshake, versions 1.2 and 1.3, attacked with datagrams.
#![no_main]

use std::cell::RefCell;

use colchis::time::Anchor;
use colchis::transport::exercise::DtlsTarget;

fn target(dtls13: bool) -> DtlsTarget {
    let anchor = Anchor {
        instant: std::time::Instant::now(),
        ntp: 0,
    };
    let identity = colchis::io::identity::generate().expect("a certificate can be made");
    DtlsTarget::new(identity, dtls13, anchor).expect("a fresh identity can be used")
}

thread_local! {
    static TARGETS: RefCell<[DtlsTarget; 2]> = RefCell::new([target(false), target(true)]);
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let which = usize::from(bytes.first().is_some_and(|first| first & 0x80 != 0));
    TARGETS.with_borrow_mut(|targets| targets[which].run(bytes));
});
