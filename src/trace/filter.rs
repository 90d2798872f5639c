//! The spans that are recorded: INFO spans of user code, and its errors, while an invocation is recorded. They do not depend on
//! the log level.

use super::init_spans::is_in_init;
use crate::{Invocation, context::has_context, environment, invocation::CURRENT, logs::highest_level, settings::Settings};
use opentelemetry::Context as OtelContext;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tracing::{Metadata, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    filter::Targets,
    layer::{Context, Filter},
};

/// Crates whose spans and events say nothing about the user's work, or carry whole events: `lambda_runtime` logs the raw
/// event at TRACE, one SDK call at DEBUG makes thirteen spans.
const SILENT: [&str; 9] =
    ["lambda_runtime", "lambda_http", "hyper", "hyper_util", "h2", "rustls", "tower", "tokio", "opentelemetry"];

/// True while an invocation is recorded, and during init, whose spans wait for the first one. Of use only where invocations
/// come one at a time.
static RECORDING: AtomicBool = AtomicBool::new(true);

/// Per-layer filter of the recording layer, and what the [default subscriber](crate::subscriber) asks.
///
/// Where invocations come one at a time, each call site knows in advance whether to record: a span that is not recorded then
/// costs one load. Where they run side by side each span asks the context it is made in.
#[derive(Clone, Debug)]
pub(crate) struct RecordingFilter {
    targets: Targets,
    events: LevelFilter,
    concurrent: bool,
}

impl RecordingFilter {
    pub(crate) fn new() -> Self {
        // A subscriber is set before the lifecycle is built: the settings of the process are the builder's to make.
        Self::of_settings(&Settings::of_layer_from_env())
    }

    /// As a lifecycle was configured.
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

    /// Whether to record what is being made. Where invocations run side by side, every span comes by here, so the cheaper question comes first;
    /// not for events, of which OpenTelemetry makes some while it holds the context.
    pub(crate) fn records(&self, metadata: &Metadata<'_>) -> bool {
        let span = metadata.is_span();
        if span && !is_recording() {
            return false;
        }
        self.wants(metadata) && (span || is_recording())
    }

    pub(crate) fn max_level(&self) -> LevelFilter {
        highest_level(&self.targets)
    }

    /// The part that never changes for a call site.
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
        let root = target.split_once("::").map_or(target, |(root, _)| root);
        let silent = SILENT.contains(&root) || root.starts_with("aws_");
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

/// Invocations in progress, of all lifecycles of the process.
static IN_PROGRESS: AtomicUsize = AtomicUsize::new(0);

/// An invocation for which the call sites know whether it is recorded.
#[derive(Debug)]
pub(crate) struct Recording(());

impl Recording {
    /// Lets the call sites know whether the invocation that begins is recorded. Another one in progress may be: then they go on asking.
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

/// True in a traced invocation, and during init, whose spans wait for the first invocation.
pub(crate) fn is_recording() -> bool {
    if !has_context() {
        return false;
    }
    OtelContext::map_current(|context| context.get::<Invocation>().map(Invocation::is_recorded))
        // Below a span with an explicit parent the context has lost it.
        .or_else(|| CURRENT.try_with(Invocation::is_recorded).ok())
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
        for target in
            ["lambda_runtime::runtime", "lambda_runtime", "hyper::client", "h2", "rustls::conn", "aws_smithy_runtime::client"]
        {
            assert!(!wanted(target, Level::ERROR, Kind::EVENT), "{target}");
            assert!(!wanted(target, Level::INFO, Kind::SPAN), "{target}");
        }
        assert!(!wanted("lambda_lifecycle", Level::ERROR, Kind::SPAN), "the invocation would have two spans");
    }
}
