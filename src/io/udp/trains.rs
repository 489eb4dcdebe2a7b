//! Which datagrams of a flush leave together: runs of equal size to one destination are one train, which the kernel cuts
//! into datagrams as late as it can (UDP_SEGMENT, udp(7)).
//!
//! The order of datagrams to one destination is never changed; that of destinations is the order of their first
//! datagrams. Nothing here allocates after construction.

use std::net::SocketAddr;

use ahash::RandomState;

use crate::limits::{TRAIN_BYTES_MAX, TRAIN_DATAGRAMS_MAX, TRANSMIT_SLOTS};
use crate::transmit::TransmitQueue;

/// Places of the look-up table: at most half of them are ever taken.
const TABLE_PLACES: usize = (2 * TRANSMIT_SLOTS).next_power_of_two();

/// Datagrams that leave by one system call's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Train {
    /// Destination.
    pub to: SocketAddr,
    /// Its place in [`Trains::order`].
    start: u16,
    /// Datagrams, at least 1.
    pub count: u16,
    /// Bytes of each but the last, which may be shorter.
    pub segment: u16,
}

#[derive(Debug, Clone, Copy)]
struct Destination {
    to: SocketAddr,
    /// Datagrams to it; while they are put in order, where the next one goes.
    fill: u16,
}

/// A place of the look-up table.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The plan that wrote it: what older plans wrote is void.
    plan: u32,
    destination: u16,
}

/// Plans flushes.
#[derive(Debug)]
pub struct Trains {
    hasher: RandomState,
    table: Box<[Place]>,
    plan: u32,
    /// Places of it that this plan uses, a power of two: few for a small flush, so that they are in the cache.
    places: usize,
    destinations: Vec<Destination>,
    /// Destination of each datagram of the queue.
    of: Vec<u16>,
    /// Datagrams of the queue by destination.
    order: Vec<u16>,
    trains: Vec<Train>,
}

impl Default for Trains {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            table: vec![Place::default(); TABLE_PLACES].into_boxed_slice(),
            plan: 0,
            places: TABLE_PLACES,
            destinations: Vec::with_capacity(TRANSMIT_SLOTS),
            of: Vec::with_capacity(TRANSMIT_SLOTS),
            order: Vec::with_capacity(TRANSMIT_SLOTS),
            trains: Vec::with_capacity(TRANSMIT_SLOTS),
        }
    }
}

impl Trains {
    /// Plans the flush of `queue`. Destinations for which `alone` is true get no trains.
    pub fn plan(&mut self, queue: &TransmitQueue, alone: impl Fn(SocketAddr) -> bool) {
        self.begin(queue.len());
        let mut last = 0;
        for (to, _) in queue.iter() {
            let found = self.find(to, last);
            if let Some(destination) = self.destinations.get_mut(usize::from(found)) {
                destination.fill += 1;
            }
            self.of.push(found);
            last = usize::from(found);
        }
        self.arrange();
        self.cut(queue, alone);
    }

    /// The planned trains.
    pub fn trains(&self) -> &[Train] {
        &self.trains
    }

    /// Places of a train's datagrams in the queue.
    pub fn members(&self, train: &Train) -> &[u16] {
        let start = usize::from(train.start);
        let members = self.order.get(start..start + usize::from(train.count));
        members.unwrap_or_default()
    }

    /// Begins a plan for `datagrams`.
    fn begin(&mut self, datagrams: usize) {
        self.places = (2 * datagrams).next_power_of_two().min(TABLE_PLACES);
        if self.plan == u32::MAX {
            self.table.fill(Place::default());
            self.plan = 0;
        }
        self.plan += 1;
        self.destinations.clear();
        self.of.clear();
        self.order.clear();
        self.trains.clear();
    }

    /// Number of a destination, a new one if it is new. `last`: that of the datagram before.
    fn find(&mut self, to: SocketAddr, last: usize) -> u16 {
        // The next copy for the same subscriber, or for the next one of the same fan-out.
        for guess in [last, last + 1] {
            if self.destinations.get(guess).is_some_and(|d| d.to == to) {
                return guess as u16;
            }
        }
        let mut at = self.hasher.hash_one(to) as usize;
        loop {
            at &= self.places - 1;
            let next = self.destinations.len() as u16;
            let (plan, destinations) = (self.plan, &self.destinations);
            // Half of the places are free at least, so the search ends.
            let Some(place) = self.table.get_mut(at) else {
                return 0;
            };
            if place.plan != plan {
                *place = Place {
                    plan,
                    destination: next,
                };
                self.destinations.push(Destination { to, fill: 0 });
                return next;
            }
            let found = destinations.get(usize::from(place.destination));
            if found.is_some_and(|d| d.to == to) {
                return place.destination;
            }
            at += 1;
        }
    }

