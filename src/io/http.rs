//! The little HTTP/1.1 the public listener speaks (RFC 9112): one request per connection, answered from a table.
//!
//! Pure: a request head in, a decision out. Bodies of requests are never read. Every answer closes the connection,
//! and carries headers that let the page do what it needs and nothing else.

use tungstenite::handshake::derive_accept_key;

use super::site;
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

/// What the public listener offers.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Whether the call page is served.
    pub serve_page: bool,
    /// In dev mode: the credential of every room, told to the page at `/dev.json`.
    pub dev_credential: Option<String>,
    /// Origins of pages that may open a WebSocket, e.g. `https://example.org`; `*` for all. The page served from
    /// here is always allowed, and so are clients that name no origin, which browsers always do.
    pub origins: Vec<String>,
}

/// WebSocket subprotocols we speak beside the base protocol, which has no name.
const SUBPROTOCOLS: &[&str] = &[];

/// What to do with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The head is not complete yet.
    More,
    /// Write these bytes and close.
    Answer(Vec<u8>),
    /// Write these bytes and speak WebSocket; the rest of the input from this offset on belongs to it.
    Upgrade(Vec<u8>, usize),
}

/// The header fields we look at.
#[derive(Debug, Default)]
struct Head<'a> {
    method: &'a str,
    path: &'a str,
    host: Option<&'a str>,
    origin: Option<&'a str>,
    upgrade: bool,
    connection_upgrade: bool,
    version: Option<&'a str>,
    key: Option<&'a str>,
    protocols: Vec<&'a str>,
}

/// Decides about the bytes received so far.
pub(super) fn decide(site: &Site, input: &[u8]) -> Decision {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() < HTTP_HEAD_BYTES_MAX => {
            return Decision::More;
        }
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return error(431, "the request head is too large");
        }
        Err(_) => return error(400, "this is no HTTP/1.1 request"),
    };
    let Some(head) = read_head(&request) else {
        return error(400, "a header field is no text");
    };
    match head.path == "/ws" || head.path.starts_with("/ws/") {
        true => upgrade(site, &head, length),
        false => Decision::Answer(answer(site, &head)),
    }
}

fn read_head<'a>(request: &httparse::Request<'_, 'a>) -> Option<Head<'a>> {
    let target = request.path?;
    let mut head = Head {
        method: request.method?,
        path: target.split(['?', '#']).next().unwrap_or(target),
        ..Head::default()
    };
    for header in request.headers.iter() {
        let value = || std::str::from_utf8(header.value).ok().map(str::trim);
        let name = header.name.to_ascii_lowercase();
        match name.as_str() {
            "host" => head.host = Some(value()?),
            "origin" => head.origin = Some(value()?),
            "upgrade" => head.upgrade = has_token(value()?, "websocket"),
            "connection" => head.connection_upgrade |= has_token(value()?, "upgrade"),
            "sec-websocket-version" => head.version = Some(value()?),
            "sec-websocket-key" => head.key = Some(value()?),
            "sec-websocket-protocol" => head.protocols.extend(value()?.split(',').map(str::trim)),
            _ => {}
        }
    }
    Some(head)
}

