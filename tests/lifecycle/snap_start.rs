//! SnapStart: the hooks of the builder around snapshot and restore, under the library's loop and under `lambda_runtime`'s.

use crate::{
    behavior::{Do, Probe},
    function::acts,
    support::{Stage, Tested, ensure, named, test},
};
use lambda_lifecycle::{Error, Lifecycle, service_fn};
use lambda_lifecycle_sandbox::function::{EventKind, FunctionBuilder, TraceMode};
use lambda_runtime::{Runtime, tower::Layer as _};
use libtest_mimic::{Failed, Trial};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Hook {
    Before,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Loop {
    Own,
    LambdaRuntime,
}

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for events in [Loop::Own, Loop::LambdaRuntime] {
        tests.extend([
            test(
                format!("SnapStart × {events:?}: each hook runs at its time, and the first invocation is a restore"),
                move || hooks(events),
            ),
            test(
                format!("SnapStart × {events:?}: a hook before the snapshot that fails is an error of the Init phase"),
                move || before_fails(events),
            ),
            test(format!("SnapStart × {events:?}: a hook after the restore that fails is an error of the restore"), move || {
                after_fails(events)
            }),
            test(format!("SnapStart × {events:?}: elsewhere no hook runs"), move || elsewhere(events)),
        ]);
    }
    tests
}

/// The function; `None` where `probe` is another.
pub(crate) async fn run(probe: Probe) -> Option<Result<(), Error>> {
    (probe == Probe::SnapStart).then_some(())?;
    let failing = named::<Hook>("FAILING");
    let hook = move |hook: Hook| async move {
        // Not at once, as a connection would be.
        tokio::task::yield_now().await;
        println!("{}", json!({ "hook": hook }));
        if failing == Some(hook) { Err("no connection") } else { Ok(()) }
    };
    let life = Lifecycle::builder().before_snapshot(move || hook(Hook::Before)).after_restore(move || hook(Hook::After)).build();
    let handler = service_fn(acts::value);
    Some(match named::<Loop>("LOOP") {
        Some(Loop::LambdaRuntime) => {
            let runtime = Runtime::new(life.handler_layer().layer(handler)).layer(life.runtime_layer());
            life.snapstart_resources().into_iter().fold(runtime, Runtime::register_snapstart_resource).run().await
        }
        _ => life.run_concurrent(handler).await,
    })
}

async fn stage(events: Loop, change: impl FnOnce(FunctionBuilder) -> FunctionBuilder) -> Result<Stage, Failed> {
    Stage::with(Probe::SnapStart, TraceMode::Active, |function| change(function.env("LOOP", format!("{events:?}")))).await
}

fn ran(stage: &Stage) -> Vec<Value> {
    stage.logged("\"hook\"").iter().filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["hook"].clone())).collect()
}

async fn hooks(events: Loop) -> Tested {
    let stage = stage(events, |function| function.initialization_type("snap-start")).await?;
    stage.function.warm_up().await?;
    stage.wait_for_logs("\"hook\"", 1).await?;
    ensure(ran(&stage) == [json!(Hook::Before)], format!("before the restore: {:?}", ran(&stage)))?;
    let (first, second) = (stage.invoke(Do::Nothing).await?, stage.invoke(Do::Nothing).await?);
    let (first, second) = (stage.document(&first).await?, stage.document(&second).await?);
    ensure(ran(&stage) == [json!(Hook::Before), json!(Hook::After)], format!("{:?}", ran(&stage)))?;
    for (document, restored) in [(&first, json!(true)), (&second, Value::Null)] {
        let found = (&document.raw["annotations"]["cold_start"], &document.raw["annotations"]["restored"]);
        ensure(found == (&json!(false), &restored), format!("{:?}", document.annotations))?;
    }
    Ok(())
}

async fn before_fails(events: Loop) -> Tested {
    let stage = failing(events, Hook::Before).await?;
    let posted = |kind: &EventKind| match kind {
        EventKind::InitError { error_message, .. } => Some(error_message.clone()),
        _ => None,
    };
    is_posted(&stage, posted, &[Hook::Before]).await
}

async fn after_fails(events: Loop) -> Tested {
    let stage = failing(events, Hook::After).await?;
    let posted = |kind: &EventKind| match kind {
        EventKind::RestoreError { error_message, .. } => Some(error_message.clone()),
        _ => None,
    };
    is_posted(&stage, posted, &[Hook::Before, Hook::After]).await
}

async fn failing(events: Loop, hook: Hook) -> Result<Stage, Failed> {
    stage(events, |function| function.initialization_type("snap-start").env("FAILING", format!("{hook:?}"))).await
}

/// Lambda got the hook's error, no event reached the handler, and the process ended by itself.
async fn is_posted(stage: &Stage, posted: impl Fn(&EventKind) -> Option<String>, hooks: &[Hook]) -> Tested {
    let answer = stage.invoke(Do::Nothing).await?;
    ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
    let EventKind::Exited { .. } = stage.exited().await? else { return Err("it did not exit".into()) };
    let timeline = stage.function.timeline();
    let message = timeline.iter().find_map(|event| posted(&event.kind)).ok_or("no error was posted")?;
    ensure(message == "no connection", message)?;
    ensure(!timeline.iter().any(|event| matches!(event.kind, EventKind::EventOut { .. })), "an event was sent")?;
    let first: Vec<Value> = ran(stage).into_iter().take(hooks.len()).collect();
    ensure(first == hooks.iter().map(|hook| json!(hook)).collect::<Vec<_>>(), format!("{:?}", ran(stage)))
}

async fn elsewhere(events: Loop) -> Tested {
    let stage = stage(events, |function| function).await?;
    let answer = stage.invoke(Do::Nothing).await?;
    let document = stage.document(&answer).await?;
    ensure(ran(&stage).is_empty() && document.raw["annotations"]["cold_start"] == true, format!("{:?}", ran(&stage)))
}
