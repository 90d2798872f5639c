//! The trigger of the function, recognized by the structure of the event.

mod recognize;

/// The kind of event, after OpenTelemetry's `faas.trigger`: the annotation `trigger` of an invocation.
///
/// An event has the trigger that its own structure shows. The input of a state machine, an agent's call and the data of an `IoT`
/// rule have no fixed structure, so they are [`Direct`](Self::Direct), like any direct invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// API Gateway REST API, or an HTTP API with payload format 1.0.
    ApiGatewayV1,
    /// API Gateway HTTP API with payload format 2.0.
    ApiGatewayV2,
    /// A route of an API Gateway WebSocket API: connect, disconnect or message.
    WebSocket,
    /// A function URL.
    FunctionUrl,
    /// An Application Load Balancer.
    LoadBalancer,
    /// A target group of VPC Lattice, in either version of its event.
    VpcLattice,
    /// An authorizer's request: of API Gateway in all its forms, of AppSync, or of AWS IoT.
    Authorizer,
    /// An SQS queue, through an event source mapping or a pipe.
    Sqs,
    /// An SNS topic.
    Sns,
    /// A rule of EventBridge.
    EventBridge,
    /// A schedule, of an EventBridge rule or of EventBridge Scheduler's default payload.
    Schedule,
    /// An S3 bucket.
    S3,
    /// A job of S3 Batch Operations.
    S3Batch,
    /// A request through S3 Object Lambda.
    S3ObjectLambda,
    /// A Kinesis stream, also the end of a tumbling window.
    Kinesis,
    /// A transformation for Amazon Data Firehose.
    Firehose,
    /// A DynamoDB stream, also the end of a tumbling window.
    DynamoDb,
    /// A change stream of DocumentDB.
    DocumentDb,
    /// Kafka: MSK or self-managed.
    Kafka,
    /// Amazon MQ: ActiveMQ or RabbitMQ.
    Mq,
    /// A receipt rule of SES.
    Ses,
    /// A subscription of a CloudWatch Logs group.
    CloudWatchLogs,
    /// The action of a CloudWatch alarm.
    CloudWatchAlarm,
    /// A direct resolver of AppSync.
    AppSync,
    /// A trigger of a Cognito user or identity pool.
    Cognito,
    /// An AWS IoT button or 1-Click device.
    Iot,
    /// A job of CodePipeline.
    CodePipeline,
    /// A CodeCommit repository.
    CodeCommit,
    /// A bot of Lex.
    Lex,
    /// A contact flow of Connect.
    Connect,
    /// A state machine that passes its context object.
    StepFunctions,
    /// A start or resume of a durable execution.
    DurableExecution,
    /// The record of an asynchronous invocation that Lambda sends to an on-success or on-failure destination.
    Destination,
    /// A custom resource of CloudFormation.
    CloudFormation,
    /// A rule of AWS Config.
    Config,
    /// A rotation of Secrets Manager.
    SecretsManager,
    /// Anything else: a direct invocation.
    Direct,
}

impl Trigger {
    /// The value of OpenTelemetry's [`faas.trigger`](https://opentelemetry.io/docs/specs/semconv/faas/faas-spans/).
    pub fn as_faas_trigger(self) -> &'static str {
        match self {
            Self::ApiGatewayV1 | Self::ApiGatewayV2 | Self::FunctionUrl | Self::LoadBalancer | Self::VpcLattice => "http",
            Self::Sqs | Self::Sns | Self::EventBridge | Self::Kinesis | Self::Firehose | Self::Kafka | Self::Mq | Self::Iot => {
                "pubsub"
            }
            Self::S3 | Self::S3Batch | Self::S3ObjectLambda | Self::DynamoDb | Self::DocumentDb => "datasource",
            Self::Schedule => "timer",
            _ => "other",
        }
    }

    /// A short name, the annotation `trigger`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiGatewayV1 => "api_gateway_v1",
            Self::ApiGatewayV2 => "api_gateway_v2",
            Self::WebSocket => "websocket",
            Self::FunctionUrl => "function_url",
            Self::LoadBalancer => "load_balancer",
            Self::VpcLattice => "vpc_lattice",
            Self::Authorizer => "authorizer",
            Self::Sqs => "sqs",
            Self::Sns => "sns",
            Self::EventBridge => "event_bridge",
            Self::Schedule => "schedule",
            Self::S3 => "s3",
            Self::S3Batch => "s3_batch",
            Self::S3ObjectLambda => "s3_object_lambda",
            Self::Kinesis => "kinesis",
            Self::Firehose => "firehose",
            Self::DynamoDb => "dynamodb",
            Self::DocumentDb => "documentdb",
            Self::Kafka => "kafka",
            Self::Mq => "mq",
            Self::Ses => "ses",
            Self::CloudWatchLogs => "cloudwatch_logs",
            Self::CloudWatchAlarm => "cloudwatch_alarm",
            Self::AppSync => "appsync",
            Self::Cognito => "cognito",
            Self::Iot => "iot",
            Self::CodePipeline => "codepipeline",
            Self::CodeCommit => "codecommit",
            Self::Lex => "lex",
            Self::Connect => "connect",
            Self::StepFunctions => "step_functions",
            Self::DurableExecution => "durable_execution",
            Self::Destination => "destination",
            Self::CloudFormation => "cloudformation",
            Self::Config => "config",
            Self::SecretsManager => "secrets_manager",
            Self::Direct => "direct",
        }
    }
}