    /// Puts the datagrams in order of their destinations.
    fn arrange(&mut self) {
        let mut start = 0;
        for destination in &mut self.destinations {
            let count = destination.fill;
            destination.fill = start;
            start += count;
        }
        self.order.resize(self.of.len(), 0);
        for (datagram, destination) in self.of.iter().enumerate() {
            let Some(destination) = self.destinations.get_mut(usize::from(*destination)) else {
                continue;
            };
            if let Some(place) = self.order.get_mut(usize::from(destination.fill)) {
                *place = datagram as u16;
            }
            destination.fill += 1;
        }
    }

    /// Cuts the order into trains.
    fn cut(&mut self, queue: &TransmitQueue, alone: impl Fn(SocketAddr) -> bool) {
        let mut open: Option<(Train, bool)> = None;
        for (place, datagram) in self.order.iter().enumerate() {
            let Some((to, bytes)) = queue.get(usize::from(*datagram)) else {
                continue;
            };
            let len = bytes.len() as u16;
            match &mut open {
                Some((train, takes)) if *takes && train.to == to && fits(train, len) => {
                    train.count += 1;
                    // Only the last datagram of a train may be shorter.
                    *takes = len == train.segment;
                }
                _ => {
                    self.trains.extend(open.take().map(|(train, _)| train));
                    let train = Train {
                        to,
                        start: place as u16,
                        count: 1,
                        segment: len,
                    };
                    open = Some((train, !alone(to)));
                }
            }
        }
        self.trains.extend(open.map(|(train, _)| train));
    }
}

fn fits(train: &Train, len: u16) -> bool {
    len <= train.segment
        && usize::from(train.count) < TRAIN_DATAGRAMS_MAX
        && usize::from(train.count) * usize::from(train.segment) + usize::from(len)
            <= TRAIN_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn address(n: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, n], 1000 + u16::from(n)))
    }

    fn planned(datagrams: &[(u8, usize)], alone: &[u8]) -> Vec<(u8, Vec<usize>)> {
        let mut queue = TransmitQueue::with_slots(datagrams.len());
        for (to, len) in datagrams {
            assert!(queue.push(address(*to), &vec![*to; *len]));
        }
        let mut trains = Trains::default();
        // Twice: what the first plan left behind must not matter.
        trains.plan(&queue, |_| false);
        trains.plan(&queue, |to| alone.iter().any(|n| address(*n) == to));
        let trains = trains.trains().iter().map(|train| {
            let members = trains.members(train).iter();
            let members: Vec<usize> = members.map(|m| usize::from(*m)).collect();
            (train.to.port() as u8 - 232, members)
        });
        trains.collect()
    }

    #[test]
    fn a_fan_out_of_equal_packets_is_one_train_for_each() {
        let fan_out: Vec<(u8, usize)> = (0..3).flat_map(|_| (1..=4).map(|to| (to, 1200))).collect();
        let want: Vec<(u8, Vec<usize>)> = (1..=4_u8)
            .map(|to| (to, (0..3).map(|k| usize::from(to) - 1 + 4 * k).collect()))
            .collect();
        assert_eq!(planned(&fan_out, &[]), want);
    }

    #[test]
    fn a_shorter_one_ends_a_train_and_a_longer_one_begins_another() {
        let sizes = [100, 100, 60, 100, 120, 120];
        let datagrams: Vec<(u8, usize)> = sizes.iter().map(|len| (1, *len)).collect();
        assert_eq!(
            planned(&datagrams, &[]),
            [(1, vec![0, 1, 2]), (1, vec![3]), (1, vec![4, 5])]
        );
        assert_eq!(planned(&datagrams, &[1]).len(), 6, "one by one");
    }

    #[test]
    fn trains_are_as_long_as_the_kernel_takes_them() {
        let small = vec![(1, 100); TRAIN_DATAGRAMS_MAX + 1];
        let trains = planned(&small, &[]);
        assert_eq!(trains.len(), 2);
        assert_eq!(trains[0].1.len(), TRAIN_DATAGRAMS_MAX);
        let large = vec![(1, 1400); TRAIN_BYTES_MAX / 1400 + 1];
        assert_eq!(planned(&large, &[])[0].1.len(), TRAIN_BYTES_MAX / 1400);
    }

    proptest! {
        #[test]
        fn every_datagram_leaves_once_and_in_order(
            datagrams in prop::collection::vec((0..9_u8, 1..5_usize), 0..300),
            alone in prop::collection::vec(0..9_u8, 0..3),
        ) {
            let trains = planned(&datagrams, &alone);
            let mut left: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
            for (to, members) in &trains {
                let sizes: Vec<usize> = members.iter().map(|m| datagrams[*m].1).collect();
                let (last, rest) = sizes.split_last().unwrap();
                prop_assert!(rest.iter().all(|len| *len == sizes[0]) && *last <= sizes[0]);
                prop_assert!(!alone.contains(to) || members.len() == 1);
                left.entry(*to).or_default().extend(members);
            }
            let mut wanted: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
            for (at, (to, _)) in datagrams.iter().enumerate() {
                wanted.entry(*to).or_default().push(at);
            }
            prop_assert_eq!(left, wanted);
        }
    }
}
