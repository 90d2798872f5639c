//! Records of the `log` crate as events (feature `log`).

use tracing::{Event, Metadata};

/// The metadata of a record of the `log` crate. All records of a level share one call site, and have their target in a field.
pub(crate) fn normalized<'e>(event: &'e Event<'_>) -> Option<Metadata<'e>> {
    #[cfg(feature = "log")]
    return tracing_log::NormalizeEvent::normalized_metadata(event);
    #[cfg(not(feature = "log"))]
    {
        let _ = event;
        None
    }
}

/// The fields in which a record has what an event has as metadata.
pub(super) fn is_metadata(field: &str) -> bool {
    cfg!(feature = "log") && matches!(field, "log.target" | "log.module_path" | "log.file" | "log.line")
}

/// Logs the records of the `log` crate, unless another logger is set.
pub(crate) fn take(level: tracing::level_filters::LevelFilter) {
    #[cfg(feature = "log")]
    {
        use tracing_log::AsLog;
        let _ = tracing_log::LogTracer::builder().with_max_level(level.as_log()).init();
    }
    #[cfg(not(feature = "log"))]
    let _ = level;
}
