//! Shared by the tests of SQS.
#![allow(dead_code, reason = "each test program uses its part")]

use aws_sdk_sqs::{
    Client,
    config::{BehaviorVersion, Config, Credentials, Region, retry::RetryConfig},
    types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue},
};
use bytes::Bytes;
use lambda_lifecycle_sandbox::{Event, Failure, FunctionResponse, Invoke, sqs::Sqs};
use std::{future::Future, pin::Pin, time::SystemTime};
use tokio::sync::{mpsc, oneshot};

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    lambda_lifecycle_sandbox::wait::within(what, future).await.unwrap_or_else(|expired| panic!("{expired}"))
}

pub(crate) async fn start() -> Sqs {
    within("the start of SQS", Sqs::start()).await.unwrap()
}

/// A client that signs for another region than the queues are in, as any function may.
pub(crate) fn client(sqs: &Sqs) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(sqs.endpoint())
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

pub(crate) fn header(digit: char) -> String {
    let trace: String = std::iter::repeat_n(digit, 24).collect();
    format!("Root=1-5759e988-{trace};Parent=53995c3f42cd8ad8;Sampled=1")
}

pub(crate) const TRACE_HEADER: MessageSystemAttributeNameForSends = MessageSystemAttributeNameForSends::AwsTraceHeader;

pub(crate) fn system_attribute(value: &str) -> MessageSystemAttributeValue {
    let value = MessageSystemAttributeValue::builder().data_type("String").string_value(value);
    value.build().unwrap()
}

/// A function whose every response the test provides.
pub(crate) struct Manual(mpsc::UnboundedSender<Call>);

pub(crate) struct Call {
    pub(crate) event: Event,
    reply: oneshot::Sender<Result<Bytes, Failure>>,
}

impl Manual {
    pub(crate) fn new() -> (std::sync::Arc<Self>, mpsc::UnboundedReceiver<Call>) {
        let (sender, calls) = mpsc::unbounded_channel();
        (std::sync::Arc::new(Self(sender)), calls)
    }
}

impl Invoke for Manual {
    fn invoke(&self, event: Event) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let gone = || Failure::Exited("the test has ended".into());
            let sent = self.0.send(Call { event, reply });
            let result = match sent {
                Ok(()) => answer.await.unwrap_or_else(|_| Err(gone())),
                Err(_) => Err(gone()),
            };
            FunctionResponse {
                request_id: "r".into(),
                trace_id: "1-5759e988-bd862e3fe1be46a994272793".into(),
                result,
                streamed: false,
                at: SystemTime::now(),
            }
        })
    }
}

impl Call {
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        let event: serde_json::Value = serde_json::from_slice(&self.event.payload).unwrap();
        event["Records"].as_array().unwrap().clone()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.records().iter().map(|record| record["body"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn id_of(&self, body: &str) -> String {
        let records = self.records();
        let record = records.iter().find(|record| record["body"] == body).unwrap();
        record["messageId"].as_str().unwrap().to_owned()
    }

    pub(crate) fn answer(self, answer: impl Into<Bytes>) {
        assert!(self.reply.send(Ok(answer.into())).is_ok(), "the caller is gone");
    }

    pub(crate) fn fail(self) {
        let failure = Failure::Function { error_type: "T".into(), error_message: "m".into() };
        assert!(self.reply.send(Err(failure)).is_ok(), "the caller is gone");
    }

    /// Reports the messages with these bodies as failed.
    pub(crate) fn answer_failed(self, bodies: &[&str]) {
        let failures: Vec<_> = bodies.iter().map(|body| serde_json::json!({"itemIdentifier": self.id_of(body)})).collect();
        self.answer(serde_json::json!({"batchItemFailures": failures}).to_string());
    }
}

pub(crate) async fn next(calls: &mut mpsc::UnboundedReceiver<Call>) -> Call {
    within("the next invocation", calls.recv()).await.expect("a mapping that lives")
}
