//! The fields that the spans around an event add to its line.

use super::fields::{Fields, Named, Value};
use crate::{
    Invocation,
    context::has_context,
    cut,
    durable::{IS_REPLAY, is_of_sdk},
};
use std::sync::Arc;
use tracing::{
    Event, Metadata,
    span::{Attributes, Record},
};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// The most bytes of one text, because a span may record a whole argument of its function.
const LONGEST: usize = 16 * 1024;

/// The most ancestors that are read. Tasks that spawn the next one inside of their span create an endless chain of them.
const DEEPEST: usize = 128;

/// A span's extension with the fields for the lines inside of it.
struct InLines {
    fields: Arc<Named>,
    invocation: Option<Invocation>,
    /// False for a span that is not in the trace.
    recorded: bool,
    /// True while a durable execution returns results that an earlier invocation has recorded.
    replays: bool,
}

/// Stores a span's fields for the lines inside of it, and its invocation for lines that have lost it.
///
/// The values are formatted before the span's lock is taken, because user code formats them and may log.
pub(crate) fn keep<'s, S: LookupSpan<'s>>(span: &SpanRef<'s, S>, attributes: &Attributes<'_>, recorded: bool) {
    let fields = if is_own(span.metadata()) {
        Named::new()
    } else {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        cut(fields)
    };
    let invocation = has_context().then(Invocation::try_current).flatten();
    let replays = replays(&fields).unwrap_or(false);
    span.extensions_mut().replace(InLines { fields: Arc::new(fields), invocation, recorded, replays });
}

/// Adds fields that a span got later.
pub(crate) fn record<'s, S: LookupSpan<'s>>(span: &SpanRef<'s, S>, values: &Record<'_>) {
    if span.extensions().get::<InLines>().is_none() {
        return;
    }
    let mut fields = Fields::default();
    values.record(&mut fields);
    let later = cut(fields);
    if let Some(kept) = span.extensions_mut().get_mut::<InLines>() {
        kept.replays = replays(&later).unwrap_or(kept.replays);
        let fields = Arc::make_mut(&mut kept.fields);
        fields.retain(|(key, _)| later.iter().all(|(other, _)| other != key));
        fields.extend(later);
    }
}

/// False for a span that is kept only for the log.
pub(crate) fn is_recorded<'s, S: LookupSpan<'s>>(span: &SpanRef<'s, S>) -> bool {
    span.extensions().get::<InLines>().is_none_or(|kept| kept.recorded)
}

/// True for the span that the library creates around an invocation for the user's subscribers. Its fields are the ids of every
/// line.
pub(super) fn is_own(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "lambda_lifecycle"
}

/// The value of the field with which the durable execution SDK marks a replay.
fn replays(fields: &Named) -> Option<bool> {
    fields.iter().find_map(|field| match field {
        (IS_REPLAY, Value::Bool(replays)) => Some(*replays),
        _ => None,
    })
}

/// The same for an event of the SDK, which has it too.
pub(super) fn event_replays(event: &Event<'_>) -> Option<bool> {
    if !is_of_sdk(event.metadata().target()) {
        return None;
    }
    let mut fields = Fields::default();
    event.record(&mut fields);
    replays(&fields.named)
}

fn cut(fields: Fields) -> Named {
    let Fields { message, mut named } = fields;
    if !message.is_empty() {
        named.push(("message", Value::text(message)));
    }
    // Of fields with the same name, the last one counts.
    for at in (0..named.len()).rev() {
        if named[at + 1..].iter().any(|(later, _)| *later == named[at].0) {
            named.remove(at);
        }
    }
    for (_, value) in &mut named {
        if let Value::Text(text) = value
            && text.len() > LONGEST
        {
            cut::shorten(text.to_mut(), LONGEST);
        }
    }
    named
}

/// The spans around one event.
#[derive(Default)]
pub(crate) struct Scope {
    /// The fields of each span, the innermost first.
    pub(super) fields: Vec<Arc<Named>>,
    /// The invocation in which the innermost span was created.
    pub(super) invocation: Option<Invocation>,
    /// A durable execution is replayed in one of the spans.
    pub(super) replays: bool,
}

impl Scope {
    pub(crate) fn of<'s, S: LookupSpan<'s>>(span: Option<&SpanRef<'s, S>>) -> Self {
        let mut scope = Self::default();
        for span in span.into_iter().flat_map(SpanRef::scope).take(DEEPEST) {
            let extensions = span.extensions();
            let Some(kept) = extensions.get::<InLines>() else { continue };
            if !kept.fields.is_empty() {
                scope.fields.push(Arc::clone(&kept.fields));
            }
            scope.replays |= kept.replays;
            if scope.invocation.is_none() {
                scope.invocation.clone_from(&kept.invocation);
            }
        }
        scope
    }
}
