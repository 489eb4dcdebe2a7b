//! What each room costs its shard: work counted as packets come and go, and turned into time once a second.
//!
//! The shard reads no clock, so it cannot time a room. It counts; the thread around it knows how long it worked on packets,
//! and [`Costs::attribute`] divides that time by work. What is given to rooms is never more than there was.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{RoomCostKey, RoomId};
use crate::limits::ROOMS_PER_SHARD_MAX;
use crate::metrics::RoomCost;
use crate::room::slab::Slab;

/// Weight of a datagram that comes, ns: read, opened, parsed and kept (`docs/benchmarks.md`, "One packet": open 334, take in
/// 203).
const RECEIVED_NS: u64 = 500;
/// Weight of a datagram that goes, ns: written and sealed (the same table: 330), and the kernel's way, which is 455 in a train
/// of 8 and 2,900 alone ("Sending"). Only the ratio of the two counts.
const SENT_NS: u64 = 2_000;

/// One room's work and what came of it.
#[derive(Debug)]
struct Account {
    room: RoomId,
    datagrams_received: u64,
    datagrams_sent: u64,
    bytes_sent: u64,
    /// Weighted work that has been given its time, ns.
    settled: u64,
    busy_ns: u64,
    busy_ratio: f64,
}

impl Account {
    fn new(room: RoomId) -> Self {
        Self {
            room,
            datagrams_received: 0,
            datagrams_sent: 0,
            bytes_sent: 0,
            settled: 0,
            busy_ns: 0,
            busy_ratio: 0.0,
        }
    }

    fn weight(&self) -> u64 {
        self.datagrams_received * RECEIVED_NS + self.datagrams_sent * SENT_NS
    }

    fn cost(&self) -> RoomCost {
        RoomCost {
            datagrams_received: self.datagrams_received,
            datagrams_sent: self.datagrams_sent,
            bytes_sent: self.bytes_sent,
            busy_s: self.busy_ns as f64 / 1e9,
            busy_ratio: self.busy_ratio,
        }
    }
}

/// Accounts of all rooms of a shard that have had media.
#[derive(Debug)]
pub(super) struct Costs {
    accounts: Slab<RoomCostKey, Account>,
    by_room: BTreeMap<RoomId, RoomCostKey>,
}

impl Costs {
    /// Without rooms.
    pub(super) fn new() -> Self {
        Self {
            accounts: Slab::new(ROOMS_PER_SHARD_MAX),
            by_room: BTreeMap::new(),
        }
    }

    /// The account of a room, opened if it has none. `None`: there are as many as may be, and the room's work is not counted.
    pub(super) fn open(&mut self, room: &RoomId) -> Option<RoomCostKey> {
        if let Some(key) = self.by_room.get(room) {
            return Some(*key);
        }
        let key = self.accounts.insert(Account::new(room.clone())).ok()?;
        self.by_room.insert(room.clone(), key);
        Some(key)
    }

    /// The room is closed.
    pub(super) fn close(&mut self, room: &RoomId) {
        if let Some(key) = self.by_room.remove(room) {
            self.accounts.remove(key);
        }
    }

    /// A datagram has come from a member.
    #[inline]
    pub(super) fn received(&mut self, key: Option<RoomCostKey>) {
        if let Some(account) = key.and_then(|key| self.accounts.get_mut(key)) {
            account.datagrams_received += 1;
        }
    }

    /// So many media packets, of `bytes` together, go to a member.
    #[inline]
    pub(super) fn sent(&mut self, key: Option<RoomCostKey>, datagrams: u64, bytes: u64) {
        if let Some(account) = key.and_then(|key| self.accounts.get_mut(key)) {
            account.datagrams_sent += datagrams;
            account.bytes_sent += bytes;
        }
    }

