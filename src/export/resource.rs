//! The resource that exporters get: the origin of the spans.

use crate::{Environment, environment::variable, xray::Redactor};
use opentelemetry::{Array, Key, KeyValue, Value};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, ResourceDetector, SdkProvidedResourceDetector, TelemetryResourceDetector},
};
use std::path::Path;

/// A link whose target is the account's id, if a layer or an extension has created it.
const ACCOUNT: &str = "/tmp/.otel-aws-account-id";

/// The function's facts, then the attributes from code, then `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`. Later ones take
/// precedence.
pub(super) fn resource(in_code: Vec<KeyValue>, redactor: Option<&Redactor>) -> Resource {
    let mut resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(of_lambda(Environment::current(), Path::new(ACCOUNT)))
        .with_attributes(in_code);
    if variable("OTEL_RESOURCE_ATTRIBUTES").is_some() {
        resource = resource.with_detector(Box::new(EnvResourceDetector::new()));
    }
    if let Some(name) = variable("OTEL_SERVICE_NAME") {
        resource = resource.with_service_name(name);
    }
    redacted(named(resource.build()), redactor)
}

/// Adds a name, which every resource needs. Outside of Lambda it is OpenTelemetry's default.
fn named(resource: Resource) -> Resource {
    const NAME: Key = Key::from_static_str("service.name");
    if resource.get(&NAME).is_some() {
        return resource;
    }
    let unknown = SdkProvidedResourceDetector.detect().get(&NAME).unwrap_or_else(|| "unknown_service".into());
    Resource::builder_empty().with_attributes(attributes(&resource)).with_attribute(KeyValue::new(NAME, unknown)).build()
}

/// The attributes that the detector of `opentelemetry-aws` finds on [AWS
/// Lambda](https://opentelemetry.io/docs/specs/semconv/resource/cloud-provider/aws/), and the function's name as the service's.
fn of_lambda(environment: &Environment, account: &Path) -> Vec<KeyValue> {
    if environment.function_name.is_empty() {
        return Vec::new();
    }
    let mut found = vec![KeyValue::new("cloud.provider", "aws"), KeyValue::new("cloud.platform", "aws_lambda")];
    for (key, value) in [
        ("service.name", &environment.function_name),
        ("cloud.region", &environment.region),
        ("faas.name", &environment.function_name),
        ("faas.version", &environment.function_version),
        ("faas.instance", &environment.log_stream),
    ] {
        if !value.is_empty() {
            found.push(KeyValue::new(key, value.clone()));
        }
    }
    if environment.memory_size > 0 {
        found.push(KeyValue::new("faas.max_memory", i64::from(environment.memory_size) * 1024 * 1024));
    }
    if !environment.log_group.is_empty() {
        let group = Value::Array(Array::String(vec![environment.log_group.clone().into()]));
        found.push(KeyValue::new("aws.log.group.names", group));
    }
    let account = std::fs::read_link(account).ok().and_then(|account| account.to_str().map(str::to_owned));
    if let Some(id) = account.filter(|id| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit())) {
        found.push(KeyValue::new("cloud.account.id", id));
    }
    found
}

fn redacted(resource: Resource, redactor: Option<&Redactor>) -> Resource {
    let Some(redactor) = redactor else { return resource };
    let mut attributes: Vec<KeyValue> = attributes(&resource).collect();
    redactor.attributes(&mut attributes);
    Resource::builder_empty().with_attributes(attributes).build()
}

fn attributes(resource: &Resource) -> impl Iterator<Item = KeyValue> {
    resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
}
