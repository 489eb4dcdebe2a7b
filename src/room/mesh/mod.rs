//! Members connected with each other: which pairs there are, and whose command goes to which pair.
//!
//! The server passes descriptions and candidates on and sees no media. Invariants: a pair of the map is a pair of
//! members that are there and of whom one plays the other; `mesh_peers` names every end of every pair.

mod pair;
mod switch;
#[cfg(test)]
mod tests;

use crate::bus::client::{Command, Event, PeerState, TrackPatchCommand};
use crate::bus::spec::P2pPolicy;
use crate::id::{MemberId, PeerId, TrackId};
use crate::limits::MESH_MEMBERS_MAX;
use crate::room::model::{Member, Source};
use crate::room::report::connection_failed;
use crate::room::{Context, Room, RoomConfig, RoomError};

pub use pair::Pair;
use pair::{End, Side, Told};
pub use switch::Switch;

/// Two members, the one whose id sorts first in front.
pub type PairKey = (MemberId, MemberId);

/// Tracks of a pair: who sends, what, and whether it must be sent.
type Wanted = Vec<(Side, Source, bool)>;

impl Room {
    /// Members it may have: a mesh costs each of them a connection with each other one.
    pub(super) fn members_max(&self, config: &RoomConfig) -> usize {
        let asked = self.spec.members_max.unwrap_or(config.members_max);
        let most = asked.min(config.members_max);
        match self.spec.p2p {
            P2pPolicy::Always => most.min(MESH_MEMBERS_MAX),
            P2pPolicy::Never | P2pPolicy::IfPossible => most,
        }
    }

    /// Brings the pairs in line with who is there and who plays whom, and begins what is due.
    pub(super) fn refresh_mesh(&mut self, cx: &mut Context<'_>) {
        self.drop_broken_pairs(cx);
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for (at, first) in ids.iter().enumerate() {
            for second in ids.iter().skip(at + 1) {
                self.refresh_pair((first.clone(), second.clone()), cx);
            }
        }
    }

    fn refresh_pair(&mut self, key: PairKey, cx: &mut Context<'_>) {
        let wanted = self.wanted_of(&key);
        let known = self.pairs.contains_key(&key);
        // While members go over to the server no pair begins any more.
        if wanted.is_empty() || !known && !self.mesh {
            return;
        }
        if !known {
            let first = self.new_end(&key.0, &key);
            let second = self.new_end(&key.1, &key);
            self.pairs.insert(key.clone(), Pair::new(first, second));
        }
        let mut next = self.next_track;
        self.with_pair(&key, cx, |pair| {
            pair.set_tracks(&wanted, || {
                next += 1;
                TrackId(next)
            });
            (pair.negotiate(), ())
        });
        self.next_track = next;
    }

    fn new_end(&mut self, member: &MemberId, key: &PairKey) -> End {
        self.next_peer += 1;
        let peer = PeerId(self.next_peer);
        self.mesh_peers.insert(peer, key.clone());
        End::new(member.clone(), peer)
    }

    /// What the two send each other.
    fn wanted_of(&self, key: &PairKey) -> Wanted {
        let (Some(first), Some(second)) = (self.members.get(&key.0), self.members.get(&key.1))
        else {
            return Vec::new();
        };
        let of = |side, sender_id: &MemberId, sender: &Member, receiver: &Member| -> Wanted {
            let sources = sender.sources().into_iter();
            sources
                .filter(|(source, _)| receiver.plays(sender_id, &sender.spec, &source.endpoint))
                .map(|(source, required)| (side, source, required))
                .collect()
        };
        let mut wanted = of(Side::First, &key.0, first, second);
        wanted.extend(of(Side::Second, &key.1, second, first));
        wanted
    }

    /// Takes down pairs of whom one has left, or that send each other nothing any more.
    fn drop_broken_pairs(&mut self, cx: &mut Context<'_>) {
        let broken: Vec<PairKey> = self
            .pairs
            .keys()
            .filter(|key| self.wanted_of(key).is_empty())
            .cloned()
            .collect();
        for key in broken {
            self.drop_pair(&key, cx);
        }
    }

    /// Takes a pair down; who knows of it is told.
    fn drop_pair(&mut self, key: &PairKey, cx: &mut Context<'_>) {
        let Some(pair) = self.pairs.remove(key) else {
            return;
        };
        for side in Side::BOTH {
            let end = pair.end(side);
            self.mesh_peers.remove(&end.peer);
            let listener = self.members.get(&end.member).and_then(Member::listener);
            if let Some(session) = listener.filter(|_| end.is_announced()) {
                let removed = Event::PeersRemoved {
                    peer_ids: vec![end.peer],
                };
                cx.send(session, &self.id, removed);
            }
        }
    }

