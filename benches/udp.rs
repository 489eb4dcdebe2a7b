//! What sending costs: CPU time of a datagram of 1200 bytes to 32 destinations, one by one, in trains of 1 to 8 by `sendmmsg` and by io_uring, over
//! loopback (the receiver's path included, trains cut in software) and, as root, over a pair of virtual interfaces whose
//! far end drops everything (the way to a network card).
//!
//! `cargo bench --bench udp`. Ratios within one run are what counts; each figure is the median of its rounds.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use colchis::config::UdpWay;
use colchis::io::udp::MediaSocket;
use colchis::time::Time;
use colchis::transmit::TransmitQueue;

const BYTES: usize = 1200;
const DESTINATIONS: usize = 32;
/// Packets of one flush to each destination: the lengths of the trains.
const TRAINS: [usize; 4] = [1, 2, 4, 8];
/// Ways to send, the one without trains first.
const WAYS: [UdpWay; 3] = [UdpWay::Batches, UdpWay::Trains, UdpWay::Uring];
/// Datagrams of a round.
const ROUND: usize = 32 * 1024;
const ROUNDS: usize = 9;
/// From TEST-NET-3 (RFC 5737).
const NEAR: &str = "203.0.113.1";
const FAR: &str = "203.0.113.2";

fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a plain system call that writes into `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// ns of CPU time for each datagram; and whether all were taken.
fn round(socket: &mut MediaSocket, to: &[SocketAddr], train: usize) -> (f64, bool) {
    let mut queue = TransmitQueue::default();
    let payload = [7; BYTES];
    let (mut spent, mut sent, mut refused) = (Duration::ZERO, 0, 0);
    while sent + refused < ROUND as u64 {
        for _ in 0..train {
            for to in to {
                assert!(queue.push(*to, &payload));
            }
        }
        let before = cpu_time();
        let outcome = socket.send(&mut queue, Time::ZERO);
        spent += cpu_time() - before;
        sent += outcome.datagrams;
        refused += outcome.refused;
    }
    (spent.as_nanos() as f64 / sent.max(1) as f64, refused == 0)
}

fn measure(name: &str, near: IpAddr, to: &[SocketAddr]) {
    let mut sockets = WAYS.map(|way| {
        let socket = MediaSocket::bind(SocketAddr::new(near, 0), 8 << 20).expect("a socket");
        socket.with_way(way).expect("a way")
    });
    for train in TRAINS {
        let mut times = WAYS.map(|_| Vec::new());
        let mut whole = true;
        // In turns, so that whatever else the host does meets all.
        for _ in 0..ROUNDS {
            for (socket, out) in sockets.iter_mut().zip(&mut times) {
                let (ns, all) = round(socket, to, train);
                out.push(ns);
                whole &= all;
            }
        }
        let medians = times.map(|mut all| {
            all.sort_by(f64::total_cmp);
            all[ROUNDS / 2]
        });
        let note = if whole { "" } else { ", some refused" };
        let each = WAYS
            .iter()
            .zip(medians)
            .map(|(way, ns)| format!("{} {ns:.0} ns ({:.2} x)", way.name(), medians[0] / ns));
        let each: Vec<String> = each.collect();
        println!(
            "{name}: {train} to each of {}: {} per datagram{note}",
            to.len(),
            each.join(", ")
        );
    }
}

fn ip(words: &str) -> bool {
    let done = Command::new("ip").args(words.split(' ')).status();
    done.is_ok_and(|status| status.success())
}

/// A pair of interfaces; taken down when dropped.
struct Veth;

impl Veth {
    fn new() -> Option<Veth> {
        let made = ip("netns add colchis-bench")
            && ip("link add cbench0 type veth peer name cbench1 netns colchis-bench");
        let veth = Veth;
        let up = made
            && ip(&format!("address add {NEAR}/24 dev cbench0"))
            && ip("link set cbench0 up")
            && ip("netns exec colchis-bench ip link set cbench1 address 02:00:00:00:00:02")
            && ip("netns exec colchis-bench ip link set cbench1 up")
            // The far end has no address: it drops what comes.
            && ip(&format!("neighbour add {FAR} lladdr 02:00:00:00:00:02 dev cbench0"));
        up.then_some(veth)
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        ip("link delete cbench0");
        ip("netns delete colchis-bench");
    }
}

fn main() {
    let receivers: Vec<UdpSocket> = (0..DESTINATIONS)
        .map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port"))
        .collect();
    let to: Vec<SocketAddr> = receivers
        .iter()
        .map(|r| r.local_addr().expect("its address"))
        .collect();
    measure("loopback", IpAddr::from([127, 0, 0, 1]), &to);
    match Veth::new() {
        None => println!("veth: not measured, it needs root"),
        Some(_veth) => {
            let far: IpAddr = FAR.parse().expect("an address");
            let to: Vec<SocketAddr> = (0..DESTINATIONS as u16)
                .map(|n| SocketAddr::new(far, 9000 + n))
                .collect();
            measure("veth", NEAR.parse().expect("an address"), &to);
        }
    }
}
