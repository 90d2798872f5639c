//! The rules of "X-Ray segment documents" (AWS X-Ray Developer Guide) that the published schema does not state.

use super::{json, schema};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Most bytes of one UDP datagram over IPv4.
pub const MAX_DATAGRAM_BYTES: usize = 65_507;
/// Most bytes of one segment document (64 KB).
pub const MAX_DOCUMENT_BYTES: usize = 65_536;
/// Above this size lambda-lifecycle sheds parts of a document; a larger one is accepted with a warning.
pub const SHED_ABOVE_BYTES: usize = 64_000;
/// Most bytes of one trace (500 KB).
pub const MAX_TRACE_BYTES: usize = 500_000;
/// Longest name of a segment or subsegment.
pub const MAX_NAME_CHARS: usize = 200;
/// Longest string in `http`, `aws` and `user`.
pub const MAX_STRING_CHARS: usize = 250;
/// Most annotations of one document: X-Ray indexes 50 per trace.
pub const MAX_ANNOTATIONS: usize = 50;
/// Most links of one document.
pub const LINKS_PER_DOCUMENT: usize = 20;

/// The start of every datagram: the header line and its newline.
pub(super) const HEADER: &[u8] = b"{\"format\":\"json\",\"version\":1}\n";

/// 2001 to 2286: a time in milliseconds lies far outside.
const PLAUSIBLE_SECONDS: std::ops::Range<f64> = 1e9..1e10;

const KNOWN: [&str; 27] = [
    "annotations",
    "aws",
    "cause",
    "end_time",
    "error",
    "fault",
    "http",
    "id",
    "in_progress",
    "links",
    "metadata",
    "name",
    "namespace",
    "origin",
    "parent_id",
    "precursor_ids",
    "resource_arn",
    "service",
    "sql",
    "start_time",
    "subsegments",
    "throttle",
    "trace_id",
    "traced",
    "type",
    "user",
    "inferred",
];

/// A document that broke no rule, and what is odd about it nevertheless.
pub(super) struct Sound {
    pub(super) document: Value,
    pub(super) warnings: Vec<String>,
}

/// The document of a datagram, or OTLP, without the header line.
pub(super) fn body(datagram: &[u8]) -> Result<&[u8], Vec<String>> {
    if datagram.len() > MAX_DATAGRAM_BYTES {
        return Err(vec![format!("a datagram of {} bytes (at most {MAX_DATAGRAM_BYTES})", datagram.len())]);
    }
    let Some(body) = datagram.strip_prefix(HEADER) else {
        let line = datagram.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]);
        return Err(vec![format!("the header line is `{shown}`, not `{{\"format\":\"json\",\"version\":1}}` and a newline")]);
    };
    Ok(body)
}

/// Judges one document.
pub(super) fn judge(bytes: &[u8]) -> Result<Sound, Vec<String>> {
    let document = json::parse(bytes).map_err(|error| vec![format!("not one JSON document: {error}")])?;
    let Value::Object(fields) = &document else {
        return Err(vec!["the document is not a JSON object".into()]);
    };
    let mut reasons = Vec::new();
    if bytes.len() > MAX_DOCUMENT_BYTES {
        reasons.push(format!("a document of {} bytes (at most {MAX_DOCUMENT_BYTES})", bytes.len()));
    }
    schema::validate(&document, &mut reasons);
    let mut judge = Judge { reasons, warnings: Vec::new(), ids: HashSet::new(), exceptions: HashSet::new(), causes: Vec::new() };
    if bytes.len() > SHED_ABOVE_BYTES {
        judge.warnings.push(format!("a document of {} bytes (more than {SHED_ABOVE_BYTES})", bytes.len()));
    }
    judge.top(fields);
    judge.segment(fields, "");
    judge.dangling_causes();
    if judge.reasons.is_empty() {
        let warnings = judge.warnings;
        Ok(Sound { document, warnings })
    } else {
        Err(judge.reasons)
    }
}

struct Judge<'a> {
    reasons: Vec<String>,
    warnings: Vec<String>,
    ids: HashSet<&'a str>,
    exceptions: HashSet<&'a str>,
    causes: Vec<(String, &'a str)>,
}

impl<'a> Judge<'a> {
    fn bad(&mut self, place: &str, reason: impl std::fmt::Display) {
        let place = if place.is_empty() { "the document" } else { place };
        self.reasons.push(format!("{place}: {reason}"));
    }

