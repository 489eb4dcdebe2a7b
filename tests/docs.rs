//! The documentation tested: what it shows is what the server sends, takes and enforces.
//!
//! Every `json` block of `docs/protocol.md` is parsed with our types and with `medea-client-api-proto`, the oracle of
//! the protocol; every message has its section; limits and links are right. A page that lies fails the build.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use colchis::bus::client as ours;
use medea_client_api_proto as oracle;
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A fenced block of a page.
struct Block {
    line: usize,
    /// Third-level heading above it, if any.
    section: String,
    language: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut section = String::new();
    let mut inside = false;
    for (i, line) in page.lines().enumerate() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                found.push(Block {
                    line: i + 1,
                    section: section.clone(),
                    language: fence.trim().to_owned(),
                    text: String::new(),
                });
            }
        } else if inside {
            let block = found.last_mut().expect("inside a block");
            block.text.push_str(line);
            block.text.push('\n');
        } else if let Some(title) = line.strip_prefix("### ") {
            section = title.trim().to_owned();
        } else if line.starts_with("## ") {
            section.clear();
        }
    }
    assert!(!inside, "a fenced block is not closed");
    found
}

/// Blocks of `docs/protocol.md` in JSON, parsed.
fn protocol_examples() -> Vec<(Block, Value)> {
    blocks(&read("docs/protocol.md"))
        .into_iter()
        .filter(|b| b.language == "json")
        .map(|b| {
            let value = serde_json::from_str(&b.text)
                .unwrap_or_else(|e| panic!("docs/protocol.md:{}: {e}", b.line));
            (b, value)
        })
        .collect()
}

/// Name of the message a frame carries: the command's, the event's, or the frame's own.
fn message_name(frame: &Value) -> String {
    let inner = [
        frame.pointer("/Command/command/command"),
        frame.pointer("/data/event/event"),
        frame.pointer("/msg"),
    ];
    match inner.into_iter().flatten().next() {
        Some(name) => name.as_str().expect("a name is a string").to_owned(),
        None if frame.get("Pong").is_some() => "Pong".to_owned(),
        None if frame.get("reason").is_some() => "Closing".to_owned(),
        None => panic!("no message has this shape: {frame}"),
    }
}

#[test]
fn every_frame_shown_is_a_frame() {
    let examples = protocol_examples();
    assert!(examples.len() >= 20, "{} examples only", examples.len());
    for (block, frame) in examples {
        let place = format!("docs/protocol.md:{}", block.line);
        assert_eq!(
            block.section,
            message_name(&frame),
            "{place}: under the wrong heading"
        );
        if frame.get("msg").is_some() {
            server_frame(&place, &block.text, &frame);
        } else if frame.get("reason").is_some() {
            let reason: ours::CloseDescription =
                serde_json::from_value(frame.clone()).unwrap_or_else(|e| panic!("{place}: {e}"));
            let theirs: oracle::CloseDescription =
                serde_json::from_value(frame.clone()).unwrap_or_else(|e| panic!("{place}: {e}"));
            assert_eq!(
                format!("{:?}", reason.reason),
                format!("{:?}", theirs.reason)
            );
        } else {
            client_frame(&place, &block.text, &frame);
        }
    }
}

/// The oracle understands it, and writes the same again (except what goes beyond Client API 0.10).
fn server_frame(place: &str, text: &str, frame: &Value) {
    let theirs: oracle::ServerMsg =
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{place}: {e}"));
    let mut written = serde_json::to_value(&theirs).unwrap();
    if let Some(shard) = frame.pointer("/data/event/data/shard") {
        written["data"]["event"]["data"]["shard"] = shard.clone();
    }
    assert_eq!(&written, frame, "{place}: a field is unknown, or missing");
}

/// We understand it, the oracle does, and it writes the same again.
fn client_frame(place: &str, text: &str, frame: &Value) {
    let msg: ours::ClientMsg =
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{place}: {e}"));
    if let ours::ClientMsg::Command { command, .. } = &msg {
        assert_eq!(command.name(), message_name(frame));
    }
    let theirs: oracle::ClientMsg =
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{place}: {e}"));
    let written = serde_json::to_value(&theirs).unwrap();
    assert_eq!(&written, frame, "{place}: a field is unknown, or missing");
}

/// Variants of an enum of `src/bus/client.rs`, read from its text so that a new one cannot be forgotten here.
fn variants(name: &str) -> BTreeSet<String> {
    let text = read("src/bus/client.rs");
    let start = text
        .find(&format!("pub enum {name} {{"))
        .expect("the enum is there");
    let body = &text[start..];
    let body = &body[..body.find("\n}").expect("it ends")];
    body.lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.chars().take_while(|c| c.is_alphanumeric()).collect())
        .collect()
}

