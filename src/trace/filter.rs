//! The spans that are recorded: INFO spans of user code, and its errors, while an invocation is recorded. They do not depend on
//! the log level.

use super::{init_spans::is_in_init, replay};
use crate::{
    Invocation,
    context::has_context,
    directives::highest_level,
    durable, environment,
    invocation::{CURRENT, EXECUTIONS},
    settings::Settings,
};
use opentelemetry::Context as OtelContext;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tracing::{Metadata, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    filter::Targets,
    layer::{Context, Filter},
};

/// Crates whose spans and events do not concern the user's work, or contain whole events: `lambda_runtime` logs the raw event at
/// TRACE, and one SDK call creates thirteen spans at DEBUG.
const SILENT: [&str; 9] =
    ["lambda_runtime", "lambda_http", "hyper", "hyper_util", "h2", "rustls", "tower", "tokio", "opentelemetry"];

/// True while an invocation is recorded, and in the Init phase, whose spans wait for the first one. Only used when invocations
/// run one at a time.
static RECORDING: AtomicBool = AtomicBool::new(true);

/// The filter of the recording layer, which the [default subscriber](crate::subscriber) uses too.
///
/// When invocations run one at a time, each call site knows in advance whether to record, so a span that is not recorded takes
/// one load. When they run concurrently, each span reads the context in which it is created.
#[derive(Clone, Debug)]
pub(crate) struct RecordingFilter {
    targets: Targets,
    events: LevelFilter,
    concurrent: bool,
}

impl RecordingFilter {
    pub(crate) fn new() -> Self {
        // A subscriber is set before the lifecycle is built, and the builder logs the invalid settings.
        Self::of_settings(&Settings::of_layer_from_env())
    }

    /// The filter of a configured lifecycle.
    pub(crate) fn of_settings(settings: &Settings) -> Self {
        let concurrent = environment::kind().is_concurrent();
        Self { targets: settings.trace_filter.clone(), events: settings.trace_events, concurrent }
    }

    /// The interest that a call site caches.
    pub(crate) fn interest(&self, metadata: &Metadata<'_>) -> Interest {
        match (self.wants(metadata), self.concurrent) {
            (false, _) => Interest::never(),
            (true, true) => Interest::sometimes(),
            (true, false) if RECORDING.load(Ordering::Relaxed) => Interest::always(),
            (true, false) => Interest::never(),
        }
    }

    /// Whether to record a new span or event. When invocations run concurrently, every span calls this, so the cheaper check
    /// comes first. It does not for events, because OpenTelemetry logs some while it holds the context.
    pub(crate) fn records(&self, metadata: &Metadata<'_>) -> bool {
        if !metadata.is_span() {
            return self.wants(metadata) && is_recording();
        }
        (self.is_recording_spans(metadata) || replay::may_adopt(metadata.target())) && self.wants(metadata)
    }

    /// True where new spans are recorded. Where only the invocation's own span is, it counts those that are left out.
    fn is_recording_spans(&self, metadata: &Metadata<'_>) -> bool {
        of_current(|invocation| {
            let own_only = invocation.wanted().own_only;
            if own_only && self.wants(metadata) {
                invocation.leave_out_span();
            }
            invocation.is_recorded() && !own_only
        })
    }

    pub(crate) fn max_level(&self) -> LevelFilter {
        highest_level(&self.targets)
    }

    /// The part that is constant for a call site.
    pub(crate) fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let level = if metadata.is_span() { LevelFilter::TRACE } else { self.events };
        if *metadata.level() > level {
            return false;
        }
        let target = metadata.target();
        // The library's own span around an invocation is for the user's subscribers. The trace has a separate span that depends
        // on none.
        if metadata.is_span() && target == "lambda_lifecycle" {
            return false;
        }
        // Targets are short, so a search by pairs is faster than the general one for a text.
        let root = target.as_bytes().windows(2).position(|pair| pair == b"::").map_or(target, |end| &target[..end]);
        let silent = SILENT.contains(&root) || (root.starts_with("aws_") && root != durable::SDK);
        !silent && self.targets.would_enable(target, metadata.level())
    }
}

impl<S> Filter<S> for RecordingFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.records(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.interest(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level())
    }
}

/// The number of invocations in progress, in all lifecycles of the process.
static IN_PROGRESS: AtomicUsize = AtomicUsize::new(0);

/// An invocation for which call sites cache whether it is recorded.
#[derive(Debug)]
pub(crate) struct Recording(());

