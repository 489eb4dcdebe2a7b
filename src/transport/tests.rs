//! Tests of the whole transport.
