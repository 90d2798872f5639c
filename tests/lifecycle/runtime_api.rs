//! Runtime APIs other than the sandbox's: emulators without an Extensions API, and ones that are missing, late or refuse.

use crate::{
    behavior::Probe,
    support::{Tested, code, ensure, test, this_program, within},
};
use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use libtest_mimic::{Failed, Trial};
use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
    sync::Notify,
};

pub(crate) fn tests() -> Vec<Trial> {
    [(404, "an Extensions API that is missing"), (403, "an Extensions API that refuses")]
        .into_iter()
        .map(|(status, name)| test(format!("{name}: the function runs on, with one warning"), move || serves_without(status)))
        .chain([
            test("the loop ends with an error: hooks run, exporters are flushed, the error is logged and returned", loop_ends),
            test("a shutdown hook that blocks its thread does not keep the process from ending", hook_blocks),
            test("a Runtime API that refuses events: the error is typed and names the cause", refuses),
            test("a Runtime API that comes late is waited for", comes_late),
            test("a missing Runtime API says what to do", missing_runtime_api),
        ])
        .collect()
}

/// A function behind the Runtime API at `address`.
fn function(probe: Probe, address: &str) -> Command {
    let mut function = Command::new(this_program());
    function
        .env_clear()
        .env("PROBE", probe.to_string())
        .envs([("AWS_LAMBDA_FUNCTION_NAME", "f"), ("AWS_LAMBDA_FUNCTION_VERSION", "1")])
        .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"), ("AWS_LAMBDA_RUNTIME_API", address)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    function
}

async fn missing_runtime_api() -> Tested {
    for probe in [Probe::Value, Probe::InitWorks, Probe::Http] {
        let output = tokio::process::Command::new(this_program()).env_clear().env("PROBE", probe.to_string()).output().await?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure(output.status.code() == Some(1), format!("{probe}: {:?}", output.status))?;
        ensure(text.contains("AWS_LAMBDA_RUNTIME_API is not set") && text.contains("cargo lambda watch"), text.clone())?;
        ensure(!text.contains("panicked"), text)?;
    }
    Ok(())
}

async fn loop_ends() -> Tested {
    let router = Router::new().fallback(any(async || StatusCode::INTERNAL_SERVER_ERROR));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    // Of a restored environment the first request is the only one whose refusal ends the loop at once.
    let output = function(Probe::Shutdown, &address).env("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start").output();
    let output = within("the end of the process", output).await??;
    let said = String::from_utf8(output.stdout)?;
    ensure(output.status.code() == Some(1), format!("{:?}", output.status))?;
    ensure(said.contains("hook one") && said.contains("hook two"), format!("the hooks did not run: {said}"))?;
    let logged = said.lines().filter(|line| code(line).as_deref() == Some("serving_failed") && line.contains("500"));
    ensure(logged.count() == 1, format!("the cause is not logged once: {said}"))?;
    ensure(said.contains("no more events are served"), format!("the error is not returned: {said}"))
}

async fn hook_blocks() -> Tested {
    let asked = Arc::new(Notify::new());
    let told = Arc::clone(&asked);
    let next = async move || {
        told.notify_one();
        std::future::pending::<StatusCode>().await
    };
    let router = Router::new().route("/2018-06-01/runtime/invocation/next", get(next));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let function = function(Probe::BlockingShutdown, &address).spawn()?;
    within("the first poll", asked.notified()).await?;
    let pid = function.id().ok_or("no process")?.to_string();
    ensure(Command::new("kill").args(["-TERM", &pid]).status().await?.success(), "kill failed")?;
    // Nothing kills it here, so it would sleep as long as its hook.
    let output = within("the end of the process", function.wait_with_output()).await??;
    ensure(output.status.code() == Some(0), format!("{output:?}"))
}

async fn refuses() -> Tested {
    let router = Router::new().fallback(any(async || (StatusCode::FORBIDDEN, "wrong state")));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let output = within("the end of the process", function(Probe::Value, &address).output()).await??;
    let (said, error) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure(output.status.code() == Some(1) && said.contains("no more events are served"), format!("{said}{error}"))?;
    ensure(error.contains("403") && error.contains("wrong state"), error)
}

async fn comes_late() -> Tested {
    // No process listens at a port that was just released.
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let mut function = function(Probe::Value, &address.to_string()).spawn()?;
    let mut lines = BufReader::new(function.stdout.take().ok_or("no output")?).lines();
    let refused = async {
        while code(&lines.next_line().await?.ok_or("the function ended")?).as_deref() != Some("runtime_api_unreachable") {}
        Ok::<_, Failed>(())
    };
    within("a refused connection", refused).await??;
    let responded = Arc::new(Notify::new());
    let told = Arc::clone(&responded);
    let events = Arc::<AtomicU32>::default();
    let response = async move || {
        told.notify_one();
        StatusCode::ACCEPTED
    };
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(move || next(Arc::clone(&events))))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response));
    let listener = TcpListener::bind(address).await?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    within("a response", responded.notified()).await?;
    Ok(function.start_kill()?)
}

/// A function with shutdown hooks, behind a Runtime API of three events, a path prefix in its address and a deadline in 1970, as
/// `cargo lambda watch` has them.
async fn serves_without(status: u16) -> Tested {
    let refused = StatusCode::from_u16(status)?;
    let (events, answers, all_answered) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let done = Arc::clone(&all_answered);
    let router = Router::new()
        .route("/.rt/2018-06-01/runtime/invocation/next", get(move || next(Arc::clone(&events))))
        .route(
            "/.rt/2018-06-01/runtime/invocation/{id}/response",
            post(async move || {
                if answers.fetch_add(1, Ordering::Relaxed) == 2 {
                    done.notify_one();
                }
                StatusCode::ACCEPTED
            }),
        )
        .fallback(any(async move || refused));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}/.rt", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let mut function = function(Probe::Shutdown, &address).spawn()?;
    within("three answers", all_answered.notified()).await?;
    function.start_kill()?;
    let mut lines = BufReader::new(function.stdout.take().ok_or("no output")?).lines();
    let mut warnings = 0;
    while let Some(line) = lines.next_line().await? {
        warnings += u32::from(code(&line).as_deref() == Some("extension_refused") && line.contains(&status.to_string()));
    }
    ensure(warnings == 1, format!("{warnings} warnings"))
}

async fn next(events: Arc<AtomicU32>) -> Response {
    let id = events.fetch_add(1, Ordering::Relaxed);
    if id >= 3 {
        std::future::pending::<()>().await;
    }
    let headers = [
        ("lambda-runtime-aws-request-id", format!("event-{id}")),
        ("lambda-runtime-deadline-ms", "600000".to_owned()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:000000000000:function:f".to_owned()),
    ];
    (headers, "{}").into_response()
}
