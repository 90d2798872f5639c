//! One batch, from its records to its response.

use super::{
    batch::Batch,
    contained::Contained,
    event::{BatchItemFailure, BatchResponse, Message, SqsRecord},
    failure::{FailedMessage, Failure, NotAnSqsEvent},
    lanes::{Lane, Waiting, distinct, lanes},
    span::{BatchSpan, MessageSpan},
};
use crate::{
    Invocation, context, cut, decode,
    handler::Handler,
    hop::Producer,
    notice::{self, Data, Warning},
    panics,
    propagation::{Correlated, Fields},
    sns::Notification,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::Poll,
    time::SystemTime,
};
use tokio::{
    task::{consume_budget, unconstrained},
    time::Instant,
};

/// The states of a message.
const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const FAILED: u8 = 2;
const DONE: u8 = 3;

struct Run<'r, H, Args, T, State> {
    batch: &'r Batch<H, Args, T, State>,
    invocation: &'r Invocation,
    span: Option<BatchSpan>,
    /// No message is started after this.
    soft: Option<Instant>,
    /// The time since the oldest message was sent, if metrics are enabled.
    #[cfg(feature = "metrics-emf")]
    oldest: Option<std::time::Duration>,
    /// For each distinct message its id, its receive count, and its state.
    messages: Vec<(String, u32, AtomicU8)>,
}

pub(super) async fn run<H, Args, T, State>(
    batch: &Batch<H, Args, T, State>,
    invocation: &Invocation,
    mut records: Vec<SqsRecord>,
) -> Result<BatchResponse, NotAnSqsEvent>
where
    H: Handler<Args, State, Message<T>>,
{
    // A message without an id cannot be reported, and Lambda deletes messages that are not reported. So none is started.
    if let Some(index) = records.iter().position(|record| record.message_id.is_empty()) {
        return Err(NotAnSqsEvent { index, event_source: std::mem::take(&mut records[index].event_source) });
    }
    distinct(&mut records);
    let notifications: Vec<_> =
        records.iter_mut().map(|record| batch.from_sns.then(|| unwrap_notification(&mut record.body))).collect();
    let producers: Vec<_> =
        records.iter().zip(&notifications).map(|(record, around)| producer(invocation, record, around.as_ref())).collect();
    let queue = records.first().map_or("", SqsRecord::queue);
    let run = Run {
        span: BatchSpan::begin(invocation, queue, &producers, batch.spans),
        batch,
        invocation,
        soft: invocation.timing().map(|deadline| deadline.soft.into()),
        #[cfg(feature = "metrics-emf")]
        oldest: invocation.is_measured().then(|| oldest(&records)).flatten(),
        messages: records
            .iter()
            .map(|record| (record.message_id.clone(), record.receive_count(), AtomicU8::new(WAITING)))
            .collect(),
    };
    let waiting = records.into_iter().zip(notifications).zip(producers).enumerate();
    let waiting = waiting.map(|(index, ((record, notification), producer))| Waiting { index, record, notification, producer });
    run.work(lanes(waiting)).await;
    Ok(run.answer())
}

