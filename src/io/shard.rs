//! A shard's thread: one loop on a glommio executor drives the pure [`Shard`] from socket, command inbox and timers.
//!
//! Packets, commands and timers take turns, each a bounded amount of work, so that none starves the others
//! (`READ_TURN_MAX_US`, `COMMANDS_PER_TURN`). With nothing to do the thread sleeps by one system call of its
//! socket, not through the executor (decision 12). A turn that panics costs this shard its rooms and nothing else: the
//! shard starts anew on the same socket ([`guarded`]).

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use glommio::ExecutorJoinHandle;
use rand_chacha::ChaCha20Rng;

use crate::bus::shard::{ShardCommand, ShardEvent};
use crate::faults;
use crate::io::channel::{EventLink, MovableInbox, PolledInbox, SendError};
use crate::io::clock::{self, Clock};
use crate::io::executor::{self, ExecutorError};
use crate::io::huge;
use crate::io::udp::{MediaSocket, equal};
use crate::limits::{
    FAN_OUT_MAX, FORWARD_DATAGRAMS, READ_TURN_MAX_US, RESTARTS_MAX, RESTARTS_PERIOD_S,
    SHARD_EVENTS_MAX,
};
use crate::metrics::{Busy, Forwarding};
use crate::shard::{Shard, ShardConfig};
use crate::time::{RateWindow, Time};
use crate::transmit::TransmitQueue;

/// Commands handled before the loop looks at packets again.
const COMMANDS_PER_TURN: usize = 64;
/// A turn of commands ends after this long, however many wait.
const COMMAND_TURN_MAX: Duration = Duration::from_millis(2);
/// Time between two snapshots.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);
/// A turn of packets ends after this long; what is left of the batch waits for the next one.
const READ_TURN_MAX: Duration = Duration::from_micros(READ_TURN_MAX_US);
/// Longest sleep: how late an event that the full channel gave back may be.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Pause after a fault in a turn of timers, which would be due again at once.
const FAULT_PAUSE: Duration = Duration::from_millis(1);
/// Pause after a socket error that is no datagram's fault.
const SOCKET_ERROR_PAUSE: Duration = Duration::from_millis(10);

/// What a turn of packets found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// No datagram.
    Nothing,
    /// Some, and has handled them.
    Some,
    /// Some, and there may be more.
    More,
}

/// What a shard thread is started with.
pub struct ShardThread {
    /// Settings of the pure shard.
    pub config: ShardConfig,
    /// Its socket, bound.
    pub socket: MediaSocket,
    /// Its commands.
    pub inbox: MovableInbox<ShardCommand>,
    /// Where its events go.
    pub events: EventLink,
    /// The clock all cores share.
    pub clock: Clock,
    /// Huge pages are asked for in its fixed memory.
    pub huge_pages: bool,
    /// Packets of a frame are padded to one length.
    pub equalize: bool,
    /// How long it looks for work before it sleeps.
    pub spin: Duration,
    /// All its randomness.
    pub rng: ChaCha20Rng,
}

/// Starts the thread on `core`.
pub fn spawn(thread: ShardThread, core: usize) -> Result<ExecutorJoinHandle<()>, ExecutorError> {
    let name = format!("shard-{}", thread.config.id);
    executor::spawn_awake(&name, core, move || run(thread))
}

/// The pure shard with its socket and channels.
struct Driver {
    shard: Shard,
    socket: MediaSocket,
    tx: TransmitQueue,
    /// Datagrams of the last batch that were not handled yet.
    unread: Range<usize>,
    /// Padding of each datagram of the batch; none, if packets are not equalized.
    pads: Vec<u8>,
    sizes: Vec<equal::Size>,
    equalize: bool,
    /// When that batch was read.
    batch_at: Time,
    events: EventLink,
    /// An event the full channel gave back; goes first next time.
    held: Option<ShardEvent>,
    clock: Clock,
    stopped: bool,
    /// The socket could not be read.
    failed: bool,
    /// Time spent working since the start,
    busy: Busy,
    /// and until the last snapshot.
    told_busy: Busy,
    last_snapshot: Time,
    restarts: RateWindow,
}

/// Until it is told to stop. The executor has no other task, and never gets this one back before.
async fn run(thread: ShardThread) {
    let spin = thread.spin;
    let huge_pages = thread.huge_pages;
    let (mut driver, inbox) = Driver::new(thread);
    if huge_pages {
        driver.ask_for_huge_pages();
    }
    let mut idle_since = driver.clock.now();
    while !driver.stopped {
        let found = guarded(&mut driver, Driver::read_turn).unwrap_or(Found::More);
        if driver.socket.heard() {
            inbox.silence();
        }
        let commands = guarded(&mut driver, |driver| driver.command_turn(&inbox));
        let due = guarded(&mut driver, Driver::timer_turn);
        let commands = commands.is_none_or(|count| count > 0);
        let now = driver.clock.now();
        if found != Found::Nothing || commands {
            idle_since = now;
        }
        let spins = now.since(idle_since) < spin;
        if found != Found::More && !commands && !spins {
            driver.sleep(&inbox, now, due.unwrap_or(now + FAULT_PAUSE));
        }
    }
}

