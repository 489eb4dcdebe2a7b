//! The Control API without its clothes: requests go to the [`Store`], what changes goes to signalling, and only when it
//! has taken effect there is the request answered. REST and gRPC are two ways in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Notify, RwLock, oneshot};

use crate::bus::control::{Notice, RoomStats, Ticket};
use crate::control::Control;
use crate::control::error::{ControlError, ErrorCode};
use crate::control::fid::Fid;
use crate::control::spec::SpecBook;
use crate::control::store::{
    Change, Element, FileChanges, JoinAnswer, Mode, Occasion, Outcome, Store,
};
use crate::id::{MemberId, RoomId};
use crate::io::channel::{SendError, Sender};
use crate::io::clock::Clock;
use crate::io::signalling::SignallingRequest;
use crate::limits::STATS_REQUESTS_MAX;
use crate::time::Time;

/// How long a full channel to signalling is tried again, and the pause between two tries.
const SEND_TRIES: u32 = 100;
const SEND_PAUSE: Duration = Duration::from_millis(5);
/// How long signalling may take to let a change take effect before the request is answered in any case.
const EFFECT: Duration = Duration::from_secs(2);

fn overloaded(why: &str) -> ControlError {
    ControlError::new(ErrorCode::Overloaded, "-", why)
}

/// A drain under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drain {
    /// When everybody is put out; `None`: nobody is.
    pub(super) deadline: Option<Time>,
}

/// What all requests share.
pub(super) struct Plane {
    pub(super) health: RwLock<Control>,
    pub(super) clock: Clock,
    store: Mutex<Store>,
    /// What [`Plane::timeout`] looks at has changed: it is to be called.
    pub(super) changed: Notify,
    signalling: Sender<SignallingRequest>,
    drain: Mutex<Option<Drain>>,
    /// Requests for figures that wait.
    asked: Mutex<HashMap<Ticket, oneshot::Sender<Option<Box<RoomStats>>>>>,
    next_ticket: AtomicU64,
}

impl Plane {
    pub(super) fn new(
        health: Control,
        clock: Clock,
        store: Store,
        signalling: Sender<SignallingRequest>,
    ) -> Arc<Self> {
        Arc::new(Self {
            health: RwLock::new(health),
            clock,
            store: Mutex::new(store),
            changed: Notify::new(),
            signalling,
            drain: Mutex::new(None),
            asked: Mutex::new(HashMap::new()),
            next_ticket: AtomicU64::new(0),
        })
    }

    /// Puts an element where it belongs.
    pub(super) async fn put(
        &self,
        fid: &Fid,
        element: Element,
        mode: Mode,
    ) -> Result<Outcome, ControlError> {
        let mut store = self.store.lock().await;
        let outcome = store.put(self.clock.now(), fid, element, mode)?;
        self.commit(&mut store, outcome).await
    }

    /// Takes in what `on_join` has answered of a member.
    pub(super) async fn amend(
        &self,
        room: &RoomId,
        member: &MemberId,
        answer: &JoinAnswer,
    ) -> Result<(), ControlError> {
        let mut store = self.store.lock().await;
        let outcome = store.amend(self.clock.now(), room, member, answer)?;
        self.commit(&mut store, outcome).await.map(drop)
    }

    /// Takes elements out.
    pub(super) async fn delete(&self, fids: &[Fid]) -> Result<Outcome, ControlError> {
        let mut store = self.store.lock().await;
        let outcome = store.delete(self.clock.now(), fids)?;
        self.commit(&mut store, outcome).await
    }

    /// Elements by full id; no id: every room.
    pub(super) async fn get(&self, fids: &[Fid]) -> Result<BTreeMap<Fid, Element>, ControlError> {
        self.store.lock().await.get(fids)
    }

    /// Brings the rooms of files in line with the files.
    pub(super) async fn apply_files(&self, book: &SpecBook) -> Result<FileChanges, ControlError> {
        let mut store = self.store.lock().await;
        let mut changes = store.apply_files(self.clock.now(), book);
        let outcome = std::mem::take(&mut changes.outcome);
        self.commit(&mut store, outcome).await?;
        Ok(changes)
    }

    /// Where a callback goes.
    pub(super) async fn callback(&self, fid: &Fid, occasion: Occasion) -> Option<String> {
        self.store.lock().await.callback(fid, occasion)
    }

