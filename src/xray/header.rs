//! The tracing header, `X-Amzn-Trace-Id`.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::{hex, traceparent};

/// The HTTP header's name, spelled as carriers use it for keys.
pub const TRACE_HEADER: &str = "x-amzn-trace-id";

const MAX_LINEAGE: usize = 512;
const MAX_EXTRAS: usize = 256;

/// The sampling decision of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sampled {
    /// `Sampled=1`: record and send.
    Yes,
    /// `Sampled=0`: an upstream service decided against it.
    No,
    /// `Sampled=?`, or no field at all, as under Lambda's PassThrough mode: the decision is still open.
    #[default]
    Unknown,
}

/// A parsed tracing header: `Root=…;Parent=…;Sampled=…;Lineage=…;<key>=<value>…`.
///
/// Parsing never fails. Keys are accepted in any order and any case, with spaces after the `;`. A malformed field is ignored
/// without affecting the others. `Self`, which load balancers add, is dropped. Unknown keys are kept, up to 256 bytes. The time
/// in a Root may lack leading zeros, which are added when it is sent on. [`Display`](fmt::Display) writes the header to send on,
/// in the format of AWS's [X-Ray developer
/// guide](https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader).
///
/// ```
/// use lambda_lifecycle::xray::{Sampled, TraceHeader};
///
/// let header = TraceHeader::parse("Sampled=1; root=1-5759E988-BD862E3FE1BE46A994272793;Self=2;Lineage=a87bd80c:1|68fd508a:5");
/// assert_eq!(header.sampled(), Sampled::Yes);
/// assert_eq!(
///     header.to_string(),
///     "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1;Lineage=a87bd80c:1|68fd508a:5",
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceHeader {
    root: Option<TraceId>,
    parent: Option<SpanId>,
    sampled: Sampled,
    /// The header had `?`, which is written again. A missing decision stays missing.
    undecided: bool,
    lineage: Option<Box<str>>,
    /// Unknown keys, unchanged, joined by `;`.
    extras: Option<Box<str>>,
    ignored: Option<&'static str>,
}

impl TraceHeader {
    /// Parses a header. Invalid text gives an empty header; [`ignored`](Self::ignored) names the ignored part.
    pub fn parse(text: &str) -> Self {
        match usual(text) {
            Some((header, rest)) => header.and_fields(rest),
            None => Self::default().and_fields(Some(text)),
        }
    }

    /// The same header with more fields. A field that it has already stays.
    fn and_fields(self, mut rest: Option<&str>) -> Self {
        let mut decided = self.sampled != Sampled::Unknown;
        let mut header = self;
        let mut extras = String::new();
        while let Some(text) = rest {
            let (field, more) = split(text, b';');
            rest = more;
            let field = field.trim();
            if field.is_empty() {
                continue;
            }
            let (key, Some(value)) = split(field, b'=') else {
                header.ignore("a field without a `=`");
                continue;
            };
            let (key, value) = (key.trim_end(), value.trim_start());
            if key.eq_ignore_ascii_case("Root") {
                match parse_trace_id(value) {
                    Some(id) => header.root = header.root.or(Some(id)),
                    None => header.ignore("a malformed Root"),
                }
            } else if key.eq_ignore_ascii_case("Parent") {
                match parse_span_id(value) {
                    Some(id) => header.parent = header.parent.or(Some(id)),
                    None => header.ignore("a malformed Parent"),
                }
            } else if key.eq_ignore_ascii_case("Sampled") {
                if decided {
                    continue;
                }
                decided = true;
                match value {
                    "1" => header.sampled = Sampled::Yes,
                    "0" => header.sampled = Sampled::No,
                    "?" => header.undecided = true,
                    _ => {
                        decided = false;
                        header.ignore("a Sampled other than 0, 1 or ?");
                    }
                }
            } else if key.eq_ignore_ascii_case("Lineage") {
                if value.is_empty() || value.len() > MAX_LINEAGE || !fit_for_header(value) {
                    header.ignore("a Lineage that is empty, too long or not printable ASCII");
                } else if header.lineage.is_none() {
                    header.lineage = Some(value.into());
                }
            } else if key.eq_ignore_ascii_case("Self") {
            } else if key.is_empty() || !fit_for_header(key) || !fit_for_header(value) {
                header.ignore("a key or value that is not printable ASCII");
            } else {
                let separator = usize::from(!extras.is_empty());
                if extras.len() + separator + key.len() + 1 + value.len() > MAX_EXTRAS {
                    header.ignore("unknown keys beyond 256 bytes");
                    continue;
                }
                if separator == 1 {
                    extras.push(';');
                }
                extras.push_str(key);
                extras.push('=');
                extras.push_str(value);
            }
        }
        if !extras.is_empty() {
            header.extras = Some(extras.into_boxed_str());
        }
        header
    }

