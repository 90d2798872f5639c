//! What invoked the function, told from the first bytes of the event.

use memchr::memmem;

/// The kind of event, after OpenTelemetry's `faas.trigger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trigger {
    /// API Gateway REST API, or an HTTP API with payload format 1.0.
    ApiGatewayV1,
    /// API Gateway HTTP API with payload format 2.0.
    ApiGatewayV2,
    /// A function URL.
    FunctionUrl,
    /// An Application Load Balancer.
    LoadBalancer,
    /// An SQS queue.
    Sqs,
    /// An SNS topic.
    Sns,
    /// A rule of EventBridge.
    EventBridge,
    /// A schedule of EventBridge.
    Schedule,
    /// An S3 bucket.
    S3,
    /// A Kinesis stream.
    Kinesis,
    /// A DynamoDB stream.
    DynamoDb,
    /// Anything else: a direct invocation.
    Direct,
}

/// How far an event is looked at: in all of them what tells them apart stands near the front, or is not there at all.
const LOOK: usize = 2_048;

/// How far into an HTTP event its domain is looked for: it stands behind the headers.
const DOMAIN: usize = 16 * 1_024;

impl Trigger {
    /// Looks at the first 2 KB of an event, and at the last of a batch. Never fails; what it does not know is [`Direct`](Self::Direct).
    ///
    /// ```
    /// use lambda_lifecycle::Trigger;
    /// assert_eq!(Trigger::recognize(br#"{"Records":[{"messageId":"m","eventSource":"aws:sqs"}]}"#), Trigger::Sqs);
    /// assert_eq!(Trigger::recognize(b"[]"), Trigger::Direct);
    /// ```
    pub fn recognize(event: &[u8]) -> Self {
        let head = &event[..event.len().min(LOOK)];
        let Some(first) = first_key(head) else { return Self::Direct };
        if first == b"Records" {
            return Self::of_records(event);
        }
        let has = strings(head);
        let second_payload = has(Word::RouteKey) || has(Word::RawPath);
        if second_payload || has(Word::RequestContext) {
            if has(Word::Elb) {
                Self::LoadBalancer
            } else if contains(&event[..event.len().min(DOMAIN)], b".lambda-url.") {
                Self::FunctionUrl
            } else if second_payload {
                Self::ApiGatewayV2
            } else {
                Self::ApiGatewayV1
            }
        } else if has(Word::HttpMethod) && has(Word::Resource) {
            Self::ApiGatewayV1
        } else if has(Word::DetailType) && has(Word::Source) {
            if has(Word::ScheduledEvent) { Self::Schedule } else { Self::EventBridge }
        } else {
            Self::Direct
        }
    }

    fn of_records(event: &[u8]) -> Self {
        // Bodies come before the source in an SQS record and may hold anything: the source is looked for from the end too.
        let tail = &event[event.len().saturating_sub(LOOK)..];
        let head = &event[..event.len().min(LOOK)];
        // The quotes keep a source apart from one that is told in a body, where they are escaped.
        [
            ("\"aws:sqs\"", Self::Sqs),
            ("\"aws:sns\"", Self::Sns),
            ("\"aws:s3\"", Self::S3),
            ("\"aws:kinesis\"", Self::Kinesis),
            ("\"aws:dynamodb\"", Self::DynamoDb),
        ]
        .into_iter()
        .find(|(source, _)| contains(tail, source.as_bytes()) || contains(head, source.as_bytes()))
        .map_or(Self::Direct, |(_, trigger)| trigger)
    }

