//! The media thread of a load: one socket for each client, one thread for all of them.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::io::clock::{Clock, thread_cpu};
use crate::io::udp::{Receive, Received, RecvBatch, SendBatch, set_gro};
use crate::load::agent::{Agent, Stage};
use crate::load::client::{Client, Shared};
use crate::load::describe::{Remote, Sending};
use crate::load::judge::Tally;
use crate::load::shape::Shape;
use crate::time::Time;
use crate::transmit::TransmitQueue;
use crate::wire::sdp::IceParams;

/// Time between looks at all clients' timers.
const SCAN_INTERVAL: Duration = Duration::from_millis(10);
/// Sockets looked at after one wait.
const EVENTS_MAX: usize = 256;
/// Reads of a socket before the next one's turn.
const READS_PER_SOCKET: usize = 4;
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Packets of one flush: a frame of many packets, or what a late generator has to make up for.
const SLOTS: usize = 256;

/// A client to be.
pub struct Newcomer {
    /// Number no other has.
    pub number: u32,
    /// Its credentials.
    pub ice: IceParams,
    /// What it is to send.
    pub shapes: Vec<Shape>,
    /// Address of its socket.
    pub bind: IpAddr,
}

/// What the thread is told.
pub enum Order {
    /// Another client; its index is how many there were before.
    Add(Newcomer),
    /// A client knows its server.
    Connect(usize, Remote, Vec<Sending>),
    /// From now on this fast.
    Pace(f64),
    /// Begin to judge anew.
    Reset,
    /// Say how it goes.
    Tell(Sender<News>),
}

/// How it goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct News {
    /// Clients with keys.
    pub connected: usize,
    /// Clients whose handshake has failed.
    pub failed: usize,
    /// What they received.
    pub tally: Tally,
    /// Packets sent.
    pub sent: u64,
    /// Packets left out.
    pub skipped: u64,
    /// Samples looked at, and those spoilt.
    pub checked: u64,
    /// See `checked`.
    pub spoilt: u64,
    /// One-way latency, µs: p50, p99, p99.9.
    pub latency_us: [u64; 3],
    /// CPU time of this thread, s.
    pub cpu_s: f64,
}

/// A client and its socket.
struct Seat {
    client: Client,
    socket: UdpSocket,
}

/// See the module.
pub struct MediaThread {
    seats: Vec<Seat>,
    /// Seats that send.
    publishers: Vec<usize>,
    epoll: std::os::fd::OwnedFd,
    shared: Shared,
    tx: TransmitQueue,
    recv: RecvBatch,
    send: SendBatch,
    clock: Clock,
    scan_due: Time,
}

impl MediaThread {
    /// A thread without clients.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(shared: Shared, clock: Clock) -> io::Result<Self> {
        Ok(Self {
            seats: Vec::new(),
            publishers: Vec::new(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            shared,
            tx: TransmitQueue::with_slots(SLOTS),
            recv: RecvBatch::new(true),
            send: SendBatch::new(true),
            clock,
            scan_due: Time::ZERO,
        })
    }