/// Whether the comma-separated list names `token`, whatever its case (RFC 9110 section 5.6.1).
fn has_token(list: &str, token: &str) -> bool {
    list.split(',')
        .any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// RFC 6455 section 4.2. Offers of extensions are ignored, which declines them.
fn upgrade(site: &Site, head: &Head<'_>, length: usize) -> Decision {
    if head.method != "GET" {
        return error(405, "only GET");
    }
    if !head.upgrade || !head.connection_upgrade {
        return error(426, "this address speaks WebSocket only");
    }
    if head.version != Some("13") {
        return error(426, "only version 13 of WebSocket");
    }
    if !origin_allowed(site, head) {
        return error(
            403,
            "pages of this origin may not connect; the operator can allow it by `public.origins`",
        );
    }
    // 16 bytes in base64.
    let Some(key) = head.key.filter(|key| key.len() == 24) else {
        return error(
            400,
            "Sec-WebSocket-Key is missing or not 24 characters long",
        );
    };
    let known = |p: &&str| SUBPROTOCOLS.contains(p);
    if !head.protocols.is_empty() && !head.protocols.iter().any(known) {
        let text = match SUBPROTOCOLS.is_empty() {
            true => "unknown subprotocol; known ones: none (ask for no subprotocol to speak the base protocol)".to_owned(),
            false => format!("unknown subprotocol; known ones: {}", SUBPROTOCOLS.join(", ")),
        };
        return error(400, &text);
    }
    let accept = derive_accept_key(key.as_bytes());
    let text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Decision::Upgrade(text.into_bytes(), length)
}

/// threats.md rule 9. Without this any page a user visits could use the user's network position.
fn origin_allowed(site: &Site, head: &Head<'_>) -> bool {
    let Some(origin) = head.origin else {
        return true;
    };
    if site
        .origins
        .iter()
        .any(|o| o == "*" || o.eq_ignore_ascii_case(origin))
    {
        return true;
    }
    let own = origin.split_once("://").map(|(_, host)| host);
    matches!((own, head.host), (Some(own), Some(host)) if own.eq_ignore_ascii_case(host))
}

fn answer(site: &Site, head: &Head<'_>) -> Vec<u8> {
    let with_body = match head.method {
        "GET" => true,
        "HEAD" => false,
        _ => {
            return response(
                405,
                "text/plain; charset=utf-8",
                b"only GET and HEAD\n",
                true,
            );
        }
    };
    if let Some(credential) = &site.dev_credential
        && head.path == "/dev.json"
    {
        let body = serde_json::json!({ "credential": credential, "ws": "/ws" }).to_string();
        return response(200, "application/json", body.as_bytes(), with_body);
    }
    match site::asset(head.path).filter(|_| site.serve_page) {
        Some(asset) => response(200, asset.content_type, asset.body, with_body),
        None => response(
            404,
            "text/plain; charset=utf-8",
            b"nothing here\n",
            with_body,
        ),
    }
}

fn error(status: u16, text: &str) -> Decision {
    let body = format!("{text}\n");
    Decision::Answer(response(
        status,
        "text/plain; charset=utf-8",
        body.as_bytes(),
        true,
    ))
}

/// The answer to a WebSocket that the server has no room for.
pub(super) fn unavailable(text: &str) -> Vec<u8> {
    let body = format!("{text}\n");
    response(503, "text/plain; charset=utf-8", body.as_bytes(), true)
}

/// The answer to a client that has not sent a whole request in time.
pub(super) fn too_slow() -> Vec<u8> {
    response(
        408,
        "text/plain; charset=utf-8",
        b"the request took too long\n",
        true,
    )
}

fn response(status: u16, content_type: &str, body: &[u8], with_body: bool) -> Vec<u8> {
    let extra = match status {
        405 => "Allow: GET, HEAD\r\n",
        426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        503 => "Retry-After: 1\r\n",
        _ => "",
    };
    let connection = match status {
        426 => "Upgrade, close",
        _ => "close",
    };
    let mut out = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: {connection}\r\n{extra}{SECURITY_HEADERS}\r\n",
        reason(status),
        body.len(),
    )
    .into_bytes();
    if with_body {
        out.extend_from_slice(body);
    }
    out
}