    /// A header for a trace that starts here.
    pub fn new(root: TraceId, parent: Option<SpanId>, sampled: Sampled) -> Self {
        Self {
            root: Some(root).filter(|id| *id != TraceId::INVALID),
            parent: parent.filter(|id| *id != SpanId::INVALID),
            sampled,
            ..Self::default()
        }
    }

    /// The header that names `context` as the caller. It has no field for W3C's tracestate, which is dropped.
    pub fn from_span_context(context: &SpanContext) -> Self {
        let sampled = if context.is_sampled() { Sampled::Yes } else { Sampled::No };
        Self::new(context.trace_id(), Some(context.span_id()), sampled)
    }

    /// Reads a W3C [`traceparent`](https://www.w3.org/TR/trace-context-2/#traceparent-header); `None` if it is not valid.
    ///
    /// ```
    /// use lambda_lifecycle::xray::TraceHeader;
    ///
    /// let header = TraceHeader::from_traceparent("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01").unwrap();
    /// assert_eq!(
    ///     header.to_string(),
    ///     "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    /// );
    /// ```
    pub fn from_traceparent(text: &str) -> Option<Self> {
        traceparent::parse(text).as_ref().map(Self::from_span_context)
    }

    /// The W3C `traceparent` of the same caller; `None` without a valid Root and Parent. An open decision is written as not
    /// sampled, because W3C has only two states.
    pub fn to_traceparent(&self) -> Option<String> {
        self.span_context().as_ref().map(traceparent::format)
    }

    /// The trace, if the header names a valid one.
    pub fn root(&self) -> Option<TraceId> {
        self.root
    }

    /// The caller's segment or subsegment, if the header names a valid one.
    pub fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// The decision of the service that started the trace.
    pub fn sampled(&self) -> Sampled {
        self.sampled
    }

    /// Lambda's record of the functions in the chain of calls. It is opaque: send it on unchanged.
    pub fn lineage(&self) -> Option<&str> {
        self.lineage.as_deref()
    }

    /// The first part that [`parse`](Self::parse) ignored, as text for a log line.
    pub fn ignored(&self) -> Option<&'static str> {
        self.ignored
    }

    /// True if the header has no usable field.
    pub fn is_empty(&self) -> bool {
        let said = self.sampled != Sampled::Unknown || self.undecided;
        self.root.is_none() && self.parent.is_none() && !said && self.lineage.is_none() && self.extras.is_none()
    }

    /// The same header with another caller, for the calls of one of this function's spans.
    pub fn with_parent(&self, parent: SpanId, sampled: Sampled) -> Self {
        Self {
            parent: Some(parent).filter(|id| *id != SpanId::INVALID),
            sampled,
            undecided: self.undecided && sampled == Sampled::Unknown,
            ..self.clone()
        }
    }

    /// The same header with a trace that starts here. A missing decision stays missing.
    pub(crate) fn with_root(&self, root: TraceId) -> Self {
        Self { root: Some(root), ..self.clone() }
    }

    /// The caller as OpenTelemetry sees it: remote, without a tracestate. `None` unless both Root and Parent are valid. A header
    /// with only a Root, as under PassThrough, is not a span context.
    pub fn span_context(&self) -> Option<SpanContext> {
        let flags = match self.sampled {
            Sampled::Yes => TraceFlags::SAMPLED,
            Sampled::No | Sampled::Unknown => TraceFlags::NOT_SAMPLED,
        };
        Some(SpanContext::new(self.root?, self.parent?, flags, true, TraceState::NONE))
    }

    /// True if the span is the caller itself, or is not recorded in a trace whose caller did not ask for it.
    pub(super) fn speaks_for(&self, context: &SpanContext) -> bool {
        let unrecorded = !context.is_sampled() && self.sampled != Sampled::Yes;
        self.root == Some(context.trace_id()) && (unrecorded || self.parent == Some(context.span_id()))
    }

    /// Lineage belongs to the chain of calls, and the other fields to their trace.
    pub(crate) fn continued_by(&self, context: &SpanContext) -> Self {
        let mut next = Self::from_span_context(context);
        next.lineage.clone_from(&self.lineage);
        if self.root == next.root {
            next.extras.clone_from(&self.extras);
        }
        next
    }

    fn ignore(&mut self, problem: &'static str) {
        self.ignored.get_or_insert(problem);
    }
}

