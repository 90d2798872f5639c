//! The HTTP endpoint.

use super::{publish::Call, topic::Topic};
use crate::{
    listener::Listener,
    sqs::{ACCOUNT, REGION},
};
use axum::{Router, extract::State, response::Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

type Topics = Arc<Mutex<HashMap<String, Topic>>>;

/// An SNS endpoint on the loopback address, without TLS; signatures are not checked. It stops when dropped.
///
/// ```no_run
/// use lambda_lifecycle_sandbox::{sns::{Delivery, Sns}, sqs::{QueueOptions, Sqs}};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (sqs, sns) = (Sqs::start().await?, Sns::start().await?);
/// let orders = sns.create_topic("orders");
/// orders.subscribe_queue(&sqs.create_queue("invoices", QueueOptions::default()).await?, Delivery::Raw);
/// println!("endpoint_url = {}, topic_arn = {}", sns.endpoint(), orders.arn);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sns {
    listener: Listener,
    topics: Topics,
}

impl Sns {
    /// Starts an endpoint without topics on a free port.
    pub async fn start() -> io::Result<Self> {
        let topics = Topics::default();
        let router = Router::new().fallback(dispatch).with_state(Arc::clone(&topics));
        Ok(Self { listener: Listener::start(router).await?, topics })
    }

    /// As in `http://127.0.0.1:41234`: the `endpoint_url` of a client, and `AWS_ENDPOINT_URL_SNS` of a function.
    pub fn endpoint(&self) -> String {
        self.listener.endpoint()
    }

    /// The topic of this name, made at the first call.
    pub fn create_topic(&self, name: &str) -> Topic {
        let arn = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}");
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(arn.clone()).or_insert_with(|| Topic::new(arn)).clone()
    }
}

async fn dispatch(State(topics): State<Topics>, headers: HeaderMap, body: Bytes) -> Response<String> {
    let trace_header = headers.get("x-amzn-trace-id").and_then(|value| value.to_str().ok());
    let call = Call::read(&body);
    let action = call.get("Action").unwrap_or_default();
    if !["Publish", "PublishBatch"].contains(&action) {
        return refuse(StatusCode::BAD_REQUEST, "InvalidAction", "the sandbox's topics know Publish and PublishBatch");
    }
    let arn = call.get("TopicArn").or(call.get("TargetArn")).unwrap_or_default();
    let topic = topics.lock().unwrap_or_else(PoisonError::into_inner).get(arn).cloned();
    let Some(topic) = topic else { return refuse(StatusCode::NOT_FOUND, "NotFound", "Topic does not exist") };
    let mut members = String::new();
    for message in call.messages() {
        let id = topic.publish(&message, trace_header).await;
        members.push_str(&if action == "Publish" {
            format!("<MessageId>{id}</MessageId>")
        } else {
            format!("<member><Id>{}</Id><MessageId>{id}</MessageId></member>", message.id)
        });
    }
    if action == "PublishBatch" {
        members = format!("<Successful>{members}</Successful><Failed/>");
    }
    response(StatusCode::OK, format!("<{action}Response><{action}Result>{members}</{action}Result></{action}Response>"))
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response<String> {
    let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
    response(status, format!("<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>"))
}

fn response(status: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("text/xml"));
    if let Ok(id) = http::HeaderValue::try_from(crate::ids::new_request_id()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
