//! From TOML text to [`Config`], or to one line that says where, what and how to cure it.

use crate::config::cores::ShardCores;
use crate::config::{Config, Ice};
use crate::limits::SPIN_MAX_US;

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct ConfigError {
    /// Name of the file, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Key, value, what is wrong, and the cure.
    pub message: String,
}

/// Most similar names are offered as a hint up to this edit distance.
const HINT_DISTANCE_MAX: usize = 3;

impl Config {
    /// Reads and checks a configuration. `file` is only named in errors.
    ///
    /// # Errors
    /// The first fault found.
    pub fn from_toml(text: &str, file: &str) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = line_of(text, start);
            ConfigError {
                file: file.to_owned(),
                line,
                message: with_key(text, line, with_hint(error.message())),
            }
        })?;
        check(&config).map_err(|(key, message)| ConfigError {
            file: file.to_owned(),
            line: line_of_key(text, key),
            message: format!("{key}: {message}"),
        })?;
        Ok(config)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|b| **b == b'\n').count()
}

/// Names key and value, which the parser's message about a wrong value does not.
fn with_key(text: &str, line: usize, message: String) -> String {
    let line = text.lines().nth(line - 1).unwrap_or_default().trim();
    if message.starts_with("unknown field") || !line.contains('=') {
        return message;
    }
    format!("{line}: {message}")
}

/// Line of `section.key`; of the section, or the first line, if it is not written.
fn line_of_key(text: &str, path: &str) -> usize {
    let (section, key) = path.split_once('.').unwrap_or((path, ""));
    let mut in_section = false;
    let mut found = 1;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            in_section = line.trim_matches(['[', ']', ' ']) == section;
            if in_section {
                found = index + 1;
            }
        } else if in_section && line.split('=').next().is_some_and(|k| k.trim() == key) {
            return index + 1;
        }
    }
    found
}

/// Adds "did you mean" to an unknown key or variant: the parser's message lists what is known.
fn with_hint(message: &str) -> String {
    let message = message.trim().replace('\n', " ");
    let mut names = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown ") {
        return message;
    }
    let Some(wrong) = names.next() else {
        return message;
    };
    let near = names
        .map(|name| (distance(wrong, name), name))
        .filter(|(d, name)| *d <= HINT_DISTANCE_MAX && *d < name.len())
        .min();
    match near {
        Some((_, name)) => format!("{message}; did you mean `{name}`?"),
        None => format!("{message}; docs/config.md lists every key"),
    }
}

/// Edits between two short names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replace = row.get(j).copied().unwrap_or(0) + usize::from(x != *y);
            let delete = row.get(j + 1).copied().unwrap_or(0) + 1;
            let insert = next.last().copied().unwrap_or(0) + 1;
            next.push(replace.min(delete).min(insert));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

