//! What the description of a room says in two places must agree: publishers and receivers, truth and what was told.
//!
//! The room keeps both in step by touching only what a command changed; this looks at everything.

use std::collections::BTreeSet;

use colchis::id::MemberId;
use colchis::room::Room;
use colchis::room::model::{Member, Peer, RecvTrack, SendTrack};
use colchis::shard::Shard;

/// Checks every room.
///
/// # Panics
/// When two places disagree.
pub fn check(shard: &Shard) {
    for (_, room) in shard.rooms() {
        for (id, member) in room.members() {
            let Some(peer) = &member.peer else { continue };
            for send in peer.sends.values() {
                check_send(room, id, send);
            }
            for recv in peer.recvs.values() {
                check_recv(room, id, recv);
            }
            if member.listener().is_some() && peer.announced {
                check_told(id, peer);
            }
        }
    }
}

fn sent_by<'a>(member: &'a Member, like: &RecvTrack) -> Option<&'a SendTrack> {
    let mut sends = member.peer.as_ref()?.sends.values();
    sends.find(|send| send.source == like.source)
}

fn check_recv(room: &Room, id: &MemberId, recv: &RecvTrack) {
    let publisher = room.members().find(|(other, _)| **other == recv.publisher);
    let send = publisher.and_then(|(_, member)| sent_by(member, recv));
    let send = send.unwrap_or_else(|| panic!("{id} receives {recv:?}, which nobody sends"));
    assert_eq!(
        (recv.publisher_enabled, recv.muted, recv.required),
        (send.enabled, send.muted, send.required),
        "{id} sees {:?} of {} otherwise than it is",
        recv.source,
        recv.publisher
    );
    assert!(
        send.receivers.contains(id),
        "{} does not know that {id} receives",
        recv.publisher
    );
}

fn check_send(room: &Room, id: &MemberId, send: &SendTrack) {
    let receiving = |member: &Member| {
        let mut recvs = member.peer.iter().flat_map(|peer| peer.recvs.values());
        recvs
            .find(|recv| recv.publisher == *id && recv.source == send.source)
            .map(|recv| recv.enabled)
    };
    let receivers: Vec<(&MemberId, bool)> = room
        .members()
        .filter_map(|(other, member)| Some((other, receiving(member)?)))
        .collect();
    let names: BTreeSet<&MemberId> = receivers.iter().map(|(other, _)| *other).collect();
    assert_eq!(
        send.receivers.iter().collect::<BTreeSet<_>>(),
        names,
        "receivers of {id}"
    );
    let wanted = receivers.is_empty() || receivers.iter().any(|(_, enabled)| *enabled);
    assert_eq!(send.wanted, wanted, "{id}: {:?} is wanted", send.source);
}

/// A client that listens knows the truth of every track it has been told of.
fn check_told(id: &MemberId, peer: &Peer) {
    for (track, send) in &peer.sends {
        let told = send.told.as_ref();
        assert!(
            told.is_none_or(|told| *told == send.truth()),
            "{id}: {track} {send:?}"
        );
    }
    for (track, recv) in &peer.recvs {
        let told = recv.told.as_ref();
        assert!(
            told.is_none_or(|told| *told == recv.truth()),
            "{id}: {track} {recv:?}"
        );
    }
}
