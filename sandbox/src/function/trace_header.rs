//! The trace header Lambda sends with an event, and the ids in it.

use crate::ids::{new_root, new_segment_id};

/// The trace header that a function receives.
///
/// See "Visualize Lambda function invocations using AWS X-Ray" in AWS' developer guide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TraceMode {
    /// Tracing is active: `Root`, `Parent`, `Sampled=1` and `Lineage`. An incoming header that says `Sampled=0` is obeyed.
    #[default]
    Active,
    /// Tracing is active and this invocation was not chosen: `Root`, `Parent`, `Sampled=0` and `Lineage`.
    NotSampled,
    /// The default of a function on AWS: `Root` and `Lineage`, and of an incoming header also its `Parent` and `Sampled`, as they came.
    PassThrough,
    /// PassThrough in its other form, which has been seen on AWS: where no header comes in, `Root`, `Parent`, `Sampled=0` and `Lineage`.
    PassThroughNotSampled,
    /// This value, as it is. For headers that are malformed.
    Raw(String),
    /// No header at all, as the Runtime Interface Emulator does it.
    Absent,
}

/// The trace of one invocation.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) root: String,
    /// Id of the `AWS::Lambda` segment.
    pub(crate) service_id: String,
    /// Id of the `AWS::Lambda::Function` segment, which is the `Parent` in the function's header.
    pub(crate) function_id: String,
    /// The caller's segment.
    pub(crate) parent: Option<String>,
    /// Whether Lambda writes its two segments.
    pub(crate) sampled: bool,
    /// `Lambda-Runtime-Trace-Id`.
    pub(crate) header: Option<String>,
}

impl Trace {
    pub(crate) fn new(mode: &TraceMode, function: &str, incoming: Option<&str>) -> Self {
        let came = Incoming::parse(incoming.unwrap_or_default());
        let root = came.root.map_or_else(new_root, str::to_owned);
        let (service_id, function_id) = (new_segment_id(), new_segment_id());
        let lineage = came.lineage.map_or_else(|| format!("1:{}:0", short_hash(function)), str::to_owned);
        let sampled = *mode == TraceMode::Active && came.sampled != Some("0");
        let header = match mode {
            TraceMode::Active | TraceMode::NotSampled => {
                let flag = u8::from(sampled);
                Some(format!("Root={root};Parent={function_id};Sampled={flag};Lineage={lineage}"))
            }
            TraceMode::PassThroughNotSampled if came.root.is_none() => {
                Some(format!("Root={root};Parent={function_id};Sampled=0;Lineage={lineage}"))
            }
            TraceMode::PassThrough | TraceMode::PassThroughNotSampled => {
                let parent = came.parent.map(|parent| format!(";Parent={parent}")).unwrap_or_default();
                let flag = came.sampled.map(|flag| format!(";Sampled={flag}")).unwrap_or_default();
                Some(format!("Root={root}{parent}{flag};Lineage={lineage}"))
            }
            TraceMode::Raw(value) => Some(value.clone()),
            TraceMode::Absent => None,
        };
        let parent = came.parent.map(str::to_owned);
        Self { root, service_id, function_id, parent, sampled, header }
    }
}

/// The fields of a trace header that Lambda reads. A malformed field counts as absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Incoming<'a> {
    pub(crate) root: Option<&'a str>,
    pub(crate) parent: Option<&'a str>,
    sampled: Option<&'a str>,
    lineage: Option<&'a str>,
}

impl<'a> Incoming<'a> {
    pub(crate) fn parse(header: &'a str) -> Self {
        let mut found = Self::default();
        for (key, value) in header.split(';').filter_map(|field| field.trim().split_once('=')) {
            if key.eq_ignore_ascii_case("root") {
                found.root = is_root(value).then_some(value);
            } else if key.eq_ignore_ascii_case("parent") {
                found.parent = is_hex(value, 16).then_some(value);
            } else if key.eq_ignore_ascii_case("sampled") {
                found.sampled = matches!(value, "0" | "1" | "?").then_some(value);
            } else if key.eq_ignore_ascii_case("lineage") {
                found.lineage = Some(value);
            }
        }
        found
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_root(text: &str) -> bool {
    let mut parts = text.split('-');
    let fits = parts.next() == Some("1")
        && parts.next().is_some_and(|epoch| is_hex(epoch, 8))
        && parts.next().is_some_and(|rest| is_hex(rest, 24));
    fits && parts.next().is_none()
}

/// Eight digits that stand for a function in its `Lineage`. FNV-1a: it only has to be stable.
fn short_hash(text: &str) -> String {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

    #[test]
    fn active_names_the_functions_segment_as_parent() {
        let trace = Trace::new(&TraceMode::Active, "f", None);
        let expected = format!("Root={};Parent={};Sampled=1;Lineage=1:", trace.root, trace.function_id);
        assert!(trace.header.is_some_and(|header| header.starts_with(&expected)));
        assert!(trace.sampled && is_root(&trace.root));
    }

    #[test]
    fn an_incoming_trace_is_continued_and_its_lineage_kept() {
        let incoming = format!("Self=1-0-0; lineage=25:a|b,c:0 ;root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1");
        let trace = Trace::new(&TraceMode::Active, "f", Some(&incoming));
        assert_eq!(trace.root, ROOT);
        assert_eq!(trace.parent.as_deref(), Some("53995c3f42cd8ad8"));
        let expected = format!("Root={ROOT};Parent={};Sampled=1;Lineage=25:a|b,c:0", trace.function_id);
        assert_eq!(trace.header, Some(expected));
    }

    #[test]
    fn active_obeys_a_caller_that_does_not_sample() {
        let trace = Trace::new(&TraceMode::Active, "f", Some(&format!("Root={ROOT};Sampled=0")));
        assert!(!trace.sampled);
        assert!(trace.header.is_some_and(|header| header.contains(";Sampled=0;")));
    }

    #[test]
    fn pass_through_tells_neither_parent_nor_sampled_of_its_own() {
        let trace = Trace::new(&TraceMode::PassThrough, "f", None);
        let header = trace.header.unwrap_or_default();
        assert!(header.starts_with("Root=1-") && !header.contains("Parent") && !header.contains("Sampled"), "{header}");
        assert!(!trace.sampled);
    }

    #[test]
    fn a_malformed_field_counts_as_absent() {
        let came = Incoming::parse("Root=1-xyz-1;Parent=53995C3F42CD8AD8;Sampled=yes;;=;junk");
        assert_eq!(came, Incoming { parent: Some("53995C3F42CD8AD8"), ..Incoming::default() });
    }
}
