//! Faults on purpose: where the tests make the server panic, to see what that costs (threats.md rule 10).
//!
//! All of it is empty without the feature `faults`, which only the tests turn on. A fault is armed for the thread it is
//! armed on, and happens once.

/// Where a fault can be provoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// In a room, at a command of a member.
    Room,
    /// In a room, at a media packet that comes.
    Media,
    /// In a room, at media that goes to a subscriber.
    Forward,
    /// In a room, by the clock.
    Tick,
    /// In a shard, outside every room.
    Shard,
    /// In the signalling core.
    Signalling,
}

#[cfg(feature = "faults")]
mod armed {
    use super::Point;
    use std::cell::Cell;

    thread_local! {
        static ARMED: Cell<Option<Point>> = const { Cell::new(None) };
    }

    /// The next time this thread comes to `point`, it panics.
    pub fn arm(point: Point) {
        ARMED.set(Some(point));
    }

    /// Arms what a candidate like `fault:shard` names.
    pub fn hear(candidate: &str) {
        let point = match candidate.strip_prefix("fault:") {
            Some("room") => Point::Room,
            Some("media") => Point::Media,
            Some("forward") => Point::Forward,
            Some("tick") => Point::Tick,
            Some("shard") => Point::Shard,
            Some("signalling") => Point::Signalling,
            _ => return,
        };
        arm(point);
    }

    /// Panics if `point` is armed.
    #[expect(clippy::panic, reason = "that is what it is for")]
    pub fn trip(point: Point) {
        if ARMED.get() == Some(point) {
            ARMED.set(None);
            panic!("a fault on purpose: {point:?}");
        }
    }
}

#[cfg(not(feature = "faults"))]
mod armed {
    use super::Point;

    /// Nothing.
    #[inline(always)]
    pub fn hear(_: &str) {}

    /// Nothing.
    #[inline(always)]
    pub fn trip(_: Point) {}
}

pub use armed::*;