    /// How a declared room, or one made from a template, does. `None`: nobody is in it.
    pub(super) async fn stats(
        &self,
        room: &RoomId,
    ) -> Result<Option<Box<RoomStats>>, ControlError> {
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        let mut asked = self.asked.lock().await;
        if asked.len() >= STATS_REQUESTS_MAX {
            return Err(overloaded("too many requests for figures wait"));
        }
        asked.insert(ticket, answer);
        drop(asked);
        let request = SignallingRequest::Stats {
            ticket,
            room: room.clone(),
        };
        let sent = self.send(request).await;
        let stats = match sent {
            Ok(()) => tokio::time::timeout(EFFECT, answered)
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or_else(|| overloaded("the shard of the room does not answer")),
            Err(error) => Err(error),
        };
        self.asked.lock().await.remove(&ticket);
        stats
    }

    /// The answer to a request for figures.
    pub(super) async fn stats_answer(&self, ticket: Ticket, stats: Option<Box<RoomStats>>) {
        if let Some(answer) = self.asked.lock().await.remove(&ticket) {
            let _ = answer.send(stats);
        }
    }

    /// Whether a room is declared.
    pub(super) async fn is_declared(&self, room: &RoomId) -> bool {
        let fid = Fid::Room(room.clone());
        self.store
            .lock()
            .await
            .get(&[fid])
            .is_ok_and(|found| !found.is_empty())
    }

    /// Who is in which room.
    pub(super) async fn notice(&self, notice: &Notice) {
        let mut store = self.store.lock().await;
        store.handle_notice(self.clock.now(), notice);
        self.changed.notify_one();
    }

    /// Removes rooms whose time is over; ends a drain whose time is over. When it wants to be called again at the latest.
    pub(super) async fn timeout(&self) -> Option<Time> {
        let now = self.clock.now();
        let mut store = self.store.lock().await;
        let changes = store.handle_timeout(now);
        if !changes.is_empty() {
            let gone: Vec<String> = changes.iter().map(|c| c.room.to_string()).collect();
            tracing::info!(
                rooms = gone.join(","),
                "rooms whose time is over are removed"
            );
            if self.configure(changes).await.is_err() {
                tracing::error!("signalling takes no requests: members of removed rooms stay in");
            }
        }
        let next = store.poll_timeout();
        drop(store);
        let mut drain = self.drain.lock().await;
        let deadline = drain.and_then(|d| d.deadline);
        if deadline.is_some_and(|due| due <= now) {
            tracing::info!("the time of the drain is over: everybody is put out");
            let _ = self.send(SignallingRequest::EvictAll).await;
            *drain = Some(Drain { deadline: None });
        }
        let deadline = drain.and_then(|d| d.deadline);
        next.into_iter().chain(deadline).min()
    }

    /// Lets no new members in, and puts everybody out when the time is over; or lets them in again.
    pub(super) async fn set_drain(&self, drain: Option<Drain>) -> Result<(), ControlError> {
        let mut current = self.drain.lock().await;
        self.send(SignallingRequest::Drain(drain.is_some())).await?;
        *current = drain;
        self.changed.notify_one();
        self.health.write().await.handle_drain(drain.is_some());
        Ok(())
    }

    /// Gives a request to signalling; a full channel is tried again for a moment.
    pub(super) async fn send(&self, mut request: SignallingRequest) -> Result<(), ControlError> {
        for _ in 0..SEND_TRIES {
            match self.signalling.try_send(request) {
                Ok(()) => return Ok(()),
                Err(SendError::Full(back)) => request = back,
                Err(SendError::Closed(_)) => break,
            }
            tokio::time::sleep(SEND_PAUSE).await;
        }
        Err(overloaded(
            "the signalling core takes no requests; nothing has changed, try again",
        ))
    }

    async fn commit(
        &self,
        store: &mut MutexGuard<'_, Store>,
        mut outcome: Outcome,
    ) -> Result<Outcome, ControlError> {
        let changes = std::mem::take(&mut outcome.changes);
        if changes.is_empty() {
            return Ok(outcome);
        }
        match self.configure(changes).await {
            Ok(()) => {
                self.changed.notify_one();
                Ok(outcome)
            }
            Err(error) => {
                store.undo(outcome);
                Err(error)
            }
        }
    }

    /// Returns when the changes have taken effect in signalling: whoever dials now is let in.
    async fn configure(&self, changes: Vec<Change>) -> Result<(), ControlError> {
        let (done, taken) = oneshot::channel();
        let request = SignallingRequest::Configure {
            changes,
            done: Box::new(move || {
                let _ = done.send(());
            }),
        };
        self.send(request).await?;
        // Late or never (a fault of signalling): the change is on its way all the same.
        let _ = tokio::time::timeout(EFFECT, taken).await;
        Ok(())
    }
}
