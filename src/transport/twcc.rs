//! Transport-wide congestion control feedback, both ways: what arrived from a peer, and what the peer says arrived.
//!
//! No bandwidth is estimated here: the receiving side lets the browser estimate its own, the sending side yields
//! loss, delay and round-trip time ([`super::congestion`] reads them). Invariants: sequence numbers are extended once, arrivals stay sorted and bounded by
//! [`TWCC_ARRIVALS_MAX`]. draft-holmer-rmcat-transport-wide-cc-extensions-01.

use std::time::Duration;

use crate::limits::{TWCC_ARRIVALS_MAX, TWCC_INTERVAL_MS, TWCC_SENT_MAX};
use crate::time::Time;
use crate::wire::rtcp::{Arrival, TransportFeedback, write_transport_feedback};

/// Unit of reference times, µs.
const REFERENCE_US: i64 = 64_000;
/// Unit of arrival deltas, µs.
const DELTA_US: i64 = 250;
const INTERVAL: Duration = Duration::from_millis(TWCC_INTERVAL_MS);

/// Extends a 16-bit number to the one closest to `highest`. `None` when that lies before 0.
fn extend(highest: u64, sequence: u16) -> Option<u64> {
    let ahead = sequence.wrapping_sub(highest as u16) as i16;
    highest.checked_add_signed(i64::from(ahead))
}

/// Arrivals of one peer, waiting to be told.
#[derive(Debug, Default)]
pub struct TwccReceiver {
    /// Sorted by sequence number.
    arrivals: Vec<Arrival>,
    highest: Option<u64>,
    /// First sequence number the next feedback speaks of.
    base: u64,
    feedback_count: u8,
    media_ssrc: u32,
    due: Option<Time>,
}

impl TwccReceiver {
    /// Notes the arrival of transport-wide sequence number `sequence`, in a packet of `media_ssrc`.
    /// A packet older than the last feedback is not told any more: that feedback called it lost.
    pub fn record(&mut self, at: Time, sequence: u16, media_ssrc: u32) {
        let extended = match self.highest {
            // One turn up, so that a packet reordered before the first one has a number too.
            None => {
                self.base = 0x1_0000 + u64::from(sequence);
                self.base
            }
            Some(highest) => match extend(highest, sequence) {
                Some(extended) => extended,
                None => return,
            },
        };
        if extended < self.base || self.arrivals.len() >= TWCC_ARRIVALS_MAX {
            return;
        }
        if self.arrivals.capacity() == 0 {
            self.arrivals.reserve_exact(TWCC_ARRIVALS_MAX);
        }
        let arrival = Arrival {
            sequence: extended,
            at,
        };
        let behind = |a: &Arrival| a.sequence < extended;
        match self.arrivals.last() {
            Some(last) if last.sequence >= extended => {
                let place = self.arrivals.partition_point(behind);
                if self
                    .arrivals
                    .get(place)
                    .is_some_and(|a| a.sequence == extended)
                {
                    return;
                }
                self.arrivals.insert(place, arrival);
            }
            _ => self.arrivals.push(arrival),
        }
        self.highest = self.highest.max(Some(extended));
        self.media_ssrc = media_ssrc;
        let full = self.arrivals.len() >= TWCC_ARRIVALS_MAX;
        self.due = match self.due {
            _ if full => Some(at),
            None => Some(at + INTERVAL),
            due => due,
        };
    }

    /// When feedback is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// Writes one feedback packet if it is due. `None` when it is not, or `out` has no room for any.
    /// When arrivals remain, the next one is due at once: call again.
    pub fn write_feedback(&mut self, now: Time, sender_ssrc: u32, out: &mut [u8]) -> Option<usize> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        let ssrcs = (sender_ssrc, self.media_ssrc);
        let count = self.feedback_count;
        let mut written = write_transport_feedback(out, ssrcs, count, self.base, &self.arrivals);
        if written.is_none()
            && let Some(first) = self.arrivals.first()
        {
            // A gap too wide to be told: begin after it.
            self.base = first.sequence;
            written = write_transport_feedback(out, ssrcs, count, self.base, &self.arrivals);
        }
        let Some(written) = written else {
            self.arrivals.clear();
            self.due = None;
            return None;
        };
        self.feedback_count = count.wrapping_add(1);
        if let Some(last) = self.arrivals.get(written.consumed.wrapping_sub(1)) {
            self.base = last.sequence + 1;
        }
        self.arrivals.drain(..written.consumed);
        if self.arrivals.is_empty() {
            self.due = None;
        }
        Some(written.len)
    }
}

