//! A segment or subsegment as a reader wants it.

use serde_json::{Map, Value};

/// Who sent a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A datagram to the daemon.
    Daemon,
    /// `PutTraceSegments`.
    Api,
    /// Lambda itself, played by the sandbox.
    Platform,
    /// OTLP in a datagram to the daemon. The document shows what [`OtlpSpan`](super::OtlpSpan) has.
    Otlp,
}

/// Whether a document is a segment or a subsegment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A service's own work.
    Segment,
    /// Part of a segment, sent on its own or nested in its parent.
    Subsegment,
}

/// One segment or subsegment. Times are seconds since the epoch.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are the fields of the format")]
pub struct Document {
    /// `trace_id`, as in `1-5759e988-bd862e3fe1be46a994272793`; of a nested subsegment the one of its document.
    pub trace_id: String,
    /// `id`, 16 hexadecimal digits.
    pub id: String,
    /// `parent_id`; of a nested subsegment the id of the one it is nested in.
    pub parent_id: Option<String>,
    /// `name`.
    pub name: String,
    /// Segment or subsegment.
    pub kind: Kind,
    /// True for a subsegment that came inside another's `subsegments`.
    pub nested: bool,
    /// `start_time`.
    pub start: f64,
    /// `end_time`; `None` while in progress.
    pub end: Option<f64>,
    /// True as long as no finished document with this id has come.
    pub in_progress: bool,
    /// `fault`: 5xx, an exception.
    pub fault: bool,
    /// `error`: 4xx.
    pub error: bool,
    /// `throttle`: 429.
    pub throttle: bool,
    /// `namespace`: `aws`, `remote` or nothing.
    pub namespace: Option<String>,
    /// `origin`, as in `AWS::Lambda::Function`.
    pub origin: Option<String>,
    /// `annotations`.
    pub annotations: Map<String, Value>,
    /// `metadata`, by namespace.
    pub metadata: Map<String, Value>,
    /// `links` to other traces.
    pub links: Vec<Link>,
    /// `cause`.
    pub cause: Option<Cause>,
    /// `http`.
    pub http: Option<Http>,
    /// `aws`.
    pub aws: Map<String, Value>,
    /// Who sent it.
    pub source: Source,
    /// Bytes of the document as it was sent; 0 for a nested subsegment.
    pub size: usize,
    /// Irregularities that break no rule: a size above 64,000 bytes, unknown fields.
    pub warnings: Vec<String>,
    /// The whole document.
    pub raw: Value,
}

/// A link to another trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The other trace.
    pub trace_id: String,
    /// A segment or subsegment in it.
    pub id: String,
    /// `attributes`.
    pub attributes: Map<String, Value>,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// The id of an exception that another subsegment describes.
    Exception(String),
    /// The exceptions themselves.
    Exceptions(Vec<Exception>),
}

/// One exception of a cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// `id`, 16 hexadecimal digits.
    pub id: String,
    /// `type`.
    pub kind: Option<String>,
    /// `message`.
    pub message: Option<String>,
    /// `remote`: thrown by a service that was called.
    pub remote: bool,
    /// `cause`: the id of the exception that led to this one.
    pub cause: Option<String>,
    /// `stack`.
    pub stack: Vec<Frame>,
}

/// One frame of a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// `path` of the source file.
    pub path: Option<String>,
    /// `line` in it.
    pub line: Option<u64>,
    /// `label`: the function.
    pub label: Option<String>,
}

/// An HTTP request and its response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// `request.method`.
    pub method: Option<String>,
    /// `request.url`.
    pub url: Option<String>,
    /// `request.user_agent`.
    pub user_agent: Option<String>,
    /// `request.client_ip`.
    pub client_ip: Option<String>,
    /// `response.status`.
    pub status: Option<u16>,
    /// `response.content_length`.
    pub content_length: Option<u64>,
}

impl Document {
    /// Seconds from start to end; `None` while in progress.
    pub fn duration(&self) -> Option<f64> {
        self.end.map(|end| end - self.start)
    }

