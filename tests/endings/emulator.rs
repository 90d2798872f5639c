//! Elsewhere than in the sandbox: emulators that have a Runtime API and little else.

use crate::stage::{Tested, ensure, test, this_program};
use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use libtest_mimic::Trial;
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
        .collect()
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

    let mut function = Command::new(this_program())
        .env_clear()
        .envs([("PROBE", "shutdown"), ("AWS_LAMBDA_FUNCTION_NAME", "f"), ("AWS_LAMBDA_FUNCTION_VERSION", "1")])
        .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"), ("AWS_LAMBDA_RUNTIME_API", &address)])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    all_answered.notified().await;
    function.start_kill()?;
    let mut lines = BufReader::new(function.stdout.take().ok_or("no output")?).lines();
    let mut warnings = 0;
    while let Some(line) = lines.next_line().await? {
        warnings += u32::from(line.contains("no extension could be registered") && line.contains(&status.to_string()));
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
