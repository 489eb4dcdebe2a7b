//! Two network namespaces with a pair of virtual interfaces between them: the server's, on core 0, and the clients', on core 1.

use std::process::{Command, Stdio};

pub const SERVER_NS: &str = "colchis-tp-sfu";
pub const CLIENTS_NS: &str = "colchis-tp-load";
/// From TEST-NET-3 (RFC 5737).
pub const SERVER: &str = "203.0.113.1";
pub const CLIENTS: &str = "203.0.113.2";

fn run(words: &str) -> Result<(), String> {
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
        for (ns, dev, address, cpus) in [
            (SERVER_NS, "tp0", SERVER, "1"),
            (CLIENTS_NS, "tp1", CLIENTS, "2"),
        ] {
            let inside = format!("ip netns exec {ns}");
            run(&format!("{inside} ip address add {address}/24 dev {dev}"))?;
            run(&format!("{inside} ip link set lo up"))?;
            run(&format!("{inside} ip link set {dev} up"))?;
            // Packets are received on the core of whoever they are for, not on the sender's, as with two hosts.
            let file = format!("/sys/class/net/{dev}/queues/rx-0/rps_cpus");
            let status = Command::new("ip")
                .args(["netns", "exec", ns, "sh", "-c"])
                .arg(format!("echo {cpus} > {file}"))
                .status();
            if !status.is_ok_and(|s| s.success()) {
                return Err(format!("{ns}: {file} cannot be written"));
            }
        }
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
