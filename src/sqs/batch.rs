//! The runner of a batch.

use super::{
    event::{BatchItemFailure, BatchResponse, Message, SqsEvent, SqsRecord},
    span::{begin_batch, begin_message},
};
use crate::{
    Invocation,
    outcome::{error_type, panic_message},
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lambda_runtime::{Error, LambdaEvent};
use opentelemetry::context::FutureExt as _;
use serde::de::DeserializeOwned;
use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    future::Future,
    marker::PhantomData,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::SystemTime,
};
use tower::Service;

/// Messages at work at once, unless [`Batch::concurrency`] says otherwise: a whole batch of the default size.
const CONCURRENCY: usize = 10;

/// A service that handles each message of a batch by itself. Made by [`batch`].
pub struct Batch<App, T, Handler> {
    app: App,
    handler: Handler,
    concurrency: usize,
    body: PhantomData<fn() -> T>,
}

/// Runs `handler` for each message of a batch, with a clone of `app`.
///
/// The body is decoded from JSON into `T`. What became of the messages is described at the [module](super).
pub fn batch<App, T, Handler, Working, E>(app: App, handler: Handler) -> Batch<App, T, Handler>
where
    Handler: Fn(App, Message<T>) -> Working,
    Working: Future<Output = Result<(), E>>,
    E: Into<Error>,
{
    Batch { app, handler, concurrency: CONCURRENCY, body: PhantomData }
}

impl<App, T, Handler> Batch<App, T, Handler> {
    /// How many messages are at work at once; at least 1, 10 by default.
    pub fn concurrency(mut self, messages: usize) -> Self {
        self.concurrency = messages.max(1);
        self
    }
}

impl<App: Clone, T, Handler: Clone> Clone for Batch<App, T, Handler> {
    fn clone(&self) -> Self {
        Self { app: self.app.clone(), handler: self.handler.clone(), concurrency: self.concurrency, body: PhantomData }
    }
}

impl<App, T, Handler, Working, E> Service<LambdaEvent<SqsEvent>> for Batch<App, T, Handler>
where
    App: Clone + Send + Sync + 'static,
    T: DeserializeOwned + Send + 'static,
    Handler: Fn(App, Message<T>) -> Working + Clone + Send + Sync + 'static,
    Working: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Error>,
{
    type Response = BatchResponse;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<BatchResponse, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaEvent<SqsEvent>) -> Self::Future {
        let runner = self.clone();
        let invocation = Invocation::current();
        Box::pin(async move {
            let records: Arc<[SqsRecord]> = event.payload.records.into();
            let span = begin_batch(&invocation, &records);
            let context = span.context();
            let answer = runner.run(invocation, records).with_context(context).await;
            span.end(None);
            Ok(answer)
        })
    }
}

impl<App, T, Handler, Working, E> Batch<App, T, Handler>
where
    App: Clone,
    T: DeserializeOwned,
    Handler: Fn(App, Message<T>) -> Working,
    Working: Future<Output = Result<(), E>>,
    E: Into<Error>,
{
    async fn run(&self, invocation: Invocation, records: Arc<[SqsRecord]>) -> BatchResponse {
        let done: Vec<AtomicBool> = records.iter().map(|_| AtomicBool::new(false)).collect();
        let mut waiting = lanes(&records);
        let mut running = FuturesUnordered::new();
        let token = invocation.token().clone();
        let mut last_call = std::pin::pin!(last_call(&invocation));
        loop {
            while running.len() < self.concurrency && !token.is_cancelled() {
                let Some(lane) = waiting.pop_front() else { break };
                running.push(self.lane(&invocation, &records, lane, &done));
            }
            if running.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                _ = running.next() => {}
                () = &mut last_call => break,
            }
        }
        let failures = records.iter().zip(&done).filter(|(_, done)| !done.load(Ordering::Relaxed));
        let batch_item_failures =
            failures.map(|(record, _)| BatchItemFailure { item_identifier: record.message_id.clone() }).collect();
        BatchResponse { batch_item_failures }
    }

    /// Messages that must go one after the other: all of a FIFO group, or a single one. Its first failure ends it.
    async fn lane(&self, invocation: &Invocation, records: &[SqsRecord], lane: Vec<usize>, done: &[AtomicBool]) {
        for index in lane {
            if invocation.token().is_cancelled() || !self.one(invocation, &records[index]).await {
                return;
            }
            done[index].store(true, Ordering::Relaxed);
        }
    }

    async fn one(&self, invocation: &Invocation, record: &SqsRecord) -> bool {
        let span = begin_message(invocation, record);
        let context = span.context();
        let failure = async {
            let body = match serde_json::from_str(&record.body) {
                Ok(body) => body,
                Err(error) => {
                    return Some((
                        "Lifecycle.UndecodableMessage",
                        format!("the body is no {}: {error}", std::any::type_name::<T>()),
                    ));
                }
            };
            let message = Message {
                body,
                id: record.message_id.clone(),
                receive_count: record.receive_count(),
                age: record.age(SystemTime::now()),
                message_group_id: record.message_group_id().map(str::to_owned),
                invocation: invocation.clone(),
            };
            match AssertUnwindSafe(async { (self.handler)(self.app.clone(), message).await }).catch_unwind().await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some((error_type::<E>(), error.into().to_string())),
                Err(panic) => Some(("Lifecycle.Panic", panic_message(&*panic).into_owned())),
            }
        }
        .with_context(context.clone())
        .await;
        if let Some((kind, message)) = &failure {
            let _attached = context.attach();
            tracing::error!(message_id = record.message_id, error_type = kind, "a message failed and comes back: {message}");
        }
        let succeeded = failure.is_none();
        span.end(failure.as_ref().map(|(kind, message)| (*kind, message.as_str())));
        succeeded
    }
}

/// Ready when the answer must be made for it to arrive: halfway into the grace period. Never without a deadline.
async fn last_call(invocation: &Invocation) {
    match invocation.timing() {
        Some(deadline) => tokio::time::sleep_until((deadline.soft + (deadline.hard - deadline.soft) / 2).into()).await,
        None => std::future::pending().await,
    }
}

/// The order of work: FIFO groups each in one lane, everything else each in its own.
fn lanes(records: &[SqsRecord]) -> VecDeque<Vec<usize>> {
    let mut lanes: Vec<Vec<usize>> = Vec::with_capacity(records.len());
    let mut groups: HashMap<&str, usize> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        match record.message_group_id() {
            Some(group) => {
                let lane = *groups.entry(group).or_insert(lanes.len());
                if lane == lanes.len() {
                    lanes.push(Vec::new());
                }
                lanes[lane].push(index);
            }
            None => lanes.push(vec![index]),
        }
    }
    lanes.into()
}
