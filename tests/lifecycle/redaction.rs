//! Values that must not leave the process.

use crate::{
    behavior::{Do, Probe},
    support::{Stage, Tested, ensure, function_error, test},
};
use lambda_lifecycle_sandbox::function::TraceMode;
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a builder's settings apply with the user's own subscriber", builder_and_own_subscriber),
        test("a panicking redactor loses its value, not the process", panicking_redactor),
        test("no byte of an event is in any datagram, under RUST_LOG=trace", canary),
        test("no marked byte is in any datagram with a redactor set", redacted),
    ]
}

async fn builder_and_own_subscriber() -> Tested {
    let stage = Stage::new(Probe::OwnSubscriberRedacting, TraceMode::Active).await?;
    stage.invoke(Do::Instrument { secret: "marked-secret-77ab".to_owned() }).await?;
    stage.settle().await?;
    let datagrams = stage.traces.datagrams();
    let told = |words: &str| datagrams.iter().any(|datagram| String::from_utf8_lossy(datagram).contains(words));
    ensure(told("(redacted)") && !told("marked"), "the redactor was not asked")
}

async fn panicking_redactor() -> Tested {
    let stage = Stage::new(Probe::PanickingRedactor, TraceMode::Active).await?;
    let answer = stage.invoke(Do::Instrument { secret: "marked-secret-77ab".to_owned() }).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    let leaks = stage.traces.datagrams().iter().any(|datagram| String::from_utf8_lossy(datagram).contains("marked"));
    ensure(!leaks, "what the redactor did not decide about has left")?;
    stage.lives().await
}

const SECRET: &str = "marked-secret-8d1f";

async fn canary() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| function.env("RUST_LOG", "trace")).await?;
    let event = |act: Do| {
        let mut event = Value::from(act);
        event["secret"] = json!(SECRET);
        event[SECRET] = json!(1);
        event
    };
    let secret = SECRET.to_owned();
    for act in [Do::LogWith { secret }, Do::Fail, Do::Panic, Do::Sleep { ms: 20 }] {
        stage.invoke(event(act)).await?;
    }
    stage.invoke_raw(format!("{{\"{SECRET}\": ")).await?;
    let typed = Stage::with(Probe::Typed, TraceMode::Active, |function| function.env("RUST_LOG", "trace")).await?;
    for event in [json!({ "sku": 1, SECRET: SECRET }), json!({ "sku": [SECRET] }), json!(SECRET)] {
        let answer = typed.invoke(event).await?;
        let (error_type, message) = function_error(&answer)?;
        ensure(error_type == "Lifecycle.UndecodableEvent" && !message.contains(SECRET), message)?;
    }
    typed.settle().await?;
    let datagrams = typed.traces.datagrams();
    ensure(datagrams.len() == 6, format!("{} datagrams", datagrams.len()))?;
    let leaks = |datagram: &bytes::Bytes| String::from_utf8_lossy(datagram).contains(SECRET);
    ensure(!datagrams.iter().any(leaks), "a value of an undecodable event is in a datagram")?;
    stage.settle().await?;
    ensure(stage.logged(SECRET).len() > 4, "at TRACE the runtime logs the event: this test would show nothing")?;
    let datagrams = stage.traces.datagrams();
    ensure(datagrams.len() >= 10, format!("{} datagrams", datagrams.len()))?;
    let leak = datagrams.iter().map(|datagram| String::from_utf8_lossy(datagram)).find(|text| text.contains(SECRET));
    ensure(leak.is_none(), format!("{leak:?}"))?;
    let works = stage.traces.find(|document| document.name == "work");
    ensure(works.len() == 1, format!("{} spans of the user", works.len()))?;
    stage.documents_are_valid()
}

async fn redacted() -> Tested {
    let secret = || "marked-secret-77ab".to_owned();
    let stage = Stage::with(Probe::Redacting, TraceMode::Active, |function| function.env("RUST_LOG", "trace")).await?;
    let acts = [
        Do::LogWith { secret: secret() },
        Do::FailWith { secret: secret() },
        Do::PanicWith { secret: secret() },
        Do::Instrument { secret: secret() },
    ];
    for act in acts {
        stage.invoke(act).await?;
    }
    stage.settle().await?;
    let datagrams = stage.traces.datagrams();
    let texts: Vec<_> = datagrams.iter().map(|datagram| String::from_utf8_lossy(datagram)).collect();
    ensure(texts.iter().any(|text| text.contains("(redacted)")), "nothing was redacted: this test shows nothing")?;
    let leak = texts.iter().find(|text| text.contains("marked"));
    ensure(leak.is_none(), format!("{leak:?}"))?;
    stage.documents_are_valid()
}
