//! The same load against Janus, where it is installed: as its package comes, with the video room and its WebSocket only.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::net;

const PORT: u16 = 8188;
/// Where Debian puts its modules, and others.
const MODULES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/janus", "/usr/lib/janus"];

/// A Janus that ends when dropped.
struct Janus(Child);

impl Drop for Janus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn installed() -> Option<&'static str> {
    let there = |path: &&str| {
        Path::new(path)
            .join("plugins/libjanus_videoroom.so")
            .exists()
    };
    MODULES.into_iter().find(there)
}

/// Names of the modules in `folder` but `keep`.
fn others(folder: &Path, keep: &str) -> String {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.map(|f| f.file_name().to_string_lossy().into_owned());
    let others: Vec<String> = names.filter(|n| n.ends_with(".so") && n != keep).collect();
    others.join(",")
}

fn configure(modules: &str) -> PathBuf {
    let folder = std::env::temp_dir().join("colchis-throughput-janus");
    std::fs::create_dir_all(&folder).expect("a folder in the temporary directory");
    let modules = Path::new(modules);
    let (plugins, transports) = (modules.join("plugins"), modules.join("transports"));
    let ip = net::SERVER;
    let main = format!(
        "general: {{ configs_folder=\"{}\" plugins_folder=\"{}\" transports_folder=\"{}\" debug_level=2 interface=\"{ip}\" }}\n\
         media: {{ ipv6=false rtp_port_range=\"20000-40000\" }}\n\
         nat: {{ full_trickle=false ice_enforce_list=\"{ip}\" ignore_mdns=true }}\n\
         plugins: {{ disable=\"{}\" }}\ntransports: {{ disable=\"{}\" }}\nevents: {{ broadcast=false }}\n",
        folder.display(),
        plugins.display(),
        transports.display(),
        others(&plugins, "libjanus_videoroom.so"),
        others(&transports, "libjanus_websockets.so"),
    );
    let socket = format!(
        "general: {{ json=\"plain\" ws=true ws_port={PORT} ws_ip=\"{ip}\" wss=false ws_logging=\"err\" }}\n\
         admin: {{ admin_ws=false admin_wss=false }}\n"
    );
    let room = "general: { events=false }\n".to_owned();
    for (name, text) in [
        ("janus.jcfg", main),
        ("janus.transport.websockets.jcfg", socket),
        ("janus.plugin.videoroom.jcfg", room),
    ] {
        std::fs::write(folder.join(name), text).expect("a configuration file");
    }
    folder
}

/// One run of `colchis load` with `args` against Janus, which may use core 0 as the shard does. `None`: it is not installed.
pub fn measure(args: &[String]) -> Option<Result<Value, String>> {
    let folder = configure(installed()?);
    let child = net::command(net::SERVER_NS, 0, "janus")
        .arg("-C")
        .arg(folder.join("janus.jcfg"))
        .arg("-F")
        .arg(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let janus = Janus(child.ok()?);
    std::thread::sleep(Duration::from_secs(2));
    let pid = janus.0.id().to_string();
    let url = format!("ws://{}:{PORT}", net::SERVER);
    let server = ["--janus", &url, "--server-pid", &pid].map(str::to_owned);
    Some(crate::sfu::load(&server, args))
}
