//! Errors of megabytes: cut to the lengths that Lambda, the log and X-Ray accept, and marked as cut.

use crate::{
    behavior::{Do, Probe},
    support::{Stage, Tested, ensure, function_error, test},
};
use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn, sqs};
use lambda_lifecycle_sandbox::function::{EventKind, TraceMode};
use libtest_mimic::Trial;
use serde_json::{Value, json};

/// Lambda splits longer lines.
const LONGEST_LINE: usize = 256 * 1024;
const LONGEST_MESSAGE: usize = 33_000;
const MARK: &str = "… (cut, ";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("an error of 7 MB is cut in the response, the log and the trace", || handler(Do::Fail)),
        test("a panic of 7 MB is cut in the response, the log and the trace", || handler(Do::Panic)),
        test("a log line of 7 MB is cut", logged),
        test("init: an error of 7 MB is cut", init),
        test("a message's error of 7 MB is cut", message),
    ]
}

fn lines_fit(stage: &Stage) -> Tested {
    let lines = stage.logged(MARK);
    ensure(!lines.is_empty(), "nothing that is marked as cut was logged")?;
    let longest = stage.logged("").iter().map(String::len).max().unwrap_or_default();
    ensure(longest < LONGEST_LINE, format!("a line of {longest} bytes"))
}

async fn handler(what: Do) -> Tested {
    let stage = Stage::new(Probe::LongErrors, TraceMode::Active).await?;
    let answer = stage.invoke(what.clone()).await?;
    let (_, message) = function_error(&answer)?;
    ensure(message.len() < LONGEST_MESSAGE && message.contains(MARK), format!("{} bytes", message.len()))?;
    let document = stage.document(&answer).await?;
    let message = document.raw["cause"]["exceptions"][0]["message"].as_str().unwrap_or_default();
    ensure(message.ends_with("… (cut)"), format!("{} bytes in the document", message.len()))?;
    // The panic hook's output on standard error does not come from the library.
    if what == Do::Panic { ensure(!stage.logged(MARK).is_empty(), "it was not logged") } else { lines_fit(&stage) }
}

async fn logged() -> Tested {
    let stage = Stage::new(Probe::LongErrors, TraceMode::Active).await?;
    ensure(stage.invoke(Do::Log).await?.result.is_ok(), "the invocation failed")?;
    stage.settle().await?;
    for line in stage.logged(MARK) {
        serde_json::from_str::<Value>(&line)?;
    }
    lines_fit(&stage)
}

async fn init() -> Tested {
    let stage = Stage::new(Probe::LongErrorsInit, TraceMode::Active).await?;
    ensure(stage.invoke(json!({})).await?.result.is_err(), "the invocation succeeded")?;
    let posted = stage.function.timeline().into_iter().find_map(|event| match event.kind {
        EventKind::InitError { error_message, .. } => Some(error_message),
        _ => None,
    });
    let posted = posted.ok_or("no init error was posted")?;
    ensure(posted.len() < LONGEST_MESSAGE && posted.contains(MARK), format!("{} bytes", posted.len()))?;
    lines_fit(&stage)
}

async fn message() -> Tested {
    let stage = Stage::new(Probe::LongErrorsBatch, TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "Records": [{ "messageId": "1", "body": "{}", "eventSource": "aws:sqs" }] })).await?;
    ensure(answer.result.is_ok(), "the batch failed")?;
    lines_fit(&stage)
}

fn long() -> String {
    "\"long\"\n".repeat(1_000_000)
}

/// Runs the function `probe`, if it is one of these.
pub(crate) async fn run(probe: Probe) -> Option<Result<(), Error>> {
    let life = || Lifecycle::from_env();
    Some(match probe {
        Probe::LongErrors => life().run(service_fn(handle)).await,
        Probe::LongErrorsInit => life().init("it", async { Err::<(), _>(long()) }).await.map_err(Into::into),
        Probe::LongErrorsBatch => life().run(sqs::batch(async |_: sqs::Message<Value>| Err::<(), Error>(long().into()))).await,
        _ => return None,
    })
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    match Do::asked_by(&event.payload) {
        Do::Fail => Err(long().into()),
        // The panic hook writes it to standard error, in several lines.
        Do::Panic => panic!("{}", "x".repeat(7_000_000)),
        _ => {
            tracing::error!(field = long(), "{}", long());
            Ok(json!(null))
        }
    }
}
