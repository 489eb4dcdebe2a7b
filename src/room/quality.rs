//! How well members are connected, from what the server itself sees, as `ConnectionQualityUpdated`.
//!
//! A member's two directions are scored once a second: what comes from it (loss, jitter) and what goes to it (loss and
//! jitter it reports), each with its round trip. Two members are as well connected as the worse of the sender's way up and
//! the receiver's way down. Clients hear of changes only. The score is a short form of the E-model (ITU-T G.107): delay
//! and loss cost points of 100.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bus::client::{ConnectionQualityScore, Event};
use crate::id::MemberId;
use crate::limits::QUALITY_CHANGES_MAX;
use crate::room::machine::Machine;
use crate::room::model::Peer;
use crate::room::{Context, Room};
use crate::time::Time;

/// Subscriptions looked at per member: they share one way.
const SUBSCRIPTIONS_LOOKED_AT: usize = 16;
/// Packets in a measurement, at least: a single loss among few says nothing.
const PACKETS_MIN: u64 = 20;

/// What is known of a member's two directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quality {
    up: Option<ConnectionQualityScore>,
    down: Option<ConnectionQualityScore>,
    counted: Counted,
}

/// Packets received and lost when a direction was measured last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    packets: u64,
    lost: u64,
}

impl Counted {
    /// Loss since the last measurement. `None`: too few packets to say, or fewer than before, because the streams are
    /// other ones.
    pub(super) fn loss_percent(&mut self, packets: u64, lost: u64) -> Option<f64> {
        let received = packets.checked_sub(self.packets);
        if received.is_some_and(|n| n < PACKETS_MIN) {
            return None;
        }
        let gone = lost.saturating_sub(self.lost);
        *self = Self { packets, lost };
        let all = received?.saturating_add(gone).max(1);
        Some(100.0 * gone as f64 / all as f64)
    }
}

/// When, and how far away the member is.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now: Time,
    rtt: Option<Duration>,
}

/// Points for a direction: 100 is perfect.
fn points(rtt: Duration, jitter: Duration, loss_percent: f64) -> f64 {
    // One way, and what a jitter buffer adds to it.
    let delay_ms = (rtt / 2 + jitter * 2).as_secs_f64() * 1_000.0;
    let for_delay = if delay_ms < 160.0 {
        delay_ms / 40.0
    } else {
        (delay_ms - 120.0) / 10.0
    };
    100.0 - for_delay - 2.5 * loss_percent
}

/// The same in the protocol's words.
pub(super) fn score(rtt: Duration, jitter: Duration, loss_percent: f64) -> ConnectionQualityScore {
    match points(rtt, jitter, loss_percent) {
        p if p >= 90.0 => ConnectionQualityScore::High,
        p if p >= 75.0 => ConnectionQualityScore::Medium,
        p if p >= 55.0 => ConnectionQualityScore::Low,
        _ => ConnectionQualityScore::Poor,
    }
}

impl Quality {
    /// What it sends and what it receives, 1 to 4.
    pub fn scores(&self) -> (Option<u8>, Option<u8>) {
        let number = |score: ConnectionQualityScore| score as u8 + 1;
        (self.up.map(number), self.down.map(number))
    }

    /// What goes from the member of `self` to the member of `to`.
    fn towards(&self, to: &Quality) -> Option<ConnectionQualityScore> {
        Some(self.up?.min(to.down?))
    }

    fn measure(&mut self, peer: &Peer, machine: &Machine, now: Time) {
        let moment = Moment {
            now,
            rtt: machine.round_trip(peer.transport),
        };
        if let Some(up) = self.measure_up(peer, machine, moment) {
            self.up = Some(up);
        }
        if let Some(down) = measure_down(peer, machine, moment) {
            self.down = Some(down);
        }
    }

    fn measure_up(
        &mut self,
        peer: &Peer,
        machine: &Machine,
        moment: Moment,
    ) -> Option<ConnectionQualityScore> {
        let ups = peer.sends.values().filter_map(|send| send.up);
        let stats = ups.filter_map(|up| machine.up_stats(up, moment.now));
        let (mut packets, mut lost, mut jitter) = (0, 0, Duration::ZERO);
        for track in stats {
            packets += track.packets;
            // What came again was not lost to anybody.
            lost += track.lost.saturating_sub(track.recovered);
            jitter = jitter.max(track.jitter);
        }
        let loss = self.counted.loss_percent(packets, lost)?;
        Some(score(moment.rtt?, jitter, loss))
    }
}

