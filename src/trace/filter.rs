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
        let span = metadata.is_span();
        if span && !is_recording() && !replay::may_adopt(metadata.target()) {
            return false;
        }
        self.wants(metadata) && (span || is_recording())
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
    if !has_context() {
        return false;
    }
    OtelContext::map_current(|context| context.get::<Invocation>().map(Invocation::is_recorded))
        // A span with an explicit parent has removed it from the context.
        .or_else(|| CURRENT.try_with(Invocation::is_recorded).ok())
        // A task of the durable execution SDK has only its span.
        .or_else(|| (!EXECUTIONS.is_empty()).then(Invocation::try_current).flatten().map(|invocation| invocation.is_recorded()))
        .unwrap_or_else(is_in_init)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;
    use tracing::callsite::DefaultCallsite;
    use tracing::field::FieldSet;
    use tracing::metadata::Kind;

    fn wanted(target: &'static str, level: Level, kind: Kind) -> bool {
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
        RecordingFilter { targets: Targets::new().with_default(Level::INFO), events: LevelFilter::ERROR, concurrent: false }
            .wants(&Metadata::new("x", target, level, None, None, None, fields, kind))
    }

    #[test]
    fn spans_of_the_user_at_info_and_errors_of_the_user_are_wanted() {
        assert!(wanted("orders::api", Level::INFO, Kind::SPAN));
        assert!(wanted("orders::api", Level::ERROR, Kind::EVENT));
        assert!(!wanted("orders::api", Level::DEBUG, Kind::SPAN));
        assert!(!wanted("orders::api", Level::WARN, Kind::EVENT));
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
