//! The signalling core's event loop: the public listener, its connections, and the pure [`Signalling`] between them
//! and the shards, on one glommio executor.
//!
//! One task per connection, one for the clock and the shards. All of them call into the same state machine and carry
//! out what it says at once ([`Hub::settle`]), so no order of messages is ever changed on the way.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_lite::FutureExt;
use glommio::ExecutorJoinHandle;
use glommio::net::{TcpListener, TcpStream};
use glommio::timer::Timer;

use super::channel::{EventInbox, Inbox, MovableInbox, SendError, ShardLink};
use super::clock::Clock;
use super::executor::{self, ExecutorError};
use super::http::{self, Decision};
use super::listener::{PublicListener, Stopper};
use super::tls::Stream;
use super::ws::{Conversation, Outbox};
use crate::bus::control::{Answer, Notice, Question, Ticket};
use crate::bus::shard::ShardEvent;
use crate::control::store::Change;
use crate::id::{RoomId, SessionId, ShardId};
use crate::io::runtime::EXIT_SOFTWARE;
use crate::limits::{
    CONNECTIONS_MAX, HTTP_HANDSHAKE_MS, RESTARTS_MAX, RESTARTS_PERIOD_S, WS_CLOSE_MS,
};
use crate::metrics::{ShardSnapshot, SignallingCounters};
use crate::signalling::{
    RoomBook, Signalling, SignallingError, SignallingOutput, SignallingSettings, SocketEnd,
};
use crate::time::{RateWindow, Time};

pub use super::http::Site;

