//! The bare limit: a loop without any SFU in it that receives, opens, and for each destination copies, seals and sends,
//! on the same sockets. And who feeds it.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use colchis::io::clock::thread_cpu;
use colchis::io::udp::MediaSocket;
use colchis::time::Time;
use colchis::transmit::TransmitQueue;
use colchis::transport::srtp::{Inbound, MasterKey, Outbound, SrtpProfile, rtp_header_len};
use serde_json::{Value, json};

use crate::net;

const PROFILE: SrtpProfile = SrtpProfile::AeadAes128Gcm;
pub const PORT: u16 = 41_000;
/// First port of the destinations.
const SINKS: u16 = 42_000;
/// No packet for this long: the feeder has ended.
const SILENCE: Duration = Duration::from_secs(2);

fn key(seed: u8) -> MasterKey {
    MasterKey::new(PROFILE, &[seed; 16], &[seed ^ 0xFF; 12]).expect("lengths of the profile")
}

/// As in the loads: one in 32 is heard.
fn sink(n: usize) -> &'static str {
    if n.is_multiple_of(32) {
        net::CLIENTS
    } else {
        net::UNHEARD
    }
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

/// Receives, opens, and sends to `fan_out` destinations until the feeder ends. Prints what it has done as JSON.
pub fn serve(fan_out: usize) {
    let mut socket = MediaSocket::bind(address(net::SERVER, PORT), 4 << 20).expect("a socket");
    let mut open = Inbound::new(PROFILE, &key(1)).expect("a key");
    let mut seals: Vec<(SocketAddr, Outbound)> = (0..fan_out)
        .map(|n| {
            let to = address(sink(n), SINKS + n as u16);
            (
                to,
                Outbound::new(PROFILE, &key(2 + (n % 250) as u8)).expect("a key"),
            )
        })
        .collect();
    let mut queue = TransmitQueue::default();
    let (mut packets, mut datagrams, mut trains, mut faults) = (0_u64, 0, 0, 0_u64);
    let mut started: Option<(Duration, Instant)> = None;
    let mut last = Instant::now();
    let waiter = socket.try_clone().expect("a second handle");
    waiter.set_read_timeout(Some(SILENCE)).expect("a timeout");
    loop {
        let count = socket.recv().expect("reading");
        if count == 0 {
            // As the server does: readiness first, then the batch.
            let ready = waiter.peek(&mut [0; 1]);
            if ready.is_err() && last.elapsed() >= SILENCE && started.is_some() {
                break;
            }
            continue;
        }
        last = Instant::now();
        started.get_or_insert_with(|| (thread_cpu(), last));
        for index in 0..count {
            let Some(bytes) = socket.datagram(index).and_then(|d| d.bytes) else {
                continue;
            };
            let header = rtp_header_len(bytes).expect("the feeder's header");
            let Ok(len) = open.open_rtp(bytes, header) else {
                faults += 1;
                continue;
            };
            packets += 1;
            let (head, payload) = bytes[..len].split_at(header);
            for (to, seal) in &mut seals {
                if queue.free() == 0 {
                    break;
                }
                let slot = queue.reserve().expect("there is room");
                slot[..header].copy_from_slice(head);
                let sealed = seal.seal_rtp_from(slot, header, payload).expect("sealing");
                queue.commit(*to, sealed);
            }
            if queue.free() < fan_out {
                let sent = socket.send(&mut queue, Time::ZERO);
                datagrams += sent.datagrams;
                trains += sent.trains.iter().sum::<u64>();
            }
        }
        let sent = socket.send(&mut queue, Time::ZERO);
        datagrams += sent.datagrams;
        trains += sent.trains.iter().sum::<u64>();
    }
    let (cpu, begin) = started.expect("somebody came");
    let cpu_s = (thread_cpu() - cpu).as_secs_f64();
    let wall_s = (last - begin).as_secs_f64();
    println!(
        "{}",
        json!({"packets": packets, "datagrams": datagrams, "trains": trains, "faults": faults,
            "cpu_s": cpu_s, "wall_s": wall_s})
    );
}

/// Sends frames of `train` packets of 1200 bytes, `frames_per_s` of them, for `seconds`, and receives what comes of them.
pub fn feed(fan_out: usize, train: usize, frames_per_s: f64, seconds: f64) {
    let sinks: Vec<UdpSocket> = (0..fan_out)
        .map(|n| {
            let socket = UdpSocket::bind(address(sink(n), SINKS + n as u16)).expect("a port");
            colchis::io::udp::set_gro(std::os::fd::AsRawFd::as_raw_fd(&socket), true);
            socket.set_nonblocking(true).expect("non-blocking");
            socket
        })
        .collect();
    let mut socket = MediaSocket::bind(address(net::CLIENTS, 0), 4 << 20).expect("a socket");
    let mut seal = Outbound::new(PROFILE, &key(1)).expect("a key");
    let mut queue = TransmitQueue::with_slots(64);
    let to = address(net::SERVER, PORT);
    let mut sequence = 0_u16;
    let start = Instant::now();
    let mut frame = 0_u64;
    let mut buffer = vec![0; 65_536];
    while start.elapsed().as_secs_f64() < seconds {
        if start.elapsed().as_secs_f64() * frames_per_s >= frame as f64 {
            for _ in 0..train {
                let slot = queue.reserve().expect("a slot");
                slot[..1184].fill(7);
                slot[..2].copy_from_slice(&[0x80, 96]);
                slot[2..4].copy_from_slice(&sequence.to_be_bytes());
                slot[8..12].copy_from_slice(&[0, 0, 0, 9]);
                sequence = sequence.wrapping_add(1);
                let sealed = seal.seal_rtp(slot, 12, 1184).expect("sealing");
                queue.commit(to, sealed);
            }
            socket.send(&mut queue, Time::ZERO);
            frame += 1;
            continue;
        }
        for sink in &sinks {
            while sink.recv(&mut buffer).is_ok() {}
        }
    }
}

/// Runs both ends in their namespaces; what the loop has done.
pub fn measure(fan_out: usize, train: usize, frames_per_s: f64, seconds: f64) -> Value {
    let me = std::env::current_exe().expect("this program");
    let me = me.to_str().expect("a path of text");
    let server = net::command(net::SERVER_NS, 0, me)
        .args(["--bare-serve", &fan_out.to_string()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the bare loop starts");
    std::thread::sleep(Duration::from_millis(300));
    let fed = net::command(net::CLIENTS_NS, 1, me)
        .args(["--bare-feed", &fan_out.to_string(), &train.to_string()])
        .args([frames_per_s.to_string(), seconds.to_string()])
        .status();
    assert!(fed.is_ok_and(|s| s.success()), "the feeder works");
    let out = server.wait_with_output().expect("the bare loop ends");
    serde_json::from_slice(&out.stdout).expect("its JSON")
}
