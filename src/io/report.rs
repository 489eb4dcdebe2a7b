//! What an operator is told at start: host, plan, ports, addresses, and each warning with its cure. And the log.

use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};

use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::io::launch::Launch;
use crate::io::plan::CorePlan;
use crate::io::preflight::Host;
use crate::io::udp::probe::Choice;

/// Ports that were bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// HTTP and WebSocket.
    pub public: SocketAddr,
    /// Health and metrics.
    pub private: Option<SocketAddr>,
    /// Whether the public one speaks TLS.
    pub tls: bool,
    /// UDP, by shard.
    pub media: Vec<u16>,
}

/// Socket buffer below which bursts of many subscribers are lost, bytes.
const SOCKET_BUFFER_WANTED: usize = 1024 * 1024;

/// Starts logging to stderr. A filter that is not understood falls back to `info`, and says so.
pub fn init_log(level: &str) {
    let (filter, wrong) = match EnvFilter::try_new(level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let done = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    // A second server in one process (tests) logs where the first does.
    if let (Ok(()), Some(error)) = (done, wrong) {
        tracing::warn!(%error, "log.level is not understood; using \"info\"");
    }
}

/// Everything a person who just started a server wants to know.
pub fn start(host: &Host, plan: &CorePlan, launch: &Launch, ports: &Ports, addresses: &[IpAddr]) {
    println!("Colchis {}", env!("CARGO_PKG_VERSION"));
    self::host(host, plan);
    let scheme = if ports.tls { "https" } else { "http" };
    if launch.config.public.page {
        println!("  page       {scheme}://{}/", ports.public);
    } else {
        let ws = if ports.tls { "wss" } else { "ws" };
        println!("  signalling {ws}://{}/ws", ports.public);
    }
    if let Some(private) = ports.private {
        println!("  private    http://{private}/metrics");
    }
    let media: Vec<String> = ports
        .media
        .iter()
        .enumerate()
        .map(|(shard, port)| format!("{port} (shard {shard})"))
        .collect();
    println!("  media      udp {}", media.join(", "));
    let told: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    println!("  advertised {}", told.join(", "));
    warnings(plan, &launch.config);
}

/// Kernel, io_uring, locked memory, and who runs where.
pub fn host(host: &Host, plan: &CorePlan) {
    let memlock = match host.memlock_bytes {
        Some(bytes) => format!("{} KiB", bytes / 1024),
        None => "unlimited".to_owned(),
    };
    println!(
        "  host       Linux {}, io_uring works, memlock {memlock}, cores {:?}",
        host.kernel, host.cores
    );
    let control = match plan.control {
        Some(core) => format!("core {core}"),
        None => "any core".to_owned(),
    };
    println!(
        "  plan       signalling on core {}, shards on cores {:?}, control on {control}",
        plan.signalling, plan.shards
    );
}

/// How datagrams go, and why.
pub fn udp(choice: &Choice) {
    println!("  udp        {} ({})", choice.way.name(), choice.reason);
}

/// What is not as it should be, each with its cure.
pub fn warnings(plan: &CorePlan, config: &Config) {
    let mut all = plan.warnings.clone();
    let wanted = config.media.socket_buffer_bytes.min(SOCKET_BUFFER_WANTED);
    for name in ["rmem_max", "wmem_max"] {
        let path = format!("/proc/sys/net/core/{name}");
        let limit = std::fs::read_to_string(&path).ok();
        let limit: Option<usize> = limit.and_then(|text| text.trim().parse().ok());
        if let Some(limit) = limit.filter(|limit| *limit < wanted) {
            all.push(format!(
                "net.core.{name} = {limit}: socket buffers stay below {wanted} bytes and bursts are lost; cure: `sysctl -w net.core.{name}={}`",
                config.media.socket_buffer_bytes
            ));
        }
    }
    for warning in all {
        println!("  warning    {warning}");
    }
}