    /// Rules for a document that do not apply to its nested subsegments.
    fn top(&mut self, fields: &'a Map<String, Value>) {
        if let Some(id) = fields.get("trace_id").and_then(Value::as_str)
            && !is_trace_id(id)
        {
            self.bad("/trace_id", format_args!("`{id}` is not 1-<8 hex>-<24 hex>"));
        }
        match fields.get("type").map(Value::as_str) {
            None => {}
            Some(Some("subsegment")) => {
                for key in ["parent_id", "trace_id"] {
                    if !fields.contains_key(key) {
                        self.bad("", format_args!("a subsegment sent on its own needs `{key}`"));
                    }
                }
            }
            Some(_) => self.bad("/type", "must be \"subsegment\" or absent"),
        }
    }

    fn segment(&mut self, fields: &'a Map<String, Value>, place: &str) {
        for key in fields.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
            self.warnings.push(format!("{place}/{key}: a field that X-Ray does not know"));
        }
        self.identity(fields, place);
        self.time(fields, place);
        if let Some(namespace) = fields.get("namespace")
            && namespace != "aws"
            && namespace != "remote"
        {
            self.bad(&format!("{place}/namespace"), "must be \"aws\", \"remote\" or absent");
        }
        if fields.get("throttle") == Some(&Value::Bool(true)) && fields.get("error") != Some(&Value::Bool(true)) {
            self.warnings.push(format!("{place}/throttle: without `error`"));
        }
        self.annotations(fields, place);
        self.metadata(fields, place);
        for key in ["http", "aws", "user", "origin", "resource_arn"] {
            if let Some(value) = fields.get(key) {
                self.strings(value, &format!("{place}/{key}"));
            }
        }
        self.http(fields, place);
        self.cause(fields, place);
        self.links(fields, place);
        for (key, subsegments) in fields.iter().filter(|(key, _)| *key == "subsegments") {
            for (index, nested) in subsegments.as_array().into_iter().flatten().enumerate() {
                if let Value::Object(nested) = nested {
                    self.segment(nested, &format!("{place}/{key}/{index}"));
                }
            }
        }
    }

    fn identity(&mut self, fields: &'a Map<String, Value>, place: &str) {
        if let Some(id) = fields.get("id").and_then(Value::as_str) {
            if !is_id(id) {
                self.bad(&format!("{place}/id"), format_args!("`{id}` is not 16 hexadecimal digits, one of them not 0"));
            }
            if !self.ids.insert(id) {
                self.bad(&format!("{place}/id"), format_args!("`{id}` occurs twice in the document"));
            }
            if fields.get("parent_id").and_then(Value::as_str) == Some(id) {
                self.bad(&format!("{place}/parent_id"), "is the document's own id");
            }
        }
        if let Some(parent) = fields.get("parent_id").and_then(Value::as_str)
            && !is_id(parent)
        {
            self.bad(&format!("{place}/parent_id"), format_args!("`{parent}` is not 16 hexadecimal digits"));
        }
        if let Some(name) = fields.get("name").and_then(Value::as_str)
            && (name.trim().is_empty() || name.chars().count() > MAX_NAME_CHARS)
        {
            self.bad(&format!("{place}/name"), format_args!("must have 1 to {MAX_NAME_CHARS} characters"));
        }
    }

    fn time(&mut self, fields: &Map<String, Value>, place: &str) {
        let number = |key| fields.get(key).and_then(Value::as_f64);
        let (start, end) = (number("start_time"), number("end_time"));
        for (key, time) in [("start_time", start), ("end_time", end)] {
            if let Some(time) = time
                && !PLAUSIBLE_SECONDS.contains(&time)
            {
                self.bad(&format!("{place}/{key}"), format_args!("{time} is not a time in seconds since the epoch"));
            }
        }
        let in_progress = fields.get("in_progress") == Some(&Value::Bool(true));
        match (in_progress, fields.contains_key("end_time")) {
            (true, true) => self.bad(place, "has both `end_time` and `in_progress`"),
            (false, false) => self.bad(place, "has neither `end_time` nor `in_progress`"),
            _ => {}
        }
        if let (Some(start), Some(end)) = (start, end)
            && end < start
        {
            self.bad(&format!("{place}/end_time"), format_args!("{end} is before start_time {start}"));
        }
    }

    fn annotations(&mut self, fields: &Map<String, Value>, place: &str) {
        let count = fields.get("annotations").and_then(Value::as_object).map_or(0, Map::len);
        if count > MAX_ANNOTATIONS {
            self.bad(&format!("{place}/annotations"), format_args!("{count} of them (at most {MAX_ANNOTATIONS})"));
        }
    }

    fn metadata(&mut self, fields: &Map<String, Value>, place: &str) {
        let Some(metadata) = fields.get("metadata").and_then(Value::as_object) else {
            return;
        };
        for (namespace, keys) in metadata {
            let keys = keys.as_object().into_iter().flat_map(Map::keys);
            for key in std::iter::once(namespace).chain(keys).filter(|key| key.starts_with("AWS.")) {
                self.bad(&format!("{place}/metadata"), format_args!("`{key}`: keys that begin with `AWS.` are reserved"));
            }
        }
    }

    fn strings(&mut self, value: &Value, place: &str) {
        match value {
            Value::String(text) if text.chars().count() > MAX_STRING_CHARS => {
                self.bad(place, format_args!("a string of {} characters (at most {MAX_STRING_CHARS})", text.chars().count()));
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.strings(item, &format!("{place}/{index}"));
                }
            }
            Value::Object(items) => {
                for (key, item) in items {
                    self.strings(item, &format!("{place}/{key}"));
                }
            }
            _ => {}
        }
    }

    fn http(&mut self, fields: &Map<String, Value>, place: &str) {
        let Some(response) = fields.get("http").and_then(|http| http.get("response")) else {
            return;
        };
        if let Some(status) = response.get("status")
            && !status.as_u64().is_some_and(|status| (100..600).contains(&status))
        {
            self.bad(&format!("{place}/http/response/status"), format_args!("{status} is not an HTTP status"));
        }
        if let Some(length) = response.get("content_length")
            && length.as_u64().is_none()
        {
            self.bad(&format!("{place}/http/response/content_length"), format_args!("{length} is not a length"));
        }
    }

    fn cause(&mut self, fields: &'a Map<String, Value>, place: &str) {
        let place = format!("{place}/cause");
        let Some(cause) = fields.get("cause") else {
            return;
        };
        if let Value::String(id) = cause {
            self.causes.push((place, id));
            return;
        }
        for (index, exception) in cause.get("exceptions").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let place = format!("{place}/exceptions/{index}");
            if let Some(id) = exception.get("id").and_then(Value::as_str) {
                if !is_id(id) {
                    self.bad(&format!("{place}/id"), format_args!("`{id}` is not 16 hexadecimal digits"));
                }
                if !self.exceptions.insert(id) {
                    self.bad(&format!("{place}/id"), format_args!("`{id}` occurs twice in the document"));
                }
            }
            if let Some(id) = exception.get("cause").and_then(Value::as_str) {
                self.causes.push((format!("{place}/cause"), id));
            }
        }
    }

    fn dangling_causes(&mut self) {
        for (place, id) in std::mem::take(&mut self.causes) {
            if !self.exceptions.contains(id) {
                self.bad(&place, format_args!("`{id}` is the id of no exception in the document"));
            }
        }
    }

    fn links(&mut self, fields: &Map<String, Value>, place: &str) {
        let place = format!("{place}/links");
        let Some(links) = fields.get("links") else {
            return;
        };
        let Some(links) = links.as_array() else {
            return self.bad(&place, "must be an array");
        };
        if links.len() > LINKS_PER_DOCUMENT {
            self.bad(&place, format_args!("{} of them (at most {LINKS_PER_DOCUMENT})", links.len()));
        }
        for (index, link) in links.iter().enumerate() {
            let text = |key| link.get(key).and_then(Value::as_str);
            if !text("trace_id").is_some_and(is_trace_id) {
                self.bad(&format!("{place}/{index}/trace_id"), "must be 1-<8 hex>-<24 hex>");
            }
            if !text("id").is_some_and(is_id) {
                self.bad(&format!("{place}/{index}/id"), "must be 16 hexadecimal digits");
            }
            for (key, value) in link.as_object().into_iter().flatten() {
                match key.as_str() {
                    "trace_id" | "id" => {}
                    "attributes" if value.is_object() => {}
                    "attributes" => {
                        self.bad(&format!("{place}/{index}/attributes"), "must be an object");
                    }
                    _ => self.bad(&format!("{place}/{index}/{key}"), "is not a field of a link"),
                }
            }
        }
    }
}

/// 16 hexadecimal digits, not all zero.
fn is_id(id: &str) -> bool {
    is_hex(id, 16) && id.bytes().any(|digit| digit != b'0')
}

/// `1-<8 hex>-<24 hex>`; the first group need not be a time: identifiers of the W3C are accepted.
fn is_trace_id(id: &str) -> bool {
    let mut parts = id.split('-');
    parts.next() == Some("1")
        && parts.next().is_some_and(|epoch| is_hex(epoch, 8))
        && parts.next().is_some_and(|unique| is_hex(unique, 24))
        && parts.next().is_none()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
