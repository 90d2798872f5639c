//! SNS notifications that are sent directly to the function: a typed handler for each, with a span that links to its producer.
//!
//! ```no_run
//! use lambda_lifecycle::{Error, Lifecycle, sns::{self, Notification}};
//!
//! #[derive(serde::Deserialize)]
//! struct Order { id: u64 }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     Lifecycle::from_env().run_concurrent(sns::notifications(placed)).await
//! }
//!
//! async fn placed(notification: Notification<Order>) -> Result<(), Error> {
//!     println!("order {} by {}", notification.message.id, notification.topic_arn);
//!     Ok(())
//! }
//! ```
//!
//! SNS invokes a function asynchronously with one notification, and Lambda retries it when the handler fails. With active tracing
//! on the topic, the invocation is already in the producer's trace. A W3C `traceparent` among the message attributes is read if
//! the [propagators](crate::Builder::propagators) include it.
//!
//! For notifications that pass through a queue, use [`sqs::batch`](crate::sqs::batch): unchanged if the subscription uses raw
//! message delivery, else with [`from_sns`](crate::sqs::Batch::from_sns).

use crate::{
    Invocation, decode,
    handler::Handler,
    hop::{self, Producer, consumer},
    lenient::null_as_default,
    propagation::Fields,
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use opentelemetry::{KeyValue, Value, context::FutureExt as _, trace::Link};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};
use tower::Service;

/// A notification, as SNS delivers it to a function or a queue. See [Amazon SNS message and JSON
/// formats](https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Notification<T> {
    /// The published message.
    pub message: T,
    /// The id that SNS gave it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub message_id: String,
    /// The topic.
    #[serde(default, deserialize_with = "null_as_default")]
    pub topic_arn: String,
    /// The subject, if it was published with one.
    #[serde(default)]
    pub subject: Option<String>,
    /// When it was published, in ISO 8601.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// The publisher's own attributes.
    #[serde(default, deserialize_with = "null_as_default")]
    pub message_attributes: HashMap<String, NotificationAttribute>,
}

/// A message attribute from the publisher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NotificationAttribute {
    /// `String`, `String.Array`, `Number` or `Binary`.
    #[serde(rename = "Type", deserialize_with = "null_as_default")]
    pub data_type: String,
    /// The value, in base64 for `Binary`.
    #[serde(deserialize_with = "null_as_default")]
    pub value: String,
}

impl<T> Notification<T> {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        Some(&self.message_attributes.get(name)?.value)
    }

    /// The topic's name: the last part of its ARN.
    pub fn topic(&self) -> &str {
        self.topic_arn.rsplit(':').next().unwrap_or_default()
    }

    /// The message, and the notification without it.
    pub(crate) fn take(self) -> (T, Notification<()>) {
        let Self { message, message_id, topic_arn, subject, timestamp, message_attributes } = self;
        (message, Notification { message: (), message_id, topic_arn, subject, timestamp, message_attributes })
    }
}

/// The event with which SNS invokes a function. See [Invoking Lambda functions with Amazon SNS
/// notifications](https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SnsEvent {
    /// The notifications; SNS sends one.
    #[serde(rename = "Records")]
    pub records: Vec<SnsRecord>,
}

/// A notification as the event contains it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SnsRecord {
    /// The notification, its message as text.
    #[serde(rename = "Sns")]
    pub sns: Notification<String>,
}

/// A service that handles notifications. Made by [`notifications`] and [`notifications_raw`].
#[must_use = "hand it to `Lifecycle::run_concurrent`"]
pub struct Notifications<H, Args, T, State = ()> {
    state: State,
    handler: H,
    args: PhantomData<fn() -> Args>,
    decode: fn(String) -> Result<T, decode::Undecodable>,
}

impl<H, Args, T, State> fmt::Debug for Notifications<H, Args, T, State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifications").finish_non_exhaustive()
    }
}

/// Runs `handler` for each notification, with the message decoded from JSON into `T`.
///
/// The handler is an `async fn(Notification<T>)`, or an `async fn(App, Notification<T>)` with [`with_state`](Notifications::with_state).
/// The first failure fails the invocation, and Lambda retries the event.
pub fn notifications<H, Args, State, T>(handler: H) -> Notifications<H, Args, T>
where
    T: DeserializeOwned,
    H: Handler<Args, State, Notification<T>>,
{
    Notifications { state: (), handler, args: PhantomData, decode: |text| decode::from_str(&text) }
}

