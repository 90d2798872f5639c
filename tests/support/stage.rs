//! A function with a sandbox and an X-Ray daemon, and queries about them.

use super::{Tested, XRay, ensure, patience, within};
use lambda_lifecycle_sandbox::{
    Event, Failure, FunctionResponse, Invoke,
    function::{EventKind, Function, FunctionBuilder, Output, TimelineEvent, TraceMode},
    xray::Document,
};
use libtest_mimic::Failed;
use serde_json::Value;
use std::{
    cell::RefCell,
    fmt::{Debug, Display},
    future::Future,
    ops::Deref,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Milliseconds. Invocations that are cut off wait for most of it, and hooks then have two seconds on a busy machine.
const SHUTDOWN_BUDGET: &str = "9000";

thread_local! {
    /// The functions of this thread's test, which a failed test shows.
    static FUNCTIONS: RefCell<Vec<Function>> = const { RefCell::new(Vec::new()) };
}

/// Adds the states of this test's functions to a failure, unless a wait has already added them.
pub(super) fn with_states(failed: Failed) -> Failed {
    let (message, state) = (failed.message().unwrap_or_default(), lambda_lifecycle_sandbox::wait::state());
    if state.lines().next().is_some_and(|first| message.lines().any(|line| line == first)) {
        return failed;
    }
    format!("{message}\n{state}").into()
}

/// The functions of this thread's test, in the order in which they were built.
pub(crate) fn functions() -> Vec<Function> {
    FUNCTIONS.with_borrow(Vec::clone)
}

pub(super) fn forget() {
    // The functions must not be dropped while they are borrowed.
    drop(FUNCTIONS.take());
}

pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().expect("a running program has a path")
}

/// Sends a signal to the process of the environment that was started last.
pub(crate) fn kill(function: &Function, signal: &str) -> Tested {
    let pid = function.pid().ok_or("no process")?;
    ensure(std::process::Command::new("kill").args([signal, &pid.to_string()]).status()?.success(), "kill failed")
}

/// A function with its X-Ray daemon.
pub(crate) struct Stage {
    pub(crate) function: Function,
    pub(crate) xray: XRay,
}

impl Deref for Stage {
    type Target = XRay;

    fn deref(&self) -> &XRay {
        &self.xray
    }
}

impl Stage {
    /// The function `probe` of this program, as [`Stage::function`] describes it.
    pub(crate) async fn new(probe: impl Debug, mode: TraceMode) -> Result<Self, Failed> {
        Self::with(probe, mode, |function| function).await
    }

    pub(crate) async fn with(
        probe: impl Debug,
        mode: TraceMode,
        change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
    ) -> Result<Self, Failed> {
        Self::of_program(this_program(), |function| change(function.env("PROBE", format!("{probe:?}")).trace_mode(mode))).await
    }

    pub(crate) async fn of_program(
        program: PathBuf,
        change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
    ) -> Result<Self, Failed> {
        let xray = XRay::start().await?;
        let function = Self::function("probe", program, &xray);
        let function = Self::build(change(function)).await;
        Ok(Self { function, xray })
    }

    /// A function with plenty of time. A test in which a deadline passes gives its invocation less, with [`Stage::invoke_within`];
    /// one about the kill sets `kill_delay` to zero, or ends the time itself, with `Function::expire`.
    pub(crate) fn function(name: &str, program: PathBuf, xray: &XRay) -> FunctionBuilder {
        Self::without_daemon(name, program, xray).xray(xray.daemon.address())
    }

    /// The same without a daemon: only Lambda's own segments are stored.
    pub(crate) fn without_daemon(name: &str, program: PathBuf, xray: &XRay) -> FunctionBuilder {
        Function::builder(name, program)
            .trace_store(xray.traces.clone())
            .timeout(patience())
            .queue_when_busy()
            .kill_delay(patience())
            .exit_grace(patience())
            .env("LAMBDA_LIFECYCLE_SHUTDOWN_BUDGET", SHUTDOWN_BUDGET)
            .log_format("JSON")
    }

    /// Builds a function that is shown if the test fails.
    pub(crate) async fn build(function: FunctionBuilder) -> Function {
        let function = function.build().await;
        FUNCTIONS.with_borrow_mut(|functions| functions.push(function.clone()));
        function
    }

    pub(crate) async fn invoke(&self, payload: impl Into<Value>) -> Result<FunctionResponse, Failed> {
        self.invoke_event(Event { payload: payload.into().to_string().into(), ..Event::default() }).await
    }

