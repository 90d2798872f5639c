//! Calls that go out: one span for every call of every AWS SDK client, and the trace header from that very span.
//!
//! By itself the SDK sends the header of the environment, whose parent is the function's segment and not the call, and under
//! concurrency it sends none. With the interceptor the queue's node, and the worker's trace behind it, hang on the call that sent
//! the message:
//!
//! ```no_run
//! use lambda_lifecycle::aws_sdk::TraceInterceptor;
//!
//! # async fn client() -> aws_sdk_sqs::Client {
//! let config = aws_config::load_from_env().await;
//! let config = aws_sdk_sqs::config::Builder::from(&config).interceptor(TraceInterceptor::new()).build();
//! aws_sdk_sqs::Client::from_conf(config)
//! # }
//! ```

use crate::{
    Invocation,
    trace::Recorder,
    xray::{Sampled, TRACE_HEADER},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextMut, FinalizerInterceptorContextRef,
            },
            dyn_dispatch_hint,
        },
        orchestrator::{HttpResponse, Metadata},
        retries::RequestAttempts,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_types::region::Region;
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status, Tracer},
};
use opentelemetry_sdk::trace::Span;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Operations that put a message somewhere: PRODUCER in OpenTelemetry's terms.
const SENDS: [&str; 6] = ["SendMessage", "SendMessageBatch", "Publish", "PublishBatch", "PutEvents", "PutRecords"];

/// Makes one span of each SDK call, over all its attempts, and sends the trace header from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceInterceptor(());

impl TraceInterceptor {
    /// An interceptor for any client.
    pub fn new() -> Self {
        Self(())
    }
}

/// The span of a call under way, in the call's own configuration.
#[derive(Debug)]
struct Call {
    span: Mutex<Option<Span>>,
    context: SpanContext,
}

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

impl Call {
    fn span(&self) -> MutexGuard<'_, Option<Span>> {
        self.span.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is dropped before it ends was cancelled by its caller.
impl Drop for Call {
    fn drop(&mut self) {
        if let Some(mut span) = self.span().take() {
            span.set_status(Status::error("cancelled"));
            span.end();
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for TraceInterceptor {
    fn name(&self) -> &'static str {
        "lambda-lifecycle"
    }

    fn modify_before_serialization(
        &self,
        _: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The first place where the operation's name is known.
        let Some(metadata) = config.load::<Metadata>() else { return Ok(()) };
        if !Invocation::try_current().is_some_and(|invocation| invocation.is_recorded()) {
            return Ok(());
        }
        let kind = if SENDS.contains(&metadata.name()) { SpanKind::Producer } else { SpanKind::Client };
        let mut attributes = vec![
            KeyValue::new("rpc.system", "aws-api"),
            KeyValue::new("rpc.service", metadata.service().to_string()),
            KeyValue::new("rpc.method", metadata.name().to_string()),
        ];
        if let Some(region) = config.load::<Region>() {
            attributes.push(KeyValue::new("aws.region", region.to_string()));
        }
        let builder = SpanBuilder::from_name(format!("{}.{}", metadata.service(), metadata.name()))
            .with_kind(kind)
            .with_attributes(attributes);
        let span = Recorder::start().tracer.build_with_context(builder, &Context::current());
        let context = span.span_context().clone();
        config.interceptor_state().store_put(Call { span: Mutex::new(Some(span)), context });
        Ok(())
    }

    fn modify_before_signing(
        &self,
        request: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(invocation) = Invocation::try_current() else { return Ok(()) };
        let header = match config.load::<Call>() {
            Some(call) => {
                if let Some(span) = call.span().as_mut()
                    && let Some(body) = request.request().body().bytes()
                {
                    for (key, value) in resources(body) {
                        span.set_attribute(KeyValue::new(key, value));
                    }
                }
                invocation.received_header().with_parent(call.context.span_id(), Sampled::Yes)
            }
            // Not recorded: what came in is handed on as it was.
            None => invocation.received_header().clone(),
        };
        if header.root().is_some() {
            request.request_mut().headers_mut().insert(TRACE_HEADER, header.to_string());
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
        if let Some(response) = context.response() {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(response.status().as_u16())));
            if let Some(id) = request_id(response) {
                span.set_attribute(KeyValue::new("aws.request_id", id.to_owned()));
            }
        }
        if let Some(attempts) = config.load::<RequestAttempts>().map(RequestAttempts::attempts).filter(|attempts| *attempts > 1) {
            span.set_attribute(KeyValue::new("aws.attempts", i64::from(attempts)));
        }
        if let Some(Err(error)) = context.output_or_error() {
            let message = error.as_operation_error().map_or_else(|| format!("{error:?}"), ToString::to_string);
            let code = context.response().and_then(|response| response.headers().get("x-amzn-errortype")).map(str::to_owned);
            let kind = code.unwrap_or_else(|| "SdkError".to_owned());
            span.add_event("exception", vec![KeyValue::new("exception.type", kind), KeyValue::new("exception.message", message)]);
            span.set_status(Status::error("failed"));
        }
        span.end();
        Ok(())
    }
}

fn request_id(response: &HttpResponse) -> Option<&str> {
    ["x-amzn-requestid", "x-amz-request-id"].into_iter().find_map(|name| response.headers().get(name))
}

/// Names of what the call works on, from the serialised request: no client's types are needed for it.
fn resources(body: &[u8]) -> Vec<(&'static str, String)> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Resources {
        queue_url: Option<String>,
        table_name: Option<String>,
        topic_arn: Option<String>,
    }
    let Ok(found) = serde_json::from_slice::<Resources>(body) else { return Vec::new() };
    [("aws.queue_url", found.queue_url), ("aws.table_name", found.table_name), ("aws.sns.topic.arn", found.topic_arn)]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_read_from_the_request() {
        let body = br#"{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/orders","MessageBody":"{\"QueueUrl\":\"no\"}"}"#;
        assert_eq!(resources(body), [("aws.queue_url", "https://sqs.eu-west-1.amazonaws.com/1/orders".to_owned())]);
        assert!(resources(b"not json").is_empty());
    }
}