    /// Lets a pair act and tells its members what comes of it.
    fn with_pair<T>(
        &mut self,
        key: &PairKey,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Pair) -> (Vec<Told>, T),
    ) -> Option<T> {
        let pair = self.pairs.get_mut(key)?;
        for side in Side::BOTH {
            let member = self.members.get(&pair.end(side).member);
            pair.set_listens(side, member.and_then(Member::listener).is_some());
        }
        let (told, value) = act(pair);
        for (side, mut event) in told {
            let Some(member) = self.members.get(&pair.end(side).member) else {
                continue;
            };
            let Some(session) = member.listener() else {
                continue;
            };
            if let Event::PeerCreated {
                ice_servers,
                force_relay,
                ..
            } = &mut event
            {
                *ice_servers = cx.ice_servers(&pair.end(side).member, &member.spec);
                *force_relay = member.spec.force_relay;
            }
            cx.send(session, &self.id, event);
        }
        Some(value)
    }

    /// A command for one end of a pair; `None` when its peer is no such end, or not this member's.
    pub(super) fn mesh_command(
        &mut self,
        id: &MemberId,
        command: &mut Command,
        cx: &mut Context<'_>,
    ) -> Option<Result<(), RoomError>> {
        let key = self.mesh_peers.get(&command.peer()?)?.clone();
        let side = self.pairs.get(&key)?.side_of(id)?;
        if self.pairs.get(&key)?.end(side).peer != command.peer()? {
            return None;
        }
        self.with_pair(&key, cx, |pair| match act(pair, side, command) {
            Ok((told, result)) => (told, result),
            Err(error) => (Vec::new(), Err(error)),
        })
    }

    /// Pairs of `id` whose peer its client still has go on; the others are made anew, for they are lost to it.
    pub(super) fn drop_unknown_pairs(
        &mut self,
        id: &MemberId,
        known: impl Fn(PeerId) -> bool,
        cx: &mut Context<'_>,
    ) {
        let lost: Vec<PairKey> = self
            .ends_of(id)
            .filter(|(_, pair, side)| {
                let end = pair.end(*side);
                end.is_announced() && !known(end.peer)
            })
            .map(|(key, ..)| key.clone())
            .collect();
        for key in lost {
            self.drop_pair(&key, cx);
        }
    }

    fn ends_of(&self, id: &MemberId) -> impl Iterator<Item = (&PairKey, &Pair, Side)> {
        self.pairs
            .iter()
            .filter_map(move |(key, pair)| Some((key, pair, pair.side_of(id)?)))
    }

    /// Takes in what a client that is back wants of its own side of each track of a pair.
    pub(super) fn take_mesh_intents(
        &mut self,
        id: &MemberId,
        peer: PeerId,
        patches: &[TrackPatchCommand],
        cx: &mut Context<'_>,
    ) {
        let key = self.mesh_peers.get(&peer).cloned();
        let Some((key, side)) = key.and_then(|key| {
            let side = self.pairs.get(&key)?.side_of(id)?;
            Some((key, side))
        }) else {
            return;
        };
        self.with_pair(&key, cx, |pair| pair.handle_patches(side, patches));
    }

    /// The pairs that a client which is back knows, as they are.
    pub(super) fn mesh_states(&mut self, id: &MemberId, cx: &Context<'_>) -> Vec<PeerState> {
        let Some(spec) = self.members.get(id).map(|m| m.spec.clone()) else {
            return Vec::new();
        };
        let ice_servers = cx.ice_servers(id, &spec);
        self.pairs
            .values_mut()
            .filter_map(|pair| {
                let side = pair.side_of(id)?;
                if !pair.end(side).is_announced() {
                    return None;
                }
                let mut state = pair.state(side);
                state.force_relay = spec.force_relay;
                state.ice_servers = ice_servers.clone();
                Some(state)
            })
            .collect()
    }

    /// Goes on with the pairs of a member that is back: what it has missed, what could not begin without it.
    pub(super) fn resume_pairs(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        let keys: Vec<(PairKey, Side)> = self
            .ends_of(id)
            .map(|(key, _, side)| (key.clone(), side))
            .collect();
        for (key, side) in keys {
            self.with_pair(&key, cx, |pair| (pair.resume(side), ()));
        }
    }
}

/// What a command of the client of `side` brings about: what is told, and whether it was refused.
fn act(
    pair: &mut Pair,
    side: Side,
    command: &mut Command,
) -> Result<(Vec<Told>, Result<(), RoomError>), RoomError> {
    let told = match command {
        Command::MakeSdpOffer {
            sdp_offer, mids, ..
        } => pair.handle_offer(side, std::mem::take(sdp_offer), mids)?,
        Command::MakeSdpAnswer { sdp_answer, .. } => {
            pair.handle_answer(side, std::mem::take(sdp_answer))?
        }
        Command::SetIceCandidate { candidate, .. } => {
            pair.handle_candidate(side, candidate.clone())?
        }
        Command::UpdateTracks { tracks_patches, .. } => {
            return Ok(pair.handle_patches(side, tracks_patches));
        }
        Command::AddPeerConnectionMetrics { metrics, .. } => match connection_failed(metrics) {
            Some(failed) => pair.handle_connection(side, failed),
            None => pair.handle_report(side, metrics),
        },
        Command::JoinRoom { .. } | Command::LeaveRoom { .. } | Command::SynchronizeMe { .. } => {
            return Err(RoomError::NotForRoom);
        }
    };
    Ok((told, Ok(())))
}
