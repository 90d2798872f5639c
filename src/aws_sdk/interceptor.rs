//! One span for a call with all its attempts, and the header from that span.

use super::{carry::carry, error, resources};
use crate::{
    Invocation,
    invocation::Deadline,
    trace::{self, ClientSpan},
    xray::TRACE_HEADER,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                BeforeSerializationInterceptorContextMut, BeforeSerializationInterceptorContextRef,
                BeforeTransmitInterceptorContextMut, FinalizerInterceptorContextRef,
            },
            dyn_dispatch_hint,
        },
        orchestrator::Metadata,
        retries::RequestAttempts,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{
    config_bag::{ConfigBag, Storable, StoreReplace},
    timeout::TimeoutConfig,
};
use aws_types::region::Region;
use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanBuilder, SpanContext, SpanKind},
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The time limit of a call that starts when the time is over.
const LAST_TRY: Duration = Duration::from_millis(10);

/// Records one span for each SDK call with all its attempts, sends its trace header, and limits the call by the invocation's
/// time. See the [module](super).
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceInterceptor(());

impl TraceInterceptor {
    /// An interceptor for any client.
    pub fn new() -> Self {
        Self(())
    }
}

/// Marks a request that already has the header of the call's span.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traced;

/// The span of a running call, in the call's own configuration.
#[derive(Debug)]
struct Call {
    span: Mutex<Option<ClientSpan>>,
    header: String,
    /// What W3C's fields name as the caller.
    caller: SpanContext,
    /// Whether the messages of errors are recorded too.
    messages: bool,
}

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

impl Call {
    fn span(&self) -> MutexGuard<'_, Option<ClientSpan>> {
        self.span.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[dyn_dispatch_hint]
impl Intercept for TraceInterceptor {
    fn name(&self) -> &'static str {
        "lambda-lifecycle"
    }

    /// Called just before the SDK reads the timeouts of the call.
    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(deadline) = Invocation::try_current().and_then(|invocation| deadline(&invocation)) else { return Ok(()) };
        let left = time_for_a_call(&deadline, Instant::now());
        let asked = config.load::<TimeoutConfig>().and_then(TimeoutConfig::operation_timeout);
        if asked.is_none_or(|asked| asked > left) {
            config.interceptor_state().store_put(TimeoutConfig::builder().operation_timeout(left).build());
        }
        Ok(())
    }

    fn modify_before_serialization(
        &self,
        _: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A client can have two of these: one from the shared configuration, and its own.
        if config.load::<Call>().is_some() {
            return Ok(());
        }
        // The operation's name is first known here.
        let Some(metadata) = config.load::<Metadata>() else { return Ok(()) };
        let Some(invocation) = Invocation::try_current().filter(trace::is_recorded) else { return Ok(()) };
        let kind = if super::sends(metadata.name()) { SpanKind::Producer } else { SpanKind::Client };
        let mut attributes = Vec::with_capacity(8);
        attributes.push(KeyValue::new("rpc.system", "aws-api"));
        attributes.push(KeyValue::new("rpc.service", metadata.service().to_string()));
        attributes.push(KeyValue::new("rpc.method", metadata.name().to_string()));
        if let Some(region) = config.load::<Region>() {
            attributes.push(KeyValue::new("aws.region", region.to_string()));
        }
        let builder = SpanBuilder::from_name(format!("{}.{}", metadata.service(), metadata.name()))
            .with_kind(kind)
            .with_attributes(attributes);
        let span = ClientSpan::begin(builder);
        let outgoing = super::outgoing(&invocation, &span, metadata.name(), false);
        config.interceptor_state().store_put(Call {
            span: Mutex::new(Some(span)),
            header: outgoing.header.to_string(),
            caller: outgoing.caller,
            messages: invocation.shared().settings.aws_error_messages,
        });
        Ok(())
    }

    /// Called once for all attempts, before the request is signed.
    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(invocation) = Invocation::try_current() else { return Ok(()) };
        let fields = trace::outgoing_fields(&invocation, config.load::<Call>().map(|call| &call.caller));
        if let Some(metadata) = config.load::<Metadata>() {
            carry(metadata.service(), metadata.name(), context.request_mut(), &fields);
        }
        Ok(())
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let header = match config.load::<Call>() {
            Some(call) => {
                let first = config.load::<RequestAttempts>().is_none_or(|attempts| attempts.attempts() <= 1);
                if let Some(span) = call.span().as_mut().filter(|_| first) {
                    let service = config.load::<Metadata>().map_or("", Metadata::service);
                    span.set_attributes(resources::of_request(service, context.request()));
                }
                call.header.clone()
            }
            // Not recorded: Lambda's header is sent on unchanged.
            None => {
                let header = Invocation::try_current().map(|invocation| super::header_of_call(&invocation, None));
                match header.filter(|header| header.root().is_some()) {
                    Some(header) => header.to_string(),
                    None => return Ok(()),
                }
            }
        };
        let request = context.request_mut();
        // An invalid header would fail the user's call.
        let _ = request.headers_mut().try_insert(TRACE_HEADER, header);
        request.add_extension(Traced);
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The user of a presigned URL makes a call of another trace. The header is not signed, so it can be removed.
        if context.request().uri().contains("X-Amz-Signature=") {
            context.request_mut().headers_mut().remove(TRACE_HEADER);
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(call) = config.load::<Call>() else { return Ok(()) };
        let Some(mut span) = call.span().take() else { return Ok(()) };
        let Some(result) = context.output_or_error() else {
            // Presigning ends before the request is sent, so no call was made.
            span.discard();
            return Ok(());
        };
        if let Some(response) = context.response() {
            super::describe_response(&mut span, response);
        }
        let attempts = config.load::<RequestAttempts>().map_or(1, RequestAttempts::attempts);
        if attempts > 1 {
            span.set_attribute(KeyValue::new("http.request.resend_count", i64::from(attempts - 1)));
        }
        if let Err(failure) = result {
            let messages = call.messages;
            let error = context.response().and_then(|response| error::of_response(response, messages));
            super::fail(&mut span, error.unwrap_or_else(|| error::of_failure(failure, messages)));
        }
        span.end();
        Ok(())
    }
}

/// The deadline for the calls of an invocation. Work that continues after its invocation has none.
pub(super) fn deadline(invocation: &Invocation) -> Option<Deadline> {
    if invocation.deferred().is_closed() { None } else { invocation.timing() }
}

/// The time until the soft deadline, so that the caller can still respond to the error. A call made after it has the time until
/// the hard deadline. A later call is work after the response, and has as long as such work may take.
pub(super) fn time_for_a_call(deadline: &Deadline, now: Instant) -> Duration {
    let until = match now {
        _ if now < deadline.soft => deadline.soft,
        _ if now < deadline.hard => deadline.hard,
        _ => deadline.after_response(now),
    };
    until.saturating_duration_since(now).max(LAST_TRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_until_the_soft_point_and_then_until_the_hard_one() {
        let begun = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(1), begun, None, None);
        let left = |after| time_for_a_call(&deadline, begun + Duration::from_millis(after)).as_millis();
        assert_eq!([0, 899, 900, 940, 960, 999].map(left), [900, 10, 50, 10, 20, 10]);
    }
}
