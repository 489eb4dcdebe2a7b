//! When media of an endpoint starts and stops, from the packets the server sees: told for endpoints whose spec asks for it.
//!
//! Looked at once a second. In a mesh room the server sees no packets, and tells nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bus::control::{MediaChange, MediaNotice};
use crate::bus::shard::ShardEvent;
use crate::bus::spec::{PlaySource, PlaySpec};
use crate::id::{EndpointId, MemberId};
use crate::room::machine::Machine;
use crate::room::model::{Member, Peer, RecvTrack};
use crate::room::{Context, Room};
use crate::time::Time;

/// Without a packet for this long, media has stopped.
const SILENCE: Duration = Duration::from_secs(3);

/// Audio or video of an endpoint.
type Key = (MemberId, EndpointId, bool);

/// What is remembered of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    packets: u64,
    /// When there was last one more.
    moved: Time,
    flowing: bool,
}

/// What there is now.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    packets: u64,
    tracks: u32,
    /// Tracks that are neither muted nor disabled.
    open: u32,
}

impl Room {
    /// Tells what has started and stopped since the last look.
    pub fn watch_media(&mut self, cx: &mut Context<'_>) {
        if self.watched.is_empty() && !self.asks_for_media() {
            return;
        }
        let seen = self.look(cx.machine, cx.now);
        let gone: Vec<Key> = self
            .watched
            .keys()
            .filter(|key| seen.get(key).is_none_or(|s| s.tracks == 0))
            .cloned()
            .collect();
        for key in gone {
            self.unwatch(&key, cx);
        }
        for (key, now) in seen {
            if now.tracks > 0 {
                self.compare(key, now, cx);
            }
        }
    }

    fn asks_for_media(&self) -> bool {
        self.members.values().any(|member| {
            let plays = match &member.spec.play {
                PlaySpec::Everyone => false,
                PlaySpec::Only(list) => list.values().any(|p| p.tells),
            };
            plays || member.spec.publish.values().any(|p| p.tells)
        })
    }

    fn compare(&mut self, key: Key, now: Seen, cx: &mut Context<'_>) {
        let watched = self.watched.entry(key.clone()).or_insert(Watched {
            packets: now.packets,
            moved: cx.now,
            flowing: false,
        });
        let moved = now.packets > watched.packets;
        if moved {
            watched.moved = cx.now;
        }
        // Fewer than before: its tracks are other ones.
        watched.packets = now.packets;
        let silent = cx.now.since(watched.moved) >= SILENCE;
        let change = match (watched.flowing, now.open > 0) {
            (false, true) if moved => MediaChange::Started,
            (true, false) => MediaChange::Muted,
            (true, true) if silent => MediaChange::NoMedia,
            _ => return,
        };
        watched.flowing = change == MediaChange::Started;
        tell(self.id.clone(), key, change, cx);
    }

    /// Forgets a member's endpoints; those whose media flowed are told.
    pub(super) fn unwatch_member(&mut self, id: &MemberId, cx: &mut Context<'_>) {
        let keys: Vec<Key> = self
            .watched
            .keys()
            .filter(|(member, ..)| member == id)
            .cloned()
            .collect();
        for key in keys {
            self.unwatch(&key, cx);
        }
    }

    fn unwatch(&mut self, key: &Key, cx: &mut Context<'_>) {
        if self.watched.remove(key).is_some_and(|w| w.flowing) {
            tell(self.id.clone(), key.clone(), MediaChange::Removed, cx);
        }
    }

    fn look(&self, machine: &Machine, now: Time) -> BTreeMap<Key, Seen> {
        let mut out = BTreeMap::new();
        for (id, member) in &self.members {
            if let Some(peer) = &member.peer {
                look_at_sent(id, member, peer, (machine, now), &mut out);
                self.look_at_played(id, member, peer, (machine, now), &mut out);
            }
        }
        out
    }

    fn look_at_played(
        &self,
        id: &MemberId,
        member: &Member,
        peer: &Peer,
        (machine, now): (&Machine, Time),
        out: &mut BTreeMap<Key, Seen>,
    ) {
        let PlaySpec::Only(list) = &member.spec.play else {
            return;
        };
        for (endpoint, play) in list.iter().filter(|(_, play)| play.tells) {
            for recv in peer.recvs.values() {
                if !self.comes_from(recv, &play.source) {
                    continue;
                }
                let key = (id.clone(), endpoint.clone(), recv.source.video);
                let seen: &mut Seen = out.entry(key).or_default();
                let packets = recv.down.and_then(|down| machine.down_stats(down, now));
                seen.packets += packets.map_or(0, |stats| stats.packets);
                seen.tracks += 1;
                let open = recv.enabled && recv.publisher_enabled && !recv.muted;
                seen.open += u32::from(open);
            }
        }
    }

    /// Whether the track is what a play endpoint plays.
    fn comes_from(&self, recv: &RecvTrack, source: &PlaySource) -> bool {
        match source {
            PlaySource::Endpoint(member, endpoint) => {
                (&recv.publisher, &recv.source.endpoint) == (member, endpoint)
            }
            PlaySource::Hub(hub) => {
                let publisher = self.members.get(&recv.publisher);
                let endpoint = publisher.and_then(|p| p.spec.publish.get(&recv.source.endpoint));
                endpoint.and_then(|e| e.hub.as_ref()) == Some(hub)
            }
        }
    }
}

fn look_at_sent(
    id: &MemberId,
    member: &Member,
    peer: &Peer,
    (machine, now): (&Machine, Time),
    out: &mut BTreeMap<Key, Seen>,
) {
    for send in peer.sends.values() {
        let spec = member.spec.publish.get(&send.source.endpoint);
        if !spec.is_some_and(|spec| spec.tells) {
            continue;
        }
        let key = (id.clone(), send.source.endpoint.clone(), send.source.video);
        let seen: &mut Seen = out.entry(key).or_default();
        let stats = send.up.and_then(|up| machine.up_stats(up, now));
        seen.packets += stats.map_or(0, |s| s.packets);
        seen.tracks += 1;
        seen.open += u32::from(send.enabled && !send.muted);
    }
}

fn tell(
    room: crate::id::RoomId,
    (member, endpoint, video): Key,
    change: MediaChange,
    cx: &mut Context<'_>,
) {
    cx.events.push_back(ShardEvent::Media(MediaNotice {
        room,
        member,
        endpoint,
        video,
        change,
    }));
}
