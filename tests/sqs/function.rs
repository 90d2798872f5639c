//! The functions under test.

use crate::support::function_main;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use lambda_lifecycle::{
    Error, LambdaEvent, Lifecycle,
    aws_sdk::TraceInterceptor,
    service_fn,
    sqs::{self, Backoff, BatchResponse, Message, SqsEvent, VisibilityChange},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{fs::OpenOptions, future::pending, io::Write, process::ExitCode, time::Duration};
use tokio::runtime::Builder;

/// The functions. `PROBE` names the one that a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Probe {
    /// Handles the messages of a batch one by one.
    OneByOne,
    /// The same on a runtime of several threads.
    OneByOneOnThreads,
    /// Handles the messages of a batch at once.
    AtOnce,
    /// Sixteen at once.
    Worker,
    /// One by one, with a longer visibility timeout for each receive of a message.
    BackOff,
    /// The same, with a client that reaches nothing.
    BackOffRefused,
    /// At once again, until the third receive.
    AtOnceAgain,
    /// A handler without the library.
    Plain,
    /// Sends messages.
    Producer,
}

pub(crate) fn main(probe: Probe) -> ExitCode {
    let threads = probe == Probe::OneByOneOnThreads;
    let builder = if threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    function_main(builder, run(probe))
}

async fn run(probe: Probe) -> Result<(), Error> {
    if probe == Probe::OneByOneOnThreads {
        // Timers of others keep Tokio's clock up to date beside a thread that is blocked.
        tokio::spawn(async {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    match probe {
        Probe::OneByOne | Probe::OneByOneOnThreads => {
            Lifecycle::from_env().run_concurrent(sqs::batch(handle).concurrency(1)).await
        }
        Probe::AtOnce => Lifecycle::from_env().run_concurrent(sqs::batch(handle)).await,
        Probe::Worker => Lifecycle::from_env().run_concurrent(sqs::batch(handle).concurrency(16)).await,
        Probe::BackOff => {
            back_off(Backoff::exponential(Duration::from_secs(30), Duration::from_secs(3600)).without_jitter()).await
        }
        Probe::BackOffRefused => back_off(Backoff::exponential(Duration::from_secs(30), Duration::from_secs(3600))).await,
        Probe::AtOnceAgain => back_off(Backoff::from_fn(|_| Some(Duration::ZERO))).await,
        Probe::Plain => lambda_runtime::run(service_fn(plain)).await,
        Probe::Producer => {
            let client = client().await;
            Lifecycle::from_env().run(service_fn(|event| produce(&client, event))).await
        }
    }
}

async fn client() -> aws_sdk_sqs::Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::from_env().http_client(http).load().await;
    let config = aws_sdk_sqs::config::Builder::from(&config).interceptor(TraceInterceptor::new()).build();
    aws_sdk_sqs::Client::from_conf(config)
}

async fn back_off(backoff: Backoff) -> Result<(), Error> {
    let client = client().await;
    let service = sqs::batch(handle).concurrency(1).backoff(backoff, move |change: VisibilityChange| {
        let call = client.change_message_visibility().queue_url(&change.queue_url).receipt_handle(&change.receipt_handle);
        let call = call.visibility_timeout(change.visibility_timeout);
        async move {
            call.send().await?;
            write(&format!("{} {} changed\n", change.message_id, change.visibility_timeout));
            Ok::<_, Error>(())
        }
    });
    Lifecycle::from_env().run_concurrent(service).await
}

/// The fate of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Plan {
    #[default]
    Succeed,
    Slow,
    FailOnce,
    FailTwice,
    Fail,
    PanicOnce,
    Panic,
    /// Ends with the deadline, in order.
    Hang,
    HangOnce,
    /// Gives way again and again, and never ends.
    Cooperate,
    /// Keeps its thread for 300 ms.
    Compute,
    /// Uses up Tokio's budget, and then the thread until the deadline is past.
    Overrun,
    /// Blocks its thread: the platform kills the environment.
    BlockOnce,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) number: usize,
    pub(crate) plan: Plan,
}

/// Notes what has happened: `<message id> <number> <what>`, one line a write.
fn note(message: &Message<Order>, what: &str) {
    write(&format!("{} {} {what}\n", message.id, message.body.number));
}

fn write(line: &str) {
    let Some(ledger) = std::env::var_os("LEDGER") else { return };
    let mut ledger = OpenOptions::new().append(true).open(ledger).expect("the ledger exists");
    ledger.write_all(line.as_bytes()).expect("the ledger can be written");
}

async fn handle(message: Message<Order>) -> Result<(), Error> {
    let first = message.receive_count == 1;
    match message.body.plan {
        Plan::Slow => tokio::time::sleep(Duration::from_millis(20)).await,
        Plan::Fail => {
            note(&message, "failed");
            return Err("no stock".into());
        }
        Plan::FailTwice if message.receive_count < 3 => {
            note(&message, "failed");
            return Err("no stock yet".into());
        }
        Plan::FailOnce if first => {
            note(&message, "failed");
            return Err("no stock yet".into());
        }
        Plan::Panic => {
            note(&message, "failed");
            panic!("planned");
        }
        Plan::PanicOnce if first => {
            note(&message, "failed");
            panic!("planned");
        }
        Plan::Hang => pending().await,
        Plan::HangOnce if first => {
            note(&message, "failed");
            pending::<()>().await;
        }
        Plan::Cooperate => loop {
            tokio::task::consume_budget().await;
        },
        Plan::Compute => std::thread::sleep(Duration::from_millis(300)),
        Plan::Overrun => {
            while tokio::task::coop::has_budget_remaining() {
                tokio::task::consume_budget().await;
            }
            std::thread::sleep(message.invocation.remaining().saturating_sub(Duration::from_millis(60)));
        }
        Plan::BlockOnce if first => std::thread::sleep(Duration::from_secs(60)),
        _ => {}
    }
    note(&message, "done");
    Ok(())
}

/// One after the other, and done when all are: what one writes first.
async fn plain(event: LambdaEvent<SqsEvent>) -> Result<BatchResponse, Error> {
    for record in event.payload.records {
        let order: Order = serde_json::from_str(&record.body)?;
        if order.plan == Plan::Hang {
            pending::<()>().await;
        }
    }
    Ok(BatchResponse::default())
}

/// Sends the orders in the event, ten a call; those of a FIFO queue in groups.
async fn produce(client: &aws_sdk_sqs::Client, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let orders: Vec<Order> = serde_json::from_value(event.payload["orders"].clone())?;
    let url = event.payload["queue"].as_str().unwrap_or_default();
    for chunk in orders.chunks(10) {
        let mut call = client.send_message_batch().queue_url(url);
        for order in chunk {
            let mut entry =
                SendMessageBatchRequestEntry::builder().id(order.number.to_string()).message_body(serde_json::to_string(order)?);
            if url.ends_with(".fifo") {
                let group = order.number % super::soak::GROUPS;
                entry = entry.message_group_id(group.to_string()).message_deduplication_id(order.number.to_string());
            }
            call = call.entries(entry.build()?);
        }
        let sent = call.send().await?;
        if !sent.failed().is_empty() {
            return Err(format!("{} messages were not sent", sent.failed().len()).into());
        }
    }
    Ok(json!(orders.len()))
}
