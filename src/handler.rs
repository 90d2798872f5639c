//! The handlers that event sources call, with or without a state.
//!
//! A handler is an `async fn` that takes an item, or a state and an item:
//!
//! ```
//! use lambda_lifecycle::{Error, sqs::{self, Message}};
//!
//! #[derive(Clone)]
//! struct App;
//!
//! async fn print(message: Message<u64>) -> Result<(), Error> {
//!     println!("order {}", message.body);
//!     Ok(())
//! }
//!
//! async fn place(app: App, message: Message<u64>) -> Result<(), Error> {
//!     Ok(())
//! }
//!
//! let printer = sqs::batch(print);
//! let worker = sqs::batch(place).with_state(App);
//! ```
//!
//! The item is a [`Message`](crate::sqs::Message) of a queue, a [`Notification`](crate::sns::Notification) or an
//! [`EventBridgeEvent`](crate::event_bridge::EventBridgeEvent). Each call gets a clone of the state, so put a large state into an
//! `Arc`. Most clients are cheap to clone. Closures work too, if the types of their arguments are written.
//!
//! A handler that needs a state does not compile without one:
//!
//! ```compile_fail,E0277
//! # use lambda_lifecycle::{Error, Lifecycle, sqs::{self, Message}};
//! # #[derive(Clone)]
//! # struct App;
//! # async fn place(app: App, message: Message<u64>) -> Result<(), Error> { Ok(()) }
//! # async fn run(life: Lifecycle) -> Result<(), Error> {
//! life.run_concurrent(sqs::batch(place)).await    // error: call `.with_state(app)`
//! # }
//! ```

use lambda_runtime::Error;
use std::future::Future;

/// An `async fn(Item) -> Result<(), E>`, or an `async fn(State, Item) -> Result<(), E>`.
///
/// Implemented for functions and closures, and for nothing else. `Args` is the tuple of the arguments' types, which the compiler
/// infers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of `{Item}` with the state `{State}`",
    label = "not a handler with this state",
    note = "a handler is an `async fn({Item}) -> Result<(), E>` or an `async fn(App, {Item}) -> Result<(), E>`, with `E: Into<lambda_lifecycle::Error>`",
    note = "a handler that takes an `App` needs `.with_state(app)`, where `App: Clone`"
)]
pub trait Handler<Args, State, Item>: sealed::Sealed<Args, State, Item> {
    /// The error that the handler returns.
    type Error: Into<Error>;
    /// The future of one call.
    type Future: Future<Output = Result<(), Self::Error>>;

    /// Handles one item.
    fn call(&self, state: &State, item: Item) -> Self::Future;
}

mod sealed {
    pub trait Sealed<Args, State, Item> {}
}

impl<F, Item, Working, E> sealed::Sealed<(Item,), (), Item> for F
where
    F: Fn(Item) -> Working,
    Working: Future<Output = Result<(), E>>,
    E: Into<Error>,
{
}

impl<F, Item, Working, E> Handler<(Item,), (), Item> for F
where
    F: Fn(Item) -> Working,
    Working: Future<Output = Result<(), E>>,
    E: Into<Error>,
{
    type Error = E;
    type Future = Working;

    fn call(&self, (): &(), item: Item) -> Working {
        self(item)
    }
}

impl<F, State, Item, Working, E> sealed::Sealed<(State, Item), State, Item> for F
where
    F: Fn(State, Item) -> Working,
    State: Clone,
    Working: Future<Output = Result<(), E>>,
    E: Into<Error>,
{
}

impl<F, State, Item, Working, E> Handler<(State, Item), State, Item> for F
where
    F: Fn(State, Item) -> Working,
    State: Clone,
    Working: Future<Output = Result<(), E>>,
    E: Into<Error>,
{
    type Error = E;
    type Future = Working;

    fn call(&self, state: &State, item: Item) -> Working {
        self(state.clone(), item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event_bridge::{self, EventBridgeEvent},
        sns::{self, Notification},
    };
    use lambda_runtime::LambdaEvent;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};
    use tower::Service;

    type Seen = Arc<Mutex<Vec<String>>>;

    fn note(seen: &Seen, what: &str) {
        seen.lock().expect("not poisoned").push(what.to_owned());
    }

    async fn served<S, Event>(mut service: S, event: &Value) -> Result<S::Response, S::Error>
    where
        S: Service<LambdaEvent<Event>> + Clone,
        Event: DeserializeOwned,
    {
        let event = serde_json::from_value(event.clone()).expect("an event");
        service.call(LambdaEvent::new(event, lambda_runtime::Context::default())).await
    }

    fn notification() -> Value {
        json!({ "Records": [{ "Sns": { "Message": "\"tea\"", "MessageId": "m1", "TopicArn": "arn:aws:sns:eu-west-1:1:orders" } }] })
    }

    async fn with_a_state(seen: Seen, notification: Notification<String>) -> Result<(), Error> {
        note(&seen, &notification.message);
        Ok(())
    }

    async fn without_a_state(_: Notification<String>) -> Result<(), String> {
        Err("refused".to_owned())
    }

    #[tokio::test]
    async fn functions_and_closures_are_handlers_with_and_without_a_state() {
        let seen = Seen::default();
        served(sns::notifications(with_a_state).with_state(Arc::clone(&seen)), &notification()).await.expect("handled");
        let refused = served(sns::notifications(without_a_state), &notification()).await.expect_err("refused");
        assert_eq!(refused.error_message, "refused");

        let event = json!({ "source": "shop", "detail-type": "placed", "detail": "kettle" });
        let (captured, of_closure) = (Arc::clone(&seen), |seen: Seen, event: EventBridgeEvent<String>| async move {
            note(&seen, &event.detail);
            Ok::<_, Error>(())
        });
        served(event_bridge::events(of_closure).with_state(Arc::clone(&seen)), &event).await.expect("handled");
        let capturing = move |event: EventBridgeEvent<String>| {
            let seen = Arc::clone(&captured);
            async move {
                note(&seen, &event.source);
                Ok::<_, Error>(())
            }
        };
        served(event_bridge::events(capturing), &event).await.expect("handled");
        assert_eq!(*seen.lock().expect("not poisoned"), ["tea", "kettle", "shop"]);
    }
}
