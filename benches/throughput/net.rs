//! Two network namespaces with a pair of virtual interfaces between them: the server's and the clients'.

use std::process::{Command, Stdio};

pub const SERVER_NS: &str = "colchis-tp-sfu";
pub const CLIENTS_NS: &str = "colchis-tp-load";
/// From TEST-NET-3 (RFC 5737).
pub const SERVER: &str = "203.0.113.1";
pub const CLIENTS: &str = "203.0.113.2";
/// Media that goes here is thrown away at the far end of the wire, as a network card takes it away: what another host's
/// kernel does with it is not the server's cost. One subscriber in 32 is elsewhere and hears it.
pub const UNHEARD: &str = "203.0.113.3";

/// Runs a command of words without spaces in them.
pub fn run(words: &str) -> Result<(), String> {
    let mut parts = words.split(' ');
    let mut command = Command::new(parts.next().unwrap_or_default());
    let done = command.args(parts).stderr(Stdio::piped()).output();
    match done {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => Err(format!(
            "{words}: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        )),
        Err(error) => Err(format!("{words}: {error}")),
    }
}

/// The namespaces; taken down when dropped.
pub struct Net;

impl Net {
    pub fn new() -> Result<Net, String> {
        // What an earlier run that was killed has left.
        drop(Net);
        let net = Net;
        run(&format!("ip netns add {SERVER_NS}"))?;
        run(&format!("ip netns add {CLIENTS_NS}"))?;
        run(&format!(
            "ip link add tp0 netns {SERVER_NS} type veth peer name tp1 netns {CLIENTS_NS}"
        ))?;
        for (ns, dev, address) in [(SERVER_NS, "tp0", SERVER), (CLIENTS_NS, "tp1", CLIENTS)] {
            let inside = format!("ip netns exec {ns}");
            run(&format!("{inside} ip address add {address}/24 dev {dev}"))?;
            run(&format!("{inside} ip link set lo up"))?;
            run(&format!("{inside} ip link set {dev} up"))?;
        }
        let inside = format!("ip netns exec {CLIENTS_NS}");
        run(&format!("{inside} ip address add {UNHEARD}/24 dev tp1"))?;
        // The first two bits after the UDP header are RTP's and RTCP's version. Handshakes and checks get through.
        let rules = format!(
            "add table netdev far\n\
             add chain netdev far in {{ type filter hook ingress device tp1 priority 0; }}\n\
             add rule netdev far in ip daddr {UNHEARD} udp dport 1-65535 @th,64,2 2 drop\n"
        );
        let file = std::env::temp_dir().join("colchis-throughput.nft");
        std::fs::write(&file, rules).map_err(|e| e.to_string())?;
        run(&format!("{inside} nft -f {}", file.display()))?;
        Ok(net)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for ns in [SERVER_NS, CLIENTS_NS] {
            let _ = run(&format!("ip netns delete {ns}"));
        }
    }
}

/// A command in a namespace on a core.
pub fn command(ns: &str, core: usize, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        ns,
        "taskset",
        "-c",
        &core.to_string(),
        program,
    ]);
    command
}
