//! Colchis, a thread-per-core WebRTC SFU: the library behind the `colchis` command.
//!
//! Layers (a module may use itself and lower ranks only; `tests/tidy.rs` holds this):
//! 0 [`id`] [`limits`] [`error`] [`time`] [`transmit`] [`faults`] · 1 [`wire`] [`bus`] [`config`] [`metrics`] ·
//! 2 [`transport`] [`media`] · 3 [`room`] · 4 [`shard`] [`signalling`] [`control`] · 5 [`load`] [`tune`] ·
//! 9 [`io`].
//! Ranks 0–5 do no IO, read no clock and draw no randomness of their own; see `docs/architecture.md`.

#![deny(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unimplemented,
        clippy::print_stdout,
        clippy::print_stderr,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::too_many_lines,
    )
)]

pub mod bus;
pub mod config;
pub mod control;
pub mod error;
pub mod faults;
pub mod id;
// The one impure folder: clocks, threads, files and the terminal are its business. `unsafe` is not, except in
// its UDP and listener modules, which say so themselves.
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr
)]
pub mod io;
pub mod limits;
pub mod load;
pub mod media;
pub mod metrics;
pub mod room;
pub mod shard;
pub mod signalling;
pub mod time;
pub mod transmit;
pub mod transport;
pub mod tune;
pub mod wire;
