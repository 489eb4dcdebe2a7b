//! `docs/config.md` and the example file name every key there is, with its default.

use colchis::config::{Config, Timeouts};
use colchis::control::spec::{Format, SpecBook};

const DOCS: &str = include_str!("../docs/config.md");
const EXAMPLE: &str = include_str!("../docs/colchis.example.toml");

/// Names the parser knows where it does not know `zzz`: it lists them.
fn known(text: &str) -> Vec<String> {
    let error = Config::from_toml(text, "x").expect_err("zzz is no key");
    let names = error.message.split('`').skip(1).step_by(2);
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    assert_eq!(names.remove(0), "zzz", "{}", error.message);
    names
}

fn keys() -> Vec<(String, String)> {
    let mut out = Vec::new();
    for section in known("zzz = 1") {
        for key in known(&format!("[{section}]\nzzz = 1")) {
            out.push((section.clone(), key));
        }
    }
    out
}

#[test]
fn every_key_is_documented_in_its_section() {
    let keys = keys();
    assert!(keys.len() > 15, "the parser lists its keys: {keys:?}");
    for (section, key) in keys {
        let start = DOCS
            .find(&format!("## `[{section}]`"))
            .unwrap_or_else(|| panic!("docs/config.md has no section [{section}]"));
        let body = &DOCS[start + 3..];
        let body = &body[..body.find("\n## ").unwrap_or(body.len())];
        assert!(
            body.contains(&format!("| `{key}` |")),
            "{section}.{key} is not documented"
        );
        let example = EXAMPLE
            .split(&format!("[{section}]"))
            .nth(1)
            .expect("section in example");
        let example = example.split("\n[").next().expect("body");
        let default = example
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{key} = ")));
        let commented = example
            .lines()
            .any(|l| l.starts_with(&format!("# {key} = ")));
        match default {
            Some(value) => assert!(
                body.contains(&format!("| `{key}` | `{value}` |")),
                "{section}.{key}: the docs have another default than {value}"
            ),
            None => assert!(commented, "{section}.{key} is not in the example"),
        }
    }
}

#[test]
fn the_example_is_the_default() {
    assert_eq!(Config::from_toml(EXAMPLE, "example"), Ok(Config::default()));
    let all = EXAMPLE
        .replace("# tls", "tls")
        .replace("# signalling", "signalling");
    let all = all
        .replace("# control", "control")
        .replace("# specs", "specs");
    assert!(
        Config::from_toml(&all, "example").is_ok(),
        "commented keys parse too"
    );
}

#[test]
fn documented_specs_are_read() {
    let mut seen = 0;
    for block in DOCS.split("```yaml\n").skip(1) {
        let text = block.split("```").next().expect("end of block");
        let mut book = SpecBook::default();
        book.add("docs", Format::Yaml, text, &Timeouts::default())
            .expect("a documented spec is read");
        seen += book.len();
    }
    assert_eq!(seen, 1);
}
