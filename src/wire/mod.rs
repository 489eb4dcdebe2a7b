//! Parsers and writers of everything on the wire. Total functions: no panic, no recursion, no allocation by an attacker's length.