fn measure_down(peer: &Peer, machine: &Machine, moment: Moment) -> Option<ConnectionQualityScore> {
    let downs = peer.recvs.values().filter_map(|recv| recv.down);
    let stats: Vec<_> = downs
        .filter_map(|down| machine.reported(down, moment.now))
        .take(SUBSCRIPTIONS_LOOKED_AT)
        .collect();
    let jitter = stats.iter().map(|s| s.jitter).max()?;
    let lost: u32 = stats.iter().map(|s| u32::from(s.fraction_lost)).sum();
    let loss = 100.0 * f64::from(lost) / 256.0 / stats.len() as f64;
    Some(score(moment.rtt?, jitter, loss))
}

impl Room {
    /// Scores everybody anew, and tells who is affected by a change: of a few members at a time, the others' is noticed
    /// next time.
    pub fn measure(&mut self, cx: &mut Context<'_>) {
        let mut changed: BTreeMap<MemberId, Quality> = BTreeMap::new();
        for (id, member) in &mut self.members {
            let before = member.quality;
            match &member.peer {
                Some(peer) => member.quality.measure(peer, cx.machine, cx.now),
                None => member.quality = Quality::default(),
            }
            if (before.up, before.down) == (member.quality.up, member.quality.down) {
                continue;
            }
            if changed.len() < QUALITY_CHANGES_MAX {
                changed.insert(id.clone(), before);
            } else {
                member.quality = before;
            }
        }
        for id in changed.keys() {
            self.tell_quality(id, &changed, cx);
        }
    }

    /// Tells both sides of every pair that `id` is in. A pair of two changed members is told once.
    fn tell_quality(
        &self,
        id: &MemberId,
        changed: &BTreeMap<MemberId, Quality>,
        cx: &mut Context<'_>,
    ) {
        let Some(own) = self.members.get(id) else {
            return;
        };
        let own_before = changed.get(id).copied().unwrap_or(own.quality);
        for (other_id, other) in self.members.iter().filter(|(other, _)| *other != id) {
            let other_before = changed.get(other_id).copied();
            if other_before.is_some() && other_id < id {
                continue;
            }
            let other_before = other_before.unwrap_or(other.quality);
            let to_own = (
                other_before.towards(&own_before),
                other.quality.towards(&own.quality),
            );
            let to_other = (
                own_before.towards(&other_before),
                own.quality.towards(&other.quality),
            );
            for (receiver, partner, (before, now)) in
                [(own, other_id, to_own), (other, id, to_other)]
            {
                let (Some(score), Some(session)) = (now, receiver.listener()) else {
                    continue;
                };
                if before != now {
                    let event = Event::ConnectionQualityUpdated {
                        partner_member_id: partner.clone(),
                        quality_score: score,
                    };
                    cx.send(session, &self.id, event);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConnectionQualityScore::{High, Low, Medium, Poor};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn delay_jitter_and_loss_cost() {
        let cases = [
            ("a wire", ms(20), ms(2), 0.0, High),
            ("across an ocean", ms(150), ms(5), 0.5, High),
            ("a lossy network", ms(60), ms(10), 5.0, Medium),
            ("a satellite", ms(600), ms(10), 0.0, Medium),
            ("a bad mobile line", ms(200), ms(60), 10.0, Low),
            ("hardly a line", ms(800), ms(100), 20.0, Poor),
        ];
        for (what, rtt, jitter, loss, want) in cases {
            assert_eq!(
                score(rtt, jitter, loss),
                want,
                "{what}: {}",
                points(rtt, jitter, loss)
            );
        }
    }

    #[test]
    fn two_members_are_as_well_connected_as_the_worse_way() {
        let of = |up, down| Quality {
            up: Some(up),
            down: Some(down),
            counted: Counted::default(),
        };
        assert_eq!(of(High, Poor).towards(&of(Poor, Medium)), Some(Medium));
        assert_eq!(of(Low, High).towards(&of(High, High)), Some(Low));
        assert_eq!(of(Low, High).towards(&Quality::default()), None);
    }
}