impl fmt::Display for TraceHeader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut field = |key: &str, value: &str| {
            out.write_str(separator)?;
            separator = ";";
            out.write_str(key)?;
            out.write_str(value)
        };
        if let Some(root) = self.root {
            field("Root=", hex::text(&hex::xray_trace_id(root)))?;
        }
        if let Some(parent) = self.parent {
            field("Parent=", hex::text(&hex::span_id(parent)))?;
        }
        match self.sampled {
            Sampled::Yes => field("Sampled=", "1")?,
            Sampled::No => field("Sampled=", "0")?,
            Sampled::Unknown if self.undecided => field("Sampled=", "?")?,
            Sampled::Unknown => {}
        }
        if let Some(lineage) = &self.lineage {
            field("Lineage=", lineage)?;
        }
        if let Some(extras) = &self.extras {
            field("", extras)?;
        }
        Ok(())
    }
}

impl std::str::FromStr for TraceHeader {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::parse(text))
    }
}

/// A trace id in X-Ray's format: `1-<8 hex>-<24 hex>`.
///
/// ```
/// use lambda_lifecycle::xray::format_trace_id;
/// use opentelemetry::trace::TraceId;
///
/// let id = TraceId::from(0x5759e988bd862e3fe1be46a994272793_u128);
/// assert_eq!(format_trace_id(id), "1-5759e988-bd862e3fe1be46a994272793");
/// ```
pub fn format_trace_id(id: TraceId) -> String {
    hex::text(&hex::xray_trace_id(id)).to_owned()
}

/// The text before and after the first `at`, which is ASCII. The standard library's search is optimized for long texts.
fn split(text: &str, at: u8) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == at) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// The first three fields as AWS's services write them, and the text after them. Each message of a batch has such a header.
fn usual(text: &str) -> Option<(TraceHeader, Option<&str>)> {
    let (root, rest) = text.strip_prefix("Root=")?.split_at_checked(35)?;
    let (parent, rest) = rest.strip_prefix(";Parent=")?.split_at_checked(16)?;
    let (sampled, rest) = rest.strip_prefix(";Sampled=")?.split_at_checked(1)?;
    let sampled = match sampled {
        "1" => Sampled::Yes,
        "0" => Sampled::No,
        _ => return None,
    };
    let rest = if rest.is_empty() { None } else { Some(rest.strip_prefix(';')?) };
    Some((
        TraceHeader {
            root: Some(parse_trace_id(root)?),
            parent: Some(parse_span_id(parent)?),
            sampled,
            ..TraceHeader::default()
        },
        rest,
    ))
}

/// The first eight digits were once the time of the request. They are not checked, because W3C ids have random ones. There may be
/// fewer, because AWS's SDKs for Java and Python write that number without leading zeros.
fn parse_trace_id(text: &str) -> Option<TraceId> {
    let (epoch, rest) = split(text.strip_prefix("1-")?, b'-');
    let (epoch, rest) = (epoch.as_bytes(), rest?.as_bytes());
    if epoch.len() > 8 || rest.len() != 24 {
        return None;
    }
    let id = hex::parse(epoch)? << 96 | hex::parse(rest)?;
    Some(TraceId::from(id)).filter(|id| *id != TraceId::INVALID)
}

fn parse_span_id(text: &str) -> Option<SpanId> {
    let digits = text.as_bytes();
    if digits.len() != 16 {
        return None;
    }
    let id = SpanId::from_bytes((hex::parse(digits)? as u64).to_be_bytes());
    Some(id).filter(|id| *id != SpanId::INVALID)
}

/// Other characters would make an HTTP client refuse the whole header, and so the user's call.
fn fit_for_header(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// With a space in front, the first fields are not where AWS's services write them.
        #[test]
        fn the_usual_fields_are_read_as_all_others(
            at in 0_usize..=100,
            with in proptest::sample::select(vec!["", "0", "A", "-", ";", " ", "=", "é", "Sampled=0;", "Parent=53995c3f42cd8ad9;"]),
            more in proptest::sample::select(vec!["", ";", ";Lineage=a87bd80c:1", "; Self=1;k=v", ";Sampled=0;Root=1-2-3", "1"]),
        ) {
            let mut text = format!("Root=1-5759E988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1{more}");
            prop_assert!(super::usual(&text).is_some() != (more == "1"));
            prop_assert_eq!(TraceHeader::parse(&text), TraceHeader::parse(&format!(" {text}")));
            let at = at.min(text.len());
            text.replace_range(at..text.len().min(at + 1), with);
            prop_assert_eq!(TraceHeader::parse(&text), TraceHeader::parse(&format!(" {text}")), "{}", text);
        }
    }
}
