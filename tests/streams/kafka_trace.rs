//! The traces and correlation ids of batches from Kafka, which X-Ray does not support as a source.

use crate::{
    function::Probe,
    support::{Stage, Tested, XRay, ensure, test, this_program, within},
};
use lambda_lifecycle_sandbox::kafka::{KafkaMapping, Message, Topic};
use libtest_mimic::Trial;
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};

pub(crate) fn tests() -> Vec<Trial> {
    vec![test(
        "a batch of Kafka starts a trace, whatever its records say, and each record has the correlation id of its header",
        traces,
    )]
}

const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

async fn traces() -> Tested {
    let xray = XRay::start().await?;
    let worker = Stage::function("worker", this_program(), &xray)
        .env("PROBE", format!("{:?}", Probe::KafkaPartial))
        .env("LAMBDA_LIFECYCLE_CORRELATION_ID", "header:X-Request-Id");
    let worker = Stage::build(worker).await;
    let topic = Topic::new("payments", 1);
    for number in 0..2 {
        let order = json!({ "number": number, "plan": "succeed" }).to_string();
        let headers = [
            ("x-amzn-trace-id", format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1")),
            ("x-request-id", format!("k-{number}")),
        ];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
        topic.put(0, &Message { key: None, value: Some(order.into_bytes()), headers });
    }
    let mapping = KafkaMapping::builder(&topic, Arc::new(worker.clone())).report_batch_item_failures(true).batch_size(1).start();
    within("the end of the topic", mapping.wait_idle()).await?;
    within("the function to be frozen", worker.wait_frozen()).await?;
    xray.settle().await?;
    xray.is_sound()?;
    let traces: BTreeSet<String> = mapping.batches().iter().map(|batch| batch.response.trace_id.clone()).collect();
    ensure(traces.len() == 2 && !traces.contains(ROOT), format!("{traces:?}"))?;
    for (number, batch) in mapping.batches().iter().enumerate() {
        let of_batch = xray.traces.find(|document| document.trace_id == batch.response.trace_id);
        ensure(of_batch.iter().all(|document| document.links.is_empty()), format!("{of_batch:#?}"))?;
        let id = format!("k-{number}");
        let records = of_batch.iter().filter(|document| document.annotation("correlation_id") == Some(&*id)).count();
        ensure(records == 1, format!("{of_batch:#?}"))?;
    }
    ensure(xray.traces.find(|document| document.trace_id == ROOT).is_empty(), "a document in the trace of a producer")
}