/// Runs one turn. A panic that no room's guard has caught restarts the shard (threats.md rule 10); then `None`.
fn guarded<T>(driver: &mut Driver, turn: impl FnOnce(&mut Driver) -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(|| turn(driver))).ok();
    if done.is_none() {
        driver.restart();
    }
    done
}

impl Driver {
    fn new(thread: ShardThread) -> (Driver, PolledInbox<ShardCommand>) {
        let driver = Driver {
            shard: Shard::new(thread.config, thread.clock.anchor(), thread.rng),
            socket: thread.socket,
            tx: TransmitQueue::default(),
            unread: 0..0,
            pads: Vec::new(),
            sizes: Vec::new(),
            equalize: thread.equalize,
            batch_at: Time::ZERO,
            events: thread.events,
            held: None,
            clock: thread.clock,
            stopped: false,
            failed: false,
            busy: Busy::default(),
            told_busy: Busy::default(),
            last_snapshot: thread.clock.now(),
            restarts: RateWindow::new(RESTARTS_MAX, Duration::from_secs(RESTARTS_PERIOD_S)),
        };
        (driver, thread.inbox.polled())
    }

    fn ask_for_huge_pages(&self) {
        for memory in [self.tx.memory(), self.socket.memory()] {
            match huge::advise(memory) {
                Ok(bytes) => tracing::info!(bytes, "huge pages are asked for"),
                Err(error) => tracing::warn!(
                    %error,
                    "no huge pages: this kernel has none; leave out `media.huge_pages`"
                ),
            }
        }
    }

    /// Sleeps until there is a datagram or a command, or a timer is `due`.
    fn sleep(&mut self, inbox: &PolledInbox<ShardCommand>, now: Time, due: Time) {
        let most = due.since(now).min(SLEEP_MAX);
        if most.is_zero() || !inbox.listen() {
            return;
        }
        if std::mem::take(&mut self.failed) {
            // It would be readable at once, and fail again.
            std::thread::sleep(SOCKET_ERROR_PAUSE.min(most));
        } else if let Err(error) = self.socket.wait(inbox.bell(), most) {
            tracing::warn!(%error, "media socket cannot be waited for; trying on");
            self.failed = true;
        }
    }

    /// Starts the shard anew, without rooms. One that keeps failing stops for good: its rooms go to other shards.
    fn restart(&mut self) {
        self.tx.clear();
        self.unread = 0..0;
        self.held = None;
        if self.restarts.admit(self.clock.now()) {
            tracing::error!(
                "a fault outside every room; this shard starts anew, its rooms are closed"
            );
            self.shard.restart();
        } else {
            tracing::error!(
                "{RESTARTS_MAX} faults within {RESTARTS_PERIOD_S} s; this shard stops for good"
            );
            self.shard.restart();
            self.held = Some(ShardEvent::Stopped(self.shard.id()));
        }
        self.send_events();
    }

    /// Handles what is there, for a bounded time.
    fn read_turn(&mut self) -> Found {
        let start = self.clock.now();
        let mut now = start;
        let mut found = Found::Nothing;
        loop {
            if self.unread.is_empty() {
                self.batch_at = now;
                if !self.fill() {
                    break;
                }
            }
            self.read(now);
            self.forward();
            now = self.clock.now();
            let more = self.socket.more() || !self.unread.is_empty();
            found = if more { Found::More } else { Found::Some };
            if !more || now.since(start) >= READ_TURN_MAX {
                break;
            }
        }
        if found != Found::Nothing {
            self.send_events();
            self.busy.packets += self.clock.now().since(start);
        }
        found
    }

    /// Reads the next batch. `false`: nothing is there.
    fn fill(&mut self) -> bool {
        match self.socket.recv() {
            Ok(count) => {
                self.failed = false;
                self.unread = 0..count;
                if self.equalize {
                    self.equalize(count);
                }
                count > 0
            }
            Err(error) => {
                tracing::warn!(%error, "media socket cannot be read; trying on");
                self.failed = true;
                false
            }
        }
    }

    /// Plans the padding of the batch.
    fn equalize(&mut self, count: usize) {
        self.sizes.clear();
        for index in 0..count {
            let datagram = self.socket.datagram(index);
            let bytes = datagram.and_then(|d| d.bytes);
            self.sizes.push(bytes.and_then(|b| equal::size_of(b)));
        }
        equal::plan(&self.sizes, &mut self.pads);
    }

