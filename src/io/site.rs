//! What the public listener serves besides WebSockets: the call page, embedded in the binary.

/// One file of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asset {
    /// Path below `/`.
    pub(super) path: &'static str,
    /// Content type.
    pub(super) content_type: &'static str,
    /// Contents.
    pub(super) body: &'static [u8],
}

macro_rules! assets {
    ($($path:literal => $content_type:expr,)*) => {
        &[$(Asset {
            path: $path,
            content_type: $content_type,
            body: include_bytes!(concat!("../../web/", $path)),
        },)*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

const ASSETS: &[Asset] = assets! {
    "index.html" => HTML,
    "app.js" => JS,
    "call.js" => JS,
    "colchis-client.js" => JS,
    "colchis-peer.js" => JS,
    "colchis-stats.js" => JS,
    "devices.js" => JS,
    "tiles.js" => JS,
    "style.css" => CSS,
    "favicon.svg" => SVG,
};

/// The file at `path` (with its leading `/`); `/` is `index.html`.
pub(super) fn asset(path: &str) -> Option<&'static Asset> {
    let name = match path.strip_prefix('/')? {
        "" => "index.html",
        name => name,
    };
    ASSETS.iter().find(|asset| asset.path == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let served =
                !name.ends_with(".json") && !name.ends_with(".test.js") && name.contains('.');
            assert_eq!(asset(&format!("/{name}")).is_some(), served, "{name}");
        }
        assert_eq!(asset("/").unwrap().content_type, HTML);
        for path in ["", "index.html", "/../Cargo.toml", "//", "/nothing"] {
            assert!(asset(path).is_none(), "{path}");
        }
    }
}