/// Like [`notifications`], with the messages unchanged: for topics whose publishers send text, such as AWS Budgets or
/// CloudFormation.
///
/// ```
/// use lambda_lifecycle::{Error, sns::{self, Notification}};
///
/// async fn notice(notification: Notification<String>) -> Result<(), Error> {
///     println!("{}: {}", notification.subject.unwrap_or_default(), notification.message);
///     Ok(())
/// }
/// let service = sns::notifications_raw(notice);
/// ```
pub fn notifications_raw<H, Args, State>(handler: H) -> Notifications<H, Args, String>
where
    H: Handler<Args, State, Notification<String>>,
{
    Notifications { state: (), handler, args: PhantomData, decode: Ok }
}

impl<H, Args, T> Notifications<H, Args, T> {
    /// The state of which each call of the handler gets a clone, as its first argument.
    pub fn with_state<State>(self, state: State) -> Notifications<H, Args, T, State>
    where
        H: Handler<Args, State, Notification<T>>,
    {
        let Self { state: (), handler, args, decode } = self;
        Notifications { state, handler, args, decode }
    }
}

impl<H: Clone, Args, T, State: Clone> Clone for Notifications<H, Args, T, State> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), handler: self.handler.clone(), ..*self }
    }
}

impl<H, Args, T, State> Service<LambdaEvent<SnsEvent>> for Notifications<H, Args, T, State>
where
    State: Clone + Send + Sync + 'static,
    T: Send + 'static,
    Args: 'static,
    H: Handler<Args, State, Notification<T>> + Clone + Send + Sync + 'static,
    H::Future: Send + 'static,
{
    type Response = ();
    type Error = Diagnostic;
    type Future = Pin<Box<dyn Future<Output = Result<(), Diagnostic>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Diagnostic>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaEvent<SnsEvent>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let invocation = Invocation::current();
            for record in event.payload.records {
                let span = begin(&invocation, &record.sns);
                let context = span.as_ref().map_or_else(opentelemetry::Context::current, |span| span.context().clone());
                let handled = service.handle(record.sns).with_context(context).await;
                let failure = handled.as_ref().err().map(|failure| (&*failure.error_type, &*failure.error_message));
                if let Some(span) = span {
                    span.end(failure);
                }
                handled?;
            }
            Ok(())
        })
    }
}

impl<H, Args, T, State> Notifications<H, Args, T, State>
where
    H: Handler<Args, State, Notification<T>>,
{
    async fn handle(&self, notification: Notification<String>) -> Result<(), Diagnostic> {
        let (text, around) = notification.take();
        let message = (self.decode)(text).map_err(|error| Diagnostic {
            error_type: "Lifecycle.UndecodableMessage".to_owned(),
            error_message: format!("the message is not a valid {}: {error}", decode::type_name::<T>()),
        })?;
        let Notification { message: (), message_id, topic_arn, subject, timestamp, message_attributes } = around;
        let notification = Notification { message, message_id, topic_arn, subject, timestamp, message_attributes };
        let handled = self.handler.call(&self.state, notification).await;
        handled.map_err(|error| Invocation::current().diagnostic_of(error))
    }
}

fn begin(invocation: &Invocation, notification: &Notification<String>) -> Option<hop::OpenSpan> {
    if !invocation.is_recorded() {
        return None;
    }
    let settings = &invocation.shared().settings;
    let mut links = Vec::new();
    // A caller whose trace is continued is already the invocation's parent.
    if settings.propagators().trace_context && !settings.continues_invocations() {
        let producer = Producer::read(settings, None, &Fields::from_names(|name| notification.attribute(name)));
        links.extend(producer.iter().flat_map(Producer::contexts).map(Link::with_context));
    }
    let topic = Value::from(notification.topic().to_owned());
    let id = KeyValue::new("annotation.message_id", notification.message_id.clone());
    let span = consumer(format!("process {}", notification.topic()), "aws.sns", &topic, [id]).with_links(links);
    Some(hop::begin(span, &opentelemetry::Context::current()))
}
