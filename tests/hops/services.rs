//! The services around a function: X-Ray, queues, a topic, a bus.

use crate::{
    function::Probe,
    support::{Stage, Tested, XRay, this_program, within},
};
use lambda_lifecycle_sandbox::{
    Event, FunctionResponse, Invoke,
    event_bridge::EventBridge,
    function::{Function, FunctionBuilder, TraceMode},
    sns::{Delivery, Sns, Topic},
    sqs::{Queue, QueueOptions, Sqs},
};
use libtest_mimic::Failed;
use serde_json::Value;
use std::ops::Deref;

pub(crate) struct Services {
    pub(crate) xray: XRay,
    pub(crate) sqs: Sqs,
    pub(crate) sns: Sns,
    pub(crate) bus: EventBridge,
    /// Receives messages that are sent directly.
    pub(crate) direct: Queue,
    /// Subscribes to the topic with raw delivery.
    pub(crate) raw: Queue,
    /// Subscribes to the topic without raw delivery.
    pub(crate) wrapped: Queue,
    /// Receives the bus's events.
    pub(crate) events: Queue,
    pub(crate) topic: Topic,
}

impl Deref for Services {
    type Target = XRay;

    fn deref(&self) -> &XRay {
        &self.xray
    }
}

impl Services {
    pub(crate) async fn new() -> Result<Self, Failed> {
        let xray = XRay::start().await?;
        let (sqs, sns, bus) = (Sqs::start().await?, Sns::start().await?, EventBridge::start().await?);
        let queue = |name: &'static str| sqs.create_queue(name, QueueOptions::default());
        let (direct, raw, wrapped, events) =
            (queue("direct").await?, queue("raw").await?, queue("wrapped").await?, queue("events").await?);
        let topic = sns.create_topic("orders");
        topic.subscribe_queue(&raw, Delivery::Raw);
        topic.subscribe_queue(&wrapped, Delivery::Wrapped);
        bus.target_queue(&events);
        Ok(Self { xray, sqs, sns, bus, direct, raw, wrapped, events, topic })
    }

    /// The variables with which a function finds these services.
    pub(crate) fn variables(&self, probe: Probe) -> Vec<(&'static str, String)> {
        vec![
            ("PROBE", format!("{probe:?}")),
            ("QUEUE_URL", self.direct.url.clone()),
            ("TOPIC_ARN", self.topic.arn.clone()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.endpoint()),
            ("AWS_ENDPOINT_URL_SNS", self.sns.endpoint()),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", self.bus.endpoint()),
        ]
    }

    pub(crate) async fn function(
        &self,
        probe: Probe,
        mode: TraceMode,
        change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
    ) -> Function {
        let mut function = Stage::function("hops", this_program(), &self.xray).trace_mode(mode);
        for (key, value) in self.variables(probe) {
            function = function.env(key, value);
        }
        Stage::build(change(function)).await
    }

    /// Waits until the function is frozen and everything that was sent to X-Ray is stored.
    pub(crate) async fn settle(&self, function: &Function) -> Tested {
        within("the function to be frozen", function.wait_frozen()).await?;
        self.xray.settle().await?;
        self.is_sound()
    }
}

pub(crate) async fn invoke(function: &Function, payload: impl Into<Value>) -> Result<FunctionResponse, Failed> {
    invoke_event(function, Event { payload: payload.into().to_string().into(), ..Event::default() }).await
}

/// The response, which must not be an error.
pub(crate) async fn invoke_event(function: &Function, event: Event) -> Result<FunctionResponse, Failed> {
    let answer = within("the answer", function.invoke(event)).await?;
    match &answer.result {
        Ok(_) => Ok(answer),
        Err(failure) => Err(failure.to_string().into()),
    }
}