/// What one feedback packet says about our sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TwccReport {
    /// Packets told as received for the first time.
    pub received: u32,
    /// Packets told as lost, of those no feedback spoke of before.
    pub lost: u32,
    /// Time from sending the last received packet to this feedback: round trip plus up to one feedback interval.
    pub round_trip: Option<Duration>,
    /// Least time under way of the packets told as received, µs from our clock to the peer's: only differences mean
    /// something.
    pub delay_us: Option<i64>,
}

/// The peer's reference time without its wraps, units of 64 ms.
#[derive(Debug, Default)]
struct Reference {
    last: Option<i64>,
}

impl Reference {
    /// Extends a 24-bit number to the one closest to the last.
    fn extend(&mut self, told: i32) -> i64 {
        let told = i64::from(told);
        let extended = match self.last {
            None => told,
            Some(last) => {
                // 24 bits, signed.
                let ahead = (told.wrapping_sub(last) << 40) >> 40;
                last.saturating_add(ahead)
            }
        };
        self.last = Some(extended);
        extended
    }
}

/// Sequence numbers and send times of what goes to one peer.
#[derive(Debug, Default)]
pub struct TwccSender {
    /// Extended number of the next packet.
    next: u64,
    /// Send times of the last [`TWCC_SENT_MAX`] packets, by number modulo that: µs, of which 32 bits tell the last hour apart.
    sent: Vec<u32>,
    /// Numbers below this one were told about already.
    told: u64,
    reference: Reference,
}

impl TwccSender {
    /// The transport-wide sequence number of the next packet. It is used up by [`sent`](Self::sent) only: a number that
    /// names no packet would be told as lost.
    #[inline]
    pub fn next_sequence(&self) -> u16 {
        self.next as u16
    }

    /// The packet with [`next_sequence`](Self::next_sequence) is sent at `now`.
    #[inline]
    pub fn sent(&mut self, now: Time) {
        if self.sent.is_empty() {
            self.sent.resize(TWCC_SENT_MAX, 0);
        }
        let at = (self.next % TWCC_SENT_MAX as u64) as usize;
        if let Some(slot) = self.sent.get_mut(at) {
            *slot = now.as_micros() as u32;
        }
        self.next += 1;
    }

    /// Takes in feedback. Statuses of packets never sent, or sent too long ago, do not count.
    pub fn handle_feedback(&mut self, now: Time, feedback: &TransportFeedback<'_>) -> TwccReport {
        let mut report = TwccReport::default();
        let Some(last) = self.next.checked_sub(1) else {
            return report;
        };
        let oldest = self.next.saturating_sub(TWCC_SENT_MAX as u64);
        let Some(base) = extend(last, feedback.base_sequence) else {
            return report;
        };
        let reference = self.reference.extend(feedback.reference_time);
        let mut arrival_us = reference.saturating_mul(REFERENCE_US);
        for (status, sequence) in feedback.statuses().zip(base..) {
            if sequence >= self.next {
                break;
            }
            let delta = i64::from(status.delta_ticks.unwrap_or(0)) * DELTA_US;
            arrival_us = arrival_us.saturating_add(delta);
            if sequence < oldest {
                continue;
            }
            let at = (sequence % TWCC_SENT_MAX as u64) as usize;
            if let Some(sent) = self.sent.get(at).filter(|_| status.delta_ticks.is_some()) {
                let ago = (now.as_micros() as u32).wrapping_sub(*sent);
                report.round_trip = Some(Duration::from_micros(u64::from(ago)));
                let sent_us = now.as_micros().saturating_sub(u64::from(ago));
                let delay = arrival_us.saturating_sub(sent_us as i64);
                let least = report.delay_us.map_or(delay, |least| least.min(delay));
                report.delay_us = Some(least);
            }
            if sequence >= self.told {
                match status.delta_ticks {
                    Some(_) => report.received += 1,
                    None => report.lost += 1,
                }
                self.told = sequence + 1;
            }
        }
        report
    }
}

