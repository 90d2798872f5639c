//! Recognizes the service that sent an event by the event's keys and their positions.
//!
//! Only keys at the top and in `requestContext` count, and the source that a record names. Other values come from the sender.

use super::Trigger;
use crate::scan::{elements, members, string};

macro_rules! keys {
    ($(#[$doc:meta])* $name:ident: $($key:ident = $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        enum $name { $($key,)* }

        impl $name {
            fn named(name: &[u8]) -> Option<Self> {
                match name {
                    $($text => Some(Self::$key),)*
                    _ => None,
                }
            }
        }
    };
}

impl Trigger {
    /// Looks at the keys of an event and at the source that its records name, never at other values.
    ///
    /// It reads the raw bytes once, stops at the result, and does not allocate. It never fails: unknown events, and events that
    /// are not JSON objects, are [`Direct`](Self::Direct).
    ///
    /// ```
    /// use lambda_lifecycle::Trigger;
    /// assert_eq!(Trigger::recognize(br#"{"Records":[{"messageId":"m","eventSource":"aws:sqs"}]}"#), Trigger::Sqs);
    /// assert_eq!(Trigger::recognize(br#"{"input":{"Records":[{"eventSource":"aws:sqs"}]}}"#), Trigger::Direct);
    /// ```
    pub fn recognize(event: &[u8]) -> Self {
        recognize(event)
    }
}

keys! {
    /// The keys at the top of an event that distinguish it from others.
    Key:
    AlarmData = b"alarmData",
    Arguments = b"arguments",
    AuthorizationToken = b"authorizationToken",
    AwsLogs = b"awslogs",
    Bot = b"bot",
    CheckpointToken = b"CheckpointToken",
    ClickType = b"clickType",
    CodePipelineJob = b"CodePipeline.job",
    ConfigRuleName = b"configRuleName",
    CurrentIntent = b"currentIntent",
    DatasetName = b"datasetName",
    DeliveryStreamArn = b"deliveryStreamArn",
    DetailType = b"detail-type",
    Details = b"Details",
    DeviceEvent = b"deviceEvent",
    DurableExecutionArn = b"DurableExecutionArn",
    EventSource = b"eventSource",
    EventSourceArn = b"eventSourceARN",
    Execution = b"Execution",
    HttpMethod = b"httpMethod",
    IdentityPoolId = b"identityPoolId",
    IdentitySource = b"identitySource",
    Info = b"info",
    InvocationSchemaVersion = b"invocationSchemaVersion",
    InvokingEvent = b"invokingEvent",
    LatticePath = b"raw_path",
    LogicalResourceId = b"LogicalResourceId",
    Method = b"method",
    MethodArn = b"methodArn",
    Name = b"Name",
    Path = b"path",
    PlacementInfo = b"placementInfo",
    ProtocolData = b"protocolData",
    RawPath = b"rawPath",
    Records = b"Records",
    RequestContext = b"requestContext",
    RequestPayload = b"requestPayload",
    RequestType = b"RequestType",
    Resource = b"resource",
    RouteArn = b"routeArn",
    Route = b"routeKey",
    SecretId = b"SecretId",
    SerialNumber = b"serialNumber",
    SessionState = b"sessionState",
    SignatureVerified = b"signatureVerified",
    Source = b"source",
    StateMachine = b"StateMachine",
    Step = b"Step",
    StreamRecords = b"records",
    Tasks = b"tasks",
    TriggerSource = b"triggerSource",
    Type = b"type",
    UserPoolId = b"userPoolId",
    UserRequest = b"userRequest",
    XAmzRequestId = b"xAmzRequestId",
}

keys! {
    /// The keys of a `requestContext` that give more details.
    Detail:
    Condition = b"condition",
    ConnectionId = b"connectionId",
    DomainName = b"domainName",
    Elb = b"elb",
    Http = b"http",
    Operation = b"queryString",
    ServiceNetworkArn = b"serviceNetworkArn",
}

/// The event has all of these keys. The first matching rule counts.
const RULES: [(&[Key], Trigger); 27] = [
    (&[Key::Type, Key::MethodArn], Trigger::Authorizer),
    (&[Key::Type, Key::RouteArn], Trigger::Authorizer),
    (&[Key::SignatureVerified, Key::ProtocolData], Trigger::Authorizer),
    (&[Key::LatticePath, Key::Method], Trigger::VpcLattice),
    (&[Key::Route], Trigger::ApiGatewayV2),
    (&[Key::RawPath], Trigger::ApiGatewayV2),
    (&[Key::HttpMethod, Key::Resource], Trigger::ApiGatewayV1),
    (&[Key::HttpMethod, Key::RequestContext], Trigger::ApiGatewayV1),
    (&[Key::Source, Key::AlarmData], Trigger::CloudWatchAlarm),
    (&[Key::DetailType, Key::Source], Trigger::EventBridge),
    (&[Key::TriggerSource, Key::UserPoolId], Trigger::Cognito),
    (&[Key::DatasetName, Key::IdentityPoolId], Trigger::Cognito),
    (&[Key::Arguments, Key::Info], Trigger::AppSync),
    (&[Key::DurableExecutionArn, Key::CheckpointToken], Trigger::DurableExecution),
    (&[Key::DeliveryStreamArn, Key::StreamRecords], Trigger::Firehose),
    (&[Key::InvocationSchemaVersion, Key::Tasks], Trigger::S3Batch),
    (&[Key::XAmzRequestId, Key::UserRequest], Trigger::S3ObjectLambda),
    (&[Key::Bot, Key::CurrentIntent], Trigger::Lex),
    (&[Key::Bot, Key::SessionState], Trigger::Lex),
    (&[Key::Name, Key::Details], Trigger::Connect),
    (&[Key::Execution, Key::StateMachine], Trigger::StepFunctions),
    (&[Key::RequestType, Key::LogicalResourceId], Trigger::CloudFormation),
    (&[Key::ClickType, Key::SerialNumber], Trigger::Iot),
    (&[Key::DeviceEvent, Key::PlacementInfo], Trigger::Iot),
    (&[Key::ConfigRuleName, Key::InvokingEvent], Trigger::Config),
    (&[Key::Step, Key::SecretId], Trigger::SecretsManager),
    (&[Key::AwsLogs], Trigger::CloudWatchLogs),
];

pub(super) fn recognize(event: &[u8]) -> Trigger {
    let event = event.trim_ascii_start();
    let found = match event.first() {
        Some(b'{') => object(event),
        // EventBridge Pipes sends the records without an envelope.
        Some(b'[') => elements(event).find_map(of_record),
        _ => None,
    };
    found.unwrap_or(Trigger::Direct)
}

fn object(event: &[u8]) -> Option<Trigger> {
    let (mut seen, mut context, mut stream) = (Seen::default(), None, None);
    let mut scheduled = (false, false);
    for (name, value) in members(event) {
        let Some(key) = Key::named(name) else { continue };
        seen.add(key);
        match key {
            Key::Records => {
                let source = elements(value).find_map(of_record);
                if source.is_some() {
                    return source;
                }
            }
            // These events name their source once for all records. A single record of another source can be anything.
            Key::EventSource => {
                let source = string(value).and_then(of_source);
                if matches!(source, Some(Trigger::Kafka | Trigger::Mq | Trigger::DocumentDb)) {
                    return source;
                }
            }
            Key::EventSourceArn => stream = string(value).and_then(of_arn),
            Key::CodePipelineJob => return Some(Trigger::CodePipeline),
            Key::DetailType => scheduled.0 = string(value) == Some(b"Scheduled Event"),
            Key::Source => scheduled.1 = matches!(string(value), Some(b"aws.events" | b"aws.scheduler")),
            Key::RequestContext => {
                context = of_request_context(value, &seen);
                // The body follows, which may be long. Only an authorizer's event has more relevant keys.
                let asks = [Key::Type, Key::MethodArn, Key::RouteArn, Key::IdentitySource].iter().any(|key| seen.has(*key));
                if context.is_some() && !asks {
                    return context;
                }
            }
            _ => {}
        }
        if scheduled == (true, true) {
            return Some(Trigger::Schedule);
        }
    }
    let rule = RULES.iter().find(|(keys, _)| keys.iter().all(|key| seen.has(*key))).map(|(_, trigger)| *trigger);
    match rule {
        Some(Trigger::Authorizer) => rule,
        // The end of a tumbling window has no records.
        _ => context.or(rule).or(stream.filter(|_| seen.has(Key::Records))),
    }
}

/// The trigger for the source of a record, in the service's spelling.
fn of_record(record: &[u8]) -> Option<Trigger> {
    members(record)
        .find(|(name, _)| matches!(*name, b"eventSource" | b"EventSource"))
        .and_then(|(_, source)| of_source(string(source)?))
}

fn of_source(source: &[u8]) -> Option<Trigger> {
    Some(match source {
        b"aws:sqs" => Trigger::Sqs,
        b"aws:sns" => Trigger::Sns,
        b"aws:s3" => Trigger::S3,
        b"aws:kinesis" => Trigger::Kinesis,
        b"aws:dynamodb" => Trigger::DynamoDb,
        b"aws:ses" => Trigger::Ses,
        b"aws:codecommit" => Trigger::CodeCommit,
        b"aws:kafka" | b"SelfManagedKafka" => Trigger::Kafka,
        b"aws:mq" | b"aws:amq" | b"aws:rmq" => Trigger::Mq,
        b"aws:docdb" => Trigger::DocumentDb,
        _ => return None,
    })
}

/// `arn:aws:kinesis:…`
fn of_arn(arn: &[u8]) -> Option<Trigger> {
    match arn.split(|byte| *byte == b':').nth(2)? {
        b"kinesis" => Some(Trigger::Kinesis),
        b"dynamodb" => Some(Trigger::DynamoDb),
        b"sqs" => Some(Trigger::Sqs),
        _ => None,
    }
}

fn of_request_context(context: &[u8], event: &Seen) -> Option<Trigger> {
    let mut second_payload = event.has(Key::Route) || event.has(Key::RawPath);
    for (name, value) in members(context) {
        match Detail::named(name) {
            Some(Detail::Elb) => return Some(Trigger::LoadBalancer),
            Some(Detail::ConnectionId) => return Some(Trigger::WebSocket),
            Some(Detail::ServiceNetworkArn) => return Some(Trigger::VpcLattice),
            Some(Detail::Condition) => return Some(Trigger::Destination),
            // An authorizer of AppSync.
            Some(Detail::Operation) => return Some(Trigger::Authorizer),
            Some(Detail::DomainName) if memchr::memmem::find(string(value)?, b".lambda-url.").is_some() => {
                return Some(Trigger::FunctionUrl);
            }
            Some(Detail::Http) => second_payload = true,
            _ => {}
        }
    }
    if second_payload {
        Some(Trigger::ApiGatewayV2)
    } else {
        (event.has(Key::HttpMethod) && event.has(Key::Path)).then_some(Trigger::ApiGatewayV1)
    }
}

/// A set of keys.
#[derive(Default)]
struct Seen(u64);

impl Seen {
    fn add(&mut self, key: Key) {
        self.0 |= 1 << key as u64;
    }

    fn has(&self, key: Key) -> bool {
        self.0 & 1 << key as u64 != 0
    }
}
