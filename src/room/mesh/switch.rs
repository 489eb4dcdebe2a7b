//! From mesh to server and back while people talk (`p2p: IfPossible`): the new connections are made before the old ones go.
//!
//! While a switch is under way both are there. The old ones are taken down a moment after the new ones carry media, so
//! that nobody sees a gap, and after a deadline in any case.

use std::time::Duration;

use crate::bus::spec::P2pPolicy;
use crate::id::MemberId;
use crate::limits::{SWITCH_GRACE_MS, SWITCH_MAX_MS};
use crate::room::machine::Machine;
use crate::room::mesh::PairKey;
use crate::room::model::Phase;
use crate::room::{Context, Room};
use crate::time::Time;

const GRACE: Duration = Duration::from_millis(SWITCH_GRACE_MS);
const DEADLINE: Duration = Duration::from_millis(SWITCH_MAX_MS);

/// A switch under way.
#[derive(Debug, Clone, Copy)]
pub struct Switch {
    deadline: Time,
    /// Since when the new connections work.
    works_since: Option<Time>,
}

impl Room {
    /// Whether its members are, or are to be, connected with each other.
    fn wants_mesh(&self) -> bool {
        match self.spec.p2p {
            P2pPolicy::Never => false,
            P2pPolicy::Always => true,
            P2pPolicy::IfPossible => self.members.len() <= self.spec.p2p_max_members,
        }
    }

    /// Begins a switch when the number of members asks for it.
    pub(in crate::room) fn update_mode(&mut self, now: Time) {
        let mesh = self.wants_mesh();
        if mesh == self.mesh {
            return;
        }
        self.mesh = mesh;
        let in_call = self.members.values().any(|m| m.peer.is_some()) || !self.pairs.is_empty();
        self.switch = in_call.then_some(Switch {
            deadline: now + DEADLINE,
            works_since: None,
        });
    }

    /// Whether there are connections of members with each other now.
    pub(in crate::room) fn runs_mesh(&self) -> bool {
        self.mesh || self.switch.is_some()
    }

    /// Whether there are connections with the server now.
    pub(in crate::room) fn runs_sfu(&self) -> bool {
        !self.mesh || self.switch.is_some()
    }

    /// Whether time has to be told, see [`Room::handle_timeout`].
    pub fn is_switching(&self) -> bool {
        self.switch.is_some()
    }

    /// Ends a switch whose new connections have worked for a moment, or that takes too long.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        let Some(mut switch) = self.switch else {
            return;
        };
        let works = if self.mesh {
            self.pairs.values().all(|pair| pair.is_connected())
        } else {
            self.sfu_works(cx.machine)
        };
        let since = works.then(|| switch.works_since.unwrap_or(cx.now));
        switch.works_since = since;
        let over = cx.now >= switch.deadline || since.is_some_and(|at| cx.now >= at + GRACE);
        self.switch = (!over).then_some(switch);
        if over {
            self.refresh(cx);
        }
    }

    /// Whether everybody who is here is connected with the server and has nothing to negotiate.
    fn sfu_works(&self, machine: &Machine) -> bool {
        let mut here = self.members.values().filter(|m| m.listener().is_some());
        here.all(|member| {
            member.peer.as_ref().is_some_and(|peer| {
                peer.phase == Phase::Stable
                    && !peer.needs_negotiation()
                    && machine.is_connected(peer.transport)
            })
        })
    }

    /// Takes down what the room no longer runs.
    pub(in crate::room) fn drop_other_mode(&mut self, cx: &mut Context<'_>) {
        if !self.runs_mesh() {
            let keys: Vec<PairKey> = self.pairs.keys().cloned().collect();
            for key in keys {
                self.drop_pair(&key, cx);
            }
        }
        if !self.runs_sfu() {
            let ids: Vec<MemberId> = self.members.keys().cloned().collect();
            for id in ids {
                self.drop_peer(&id, cx);
            }
        }
    }
}
