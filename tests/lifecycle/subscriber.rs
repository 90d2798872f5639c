//! Subscribers: the library's, and the user's own.

use crate::{
    behavior::{Do, Probe},
    support::{Stage, Tested, ensure, test},
};
use lambda_lifecycle_sandbox::function::TraceMode;
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a subscriber that was only temporarily in scope does not interfere", scoped_before),
        test("a filter of the whole subscriber is reported once", filtered_subscriber),
        test("the user's own subscriber loses no span", own_subscriber),
        test("a subscriber that records nothing is reported once, with the remedy", strange_subscriber),
        test("OpenTelemetry's methods of a span find it in the default subscriber", span_extension),
    ]
}

async fn scoped_before() -> Tested {
    let stage = Stage::new(Probe::ScopedBefore, TraceMode::Active).await?;
    let answer = stage.invoke(Do::Log).await?;
    stage.document(&answer).await?;
    ensure(stage.traces.find(|document| document.name == "work").len() == 1, "the user's span is lost")?;
    ensure(stage.logged("the user's line").len() == 1, "nothing is logged")
}

async fn filtered_subscriber() -> Tested {
    let stage = Stage::new(Probe::FilteredSubscriber, TraceMode::Active).await?;
    let answer = stage.invoke(Do::Log).await?;
    stage.document(&answer).await?;
    ensure(stage.codes() == ["filter_hides_spans"], format!("{:?}", stage.problems()))
}

async fn own_subscriber() -> Tested {
    let stage = Stage::new(Probe::OwnSubscriber, TraceMode::Active).await?;
    let answer = stage.invoke(Do::Log).await?;
    stage.document(&answer).await?;
    ensure(stage.traces.find(|document| document.name == "work").len() == 1, "the user's span is lost")?;
    ensure(stage.problems().is_empty(), "a connected subscriber is reported")
}

async fn strange_subscriber() -> Tested {
    let stage = Stage::new(Probe::StrangeSubscriber, TraceMode::Active).await?;
    let answer = stage.invoke(Do::Log).await?;
    // The invocation's own span does not depend on a subscriber.
    stage.document(&answer).await?;
    ensure(stage.codes() == ["subscriber_records_nothing"], format!("{:?}", stage.problems()))
}

async fn span_extension() -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    let answer = stage.invoke(Do::AskSpan).await?;
    stage.document(&answer).await?;
    let asked = stage.traces.find(|document| document.name == "asked");
    ensure(asked.len() == 1 && asked[0].raw["annotations"]["asked"] == true, "an attribute of the span is lost")?;
    ensure(
        answer.result.as_deref().ok() == Some(asked[0].raw["id"].to_string().as_bytes()),
        "the span's id differs from the document's",
    )
}
