//! The only impure folder: clock, executors and pinning, UDP, channels, WebSocket, HTTP, signals.
