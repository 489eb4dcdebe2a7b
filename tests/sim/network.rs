//! The simulated network: one link per client, each with its own delay, jitter, loss and doubling, all from the seed.

use std::time::Duration;

use rand_core::RngCore;

/// One direction of a client's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Shortest time under way, µs.
    pub delay_us: u64,
    /// Added at random, µs; packets overtake each other within it.
    pub jitter_us: u64,
    /// Lost of 1000.
    pub loss_permille: u32,
    /// Doubled of 1000.
    pub double_permille: u32,
}

impl Link {
    /// Loses, reorders and doubles nothing.
    pub fn clean(delay_us: u64) -> Link {
        Link {
            delay_us,
            jitter_us: 0,
            loss_permille: 0,
            double_permille: 0,
        }
    }

    /// One of: a wire, a home network, a bad mobile connection.
    pub fn draw(rng: &mut impl RngCore) -> Link {
        let delay_us = 1_000 + u64::from(rng.next_u32() % 60_000);
        match rng.next_u32() % 3 {
            0 => Link::clean(delay_us),
            1 => Link {
                delay_us,
                jitter_us: 5_000,
                loss_permille: 10,
                double_permille: 2,
            },
            _ => Link {
                delay_us,
                jitter_us: 30_000,
                loss_permille: 50,
                double_permille: 10,
            },
        }
    }

    /// Whether every packet arrives once and in order.
    pub fn is_clean(&self) -> bool {
        self.jitter_us == 0 && self.loss_permille == 0 && self.double_permille == 0
    }

    /// How long one packet is under way: none, one or two arrivals.
    pub fn carry(&self, rng: &mut impl RngCore) -> [Option<Duration>; 2] {
        let mut times = [None; 2];
        let draw = rng.next_u32();
        if draw % 1000 >= self.loss_permille {
            let jitter = |bits: u32| {
                if self.jitter_us == 0 {
                    0
                } else {
                    u64::from(bits) % self.jitter_us
                }
            };
            times[0] = Some(self.delay_us + jitter(rng.next_u32()));
            if (draw / 1000) % 1000 < self.double_permille {
                times[1] = Some(self.delay_us + jitter(rng.next_u32()));
            }
        }
        times.map(|us| us.map(Duration::from_micros))
    }
}
