//! One batch, from its records to its response.

use super::{
    contained::Contained,
    dead_letter::DeadLetter,
    entry::{Entries, Entry, Fate},
    failure::{FailedRecord, Failure},
    lanes::{Lanes, places},
    permanent::Permanent,
    service::Batch,
    source::{Delaying, Known, Progress, Source},
    span::{About, BatchSpan, RecordSpan},
};
use crate::{
    Invocation, clock, context, cut,
    handler::Handler,
    hop::Producer,
    notice::{self, Data, Warning},
    panics,
    propagation::Correlated,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use lambda_runtime::LambdaEvent;
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    time::SystemTime,
};
use tokio::{
    task::{
        consume_budget,
        coop::{has_budget_remaining, unconstrained},
    },
    time::Instant,
};
use tower::Service;

impl<K, H, Args, State> Service<LambdaEvent<K::Event>> for Batch<K, H, Args, State>
where
    K: Source,
    State: Clone + Send + Sync + 'static,
    Args: 'static,
    H: Handler<Args, State, K::Item> + Clone + Send + Sync + 'static,
    H::Future: Send + 'static,
{
    type Response = K::Response;
    type Error = K::Error;
    type Future = Pin<Box<dyn Future<Output = Result<K::Response, K::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), K::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaEvent<K::Event>) -> Self::Future {
        let batch = self.clone();
        let invocation = Invocation::current();
        Box::pin(async move { run(&batch, &invocation, event.payload).await })
    }
}

struct Run<'r, K: Source, H, Args, State> {
    batch: &'r Batch<K, H, Args, State>,
    invocation: &'r Invocation,
    frame: &'r K::Frame,
    span: Option<BatchSpan>,
    /// No record is started after this.
    soft: Option<Instant>,
    /// The time since the oldest record was sent, if metrics are enabled.
    #[cfg(feature = "metrics-emf")]
    oldest: Option<std::time::Duration>,
    entries: Entries,
    lanes: Lanes<K::Record>,
    /// The call that sent each record.
    producers: Vec<Option<Producer>>,
    /// The first failed record of each checkpoint. Later records are sent again with it, so they are not started.
    failed: Vec<AtomicUsize>,
    /// Records that failed and are not retried.
    discarded: AtomicUsize,
}

async fn run<K, H, Args, State>(
    batch: &Batch<K, H, Args, State>,
    invocation: &Invocation,
    event: K::Event,
) -> Result<K::Response, K::Error>
where
    K: Source,
    H: Handler<Args, State, K::Item>,
{
    let source = &batch.source;
    let (frame, records) = source.records(event)?;
    let producers: Vec<_> = records.iter().map(|record| source.producer(invocation, record)).collect();
    let (places, checkpoints) = places(source, &records);
    let run = Run {
        span: BatchSpan::begin::<K>(invocation, records.first(), &producers, batch.options.spans),
        batch,
        invocation,
        frame: &frame,
        soft: invocation.timing().map(|deadline| deadline.soft.into()),
        #[cfg(feature = "metrics-emf")]
        oldest: invocation.is_measured().then(|| oldest::<K>(&records)).flatten(),
        entries: Entries::new(&records, &places, K::write_id, K::receive_count),
        lanes: Lanes::new(records, &places),
        producers,
        failed: (0..checkpoints).map(|_| AtomicUsize::new(usize::MAX)).collect(),
        discarded: AtomicUsize::new(0),
    };
    run.work().await;
    run.respond()
}

