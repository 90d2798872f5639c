//! A trace as a tree with a bar for the time of each segment.

use super::{
    WIDTH,
    paint::{self, Color, Ink},
};
use crate::xray::{Document, Kind, Source, Trace, TraceStore};
use serde_json::Value;
use std::{collections::HashSet, fmt::Write, sync::Arc};

/// Columns of the tree with the names.
const NAME: usize = 46;
/// Columns of the bars.
const BAR: usize = 38;

/// Renders the traces with these ids one below the other; an id that is not in the store has a line that says so.
pub fn traces<I: AsRef<str>>(store: &TraceStore, ids: &[I]) -> String {
    let one = |id: &I| match store.trace(id.as_ref()) {
        Some(trace) => waterfall(&trace),
        None => format!("Trace {} is not in the store\n", id.as_ref()),
    };
    ids.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Renders one trace, with colors as [`Color::auto`] finds them.
pub fn waterfall(trace: &Trace) -> String {
    waterfall_in(trace, Color::auto())
}

/// Renders one trace: a line per segment and subsegment with its name, its time and how it ended, and below it in short what it did.
pub fn waterfall_in(trace: &Trace, color: Color) -> String {
    let start = trace.documents.first().map_or(0.0, |document| document.start);
    let mut waterfall =
        Waterfall { trace, color, start, duration: trace.duration(), printed: HashSet::new(), out: String::new() };
    waterfall.title();
    let known: HashSet<&str> = trace.documents.iter().map(|document| document.id.as_str()).collect();
    let is_root = |document: &Document| !document.parent_id.as_deref().is_some_and(|parent| known.contains(parent));
    for root in trace.documents.iter().filter(|document| is_root(document)) {
        waterfall.document(root, "", "");
    }
    // The remaining documents are circles of parents.
    for document in &trace.documents {
        waterfall.document(document, "", "");
    }
    waterfall.out
}

struct Waterfall<'a> {
    trace: &'a Trace,
    color: Color,
    start: f64,
    duration: f64,
    printed: HashSet<&'a str>,
    out: String,
}

impl<'a> Waterfall<'a> {
    fn title(&mut self) {
        let count = self.trace.documents.len();
        let documents = if count == 1 { "document" } else { "documents" };
        let rest = format!(" · {count} {documents} · {}", paint::milliseconds(self.duration));
        let id = self.color.paint(Ink::Bold, &self.trace.id);
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "Trace {id}{}", self.color.paint(Ink::Dim, &rest));
        let end = paint::milliseconds(self.duration);
        let scale = format!("{:NAME$} 0{end:>w$} {:>10} {:>10}", "", "start", "duration", w = BAR - 1);
        let _ = writeln!(self.out, "{}", self.color.paint(Ink::Dim, &scale));
    }

    /// Prints a document and all below it. `branch` leads to its name, `trunk` to what is below it.
    fn document(&mut self, document: &'a Arc<Document>, branch: &str, trunk: &str) {
        if !self.printed.insert(&document.id) {
            return;
        }
        self.line(document, branch);
        let trace = self.trace;
        let children: Vec<_> =
            trace.children(&document.id).into_iter().filter(|child| !self.printed.contains(child.id.as_str())).collect();
        let guide = if children.is_empty() { "    " } else { "│ " };
        for (ink, text) in details(document, trace) {
            let lead = format!("{trunk}{guide}");
            let text = paint::cut(&text, WIDTH.saturating_sub(paint::width(&lead)));
            let (lead, text) = (self.color.paint(Ink::Dim, &lead), self.color.paint(ink, &text));
            let _ = writeln!(self.out, "{lead}{text}");
        }
        for (index, child) in children.iter().enumerate() {
            let last = index + 1 == children.len();
            let (branch, below) = if last { ("└ ", "  ") } else { ("├ ", "│ ") };
            self.document(child, &format!("{trunk}{branch}"), &format!("{trunk}{below}"));
        }
    }

    fn line(&mut self, document: &Document, branch: &str) {
        let branch = paint::cut(branch, NAME - 12);
        let mut free = NAME - paint::width(&branch);
        let name = paint::cut(&document.name, free);
        free -= paint::width(&name);
        let origin = document.origin.as_deref().map(|origin| format!("  {origin}")).unwrap_or_default();
        let origin = if paint::width(&origin) <= free { origin } else { String::new() };
        free -= paint::width(&origin);

        let offset = paint::milliseconds(document.start - self.start);
        let duration = document.duration().map_or_else(|| "unfinished".into(), paint::milliseconds);
        let duration_ink = if document.in_progress { Ink::Yellow } else { Ink::Plain };
        let ink = ink(document);
        let name_ink = if matches!(ink, Ink::Red | Ink::Yellow | Ink::Magenta) { ink } else { Ink::Plain };
        let paint = |ink, text: &str| self.color.paint(ink, text);
        let line = format!(
            "{}{}{}{} {} {} {}{}",
            paint(Ink::Dim, &branch),
            paint(name_ink, &name),
            paint(Ink::Dim, &origin),
            " ".repeat(free),
            paint(ink, &self.bar(document)),
            paint(Ink::Dim, &format!("{offset:>10}")),
            paint(duration_ink, &format!("{duration:>10}")),
            paint(ink, mark(document)),
        );
        self.out += &line;
        self.out.push('\n');
    }

    /// The time from start to end in half columns; of a document that never ended, the time it may have taken.
    fn bar(&self, document: &Document) -> String {
        let steps = 2 * BAR;
        let step = |time: f64| {
            let share = if self.duration > 0.0 { (time - self.start) / self.duration } else { 0.0 };
            // At most twice the columns of the bar.
            #[allow(clippy::cast_sign_loss, reason = "clamped to 0 and above")]
            let step = (share.clamp(0.0, 1.0) * steps as f64).round() as usize;
            step
        };
        let from = step(document.start).min(steps - 1);
        let to = document.end.map_or(steps, step).max(from + 1);
        let filled = |column: usize| [2 * column, 2 * column + 1].map(|step| (from..to).contains(&step));
        (0..BAR)
            .map(|column| match filled(column) {
                [false, false] => ' ',
                _ if document.in_progress => '░',
                [true, true] => '█',
                [true, false] => '▌',
                [false, true] => '▐',
            })
            .collect()
    }
}

