//! Managed Instances: several invocations in one process at a time.

use crate::support::{
    Gate, Held, Outcome, echo, ensure, ensure_eq, event, futures_pending, invoke, is_stopped, printed, probe, trial, value, words,
};
use lambda_lifecycle_sandbox::{
    Failure, FunctionResponse, Invoke,
    function::{EnvironmentState, EventKind, Exit, Function, FunctionBuilder, TimelineEvent},
    wait::patience,
    xray::TraceStore,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("managed_an_environment_is_ready_ahead_of_requests_and_never_frozen", ready_ahead),
        trial("managed_eight_run_at_a_time_and_the_ninth_waits_where_calls_queue", eight_at_a_time),
        trial("managed_a_lone_invocations_next_is_told_and_one_of_several_is_not", next_is_told),
        trial("managed_idle_means_that_the_work_after_the_answer_is_done", idle_after_the_work),
        trial("managed_a_timeout_is_told_to_the_caller_only_and_the_late_answer_is_410", late_answer),
        trial("managed_a_stream_that_ends_after_the_deadline_is_410", late_stream),
        trial("managed_work_after_an_answer_in_time_does_not_time_out", long_after_work),
        trial("managed_a_crash_fails_all_eight_in_flight_and_a_new_process_follows", crash),
        trial("managed_a_runtime_that_polls_once_at_a_time_is_served_so", polls_once),
        trial("managed_a_process_that_dies_at_once_is_not_started_over_and_over", dies_at_once),
        trial("managed_a_failed_init_is_told_to_its_callers_and_not_repeated_inside", init_fails),
        trial("managed_an_extension_may_register_no_event", extension_events),
        trial("managed_shutdown_kills_at_once_without_an_extension_and_asks_with_one", shutdown),
        trial("managed_shutdown_waits_for_callers_and_not_for_the_overdue", shutdown_waits),
        trial("managed_calls_during_a_shutdown_get_a_fresh_process", calls_during_shutdown),
        trial("managed_two_environments_share_the_calls", two_environments),
        trial("managed_five_hundred_calls_are_each_answered_once_eight_at_most_at_a_time", throughput),
        trial("managed_each_invocation_has_its_two_segments", segments),
    ]
}

pub(crate) async fn managed(mode: &str, concurrency: usize) -> Result<Function, Failed> {
    started(builder(mode, concurrency)).await
}

/// One whose calls wait where AWS rejects them.
async fn queuing(mode: &str, concurrency: usize) -> Result<Function, Failed> {
    started(builder(mode, concurrency).queue_when_busy()).await
}

/// Its polls may take their time; kills are not delayed, for there are none.
fn builder(mode: &str, concurrency: usize) -> FunctionBuilder {
    probe(mode).managed(concurrency).kill_delay(patience())
}

async fn started(builder: FunctionBuilder) -> Result<Function, Failed> {
    let function = builder.build().await;
    function.warm_up().await?;
    Ok(function)
}

pub(crate) fn count(timeline: &[TimelineEvent], word: &str) -> usize {
    words(timeline).iter().filter(|other| *other == word).count()
}

fn ensure_timed_out(answer: &FunctionResponse) -> Outcome {
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), format!("timed out, not {:?}", answer.result))
}

/// Calls that have come to the gate.
pub(crate) async fn held_at(gate: &Gate, count: usize) -> Result<Vec<Held>, Failed> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(gate.held().await?);
    }
    Ok(held)
}

async fn ready_ahead() -> Outcome {
    let function = probe("").managed(3).build().await;
    ensure_eq(function.wait_idle().await, EnvironmentState::Idle)?;
    let pid = function.pid().ok_or("a process ahead of requests")?;
    ensure_eq(words(&function.timeline())[..3].join(" "), "Spawned NextCalled InitDone")?;
    function.subscribe().from_start().find(three_polls()).await;
    ensure(!is_stopped(pid), "not frozen")?;
    let environment = value(&invoke(&function, json!({ "environment": true })).await)?;
    ensure_eq(environment["AWS_LAMBDA_INITIALIZATION_TYPE"].as_str(), Some("lambda-managed-instances"))?;
    ensure_eq(environment["AWS_LAMBDA_MAX_CONCURRENCY"].as_str(), Some("3"))?;
    ensure(environment.get("_X_AMZN_TRACE_ID").is_none(), "concurrent invocations have no variable for their trace")?;
    ensure_eq(function.wait_idle().await, EnvironmentState::Idle)?;
    ensure_eq((function.pid(), is_stopped(pid)), (Some(pid), false))?;
    let timeline = function.timeline();
    ensure_eq(count(&timeline, "Frozen") + count(&timeline, "Thawed"), 0)
}

