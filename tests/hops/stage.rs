//! What is around a function: X-Ray, queues, a topic, a bus.

use lambda_lifecycle_sandbox::{
    Answer, Event, Invoke,
    event_bridge::EventBridge,
    function::{Function, FunctionBuilder, TraceMode},
    sns::{Delivery, Sns, Topic},
    sqs::{Queue, QueueOptions, Sqs},
    xray::{Daemon, Document, TraceStore},
};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

/// Longest time anything here may take; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Tested = Result<(), Failed>;

/// A test with a runtime of its own and a bound on its time.
pub(crate) fn test<F>(name: impl Into<String>, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Tested>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(PATIENCE, body()).await? })
    })
}

pub(crate) fn ensure(holds: bool, otherwise: impl Into<String>) -> Tested {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}

pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().expect("a running program has a path")
}

pub(crate) struct Stage {
    pub(crate) daemon: Daemon,
    pub(crate) traces: TraceStore,
    pub(crate) sqs: Sqs,
    pub(crate) sns: Sns,
    pub(crate) bus: EventBridge,
    /// Where messages are sent directly.
    pub(crate) direct: Queue,
    /// Subscribes to the topic with raw delivery.
    pub(crate) raw: Queue,
    /// Subscribes to the topic without.
    pub(crate) wrapped: Queue,
    /// Gets the bus's events.
    pub(crate) events: Queue,
    pub(crate) topic: Topic,
}

impl Stage {
    pub(crate) async fn new() -> Result<Self, Failed> {
        let daemon = Daemon::start().await?;
        let (sqs, sns, bus) = (Sqs::start().await?, Sns::start().await?, EventBridge::start().await?);
        let queue = |name: &'static str| sqs.create_queue(name, QueueOptions::default());
        let (direct, raw, wrapped, events) =
            (queue("direct").await?, queue("raw").await?, queue("wrapped").await?, queue("events").await?);
        let topic = sns.create_topic("orders");
        topic.subscribe_queue(&raw, Delivery::Raw);
        topic.subscribe_queue(&wrapped, Delivery::Wrapped);
        bus.target_queue(&events);
        Ok(Self { traces: daemon.store(), daemon, sqs, sns, bus, direct, raw, wrapped, events, topic })
    }

    /// Variables by which a function finds what is here.
    pub(crate) fn variables(&self, probe: &str) -> Vec<(&'static str, String)> {
        vec![
            ("PROBE", probe.to_owned()),
            ("QUEUE_URL", self.direct.url.clone()),
            ("TOPIC_ARN", self.topic.arn.clone()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.endpoint()),
            ("AWS_ENDPOINT_URL_SNS", self.sns.endpoint()),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", self.bus.endpoint()),
        ]
    }

    pub(crate) async fn function(
        &self,
        probe: &str,
        mode: TraceMode,
        change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
    ) -> Function {
        let mut function = Function::builder("hops", this_program())
            .trace_mode(mode)
            .xray(self.daemon.address())
            .trace_store(self.traces.clone())
            .timeout(Duration::from_secs(10))
            .log_format("JSON");
        for (key, value) in self.variables(probe) {
            function = function.env(key, value);
        }
        change(function).build().await
    }

    /// Waits until all that was sent to X-Ray is stored.
    pub(crate) async fn settle(&self, function: &Function) -> Tested {
        function.wait_frozen().await;
        self.daemon.settle().await?;
        let problems: Vec<String> = self.traces.check().iter().map(ToString::to_string).collect();
        ensure(problems.is_empty(), problems.join("; "))
    }

    /// The one document that is so.
    pub(crate) fn only(&self, what: &str, wanted: impl Fn(&Document) -> bool) -> Result<Arc<Document>, Failed> {
        let found = self.traces.find(wanted);
        match found.as_slice() {
            [document] => Ok(Arc::clone(document)),
            others => Err(format!(
                "{} documents instead of one are {what}: {:?}",
                others.len(),
                others.iter().map(|document| &document.name).collect::<Vec<_>>()
            )
            .into()),
        }
    }
}

pub(crate) async fn invoke(function: &Function, payload: &Value) -> Result<Answer, Failed> {
    let answer = function.invoke(Event { payload: payload.to_string().into(), ..Event::default() }).await;
    match &answer.result {
        Ok(_) => Ok(answer),
        Err(failure) => Err(failure.to_string().into()),
    }
}
