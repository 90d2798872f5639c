//! What is recorded: INFO spans of the user's code while an invocation is traced, whatever the log level says.

use super::Recorder;
use crate::Invocation;
use opentelemetry::Context as OtelContext;
use tracing::{Level, Metadata, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

/// Crates whose spans and events say nothing about the user's work, or carry whole events: `lambda_runtime` logs the raw
/// event at TRACE, one SDK call at DEBUG makes thirteen spans.
const SILENT: [&str; 9] =
    ["lambda_runtime", "lambda_http", "hyper", "hyper_util", "h2", "rustls", "tower", "tokio", "opentelemetry"];

/// Per-layer filter of the recording layer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecordingFilter;

impl RecordingFilter {
    /// The part that never changes for a call site.
    fn is_wanted(metadata: &Metadata<'_>) -> bool {
        let level = if metadata.is_span() { Level::INFO } else { Level::ERROR };
        if *metadata.level() > level {
            return false;
        }
        let target = metadata.target();
        let root = target.split_once("::").map_or(target, |(root, _)| root);
        !SILENT.contains(&root) && !root.starts_with("aws_")
    }
}

impl<S> Filter<S> for RecordingFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        Self::is_wanted(metadata) && is_recording()
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::is_wanted(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

/// True in a traced invocation, and during init, whose spans wait for the first invocation.
pub(crate) fn is_recording() -> bool {
    OtelContext::map_current(|context| context.get::<Invocation>().map(Invocation::is_recorded))
        .unwrap_or_else(|| Recorder::get().is_some_and(Recorder::is_in_init))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        RecordingFilter::is_wanted(&Metadata::new("x", target, level, None, None, None, fields, kind))
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
    }
}
