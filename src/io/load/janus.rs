//! Janus under load: its videoroom by its WebSocket API, its use of CPU and memory by `/proc`.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use tokio::time::timeout;

use super::LoadError;
use super::adapter::{Adapter, Connect, Local, address_of};
use super::args::Plan;
use super::signal::Socket;
use crate::io::clock::Clock;
use crate::load::describe::Describer;
use crate::load::janus::{Kinds, Member, PROTOCOL, Rooms};
use crate::load::report::ServerUse;
use crate::load::shape::Shape;
use crate::load::{Crowd, Seat};

/// An answer about rooms takes no longer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// See the module.
pub struct Janus {
    url: String,
    address: SocketAddr,
    publishers: usize,
    kinds: Kinds,
    pid: Option<u32>,
    clock: Clock,
}

impl Janus {
    /// The adapter of a plan whose server is a Janus.
    pub fn new(plan: &Plan) -> Result<Self, LoadError> {
        Ok(Self {
            url: plan.server.clone(),
            address: address_of(&plan.server)?,
            publishers: plan.crowd.publishers,
            kinds: Kinds {
                audio: plan.shapes.iter().any(|s| !s.is_video()),
                video: plan.shapes.iter().any(Shape::is_video),
            },
            pid: plan.server_pid,
            clock: Clock::start(),
        })
    }

    async fn arrange(&self, mut rooms: Rooms) -> Result<(), LoadError> {
        let mut socket = Socket::connect(self.address, &self.url, Some(PROTOCOL)).await?;
        socket.send(&rooms.begin()).await?;
        while !rooms.done() {
            let silent = |_| LoadError::Socket("Janus does not answer".to_owned());
            let message = timeout(ANSWER_MAX, socket.next()).await.map_err(silent)??;
            if let Some(request) = rooms.handle(&message)? {
                socket.send(&request).await?;
            }
        }
        Ok(())
    }
}

impl Adapter for Janus {
    fn prepare(&self, crowd: Crowd) -> Local<'_, Result<(), LoadError>> {
        Box::pin(self.arrange(Rooms::make(crowd)))
    }

    fn talk(
        &self,
        seat: Seat,
        describer: Describer,
        connect: Connect,
    ) -> Local<'static, Result<(), LoadError>> {
        let (address, url, clock) = (self.address, self.url.clone(), self.clock);
        let mut member = Member::new(seat, self.publishers, self.kinds, describer);
        Box::pin(async move {
            let mut socket = Socket::connect(address, &url, Some(PROTOCOL)).await?;
            socket.send(&member.begin(clock.now())).await?;
            loop {
                let pause = member.poll_timeout().since(clock.now());
                let requests = match timeout(pause, socket.next()).await {
                    Ok(message) => member.handle(clock.now(), &message?)?,
                    Err(_) => member.handle_timeout(clock.now()),
                };
                for request in requests {
                    socket.send(&request).await?;
                }
                if let Some((remote, sending)) = member.take_connection() {
                    connect(remote, sending);
                }
            }
        })
    }

    fn server_use(&self) -> Local<'_, Option<ServerUse>> {
        Box::pin(async move {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid?));
            let (ticks, page) = (clock_ticks_per_second(), page_size() as u64);
            let (cpu_s, resident_bytes) = read_stat(&stat.ok()?, ticks, page)?;
            Some(ServerUse {
                cpu_s,
                process_cpu_s: cpu_s,
                resident_bytes,
                ..ServerUse::default()
            })
        })
    }

    fn clean(&self, crowd: Crowd) -> Local<'_, ()> {
        Box::pin(async move {
            // A server that has gone needs no cleaning.
            let _ = self.arrange(Rooms::remove(crowd)).await;
        })
    }
}

/// What `/proc/PID/stat` says of a process: CPU time, that of the kernel for it included, s, and memory in RAM, bytes
/// (proc_pid_stat(5)). `ticks_per_s` and `page_bytes` are the units it counts in.
fn read_stat(stat: &str, ticks_per_s: u64, page_bytes: u64) -> Option<(f64, u64)> {
    // The name before it may have blanks and brackets of its own.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = field(11)? + field(12)?;
    let cpu_s = ticks as f64 / ticks_per_s as f64;
    Some((cpu_s, field(21)?.saturating_mul(page_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_and_memory_are_read() {
        let stat =
            "42 (ja) nus) S 1 42 42 0 -1 4194560 901 0 3 0 250 50 7 8 20 0 15 0 5000 1000 200 1";
        assert_eq!(read_stat(stat, 100, 4096), Some((3.0, 200 * 4096)));
        assert_eq!(read_stat("42 (janus) S 1", 100, 4096), None);
        assert_eq!(read_stat("", 100, 4096), None);
    }
}
