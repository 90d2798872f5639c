//! Records the calls of all clients of an `SdkConfig`, in the HTTP client that they share.

use super::{
    error::{self, CallError},
    interceptor::{Traced, deadline, time_for_a_call},
    resources,
};
use crate::{
    Invocation,
    trace::{self, ClientSpan},
    xray::TRACE_HEADER,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        connector_metadata::ConnectorMetadata,
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use opentelemetry::{
    KeyValue,
    trace::{SpanBuilder, SpanKind},
};
use std::time::Instant;

/// Services whose name in X-Ray differs from their signing name by more than capitals.
const NAMES: [(&str, &str); 12] = [
    ("dynamodb", "DynamoDB"),
    ("events", "EventBridge"),
    ("firehose", "Firehose"),
    ("kinesis", "Kinesis"),
    ("lambda", "Lambda"),
    ("s3", "S3"),
    ("secretsmanager", "Secrets Manager"),
    ("sns", "SNS"),
    ("sqs", "SQS"),
    ("ssm", "SSM"),
    ("states", "SFN"),
    ("sts", "STS"),
];

/// Wraps an HTTP client for an `SdkConfig`, so that all its clients send the trace header and record their requests. See the
/// [module](super).
pub fn traced(client: impl HttpClient + 'static) -> SharedHttpClient {
    SharedHttpClient::new(TracedClient(SharedHttpClient::new(client)))
}

#[derive(Debug)]
struct TracedClient(SharedHttpClient);

impl HttpClient for TracedClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(TracedConnector(self.0.http_connector(settings, components)))
    }

    fn validate_base_client_config(&self, components: &RuntimeComponentsBuilder, config: &ConfigBag) -> Result<(), BoxError> {
        HttpClient::validate_base_client_config(&self.0, components, config)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, config: &ConfigBag) -> Result<(), BoxError> {
        HttpClient::validate_final_config(&self.0, components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

#[derive(Debug)]
struct TracedConnector(SharedHttpConnector);

impl HttpConnector for TracedConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let Some(invocation) = Invocation::try_current().filter(|_| request.extension::<Traced>().is_none()) else {
            return self.0.call(request);
        };
        let span = trace::is_recorded(&invocation).then(|| begin(&request));
        let header = match &span {
            Some(span) => super::outgoing(&invocation, span, &operation(&request), number(&request) > 1).header,
            None => super::header_of_call(&invocation, None),
        };
        if header.root().is_some() {
            // The header is not signed. An invalid one would fail the user's call.
            let _ = request.headers_mut().try_insert(TRACE_HEADER, header.to_string());
        }
        let messages = invocation.shared().settings.aws_error_messages;
        let response = self.attempt(request, &invocation);
        let Some(mut span) = span else { return response };
        HttpConnectorFuture::new(async move {
            let response = response.await;
            match &response {
                Ok(response) => {
                    super::describe_response(&mut span, response);
                    // The body may not have arrived, and then the code is unknown.
                    if let Some(failure) = error::of_response(response, messages) {
                        super::fail(&mut span, failure);
                    }
                }
                Err(failure) => {
                    let error = CallError { code: "DispatchFailure".to_owned(), message: Some(failure.to_string()) };
                    super::fail(&mut span, error);
                }
            }
            span.end();
            response
        })
    }
}

impl TracedConnector {
    /// One attempt of a call, limited by the invocation's time. An attempt that exceeds it is an error that the SDK does not
    /// retry.
    fn attempt(&self, request: HttpRequest, invocation: &Invocation) -> HttpConnectorFuture {
        let Some(deadline) = deadline(invocation) else { return self.0.call(request) };
        // A step that failed at the soft deadline has to be recorded, or else its retry policy does not count it.
        if of_durable_execution(&request).is_some() {
            return self.0.call(request);
        }
        let now = Instant::now();
        let exceeded = |invocation: &Invocation| Err::<HttpResponse, _>(ConnectorError::other(invocation.exceed().into(), None));
        if number(&request) > 1 && now >= deadline.soft && now < deadline.hard {
            return HttpConnectorFuture::ready(exceeded(invocation));
        }
        let (response, invocation) = (self.0.call(request), invocation.clone());
        HttpConnectorFuture::new(async move {
            let bounded = tokio::time::timeout(time_for_a_call(&deadline, now), response);
            bounded.await.unwrap_or_else(|_| exceeded(&invocation))
        })
    }
}

/// The number of the request's attempt, from 1.
fn number(request: &HttpRequest) -> i64 {
    let attempt = request.headers().get("amz-sdk-request").and_then(|sent| sent.strip_prefix("attempt="));
    attempt.and_then(|sent| sent.split(';').next()?.parse().ok()).unwrap_or(1)
}

/// Starts the span of a call from the fields of its request.
fn begin(request: &HttpRequest) -> ClientSpan {
    let (service, region) = scope(request);
    let operation = operation(request);
    let mut attributes = resources::of_request(&service, request);
    attributes.push(KeyValue::new("rpc.system", "aws-api"));
    attributes.push(KeyValue::new("rpc.method", operation.clone()));
    let name = format!("{service}.{operation}");
    attributes.push(KeyValue::new("rpc.service", service));
    if let Some(region) = region {
        attributes.push(KeyValue::new("aws.region", region));
    }
    let attempt = number(request);
    if attempt > 1 {
        attributes.push(KeyValue::new("http.request.resend_count", attempt - 1));
    }
    ClientSpan::begin(SpanBuilder::from_name(name).with_kind(SpanKind::Client).with_attributes(attributes))
}

/// The service and the region for which the request is signed: `…Credential=<key>/<date>/<region>/<service>/aws4_request, …`.
fn scope(request: &HttpRequest) -> (String, Option<String>) {
    let signed = || {
        let credential = request.headers().get("authorization")?.split_once("Credential=")?.1;
        let mut parts = credential.split([',', ' ']).next()?.split('/').skip(2);
        Some((parts.next()?, parts.next()?))
    };
    let Some((region, service)) = signed() else { return ("AWS".to_owned(), None) };
    let known = NAMES.iter().find(|(signed, _)| *signed == service).map_or(service, |(_, name)| name);
    (known.to_owned(), Some(region.to_owned()))
}

/// The operation of a request with which the durable execution SDK reads or writes the state of an execution.
fn of_durable_execution(request: &HttpRequest) -> Option<&'static str> {
    let path = request.uri().split('?').next().filter(|path| path.contains("/durable-executions/"))?;
    match path.rsplit('/').next()? {
        "checkpoint" => Some("CheckpointDurableExecution"),
        "state" => Some("GetDurableExecutionState"),
        _ => None,
    }
}

/// The operation's name, in protocols whose requests contain it; in REST the method.
fn operation(request: &HttpRequest) -> String {
    if let Some(target) = request.headers().get("x-amz-target") {
        return target.rsplit('.').next().unwrap_or(target).to_owned();
    }
    if let Some(operation) = of_durable_execution(request) {
        return operation.to_owned();
    }
    let action = request.body().bytes().and_then(|body| body.strip_prefix(b"Action="));
    match action.and_then(|action| std::str::from_utf8(action.split(|byte| *byte == b'&').next()?).ok()) {
        Some(action) => action.to_owned(),
        None => request.method().to_owned(),
    }
}
