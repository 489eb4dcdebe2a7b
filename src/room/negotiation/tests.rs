//! Negotiation as a client sees it.
