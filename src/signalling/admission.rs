//! From `JoinRoom` to a membership: is the credential right, is there room, does whoever made the room agree.
//!
//! What takes long or needs the network (Argon2, tokens, callbacks) is asked of the control thread; the join waits
//! under a [`Ticket`]. A join that waits is no membership: the session may go, or ask for something else meanwhile.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use super::{Signalling, SignallingOutput, Timer};
use crate::bus::client::{Capabilities, CloseReason};
use crate::bus::control::{Answer, LeaveReason, Notice, Question, Ticket};
use crate::bus::spec::{Credential, MemberSpec, NOBODYS_HASH, RoomSpec};
use crate::id::{MemberId, RoomId, SessionId};
use crate::limits::{CREDENTIAL_BYTES_MAX, JOIN_CHECK_MS, MEMBERSHIPS_MAX, PENDING_JOINS_MAX};
use crate::time::Time;

/// Why a join goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Wrong room, member or credential: told apart to nobody. Or whoever made the room does not want it.
    Rejected,
    /// A limit.
    Evicted,
}

/// A join that waits for the control thread.
#[derive(Debug)]
pub(super) struct Pending {
    join: Join,
    stage: Stage,
    deadline: Time,
    /// Whom it was for is gone, for this reason.
    gone: Option<LeaveReason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Secret,
    Consent,
}

/// Who wants to join what.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) session: SessionId,
    pub(super) room: RoomId,
    pub(super) member: MemberId,
    pub(super) capabilities: Capabilities,
}

/// What a credential is worth.
enum Verdict {
    Good,
    Bad,
    Ask(Question),
}

impl Signalling {
    /// `JoinRoom`.
    pub(super) fn join(
        &mut self,
        now: Time,
        id: SessionId,
        room: RoomId,
        member: MemberId,
        credential: String,
        capabilities: Capabilities,
    ) {
        let join = Join {
            session: id,
            room,
            member,
            capabilities,
        };
        // A client that asks again takes its first question back.
        let same = |p: &Pending| p.join.session == id && p.join.room == join.room;
        self.drop_pending(same, LeaveReason::Disconnected);
        match self.verdict(&join, credential) {
            Verdict::Bad => self.refuse_join(now, id, join.room, Refusal::Rejected),
            Verdict::Good => self.admit(now, join),
            Verdict::Ask(question) => self.ask(now, join, Stage::Secret, question),
        }
    }

    /// The credential is right.
    fn admit(&mut self, now: Time, join: Join) {
        let (id, room) = (join.session, join.room.clone());
        if let Err(refusal) = self.within_limits(&join) {
            return self.refuse_join(now, id, room, refusal);
        }
        let Some((spec, member_spec)) = self.specs_of(&join.room, &join.member) else {
            return self.refuse_join(now, id, room, Refusal::Rejected);
        };
        // Whoever comes back has been let in before.
        if member_spec.asks_join && !self.is_member(&join.room, &join.member) {
            let question = Question::Join {
                room,
                member: join.member.clone(),
            };
            return self.ask(now, join, Stage::Consent, question);
        }
        self.enter(now, join, spec, &member_spec);
    }

