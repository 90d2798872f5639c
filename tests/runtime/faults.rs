//! Endpoint × fault × on demand and Managed Instances. Stalls, which take a minute, are tested in memory.

use crate::{
    api::{Fake, Wrong},
    function::{Do, Probe},
    stage::{Stage, Tested, WORKERS, code_is, ensure, find, has, test},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::time::Duration;

const BROKEN: [Wrong; 6] = [Wrong::Close, Wrong::CloseEarly, Wrong::Reset, Wrong::HalfAHead, Wrong::Garbage, Wrong::Hesitate];

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for workers in WORKERS {
        let mut add = |endpoint: &'static str, wrong: Wrong, body: fn(&'static str, Wrong, u32) -> Tests| {
            tests.push(test(format!("{endpoint} × {wrong:?} × {workers}"), move || body(endpoint, wrong, workers)));
        };
        for wrong in BROKEN.into_iter().chain([Wrong::NoRequestId, Wrong::Status(403), Wrong::Status(500)]) {
            add("next", wrong, |endpoint, wrong, workers| Box::pin(lives(endpoint, wrong, workers)));
        }
        for endpoint in ["response", "error"] {
            for wrong in BROKEN.into_iter().chain([400, 403, 410, 413, 500].map(Wrong::Status)) {
                add(endpoint, wrong, |endpoint, wrong, workers| Box::pin(lives(endpoint, wrong, workers)));
            }
        }
        for wrong in BROKEN.into_iter().chain([Wrong::Stall, Wrong::Status(403), Wrong::Status(500)]) {
            add("register", wrong, |endpoint, wrong, workers| Box::pin(lives(endpoint, wrong, workers)));
        }
        for wrong in BROKEN.into_iter().chain([Wrong::Stall, Wrong::Status(403), Wrong::Status(500)]) {
            tests.push(test(format!("init/error × {wrong:?} × {workers}"), move || init_error(wrong, workers)));
        }
        tests.push(test(format!("every header of an event is odd × {workers}"), move || odd_headers(workers)));
        // Measures, and takes a minute. What CI can rely on is counted in paused time: `an_api_that_is_gone_for_a_minute_costs_few_attempts_and_lines`.
        let measured = test(format!("CPU time while the Runtime API is gone for a minute × {workers}"), move || gone(workers));
        tests.push(measured.with_ignored_flag(true));
    }
    for wrong in BROKEN.into_iter().chain([Wrong::Status(403), Wrong::Status(500)]) {
        tests.push(test(format!("restore/next × {wrong:?}"), move || restore(wrong, 1)));
        tests.push(test(format!("restore/next × {wrong:?} without end"), move || restore(wrong, 1_000)));
    }
    tests
}

type Tests = std::pin::Pin<Box<dyn Future<Output = Tested>>>;

