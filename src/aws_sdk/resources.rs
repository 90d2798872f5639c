//! The resource of a call, from the serialized request, so the clients' types are not needed.

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use opentelemetry::{Array, KeyValue, StringValue, Value};
use serde::{Deserialize, de::IgnoredAny};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// A larger body is not searched: the part that names a resource is small, and large parts are payload.
const LARGEST: usize = 300 * 1024;

pub(super) fn of_request(service: &str, request: &HttpRequest) -> Vec<KeyValue> {
    let (host, path) = host_and_path(request.uri());
    match service {
        "S3" => bucket(host, path).map(|bucket| KeyValue::new("aws.s3.bucket", bucket.to_owned())).into_iter().collect(),
        "Lambda" => function(path).map(|function| KeyValue::new("faas.invoked_name", function)).into_iter().collect(),
        _ => match request.body().bytes().filter(|body| body.len() <= LARGEST) {
            Some(body) if body.starts_with(b"{") => of_json(body),
            Some(body) if body.starts_with(b"Action=") => of_query(body),
            _ => Vec::new(),
        },
    }
}

/// `https://host/path?query`, or a path alone.
fn host_and_path(uri: &str) -> (&str, &str) {
    let uri = uri.split(['?', '#']).next().unwrap_or(uri);
    match uri.split_once("://") {
        Some((_, rest)) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", uri),
    }
}

/// `bucket.s3.eu-west-1.amazonaws.com/key`, and `s3.eu-west-1.amazonaws.com/bucket/key` with the bucket in the path.
fn bucket<'a>(host: &'a str, path: &'a str) -> Option<&'a str> {
    let virtual_host = [".s3.", ".s3-", ".s3express-"].into_iter().filter_map(|service| host.find(service)).min();
    match virtual_host {
        Some(end) => Some(&host[..end]),
        None => path.trim_start_matches('/').split('/').next(),
    }
    .filter(|bucket| !bucket.is_empty())
}

/// `/2015-03-31/functions/<name or ARN>/invocations`.
fn function(path: &str) -> Option<String> {
    let named = path.split_once("/functions/")?.1.split('/').next()?;
    let named = percent_decoded(named);
    // arn:aws:lambda:<region>:<account>:function:<name>[:<qualifier>]
    let name = named.strip_prefix("arn:").map_or(&*named, |arn| arn.split(':').nth(5).unwrap_or(&named));
    Some(name.to_owned()).filter(|name| !name.is_empty())
}

fn percent_decoded(text: &str) -> Cow<'_, str> {
    // In a path, a plus is not a space.
    let escaped = if text.contains('+') { Cow::Owned(text.replace('+', "%2B")) } else { Cow::Borrowed(text) };
    let decoded = form_urlencoded::parse(escaped.as_bytes()).next().map(|(key, _)| key.into_owned());
    decoded.map_or(Cow::Borrowed(text), Cow::Owned)
}

fn of_json(body: &[u8]) -> Vec<KeyValue> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Named {
        queue_url: Option<String>,
        table_name: Option<String>,
        request_items: Option<BTreeMap<String, IgnoredAny>>,
        transact_items: Option<Vec<BTreeMap<String, Item>>>,
        topic_arn: Option<String>,
        stream_name: Option<String>,
        #[serde(rename = "StreamARN")]
        stream_arn: Option<String>,
        entries: Option<Vec<Entry>>,
        #[serde(rename = "stateMachineArn")]
        state_machine_arn: Option<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Item {
        table_name: Option<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Entry {
        event_bus_name: Option<String>,
    }
    let Ok(named) = serde_json::from_slice::<Named>(body) else { return Vec::new() };
    let mut tables: BTreeSet<String> = named.table_name.into_iter().collect();
    tables.extend(named.request_items.into_iter().flatten().map(|(table, _)| table));
    let items = named.transact_items.into_iter().flatten().flat_map(BTreeMap::into_values);
    tables.extend(items.filter_map(|item| item.table_name));
    let stream = named.stream_name.or_else(|| Some(named.stream_arn?.rsplit('/').next()?.to_owned()));
    let bus = named.entries.into_iter().flatten().find_map(|entry| entry.event_bus_name);
    let one = [
        ("aws.sqs.queue.url", named.queue_url),
        ("aws.sns.topic.arn", named.topic_arn),
        ("aws.kinesis.stream_name", stream),
        ("aws.eventbridge.event_bus", bus),
        ("aws.step_functions.state_machine.arn", named.state_machine_arn),
    ];
    let tables: Vec<StringValue> = tables.into_iter().map(StringValue::from).collect();
    let tables = (!tables.is_empty()).then(|| KeyValue::new("aws.dynamodb.table_names", Value::Array(Array::String(tables))));
    one.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?))).chain(tables).collect()
}

