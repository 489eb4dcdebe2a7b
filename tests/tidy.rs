//! The source tested by a test: layers, module headers, sizes, and words that must not be there.
//!
//! These are the rules of `docs/architecture.md` that neither the compiler nor clippy can hold. The scanner is a
//! small tokenizer of our own ([`Source`]): it blanks comments and literals so that text is never taken for code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rank of each top-level module: a module may use itself and lower ranks only.
const RANKS: &[(&str, u8)] = &[
    ("id", 0),
    ("limits", 0),
    ("error", 0),
    ("time", 0),
    ("transmit", 0),
    ("faults", 0),
    ("wire", 1),
    ("bus", 1),
    ("config", 1),
    ("metrics", 1),
    ("transport", 2),
    ("media", 2),
    ("room", 3),
    ("shard", 4),
    ("signalling", 4),
    ("control", 4),
    ("load", 5),
    ("tune", 5),
    ("io", 9),
];

/// Modules of one rank that know each other after all, each with its reason.
const SAME_RANK_ALLOWED: &[(&str, &str)] = &[
    ("limits", "*"),    // bounds are for everybody
    ("bus", "wire"),    // a room spec names codecs: a plain enum
    ("time", "*"),      // and so is time
    ("id", "limits"),   // an id's length is a bound
    ("bus", "metrics"), // a ShardEvent carries a snapshot of the counters
];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

// --- the scanner ----------------------------------------------------------------------------

/// One Rust file: the text, and the same text with comments and literals blanked out.
struct Source {
    path: PathBuf,
    text: String,
    code: String,
    /// The file is (below) a module that its parent declares under `#[cfg(test)]`.
    of_tests: bool,
}

/// What the scanner is inside of.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Code,
    LineComment,
    BlockComment(u32),
    Str,
    RawStr(usize),
}

impl Source {
    fn new(path: PathBuf, text: String) -> Self {
        let code = blank(&text);
        Self {
            path,
            text,
            code,
            of_tests: false,
        }
    }

    /// Code outside `#[cfg(test)]` modules, blanked likewise. Line numbers stay. Empty for a file of tests.
    fn product_code(&self) -> String {
        if self.of_tests {
            return String::new();
        }
        let mut out = self.code.clone().into_bytes();
        let mut from = 0;
        while let Some(at) = self.code[from..].find("#[cfg(test)]").map(|i| from + i) {
            let end = match self.code[at..].find(['{', ';']).map(|i| at + i) {
                Some(open) if self.code.as_bytes()[open] == b'{' => {
                    matching_brace(&self.code, open)
                }
                Some(semicolon) => semicolon,
                None => self.code.len(),
            };
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            from = end;
        }
        String::from_utf8(out).expect("blanking keeps UTF-8: only whole ranges are replaced")
    }

    fn line_of(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    /// Name of the top-level module the file belongs to, for files under `src/`.
    fn module(&self, root: &Path) -> Option<String> {
        let inside = self.path.strip_prefix(root.join("src")).ok()?;
        let first = inside.components().next()?.as_os_str().to_str()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!matches!(name, "lib" | "main")).then(|| name.to_owned())
    }
}

/// `text` with the inside of comments, strings and character literals replaced by spaces, byte for byte.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut mode = Mode::Code;
    let mut i = 0;
    while i < bytes.len() {
        let (next, step) = match mode {
            Mode::Code => enter(text, i),
            _ => leave(bytes, i, mode),
        };
        for &byte in &bytes[i..i + step] {
            let visible = mode == Mode::Code && next == Mode::Code && step == 1;
            out.push(if visible || byte == b'\n' { byte } else { b' ' });
        }
        mode = next;
        i += step;
    }
    String::from_utf8(out).expect("only ASCII is written, or the input's own bytes")
}

/// From code: what starts at `i`, and how many bytes its opening takes.
fn enter(text: &str, i: usize) -> (Mode, usize) {
    let bytes = text.as_bytes();
    let rest = &bytes[i..];
    let after_word = i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
    if rest.starts_with(b"//") {
        return (Mode::LineComment, 2);
    }
    if rest.starts_with(b"/*") {
        return (Mode::BlockComment(1), 2);
    }
    if !after_word && let Some((hashes, len)) = raw_string_start(rest) {
        return (Mode::RawStr(hashes), len);
    }
    match rest[0] {
        b'"' => (Mode::Str, 1),
        b'\'' => (Mode::Code, char_literal_len(&text[i..])),
        0x80.. => (
            Mode::Code,
            text[i..].chars().next().map_or(1, char::len_utf8),
        ),
        _ => (Mode::Code, 1),
    }
}