    /// The text of an annotation, if it is a string.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).and_then(Value::as_str)
    }

    /// The exceptions described here.
    pub fn exceptions(&self) -> &[Exception] {
        match &self.cause {
            Some(Cause::Exceptions(exceptions)) => exceptions,
            _ => &[],
        }
    }

    /// The document and everything nested in it, parents first. `raw` must have been judged sound.
    pub(super) fn flatten(raw: Value, source: Source, size: usize, warnings: Vec<String>) -> Vec<Self> {
        let mut all = Vec::new();
        let trace_id = text(&raw, "trace_id").unwrap_or_default();
        add_nested(&raw, &trace_id, source, &mut all);
        let mut document = Self::read(raw, trace_id, source);
        document.size = size;
        document.warnings = warnings;
        all.insert(0, document);
        all
    }

    fn read(raw: Value, trace_id: String, source: Source) -> Self {
        let flag = |key| raw.get(key).and_then(Value::as_bool).unwrap_or(false);
        Self {
            trace_id,
            id: text(&raw, "id").unwrap_or_default(),
            parent_id: text(&raw, "parent_id"),
            name: text(&raw, "name").unwrap_or_default(),
            kind: if raw["type"] == "subsegment" { Kind::Subsegment } else { Kind::Segment },
            nested: false,
            start: raw["start_time"].as_f64().unwrap_or_default(),
            end: raw["end_time"].as_f64(),
            in_progress: flag("in_progress"),
            fault: flag("fault"),
            error: flag("error"),
            throttle: flag("throttle"),
            namespace: text(&raw, "namespace"),
            origin: text(&raw, "origin"),
            annotations: object(&raw, "annotations"),
            metadata: object(&raw, "metadata"),
            links: list(&raw, "links").map(Link::read).collect(),
            cause: raw.get("cause").map(Cause::read),
            http: raw.get("http").map(Http::read),
            aws: object(&raw, "aws"),
            source,
            size: 0,
            warnings: Vec::new(),
            raw,
        }
    }
}

fn add_nested(parent: &Value, trace_id: &str, source: Source, all: &mut Vec<Document>) {
    for raw in list(parent, "subsegments") {
        let mut document = Document::read(raw.clone(), trace_id.to_owned(), source);
        document.parent_id = text(parent, "id");
        document.kind = Kind::Subsegment;
        document.nested = true;
        all.push(document);
        add_nested(raw, trace_id, source, all);
    }
}

impl Link {
    fn read(raw: &Value) -> Self {
        Self {
            trace_id: text(raw, "trace_id").unwrap_or_default(),
            id: text(raw, "id").unwrap_or_default(),
            attributes: object(raw, "attributes"),
        }
    }
}

impl Cause {
    fn read(raw: &Value) -> Self {
        match raw {
            Value::String(id) => Self::Exception(id.clone()),
            _ => Self::Exceptions(list(raw, "exceptions").map(Exception::read).collect()),
        }
    }
}

impl Exception {
    fn read(raw: &Value) -> Self {
        Self {
            id: text(raw, "id").unwrap_or_default(),
            kind: text(raw, "type"),
            message: text(raw, "message"),
            remote: raw["remote"].as_bool().unwrap_or(false),
            cause: text(raw, "cause"),
            stack: list(raw, "stack").map(Frame::read).collect(),
        }
    }
}

impl Frame {
    fn read(raw: &Value) -> Self {
        Self { path: text(raw, "path"), line: raw["line"].as_u64(), label: text(raw, "label") }
    }
}

impl Http {
    fn read(raw: &Value) -> Self {
        let (request, response) = (&raw["request"], &raw["response"]);
        Self {
            method: text(request, "method"),
            url: text(request, "url"),
            user_agent: text(request, "user_agent"),
            client_ip: text(request, "client_ip"),
            status: response["status"].as_u64().and_then(|status| u16::try_from(status).ok()),
            content_length: response["content_length"].as_u64(),
        }
    }
}

fn text(raw: &Value, key: &str) -> Option<String> {
    raw.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn object(raw: &Value, key: &str) -> Map<String, Value> {
    raw.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
}

fn list<'a>(raw: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    raw.get(key).and_then(Value::as_array).into_iter().flatten()
}