/// A fault at any endpoint is logged, and all workers still serve.
async fn lives(endpoint: &'static str, wrong: Wrong, workers: u32) -> Tested {
    let api = Fake::default();
    api.wrong(endpoint, std::iter::repeat_n(wrong, 2));
    let probe = if endpoint == "register" { Probe::Shutdown } else { Probe::Serve };
    let mut stage = Stage::start(probe, workers, api, &[]).await?;
    let body = if endpoint == "error" { Do::Fail.to_string() } else { r#"{"n":1}"#.to_owned() };
    for number in 0..4 {
        stage.event(number, &body);
    }
    // Two of them may be lost without a request id.
    stage.output.wait_for(2, |line| has(line, "ended")).await?;
    for number in 4..4 + 2 * workers {
        let id = stage.event(number, r#"{"n":2}"#);
        let posted = stage.api.posted(&id).await;
        ensure(posted.text() == r#"{"n":2}"#, posted.text())?;
    }
    ensure(stage.runs(), format!("the process ended: {:?}", stage.output.lines()))?;
    ensure((1..20).contains(&stage.output.with("code").len()), format!("{:?}", stage.output.lines()))
}

/// The process ends with its error in the log, whether Lambda takes it or not.
async fn init_error(wrong: Wrong, workers: u32) -> Tested {
    let api = Fake::default();
    api.wrong("error", std::iter::repeat_n(wrong, 2));
    let mut stage = Stage::start(Probe::InitFails, workers, api, &[]).await?;
    let exit = stage.exit().await?;
    ensure(exit.code() == Some(1), format!("{exit}"))?;
    stage.output.wait_for(1, |line| code_is(line, "init_failed")).await?;
    stage.output.wait_for(1, |line| code_is(line, "init_error_not_posted")).await
}

/// A connection that breaks is made again; where that does not help, or Lambda refuses, the process says why and ends.
async fn restore(wrong: Wrong, times: usize) -> Tested {
    let api = Fake::default();
    let mut left = times;
    api.lock().script = Some(Box::new(move |endpoint| {
        // Both requests for what is next end in the same word; the first one is the restore's.
        let hit = endpoint == "next" && left > 0;
        left -= usize::from(hit);
        hit.then_some(wrong)
    }));
    let mut stage = Stage::start(Probe::Serve, 1, api, &[("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")]).await?;
    if times == 1 && !matches!(wrong, Wrong::Status(_)) {
        let id = stage.event(0, "1");
        ensure(stage.api.posted(&id).await.text() == "1" && stage.runs(), "it was not served")?;
        return ensure(stage.output.with("endpoint").len() == 1, format!("{:?}", stage.output.lines()));
    }
    let exit = stage.exit().await?;
    ensure(exit.code() == Some(1), format!("{exit}"))?;
    let posted = stage.api.request(|request| request.line.ends_with("/init/error")).await;
    let body: Value = serde_json::from_str(&posted.text())?;
    ensure(posted.header("lambda-runtime-function-error-type") == Some("Runtime.InitError"), format!("{posted:?}"))?;
    ensure(body["errorMessage"].as_str().is_some_and(|message| message.contains("/restore/next")), body.to_string())?;
    stage.output.wait_for(1, |line| code_is(line, "serving_failed") && line.contains("/restore/next")).await
}

/// The cost of a process whose Runtime API is unreachable: `cargo test --release --test runtime -- --ignored --nocapture gone`.
async fn gone(workers: u32) -> Tested {
    const MINUTE: Duration = Duration::from_secs(60);
    // Nothing listens on the port of the discard service.
    let mut stage = Stage::start(Probe::Serve, workers, Fake::default(), &[("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")]).await?;
    stage.output.wait_for(1, |line| has(line, "code")).await?;
    let before = stage.cpu_time()?;
    tokio::time::sleep(MINUTE).await;
    let used = stage.cpu_time()?.saturating_sub(before);
    let (share, lines) = (used.as_secs_f64() / MINUTE.as_secs_f64(), stage.output.lines().len());
    println!("{workers} workers: {used:?} of CPU time in a minute, {:.3} % of a CPU, {lines} lines", 100.0 * share);
    ensure(stage.runs(), "the process ended")?;
    ensure(share < 0.01 && lines < 20, format!("{share} of a CPU, {lines} lines"))
}

async fn odd_headers(workers: u32) -> Tested {
    let stage = Stage::start(Probe::Serve, workers, Fake::default(), &[]).await?;
    let contexts = [r#"{"custom":{"n":1}}"#, r#"{"custom":null}"#, "warm", "null", "[1", r#"{"client":{}}"#];
    for (number, odd) in (0u32..).zip(contexts.iter().cycle().take(2 * contexts.len() * workers as usize)) {
        let id = format!("odd-{number}");
        let headers = [
            ("lambda-runtime-client-context", *odd),
            ("lambda-runtime-cognito-identity", *odd),
            ("lambda-runtime-deadline-ms", *odd),
            ("lambda-runtime-trace-id", *odd),
            ("lambda-runtime-invocation-id", *odd),
        ];
        stage.api.event(&id, &headers, &Do::Context.to_string());
        let posted = stage.api.posted(&id).await;
        let context: Value = serde_json::from_str(&posted.text())?;
        ensure(context["client_context"] == json!(null) && context["deadline"] == 0, context.to_string())?;
        ensure(posted.header("lambda-runtime-invocation-id") == Some(odd), format!("{posted:?}"))?;
    }
    let ignored = stage.output.with("code").iter().filter(|line| find(line, "code") == "header_ignored").count();
    ensure(ignored == 3 && stage.output.with("endpoint").is_empty(), format!("{:?}", stage.output.lines()))
}