    fn ask(&mut self, now: Time, join: Join, stage: Stage, question: Question) {
        if self.pending.len() >= PENDING_JOINS_MAX {
            return self.refuse_join(now, join.session, join.room, Refusal::Evicted);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let deadline = now + Duration::from_millis(JOIN_CHECK_MS);
        self.timers.insert((deadline, Timer::Pending(ticket)));
        let pending = Pending {
            join,
            stage,
            deadline,
            gone: None,
        };
        self.pending.insert(ticket, pending);
        let ask = SignallingOutput::Ask { ticket, question };
        self.outputs.push_back(ask);
    }

    /// The control thread's answer to a question.
    pub fn handle_answer(&mut self, now: Time, ticket: Ticket, answer: Answer) {
        let Some(pending) = self.pending.remove(&ticket) else {
            return;
        };
        self.timers
            .remove(&(pending.deadline, Timer::Pending(ticket)));
        let Pending {
            join, stage, gone, ..
        } = pending;
        if let Some(reason) = gone {
            if stage == Stage::Consent && answer == Answer::Yes {
                self.tell_left(&join.room, &join.member, reason);
            }
            return;
        }
        let (id, room) = (join.session, join.room.clone());
        match (stage, answer) {
            (Stage::Secret, Answer::Yes) => self.admit(now, join),
            (Stage::Secret, Answer::Member(spec)) => self.admit_by_token(now, join, spec),
            (Stage::Consent, Answer::Yes) => self.enter_with_consent(now, join),
            (_, Answer::Busy) => self.refuse_join(now, id, room, Refusal::Evicted),
            (_, Answer::No | Answer::Member(_)) => {
                self.refuse_join(now, id, room, Refusal::Rejected);
            }
        }
    }

    /// Nobody has answered in time.
    pub(super) fn pending_timeout(&mut self, now: Time, ticket: Ticket) {
        if let Some(pending) = self.pending.remove(&ticket)
            && pending.gone.is_none()
        {
            let Join { session, room, .. } = pending.join;
            self.refuse_join(now, session, room, Refusal::Evicted);
        }
    }

    /// Whoever made the room agrees; much may have changed meanwhile.
    fn enter_with_consent(&mut self, now: Time, join: Join) {
        let (id, room, member) = (join.session, join.room.clone(), join.member.clone());
        let refusal = match (self.within_limits(&join), self.specs_of(&room, &member)) {
            (Ok(()), Some((spec, member_spec))) => {
                return self.enter(now, join, spec, &member_spec);
            }
            (Err(refusal), _) => refusal,
            // The Control API has taken it out: it knows.
            (Ok(()), None) => return self.refuse_join(now, id, room, Refusal::Rejected),
        };
        self.tell_left(&room, &member, LeaveReason::Kicked);
        self.refuse_join(now, id, room, refusal);
    }

    fn admit_by_token(&mut self, now: Time, join: Join, member_spec: Arc<MemberSpec>) {
        let live = self.rooms.get(&join.room).map(|r| Arc::clone(&r.spec));
        let base = match live {
            Some(spec) if self.is_from_template(&join.room) => Some(spec),
            Some(_) => None,
            None => self.book.templated(&join.room),
        };
        let (id, room) = (join.session, join.room.clone());
        let within = self.within_limits(&join);
        match (base, within) {
            (_, Err(refusal)) => self.refuse_join(now, id, room, refusal),
            (None, Ok(())) => self.refuse_join(now, id, room, Refusal::Rejected),
            (Some(base), Ok(())) => {
                let mut spec = RoomSpec::clone(&base);
                spec.members
                    .insert(join.member.clone(), Arc::clone(&member_spec));
                self.enter(now, join, Arc::new(spec), &member_spec);
            }
        }
    }

    /// Takes joins back that wait; `reason` is told if they are let in all the same.
    fn drop_pending(&mut self, whose: impl Fn(&Pending) -> bool, reason: LeaveReason) {
        for pending in self.pending.values_mut() {
            if pending.gone.is_none() && whose(pending) {
                pending.gone = Some(reason);
            }
        }
    }

    /// The joins of a session that has ended.
    pub(super) fn drop_pending_of(&mut self, id: SessionId, leave: Option<CloseReason>) {
        if !self.pending.is_empty() {
            let reason = leave.map_or(LeaveReason::Lost, super::membership::leave_reason);
            self.drop_pending(|p| p.join.session == id, reason);
        }
    }

    /// Room and member, if both are to be.
    fn specs_of(
        &self,
        room: &RoomId,
        member: &MemberId,
    ) -> Option<(Arc<RoomSpec>, Arc<MemberSpec>)> {
        let spec = self.spec_of(room)?;
        let member_spec = Arc::clone(spec.member(member)?);
        Some((spec, member_spec))
    }

    /// The room as it is declared; as it is, if it was made from a template; as it would be made.
    fn spec_of(&self, room: &RoomId) -> Option<Arc<RoomSpec>> {
        if let Some(spec) = self.book.declared(room) {
            return Some(Arc::clone(spec));
        }
        match self.rooms.get(room) {
            Some(found) => found.from_template.then(|| Arc::clone(&found.spec)),
            None => self.book.templated(room),
        }
    }

    fn is_from_template(&self, room: &RoomId) -> bool {
        self.rooms.get(room).is_some_and(|r| r.from_template)
    }

    /// What the credential is worth. Takes as long for an unknown member as for a wrong credential, and tells them
    /// apart to nobody (threats.md rule 9).
    fn verdict(&self, join: &Join, credential: String) -> Verdict {
        if credential.len() > CREDENTIAL_BYTES_MAX {
            return Verdict::Bad;
        }
        let declared = self.book.declared(&join.room).is_some();
        if self.book.is_by_token() && !declared {
            return Verdict::Ask(Question::Token {
                room: join.room.clone(),
                member: join.member.clone(),
                token: credential,
            });
        }
        let room = self.spec_of(&join.room);
        let hashed = room
            .as_ref()
            .map_or(self.book.has_hashes(), |r| r.has_hashes());
        let member = room.as_ref().and_then(|s| s.member(&join.member));
        let hash = match member.map(|m| &m.credential) {
            Some(Credential::Plain(wanted)) if same_secret(wanted, &credential) => {
                return Verdict::Good;
            }
            Some(Credential::Hash(hash)) => Arc::clone(hash),
            Some(Credential::Plain(_)) | None if hashed => Arc::from(NOBODYS_HASH),
            Some(Credential::Plain(_)) => return Verdict::Bad,
            None => {
                // As long as a comparison.
                same_secret("", &credential);
                return Verdict::Bad;
            }
        };
        Verdict::Ask(Question::Secret { hash, credential })
    }

    fn within_limits(&self, join: &Join) -> Result<(), Refusal> {
        let session = self.sessions.get(&join.session).ok_or(Refusal::Evicted)?;
        let again = session.member_in(&join.room).is_some();
        let full = session.memberships.len() >= self.settings.rooms_per_session_max
            || self.memberships >= MEMBERSHIPS_MAX;
        let closed = self.draining && !self.is_member(&join.room, &join.member);
        match full && !again || closed {
            true => Err(Refusal::Evicted),
            false => Ok(()),
        }
    }

    pub(super) fn tell_left(&mut self, room: &RoomId, member: &MemberId, reason: LeaveReason) {
        self.tell(Notice::Left {
            room: room.clone(),
            member: member.clone(),
            reason,
        });
    }
}

/// Whether two secrets are the same: constant time in the contents and, by hashing first, in the length.
pub fn same_secret(wanted: &str, given: &str) -> bool {
    let wanted = digest(&SHA256, wanted.as_bytes());
    let given = digest(&SHA256, given.as_bytes());
    wanted.as_ref().ct_eq(given.as_ref()).into()
}
