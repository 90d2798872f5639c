//! Starts an invocation from the event's data.

use crate::{
    Invocation, clock,
    environment::{self, Start},
    headers::first,
    ids,
    invocation::{Deadline, Facts, Shared},
    metrics,
    notice::{self, Data, Warning},
    propagation::Remote,
    settings::Settings,
    trace,
    xray::{Sampled, TraceHeader},
};
use http::HeaderMap;
use std::{
    sync::{Arc, Once},
    time::SystemTime,
};

impl Invocation {
    /// Starts an invocation. `headers` and `event` are those of the event, if its layer sees them. `traced` is true if its layer sends spans.
    /// `remote` is the caller that W3C's fields name.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        context: &lambda_runtime::Context,
        headers: Option<&HeaderMap>,
        remote: Option<Box<Remote>>,
        event: Option<&[u8]>,
        traced: bool,
    ) -> Self {
        let received = clock::now();
        let settings = &shared.settings;
        let deadline =
            settings.deadline.then(|| Deadline::from_epoch_millis(context.deadline, SystemTime::now(), received, settings));
        let header = context.xray_trace_id.as_deref().map(TraceHeader::parse).unwrap_or_default();
        if traced && settings.trace {
            hint_once(&header, settings);
        }
        if !traced {
            trace::discard_init();
            drop(trace::Recording::begin(false));
        }
        let start = environment::take_start();
        if start == Start::Restored {
            // Otherwise all environments that are restored from one snapshot would create the same ids.
            ids::reseed();
        }
        let deadline = deadline.flatten();
        let raw = |name| headers.and_then(|headers| first(headers, name)).filter(|value| !value.is_empty()).cloned();
        let (client_context, identity) = (raw("lambda-runtime-client-context"), raw("lambda-runtime-cognito-identity"));
        let client = || client_context.as_ref().map(http::HeaderValue::as_bytes);
        let correlation_id = settings.correlation_id.as_ref().and_then(|place| place.of_invocation(event?, client()));
        let context = Box::new(context.clone());
        let facts =
            Facts { context, received, deadline, header, remote, start, traced, client_context, identity, correlation_id };
        let invocation = Self::new(Arc::clone(shared), facts);
        invocation.make_known();
        metrics::begun(&invocation);
        invocation
    }
}

/// Logs once that a header is malformed, and once that an invocation is not sampled. Under PassThrough, the default of a
/// function, Lambda sends a header without a decision, or one with `Sampled=0`. With active tracing, Lambda sends `Sampled=0` for
/// invocations that were not chosen. No hint is logged if X-Ray is disabled, or
/// gets OTLP of every invocation.
fn hint_once(header: &TraceHeader, settings: &Settings) {
    static MALFORMED: Once = Once::new();
    static UNTRACED: Once = Once::new();
    if let Some(problem) = header.ignored() {
        MALFORMED.call_once(|| notice::log(Warning::TraceHeaderIgnored, Data::error(&problem)));
    }
    if header.root().is_some() && header.sampled() != Sampled::Yes && settings.export.is_sampled() {
        UNTRACED.call_once(|| notice::log(Warning::NotSampled, Data::default()));
    }
}
