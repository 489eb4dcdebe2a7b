//! One load on one shard: the server on core 0 of its namespace, `colchis load` on core 1 of the other.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{net, profile};

const COLCHIS: &str = env!("CARGO_BIN_EXE_colchis");
const KEY: &str = "only-for-the-bench-0123456789abcdef";

/// What is measured, and how it is looked at.
#[derive(Clone)]
pub struct Subject {
    /// The server's program; the load's is always the one of this build.
    pub program: String,
    /// Words before it, which start it in some way.
    pub wrap: Vec<String>,
    /// Where the stacks of its shard in the measured stage are written.
    pub profile: Option<PathBuf>,
}

impl Subject {
    /// `program`, or the server of this build.
    pub fn new(program: Option<String>, profile: Option<PathBuf>) -> Subject {
        Subject {
            program: program.unwrap_or(COLCHIS.to_owned()),
            wrap: Vec::new(),
            profile,
        }
    }

    /// The same without a profiler.
    pub fn unwatched(&self) -> Subject {
        Subject {
            profile: None,
            ..self.clone()
        }
    }
}

/// A server that ends when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(subject: &Subject, more: &str) -> Result<Server, String> {
        let config = std::env::temp_dir().join("colchis-throughput.toml");
        let (ip, control) = (net::SERVER, 1);
        // Only what every build knows: it may be an older one.
        let text = format!(
            "[public]\nlisten = \"{ip}:8080\"\n[private]\nlisten = \"{ip}:8081\"\napi_key = \"{KEY}\"\n\
             [cores]\nsignalling = 1\ncontrol = {control}\nshards = \"0\"\n\
             [media]\nbind = \"{ip}\"\n{more}\n[log]\nlevel = \"warn\"\n"
        );
        std::fs::write(&config, text).expect("a file in the temporary directory");
        let child = Command::new("ip")
            .args(["netns", "exec", net::SERVER_NS])
            .args(&subject.wrap)
            .args([&subject.program, "serve", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()
            .expect("`ip` starts: the namespaces are there");
        let mut server = Server(child);
        std::thread::sleep(Duration::from_secs(1));
        match server.0.try_wait() {
            Ok(None) => Ok(server),
            _ => Err(format!(
                "{} did not stay up, it says why above; an older build may not know all of {}",
                subject.program,
                config.display()
            )),
        }
    }
}

/// One run of `colchis load` with `args` against a server with `more` in its `[media]`.
pub fn measure(subject: &Subject, more: &str, args: &[String]) -> Result<Value, String> {
    let running = Server::start(subject, more)?;
    let server = [
        ("--server", format!("ws://{}:8080/ws", net::SERVER)),
        ("--control", format!("http://{}:8081", net::SERVER)),
        ("--key", KEY.to_owned()),
    ];
    let server: Vec<String> = server
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
    let Some(file) = &subject.profile else {
        return load(&server, args);
    };
    let profile = profile::start(running.0.id())?;
    let report = load(&server, args)?;
    profile.finish(file)?;
    Ok(report)
}

/// One run of `colchis load` against the `server` that these options name.
pub fn load(server: &[String], args: &[String]) -> Result<Value, String> {
    let json = std::env::temp_dir().join("colchis-throughput.json");
    let _ = std::fs::remove_file(&json);
    let out = net::command(net::CLIENTS_NS, 1, COLCHIS)
        .arg("load")
        .args(server)
        .args(["--bind", net::CLIENTS, "--unheard-bind", net::UNHEARD])
        .args(["--max-loss", "100", "--max-p99-ms", "60000", "--json"])
        .arg(&json)
        .args(args)
        .output()
        .map_err(|e| e.to_string())?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    let text = std::fs::read_to_string(&json).map_err(|e| e.to_string())?;
    serde_json::from_str(&text).map_err(|e| e.to_string())
}
