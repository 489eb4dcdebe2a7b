//! The control core as a state machine: health, readiness, metrics.
