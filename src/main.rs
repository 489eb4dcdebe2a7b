//! The `colchis` command.

fn main() {}
