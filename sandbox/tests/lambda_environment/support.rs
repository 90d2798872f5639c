//! Shared by the tests.

use lambda_lifecycle_sandbox::{
    Event, FunctionResponse, Invoke,
    function::{EventKind, Function, FunctionBuilder, LogLine, Output, TimelineEvent},
    wait::{patience, within},
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{fmt::Display, future::Future, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The result of a test: `?` on anything that can be printed.
pub(crate) type Outcome = Result<(), Failed>;

pub(crate) fn trial<F>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Outcome>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(within("the end of the test", test()))?
    })
}

/// This binary as a function, with plenty of time: an invocation that is to time out is given [`SHORT`].
pub(crate) fn probe(mode: &str) -> FunctionBuilder {
    Function::builder("probe", std::env::current_exe().unwrap_or_default()).env("PROBE", mode).timeout(patience())
}

/// Of an invocation that is to time out.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// One that times out.
pub(crate) async fn invoke_overdue(function: &Function, payload: Value) -> FunctionResponse {
    function.invoke(overdue(&payload)).await
}

pub(crate) fn overdue(payload: &Value) -> Event {
    Event { timeout: Some(SHORT), ..event(payload) }
}

pub(crate) fn event(payload: &Value) -> Event {
    Event { payload: payload.to_string().into(), ..Event::default() }
}

pub(crate) async fn invoke(function: &Function, payload: Value) -> FunctionResponse {
    function.invoke(event(&payload)).await
}

/// The JSON of the response.
pub(crate) fn value(answer: &FunctionResponse) -> Result<Value, Failed> {
    let body = answer.result.as_ref().map_err(|failure| Failed::from(failure.to_string()))?;
    Ok(serde_json::from_slice(body)?)
}

pub(crate) fn ensure(holds: bool, what: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_string().into()) }
}

#[expect(clippy::needless_pass_by_value, reason = "both sides are mostly temporaries")]
pub(crate) fn ensure_eq<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(left: T, right: U) -> Outcome {
    if left == right { Ok(()) } else { Err(format!("got      {left:?}\nexpected {right:?}").into()) }
}

/// One word for each event, so that orders can be compared.
pub(crate) fn words(timeline: &[TimelineEvent]) -> Vec<String> {
    let word = |event: &TimelineEvent| match &event.kind {
        EventKind::Spawned { suppressed, .. } => if *suppressed { "Respawned" } else { "Spawned" }.to_owned(),
        EventKind::ResponseIn { status, .. } => format!("ResponseIn{status}"),
        kind => format!("{kind:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned(),
    };
    timeline.iter().map(word).collect()
}

pub(crate) fn ensure_timeline(function: &Function, expected: &str) -> Outcome {
    ensure_eq(words(&function.timeline()).join(" "), expected)
}

/// Whether the kernel says that a process is stopped.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

/// A place where the function waits until the test lets it go on.
pub(crate) struct Gate(TcpListener);

/// The function is waiting.
pub(crate) struct Held(TcpStream);

impl Gate {
    pub(crate) async fn new() -> Result<Self, Failed> {
        Ok(Self(TcpListener::bind("127.0.0.1:0").await?))
    }

    pub(crate) fn address(&self) -> Result<String, Failed> {
        Ok(self.0.local_addr()?.to_string())
    }

    /// Waits until the function has come to the gate.
    pub(crate) async fn held(&self) -> Result<Held, Failed> {
        Ok(Held(self.0.accept().await?.0))
    }
}

impl Held {
    pub(crate) fn release(self) {
        drop(self);
    }

    /// Lets the function go on and keeps the connection, by which the end of the process is seen.
    pub(crate) async fn keep_open(mut self) -> Result<Self, Failed> {
        self.0.write_all(b"g").await?;
        Ok(self)
    }

    /// Waits until the process that waits here is gone.
    pub(crate) async fn gone(mut self) {
        let mut nothing = [0];
        while !matches!(self.0.read(&mut nothing).await, Ok(0) | Err(_)) {}
    }
}

/// The rest of the first line that a function prints with this prefix. Waits for the line.
pub(crate) async fn printed(function: &Function, prefix: &str) -> String {
    let fits = |line: &LogLine| line.output != Output::Platform && line.text.starts_with(prefix);
    let line = function.subscribe_logs().from_start().find(fits).await;
    line.text[prefix.len()..].trim().to_owned()
}

pub(crate) fn echo(text: &str) -> Value {
    json!({ "answer": text })
}

/// Polls once.
pub(crate) async fn futures_pending(mut future: std::pin::Pin<&mut (impl Future + ?Sized)>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}
