//! The files of the page.

/// A file: its path, its media type and its text.
pub(super) type Asset = (&'static str, &'static str, &'static str);

macro_rules! assets {
    ($($kind:ident: $($name:literal)*;)*) => {
        &[$($(($name, $kind, include_str!(concat!("assets/", $name))),)*)*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const JSON: &str = "application/json";

const ASSETS: &[Asset] = assets! {
    HTML: "index.html";
    CSS: "console.css" "trace.css" "views.css";
    SVG: "icon.svg";
    JSON: "samples.json";
    JAVASCRIPT: "main.js" "dom.js" "format.js" "store.js" "model.js" "filter.js" "grid.js" "traces.js" "trace.js" "waterfall.js" "lanes.js"
        "details.js" "logs.js" "map.js" "graph.js" "environments.js" "messages.js" "send.js";
};

/// The file at this path of the page.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    let name = if path == "/" { "index.html" } else { path.strip_prefix('/')? };
    ASSETS.iter().find(|(known, ..)| *known == name)
}