impl Recording {
    /// Tells call sites whether the invocation that starts is recorded. If another one is in progress, they keep checking.
    pub(crate) fn begin(recorded: bool) -> Self {
        let alone = IN_PROGRESS.fetch_add(1, Ordering::AcqRel) == 0;
        if !environment::kind().is_concurrent() && (recorded || alone) && RECORDING.swap(recorded, Ordering::Relaxed) != recorded
        {
            tracing::callsite::rebuild_interest_cache();
        }
        Self(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        IN_PROGRESS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// True in a traced invocation, and in the Init phase, whose spans wait for the first invocation.
pub(crate) fn is_recording() -> bool {
    of_current(Invocation::is_recorded)
}

/// What `is_recorded` says of the invocation that is running here, or else whether this is the Init phase.
fn of_current(is_recorded: impl Fn(&Invocation) -> bool) -> bool {
    if !has_context() {
        return false;
    }
    OtelContext::map_current(|context| context.get::<Invocation>().map(&is_recorded))
        // A span with an explicit parent has removed it from the context.
        .or_else(|| CURRENT.try_with(&is_recorded).ok())
        // A task of the durable execution SDK has only its span.
        .or_else(|| (!EXECUTIONS.is_empty()).then(Invocation::try_current).flatten().map(|invocation| is_recorded(&invocation)))
        .unwrap_or_else(is_in_init)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        invocation::Shared,
        trace::{TRACER, Trigger, begin, finish, outgoing_header},
        xray::Sampled,
    };
    use opentelemetry::trace::{Span as _, SpanBuilder, TraceContextExt as _, Tracer as _};
    use tracing::Level;
    use tracing::callsite::DefaultCallsite;
    use tracing::field::FieldSet;
    use tracing::metadata::Kind;

    fn wanted(target: &'static str, level: Level, kind: Kind) -> bool {
        checked(target, level, kind, RecordingFilter::wants)
    }

    fn recorded(target: &'static str, level: Level, kind: Kind) -> bool {
        checked(target, level, kind, RecordingFilter::records)
    }

    fn checked(target: &'static str, level: Level, kind: Kind, check: fn(&RecordingFilter, &Metadata<'_>) -> bool) -> bool {
        static CALLSITE: DefaultCallsite = DefaultCallsite::new(&METADATA);
        static METADATA: Metadata<'static> = Metadata::new(
            "x",
            "x",
            Level::INFO,
            None,
            None,
            None,
            FieldSet::new(&[], tracing::callsite::Identifier(&CALLSITE)),
            Kind::SPAN,
        );
        let fields = FieldSet::new(&[], tracing::callsite::Identifier(&CALLSITE));
        let filter =
            RecordingFilter { targets: Targets::new().with_default(Level::INFO), events: LevelFilter::ERROR, concurrent: false };
        check(&filter, &Metadata::new("x", target, level, None, None, None, fields, kind))
    }

    #[test]
    fn spans_of_the_user_at_info_and_errors_of_the_user_are_wanted() {
        assert!(wanted("orders::api", Level::INFO, Kind::SPAN));
        assert!(wanted("orders::api", Level::ERROR, Kind::EVENT));
        assert!(!wanted("orders::api", Level::DEBUG, Kind::SPAN));
        assert!(!wanted("orders::api", Level::WARN, Kind::EVENT));
    }

    #[test]
    fn an_invocation_that_starts_while_too_much_waits_records_its_own_span_and_counts_the_others() {
        let shared = Shared::with_defaults();
        shared.destinations.documents().fall_behind();
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let mut context = lambda_runtime::Context::default();
        context.xray_trace_id = Some(header.to_owned());
        let invocation = Invocation::begin(&shared, &context, None, None, None, true);
        let context = begin(&invocation, Trigger::Direct, b"{}");
        let own = context.span().span_context().clone();
        assert!(context.span().is_recording());
        let _running = context.clone().attach();
        assert!(!recorded("orders::api", Level::INFO, Kind::SPAN));
        assert!(!recorded("orders::api", Level::DEBUG, Kind::SPAN), "it is not counted either");
        assert!(recorded("orders::api", Level::ERROR, Kind::EVENT), "the invocation's own span gets it");
        let child = TRACER.build_with_context(SpanBuilder::from_name("child"), &context);
        assert_eq!((child.span_context(), child.is_recording()), (&own, false));
        let outgoing = outgoing_header(&invocation, Some(child.span_context()));
        assert_eq!((outgoing.parent(), outgoing.sampled()), (Some(own.span_id()), Sampled::Yes));
        drop(child);
        finish(&context, &invocation);
        let spans: Vec<_> = invocation.spans().take().into_iter().map(|span| span.span_context.span_id()).collect();
        assert_eq!((spans, invocation.take_left_out()), (vec![own.span_id()], 2));
    }

    #[test]
    fn nothing_of_the_runtime_and_its_transport_is_wanted() {
        assert!(wanted("aws_durable_execution_sdk::tracing_layer", Level::INFO, Kind::SPAN), "the steps of a durable function");
        for target in
            ["lambda_runtime::runtime", "lambda_runtime", "hyper::client", "h2", "rustls::conn", "aws_smithy_runtime::client"]
        {
            assert!(!wanted(target, Level::ERROR, Kind::EVENT), "{target}");
            assert!(!wanted(target, Level::INFO, Kind::SPAN), "{target}");
        }
        assert!(!wanted("lambda_lifecycle", Level::ERROR, Kind::SPAN), "the invocation would have two spans");
    }
}
