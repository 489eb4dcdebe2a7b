//! Transport-wide congestion control feedback, both ways: what arrived from a peer, and what the peer says arrived.
//!
//! No bandwidth is estimated here yet: the receiving side lets the browser estimate its own, the sending side yields
//! loss and round-trip time. Invariants: sequence numbers are extended once, arrivals stay sorted and bounded by
//! [`TWCC_ARRIVALS_MAX`]. draft-holmer-rmcat-transport-wide-cc-extensions-01.

use std::time::Duration;

use crate::limits::{TWCC_ARRIVALS_MAX, TWCC_INTERVAL_MS, TWCC_SENT_MAX};
use crate::time::Time;
use crate::wire::rtcp::{Arrival, TransportFeedback, write_transport_feedback};

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
}

/// Sequence numbers and send times of what goes to one peer.
#[derive(Debug, Default)]
pub struct TwccSender {
    /// Extended number of the next packet.
    next: u64,
    /// Send times of the last [`TWCC_SENT_MAX`] packets, by number modulo that.
    sent: Vec<Time>,
    /// Numbers below this one were told about already.
    told: u64,
}

impl TwccSender {
    /// The transport-wide sequence number for a packet sent at `now`.
    pub fn next_sequence(&mut self, now: Time) -> u16 {
        if self.sent.is_empty() {
            self.sent.resize(TWCC_SENT_MAX, Time::ZERO);
        }
        let at = (self.next % TWCC_SENT_MAX as u64) as usize;
        if let Some(slot) = self.sent.get_mut(at) {
            *slot = now;
        }
        let sequence = self.next as u16;
        self.next += 1;
        sequence
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
        for (status, sequence) in feedback.statuses().zip(base..) {
            if sequence >= self.next {
                break;
            }
            if sequence < oldest {
                continue;
            }
            if status.delta_ticks.is_some() {
                let at = (sequence % TWCC_SENT_MAX as u64) as usize;
                report.round_trip = self.sent.get(at).map(|sent| now.since(*sent));
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