    /// The value of OpenTelemetry's `faas.trigger`.
    pub fn as_faas_trigger(self) -> &'static str {
        match self {
            Self::ApiGatewayV1 | Self::ApiGatewayV2 | Self::FunctionUrl | Self::LoadBalancer => "http",
            Self::Sqs | Self::Sns | Self::EventBridge | Self::Kinesis => "pubsub",
            Self::S3 | Self::DynamoDb => "datasource",
            Self::Schedule => "timer",
            Self::Direct => "other",
        }
    }

    /// A short name, the annotation `trigger`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiGatewayV1 => "api_gateway_v1",
            Self::ApiGatewayV2 => "api_gateway_v2",
            Self::FunctionUrl => "function_url",
            Self::LoadBalancer => "load_balancer",
            Self::Sqs => "sqs",
            Self::Sns => "sns",
            Self::EventBridge => "event_bridge",
            Self::Schedule => "schedule",
            Self::S3 => "s3",
            Self::Kinesis => "kinesis",
            Self::DynamoDb => "dynamodb",
            Self::Direct => "direct",
        }
    }
}

/// What tells events apart, as a string of their own somewhere in them.
#[derive(Clone, Copy)]
enum Word {
    RequestContext,
    RouteKey,
    RawPath,
    Elb,
    HttpMethod,
    Resource,
    DetailType,
    Source,
    ScheduledEvent,
}

const WORDS: [(&[u8], Word); 9] = [
    (b"requestContext\"", Word::RequestContext),
    (b"routeKey\"", Word::RouteKey),
    (b"rawPath\"", Word::RawPath),
    (b"elb\"", Word::Elb),
    (b"httpMethod\"", Word::HttpMethod),
    (b"resource\"", Word::Resource),
    (b"detail-type\"", Word::DetailType),
    (b"source\"", Word::Source),
    (b"Scheduled Event\"", Word::ScheduledEvent),
];

/// Which words an event has. One pass from quote to quote: a search for each would cost most events more than their own decoding.
fn strings(event: &[u8]) -> impl Fn(Word) -> bool {
    let mut found = 0_u16;
    for quote in memchr::memchr_iter(b'"', event) {
        let behind = &event[quote + 1..];
        if matches!(behind.first(), Some(b'r' | b'e' | b'h' | b'd' | b's' | b'S')) {
            let word = WORDS.iter().find(|(word, _)| behind.starts_with(word));
            found |= word.map_or(0, |(_, word)| 1 << *word as u16);
        }
    }
    move |word| found & 1 << word as u16 != 0
}

/// The first key of the object the event is, if it is one.
fn first_key(event: &[u8]) -> Option<&[u8]> {
    let inside = event.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = inside.iter().position(|byte| *byte == b'"')?;
    Some(&inside[..end])
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memmem::find(haystack, needle).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        for (event, trigger) in [
            (r#"{"Records":[{"messageId":"1","body":"\"aws:sns\"","eventSource":"aws:sqs"}]}"#, Trigger::Sqs),
            (r#"{"Records":[{"EventSource":"aws:sns","Sns":{}}]}"#, Trigger::Sns),
            (r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3"}]}"#, Trigger::S3),
            (r#"{"Records":[{"eventSource":"aws:kinesis"}]}"#, Trigger::Kinesis),
            (r#"{"Records":[{"eventSource":"aws:dynamodb"}]}"#, Trigger::DynamoDb),
            (r#"{"version":"2.0","routeKey":"POST /orders","requestContext":{}}"#, Trigger::ApiGatewayV2),
            (
                r#"{"version":"2.0","routeKey":"$default","requestContext":{"domainName":"x.lambda-url.eu-west-1.on.aws"}}"#,
                Trigger::FunctionUrl,
            ),
            (r#"{"resource":"/{proxy+}","httpMethod":"GET","requestContext":{}}"#, Trigger::ApiGatewayV1),
            (r#"{"requestContext":{"elb":{"targetGroupArn":"arn"}},"httpMethod":"GET"}"#, Trigger::LoadBalancer),
            (r#"{"version":"0","detail-type":"Order Placed","source":"shop","detail":{}}"#, Trigger::EventBridge),
            (r#"{"version":"0","detail-type":"Scheduled Event","source":"aws.events"}"#, Trigger::Schedule),
            (r#"{"order":1}"#, Trigger::Direct),
            ("", Trigger::Direct),
            ("{", Trigger::Direct),
            ("null", Trigger::Direct),
        ] {
            assert_eq!(Trigger::recognize(event.as_bytes()), trigger, "{event}");
        }
    }
}
