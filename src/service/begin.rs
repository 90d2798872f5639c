//! An invocation begins: from what Lambda sent with the event.

use crate::{
    InitializationType, Invocation, clock, environment, ids,
    invocation::Deadline,
    notice,
    settings::Settings,
    xray::{Sampled, TraceHeader},
};
use std::{sync::Once, time::SystemTime};

impl Invocation {
    pub(crate) fn begin(context: &lambda_runtime::Context, parent: Option<TraceHeader>) -> Self {
        let received = clock::now();
        let settings = Settings::current();
        let deadline = settings.deadline.then(|| Deadline::from_epoch_millis(context.deadline, SystemTime::now(), received));
        let foreign = parent.is_some();
        let header = parent.or_else(|| context.xray_trace_id.as_deref().map(TraceHeader::parse)).unwrap_or_default();
        tell_once(&header);
        let cold_start = environment::take_cold_start();
        if cold_start && environment::kind().initialization_type == InitializationType::SnapStart {
            ids::reseed();
        }
        Self::new(context.clone(), received, deadline.flatten(), header, foreign, cold_start)
    }
}

/// One line for a malformed header, and one for a function that is not traced because of how it is configured.
fn tell_once(header: &TraceHeader) {
    static MALFORMED: Once = Once::new();
    static UNTRACED: Once = Once::new();
    if let Some(problem) = header.ignored() {
        MALFORMED.call_once(|| notice::warn(format_args!("a part of the trace header is ignored: {problem}")));
    }
    if header.root().is_some() && header.sampled() == Sampled::Unknown && Settings::current().trace {
        UNTRACED.call_once(|| {
            tracing::info!(
                "not traced: nobody decided to sample; switch on active tracing for the function (TracingConfig: Active)"
            );
        });
    }
}
