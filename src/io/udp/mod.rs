//! A shard's UDP socket: batches in, batches out, by the way that costs least on this host ([`UdpWay`]).
//!
//! Datagrams of a batch that go to one destination and have one size leave as a train (`trains`): the way through the
//! kernel is what a datagram costs, and a train takes it once. Nothing waits for a train to become longer.
//!
//! Reading and sending never block (MSG_DONTWAIT); [`MediaSocket::wait`] is where a shard sleeps (decision 12).

mod address;
mod chunk;
pub mod equal;
mod pieces;
mod plain;
pub mod probe;
mod receive;
mod refusals;
mod send;
mod sleeper;
mod trains;
mod uring;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::UdpWay;
use crate::metrics::Sent;
use crate::time::Time;
use crate::transmit::TransmitQueue;

use plain::Plain;
pub use receive::{RecvBatch, set_gro};
pub use send::SendBatch;
use sleeper::Sleeper;

/// Why a media port cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// The port cannot be bound.
    #[error(
        "media port {addr}: {source}; free the port (`ss -ulpn`), or set another `media.udp_port` or `media.bind`"
    )]
    Bind {
        /// What was asked for.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// No ring for `media.udp = "uring"`.
    #[error(
        "no io_uring with multishot receive for media: {0}; it needs Linux 6.1 and `sysctl kernel.io_uring_disabled=0`; or set \
         `media.udp` to `auto`"
    )]
    Ring(io::Error),
}

/// One datagram of a receive batch.
pub struct Received<'a> {
    /// Where it came from; [`MediaSocket`] says IPv4 even of a dual-stack socket.
    pub from: SocketAddr,
    /// Its bytes, or `None` when it was longer than a datagram may be (MSG_TRUNC).
    pub bytes: Option<&'a mut [u8]>,
}

/// Hears how many datagrams have left, as they do.
pub type Left<'a> = &'a mut dyn FnMut(u64);

/// The receiving half of a way to move datagrams.
pub trait Receive: std::fmt::Debug + Send {
    /// Reads a bounded batch of what is there; how many datagrams. Zero: nothing is.
    fn recv(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize>;
    /// Whether the last batch was as large as it can be: there may be more.
    fn more(&self) -> bool;
    /// Memory that datagrams are read into.
    fn memory(&self) -> &[u8];
    /// Datagram `index` of the last batch, from the address the kernel says.
    fn datagram(&mut self, index: usize) -> Option<Received<'_>>;
    /// Sleeps until there is something to read, `bell` becomes readable, or `most` has passed; it may return early. By
    /// `sleeper`, unless what reads can also wait.
    fn wait(
        &mut self,
        sleeper: &mut Sleeper,
        socket: BorrowedFd<'_>,
        bell: BorrowedFd<'_>,
        most: Duration,
    ) -> io::Result<()> {
        sleeper.wait(socket, bell, most)
    }
    /// Whether a wait of its own, or the read after it, has found `bell` readable; asked once it is false again.
    fn heard(&mut self) -> bool {
        false
    }
}

/// Both halves of a way. No sending half: one system call for each datagram.
type Halves = (Box<dyn Receive>, Option<SendBatch>);

/// A UDP socket with the way datagrams go.
#[derive(Debug)]
pub struct MediaSocket {
    // Before the socket: what it has under way names the socket by its number.
    recv: Box<dyn Receive>,
    socket: UdpSocket,
    /// None: one system call for each datagram.
    send: Option<SendBatch>,
    sleeper: Sleeper,
    way: UdpWay,
    dual_stack: bool,
}

impl MediaSocket {
    /// Binds `addr` with kernel buffers of `buffer_bytes` where the host allows. `[::]` serves IPv4 too, and
    /// falls back to `0.0.0.0` on a host without IPv6.
    pub fn bind(addr: SocketAddr, buffer_bytes: usize) -> Result<Self, UdpError> {
        let socket = match open(addr, buffer_bytes) {
            Err(_) if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                open(SocketAddr::from(([0, 0, 0, 0], addr.port())), buffer_bytes)
            }
            other => other,
        }
        .map_err(|source| UdpError::Bind { addr, source })?;
        let local = socket
            .local_addr()
            .map_err(|source| UdpError::Bind { addr, source })?;
        let (recv, send) = halves(&socket, UdpWay::Trains)?;
        Ok(Self {
            recv,
            socket,
            send,
            sleeper: Sleeper::default(),
            way: UdpWay::Trains,
            dual_stack: local.is_ipv6(),
        })
    }