    /// Takes datagrams of the batch in until it is through, or as many as may be before they are forwarded.
    fn read(&mut self, now: Time) {
        for index in self.unread.by_ref() {
            let Some(datagram) = self.socket.datagram(index) else {
                continue;
            };
            match datagram.bytes {
                Some(bytes) => {
                    let pad = self.pads.get(index).copied().unwrap_or(0);
                    self.shard
                        .take_in(now, datagram.from, bytes, pad, &mut self.tx);
                }
                None => self.shard.handle_truncated(),
            }
            if self.shard.is_full() || self.tx.free() < FAN_OUT_MAX {
                return;
            }
        }
    }

    /// Forwards what was taken in. Its copies leave in portions, so that the first do not wait until the last is made.
    fn forward(&mut self) {
        loop {
            let now = self.clock.now();
            let more = self.shard.forward(now, &mut self.tx, FORWARD_DATAGRAMS);
            self.flush_copies();
            if !more {
                return;
            }
        }
    }

    /// Handles commands that are there, for a bounded time; how many.
    fn command_turn(&mut self, inbox: &PolledInbox<ShardCommand>) -> usize {
        let Some(first) = inbox.try_recv() else {
            return 0;
        };
        let start = self.clock.now();
        let (mut next, mut count) = (Some(first), 0);
        while let Some(command) = next {
            self.stopped |= matches!(command, ShardCommand::Shutdown);
            self.shard.handle_command(start, command, &mut self.tx);
            faults::trip(faults::Point::Shard);
            if self.tx.free() < FAN_OUT_MAX {
                self.flush_own();
            }
            count += 1;
            if count == COMMANDS_PER_TURN || self.clock.now().since(start) > COMMAND_TURN_MAX {
                break;
            }
            next = inbox.try_recv();
        }
        self.flush_own();
        self.send_events();
        self.busy.commands += self.clock.now().since(start);
        count
    }

    /// Runs what is due; says when something is next.
    fn timer_turn(&mut self) -> Time {
        let now = self.clock.now();
        let due = self.next_due();
        if due > now {
            if self.held.is_some() {
                self.send_events();
            }
            return due;
        }
        self.shard.handle_timeout(now, &mut self.tx);
        self.flush_own();
        self.send_events();
        if now.since(self.last_snapshot) >= SNAPSHOT_INTERVAL {
            self.tell(now);
        }
        self.busy.timers += self.clock.now().since(now);
        self.next_due()
    }

    fn next_due(&self) -> Time {
        let snapshot = self.last_snapshot + SNAPSHOT_INTERVAL;
        let shard = self.shard.poll_timeout();
        shard.map_or(snapshot, |due| due.min(snapshot))
    }

    /// Sends a snapshot. `now` is when this turn began: its time is not counted yet, and counts in the next snapshot.
    fn tell(&mut self, now: Time) {
        let fresh = self.busy.since(&self.told_busy);
        let elapsed = now.since(self.last_snapshot);
        self.shard.attribute(fresh.packets, elapsed);
        let mut snapshot = self.shard.snapshot(self.busy, fresh.ratio(elapsed));
        snapshot.cpu_s = clock::thread_cpu().as_secs_f64();
        snapshot.udp = self.socket.way().name();
        self.told_busy = self.busy;
        self.last_snapshot = now;
        // A full channel loses a snapshot; the next one says more anyway.
        let _ = self
            .events
            .try_send(ShardEvent::Snapshot(Box::new(snapshot)));
    }

    /// Sends what the batch has brought about so far.
    fn flush_copies(&mut self) {
        if self.tx.is_empty() {
            return;
        }
        let (clock, read) = (self.clock, self.batch_at);
        let mut took = Forwarding::default();
        let mut left = |copies| took.count(copies, clock.now().since(read).as_micros() as u64);
        let sent = self.socket.send_heard(&mut self.tx, clock.now(), &mut left);
        self.shard.count_sent(&sent, &took);
    }

    /// Sends what is committed and answers no datagram.
    fn flush_own(&mut self) {
        if self.tx.is_empty() {
            return;
        }
        let sent = self.socket.send(&mut self.tx, self.clock.now());
        self.shard.count_sent(&sent, &Forwarding::default());
    }