    /// An invocation with a deadline that passes.
    pub(crate) async fn invoke_within(&self, timeout: Duration, payload: impl Into<Value>) -> Result<FunctionResponse, Failed> {
        self.invoke_event(Event { payload: payload.into().to_string().into(), timeout: Some(timeout), ..Event::default() }).await
    }

    pub(crate) async fn invoke_raw(&self, payload: impl Into<bytes::Bytes>) -> Result<FunctionResponse, Failed> {
        self.invoke_event(Event { payload: payload.into(), ..Event::default() }).await
    }

    pub(crate) async fn invoke_event(&self, event: Event) -> Result<FunctionResponse, Failed> {
        let what = format!("the response to {}", String::from_utf8_lossy(&event.payload[..event.payload.len().min(100)]));
        // The wait lasts at most until its deadline, when it is killed.
        Ok(within(what, self.function.invoke(event)).await?)
    }

    /// An invocation that runs while the test continues.
    pub(crate) fn begin(&self, event: Event) -> Begun {
        let function = self.function.clone();
        Begun(tokio::spawn(async move { function.invoke(event).await }))
    }

    /// One whose deadline passes while the test continues.
    pub(crate) fn begin_within(&self, timeout: Duration, payload: impl Into<Value>) -> Begun {
        self.begin(Event { payload: payload.into().to_string().into(), timeout: Some(timeout), ..Event::default() })
    }

    /// Waits for an event of the function's timeline, starting with its first.
    pub(crate) async fn happened(&self, what: &str, fits: impl Fn(&TimelineEvent) -> bool) -> Result<TimelineEvent, Failed> {
        self.happened_often(what, 1, fits).await
    }

    /// Waits for the last of this number of events of the function's timeline, starting with its first.
    pub(crate) async fn happened_often(
        &self,
        what: &str,
        count: usize,
        fits: impl Fn(&TimelineEvent) -> bool,
    ) -> Result<TimelineEvent, Failed> {
        let mut events = self.function.subscribe().from_start();
        let last = async {
            for _ in 1..count {
                events.find(&fits).await;
            }
            events.find(&fits).await
        };
        Ok(within(format!("{what}, {count} times"), last).await?)
    }

    /// Waits for the end of the process.
    pub(crate) async fn exited(&self) -> Result<EventKind, Failed> {
        Ok(self.happened("the end of the process", |event| matches!(event.kind, EventKind::Exited { .. })).await?.kind)
    }

    /// Waits for this number of log lines of the function with `words`, and returns the last of them.
    pub(crate) async fn wait_for_logs(&self, words: &str, count: usize) -> Result<String, Failed> {
        let mut logs = self.function.subscribe_logs().from_start();
        let waiting = async {
            let mut last = String::new();
            for _ in 0..count {
                last = logs.find(|line| line.output != Output::Platform && line.text.contains(words)).await.text;
            }
            last
        };
        Ok(within(format!("{count} log lines with {words:?}"), waiting).await?)
    }

    /// Waits until the function is frozen and everything that it has sent is stored.
    pub(crate) async fn settle(&self) -> Tested {
        within("the function to be frozen", self.function.wait_idle()).await?;
        self.xray.settle().await
    }

    /// The library's own document of an invocation, once it is finished. On Managed Instances nothing else waits for it.
    pub(crate) async fn finished_document(&self, answer: &FunctionResponse) -> Result<Arc<Document>, Failed> {
        let finished = |document: &Document| document.trace_id == answer.trace_id && document.annotation("outcome").is_some();
        self.traces.wait_for(1, finished).await?;
        self.document(answer).await
    }

    /// The library's own document of an invocation, once the function is frozen.
    pub(crate) async fn document(&self, answer: &FunctionResponse) -> Result<Arc<Document>, Failed> {
        self.settle().await?;
        self.documents_are_valid()?;
        self.of_invocation(answer)
    }

    /// The number of processes that the function has used so far.
    pub(crate) fn processes(&self) -> usize {
        self.function.timeline().iter().filter(|event| matches!(event.kind, EventKind::Spawned { .. })).count()
    }

    /// Checks that it keeps serving in the same process.
    pub(crate) async fn lives(&self) -> Tested {
        let again = self.invoke(serde_json::json!({})).await?;
        ensure(again.result.is_ok() && self.processes() == 1, format!("the process did not live: {:?}", again.result))
    }