impl<H, Args, T, State> Run<'_, H, Args, T, State>
where
    H: Handler<Args, State, Message<T>>,
{
    /// Works until all is done or the response is due. Unfinished messages are dropped then, and their spans end as faults.
    async fn work(&self, lanes: Vec<Lane>) {
        let mut waiting = lanes.into_iter();
        let mut running = FuturesUnordered::new();
        let mut last_call = pin!(last_call(self.invocation));
        loop {
            while running.len() < self.batch.concurrency && !self.is_closed() {
                let Some(lane) = waiting.next() else { break };
                running.push(self.lane(lane));
            }
            if running.is_empty() {
                return;
            }
            let one_more = poll_fn(|cx| match running.poll_next_unpin(cx) {
                Poll::Ready(_) => Poll::Ready(true),
                // Messages that use up Tokio's budget of this poll must not keep it from being polled.
                Poll::Pending => pin!(unconstrained(last_call.as_mut())).poll(cx).map(|()| false),
            });
            if !one_more.await {
                return;
            }
            // Messages that never wait must not keep the executor, and the deadline's alarm, from running. After the batch is
            // closed nothing is started any more, and an alarm then would return finished messages to the queue.
            if !self.is_closed() {
                consume_budget().await;
            }
        }
    }

    /// Also checks the clock, because a thread that was busy until now may have missed the alarm.
    fn is_closed(&self) -> bool {
        self.soft.is_some_and(|soft| Instant::now() >= soft) || self.invocation.token().is_cancelled()
    }

    /// The first failure ends a group, because later messages must not overtake the failed one.
    async fn lane(&self, lane: Lane) {
        // The message had to wait, and one that blocked the thread may have used up the time.
        if self.is_closed() || !self.one(lane.first).await {
            return;
        }
        for message in lane.rest {
            if self.is_closed() || !self.one(message).await {
                return;
            }
        }
    }

    async fn one(&self, message: Waiting) -> bool {
        let Waiting { index, record, notification, producer } = message;
        let state = &self.messages[index].2;
        state.store(BEGUN, Ordering::Relaxed);
        let correlation = self.correlation(&record, notification.as_ref());
        let span = match &self.span {
            Some(batch) => batch.begin_message(&record, producer.as_ref(), correlation.as_deref()),
            None => match producer.as_ref().and_then(Producer::context_without_span) {
                Some(context) => MessageSpan::WithoutSpan(context),
                None => MessageSpan::NotRecorded,
            },
        };
        let context = match correlation {
            Some(id) => Some(span.context().unwrap_or_else(context::current).with_value(Correlated(id))),
            None => span.context(),
        };
        let work = Contained::new(self.handle(record, notification), context.clone());
        let failure = match work.await {
            Ok(Ok(())) => {
                state.store(DONE, Ordering::Relaxed);
                span.end(None);
                return true;
            }
            Ok(Err(failure)) => failure,
            Err(panic) => Failure::Panicked(panic.to_string()),
        };
        state.store(FAILED, Ordering::Relaxed);
        {
            let _attached = context.map(opentelemetry::Context::attach);
            self.report(index, &failure);
        }
        span.end(Some(&failure));
        false
    }

    /// The correlation id of a message. `None` if it is the invocation's.
    fn correlation(&self, record: &SqsRecord, around: Option<&Result<Box<Notification<()>>, String>>) -> Option<Arc<str>> {
        let place = self.invocation.shared().settings.correlation_id.as_ref()?;
        let around = around.and_then(|around| around.as_ref().ok());
        let attribute = |name: &str| record.attribute(name).or_else(|| around?.attribute(name));
        place.of_message(attribute, &record.message_id, &record.body)
    }

    async fn handle(
        &self,
        record: SqsRecord,
        notification: Option<Result<Box<Notification<()>>, String>>,
    ) -> Result<(), Failure> {
        if let Some(field) = record.wrong {
            return Err(Failure::Undecodable(format!("`{field}` of the message is not what SQS sends")));
        }
        let (receive_count, age) = (record.receive_count(), record.age(SystemTime::now()));
        let message_group_id = record.message_group_id().map(str::to_owned);
        let notification = notification.transpose().map_err(Failure::Undecodable)?;
        let message = Message {
            body: (self.batch.decode)(record.body).map_err(Failure::Undecodable)?,
            id: record.message_id,
            receive_count,
            age,
            message_group_id,
            attributes: record.message_attributes,
            notification,
            invocation: self.invocation.clone(),
        };
        let handled = self.batch.handler.call(&self.batch.state, message).await;
        handled.map_err(|error| {
            let error = error.into();
            let mut message = error.to_string();
            cut::error_message(&mut message);
            Failure::Failed { error_type: self.invocation.error_type_of::<H::Error>(&error), message }
        })
    }

    fn report(&self, index: usize, failure: &Failure) {
        let (id, receive_count, _) = &self.messages[index];
        let text = failure.to_string();
        let error = self.invocation.shared().settings.error_text(&text);
        let of_message = Data { message_id: Some(id), receive_count: Some(*receive_count), ..Data::error(&error) };
        notice::log(Warning::MessageFailed, Data { error_type: Some(failure.error_type()), ..of_message });
        if let Some(hook) = &self.batch.on_failure {
            let message = FailedMessage { id, receive_count: *receive_count, failure, invocation: self.invocation };
            if let Err(panic) = panics::catch(|| hook(message)) {
                notice::log(Warning::MessageHookPanicked, Data { error: Some(&panic), ..of_message });
            }
        }
    }

    #[cfg(feature = "metrics-emf")]
    fn measure(&self, failed: usize, unfinished: usize) {
        let returned = failed + unfinished;
        crate::metrics::batch(
            self.invocation,
            &crate::metrics::Batch {
                source: crate::Trigger::Sqs.as_str(),
                processed: self.messages.len() - returned,
                failed,
                returned,
                oldest: self.oldest,
            },
        );
    }

    /// Names all messages that are not done.
    fn answer(self) -> BatchResponse {
        let state = |wanted: u8| {
            let messages = self.messages.iter().enumerate();
            messages.filter(move |(_, message)| message.2.load(Ordering::Relaxed) == wanted).map(|(index, _)| index)
        };
        for index in state(BEGUN) {
            self.report(index, &Failure::Unfinished);
        }
        let (failed, unfinished, unbegun) = (state(FAILED).count(), state(BEGUN).count(), state(WAITING).count());
        if self.is_closed() && unfinished + unbegun > 0 {
            notice::log(Warning::BatchCutOff, Data { not_started: Some(unbegun), ..Data::unfinished(unfinished) });
        }
        #[cfg(feature = "metrics-emf")]
        self.measure(failed, unfinished + unbegun);
        if let Some(span) = self.span {
            span.end(failed, unfinished + unbegun);
        }
        let come_back = self.messages.into_iter().filter(|message| message.2.load(Ordering::Relaxed) != DONE);
        BatchResponse { batch_item_failures: come_back.map(|(id, ..)| BatchItemFailure { item_identifier: id }).collect() }
    }
}

