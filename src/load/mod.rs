//! The load generator's pure half: who joins which room, what publishers send, one client's connection, the client's side of
//! the signalling, and the judgement of what arrives. `io::load` gives it sockets and time.
//!
//! Every packet carries who sent it, its number and when ([`payload`]), so that a receiver can tell loss, order, integrity
//! and one-way latency without knowing more than the bytes.

pub mod agent;
pub mod client;
pub mod colchis;
pub mod describe;
pub mod html;
pub mod janus;
pub mod judge;
pub mod payload;
pub mod report;
pub mod shape;

/// Who is in the rooms of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Crowd {
    /// Rooms.
    pub rooms: usize,
    /// Publishers of each.
    pub publishers: usize,
    /// Subscribers of each that send nothing.
    pub subscribers: usize,
    /// Publishers receive each other too.
    pub all_to_all: bool,
}

impl Crowd {
    /// Members of a room.
    pub const fn members(&self) -> usize {
        self.publishers + self.subscribers
    }

    /// Clients in all.
    pub const fn clients(&self) -> usize {
        self.rooms * self.members()
    }

    /// Copies of a packet that a publisher sends.
    pub const fn fan_out(&self) -> usize {
        let others = if self.all_to_all {
            self.publishers - 1
        } else {
            0
        };
        self.subscribers + others
    }
}

/// One client of a load, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Room.
    pub room: usize,
    /// Place in the room: publishers first.
    pub place: usize,
    /// It sends.
    pub publishes: bool,
}

impl Seat {
    /// All seats of a crowd: publishers of all rooms first, so that subscribers find what they came for.
    pub fn all(crowd: Crowd) -> Vec<Seat> {
        let seats = |places: std::ops::Range<usize>, publishes| {
            (0..crowd.rooms).flat_map(move |room| {
                places.clone().map(move |place| Seat {
                    room,
                    place,
                    publishes,
                })
            })
        };
        let mut all: Vec<Seat> = seats(0..crowd.publishers, true).collect();
        all.extend(seats(crowd.publishers..crowd.members(), false));
        all
    }

    /// Its name in the room.
    pub fn member(&self) -> String {
        format!("{}{}", if self.publishes { 'p' } else { 's' }, self.place)
    }

    /// A number no other client of the load has.
    pub fn number(&self, crowd: Crowd) -> u32 {
        (self.room * crowd.members() + self.place) as u32
    }
}