#[test]
fn every_message_has_an_example() {
    let shown: BTreeSet<String> = protocol_examples()
        .iter()
        .map(|(_, frame)| message_name(frame))
        .collect();
    let mut wanted: BTreeSet<String> = variants("Command");
    wanted.extend(variants("Event"));
    wanted.extend(["RpcSettings", "Ping", "Pong", "Closing"].map(String::from));
    assert!(
        wanted.len() > 15,
        "the scan of src/bus/client.rs found {wanted:?} only"
    );
    assert_eq!(wanted, shown);
}

#[test]
fn every_close_reason_is_explained() {
    let page = read("docs/protocol.md");
    for reason in variants("CloseReason") {
        assert!(page.contains(&format!("| `{reason}` |")), "{reason}");
    }
}

/// What our own types write is what the page shows: one value per kind of content that only the server makes.
#[test]
fn our_events_are_written_as_shown() {
    let room_id = colchis::id::RoomId::new("kitchen").unwrap();
    let ann = colchis::id::MemberId::new("ann").unwrap();
    let peer_id = colchis::id::PeerId(1);
    let events = [
        ours::Event::RoomJoined {
            member_id: ann,
            is_reconnect: false,
            shard: colchis::id::ShardId(0),
        },
        ours::Event::RoomLeft {
            close_reason: ours::CloseReason::Finished,
        },
        ours::Event::PeersRemoved {
            peer_ids: vec![peer_id],
        },
        ours::Event::PeerUpdated {
            peer_id,
            updates: vec![ours::PeerUpdate::IceRestart],
            negotiation_role: Some(ours::NegotiationRole::Offerer),
        },
    ];
    let shown: Vec<Value> = protocol_examples().into_iter().map(|(_, v)| v).collect();
    for event in events {
        let msg = ours::ServerMsg::Event {
            room_id: room_id.clone(),
            event,
        };
        let written = serde_json::to_value(&msg).unwrap();
        assert!(
            shown.contains(&written),
            "not in docs/protocol.md: {written}"
        );
    }
    for msg in [
        ours::ServerMsg::Ping(7),
        ours::ServerMsg::RpcSettings(ours::RpcSettings {
            idle_timeout_ms: 10_000,
            ping_interval_ms: 3_000,
        }),
    ] {
        let written = serde_json::to_value(&msg).unwrap();
        assert!(
            shown.contains(&written),
            "not in docs/protocol.md: {written}"
        );
    }
}

/// A state as shown can be read and is written the same again: it crosses both ways.
#[test]
fn our_state_is_written_as_shown() {
    let shown = protocol_examples()
        .into_iter()
        .find(|(b, _)| b.section == "StateSynchronized")
        .map(|(_, v)| v["data"]["event"]["data"]["state"].clone())
        .expect("an example of StateSynchronized");
    let text = shown.to_string();
    let state: ours::RoomState = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_value(&state).unwrap(), shown);
}

/// Rows like `` | `NAME` | 123 | `` in a page, as (name, number).
/// Elements of the Control API as shown are elements, and the room compiles without a warning.
#[test]
fn elements_shown_are_elements() {
    use colchis::control::spec::element::{Endpoint, RoomChild, RootElement};
    let page = read("docs/control-api.md");
    let mut rooms = 0;
    for block in blocks(&page).iter().filter(|b| b.language == "json") {
        let place = format!("docs/control-api.md:{}", block.line);
        let value: Value =
            serde_json::from_str(&block.text).unwrap_or_else(|e| panic!("{place}: {e}"));
        let wrong = |e: serde_json::Error| -> ! { panic!("{place}: {e}") };
        match value["kind"].as_str() {
            Some("Room") => {
                let RootElement::Room(mut room) =
                    serde_json::from_value(value).unwrap_or_else(|e| wrong(e));
                room.id = "interview".to_owned();
                for child in room.spec.pipeline.values_mut() {
                    if let RoomChild::Member(member) = child {
                        let secret = serde_json::json!({"plain": "x"});
                        let secret = serde_json::from_value(secret).expect("credentials");
                        member.credentials.get_or_insert(secret);
                    }
                }
                let timeouts = colchis::config::Timeouts::default();
                let compiled = colchis::control::spec::compile(&room, &timeouts);
                let compiled = compiled.unwrap_or_else(|e| panic!("{place}: {e}"));
                assert_eq!(compiled.warnings, []);
                rooms += 1;
            }
            Some("Member" | "Hub") => {
                serde_json::from_value::<RoomChild>(value).unwrap_or_else(|e| wrong(e));
            }
            Some(_) => {
                serde_json::from_value::<Endpoint>(value).unwrap_or_else(|e| wrong(e));
            }
            None => {}
        }
    }
    assert!(rooms > 0);
}

#[test]
fn every_error_of_the_control_api_is_explained() {
    let page = read("docs/control-api.md");
    for code in colchis::control::error::ErrorCode::ALL {
        let row = format!(
            "| `{}` | {} | {} |",
            code.text(),
            code.number(),
            code.status()
        );
        assert!(page.contains(&row), "no row {row}");
    }
}