type Fault = (&'static str, String);

/// What a type cannot say.
fn check(config: &Config) -> Result<(), Fault> {
    let timeouts = &config.timeouts;
    if timeouts.ping_interval_ms == 0 {
        return Err((
            "timeouts.ping_interval_ms",
            "0 would ping without pause; at least 1, 3000 is usual".to_owned(),
        ));
    }
    if timeouts.idle_timeout_ms < timeouts.ping_interval_ms.saturating_mul(2) {
        return Err((
            "timeouts.idle_timeout_ms",
            format!(
                "{} is less than 2 x ping_interval_ms ({}), on which known clients crash; at least {}",
                timeouts.idle_timeout_ms,
                timeouts.ping_interval_ms,
                timeouts.ping_interval_ms.saturating_mul(2)
            ),
        ));
    }
    let public = &config.public;
    if public.tls_cert.is_some() != public.tls_key.is_some() {
        return Err((
            if public.tls_cert.is_some() {
                "public.tls_cert"
            } else {
                "public.tls_key"
            },
            "certificate and key belong together; set both tls_cert and tls_key, or neither"
                .to_owned(),
        ));
    }
    for origin in &public.origins {
        let good = origin == "*"
            || ["http://", "https://"].iter().any(|scheme| {
                origin
                    .strip_prefix(scheme)
                    .is_some_and(|host| !host.is_empty() && !host.contains('/'))
            });
        if !good {
            return Err((
                "public.origins",
                format!(
                    "{origin:?} is no origin; write scheme and host, like \"https://call.example.org\", or \"*\""
                ),
            ));
        }
    }
    for (key, value, most) in config.limits.bounds() {
        if !(1..=most).contains(&value) {
            return Err((key, format!("{value} is out of bounds; from 1 to {most}")));
        }
    }
    check_media(config)?;
    check_control(config)?;
    check_ice(&config.ice)
}

/// A key that can be guessed is none.
const KEY_BYTES_MIN: usize = 16;

fn check_control(config: &Config) -> Result<(), Fault> {
    let keys = [
        ("private.api_key", &config.private.api_key),
        ("callbacks.signing_key", &config.callbacks.signing_key),
        ("rooms.token_hs256_key", &config.rooms.token_hs256_key),
    ];
    for (name, key) in keys {
        if key.as_ref().is_some_and(|k| k.len() < KEY_BYTES_MIN) {
            return Err((
                name,
                format!("shorter than {KEY_BYTES_MIN} bytes; make one with `openssl rand -hex 32`"),
            ));
        }
    }
    if let Some(url) = &config.public.url
        && !["ws://", "wss://"].iter().any(|s| url.starts_with(s))
    {
        return Err((
            "public.url",
            format!("{url:?} is no WebSocket URL; write it like \"wss://sfu.example.org/ws\""),
        ));
    }
    let callbacks = &config.callbacks;
    if !(1..=10).contains(&callbacks.tries) {
        return Err((
            "callbacks.tries",
            format!("{} is out of bounds; from 1 to 10", callbacks.tries),
        ));
    }
    if !(1..=20_000).contains(&callbacks.timeout_ms) {
        let message = format!("{} is out of bounds; from 1 to 20000", callbacks.timeout_ms);
        return Err(("callbacks.timeout_ms", message));
    }
    Ok(())
}

/// Shortest life of TURN credentials: a client must be able to connect with them.
const TURN_TTL_S_MIN: u32 = 60;

fn check_ice(ice: &Ice) -> Result<(), Fault> {
    let lists: [(&'static str, &[String], &[&str]); 2] = [
        ("ice.stun", &ice.stun, &["stun:", "stuns:"]),
        ("ice.turn", &ice.turn, &["turn:", "turns:"]),
    ];
    for (key, urls, schemes) in lists {
        let wrong = urls.iter().find(|url| {
            !schemes
                .iter()
                .any(|s| url.len() > s.len() && url.starts_with(s))
        });
        if let Some(url) = wrong {
            let example = format!("{}example.org:3478", schemes.first().unwrap_or(&""));
            return Err((
                key,
                format!("{url:?} is no such URL; write it like \"{example}\""),
            ));
        }
    }
    let fixed = ice.turn_username.is_some();
    if fixed != ice.turn_password.is_some() {
        return Err((
            "ice.turn_username",
            "user and password belong together; set turn_username and turn_password, or neither"
                .to_owned(),
        ));
    }
    if fixed && ice.turn_secret.is_some() {
        return Err((
            "ice.turn_secret",
            "clients get credentials made with the secret, or the one user of all; set turn_secret, or turn_username and turn_password".to_owned(),
        ));
    }
    if !ice.turn.is_empty() && !fixed && ice.turn_secret.as_deref().is_none_or(str::is_empty) {
        return Err((
            "ice.turn",
            "TURN servers want credentials; set turn_secret (static-auth-secret of coturn), or turn_username and turn_password".to_owned(),
        ));
    }
    if ice.turn_ttl_s < TURN_TTL_S_MIN {
        return Err((
            "ice.turn_ttl_s",
            format!(
                "{} is too short to connect; at least {TURN_TTL_S_MIN}, 86400 is usual",
                ice.turn_ttl_s
            ),
        ));
    }
    Ok(())
}

fn check_media(config: &Config) -> Result<(), Fault> {
    for address in &config.media.advertise {
        if address.is_unspecified() || address.is_multicast() {
            return Err((
                "media.advertise",
                format!(
                    "{address} is no address a client could send to; the public address of this host, or leave it out"
                ),
            ));
        }
    }
    if config.media.codecs.is_empty() {
        return Err((
            "media.codecs",
            "no codec is left; name at least opus and VP8".to_owned(),
        ));
    }
    if config.cores.spin_us > SPIN_MAX_US {
        return Err((
            "cores.spin_us",
            format!(
                "{} is out of bounds; from 0 to {SPIN_MAX_US}",
                config.cores.spin_us
            ),
        ));
    }
    if config.cores.shards == ShardCores::List(Vec::new()) {
        return Err((
            "cores.shards",
            "no core; list at least one, or \"auto\"".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::from_toml(text, "c.toml").unwrap_err().to_string()
    }

    #[test]
    fn empty_is_the_default() {
        assert_eq!(Config::from_toml("", "c.toml"), Ok(Config::default()));
    }

    #[test]
    fn unknown_keys_are_refused_with_line_and_hint() {
        let error = refused("[public]\n\nlistn = \"0.0.0.0:1\"\n");
        assert!(
            error.starts_with("c.toml:3: unknown field `listn`"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `listen`?"), "{error}");
        let error = refused("[publc]\n");
        assert!(
            error.starts_with("c.toml:1:") && error.contains("`public`?"),
            "{error}"
        );
        assert!(refused("[dtls]\nzzzzzzzzzzzz = 1").contains("docs/config.md"));
    }

    #[test]
    fn wrong_values_are_refused_with_line_and_cure() {
        let cases = [
            ("[public]\nlisten = 8080", "c.toml:2:", "listen"),
            ("[cores]\nshards = \"x\"", "c.toml:2:", "2-5"),
            (
                "[media]\ncodecs = [\"VP7\"]",
                "c.toml:2:",
                "did you mean `VP8`?",
            ),
            (
                "[timeouts]\nping_interval_ms = 6000",
                "c.toml:1:",
                "at least 12000",
            ),
            (
                "[timeouts]\n\nidle_timeout_ms = 1",
                "c.toml:3:",
                "2 x ping_interval_ms",
            ),
            ("[limits]\nsessions = 0", "c.toml:2:", "from 1 to 65536"),
            (
                "[limits]\nmembers_per_room = 5000",
                "c.toml:2:",
                "from 1 to 1024",
            ),
            ("[public]\ntls_cert = \"a.pem\"", "c.toml:2:", "tls_key"),
            (
                "[public]\norigins = [\"example.org\"]",
                "c.toml:2:",
                "https://",
            ),
            (
                "[media]\nadvertise = [\"0.0.0.0\"]",
                "c.toml:2:",
                "media.advertise",
            ),
            (
                "[ice]\nstun = [\"example.org\"]",
                "c.toml:2:",
                "stun:example.org:3478",
            ),
            ("[ice]\nturn = [\"turn:a\"]", "c.toml:2:", "turn_secret"),
            ("[ice]\nturn_username = \"a\"", "c.toml:2:", "turn_password"),
            ("[ice]\nturn_ttl_s = 5", "c.toml:2:", "at least 60"),
            (
                "[ice]\nturn_secret = \"s\"\nturn_username = \"a\"\nturn_password = \"b\"",
                "c.toml:2:",
                "or the one user of all",
            ),
            ("x = ", "c.toml:1:", ""),
        ];
        for (text, place, part) in cases {
            let error = refused(text);
            assert!(
                error.starts_with(place) && error.contains(part),
                "{text}: {error}"
            );
            assert!(!error.contains('\n'), "{text}: one line: {error}");
        }
    }
}