/// Shard events handled before connections get their turn.
const EVENTS_PER_TURN: usize = 256;
/// Bytes read from a connection at once.
const READ_BYTES: usize = 16 * 1024;
/// Pause after a failed accept: out of file descriptors, mostly, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a shutdown waits for the shards.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// What other threads may ask of the signalling core.
pub enum SignallingRequest {
    /// Close every socket, stop every shard, then return.
    Shutdown,
    /// Rooms are something else from now on.
    Configure {
        /// Each room once.
        changes: Vec<Change>,
        /// Called when that has taken effect.
        done: Box<dyn FnOnce() + Send>,
    },
    /// Answer to [`Observation::Ask`].
    Answer {
        /// Which question.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// Say how a room does, by [`Notice::Stats`].
    Stats {
        /// Names the question.
        ticket: Ticket,
        /// The room.
        room: RoomId,
    },
    /// Let no new members in, or let them in again.
    Drain(bool),
    /// Put every member out.
    EvictAll,
}

/// What the signalling core reports.
#[derive(Debug)]
pub enum Observation<'a> {
    /// A shard's snapshot, once a second each.
    Shard(&'a ShardSnapshot),
    /// Its own counters, with every snapshot.
    Signalling(SignallingCounters),
    /// A join waits for the answer.
    Ask {
        /// Names the question.
        ticket: Ticket,
        /// The question.
        question: Question,
    },
    /// Something has happened.
    Tell(Notice),
}

/// Takes reports; `false`: it has no place for this one. Must not block.
pub type Observer = Box<dyn FnMut(Observation<'_>) -> bool + Send>;

/// Requests handled before connections get their turn.
const REQUESTS_PER_TURN: usize = 64;

/// What the signalling thread is started with.
pub struct SignallingThread {
    /// Bound sockets, each with TLS or without.
    pub listeners: Vec<(PublicListener, Option<Arc<rustls::ServerConfig>>)>,
    /// Page, dev credential, origins.
    pub site: Site,
    /// Timeouts.
    pub settings: SignallingSettings,
    /// Rooms there may be.
    pub book: RoomBook,
    /// Commands to shard `n` at index `n`.
    pub shards: Vec<ShardLink>,
    /// Events of all shards.
    pub events: MovableInbox<ShardEvent>,
    /// Requests of the control thread.
    pub requests: MovableInbox<SignallingRequest>,
    /// The clock all cores share.
    pub clock: Clock,
    /// Where reports go.
    pub observer: Observer,
}

/// Starts the thread on `core`. It ends after [`SignallingRequest::Shutdown`], when the shards have stopped.
pub fn spawn(
    thread: SignallingThread,
    core: usize,
) -> Result<ExecutorJoinHandle<()>, ExecutorError> {
    executor::spawn("signalling", core, move || run(thread))
}

/// What all tasks share.
pub(super) struct Hub {
    core: RefCell<Signalling>,
    sockets: RefCell<HashMap<SessionId, Rc<Outbox>>>,
    shards: Vec<ShardLink>,
    clock: Clock,
    site: Site,
    /// Bytes just read; used between two awaits only.
    pub(super) read_buffer: RefCell<Box<[u8]>>,
    connections: Cell<usize>,
    stoppers: Vec<Stopper>,
    stopping: Cell<bool>,
    /// When the clock task wakes by itself, and how to wake it before.
    sleeping: RefCell<(Time, Option<Waker>)>,
    restarts: RefCell<RateWindow>,
    observer: RefCell<Observer>,
}

impl Hub {
    /// A text message of a client.
    pub(super) fn frame(&self, id: SessionId, text: &str) {
        self.act(|core, now| core.handle_frame(now, id, text));
    }

    /// A binary message of a client.
    pub(super) fn binary(&self, id: SessionId) {
        self.act(|core, now| core.handle_binary(now, id));
    }

    /// A WebSocket ping or pong of a client.
    pub(super) fn control(&self, id: SessionId) {
        self.act(|core, now| core.handle_control(now, id));
    }

    /// The socket of a session is gone.
    pub(super) fn closed(&self, id: SessionId, end: SocketEnd) {
        self.sockets.borrow_mut().remove(&id);
        self.act(|core, now| core.handle_closed(now, id, end));
    }

    fn open(&self) -> Result<(SessionId, Rc<Outbox>), String> {
        let outbox = Rc::new(Outbox::default());
        let opened = self.act(|core, now| {
            let id = core.handle_open(now)?;
            self.sockets.borrow_mut().insert(id, outbox.clone());
            Ok(id)
        });
        let opened = opened.unwrap_or(Err(SignallingError::Restarting));
        let id = opened.map_err(|error| error.to_string())?;
        Ok((id, outbox))
    }

    /// Lets the state machine act and carries out what it wants. A panic in it starts it anew; then `None`.
    fn act<T>(&self, act: impl FnOnce(&mut Signalling, Time) -> T) -> Option<T> {
        let acted = catch_unwind(AssertUnwindSafe(|| {
            let value = act(&mut self.core.borrow_mut(), self.clock.now());
            self.settle();
            value
        }));
        if acted.is_err() {
            self.restart();
        }
        acted.ok()
    }

    /// The state machine cannot be believed any more: every socket is cut, and it learns from the shards which rooms
    /// there are. Media goes on meanwhile, and members have their reconnect timeout to come back (threats.md rule 10).
    fn restart(&self) {
        if !self.restarts.borrow_mut().admit(self.clock.now()) {
            tracing::error!(
                "{RESTARTS_MAX} faults of the signalling core within {RESTARTS_PERIOD_S} s; the process ends"
            );
            std::process::exit(EXIT_SOFTWARE);
        }
        tracing::error!(
            "a fault of the signalling core; it starts anew, media goes on, clients come back"
        );
        for (_, outbox) in self.sockets.borrow_mut().drain() {
            outbox.cut();
        }
        self.core.borrow_mut().restart();
        self.settle();
    }

    /// Carries out everything the state machine wants, then sees to its next deadline.
    fn settle(&self) {
        loop {
            let output = self.core.borrow_mut().poll_output();
            match output {
                Some(SignallingOutput::Send { session, text }) => self.send(session, text),
                Some(SignallingOutput::Close {
                    session, reason, ..
                }) => {
                    if let Some(outbox) = self.sockets.borrow_mut().remove(&session) {
                        outbox.close(reason);
                    }
                }
                Some(SignallingOutput::Shard { shard, command }) => {
                    let Some(link) = self.shards.get(usize::from(shard.0)) else {
                        continue;
                    };
                    match link.try_send(command) {
                        Ok(()) => {}
                        Err(SendError::Full(command)) => self.core.borrow_mut().handle_shard_full(
                            self.clock.now(),
                            shard,
                            command,
                        ),
                        Err(SendError::Closed(_)) => self.shard_gone(shard),
                    }
                }
                Some(SignallingOutput::Ask { ticket, question }) => {
                    let ask = Observation::Ask { ticket, question };
                    if !self.observe(ask) {
                        let now = self.clock.now();
                        let mut core = self.core.borrow_mut();
                        core.handle_answer(now, ticket, Answer::Busy);
                    }
                }
                Some(SignallingOutput::Tell(notice)) => self.tell(notice),
                None => break,
            }
        }
        let due = self.core.borrow().poll_timeout().unwrap_or(Time::MAX);
        let mut sleeping = self.sleeping.borrow_mut();
        if due < sleeping.0
            && let Some(waker) = sleeping.1.take()
        {
            waker.wake();
        }
    }

    fn observe(&self, observation: Observation<'_>) -> bool {
        (self.observer.borrow_mut())(observation)
    }

    fn tell(&self, notice: Notice) {
        let lost = format!("{notice:?}");
        if !self.observe(Observation::Tell(notice)) {
            tracing::error!(notice = %lost, "the control thread is behind: a callback is lost");
        }
    }

    /// What the control thread wants. `true`: to shut down.
    fn request(&self, request: SignallingRequest) -> bool {
        match request {
            SignallingRequest::Shutdown => return true,
            SignallingRequest::Configure { changes, done } => {
                for Change { room, spec } in changes {
                    self.act(|core, now| core.handle_configure(now, room, spec));
                }
                done();
            }
            SignallingRequest::Answer { ticket, answer } => {
                self.act(|core, now| core.handle_answer(now, ticket, answer));
            }
            SignallingRequest::Stats { ticket, room } => {
                self.act(|core, now| core.handle_stats(now, ticket, room));
            }
            SignallingRequest::Drain(draining) => {
                self.act(|core, _| core.handle_drain(draining));
            }
            SignallingRequest::EvictAll => {
                self.act(|core, now| core.handle_evict_all(now));
            }
        }
        false
    }

    fn send(&self, session: SessionId, text: String) {
        let outbox = self.sockets.borrow().get(&session).cloned();
        if let Some(outbox) = outbox
            && !outbox.push(text)
        {
            self.sockets.borrow_mut().remove(&session);
            outbox.close(crate::bus::client::CloseReason::Evicted);
            let now = self.clock.now();
            self.core
                .borrow_mut()
                .handle_closed(now, session, SocketEnd::Stalled);
        }
    }

    fn shard_gone(&self, shard: ShardId) {
        let now = self.clock.now();
        self.core
            .borrow_mut()
            .handle_shard_event(now, ShardEvent::Stopped(shard));
    }
}

async fn run(thread: SignallingThread) {
    let core = Signalling::new(
        thread.settings,
        u16::try_from(thread.shards.len()).unwrap_or(u16::MAX),
        thread.book,
    );
    let hub = Rc::new(Hub {
        core: RefCell::new(core),
        sockets: RefCell::new(HashMap::new()),
        shards: thread.shards,
        clock: thread.clock,
        site: thread.site,
        read_buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
        connections: Cell::new(0),
        // Without a handle (out of file descriptors) it goes on listening until the process ends: no harm.
        stoppers: thread
            .listeners
            .iter()
            .filter_map(|(listener, _)| listener.stopper().ok())
            .collect(),
        stopping: Cell::new(false),
        sleeping: RefCell::new((Time::MAX, None)),
        restarts: RefCell::new(RateWindow::new(
            RESTARTS_MAX,
            Duration::from_secs(RESTARTS_PERIOD_S),
        )),
        observer: RefCell::new(thread.observer),
    });
    for (listener, tls) in thread.listeners {
        let listener = listener.on_executor();
        glommio::spawn_local(accept(hub.clone(), listener, tls)).detach();
    }
    let events = thread.events.listen();
    let requests = thread.requests.listen();
    conduct(&hub, &events, &requests).await;
}

/// The clock, the shards and the control thread.
async fn conduct(hub: &Rc<Hub>, events: &EventInbox, requests: &Inbox<SignallingRequest>) {
    let mut stopped = BTreeSet::new();
    let mut stop_at = None;
    loop {
        for _ in 0..EVENTS_PER_TURN {
            let Some(event) = events.try_recv() else {
                break;
            };
            if let ShardEvent::Snapshot(snapshot) = &event {
                hub.observe(Observation::Shard(snapshot));
                let counters = hub.core.borrow().counters();
                hub.observe(Observation::Signalling(counters));
            }
            if let ShardEvent::Stopped(shard) = &event {
                stopped.insert(*shard);
            }
            hub.act(|core, now| core.handle_shard_event(now, event));
        }
        let mut shutdown = false;
        for _ in 0..REQUESTS_PER_TURN {
            let Some(request) = requests.try_recv() else {
                break;
            };
            shutdown |= hub.request(request);
        }
        if shutdown && stop_at.is_none() {
            stop_at = Some(hub.clock.now() + SHUTDOWN);
            hub.stopping.set(true);
            hub.stoppers.iter().for_each(Stopper::stop);
            hub.act(Signalling::handle_shutdown);
        }
        hub.act(Signalling::handle_timeout);
        if let Some(stop_at) = stop_at
            && (stopped.len() == hub.shards.len() || hub.clock.now() >= stop_at)
        {
            return farewell(hub).await;
        }
        wait(hub, events, requests, stop_at).await;
    }
}

/// Until an event, a request, the next deadline, or an earlier one that was set meanwhile.
async fn wait(
    hub: &Rc<Hub>,
    events: &EventInbox,
    requests: &Inbox<SignallingRequest>,
    stop_at: Option<Time>,
) {
    // Connections come first after every turn.
    glommio::yield_if_needed().await;
    let due = hub.core.borrow().poll_timeout().unwrap_or(Time::MAX);
    let due = due.min(stop_at.unwrap_or(Time::MAX));
    *hub.sleeping.borrow_mut() = (due, None);
    let woken = poll_fn(|cx| {
        let mut sleeping = hub.sleeping.borrow_mut();
        // `settle` takes the waker to say that there is an earlier deadline.
        if hub
            .core
            .borrow()
            .poll_timeout()
            .is_some_and(|next| next < sleeping.0)
        {
            return Poll::Ready(());
        }
        sleeping.1 = Some(cx.waker().clone());
        match (events.poll_wait(cx), requests.poll_wait(cx)) {
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    });
    let alarm = async {
        match due {
            Time::MAX => std::future::pending().await,
            due => Timer::new(due.since(hub.clock.now())).await,
        };
    };
    woken.or(alarm).await;
    *hub.sleeping.borrow_mut() = (Time::MAX, None);
}

/// Gives the close frames time to leave.
async fn farewell(hub: &Rc<Hub>) {
    let all_gone = async {
        while hub.connections.get() > 0 {
            Timer::new(Duration::from_millis(5)).await;
        }
    };
    let deadline = async {
        Timer::new(Duration::from_millis(WS_CLOSE_MS)).await;
    };
    all_gone.or(deadline).await;
}

async fn accept(hub: Rc<Hub>, listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>) {
    loop {
        let tcp = match listener.accept().await {
            Ok(tcp) => tcp,
            Err(_) if hub.stopping.get() => return,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted; if this stays, raise the limit of open files (`ulimit -n`)");
                Timer::new(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if hub.connections.get() >= CONNECTIONS_MAX {
            // Dropped without an answer: writing one would cost what we have not got.
            continue;
        }
        let counted = Counted::new(hub.clone());
        let task =
            AssertUnwindSafe(connection(hub.clone(), tcp, tls.clone(), counted)).catch_unwind();
        glommio::spawn_local(async move {
            // A panic ends that connection alone; an executor whose task panics dies with all of them.
            if task.await.is_err() {
                tracing::error!("a connection's task panicked; only that connection is closed");
            }
        })
        .detach();
    }
}

/// One connection in `connections`, until dropped.
struct Counted(Rc<Hub>);

impl Counted {
    fn new(hub: Rc<Hub>) -> Self {
        hub.connections.set(hub.connections.get() + 1);
        Self(hub)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let connections = &self.0.connections;
        connections.set(connections.get().saturating_sub(1));
    }
}

async fn connection(
    hub: Rc<Hub>,
    tcp: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    _counted: Counted,
) {
    let Ok(mut stream) = Stream::new(tcp, tls.as_ref()) else {
        return;
    };
    let deadline = async {
        Timer::new(Duration::from_millis(HTTP_HANDSHAKE_MS)).await;
        None
    };
    let mut received = Vec::new();
    let decision = async { request(&hub, &mut stream, &mut received).await.ok() };
    // `Some(None)` would be a broken connection: nothing to answer.
    let decision = async { Some(decision.await) }.or(deadline).await;
    let (answer, early) = match decision {
        Some(Some(Decision::Answer(answer))) => (answer, None),
        Some(Some(Decision::Upgrade(answer, length))) => (answer, Some(length)),
        Some(_) => return,
        None => (http::too_slow(), None),
    };
    let Some(length) = early else {
        return say(stream, &answer).await;
    };
    let (session, outbox) = match hub.open() {
        Ok(opened) => opened,
        Err(why) => return say(stream, &http::unavailable(&why)).await,
    };
    if stream.queue(&answer).is_err() {
        return hub.closed(session, SocketEnd::Abnormal);
    }
    let early = received.get(length..).unwrap_or_default();
    let conversation = Conversation::new(stream, early, hub, session, outbox);
    drop(received);
    conversation.run().await;
}

/// Reads until a request's head is complete.
async fn request(hub: &Hub, stream: &mut Stream, received: &mut Vec<u8>) -> io::Result<Decision> {
    loop {
        poll_fn(|cx| {
            let mut buf = hub.read_buffer.borrow_mut();
            match stream.poll_read(cx, &mut buf) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(Ok(n)) => {
                    received.extend_from_slice(buf.get(..n).unwrap_or_default());
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        match http::decide(&hub.site, received) {
            Decision::More => {}
            decision => return Ok(decision),
        }
    }
}

/// Answers and closes, within the handshake's time.
async fn say(mut stream: Stream, answer: &[u8]) {
    let said = async {
        if stream.queue(answer).is_err() || poll_fn(|cx| stream.poll_flush(cx)).await.is_err() {
            return;
        }
        stream.shutdown().await;
        // Closing with unread bytes would reset the connection before the answer is read.
        let mut waste = [0_u8; 1024];
        while let Ok(1..) = poll_fn(|cx| stream.poll_read(cx, &mut waste)).await {}
    };
    let deadline = async {
        Timer::new(Duration::from_millis(HTTP_HANDSHAKE_MS)).await;
    };
    said.or(deadline).await;
}
