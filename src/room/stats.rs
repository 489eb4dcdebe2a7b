//! How a room does, for whoever asks the Control API.

use std::time::Duration;

use crate::bus::client::MediaSourceKind;
use crate::bus::control::{MemberStats, RoomStats, TrackStats};
use crate::id::MemberId;
use crate::room::model::{Member, Peer, Source};
use crate::room::{Context, Room};

impl Room {
    /// Figures of this moment.
    pub fn stats(&self, cx: &Context<'_>) -> RoomStats {
        RoomStats {
            shard: Some(cx.shard),
            mesh: self.runs_mesh() && !self.runs_sfu(),
            cost: cx.machine.cost(&self.id),
            members: self
                .members
                .iter()
                .map(|(id, member)| (id.clone(), member_stats(id, member, cx)))
                .collect(),
        }
    }
}

fn member_stats(id: &MemberId, member: &Member, cx: &Context<'_>) -> MemberStats {
    let peer = member.peer.as_ref();
    let rtt = peer.and_then(|p| cx.machine.round_trip(p.transport));
    let (quality_up, quality_down) = member.quality.scores();
    MemberStats {
        present: member.session.is_some(),
        connected: peer.map(|p| cx.machine.is_connected(p.transport)),
        round_trip_ms: rtt.map(ms),
        quality_up,
        quality_down,
        line: peer.and_then(|p| cx.machine.line(p.transport, cx.now)),
        sends: peer.map(|p| sends(id, p, cx)).unwrap_or_default(),
        receives: peer.map(|p| receives(p, cx)).unwrap_or_default(),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Without figures yet.
fn track(publisher: &MemberId, source: &Source, enabled: bool, muted: bool) -> TrackStats {
    TrackStats {
        publisher: publisher.clone(),
        endpoint: source.endpoint.clone(),
        video: source.video,
        display: source.source_kind == MediaSourceKind::Display,
        enabled,
        muted,
        bits_per_s: 0,
        packets: 0,
        lost: 0,
        jitter_ms: 0.0,
        size: None,
        encodings: Vec::new(),
    }
}

fn sends(id: &MemberId, peer: &Peer, cx: &Context<'_>) -> Vec<TrackStats> {
    let tracks = peer.sends.values().filter_map(|send| {
        let up = send.up?;
        let stats = cx.machine.up_stats(up, cx.now)?;
        Some(TrackStats {
            bits_per_s: stats.rates.bits_per_s,
            packets: stats.packets,
            lost: stats.lost.saturating_sub(stats.recovered),
            jitter_ms: ms(stats.jitter),
            size: stats.size,
            encodings: cx.machine.encoding_stats(up, cx.now),
            ..track(id, &send.source, send.enabled, send.muted)
        })
    });
    tracks.collect()
}

fn receives(peer: &Peer, cx: &Context<'_>) -> Vec<TrackStats> {
    let tracks = peer.recvs.values().filter_map(|recv| {
        let down = recv.down?;
        let stats = cx.machine.down_stats(down, cx.now)?;
        let flows = recv.enabled && recv.publisher_enabled;
        Some(TrackStats {
            bits_per_s: stats.rates.bits_per_s,
            packets: stats.packets,
            lost: u64::try_from(stats.lost).unwrap_or(0),
            jitter_ms: ms(stats.jitter),
            size: cx.machine.received_size(down, cx.now),
            ..track(&recv.publisher, &recv.source, flows, recv.muted)
        })
    });
    tracks.collect()
}
