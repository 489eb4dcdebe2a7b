//! Which way of moving datagrams costs least on this host: found out at start, over loopback, within [`BUDGET`].
//!
//! Each way sends bursts as a fan-out does, and receives them, in turns; what counts is the CPU time of a datagram. A way
//! that loses some, or changes their order or their bytes, is not taken.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{MediaSocket, UdpError};
use crate::config::UdpWay;
use crate::io::clock::thread_cpu;
use crate::time::Time;
use crate::transmit::TransmitQueue;

/// What the measurement may take in all.
pub const BUDGET: Duration = Duration::from_millis(300);
/// Rounds of each way; the median counts.
const ROUNDS: usize = 3;
/// Bursts of a round.
const BURSTS: usize = 6;
const DESTINATIONS: usize = 8;
/// Packets of a burst to each destination: those of a video frame.
const FRAME: usize = 4;
const BYTES: usize = 1200;
/// A burst that has not come after this long is lost: loopback delivers before the send returns.
const ARRIVE_MAX: Duration = Duration::from_millis(20);

/// What was measured, and what was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The way to go.
    pub way: UdpWay,
    /// Why.
    pub reason: String,
}

/// One way's result.
#[derive(Debug)]
struct Cost {
    way: UdpWay,
    /// ns of CPU time for sending and receiving a datagram; none: it does not work here.
    ns: Option<u64>,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ns {
            Some(ns) => write!(f, "{} {ns} ns", self.way.name()),
            None => write!(f, "{} does not work", self.way.name()),
        }
    }
}

/// Measures all ways and takes the cheapest.
pub fn choose() -> Choice {
    let start = Instant::now();
    let mut rounds: Vec<(UdpWay, Vec<Option<u64>>)> = UdpWay::ALL
        .map(|way| (way, Vec::with_capacity(ROUNDS)))
        .to_vec();
    for round in 0..ROUNDS {
        if round > 0 && start.elapsed() > BUDGET / 2 {
            break;
        }
        for (way, results) in &mut rounds {
            results.push(measure(*way).unwrap_or(None));
        }
    }
    let costs = rounds.into_iter().map(|(way, mut results)| {
        let works = results.iter().all(Option::is_some);
        results.sort_unstable();
        let median = results.get(results.len() / 2).copied().flatten();
        Cost {
            way,
            ns: median.filter(|_| works),
        }
    });
    pick(costs.collect())
}

fn pick(costs: Vec<Cost>) -> Choice {
    let best = costs
        .iter()
        .filter_map(|c| Some((c.ns?, c.way)))
        .min_by_key(|(ns, _)| *ns);
    let all: Vec<String> = costs.iter().map(Cost::to_string).collect();
    let all = all.join(", ");
    match best {
        Some((_, way)) => Choice {
            way,
            reason: format!("cheapest over loopback here: {all} per datagram sent and received"),
        },
        None => Choice {
            way: UdpWay::Plain,
            reason: "loopback could not be measured: the plainest way".to_owned(),
        },
    }
}

/// One round of a way: ns for each datagram, or none if one was lost or spoilt.
fn measure(way: UdpWay) -> Result<Option<u64>, UdpError> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut from = MediaSocket::bind(any, 1 << 20)?.with_way(way)?;
    let mut to = Vec::with_capacity(DESTINATIONS);
    for _ in 0..DESTINATIONS {
        to.push(MediaSocket::bind(any, 1 << 20)?.with_way(way)?);
    }
    let addresses: Vec<SocketAddr> = to.iter().filter_map(|s| s.local_addr().ok()).collect();
    let mut queue = TransmitQueue::with_slots(DESTINATIONS * FRAME);
    let before = thread_cpu();
    for burst in 0..BURSTS {
        for packet in 0..FRAME {
            for address in &addresses {
                queue.push(*address, &[(burst * FRAME + packet) as u8; BYTES]);
            }
        }
        from.send(&mut queue, Time::ZERO);
        for socket in &mut to {
            if !arrives(socket, burst) {
                return Ok(None);
            }
        }
    }
    let spent = thread_cpu().saturating_sub(before);
    let datagrams = (BURSTS * FRAME * DESTINATIONS) as u128;
    Ok(u64::try_from(spent.as_nanos() / datagrams).ok())
}

/// Whether a burst comes whole, in order and unspoilt.
fn arrives(socket: &mut MediaSocket, burst: usize) -> bool {
    let (mut got, start) = (0, Instant::now());
    loop {
        let count = socket.recv().unwrap_or(0);
        for index in 0..count {
            let wanted = (burst * FRAME + got) as u8;
            let datagram = socket.datagram(index).and_then(|d| d.bytes);
            if !datagram.is_some_and(|b| b.len() == BYTES && b.iter().all(|x| *x == wanted)) {
                return false;
            }
            got += 1;
        }
        if got >= FRAME {
            return got == FRAME;
        }
        if start.elapsed() > ARRIVE_MAX {
            return false;
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_chosen_that_works_here() {
        let choice = choose();
        assert!(choice.reason.contains("trains"), "{choice:?}");
        assert!(measure(choice.way).unwrap().is_some(), "{choice:?}");
    }

    #[test]
    fn the_cheapest_that_works_is_taken_and_told() {
        let cost = |way, ns| Cost { way, ns };
        let choice = pick(vec![
            cost(UdpWay::Trains, None),
            cost(UdpWay::Batches, Some(900)),
            cost(UdpWay::Plain, Some(1000)),
        ]);
        assert_eq!(choice.way, UdpWay::Batches);
        assert!(
            choice
                .reason
                .contains("trains does not work, batches 900 ns, plain 1000 ns")
        );
        let none = pick(UdpWay::ALL.map(|way| cost(way, None)).into());
        assert_eq!(none.way, UdpWay::Plain);
    }
}
