//! Tests, to come with the next increment.
