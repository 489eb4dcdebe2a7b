// Client library of the Colchis signalling protocol (docs/protocol.md).
export const VERSION = "0.1.0";