#[cfg(feature = "metrics-emf")]
fn oldest(records: &[SqsRecord]) -> Option<std::time::Duration> {
    let now = SystemTime::now();
    records.iter().filter_map(|record| record.age(now)).max()
}

/// Ready when the response is due so that it arrives in time: when four fifths of the grace period have passed. Never ready
/// without a deadline.
async fn last_call(invocation: &Invocation) {
    match invocation.timing() {
        Some(deadline) => tokio::time::sleep_until((deadline.soft + (deadline.hard - deadline.soft) * 4 / 5).into()).await,
        None => std::future::pending().await,
    }
}

/// Replaces the notification in `body` by the published message.
fn unwrap_notification(body: &mut String) -> Result<Box<Notification<()>>, String> {
    let notification: Notification<String> = decode::from_str(body).map_err(|error| {
        format!("the body is not a notification of SNS (does the subscription use raw message delivery?): {error}")
    })?;
    let (message, around) = notification.take();
    *body = message;
    Ok(Box::new(around))
}

fn producer(
    invocation: &Invocation,
    record: &SqsRecord,
    around: Option<&Result<Box<Notification<()>>, String>>,
) -> Option<Producer> {
    let settings = &invocation.shared().settings;
    let has_w3c = settings.propagators().has_w3c();
    if !has_w3c && !invocation.is_recorded() {
        return None;
    }
    let mut fields = Fields::default();
    if has_w3c {
        fields = Fields::from_names(|name| record.attribute(name));
        if let Some(Ok(around)) = around
            && fields.is_empty()
        {
            fields = Fields::from_names(|name| around.attribute(name));
        }
    }
    Producer::read(settings, record.attributes.get("AWSTraceHeader").map(String::as_str), &fields)
}
