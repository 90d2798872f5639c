//! The hops: an order through its queue to the worker, and movements through a FIFO queue.

use crate::{
    observed::{Movements, Order, Orders, Progress, invocation},
    parts::Header,
    target::{Failure, Invoked, Target},
};
use lambda_lifecycle_sandbox::xray::Trace;
use serde_json::{Value, json};

pub(crate) fn is_shipped(line: &Value) -> bool {
    line["message"] == "order shipped"
}

pub(crate) async fn orders(target: &Target, progress: Progress<'_>) -> Result<Orders, Failure> {
    progress("placing two orders");
    let placed = [order(target, "tea").await?, order(target, "kettle").await?];
    let mut orders = Vec::new();
    for (invoked, message_id) in placed {
        progress(&format!("following message {message_id}"));
        let lines = target.lines(&target.worker, &message_id, |lines| lines.iter().any(is_shipped)).await?;
        let trace = target.trace(&invoked.trace_id, |trace| invocation(trace, &target.api.function).is_some()).await?;
        orders.push(Order { invoked, trace, message_id, lines });
    }
    let (Some(late), Some(good)) = (orders.pop(), orders.pop()) else { unreachable!("two orders are placed") };
    let mut worker_traces = Vec::new();
    for line in good.lines.iter().chain(&late.lines).filter(|line| is_shipped(line)) {
        let Some(id) = line["traceId"].as_str() else { continue };
        let is_whole = |trace: &Trace| invocation(trace, &target.worker.function).is_some();
        worker_traces.extend(target.trace(id, is_whole).await?);
    }
    let map = target.map(&good.invoked.trace_id).await?;
    let (api, queue_url) = (target.api.function.clone(), target.orders_url.clone());
    Ok(Orders { api, queue_url, good, late, worker_traces, map })
}

/// Places an order as a function URL would.
async fn order(target: &Target, sku: &str) -> Result<(Invoked, String), Failure> {
    let body = json!({ "sku": sku, "quantity": 1, "card": "none" }).to_string();
    let context = json!({ "http": { "method": "POST", "path": "/orders" }, "stage": "$default" });
    let event = json!({
        "version": "2.0", "rawPath": "/orders", "rawQueryString": "", "headers": { "content-type": "application/json" },
        "requestContext": context, "body": body, "isBase64Encoded": false,
    });
    let invoked = target.invoke(&target.api, &event.to_string(), Header::Sampled).await?;
    let accepted: Value = serde_json::from_str(invoked.payload["body"].as_str().unwrap_or_default()).unwrap_or_default();
    match accepted["message_id"].as_str() {
        Some(id) => Ok((invoked, id.to_owned())),
        None => Err(format!("{} did not accept the order: {}", target.api.function, invoked.shown()).into()),
    }
}

/// Books 100, -150 and 100 on a new account. The second would overdraw it, and the third must wait for it.
pub(crate) async fn movements(target: &Target, progress: Progress<'_>) -> Result<Option<Movements>, Failure> {
    let Some((worker, queue_url)) = &target.fifo else { return Ok(None) };
    let account = format!("verify-{:016x}", fastrand::u64(..));
    progress(&format!("booking three movements of {account}"));
    let send = async |number: u8, cents: i32| {
        let body = json!({ "cents": cents, "number": number, "account": account }).to_string();
        let send = target.sqs.send_message().queue_url(queue_url).message_group_id(&account).message_body(body);
        Ok::<_, Failure>(send.send().await?.message_id.unwrap_or_default())
    };
    send(1, 100).await?;
    let failing = send(2, -150).await?;
    // A message that is received together with one that fails counts as received too. One that is sent later is received less often.
    let has_failed = |lines: &[Value]| lines.iter().any(|line| line["code"] == "message_failed");
    target.soon(worker, &failing, has_failed).await?;
    send(3, 100).await?;
    progress(&format!("following message {failing}: it fails until its queue gives it up"));
    let is_booked = |line: &&Value| line["message"] == "booked";
    let are_booked = |lines: &[Value]| lines.iter().filter(is_booked).count() >= 2;
    let booked = target.lines(worker, &account, are_booked).await?.into_iter().filter(|line| is_booked(&line)).collect();
    let failed = target.lines(worker, &failing, |_| true).await?;
    Ok(Some(Movements { booked, failed }))
}