/// `r"`, `r#"`, `br##"` …: number of hashes and length of the opening.
fn raw_string_start(rest: &[u8]) -> Option<(usize, usize)> {
    let r = match rest {
        [b'r', ..] => 1,
        [b'b' | b'c', b'r', ..] => 2,
        _ => return None,
    };
    let hashes = rest[r..].iter().take_while(|b| **b == b'#').count();
    (rest.get(r + hashes) == Some(&b'"')).then_some((hashes, r + hashes + 1))
}

/// Length of a character literal at the start of `rest`, or 1 for a lifetime's apostrophe.
fn char_literal_len(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            // Skip the escaped character itself, so that '\'' ends at the right apostrophe.
            chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 1)
        }
        Some((_, c)) if c != '\'' => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        _ => 1,
    }
}

/// Inside a comment or string: the mode after the next bytes, and how many.
fn leave(bytes: &[u8], i: usize, mode: Mode) -> (Mode, usize) {
    let rest = &bytes[i..];
    match mode {
        Mode::LineComment if rest[0] == b'\n' => (Mode::Code, 1),
        Mode::BlockComment(depth) if rest.starts_with(b"*/") => match depth {
            1 => (Mode::Code, 2),
            _ => (Mode::BlockComment(depth - 1), 2),
        },
        Mode::BlockComment(depth) if rest.starts_with(b"/*") => (Mode::BlockComment(depth + 1), 2),
        Mode::Str if rest[0] == b'\\' => (Mode::Str, rest.len().min(2)),
        Mode::Str if rest[0] == b'"' => (Mode::Code, 1),
        Mode::RawStr(hashes)
            if rest[0] == b'"'
                && rest.len() > hashes
                && rest[1..=hashes].iter().all(|b| *b == b'#') =>
        {
            (Mode::Code, 1 + hashes)
        }
        same => (same, 1),
    }
}

/// Offset just past the brace that closes the one at `open`.
fn matching_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_i32;
    for (i, byte) in code.bytes().enumerate().skip(open) {
        depth += match byte {
            b'{' => 1,
            b'}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return i + 1;
        }
    }
    code.len()
}

// --- the files ------------------------------------------------------------------------------

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `dir` whose name ends so, sorted; build output and downloaded packages left out.
fn files(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            let skipped = [
                "target",
                "node_modules",
                "corpus",
                "artifacts",
                "__pycache__",
            ];
            if !name.starts_with('.') && !skipped.contains(&name.as_str()) {
                found.extend(files(&path, endings));
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn rust_sources(dirs: &[&str]) -> Vec<Source> {
    let root = root();
    let mut sources: Vec<Source> = dirs
        .iter()
        .flat_map(|dir| files(&root.join(dir), &[".rs"]))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a Rust file is readable UTF-8");
            Source::new(path, text)
        })
        .collect();
    let of_tests: Vec<PathBuf> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let stem = source.path.with_extension("");
        source.of_tests = of_tests.iter().any(|module| stem.starts_with(module));
    }
    sources
}

/// Paths, without `.rs`, of the modules that `source` declares by `#[cfg(test)] mod name;`.
fn test_modules(source: &Source) -> Vec<PathBuf> {
    let children = match source.path.file_stem().and_then(|s| s.to_str()) {
        Some("mod" | "lib" | "main") => source.path.with_file_name(""),
        _ => source.path.with_extension(""),
    };
    let mut found = Vec::new();
    for (at, attribute) in source.code.match_indices("#[cfg(test)]") {
        let rest = &source.code[at + attribute.len()..];
        let Some(end) = rest.find([';', '{']) else {
            continue;
        };
        if let (Some((_, name)), b';') = (rest[..end].rsplit_once("mod "), rest.as_bytes()[end]) {
            found.push(children.join(name.trim()));
        }
    }
    found
}

/// Fails with all findings at once, so that one run tells everything.
fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}\n  {}\n", findings.join("\n  "));
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

// --- the rules ------------------------------------------------------------------------------

