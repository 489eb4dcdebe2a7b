//! End to end with a second WebRTC implementation: real sockets, the real binary, nothing of the server's own code.
#[path = "../support/mod.rs"]
mod support;

mod call;
mod client;
mod faults;
mod frames;
mod hostile;
mod load;
mod server;
mod signalling;
mod stack;
mod threads;
mod worker;
mod ws;

/// Room "r7" has number 7 in the marks.
pub fn room_number(room: &str) -> u16 {
    room.trim_start_matches('r')
        .parse()
        .expect("rooms of these tests are called r1, r2, …")
}
