//! What `tune` must know of the server: which core does what, and on which ports.

/// The server's plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerPlan {
    /// The shards in order.
    pub shards: Vec<Seat>,
    /// Core of signalling.
    pub signalling: usize,
    /// Kernel buffer of each media socket, bytes.
    pub socket_buffer_bytes: usize,
    /// Whether media sockets take IPv4.
    pub ipv4: bool,
    /// Whether media sockets take IPv6.
    pub ipv6: bool,
    /// Sessions the server may have.
    pub sessions: usize,
}

/// Where one shard sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Its core.
    pub core: usize,
    /// Its UDP port; `None`: any free one, which nobody knows before.
    pub udp_port: Option<u16>,
}

impl ServerPlan {
    /// Cores of the shards, ascending, each once.
    pub fn shard_cores(&self) -> Vec<usize> {
        let mut cores: Vec<usize> = self.shards.iter().map(|seat| seat.core).collect();
        cores.sort_unstable();
        cores.dedup();
        cores
    }

    /// Cores of shards and signalling, ascending, each once.
    pub fn role_cores(&self) -> Vec<usize> {
        let mut cores = self.shard_cores();
        cores.push(self.signalling);
        cores.sort_unstable();
        cores.dedup();
        cores
    }

    /// Queue that the datagrams of shard `shard` shall come from, of a card with `queues`. Several shards share one
    /// when there are fewer queues.
    pub fn queue_of(&self, shard: usize, queues: usize) -> usize {
        shard % queues.max(1)
    }

    /// Core that shall serve queue `queue`: that of its shard. Queues without a shard go to signalling when flow rules
    /// keep media out of them (`steered`), and else to the shards in turn.
    pub fn core_of(&self, queue: usize, steered: bool) -> usize {
        let seat = match self.shards.get(queue) {
            None if !steered => queue
                .checked_rem(self.shards.len())
                .and_then(|i| self.shards.get(i)),
            seat => seat,
        };
        seat.map_or(self.signalling, |seat| seat.core)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_find_their_cores() {
        let seat = |core| Seat {
            core,
            udp_port: None,
        };
        let plan = ServerPlan {
            shards: vec![seat(2), seat(3)],
            signalling: 1,
            ..ServerPlan::default()
        };
        assert_eq!([0, 1, 2, 3].map(|q| plan.core_of(q, true)), [2, 3, 1, 1]);
        assert_eq!([0, 1, 2, 3].map(|q| plan.core_of(q, false)), [2, 3, 2, 3]);
        assert_eq!([0, 1].map(|s| plan.queue_of(s, 1)), [0, 0]);
        assert_eq!(plan.role_cores(), [1, 2, 3]);
        assert_eq!(ServerPlan::default().core_of(7, false), 0);
    }
}