    /// Works until nobody gives orders any more.
    ///
    /// # Errors
    /// What the kernel says of sockets.
    pub fn run(mut self, orders: &Receiver<Order>) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            loop {
                match orders.try_recv() {
                    Ok(order) => self.obey(order)?,
                    Err(crossbeam_channel::TryRecvError::Empty) => break,
                    Err(crossbeam_channel::TryRecvError::Disconnected) => return Ok(()),
                }
            }
            let next = self.send_due();
            self.scan();
            let pause = next.min(self.scan_due).since(self.clock.now());
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: pause.min(SCAN_INTERVAL).as_nanos() as _,
            };
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.receive(event.data.u64() as usize)?;
            }
        }
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Add(newcomer) => self.add(newcomer)?,
            Order::Connect(at, remote, sending) => {
                let now = self.clock.now();
                if let Some(seat) = self.seats.get_mut(at) {
                    if !sending.is_empty() && !self.publishers.contains(&at) {
                        self.publishers.push(at);
                    }
                    seat.client.connect(now, remote, &sending);
                }
                self.scan_due = now;
            }
            Order::Pace(pace) => self.shared.pace = pace,
            Order::Reset => self.shared.samples.clear(),
            Order::Tell(to) => {
                // Whoever asked may be gone.
                let _ = to.send(self.news());
            }
        }
        Ok(())
    }

    fn add(&mut self, newcomer: Newcomer) -> io::Result<()> {
        let address = SocketAddr::new(newcomer.bind, 0);
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        // Clamped by the host: a smaller one loses more, and that is seen.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        socket.bind(&address.into())?;
        let socket: UdpSocket = socket.into();
        set_gro(socket.as_raw_fd(), true);
        let data = epoll::EventData::new_u64(self.seats.len() as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
        let number = newcomer.number;
        let agent = Agent::new(u64::from(number) + 1, newcomer.ice);
        let client = Client::new(number, agent, newcomer.shapes);
        self.seats.push(Seat { client, socket });
        Ok(())
    }

    fn news(&self) -> News {
        let stage = |stage| {
            let seats = self.seats.iter();
            seats.filter(|s| s.client.agent.stage() == stage).count()
        };
        let mut tally = Tally::default();
        for seat in &self.seats {
            tally.add(seat.client.tally());
        }
        let samples = &self.shared.samples;
        News {
            connected: stage(Stage::Connected),
            failed: stage(Stage::Failed),
            tally,
            sent: self.shared.sent,
            skipped: self.shared.skipped,
            checked: samples.checked,
            spoilt: samples.spoilt,
            latency_us: [0.5, 0.99, 0.999].map(|share| samples.latency_us(share)),
            cpu_s: thread_cpu().as_secs_f64(),
        }
    }

    /// Sends the media that is due; when the next is.
    fn send_due(&mut self) -> Time {
        let mut next = Time::MAX;
        let now = self.clock.now();
        for at in &self.publishers {
            let Some(seat) = self.seats.get_mut(*at) else {
                continue;
            };
            if seat.client.poll_media() <= now {
                seat.client.send_media(now, &mut self.shared, &mut self.tx);
                flush(&mut self.send, &seat.socket, &mut self.tx, now);
            }
            next = next.min(seat.client.poll_media());
        }
        next
    }

    /// Looks at everybody's timers now and then.
    fn scan(&mut self) {
        let now = self.clock.now();
        if now < self.scan_due {
            return;
        }
        self.scan_due = now + SCAN_INTERVAL;
        for seat in &mut self.seats {
            if seat.client.poll_timeout() <= now {
                seat.client
                    .handle_timeout(now, &mut self.shared, &mut self.tx);
                flush(&mut self.send, &seat.socket, &mut self.tx, now);
            }
        }
    }

    fn receive(&mut self, at: usize) -> io::Result<()> {
        let Some(seat) = self.seats.get_mut(at) else {
            return Ok(());
        };
        for _ in 0..READS_PER_SOCKET {
            let count = self.recv.recv(seat.socket.as_fd())?;
            let now = self.clock.now();
            for index in 0..count {
                if let Some(Received {
                    from,
                    bytes: Some(bytes),
                }) = self.recv.datagram(index)
                {
                    let (shared, tx) = (&mut self.shared, &mut self.tx);
                    seat.client.handle_datagram(now, from, bytes, shared, tx);
                }
            }
            flush(&mut self.send, &seat.socket, &mut self.tx, now);
            if !self.recv.more() {
                break;
            }
        }
        Ok(())
    }
}

fn flush(send: &mut SendBatch, socket: &UdpSocket, tx: &mut TransmitQueue, now: Time) {
    if !tx.is_empty() {
        send.send(socket.as_fd(), tx, false, now, &mut |_| {});
        tx.clear();
    }
}