/// Round-trip time from a report block (RFC 3550 section 6.4.1): `now_ntp` is our 64-bit NTP time, `last_sr` and
/// `delay` are the block's. `None` without a sender report of ours, or when it makes no sense.
pub fn round_trip_of_report(now_ntp: u64, last_sr: u32, delay: u32) -> Option<Duration> {
    if last_sr == 0 {
        return None;
    }
    let now = (now_ntp >> 16) as u32;
    let units = now.wrapping_sub(last_sr).wrapping_sub(delay);
    // A clock step or a forged block: negative, or over a minute.
    (units < 60 << 16).then(|| Duration::from_micros(u64::from(units) * 1_000_000 / 65_536))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::rtcp::{Compound, Packet};

    fn parse<T>(bytes: &[u8], read: impl FnOnce(&TransportFeedback<'_>) -> T) -> T {
        let compound = Compound::parse(bytes).unwrap();
        let Some(Ok(Packet::TransportFeedback(feedback))) = compound.packets().next() else {
            panic!("no feedback in {bytes:02x?}");
        };
        read(&feedback)
    }

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn delays_are_differences_of_two_clocks_and_survive_a_wrap_of_the_peers() {
        let mut sender = TwccSender::default();
        // The peer's clock is about to wrap its 24 bits of 64 ms.
        let zero_us = ((1_i64 << 23) - 2) * 64_000;
        let mut delays = Vec::new();
        for (n, delay_us) in [20_000, 20_000, 70_000, 20_000].into_iter().enumerate() {
            let sent = ms(1_000 + 200 * n as u64);
            let sequence = sender.next_sequence();
            sender.sent(sent);
            let arrived = zero_us + sent.as_micros() as i64 - 1_000_000 + delay_us;
            let mut out = [0; 100];
            let arrival = Arrival {
                sequence: u64::from(sequence),
                at: Time::from_micros(arrived as u64),
            };
            let base = u64::from(sequence);
            let len = write_transport_feedback(&mut out, (1, 2), n as u8, base, &[arrival]);
            let len = len.unwrap().len;
            let report = parse(&out[..len], |f| sender.handle_feedback(sent, f));
            delays.push(report.delay_us.unwrap());
        }
        let above: Vec<i64> = delays.iter().map(|d| (d - delays[0]) / 1000).collect();
        assert_eq!(above, [0, 0, 50, 0], "{delays:?}");
    }

    #[test]
    fn a_number_is_used_up_by_a_packet_that_leaves_only() {
        let mut sender = TwccSender::default();
        assert_eq!((sender.next_sequence(), sender.next_sequence()), (0, 0));
        sender.sent(ms(1));
        assert_eq!(sender.next_sequence(), 1);
    }

    #[test]
    fn a_reference_time_that_jumps_for_ever_overflows_nothing() {
        let mut reference = Reference {
            last: Some(i64::MAX - 1),
        };
        let mut told = 0_i32;
        for _ in 0..100 {
            // Each time as far ahead as can be told.
            told = (told + 0x7f_ffff) & 0xff_ffff;
            assert!(reference.extend(told) > i64::MAX - (1 << 24));
        }
        reference.last = Some(i64::MIN);
        assert!(reference.extend(told) < i64::MIN + (1 << 24));
    }

    /// Every due packet, told as (sequence, received).
    fn tell(receiver: &mut TwccReceiver, now: Time) -> Vec<(u16, bool)> {
        let mut told = Vec::new();
        let mut out = [0; 1200];
        while let Some(len) = receiver.write_feedback(now, 1, &mut out) {
            told.extend(parse(&out[..len], |feedback| {
                let statuses = feedback.statuses();
                statuses
                    .map(|s| (s.sequence, s.delta_ticks.is_some()))
                    .collect::<Vec<_>>()
            }));
        }
        told
    }

    proptest! {
        #[test]
        fn every_arrival_is_told_once_and_every_gap_as_lost(
            start: u16,
            order in proptest::collection::vec((0u16..400, 0u64..2000), 1..400),
        ) {
            let mut receiver = TwccReceiver::default();
            let mut at = 50_000;
            let first = order[0].0;
            let mut arrived = BTreeSet::new();
            for (sequence, gap_us) in &order {
                at += gap_us;
                receiver.record(Time::from_micros(at), start.wrapping_add(*sequence), 9);
                // Before the first packet there is nothing to tell.
                if *sequence >= first {
                    arrived.insert(*sequence);
                }
            }
            let told = tell(&mut receiver, ms(100_000));
            let last = *arrived.last().unwrap();
            let want: Vec<_> = (first..=last)
                .map(|s| (start.wrapping_add(s), arrived.contains(&s)))
                .collect();
            prop_assert_eq!(told, want);
            prop_assert_eq!(receiver.poll_timeout(), None);
        }

        #[test]
        fn any_arrivals_stay_bounded_and_are_told(
            sequences in proptest::collection::vec(any::<u16>(), 1..1500),
        ) {
            let mut receiver = TwccReceiver::default();
            for (at, sequence) in sequences.iter().enumerate() {
                let now = Time::from_micros(70_000 + at as u64 * 100);
                receiver.record(now, *sequence, 9);
                prop_assert!(receiver.arrivals.len() <= TWCC_ARRIVALS_MAX);
            }
            let due = receiver.poll_timeout().unwrap();
            prop_assert!(due <= Time::from_micros(70_000 + 150_000) + INTERVAL);
            let received = tell(&mut receiver, ms(100_000)).iter().filter(|s| s.1).count();
            prop_assert!(received > 0);
            prop_assert!(receiver.arrivals.is_empty());
        }
    }

    #[test]
    fn a_full_list_is_due_at_once() {
        let mut receiver = TwccReceiver::default();
        for sequence in 0..TWCC_ARRIVALS_MAX as u16 {
            receiver.record(ms(5), sequence, 9);
        }
        assert_eq!(receiver.poll_timeout(), Some(ms(5)));
        assert_eq!(tell(&mut receiver, ms(5)).len(), TWCC_ARRIVALS_MAX);
    }

    #[test]
    fn late_packets_are_not_told_twice() {
        let mut receiver = TwccReceiver::default();
        receiver.record(ms(1), 10, 9);
        receiver.record(ms(2), 12, 9);
        assert_eq!(tell(&mut receiver, ms(200)).len(), 3);
        receiver.record(ms(201), 11, 9);
        assert_eq!(receiver.poll_timeout(), None);
        receiver.record(ms(202), 13, 9);
        assert_eq!(tell(&mut receiver, ms(400)), [(13, true)]);
    }

    #[test]
    fn the_sender_learns_loss_and_round_trip() {
        let mut sender = TwccSender::default();
        let mut receiver = TwccReceiver::default();
        for n in 0..100u64 {
            let sequence = sender.next_sequence();
            sender.sent(ms(1000 + n));
            assert_eq!(sequence, n as u16);
            if n % 10 != 3 {
                receiver.record(ms(1030 + n), sequence, 9);
            }
        }
        let mut out = [0; 1200];
        let len = receiver.write_feedback(ms(1130), 1, &mut out).unwrap();
        let report = parse(&out[..len], |f| sender.handle_feedback(ms(1160), f));
        assert_eq!((report.received, report.lost), (90, 10));
        assert_eq!(report.round_trip, Some(Duration::from_millis(1160 - 1099)));
        // The same feedback again, or one about packets never sent, counts nothing.
        let again = parse(&out[..len], |f| sender.handle_feedback(ms(1161), f));
        assert_eq!((again.received, again.lost), (0, 0));
        let nothing = parse(&out[..len], |f| {
            TwccSender::default().handle_feedback(ms(1161), f)
        });
        assert_eq!(nothing, TwccReport::default());
    }

    #[test]
    fn round_trip_of_a_report_block() {
        let second = 1u64 << 32;
        let now = 1000 * second + second / 2;
        let last_sr = (1000u64 << 16) as u32;
        let delay = 65_536 / 4;
        let want = Some(Duration::from_millis(250));
        assert_eq!(round_trip_of_report(now, last_sr, delay), want);
        assert_eq!(round_trip_of_report(now, 0, delay), None);
        assert_eq!(
            round_trip_of_report(now, last_sr, 1 << 20),
            None,
            "negative"
        );
    }
}