/// Scripts and styles from here only; no frames; referrers would carry the token of the page's address.
const SECURITY_HEADERS: &str = "Cache-Control: no-cache\r\n\
    Content-Security-Policy: default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; media-src 'self' blob: mediastream:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'\r\n\
    Permissions-Policy: camera=(self), microphone=(self), display-capture=(self)\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Cross-Origin-Opener-Policy: same-origin\r\n";

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site {
            serve_page: true,
            dev_credential: Some("sesame".into()),
            origins: vec!["https://app.example.org".into()],
        }
    }

    fn ask(site: &Site, head: &str) -> (u16, String) {
        let bytes = match decide(site, head.replace('\n', "\r\n").as_bytes()) {
            Decision::More => return (0, String::new()),
            Decision::Answer(bytes) => bytes,
            Decision::Upgrade(bytes, length) => {
                assert_eq!(length, head.replace('\n', "\r\n").len());
                bytes
            }
        };
        let text = String::from_utf8(bytes).unwrap();
        (text[9..12].parse().unwrap(), text)
    }

    const WS: &str = "GET /ws HTTP/1.1\nHost: h:1\nConnection: keep-alive, Upgrade\nUpgrade: WebSocket\n\
        Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n";

    #[test]
    fn upgrade_answers_with_the_accept_key_of_the_rfc() {
        let (status, text) = ask(&site(), &format!("{WS}\n"));
        assert_eq!(status, 101);
        // The example of RFC 6455 section 1.3.
        assert!(text.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!text.contains("Extensions"));
    }

    #[test]
    fn upgrades_are_refused_with_a_reason() {
        for (head, status, word) in [
            (format!("{WS}Origin: http://h:1\n\n"), 101, ""),
            (format!("{WS}Origin: https://APP.example.org\n\n"), 101, ""),
            (
                format!("{WS}Origin: https://evil.example\n\n"),
                403,
                "origin",
            ),
            (format!("{WS}Origin: null\n\n"), 403, "origin"),
            (
                format!("{WS}Origin: http://h:1.evil.example\n\n"),
                403,
                "origin",
            ),
            (
                format!("{WS}Sec-WebSocket-Protocol: chat, colchis.v9\n\n"),
                400,
                "none",
            ),
            (
                format!("{WS}Sec-WebSocket-Extensions: permessage-deflate\n\n"),
                101,
                "",
            ),
            (
                format!("{}\n", WS.replace("13", "8")),
                426,
                "Sec-WebSocket-Version: 13",
            ),
            (
                format!("{}\n", WS.replace("Upgrade: WebSocket\n", "")),
                426,
                "WebSocket only",
            ),
            (
                format!("{}\n", WS.replace("==", "")),
                400,
                "Sec-WebSocket-Key",
            ),
            (
                format!("{}\n", WS.replace("GET", "POST")),
                405,
                "Allow: GET",
            ),
        ] {
            let (got, text) = ask(&site(), &head);
            assert_eq!(got, status, "{head}");
            assert!(text.contains(word), "{head}: {text}");
        }
        let any = Site {
            origins: vec!["*".into()],
            ..site()
        };
        assert_eq!(
            ask(&any, &format!("{WS}Origin: https://evil.example\n\n")).0,
            101
        );
    }

    #[test]
    fn page_and_dev_credential_only_where_they_belong() {
        let get = |site: &Site, path: &str| ask(site, &format!("GET {path} HTTP/1.1\nHost: h\n\n"));
        let (status, page) = get(&site(), "/?room=r&name=n&join=1");
        assert_eq!(status, 200);
        assert!(page.contains("Content-Type: text/html") && page.contains("nosniff"));
        assert!(
            get(&site(), "/dev.json")
                .1
                .contains(r#"{"credential":"sesame","ws":"/ws"}"#)
        );
        let bare = Site::default();
        for path in ["/", "/index.html", "/dev.json", "/app.js"] {
            assert_eq!(get(&bare, path).0, 404, "{path}");
        }
        let (status, head) = ask(&site(), "HEAD / HTTP/1.1\nHost: h\n\n");
        assert_eq!(status, 200);
        assert!(head.ends_with("\r\n\r\n"));
        assert_eq!(ask(&site(), "DELETE / HTTP/1.1\n\n").0, 405);
    }

    #[test]
    fn heads_are_bounded_and_total() {
        assert_eq!(ask(&site(), "GET / HTTP/1.1\nHost:").0, 0);
        assert_eq!(ask(&site(), "\u{16}\u{3}\u{1} TLS?\n\n").0, 400);
        let long = format!("GET / HTTP/1.1\nX: {}", "x".repeat(HTTP_HEAD_BYTES_MAX));
        assert_eq!(ask(&site(), &long).0, 431);
        let many = format!(
            "GET / HTTP/1.1\n{}\n",
            "A: b\n".repeat(HTTP_HEADERS_MAX + 1)
        );
        assert_eq!(ask(&site(), &many).0, 431);
        let whole = format!("{WS}\n").replace('\n', "\r\n");
        for cut in 0..whole.len() {
            assert_eq!(
                decide(&site(), &whole.as_bytes()[..cut]),
                Decision::More,
                "{cut}"
            );
        }
    }
}
