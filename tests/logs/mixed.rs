//! Invocations side by side: nothing of one is in another.

use crate::{
    function::{Do, Probe},
    support::{Stage, Tested, all, ensure, test},
};
use lambda_lifecycle_sandbox::{
    Event,
    function::{FunctionBuilder, TraceMode},
};
use libtest_mimic::Trial;
use proptest::{
    prelude::*,
    strategy::{Strategy, ValueTree},
    test_runner::{Reason, TestRunner},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const AT_ONCE: usize = 64;

pub(crate) fn tests() -> Vec<Trial> {
    [TraceMode::Active, TraceMode::NotSampled]
        .map(|mode| {
            let name = format!("64 invocations at once: no key, kept line or metric in a foreign one, {mode:?}");
            test(name, move || never_mixed(mode))
        })
        .into()
}

async fn never_mixed(mode: TraceMode) -> Tested {
    let mut runner = TestRunner::deterministic();
    let plan = (prop::collection::vec(0..3_u8, 1..12), any::<bool>());
    let plans = (0..4 * AT_ONCE).map(|_| Ok(plan.new_tree(&mut runner)?.current()));
    let plans: Vec<(Vec<u8>, bool)> = plans.collect::<Result<_, Reason>>().map_err(|reason| reason.to_string())?;
    let stage = Stage::with(Probe::Ours, mode, |function: FunctionBuilder| {
        let function = function.managed(AT_ONCE).env("LAMBDA_LIFECYCLE_LOG_BUFFER", "debug,lambda_lifecycle=off");
        function.env("LAMBDA_LIFECYCLE_METRICS_NAMESPACE", "Shop").env("LAMBDA_LIFECYCLE_METRICS_BUILT_IN", "off")
    });
    let stage = stage.await?;
    let mut answers = Vec::new();
    let numbered: Vec<_> = plans.iter().enumerate().collect();
    for plans in numbered.chunks(AT_ONCE) {
        let stage = &stage;
        let events = plans.iter().map(|(owner, (steps, fails))| async move {
            let payload = json!(Do::Mixed { owner: *owner, steps: steps.clone(), fails: *fails }).to_string().into();
            Ok((stage.invoke_event(Event { payload, ..Event::default() }).await?, *owner, steps, *fails))
        });
        answers.extend(all(events).await?);
    }
    stage.wait_for_logs("\"Own\":", plans.len()).await?;
    stage.wait_for_logs("\"last\"", plans.len()).await?;
    let mut by_request = BTreeMap::<String, Vec<Value>>::new();
    for line in stage.logged("{") {
        let line: Value = serde_json::from_str(&line)?;
        if let Some(id) = line["requestId"].as_str().filter(|_| line["target"] != "lambda_lifecycle") {
            by_request.entry(id.to_owned()).or_default().push(line);
        }
    }
    ensure(by_request.len() == answers.len(), format!("lines of {} invocations", by_request.len()))?;
    for (answer, owner, steps, fails) in &answers {
        ensure(answer.result.is_err() == *fails, format!("{answer:?}"))?;
        let lines = &by_request[&answer.request_id];
        let (metrics, lines): (Vec<_>, Vec<_>) = lines.iter().partition(|line| !line["_aws"].is_null());
        ensure(metrics.len() == 1 && metrics[0]["Own"] == *owner, format!("{metrics:?} of {owner}"))?;
        // The event's own field, the span's, and the invocation's key.
        let is_own = |line: &&&Value| ["by", "in_span", "key"].iter().all(|key| line[*key] == *owner);
        let foreign = lines.iter().find(|line| !is_own(line));
        ensure(foreign.is_none(), format!("{foreign:?} in an invocation of {owner}"))?;
        // Two lines of each step, and the last one.
        let kept = lines.iter().filter(|line| line["buffered"] == true).count();
        let expected = if *fails { steps.len() } else { 0 };
        ensure(kept == expected && lines.len() == steps.len() + 1 + kept, format!("{kept} kept of {owner}: {lines:?}"))?;
    }
    Ok(())
}