fn limit_rows(page: &str) -> Vec<(String, u64)> {
    page.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let name = cells.next()?.trim().strip_suffix('`')?.to_owned();
            let value = cells.next()?.trim().parse().ok()?;
            Some((name, value))
        })
        .collect()
}

#[test]
fn limits_shown_are_the_limits() {
    use colchis::limits::*;
    let values = [
        ("WS_MESSAGE_BYTES_MAX", WS_MESSAGE_BYTES_MAX as u64),
        (
            "WS_WRITE_BUFFER_BYTES_MAX",
            WS_WRITE_BUFFER_BYTES_MAX as u64,
        ),
        ("SESSION_COMMANDS_PER_S", u64::from(SESSION_COMMANDS_PER_S)),
        ("SESSION_COMMANDS_BURST", u64::from(SESSION_COMMANDS_BURST)),
        ("SESSION_BAD_FRAMES_MAX", u64::from(SESSION_BAD_FRAMES_MAX)),
        ("ROOMS_PER_SESSION_MAX", ROOMS_PER_SESSION_MAX as u64),
        ("MEMBERS_PER_ROOM_MAX", MEMBERS_PER_ROOM_MAX as u64),
        ("MESH_MEMBERS_MAX", MESH_MEMBERS_MAX as u64),
        ("ID_BYTES_MAX", ID_BYTES_MAX as u64),
        ("SDP_BYTES_MAX", SDP_BYTES_MAX as u64),
        ("SDP_MEDIA_MAX", SDP_MEDIA_MAX as u64),
        ("ICE_CANDIDATES_MAX", ICE_CANDIDATES_MAX as u64),
    ];
    let rows = limit_rows(&read("docs/protocol.md"));
    let expected: Vec<(String, u64)> = values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
    assert_eq!(rows, expected);
}

/// Pages whose links and commands are checked.
fn pages() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    for dir in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(dir)).unwrap_or_else(|e| panic!("{dir}: {e}"));
        found.extend(
            entries
                .map(|e| e.unwrap().path())
                .filter(|p| p.extension().is_some_and(|e| e == "md")),
        );
    }
    found.sort();
    found
}

/// Targets of `[text](target)` in a page, code blocks left out.
fn links(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        }
        if inside {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            if let Some(end) = line[at..].find(')') {
                found.push(line[at + 2..at + end].to_owned());
            }
        }
    }
    found
}

/// The anchor that a heading gets: lower case, punctuation dropped, spaces to dashes.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if link.starts_with("http") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap_or(Path::new("")).join(file),
            };
            let found = target.exists()
                && (fragment.is_empty()
                    || fs::read_to_string(&target).is_ok_and(|t| {
                        t.lines()
                            .any(|l| l.starts_with('#') && anchor(l) == fragment)
                    }));
            if !found {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "links that lead nowhere:\n  {}",
        broken.join("\n  ")
    );
}

/// Scripts and subcommands that a page tells the reader to run must be there.
#[test]
fn commands_shown_exist() {
    let cli = cli_words();
    let mut shown = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in blocks(&text).iter().filter(|b| b.language == "sh") {
            for line in block.text.lines() {
                let place = format!("{}:{}", page.display(), block.line);
                for word in line
                    .split_whitespace()
                    .filter(|w| w.starts_with("scripts/"))
                {
                    assert!(root().join(word).exists(), "{place}: {word}");
                    shown += 1;
                }
                if let Some((_, arguments)) = line
                    .split_once("colchis -- ")
                    .or(line.split_once("--release -- "))
                {
                    let sub = arguments.split_whitespace().next().unwrap_or_default();
                    assert!(cli.contains(sub), "{place}: `colchis {sub}`");
                    shown += 1;
                }
            }
        }
    }
    assert!(shown >= 2, "the README shows the two commands");
}

/// What `colchis --help` lists.
fn cli_words() -> BTreeSet<String> {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_colchis"))
        .arg("--help")
        .output()
        .expect("the command runs");
    String::from_utf8_lossy(&help.stdout)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Names in backticks that look like tests: words joined by underscores.
fn named_tests(page: &str) -> BTreeSet<String> {
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("_"));
    let cells = rows.filter_map(|line| line.trim_end_matches(" |").rsplit_once("| "));
    cells
        .flat_map(|(_, cell)| cell.split('`').skip(1).step_by(2))
        .filter(|name| name.matches('_').count() >= 2)
        .map(str::to_owned)
        .collect()
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn tests_that_the_security_page_names_exist() {
    let named = named_tests(&read("docs/security.md"));
    assert!(named.len() > 30, "the page names its tests: {named:?}");
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    let code: String = files
        .iter()
        .map(|path| fs::read_to_string(path).expect("a file"))
        .collect();
    let missing: Vec<&String> = named
        .iter()
        .filter(|name| !code.contains(&format!("fn {name}(")))
        .collect();
    assert!(missing.is_empty(), "not to be found: {missing:?}");
}