/// Fits the third `/next` it is shown.
fn three_polls() -> impl Fn(&TimelineEvent) -> bool {
    let seen = std::cell::Cell::new(0);
    move |event| {
        seen.set(seen.get() + u32::from(event.kind == EventKind::NextCalled));
        seen.get() == 3
    }
}

async fn eight_at_a_time() -> Outcome {
    let gate = Gate::new().await?;
    let function = queuing("", 8).await?;
    let task = json!({ "gate": gate.address()?, "answer": "held" });
    let calls: Vec<_> = (0..8).map(|_| function.invoke(event(&task))).collect();
    let mut held = held_at(&gate, 8).await?;
    let ninth = function.invoke(event(&echo("ninth")));
    ensure_eq(count(&function.timeline(), "EventOut"), 8)?;
    ensure_eq(function.state(), EnvironmentState::Busy)?;
    held.pop().ok_or("eight are held")?.release();
    ensure_eq(value(&ninth.await)?, json!("ninth"))?;
    drop(held);
    for call in calls {
        ensure_eq(value(&call.await)?, json!("held"))?;
    }
    ensure_eq(function.wait_idle().await, EnvironmentState::Idle)?;
    let timeline = function.timeline();
    let ninth_out = timeline.iter().rposition(|event| matches!(event.kind, EventKind::EventOut { .. })).unwrap_or(0);
    let before = &timeline[..ninth_out];
    ensure(count(before, "ResponseIn202") >= 1, "the ninth waited for a response")?;
    ensure_eq(timeline.iter().map(|event| event.environment).collect::<BTreeSet<_>>(), BTreeSet::from([1]))
}

async fn next_is_told() -> Outcome {
    let gate = Gate::new().await?;
    let function = managed("", 2).await?;
    let lone = invoke(&function, echo("lone")).await;
    function.wait_idle().await;
    let of_lone = |event: &TimelineEvent| event.request_id.as_ref() == Some(&lone.request_id);
    let told: Vec<_> = function.timeline().into_iter().filter(of_lone).collect();
    ensure_eq(words(&told).join(" "), "EventOut ResponseIn202 NextCalled")?;
    // Both have their responses before either polls again.
    let task = json!({ "answer": 1, "after": { "gate": gate.address()? } });
    let pair = (function.invoke(event(&task)), function.invoke(event(&task)));
    let answers = tokio::join!(pair.0, pair.1);
    drop(held_at(&gate, 2).await?);
    function.wait_idle().await;
    let ids = [&answers.0.request_id, &answers.1.request_id];
    let told = function.timeline();
    let mut nexts = told.iter().filter(|event| event.kind == EventKind::NextCalled).rev();
    let (last, one_of_two) = (nexts.next().ok_or("a poll")?, nexts.next().ok_or("a poll")?);
    ensure_eq(one_of_two.request_id.as_ref(), None::<&String>)?;
    ensure(last.request_id.as_ref().is_some_and(|id| ids.contains(&id)), "the last is known")
}

async fn idle_after_the_work() -> Outcome {
    let gate = Gate::new().await?;
    let function = managed("", 2).await?;
    invoke(&function, json!({ "after": { "gate": gate.address()?, "print": "after" } })).await;
    let held = gate.held().await?;
    ensure_eq(function.state(), EnvironmentState::Busy)?;
    ensure_eq(value(&invoke(&function, echo("beside")).await)?, json!("beside"))?;
    held.release();
    ensure_eq(function.wait_idle().await, EnvironmentState::Idle)?;
    printed(&function, "after").await;
    Ok(())
}

