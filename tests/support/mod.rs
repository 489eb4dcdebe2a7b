//! What the simulated clients and the end-to-end client share: session descriptions, the client's half of the
//! signalling protocol, and marked media. Written without the server's own parsers, so that a mistake of theirs is
//! not repeated here. Tests may panic: a fault of the server is a failed assertion.
#![allow(dead_code)]

pub mod media;
pub mod process;
pub mod sdp;
pub mod signal;
