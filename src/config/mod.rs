//! Configuration: one file per section, strict keys, errors with file, line and hint.