async fn late_answer() -> Outcome {
    let gate = Gate::new().await?;
    let function = managed("", 2).await?;
    let late = function.invoke(event(&json!({ "gate": gate.address()?, "answer": "late" })));
    let held = gate.held().await?;
    function.expire();
    let late = late.await;
    ensure_timed_out(&late)?;
    ensure_eq(function.state(), EnvironmentState::Busy)?;
    ensure_eq(value(&invoke(&function, echo("beside")).await)?, json!("beside"))?;
    let mut events = function.subscribe();
    held.release();
    let refused = events.find(|event| matches!(event.kind, EventKind::ResponseIn { status: 410, .. })).await;
    ensure_eq(refused.request_id.as_ref(), Some(&late.request_id))?;
    ensure_eq(function.wait_idle().await, EnvironmentState::Idle)?;
    ensure_eq(value(&invoke(&function, echo("after")).await)?, json!("after"))?;
    let timeline = function.timeline();
    ensure_eq(count(&timeline, "Spawned") + count(&timeline, "Killed") + count(&timeline, "Exited"), 1)?;
    let of_late = |event: &TimelineEvent| event.request_id.as_ref() == Some(&late.request_id);
    let of_late: Vec<_> = timeline.into_iter().filter(of_late).collect();
    ensure_eq(words(&of_late).join(" "), "EventOut TimedOut ResponseIn410 NextCalled")
}

async fn late_stream() -> Outcome {
    let gate = Gate::new().await?;
    let function = managed("", 2).await?;
    let call = function.invoke(event(&json!({ "stream": ["one"], "stream_gate": gate.address()? })));
    let mut events = function.subscribe().from_start();
    let held = gate.held().await?;
    events.find(|event| event.kind == EventKind::StreamStarted).await;
    function.expire();
    ensure_timed_out(&call.await)?;
    held.release();
    ensure_eq(function.wait_idle().await, EnvironmentState::Idle)?;
    let timeline = function.timeline();
    let invocation: Vec<_> = timeline.into_iter().filter(|event| event.request_id.is_some()).collect();
    ensure_eq(words(&invocation).join(" "), "EventOut StreamStarted TimedOut StreamEnded ResponseIn410 NextCalled")
}

async fn long_after_work() -> Outcome {
    let gate = Gate::new().await?;
    let function = managed("", 2).await?;
    let answer = invoke(&function, json!({ "answer": 1, "after": { "gate": gate.address()? } })).await;
    ensure_eq(value(&answer)?, json!(1))?;
    let held = gate.held().await?;
    // Another one that does time out, with the deadline of the first.
    let hanging = function.invoke(event(&json!({ "hang": true })));
    let out = |event: &TimelineEvent| matches!(event.kind, EventKind::EventOut { .. });
    let mut events = function.subscribe().from_start();
    events.find(out).await;
    events.find(out).await;
    function.expire();
    ensure_timed_out(&hanging.await)?;
    held.release();
    let mut events = function.subscribe().from_start();
    events.find(|event| event.kind == EventKind::NextCalled && event.request_id.as_ref() == Some(&answer.request_id)).await;
    ensure_eq(count(&function.timeline(), "TimedOut"), 1)
}

async fn crash() -> Outcome {
    let gate = Gate::new().await?;
    let function = managed("", 8).await?;
    let pid = function.pid();
    let task = json!({ "gate": gate.address()? });
    let mut calls: Vec<_> = (0..7).map(|_| function.invoke(event(&task))).collect();
    let held = held_at(&gate, 7).await?;
    let mut events = function.subscribe();
    calls.push(function.invoke(event(&json!({ "abort": true }))));
    for call in calls {
        let exited = Err(Failure::Exited(Exit::Signal(6).to_string()));
        ensure_eq(call.await.result, exited)?;
    }
    drop(held);
    // Nobody has called yet.
    events.find(|event| matches!(event.kind, EventKind::InitDone { .. })).await;
    ensure_eq(function.wait_idle().await, EnvironmentState::Idle)?;
    ensure(function.pid().is_some() && function.pid() != pid, "a new process")?;
    ensure_eq(value(&invoke(&function, echo("next")).await)?, json!("next"))?;
    let suppressed = |event: &TimelineEvent| matches!(event.kind, EventKind::Spawned { suppressed: true, .. });
    ensure(!function.timeline().iter().any(suppressed), "a separate Init phase")
}