    /// Hands events over; what the channel does not take is kept for the next turn.
    fn send_events(&mut self) {
        let mut sent = 0;
        while sent < SHARD_EVENTS_MAX {
            let Some(event) = self.held.take().or_else(|| self.shard.poll_event()) else {
                return;
            };
            match self.events.try_send(event) {
                Ok(()) => sent += 1,
                Err(SendError::Full(event)) => {
                    self.held = Some(event);
                    return;
                }
                Err(SendError::Closed(_)) => {
                    // Nobody will ever hear the rest.
                    while self.shard.poll_event().is_some() {}
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, UdpSocket};

    use glommio::LocalExecutor;
    use rand_core::SeedableRng;

    use crate::bus::control::Ticket;
    use crate::id::{RoomId, ShardId};
    use crate::io::channel::{EventInbox, ShardLink, channel};
    use crate::limits::{DTLS_HANDSHAKES_PER_S, SHARD_COMMANDS_MAX};
    use crate::metrics::ShardSnapshot;
    use crate::room::RoomConfig;
    use crate::room::machine::MachineConfig;
    use crate::transport::dtls::{DimplProvider, DtlsIdentity, DtlsSettings};

    /// Longer than the test: the thread never sleeps.
    const SPIN: Duration = Duration::from_secs(600);
    const MANY: usize = 10_000;

    fn config(clock: Clock) -> ShardConfig {
        let identity = DtlsIdentity::new(
            include_bytes!("../../tests/data/sim/server.cert.der").to_vec(),
            include_bytes!("../../tests/data/sim/server.key.der").to_vec(),
        );
        let settings = DtlsSettings::default();
        let dtls = DimplProvider::new(settings, &identity, clock.anchor()).unwrap();
        ShardConfig {
            id: ShardId(0),
            room: RoomConfig {
                fingerprint: identity.fingerprint.bytes().try_into().unwrap(),
                candidates: Vec::new(),
                ice_servers: Default::default(),
                members_max: 2,
                codecs: Vec::new(),
            },
            machine: MachineConfig {
                dtls: Box::new(dtls),
                handshakes_per_s: DTLS_HANDSHAKES_PER_S,
            },
        }
    }

    /// A thread that looks for work without a pause: commands to it, its events, where it receives.
    fn start() -> (ShardLink, MovableInbox<ShardEvent>, SocketAddr) {
        let clock = Clock::start();
        let socket = MediaSocket::bind("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
        let address = socket.local_addr().unwrap();
        let (commands, inbox) = channel(SHARD_COMMANDS_MAX).unwrap();
        let (events, seen) = channel(SHARD_EVENTS_MAX).unwrap();
        let thread = ShardThread {
            config: config(clock),
            socket,
            inbox,
            events,
            clock,
            equalize: true,
            huge_pages: true,
            spin: SPIN,
            rng: ChaCha20Rng::seed_from_u64(1),
        };
        spawn(thread, 0).unwrap();
        (commands, seen, address)
    }

    async fn snapshot(events: &EventInbox) -> ShardSnapshot {
        loop {
            match events.try_recv() {
                Some(ShardEvent::Snapshot(snapshot)) => return *snapshot,
                Some(_) => {}
                None => glommio::timer::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    #[test]
    fn the_time_of_packets_commands_and_timers_is_busy_and_looking_for_work_is_not() {
        let (commands, events, address) = start();
        LocalExecutor::default().run(async move {
            let events = events.listen();
            let first = snapshot(&events).await;
            let idle = snapshot(&events).await;
            let busy = idle.busy.since(&first.busy);
            let cpu = Duration::from_secs_f64(idle.cpu_s - first.cpu_s);
            assert!(cpu > 5 * busy.all(), "it only spins: {busy:?} of {cpu:?}");
            assert!(idle.busy_ratio < 0.1, "{}", idle.busy_ratio);
            assert!(idle.busy.timers > first.busy.timers, "snapshots are work");

            let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
            for _ in 0..MANY {
                stranger.send_to(&[0x80; 1200], address).unwrap();
            }
            // The first may have been made in the middle of them.
            snapshot(&events).await;
            let packets = snapshot(&events).await;
            let busy = packets.busy.since(&idle.busy);
            assert!(busy.packets > 10 * busy.commands, "{busy:?}");
            assert!(busy.packets > busy.timers, "{busy:?}");
            assert!(packets.busy_ratio > 0.0);
            assert_eq!(packets.costly, [], "strangers are in no room");

            for n in 0..MANY {
                let (ticket, room) = (Ticket(n as u64), RoomId::new("none").unwrap());
                commands
                    .try_send(ShardCommand::Stats { ticket, room })
                    .unwrap();
            }
            snapshot(&events).await;
            let end = snapshot(&events).await;
            let busy = end.busy.since(&packets.busy);
            assert!(busy.commands > busy.timers, "{busy:?}");
            assert!(busy.commands > 10 * busy.packets, "{busy:?}");
            commands.try_send(ShardCommand::Shutdown).unwrap();
        });
    }
}