/// Top-level modules named after `crate::` in `code`: `crate::a::…`, `crate::{a::…, b}`, with their offsets.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let end = matching_brace(rest, 0);
            let mut depth = 0;
            let mut start = true;
            for (i, c) in list[..end.saturating_sub(2)].char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && depth == 0 && !c.is_whitespace() => {
                        found.push((at, word(&list[i..])));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.push((at, word(rest)));
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// Why `from` may not use `to`, if so.
fn rank_fault(ranks: &BTreeMap<&str, u8>, from: &str, to: &str) -> Option<String> {
    let (Some(own), Some(other)) = (ranks.get(from), ranks.get(to)) else {
        // A macro or a re-export of the crate root; modules without a rank are caught elsewhere.
        return None;
    };
    let allowed = from == to
        || other < own
        || SAME_RANK_ALLOWED
            .iter()
            .any(|(a, b)| (*a == from && *b == to) || (*a == to && *b == "*"));
    (!allowed).then(|| format!("`{from}` (rank {own}) uses `{to}` (rank {other})"))
}

#[test]
fn modules_use_lower_ranks_only() {
    let root = root();
    let ranks: BTreeMap<&str, u8> = RANKS.iter().copied().collect();
    let mut findings = Vec::new();
    for source in rust_sources(&["src"]) {
        let Some(module) = source.module(&root) else {
            continue;
        };
        if !ranks.contains_key(module.as_str()) {
            findings.push(format!(
                "{}: `{module}` has no rank in tests/tidy.rs",
                shown(&source.path)
            ));
        }
        for (at, used) in crate_paths(&source.product_code()) {
            if let Some(fault) = rank_fault(&ranks, &module, &used) {
                findings.push(format!(
                    "{}:{}: {fault}",
                    shown(&source.path),
                    source.line_of(at)
                ));
            }
        }
    }
    report(
        "a module may use itself and lower ranks only (docs/architecture.md)",
        &findings,
    );
}

#[test]
fn every_file_says_what_it_is() {
    let mut findings = Vec::new();
    for source in rust_sources(&["src", "tests", "benches", "fuzz"]) {
        if !source.text.trim_start().starts_with("//!") {
            findings.push(format!(
                "{}: does not start with a `//!` header",
                shown(&source.path)
            ));
        }
    }
    report(
        "every file starts with one sentence of what it is, why, and its invariants",
        &findings,
    );
}

#[test]
fn files_and_functions_are_short() {
    let mut findings = Vec::new();
    for source in rust_sources(&["src", "tests", "benches", "fuzz"]) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!(
                "{}: {lines} lines; split it by topic",
                shown(&source.path)
            ));
        }
        for (at, name, lines) in functions(&source.code) {
            if lines > FUNCTION_LINES_MAX {
                let line = source.line_of(at);
                findings.push(format!(
                    "{}:{line}: fn {name} has {lines} lines",
                    shown(&source.path)
                ));
            }
        }
    }
    report(
        &format!("files have at most {FILE_LINES_MAX} lines and functions {FUNCTION_LINES_MAX}"),
        &findings,
    );
}

/// Offset, name and line count (signature to closing brace) of every function with a body.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let name = word(&code[at + 3..]);
        // A `;` before any brace is a declaration, except inside an array type such as `[u8; 4]`.
        let mut brackets = 0;
        let body = code[at..].char_indices().find(|(_, c)| {
            match c {
                '[' | '(' => brackets += 1,
                ']' | ')' => brackets -= 1,
                _ => {}
            }
            *c == '{' || (*c == ';' && brackets == 0)
        });
        if let (false, Some((open, '{'))) = (name.is_empty(), body) {
            let end = matching_brace(code, at + open);
            found.push((at, name, code[at..end].matches('\n').count() + 1));
        }
    }
    found
}

#[test]
fn only_io_is_unsafe_and_says_why() {
    let mut findings = Vec::new();
    for source in rust_sources(&["src"]) {
        let in_io = source.path.starts_with(root().join("src/io"));
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, _) in source.code.match_indices("unsafe ") {
            let line = source.line_of(at);
            let place = format!("{}:{line}", shown(&source.path));
            if !in_io {
                findings.push(format!("{place}: `unsafe` outside src/io"));
            }
            let near = &lines[line.saturating_sub(12)..line];
            if !near
                .iter()
                .any(|l| l.contains("SAFETY") || l.contains("# Safety"))
            {
                findings.push(format!(
                    "{place}: no SAFETY note within the 12 lines before"
                ));
            }
        }
    }
    report(
        "`unsafe` lives in src/io only, each with a SAFETY note",
        &findings,
    );
}

