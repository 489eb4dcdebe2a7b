//! Real descriptions in, the model out; and back.
