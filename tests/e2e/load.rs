//! `colchis load` against `colchis serve`, by each way datagrams can go: everybody connects, everything arrives as it was sent,
//! and the report says so.

use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::server::free_ports;
use crate::support::process::wait_listening;

const COLCHIS: &str = env!("CARGO_BIN_EXE_colchis");
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A configured server that ends with the test.
struct Served {
    child: Child,
    public: SocketAddr,
    private: SocketAddr,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(media: &str) -> Served {
    let base = free_ports(3);
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (public, private) = (at(base), at(base + 1));
    let text = format!(
        "[public]\nlisten = \"{public}\"\n[private]\nlisten = \"{private}\"\napi_key = \"{KEY}\"\n\
         [media]\nbind = \"127.0.0.1\"\nudp_port = {}\n{media}\n",
        base + 2
    );
    let file = std::env::temp_dir().join(format!("colchis-load-{base}.toml"));
    std::fs::write(&file, text).expect("a file in the temporary directory");
    let mut child = Command::new(COLCHIS)
        .args(["serve", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    wait_listening(&mut child, &[public, private]);
    let _ = std::fs::remove_file(file);
    Served {
        child,
        public,
        private,
    }
}

fn load(server: &Served, key: &str, args: &str) -> (Output, Value) {
    let json = std::env::temp_dir().join(format!("colchis-load-{}.json", server.public.port()));
    let html = json.with_extension("html");
    let out = Command::new(COLCHIS)
        .arg("load")
        .args(["--server", &format!("ws://{}/ws", server.public)])
        .args(["--control", &format!("http://{}", server.private)])
        .args(["--key", key, "--max-p99-ms", "60000", "--sample-every", "4"])
        .arg("--json")
        .arg(&json)
        .arg("--html")
        .arg(&html)
        .args(args.split(' '))
        .output()
        .expect("the binary runs");
    let report = std::fs::read_to_string(&json).unwrap_or_default();
    if !report.is_empty() {
        let page = std::fs::read_to_string(&html).expect("a page");
        assert!(page.contains("</html>"));
    }
    for file in [json, html] {
        let _ = std::fs::remove_file(file);
    }
    (out, serde_json::from_str(&report).unwrap_or(Value::Null))
}

/// The only stage of a load that went well.
fn good_stage(out: &Output, report: &Value, clients: u64) -> Value {
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{stderr}");
    assert_eq!(report["connected"].as_u64(), Some(clients));
    let stage = report["stages"][0].clone();
    assert_eq!(stage["spoilt"], 0, "{report}");
    assert!(stage["checked"].as_u64() > Some(100), "{report}");
    stage
}

#[test]
fn everything_arrives_by_each_way() {
    for media in [
        "udp = \"trains\"",
        "udp = \"trains\"\nequalize = false",
        "udp = \"uring\"",
        "udp = \"batches\"",
        "udp = \"plain\"",
        "udp = \"auto\"",
    ] {
        let server = serve(media);
        let args = "--subscribers 8 --stage-s 2 --joins-per-s 50 --video-kbps 1200";
        let (out, report) = load(&server, KEY, args);
        let stage = good_stage(&out, &report, 9);
        let tally = &stage["tally"];
        // Video and audio to eight; a busy host may lose some in socket buffers, and that is told.
        assert_eq!(tally["streams"], 16, "{media}: {report}");
        assert!(tally["received"].as_u64() > Some(1500), "{media}: {report}");
        let lost = tally["lost"].as_u64().expect("a count");
        assert!(lost * 20 < 1500, "{media}: {report}");
        assert_eq!(tally["late"], 0, "{media}: {report}");
        let server = &stage["server"];
        let train =
            server["datagrams"].as_f64().unwrap_or(0.0) / server["trains"].as_f64().unwrap_or(1.0);
        match media {
            "udp = \"trains\"" | "udp = \"uring\"" => assert!(train > 1.8, "{media}: {train}"),
            "udp = \"batches\"" | "udp = \"plain\"" => assert!(train < 1.01, "{media}: {train}"),
            _ => {}
        }
        let table = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(table.contains("received/s"), "{table}");
    }
}

#[test]
fn a_conference_receives_everybody_but_oneself() {
    let server = serve("");
    let args = "--rooms 2 --publishers 3 --subscribers 0 --all-to-all --stage-s 2 --video-kbps 300 --joins-per-s 50";
    let (out, report) = load(&server, KEY, args);
    let stage = good_stage(&out, &report, 6);
    // Two streams of each of two others, for each of six.
    assert_eq!(stage["tally"]["streams"], 24, "{report}");
}

#[test]
fn of_three_encodings_everybody_receives_the_best_whole() {
    let server = serve("");
    let args =
        "--simulcast --publishers 2 --subscribers 4 --stage-s 3 --video-kbps 800 --joins-per-s 50";
    let (out, report) = load(&server, KEY, args);
    let stage = good_stage(&out, &report, 6);
    let tally = &stage["tally"];
    assert_eq!(tally["streams"], 16, "one of each encoded track: {report}");
    assert_eq!(tally["late"], 0, "{report}");
    let lost = tally["lost"].as_u64().expect("a count");
    assert!(lost * 20 < 2700, "{report}");
    // Three packets a frame in the largest, one in the others; audio beside it.
    let (best, smaller) = (8 * (90 + 50) * 3, 8 * (30 + 50) * 3);
    let received = tally["received"].as_u64().expect("a count");
    assert!(
        received > u64::midpoint(best, smaller) && received < best * 11 / 10,
        "{received} of {best}: {report}"
    );
}

#[test]
fn what_is_wrong_is_named_with_its_cure() {
    let server = serve("");
    let (out, _) = load(&server, "another key", "--subscribers 1");
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success());
    assert!(
        stderr.contains("401") && stderr.contains("--key"),
        "{stderr}"
    );
    let (out, _) = load(&server, KEY, "--subscribers 0");
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(stderr.contains("nobody would receive anything"), "{stderr}");
}