    /// How datagrams go: in trains unless this is said. An error: this host has no such way.
    pub fn with_way(mut self, way: UdpWay) -> Result<Self, UdpError> {
        self.set_way(way)?;
        Ok(self)
    }

    /// As [`with_way`](Self::with_way), for a socket that is kept when this host has no such way: one fresh from
    /// [`bind`](Self::bind) then goes on in trains.
    pub fn set_way(&mut self, way: UdpWay) -> Result<(), UdpError> {
        (self.recv, self.send) = halves(&self.socket, way)?;
        self.way = way;
        Ok(())
    }

    /// Lets the kernel look at the network card's queue for `us` before it says that nothing is there. A driver that cannot
    /// is none the worse for it.
    pub fn set_busy_poll(&self, us: u32) {
        if us > 0 {
            receive::set_busy_poll(self.socket.as_raw_fd(), us);
        }
    }

    /// How datagrams go.
    pub fn way(&self) -> UdpWay {
        self.way
    }

    /// The bound address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sleeps until there is something to read, `bell` becomes readable, or `most` has passed; it may return early.
    pub fn wait(&mut self, bell: BorrowedFd<'_>, most: Duration) -> io::Result<()> {
        let socket = self.socket.as_fd();
        self.recv.wait(&mut self.sleeper, socket, bell, most)
    }

    /// Memory that datagrams are read into.
    pub fn memory(&self) -> &[u8] {
        self.recv.memory()
    }

    /// Whether `bell` has become readable, as of the last wait and the read after it.
    pub fn heard(&mut self) -> bool {
        self.sleeper.heard() | self.recv.heard()
    }

    /// A second handle on the same socket.
    pub fn try_clone(&self) -> io::Result<UdpSocket> {
        self.socket.try_clone()
    }

    /// Reads a bounded batch. Zero: nothing is there.
    pub fn recv(&mut self) -> io::Result<usize> {
        self.recv.recv(self.socket.as_fd())
    }

    /// Whether there may be more than the last [`recv`](Self::recv) took.
    pub fn more(&self) -> bool {
        self.recv.more()
    }

    /// Datagram `index` of the last [`recv`](Self::recv).
    pub fn datagram(&mut self, index: usize) -> Option<Received<'_>> {
        let mut datagram = self.recv.datagram(index)?;
        datagram.from = canonical(datagram.from);
        Some(datagram)
    }

    /// Sends all of `queue` and clears it.
    pub fn send(&mut self, queue: &mut TransmitQueue, now: Time) -> Sent {
        self.send_heard(queue, now, &mut |_| {})
    }

    /// Sends all of `queue` and clears it; `left` hears how many have left, as they do.
    pub fn send_heard(&mut self, queue: &mut TransmitQueue, now: Time, left: Left<'_>) -> Sent {
        let socket = self.socket.as_fd();
        let outcome = match &mut self.send {
            Some(batch) => batch.send(socket, queue, self.dual_stack, now, left),
            None => plain::send(socket, queue, self.dual_stack, left),
        };
        queue.clear();
        outcome
    }
}