fn ink(document: &Document) -> Ink {
    match document {
        Document { fault: true, .. } => Ink::Red,
        Document { throttle: true, .. } => Ink::Magenta,
        Document { error: true, .. } => Ink::Yellow,
        Document { source: Source::Platform, .. } => Ink::Dim,
        Document { namespace: Some(_), .. } => Ink::Blue,
        _ => Ink::Green,
    }
}

fn mark(document: &Document) -> &'static str {
    match document {
        Document { fault: true, .. } => "  ✗ fault",
        Document { throttle: true, .. } => "  ✗ throttle",
        Document { error: true, .. } => "  ✗ error",
        _ => "",
    }
}

/// A short description of a document, a line for each fact.
fn details(document: &Document, trace: &Trace) -> Vec<(Ink, String)> {
    let mut lines = Vec::new();
    if let Some(parent) = document.parent_id.as_deref().filter(|parent| trace.document(parent).is_none()) {
        lines.push((Ink::Red, format!("parent {parent} is not in the trace")));
    }
    lines.extend(deed(document).map(|text| (Ink::Plain, text)));
    for exception in document.exceptions() {
        let kind = exception.kind.as_deref().unwrap_or("exception");
        let message = exception.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        lines.push((Ink::Red, format!("{kind}{message}")));
    }
    if !document.links.is_empty() {
        let arrows = document.links.iter().map(|link| format!("→ {}", short(&link.trace_id)));
        lines.push((Ink::Cyan, arrows.collect::<Vec<_>>().join("  ")));
    }
    if !document.annotations.is_empty() {
        let pairs = document.annotations.iter().map(|(key, value)| match value {
            Value::String(text) => format!("{key}={text}"),
            other => format!("{key}={other}"),
        });
        lines.push((Ink::Dim, pairs.collect::<Vec<_>>().join("  ")));
    }
    lines
}

/// The request and its result: the operation of an AWS service or the HTTP request, and the HTTP status.
fn deed(document: &Document) -> Option<String> {
    let status = document.http.as_ref().and_then(|http| http.status);
    let status = status.map(|status| format!("→ {status}"));
    let parts: Vec<String> = aws(document).or_else(|| request(document)).into_iter().chain(status).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// The method and the route, or the URL without its query.
fn request(document: &Document) -> Option<String> {
    let http = document.http.as_ref()?;
    let default = document.metadata.get("default");
    let route = default.and_then(|default| default.get("http.route")).and_then(Value::as_str);
    let url = http.url.as_deref().and_then(|url| url.split(['?', '#']).next());
    let parts: Vec<&str> = http.method.as_deref().into_iter().chain(route.or(url)).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// The operation and what it was done to.
fn aws(document: &Document) -> Option<String> {
    const RESOURCES: [&str; 5] = ["queue_url", "table_name", "topic_arn", "bucket_name", "function_name"];
    let text = |key| document.aws.get(key).and_then(Value::as_str);
    let operation = text("operation").filter(|_| document.kind == Kind::Subsegment)?;
    // A queue is known by the end of its URL, a topic by the end of its ARN.
    let resources = RESOURCES.into_iter().filter_map(text).map(|name| name.rsplit(['/', ':']).next().unwrap_or(name));
    Some(std::iter::once(operation).chain(resources).collect::<Vec<_>>().join(" · "))
}

/// Enough of a trace id to find it by eye: its time and its end.
fn short(trace_id: &str) -> String {
    match trace_id.split('-').collect::<Vec<_>>()[..] {
        [_, epoch, unique] if unique.len() > 6 && unique.is_ascii() => {
            format!("1-{epoch}-…{}", &unique[unique.len() - 6..])
        }
        _ => trace_id.to_owned(),
    }
}