impl<K, H, Args, State> Run<'_, K, H, Args, State>
where
    K: Source,
    H: Handler<Args, State, K::Item>,
{
    /// Works until all is done or the response is due. Unfinished records are dropped then, and their spans end as faults.
    async fn work(&self) {
        let workers = self.batch.options.concurrency.min(self.lanes.len());
        let mut running: FuturesUnordered<_> = (0..workers).map(|_| self.lanes()).collect();
        let mut last_call = pin!(last_call(self.invocation));
        poll_fn(|cx| {
            while let Poll::Ready(ended) = running.poll_next_unpin(cx) {
                if ended.is_none() {
                    return Poll::Ready(());
                }
            }
            // Records that use up Tokio's budget of this poll must not keep it from being polled.
            pin!(unconstrained(last_call.as_mut())).poll(cx)
        })
        .await;
    }

    /// By the clock too: a thread that was busy until now may not have heard the alarm.
    fn is_closed(&self) -> bool {
        self.soft.is_some_and(|soft| Instant::now() >= soft) || self.invocation.token().is_cancelled()
    }

    /// Works on one lane after the other. The first failure ends a lane: what comes after it must not overtake it.
    async fn lanes(&self) {
        let mut next = self.lanes.start();
        while let Some(index) = next {
            // It has waited for its turn: a record that blocks the thread may have used up the time.
            if self.is_closed() {
                return;
            }
            let goes_on = self.one(index).await;
            next = if goes_on { self.lanes.after(index) } else { None }.or_else(|| self.lanes.start());
            // After the batch is closed nothing is started any more, and an alarm then would send finished records again.
            if next.is_none() || !has_budget_remaining() && self.is_closed() {
                return;
            }
            // Records that never wait must not keep the executor, and the deadline's alarm, from running.
            consume_budget().await;
        }
    }

    /// False if the later records of its lane must not be started.
    async fn one(&self, index: usize) -> bool {
        let entry = self.entries.get(index);
        let failed = entry.place.checkpoint.map(|checkpoint| &self.failed[checkpoint]);
        if failed.is_some_and(|failed| failed.load(Ordering::Relaxed) < index) {
            return false;
        }
        let Some(record) = self.lanes.take(index) else { return true };
        entry.set(Fate::Started);
        let correlation = self.batch.source.correlation(self.invocation, &record);
        let (now, producer) = (SystemTime::now(), self.producers[index].as_ref());
        let age = K::age(&record, now);
        let span = match &self.span {
            Some(batch) => {
                let receive_count = entry.receive_count;
                let about = About { id: self.entries.id(index), receive_count, now, age, correlation: correlation.as_deref() };
                batch.begin_record(&self.batch.source, &record, producer, &about)
            }
            None => match producer.and_then(Producer::context_without_span) {
                Some(context) => RecordSpan::WithoutSpan(context),
                None => RecordSpan::NotRecorded,
            },
        };
        let context = match correlation {
            Some(id) => Some(span.context().unwrap_or_else(context::current).with_value(Correlated(id))),
            None => span.context(),
        };
        let kept = self.batch.dead_letter.is_some().then(|| Box::new(record.clone()));
        let known =
            Known { invocation: self.invocation, annotations: span.annotations(), receive_count: entry.receive_count, age };
        let mut work = pin!(Contained::new(self.handle(record, known), context));
        let failure = match work.as_mut().await {
            Ok(Ok(())) => {
                entry.set(Fate::Done);
                span.end(None);
                return true;
            }
            Ok(Err(failure)) => failure,
            Err(panic) => Failure::Panicked(panic.to_string()),
        };
        let context = work.context();
        if self.is_discarded(index, &failure, kept, context.clone()).await {
            entry.set(Fate::Done);
            self.discarded.fetch_add(1, Ordering::Relaxed);
            span.end(Some(&failure));
            return true;
        }
        entry.set(Fate::Failed);
        if let Some(failed) = failed {
            failed.fetch_min(index, Ordering::Relaxed);
        }
        {
            let _attached = context.clone().map(opentelemetry::Context::attach);
            self.report(index, &failure);
        }
        match panics::catch(|| self.batch.source.delays(self.frame, &self.failed_record(index, &failure))) {
            Ok(calls) if calls.is_empty() => {}
            Ok(calls) => Box::pin(self.delay(index, calls, context)).await,
            Err(panic) => self.not_delayed(index, &panic),
        }
        span.end(Some(&failure));
        false
    }

    async fn handle(&self, record: K::Record, known: Known<'_>) -> Result<(), Failure> {
        let item = self.batch.source.item(record, known).map_err(Failure::Undecodable)?;
        let mut work = pin!(self.batch.handler.call(&self.batch.state, item));
        let handled = match self.batch.options.time_limit {
            Some(limit) if clock::timers_run() => {
                tokio::time::timeout(limit, work.as_mut()).await.map_err(|_| Failure::TimedOut { limit })?
            }
            _ => work.as_mut().await,
        };
        handled.map_err(|error| {
            let error = error.into();
            let mut message = error.to_string();
            cut::error_message(&mut message);
            let error_type = self.invocation.error_type_of::<H::Error>(&error);
            if Permanent::is_in(&error) {
                Failure::Permanent { error_type, message }
            } else {
                Failure::Failed { error_type, message }
            }
        })
    }

    /// True if a record that failed is not sent again.
    async fn is_discarded(
        &self,
        index: usize,
        failure: &Failure,
        kept: Option<Box<K::Record>>,
        context: Option<opentelemetry::Context>,
    ) -> bool {
        if !matches!(failure, Failure::Permanent { .. } | Failure::Undecodable(_)) {
            return false;
        }
        let Some(send) = &self.batch.dead_letter else {
            let is_permanent = matches!(failure, Failure::Permanent { .. });
            if is_permanent {
                self.log(Warning::MessageDiscarded, index, failure);
            }
            return is_permanent;
        };
        let Some(record) = kept.filter(|record| K::is_intact(record)) else { return false };
        let (id, failure_sent, invocation) = (self.entries.id(index).to_owned(), failure.clone(), self.invocation.clone());
        let letter = DeadLetter { id, failure: failure_sent, record: *record, invocation };
        let sent = match panics::catch(|| send(letter)) {
            Ok(sending) => Contained::new(sending, context).await,
            Err(panic) => Err(panic),
        };
        let error = match sent {
            Ok(Ok(())) => {
                self.log(Warning::MessageDiscarded, index, failure);
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        let error = self.invocation.shared().settings.error_text(&error);
        notice::log(Warning::DeadLetterFailed, Data { message_id: Some(self.entries.id(index)), ..Data::error(&error) });
        false
    }

    /// Logs the failure of a record.
    fn log(&self, warning: Warning, index: usize, failure: &Failure) {
        let text = failure.to_string();
        let error = self.invocation.shared().settings.error_text(&text);
        notice::log(warning, Data { error_type: Some(failure.error_type()), ..self.data(index, &error) });
    }

    /// The fields of a line about a record.
    fn data<'d>(&'d self, index: usize, error: &'d dyn std::fmt::Display) -> Data<'d> {
        let receive_count = self.entries.get(index).receive_count;
        Data { message_id: Some(self.entries.id(index)), receive_count: Some(receive_count), ..Data::error(error) }
    }

    /// Delays the next delivery of a record that failed. It is sent again in any case, so a call that fails costs only the delay.
    async fn delay(&self, index: usize, calls: Vec<Delaying>, context: Option<opentelemetry::Context>) {
        for call in calls {
            match Contained::new(call, context.clone()).await {
                Ok(Ok(())) => {}
                // The calls for later records of its group would fail for the same reason.
                Ok(Err(error)) => return self.not_delayed(index, &error),
                Err(panic) => return self.not_delayed(index, &panic),
            }
        }
    }

    fn not_delayed(&self, index: usize, error: &dyn std::fmt::Display) {
        let text = error.to_string();
        let error = self.invocation.shared().settings.error_text(&text);
        notice::log(Warning::BackoffFailed, Data { message_id: Some(self.entries.id(index)), ..Data::error(&error) });
    }

    fn failed_record<'a>(&'a self, index: usize, failure: &'a Failure) -> FailedRecord<'a> {
        FailedRecord {
            id: self.entries.id(index),
            receive_count: self.entries.get(index).receive_count,
            failure,
            invocation: self.invocation,
            index,
            entries: &self.entries,
        }
    }

    fn report(&self, index: usize, failure: &Failure) {
        self.log(Warning::MessageFailed, index, failure);
        if let Some(hook) = &self.batch.options.on_failure {
            let record = self.failed_record(index, failure);
            if let Err(panic) = panics::catch(|| hook(record)) {
                notice::log(Warning::MessageHookPanicked, self.data(index, &panic));
            }
        }
    }

    #[cfg(feature = "metrics-emf")]
    fn measure(&self, failed: usize, returned: usize) {
        crate::metrics::batch(
            self.invocation,
            &crate::metrics::Batch {
                source: K::TRIGGER.as_str(),
                processed: self.entries.all().len() - returned,
                failed,
                returned,
                oldest: self.oldest,
            },
        );
    }

    /// Names all records that are not done.
    fn respond(self) -> Result<K::Response, K::Error> {
        let state = |wanted: Fate| {
            let entries = self.entries.all().iter().enumerate();
            entries.filter(move |(_, entry)| entry.is(wanted)).map(|(index, _)| index)
        };
        for index in state(Fate::Started) {
            self.report(index, &Failure::Unfinished);
        }
        let (failed, unfinished, unbegun) =
            (state(Fate::Failed).count(), state(Fate::Started).count(), state(Fate::Waiting).count());
        if self.is_closed() && unfinished + unbegun > 0 {
            notice::log(Warning::BatchCutOff, Data { not_started: Some(unbegun), ..Data::unfinished(unfinished) });
        }
        #[cfg(feature = "metrics-emf")]
        self.measure(failed + self.discarded.load(Ordering::Relaxed), self.returned());
        if let Some(span) = self.span {
            span.end(failed, unfinished + unbegun, self.discarded.into_inner());
        }
        let progress = |(index, entry): (usize, &Entry)| Progress { id: self.entries.id(index), done: entry.is(Fate::Done) };
        let records: Vec<_> = self.entries.all().iter().enumerate().map(progress).collect();
        self.batch.source.response(self.frame, &records)
    }

    /// How many records are sent again.
    #[cfg(feature = "metrics-emf")]
    fn returned(&self) -> usize {
        let mut open = vec![false; self.failed.len()];
        let mut returned = 0;
        for entry in self.entries.all() {
            let mut again = !entry.is(Fate::Done);
            if let Some(checkpoint) = entry.place.checkpoint {
                open[checkpoint] |= again;
                again = open[checkpoint];
            }
            returned += usize::from(again);
        }
        returned
    }
}

#[cfg(feature = "metrics-emf")]
fn oldest<K: Source>(records: &[K::Record]) -> Option<std::time::Duration> {
    let now = SystemTime::now();
    records.iter().filter_map(|record| K::age(record, now)).max()
}

/// Ready when the response must be made for it to arrive: when four fifths of the grace period have passed. Never without a deadline.
async fn last_call(invocation: &Invocation) {
    match invocation.timing() {
        Some(deadline) => tokio::time::sleep_until((deadline.soft + (deadline.hard - deadline.soft) * 4 / 5).into()).await,
        None => std::future::pending().await,
    }
}