    /// Divides `busy`, the time spent on packets within the last `elapsed`, among rooms by the work each had since it was
    /// called last. To the nanosecond nothing is lost; without any work the time is nobody's.
    pub(super) fn attribute(&mut self, busy: Duration, elapsed: Duration) {
        let fresh = |account: &Account| u128::from(account.weight() - account.settled);
        let all: u128 = self.accounts.iter().map(|(_, a)| fresh(a)).sum();
        let elapsed_ns = elapsed.as_nanos().max(1) as f64;
        let (mut work, mut given) = (0, 0);
        for (_, account) in self.accounts.iter_mut() {
            work += fresh(account);
            // The share of all up to here, less what they were given: rounding does not add up.
            let until = (busy.as_nanos() * work).checked_div(all).unwrap_or(0) as u64;
            let share = until - given;
            given = until;
            account.settled = account.weight();
            account.busy_ns += share;
            account.busy_ratio = share as f64 / elapsed_ns;
        }
    }

    /// What a room costs; nothing, if it never had media.
    pub(super) fn of(&self, room: &RoomId) -> RoomCost {
        let account = self.by_room.get(room).and_then(|k| self.accounts.get(*k));
        account.map(Account::cost).unwrap_or_default()
    }

    /// The `most` rooms that cost most in the last second, the costliest first, of equal ones those of the lower id.
    pub(super) fn costliest(&self, most: usize) -> Vec<(RoomId, RoomCost)> {
        let mut all: Vec<&Account> = self.accounts.iter().map(|(_, a)| a).collect();
        all.sort_unstable_by(|a, b| {
            let ratio = b.busy_ratio.total_cmp(&a.busy_ratio);
            ratio.then_with(|| a.room.cmp(&b.room))
        });
        all.truncate(most);
        all.into_iter()
            .map(|account| (account.room.clone(), account.cost()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn room(name: &str) -> RoomId {
        RoomId::new(name).unwrap()
    }

    /// Rooms with so many copies for the one packet each receives.
    fn costs(copies: &[(&str, usize)]) -> Costs {
        let mut costs = Costs::new();
        for (name, count) in copies {
            let key = costs.open(&room(name));
            costs.received(key);
            costs.sent(key, *count as u64, *count as u64 * 1000);
        }
        costs
    }

    #[test]
    fn the_time_of_packets_is_divided_by_work_without_a_rest() {
        let mut costs = costs(&[("audio", 1), ("stage", 100), ("silent", 0), ("call", 7)]);
        costs.open(&room("empty"));
        let busy = Duration::from_nanos(333_333_331);
        costs.attribute(busy, SECOND);
        let ns = |name: &str| (costs.of(&room(name)).busy_s * 1e9).round() as u64;
        let all: u64 = ["audio", "stage", "silent", "call"].map(ns).iter().sum();
        assert_eq!(all, 333_333_331);
        assert!(ns("stage") > 10 * ns("call") && ns("call") > ns("audio"));
        assert!(ns("audio") > ns("silent") && ns("silent") > 0);
        assert_eq!(costs.of(&room("empty")), RoomCost::default());
    }

    #[test]
    fn the_ratio_is_of_the_last_second_and_the_time_of_all() {
        let mut costs = costs(&[("call", 10)]);
        costs.attribute(Duration::from_millis(200), SECOND);
        let before = costs.of(&room("call"));
        assert_eq!((before.busy_s, before.busy_ratio), (0.2, 0.2));
        assert_eq!((before.datagrams_sent, before.bytes_sent), (10, 10_000));
        // Nobody's packets: strangers, say.
        costs.attribute(Duration::from_millis(500), SECOND);
        let after = costs.of(&room("call"));
        assert_eq!((after.busy_s, after.busy_ratio), (0.2, 0.0));
    }

    #[test]
    fn a_closed_room_is_gone_and_its_name_begins_anew() {
        let mut costs = costs(&[("call", 10), ("other", 1)]);
        costs.attribute(SECOND, SECOND);
        costs.close(&room("call"));
        assert_eq!(costs.of(&room("call")), RoomCost::default());
        let left = costs.costliest(10);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].0, room("other"));
        costs.open(&room("call"));
        assert_eq!(costs.of(&room("call")).datagrams_sent, 0);
    }

    #[test]
    fn the_costliest_come_first_and_no_more_than_asked_for() {
        let mut costs = costs(&[("a", 1), ("b", 5), ("c", 9), ("d", 5)]);
        costs.attribute(SECOND, SECOND);
        let names: Vec<String> = costs
            .costliest(3)
            .into_iter()
            .map(|(r, _)| r.into())
            .collect();
        assert_eq!(names, ["c", "b", "d"]);
    }
}
