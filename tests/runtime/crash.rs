//! A thousand invocations while the Runtime API closes, resets and stalls connections at random.

use crate::{
    api::{Dice, Fake, Wrong},
    function::{Do, Probe},
    stage::{Stage, Tested, WORKERS, ensure, find, has, test, trace_id},
};
use lambda_lifecycle_sandbox::xray::Problem;
use libtest_mimic::Trial;
use std::collections::BTreeMap;

const INVOCATIONS: u32 = 1_000;

/// The faults that one request in five meets.
const FAULTS: [Wrong; 10] = [
    Wrong::Close,
    Wrong::CloseEarly,
    Wrong::Reset,
    Wrong::HalfAHead,
    Wrong::HalfABody,
    Wrong::Hesitate,
    Wrong::Garbage,
    Wrong::CloseAfter,
    Wrong::Status(410),
    Wrong::Status(500),
];

pub(crate) fn tests() -> Vec<Trial> {
    let name = |workers| format!("{INVOCATIONS} invocations under faults at random have one outcome each × {workers}");
    WORKERS.into_iter().map(|workers| test(name(workers), move || crash(workers))).collect()
}

async fn crash(workers: u32) -> Tested {
    let api = Fake::default();
    // Another seed: `CRASH_SEED=7 cargo test --test runtime`.
    let seed = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut dice = Dice(seed);
    api.lock().script = Some(Box::new(move |endpoint| {
        let wrong = FAULTS[dice.roll(FAULTS.len() as u64) as usize];
        // Refusals in a row end the loop, which is another test.
        let fits = endpoint != "next" || !matches!(wrong, Wrong::Status(_));
        (fits && dice.roll(5) == 0).then_some(wrong)
    }));
    let mut stage = Stage::start(Probe::Serve, workers, api, &[]).await?;
    let acts = [Do::Fail, Do::Stream, Do::Panic, Do::StreamAndFail].map(|act| act.to_string());
    let bodies = ["{}", &acts[0], &acts[1], &acts[2], &acts[3], "{"];
    for number in 0..INVOCATIONS {
        stage.event(number, bodies[number as usize % bodies.len()]);
    }
    stage.output.wait_for(INVOCATIONS as usize, |line| has(line, "ended")).await?;
    ensure(stage.runs(), format!("seed {seed}: the process ended"))?;

    let handed_out = stage.api.lock().handed_out.clone();
    ensure(handed_out.len() == INVOCATIONS as usize, format!("seed {seed}: {} events were handed out", handed_out.len()))?;
    let mut outcomes = BTreeMap::<String, Vec<String>>::new();
    for line in stage.output.with("ended") {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        outcomes.entry(text("ended")).or_default().push(text("as"));
    }
    // A failure is one line in the log, and says the same.
    let mut logged = BTreeMap::<String, Vec<String>>::new();
    for line in stage.output.with("outcome") {
        let text = |field: &str| find(&line, field).as_str().unwrap_or_default().to_owned();
        logged.entry(text("requestId")).or_default().push(text("outcome"));
    }
    let traces = stage.xray.traces.clone();
    traces.wait_for(INVOCATIONS as usize, |document| document.annotation("outcome").is_some()).await?;
    stage.xray.settle().await?;
    for number in 0..INVOCATIONS {
        let id = format!("event-{number}");
        let [outcome] = outcomes.get(&id).map(Vec::as_slice).unwrap_or_default() else {
            return Err(format!("seed {seed}: {id} ended as {:?}", outcomes.get(&id)).into());
        };
        let trace = trace_id(number);
        let documents = traces.find(|document| document.trace_id == trace && document.annotation("outcome").is_some());
        let traced: Vec<_> = documents.iter().filter_map(|document| document.annotation("outcome")).collect();
        ensure(traced == [outcome.as_str()], format!("seed {seed}: {id} ended as {outcome}, its trace says {traced:?}"))?;
        let lines = logged.get(&id).map(Vec::as_slice).unwrap_or_default();
        let told = if outcome == "responded" { lines.is_empty() } else { lines == [outcome.clone()] };
        ensure(told, format!("seed {seed}: {id} ended as {outcome}, the log says {lines:?}"))?;
    }
    // Lambda's own segment, the parent of them all, is not sent here.
    let wrong = |problem: &Problem| !matches!(problem, Problem::Orphan { .. });
    let problems: Vec<String> = traces.check().iter().filter(|problem| wrong(problem)).map(ToString::to_string).take(3).collect();
    ensure(problems.is_empty(), format!("seed {seed}: {problems:?}"))
}