async fn polls_once() -> Outcome {
    let function = probe("sequential").managed(8).queue_when_busy().build().await;
    let calls: Vec<_> = (0..20).map(|number| function.invoke(event(&json!({ "answer": number })))).collect();
    for (number, call) in calls.into_iter().enumerate() {
        ensure_eq(value(&call.await)?, json!(number))?;
    }
    ensure_eq(function.wait_idle().await, EnvironmentState::Idle)
}

async fn dies_at_once() -> Outcome {
    for millis in ["1", "300"] {
        let function = probe(&format!("raw:polls-and-exits-after {millis}")).managed(2).build().await;
        let exited = |event: &TimelineEvent| matches!(event.kind, EventKind::Exited { .. });
        function.subscribe().from_start().find(exited).await;
        // There is nothing to shut down, which the environment says when it is through with that end.
        ensure_eq(function.shutdown().await.ended.len(), 0)?;
        ensure_eq(function.state(), EnvironmentState::Dead)?;
        ensure_eq(count(&function.timeline(), "Spawned"), 1)?;
    }
    Ok(())
}

async fn init_fails() -> Outcome {
    let function = probe("init-error").managed(2).build().await;
    ensure_eq(function.wait_idle().await, EnvironmentState::Dead)?;
    let calls = (function.invoke(event(&json!(1))), function.invoke(event(&json!(2))));
    let (first, second) = tokio::join!(calls.0, calls.1);
    let (error_type, error_message) = ("Probe.NoDatabase".to_owned(), "no database".to_owned());
    let failure = Failure::Function { error_type, error_message };
    ensure_eq((first.result, second.result), (Err(failure.clone()), Err(failure)))?;
    ensure_eq(function.wait_idle().await, EnvironmentState::Dead)?;
    ensure_eq(count(&function.timeline(), "Respawned"), 0)
}

async fn extension_events() -> Outcome {
    let refused = managed("extension invoke", 2).await?;
    let line = printed(&refused, "registered:").await;
    ensure(line.starts_with("403") && line.contains("Extension.InvalidEventType"), line)?;
    ensure_eq(value(&invoke(&refused, echo("without")).await)?, json!("without"))?;
    let allowed = managed("extension", 2).await?;
    let line = printed(&allowed, "registered:").await;
    ensure(line.starts_with("200"), line)?;
    ensure_eq(value(&invoke(&allowed, echo("with")).await)?, json!("with"))
}

async fn shutdown() -> Outcome {
    for (mode, sigterm, exit, expected) in [
        ("", false, Exit::Signal(9), "Killed Exited"),
        ("extension handles-sigterm", true, Exit::Code(42), "Sigterm Exited"),
        ("extension ignores-sigterm", true, Exit::Signal(9), "Sigterm Killed Exited"),
    ] {
        let function = managed(mode, 2).await?;
        invoke(&function, echo("hello")).await;
        function.wait_idle().await;
        let report = function.shutdown().await;
        let ended = report.ended.first().ok_or("a process ended")?;
        ensure_eq((ended.sigterm, ended.exit), (sigterm, exit))?;
        let least = Duration::from_millis(if exit == Exit::Signal(9) && sigterm { 500 } else { 0 });
        ensure(ended.took >= least, format!("it was killed after {:?}", ended.took))?;
        let words = words(&function.timeline());
        let last = words.iter().rposition(|word| word == "NextCalled").unwrap_or(0);
        ensure_eq(words[last + 1..].join(" "), expected)?;
        ensure_eq(function.wait_idle().await, EnvironmentState::Dead)?;
        ensure_eq(value(&invoke(&function, echo("again")).await)?, json!("again"))?;
    }
    Ok(())
}

async fn shutdown_waits() -> Outcome {
    let gate = Gate::new().await?;
    let function = managed("", 2).await?;
    let hanging = function.invoke(event(&json!({ "hang": true })));
    function.subscribe().from_start().find(|event| matches!(event.kind, EventKind::EventOut { .. })).await;
    function.expire();
    ensure_timed_out(&hanging.await)?;
    let call = function.invoke(event(&json!({ "gate": gate.address()?, "answer": "in time" })));
    let held = gate.held().await?;
    let shutdown = function.shutdown();
    tokio::pin!(shutdown);
    ensure(futures_pending(shutdown.as_mut()).await, "a caller is waited for")?;
    held.release();
    ensure_eq(value(&call.await)?, json!("in time"))?;
    ensure_eq(shutdown.await.ended.len(), 1)
}