#[test]
fn product_code_does_not_unwrap() {
    let mut findings = Vec::new();
    for source in rust_sources(&["src"]) {
        let code = source.product_code();
        for bad in [
            ".unwrap()",
            ".expect(",
            "todo!(",
            "unimplemented!(",
            "dbg!(",
        ] {
            for (at, _) in code.match_indices(bad) {
                let line = source.line_of(at);
                let allowed = source.text.lines().take(line).collect::<Vec<_>>();
                let near = &allowed[line.saturating_sub(6)..];
                // `#[expect(clippy::expect_used, reason = "…")]` is how an exception is made and told.
                if !near
                    .iter()
                    .any(|l| l.contains("clippy::expect_used") || l.contains("clippy::unwrap_used"))
                {
                    findings.push(format!("{}:{line}: `{bad}`", shown(&source.path)));
                }
            }
        }
    }
    report(
        "faults are values; an impossible one is excused by #[expect(clippy::…, reason)]",
        &findings,
    );
}

#[test]
fn every_bound_is_explained() {
    let text = fs::read_to_string(root().join("src/limits.rs")).expect("src/limits.rs is there");
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    let mut bounds = 0;
    for (i, line) in lines.iter().enumerate() {
        let Some(rest) = line.trim_start().strip_prefix("pub const ") else {
            continue;
        };
        bounds += 1;
        if i == 0 || !lines[i - 1].trim_start().starts_with("///") {
            findings.push(format!(
                "src/limits.rs:{}: {} has no doc comment",
                i + 1,
                word(rest)
            ));
        }
    }
    assert!(
        bounds > 20,
        "the scan found {bounds} bounds only: it no longer reads src/limits.rs rightly"
    );
    report(
        "each bound says what it protects and what happens when it is reached",
        &findings,
    );
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // Spelled in halves, so that this file does not find itself.
    let words = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/home", "/"),
        concat!("/tm", "p/bash"),
        concat!("regi", "stry.npmjs"),
        concat!("index.", "crates.io"),
        concat!("files.python", "hosted"),
    ];
    let endings = [
        ".rs", ".md", ".toml", ".lock", ".sh", ".js", ".mjs", ".json", ".html", ".css", ".svg",
        ".py", ".txt", ".yml", ".yaml", "run", ".npmrc",
    ];
    let mut findings = Vec::new();
    let mut scanned = files(&root(), &endings);
    scanned.extend(files(&root().join(".ci"), &["run"]));
    for path in &scanned {
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        for (i, line) in text.lines().enumerate() {
            if let Some(found) = words.iter().find(|w| line.contains(**w)) {
                findings.push(format!("{}:{}: {found}", shown(path), i + 1));
            }
        }
    }
    assert!(
        scanned.len() > 20,
        "the scan found {} files only",
        scanned.len()
    );
    report(
        "a checkout builds anywhere: no path or host of one machine",
        &findings,
    );
}

// --- the scanner's own tests ----------------------------------------------------------------

#[test]
fn scanner_tells_code_from_text() {
    let cases = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"x } \\\" y\") g", "f(          ) g"),
        ("r#\"unwrap \" \"# z", "               z"),
        ("'{' 'a '\\'' b", "    'a      b"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
    ];
    for (text, code) in cases {
        assert_eq!(blank(text), code, "{text}");
    }
}

#[test]
fn scanner_finds_what_it_looks_for() {
    let code = "use crate::{wire::{rtp, stun}, limits, bus::client::Event};\nuse crate::io::udp;";
    let used: Vec<String> = crate_paths(code).into_iter().map(|(_, m)| m).collect();
    assert_eq!(used, ["wire", "limits", "bus", "io"]);

    let ranks: BTreeMap<&str, u8> = RANKS.iter().copied().collect();
    assert!(
        rank_fault(&ranks, "media", "transport").is_some(),
        "same rank"
    );
    assert!(rank_fault(&ranks, "wire", "room").is_some(), "higher rank");
    assert!(rank_fault(&ranks, "room", "media").is_none());
    assert!(rank_fault(&ranks, "bus", "limits").is_none());

    let text = "fn a(x: [u8; 4]) {\n\n}\ntrait T { fn b(); }\n#[cfg(test)]\nmod tests { fn c() { x.unwrap() } }\nfn d() {}";
    let source = Source::new(PathBuf::from("x.rs"), text.to_owned());
    let names: Vec<(String, usize)> = functions(text)
        .into_iter()
        .map(|(_, n, l)| (n, l))
        .collect();
    assert_eq!(names, [("a".into(), 3), ("c".into(), 1), ("d".into(), 1)]);
    assert!(!source.product_code().contains("unwrap"));
    assert!(source.product_code().contains("fn d"));
}