    /// The library's own log lines that have this field, as JSON.
    pub(crate) fn reported(&self, field: &str) -> Vec<Value> {
        let own = self.logged("\"target\":\"lambda_lifecycle").into_iter();
        let lines = own.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        lines.filter(|line| line["target"].as_str().is_some_and(is_library) && !line[field].is_null()).collect()
    }

    /// The lines in which the field has this value.
    pub(crate) fn reported_as(&self, field: &str, value: &str) -> Vec<Value> {
        self.reported(field).into_iter().filter(|line| line[field] == value).collect()
    }

    /// The library's warnings and errors, regardless of the subscriber that writes them.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.logged("").into_iter().filter(|line| is_problem(line)).collect()
    }

    /// Their codes, in the order of the log.
    pub(crate) fn codes(&self) -> Vec<String> {
        self.problems().iter().filter_map(|line| code(line)).collect()
    }

    /// Waits for this number of the library's lines with this code.
    pub(crate) async fn wait_for_code(&self, wanted: &str, count: usize) -> Tested {
        let mut logs = self.function.subscribe_logs().from_start();
        let waiting = async {
            for _ in 0..count {
                logs.find(|line| line.output != Output::Platform && code(&line.text).as_deref() == Some(wanted)).await;
            }
        };
        Ok(within(format!("{count} log lines with the code {wanted}"), waiting).await?)
    }

    /// Waits for this number of the library's lines with this field.
    pub(crate) async fn wait_for_reports(&self, field: &str, count: usize) -> Tested {
        let mut logs = self.function.subscribe_logs().from_start();
        let has_it = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["target"].as_str().is_some_and(is_library) && !line[field].is_null()
        };
        let waiting = async {
            for _ in 0..count {
                logs.find(|line| line.output != Output::Platform && has_it(&line.text)).await;
            }
        };
        Ok(within(format!("{count} log lines of the library with the field {field:?}"), waiting).await?)
    }

    /// Log lines of the function with `words`.
    pub(crate) fn logged(&self, words: &str) -> Vec<String> {
        let own = self.function.logs().into_iter().filter(|line| line.output != Output::Platform);
        own.map(|line| line.text).filter(|text| text.contains(words)).collect()
    }
}

fn is_problem(line: &str) -> bool {
    match serde_json::from_str::<Value>(line) {
        Ok(line) => line["target"].as_str().is_some_and(is_library) && (line["level"] == "WARN" || line["level"] == "ERROR"),
        // A line of `fmt::layer()`.
        Err(_) => {
            // The spans are between the two.
            let is_severe = line.split_whitespace().take(3).any(|word| matches!(word, "WARN" | "ERROR"));
            is_severe && line.split_whitespace().any(|word| word.strip_suffix(':').is_some_and(is_library))
        }
    }
}

/// The code of one of the library's lines, regardless of the subscriber that writes it.
pub(crate) fn code(line: &str) -> Option<String> {
    if let Ok(line) = serde_json::from_str::<Value>(line) {
        // `fmt::layer().json()` nests the fields of an event.
        return line["code"].as_str().or(line["fields"]["code"].as_str()).map(str::to_owned);
    }
    // In text, `fmt::layer()` writes the value in quotes.
    line.split_whitespace().find_map(|word| word.strip_prefix("code=")).map(|code| code.trim_matches('"').to_owned())
}

fn is_library(target: &str) -> bool {
    target == "lambda_lifecycle"
}

/// An invocation in progress.
pub(crate) struct Begun(tokio::task::JoinHandle<FunctionResponse>);

impl Begun {
    pub(crate) async fn answer(self, what: impl Display) -> Result<FunctionResponse, Failed> {
        Ok(within(format!("the response of {what}"), self.0).await??)
    }
}

/// The error of a failed invocation.
pub(crate) fn function_error(answer: &FunctionResponse) -> Result<(&str, &str), Failed> {
    match &answer.result {
        Err(Failure::Function { error_type, error_message }) => Ok((error_type, error_message)),
        other => Err(format!("expected a function error, got {other:?}").into()),
    }
}

/// The JSON of a successful response.
pub(crate) fn value(answer: &FunctionResponse) -> Result<Value, Failed> {
    Ok(serde_json::from_slice(answer.result.as_ref().map_err(ToString::to_string)?)?)
}

/// Awaits several futures concurrently.
pub(crate) async fn all<T>(futures: impl IntoIterator<Item = impl Future<Output = Result<T, Failed>>>) -> Result<Vec<T>, Failed> {
    futures_util::future::join_all(futures).await.into_iter().collect()
}