async fn calls_during_shutdown() -> Outcome {
    let gate = Gate::new().await?;
    let function = managed("", 4).await?;
    let first = function.invoke(event(&json!({ "gate": gate.address()?, "answer": 1 })));
    let held = gate.held().await?;
    let caller = function.clone();
    let ended = tokio::spawn(async move { caller.shutdown().await });
    tokio::task::yield_now().await;
    let second = function.invoke(event(&echo("second")));
    held.release();
    ensure_eq(value(&first.await)?, json!(1))?;
    ensure_eq(value(&second.await)?, json!("second"))?;
    ensure_eq(ended.await?.ended.len(), 1)
}

async fn two_environments() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("").managed(2).max_environments(2).build().await;
    function.warm_up().await?;
    let task = json!({ "gate": gate.address()? });
    let calls: Vec<_> = (0..4).map(|_| function.invoke(event(&task))).collect();
    drop(held_at(&gate, 4).await?);
    for call in calls {
        value(&call.await)?;
    }
    let mut load = BTreeMap::new();
    for event in function.timeline() {
        *load.entry(event.environment).or_insert(0) += u32::from(matches!(event.kind, EventKind::EventOut { .. }));
    }
    ensure_eq(load, BTreeMap::from([(1, 2), (2, 2)]))
}

async fn throughput() -> Outcome {
    let function = queuing("", 8).await?;
    let calls: Vec<_> = (0..500).map(|number| function.invoke(event(&json!({ "answer": number })))).collect();
    let mut answered = BTreeSet::new();
    for call in calls {
        answered.insert(value(&call.await)?.as_u64().ok_or("a number")?);
    }
    ensure_eq(answered, (0..500).collect())?;
    ensure_eq(function.wait_idle().await, EnvironmentState::Idle)?;
    let timeline = function.timeline();
    ensure_eq((count(&timeline, "EventOut"), count(&timeline, "ResponseIn202"), count(&timeline, "Spawned")), (500, 500, 1))?;
    let (mut at_once, mut most) = (0_usize, 0);
    for event in &timeline {
        match event.kind {
            EventKind::EventOut { .. } => at_once += 1,
            EventKind::ResponseIn { .. } => at_once -= 1,
            _ => {}
        }
        most = most.max(at_once);
    }
    ensure((2..=8).contains(&most), format!("{most} at once"))
}

async fn segments() -> Outcome {
    let store = TraceStore::new();
    let gate = Gate::new().await?;
    let function = probe("").managed(4).trace_store(store.clone()).build().await;
    let tasks: [Value; 4] =
        [echo("one"), json!({ "error": "no" }), json!({ "gate": gate.address()? }), json!({ "after": { "hang": true } })];
    let calls: Vec<_> = tasks.iter().map(|task| function.invoke(event(task))).collect();
    let held = gate.held().await?;
    let [one, error, late, after] = <[_; 4]>::try_from(calls).map_err(|_| "four calls")?;
    let in_time = (one.await, error.await, after.await);
    // The three that have responded did so in time.
    function.expire();
    let answers = [in_time.0, in_time.1, late.await, in_time.2];
    ensure_timed_out(&answers[2])?;
    held.release();
    for (answer, flags) in answers.iter().zip([(false, false), (false, true), (true, false), (false, false)]) {
        let trace = store.trace(&answer.trace_id).ok_or("a trace")?;
        let own: Vec<_> = trace.documents.iter().filter(|document| !document.nested).collect();
        ensure_eq(own.len(), 2)?;
        for document in own {
            ensure_eq((document.fault, document.error, document.in_progress), (flags.0, flags.1, false))?;
        }
    }
    ensure(store.rejected().is_empty(), format!("{:?}", store.rejected()))?;
    ensure(store.check().is_empty(), format!("{:?}", store.check()))
}
