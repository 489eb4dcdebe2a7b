//! Rooms: members, peers, tracks, negotiation, and the reconcile that turns the description into machine state.