fn of_query(body: &[u8]) -> Vec<KeyValue> {
    let wanted = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
        let key = match &*name {
            "TopicArn" | "TargetArn" => "aws.sns.topic.arn",
            "QueueUrl" => "aws.sqs.queue.url",
            _ => return None,
        };
        Some(KeyValue::new(key, value.into_owned()))
    };
    form_urlencoded::parse(body).filter_map(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::body::SdkBody;

    fn named(service: &str, uri: &str, body: &'static str) -> Vec<(String, String)> {
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_uri(uri).expect("a URI");
        let found = of_request(service, &request);
        found.into_iter().map(|found| (found.key.to_string(), found.value.to_string())).collect()
    }

    #[test]
    fn resources_are_read_from_the_request() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:orders:live".replace(':', "%3A");
        let invoked = format!("https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/{arn}/invocations");
        for (service, uri, body, key, value) in [
            (
                "SQS",
                "https://sqs/",
                r#"{"QueueUrl":"https://q/1/orders","MessageBody":"{\"QueueUrl\":\"no\"}"}"#,
                "aws.sqs.queue.url",
                "https://q/1/orders",
            ),
            (
                "SNS",
                "https://sns/",
                "Action=Publish&Version=2010-03-31&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A1%3Aorders&Message=TopicArn%3Dno",
                "aws.sns.topic.arn",
                "arn:aws:sns:eu-west-1:1:orders",
            ),
            ("DynamoDB", "https://ddb/", r#"{"TableName":"orders"}"#, "aws.dynamodb.table_names", r#"["orders"]"#),
            ("DynamoDB", "https://ddb/", r#"{"RequestItems":{"a":{},"b":[]}}"#, "aws.dynamodb.table_names", r#"["a","b"]"#),
            (
                "DynamoDB",
                "https://ddb/",
                r#"{"TransactItems":[{"Put":{"TableName":"a"}},{"Delete":{"TableName":"a"}}]}"#,
                "aws.dynamodb.table_names",
                r#"["a"]"#,
            ),
            ("EventBridge", "https://events/", r#"{"Entries":[{"EventBusName":"shop"}]}"#, "aws.eventbridge.event_bus", "shop"),
            (
                "Kinesis",
                "https://kinesis/",
                r#"{"StreamARN":"arn:aws:kinesis:eu-west-1:1:stream/clicks"}"#,
                "aws.kinesis.stream_name",
                "clicks",
            ),
            ("S3", "https://my.bucket.s3.eu-west-1.amazonaws.com/a/key?x=1", "", "aws.s3.bucket", "my.bucket"),
            ("S3", "https://s3.eu-west-1.amazonaws.com/bucket/a/key", "", "aws.s3.bucket", "bucket"),
            ("S3", "http://127.0.0.1:9000/bucket", "", "aws.s3.bucket", "bucket"),
            ("Lambda", invoked.as_str(), "{}", "faas.invoked_name", "orders"),
            ("Lambda", "https://lambda/2015-03-31/functions/orders/invocations", "{}", "faas.invoked_name", "orders"),
        ] {
            assert_eq!(named(service, uri, body), [(key.to_owned(), value.to_owned())], "{uri} {body}");
        }
        for (service, uri, body) in [
            ("SQS", "https://sqs/", "not json"),
            ("S3", "https://s3.eu-west-1.amazonaws.com/", ""),
            ("Lambda", "https://lambda/", ""),
        ] {
            assert!(named(service, uri, body).is_empty(), "{uri}");
        }
    }
}