fn open(addr: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Not O_NONBLOCK: io_uring would hand EAGAIN back instead of waiting. Our own calls say MSG_DONTWAIT.
    // The kernel clamps these to net.core.{r,w}mem_max; a smaller buffer is no reason not to start.
    let _ = socket.set_recv_buffer_size(buffer_bytes);
    let _ = socket.set_send_buffer_size(buffer_bytes);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// What `way` is made of, for `socket`.
fn halves(socket: &UdpSocket, way: UdpWay) -> Result<Halves, UdpError> {
    let gro = receive::set_gro(socket.as_raw_fd(), way.has_trains());
    Ok(match way {
        UdpWay::Uring => {
            let recv = uring::Receiver::new().map_err(UdpError::Ring)?;
            let send = uring::Sender::new().map_err(UdpError::Ring)?;
            (Box::new(recv), Some(SendBatch::by(Box::new(send), true)))
        }
        UdpWay::Plain => (Box::new(Plain::default()), None),
        UdpWay::Batches => (Box::new(RecvBatch::new(false)), Some(SendBatch::new(false))),
        UdpWay::Trains => (Box::new(RecvBatch::new(gro)), Some(SendBatch::new(true))),
    })
}

/// `::ffff:a.b.c.d` as `a.b.c.d`.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// An address as a dual-stack socket wants it.
fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(v4) => SocketAddr::V6(SocketAddrV6::new(v4.to_ipv6_mapped(), addr.port(), 0, 0)),
        IpAddr::V6(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(socket: &mut MediaSocket) -> usize {
        // Loopback delivers before sendto returns, so one try is enough; a few keep a preempted kernel thread from failing us.
        (0..1000)
            .find_map(|_| match socket.recv() {
                Ok(0) => {
                    std::thread::yield_now();
                    None
                }
                other => Some(other.unwrap()),
            })
            .unwrap_or(0)
    }

    #[test]
    fn batches_both_ways_on_both_families() {
        let ways = |bind| UdpWay::ALL.map(|way| (bind, way));
        for (bind, way) in ["[::]:0", "127.0.0.1:0"].into_iter().flat_map(ways) {
            let media = MediaSocket::bind(bind.parse().unwrap(), 1 << 20).unwrap();
            let mut media = media.with_way(way).unwrap();
            let port = media.local_addr().unwrap().port();
            let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
            for i in 0..5u8 {
                peer.send_to(&[i; 100], ("127.0.0.1", port)).unwrap();
            }
            let mut got = 0;
            while got < 5 {
                let n = ready(&mut media);
                assert!(n > 0, "{bind}: nothing arrived");
                for i in 0..n {
                    let datagram = media.datagram(i).unwrap();
                    assert_eq!(datagram.from, peer.local_addr().unwrap());
                    assert_eq!(datagram.bytes.unwrap(), &[(got + i) as u8; 100]);
                }
                got += n;
            }
            let mut queue = TransmitQueue::with_slots(200);
            for i in 0..200u8 {
                assert!(queue.push(peer.local_addr().unwrap(), &[i; 50]));
            }
            let outcome = media.send(&mut queue, Time::ZERO);
            assert_eq!(outcome.datagrams + outcome.refused, 200);
            let [first, .., longest] = outcome.trains;
            let wanted = if way.has_trains() { (0, 3) } else { (200, 0) };
            assert_eq!((first, longest), wanted, "64, 64, 64 and 8: {outcome:?}");
            assert!(queue.is_empty());
            let mut buf = [0; 64];
            for i in 0..outcome.datagrams {
                let (n, from) = peer.recv_from(&mut buf).unwrap();
                assert_eq!((n, from.port(), buf[0]), (50, port, i as u8));
            }
        }
    }

    /// What `peer` receives, until nothing comes.
    fn received(peer: &UdpSocket) -> Vec<Vec<u8>> {
        peer.set_read_timeout(Some(std::time::Duration::from_millis(200)))
            .unwrap();
        let mut buffer = [0; 2000];
        let mut all = Vec::new();
        while let Ok(len) = peer.recv(&mut buffer) {
            all.push(buffer[..len].to_vec());
        }
        all
    }

    #[test]
    fn trains_arrive_as_the_datagrams_they_were_made_of() {
        for way in UdpWay::ALL {
            let media = MediaSocket::bind("[::]:0".parse().unwrap(), 1 << 20).unwrap();
            let mut media = media.with_way(way).unwrap();
            let trains = way.has_trains();
            let peers: Vec<UdpSocket> = (0..3)
                .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
                .collect();
            let mut queue = TransmitQueue::with_slots(100);
            let mut wanted = vec![Vec::new(); peers.len()];
            // Runs of one size, with shorter and longer ones in between.
            for (n, len) in [1200, 1200, 1200, 700, 1200, 30, 1300, 1300, 1]
                .into_iter()
                .enumerate()
            {
                for (at, peer) in peers.iter().enumerate() {
                    let bytes: Vec<u8> = (0..len).map(|b| (b + n * 7 + at) as u8).collect();
                    assert!(queue.push(peer.local_addr().unwrap(), &bytes));
                    wanted[at].push(bytes);
                }
            }
            let sent = media.send(&mut queue, Time::ZERO);
            assert_eq!((sent.datagrams, sent.refused), (27, 0));
            let count: u64 = sent.trains.iter().sum();
            assert_eq!(count, if trains { 9 } else { 27 }, "{sent:?}");
            for (peer, wanted) in peers.iter().zip(&wanted) {
                assert_eq!(&received(peer), wanted);
            }
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn a_path_that_takes_no_trains_gets_single_datagrams() {
        let mut media = MediaSocket::bind("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
        let on: libc::c_int = 1;
        // SAFETY: sets an option of a socket that lives, from an integer that does.
        let done = unsafe {
            // The kernel segments nothing it may not put checksums on.
            libc::setsockopt(
                media.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NO_CHECK,
                std::ptr::from_ref(&on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(done, 0);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = peer.local_addr().unwrap();
        for time in [Time::ZERO, Time::from_millis(5)] {
            let mut queue = TransmitQueue::with_slots(100);
            for n in 0..100_u8 {
                assert!(queue.push(to, &[n; 200]));
            }
            let sent = media.send(&mut queue, time);
            assert_eq!(
                (sent.datagrams, sent.refused, sent.trains[0]),
                (100, 0, 100)
            );
            let all = received(&peer);
            assert_eq!(all.len(), 100);
            assert!(all.iter().enumerate().all(|(n, b)| *b == [n as u8; 200]));
        }
    }

    #[test]
    fn datagrams_that_are_too_long_are_told_and_those_after_them_read() {
        for way in UdpWay::ALL {
            let media = MediaSocket::bind("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
            let mut media = media.with_way(way).unwrap();
            let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = media.local_addr().unwrap();
            for len in [9000, 2049, 0, 1, 2048] {
                peer.send_to(&vec![7; len], to).unwrap();
            }
            let mut got = Vec::new();
            while got.len() < 5 {
                let count = ready(&mut media);
                assert!(count > 0, "{way:?}: {got:?}");
                for index in 0..count {
                    let datagram = media.datagram(index).unwrap();
                    got.push(datagram.bytes.map(|b| b.len()));
                }
            }
            let wanted = [None, None, Some(0), Some(1), Some(2048)];
            assert_eq!(got, wanted, "{way:?}");
        }
    }

    #[test]
    fn a_train_comes_apart_as_it_was_sent() {
        let any = || MediaSocket::bind("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
        for way in UdpWay::ALL {
            let (mut from, mut to) = (any(), any().with_way(way).unwrap());
            let mut queue = TransmitQueue::with_slots(200);
            let sizes = (0..150).map(|n| if n % 40 == 39 { 700 } else { 1200 });
            let wanted: Vec<Vec<u8>> = sizes
                .enumerate()
                .map(|(n, len)| vec![n as u8; len])
                .collect();
            for bytes in &wanted {
                assert!(queue.push(to.local_addr().unwrap(), bytes));
            }
            from.send(&mut queue, Time::ZERO);
            let mut got = Vec::new();
            let mut batches = 0;
            while got.len() < wanted.len() {
                let count = ready(&mut to);
                assert!(count > 0, "{way:?}: {}", got.len());
                got.extend((0..count).map(|n| to.datagram(n).unwrap().bytes.unwrap().to_vec()));
                batches += 1;
            }
            assert!(got == wanted, "{way:?}");
            assert!(
                way != UdpWay::Trains || batches == 1,
                "trains come whole: {batches}"
            );
        }
    }

    #[test]
    fn the_port_of_a_closed_socket_is_free() {
        // A request that still reads would hold the socket, and write to memory that is gone. An address that no other
        // test uses, so that none takes the port meanwhile.
        for _ in 0..10 {
            let media = MediaSocket::bind("127.0.0.77:0".parse().unwrap(), 1 << 20).unwrap();
            let mut media = media.with_way(UdpWay::Uring).unwrap();
            media.recv().unwrap();
            let address = media.local_addr().unwrap();
            drop(media);
            MediaSocket::bind(address, 1 << 20).unwrap();
        }
    }

    #[test]
    fn a_taken_port_names_its_cure() {
        let first = MediaSocket::bind("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
        let error = MediaSocket::bind(first.local_addr().unwrap(), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("media.udp_port"), "{error}");
    }
}
