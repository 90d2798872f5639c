//! Every outcome in every kind of environment. The table in `docs/outcomes.md` has a line for each, and is compared with these
//! cases.

use crate::{
    behavior::{Do, Exporting, Probe},
    delivery,
    kind::{KINDS, Kind, LATER, Loop, SOON, STREAMING, UNTIL_KILLED, long_grace, long_reserve},
    metrics,
    support::{Begun, Stage, Tested, all, ensure, function_error, kill, patience, test, within},
};
use futures_util::{FutureExt, future::BoxFuture};
use lambda_lifecycle_sandbox::{
    Event, Failure, FunctionResponse,
    control_groups::ControlGroups,
    function::{EventKind, Exit, FunctionBuilder},
    xray::Document,
};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use std::{fmt::Display, time::Duration};

type Body = fn(Kind) -> BoxFuture<'static, Tested>;

/// The outcomes, with their names in the documentation.
const CASES: [(&str, Body); 30] = [
    ("response", |kind| Case::new(Probe::Value, Do::Nothing).answered("responded").shown(kind)),
    ("error", |kind| Case::new(Probe::Value, Do::Fail).refused("Error", "no stock", "failed").shown(kind)),
    ("panic in the handler", |kind| {
        Case::new(Probe::Value, Do::Panic).refused("Lifecycle.Panic", "fuse was lit", "panicked").shown(kind)
    }),
    ("panic in the constructor of the future", |kind| {
        Case::new(Probe::Constructor, Do::Panic).refused("Lifecycle.Panic", "fuse was lit", "panicked").shown(kind)
    }),
    ("undecodable payload", |kind| {
        Case::new(Probe::Value, r#"{"do":"#)
            .refused("Lifecycle.UndecodableEvent", "line 1 column 6", "undecodable_event")
            .shown(kind)
    }),
    ("panic in `Deserialize`", |kind| {
        Case::new(Probe::Deserialize, Do::Panic).refused("Lifecycle.Panic", "fuse was lit", "panicked").shown(kind)
    }),
    ("panic in `Serialize`", |kind| {
        Case::new(Probe::Serialize, Do::Panic).refused("Lifecycle.Panic", "fuse was lit", "panicked").shown(kind)
    }),
    ("error in `Serialize`", |kind| {
        let case = Case::new(Probe::Serialize, Do::Fail);
        case.refused("Lifecycle.UnencodableResponse", "not today", "unencodable_response").shown(kind)
    }),
    ("response too large", |kind| {
        Case::new(Probe::Value, Do::Big).refused("Lifecycle.ResponseTooLarge", "stream it", "response_too_large").shown(kind)
    }),
    ("deadline while awaiting", |kind| {
        let case = Case::new(Probe::Value, Do::Hang);
        case.within(SOON, long_reserve)
            .refused("Lifecycle.DeadlineExceeded", "raise the timeout", "deadline_exceeded")
            .shown(kind)
    }),
    ("deadline while blocking", |kind| deadline_while_blocking(kind).boxed()),
    ("deadline with cleanup", |kind| {
        Case::new(Probe::Value, Do::Stop).within(SOON, long_grace).answered("responded").shown(kind)
    }),
    ("deadline in a stream", |kind| {
        Case::new(Probe::Stream, Do::Hang)
            .within(STREAMING, long_reserve)
            .broken("Lifecycle.DeadlineExceeded", "raise the timeout", "deadline_exceeded")
            .shown(kind)
    }),
    ("error in a stream", |kind| {
        Case::new(Probe::Stream, Do::Fail).broken("Lifecycle.StreamBroken", "pipe burst", "stream_broken").shown(kind)
    }),
    ("panic in a stream", |kind| {
        Case::new(Probe::Stream, Do::Panic).broken("Lifecycle.Panic", "fuse was lit", "panicked").shown(kind)
    }),
    ("response refused as too large", |kind| delivery::too_large(kind).boxed()),
    ("late response", |kind| delivery::late(kind).boxed()),
    ("refused response", |kind| delivery::otherwise(kind).boxed()),
    ("broken connection", |kind| delivery::broken(kind).boxed()),
    ("`process::abort`", |kind| abort(kind).boxed()),
    ("memory used up", |kind| out_of_memory(kind).boxed()),
    ("kill by the platform", |kind| kill_by_the_platform(kind).boxed()),
    ("SIGTERM while idle", |kind| sigterm_while_idle(kind).boxed()),
    ("SIGTERM while busy", |kind| sigterm_while_busy(kind).boxed()),
    ("hung background work", |kind| hung_work(kind).boxed()),
    ("panicking hook", |kind| panicking_hook(kind).boxed()),
    ("hung exporter", |kind| hung_exporter(kind).boxed()),
    ("absent daemon", |kind| absent_daemon(kind).boxed()),
    ("init failure", |kind| init(kind, Probe::InitFails, "&str", "init of database failed: connection refused").boxed()),
    ("init over budget", |kind| {
        init(kind, Probe::InitHangs, "Lifecycle.InitOverBudget", "init of database was not done").boxed()
    }),
];

/// Outcomes of the library's loop only: shutdown, and the delivery of a response.
const OURS_ALONE: [&str; 8] = [
    "response refused as too large",
    "late response",
    "refused response",
    "broken connection",
    "SIGTERM while idle",
    "SIGTERM while busy",
    "init failure",
    "init over budget",
];

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![Trial::test("the documented outcomes are the tested ones", documented_is_tested)];
    for (name, body) in CASES {
        for kind in KINDS {
            if !OURS_ALONE.contains(&name) {
                let kind = kind.under(Loop::LambdaRuntime);
                tests.push(test(format!("{name} × {} × lambda_runtime's loop", kind.name), move || measured(name, body, kind)));
            }
            tests.push(test(format!("{name} × {}", kind.name), move || measured(name, body, kind)));
        }
    }
    tests
}

/// Produces an outcome, and checks that the metrics of its functions have it too.
async fn measured(name: &'static str, body: Body, kind: Kind) -> Tested {
    body(kind.clone()).await?;
    metrics::tell_of(name, &kind).await
}

fn documented_is_tested() -> Tested {
    let table = include_str!("../../docs/outcomes.md");
    let rows = table.lines().skip_while(|line| !line.starts_with("| outcome |")).map_while(|line| line.strip_prefix('|'));
    let rows: Vec<&str> =
        rows.filter_map(|row| row.split('|').next()).map(str::trim).filter(|name| !name.starts_with("--")).collect();
    let tested: Vec<&str> = std::iter::once("outcome").chain(CASES.iter().map(|(name, _)| *name)).collect();
    ensure(rows == tested, format!("the table says {rows:?}, the tests say {tested:?}"))
}

/// The head of a streamed response, and three chunks.
const STREAMED: usize =
    r#"{"statusCode":200,"headers":{"content-type":"application/octet-stream"},"cookies":[]}chunk 0;chunk 1;chunk 2;"#.len() + 8;

/// An outcome after which the same process keeps serving.
struct Case {
    probe: Probe,
    event: String,
    /// The error type, if an error is posted instead of a response.
    error_type: Option<&'static str>,
    /// A part of the error's message.
    message: Option<&'static str>,
    outcome: &'static str,
    streamed: bool,
    /// The time of the invocation, if its deadline passes.
    time: Option<Duration>,
    change: fn(FunctionBuilder) -> FunctionBuilder,
}

impl Case {
    fn new(probe: Probe, event: impl Display) -> Self {
        Self {
            probe,
            event: event.to_string(),
            error_type: None,
            message: None,
            outcome: "",
            streamed: false,
            time: None,
            change: |function| function,
        }
    }

    fn within(self, time: Duration, change: fn(FunctionBuilder) -> FunctionBuilder) -> Self {
        Self { time: Some(time), change, ..self }
    }

    fn answered(self, outcome: &'static str) -> Self {
        Self { outcome, ..self }
    }

    fn refused(self, error_type: &'static str, message: &'static str, outcome: &'static str) -> Self {
        Self { error_type: Some(error_type), message: Some(message), outcome, ..self }
    }

    fn broken(self, error_type: &'static str, message: &'static str, outcome: &'static str) -> Self {
        Self { streamed: true, ..self.refused(error_type, message, outcome) }
    }

    fn shown(self, kind: Kind) -> BoxFuture<'static, Tested> {
        async move { self.show(kind).await }.boxed()
    }

    /// As many concurrent invocations as the environment accepts, then as many ordinary ones, which must find the same process in
    /// order.
    async fn show(&self, kind: Kind) -> Tested {
        let stage = kind.stage(self.probe, self.change).await?;
        for answer in &at_once_within(&stage, &kind, self.time, &self.event).await? {
            self.check_answer(answer, &stage, &kind)?;
            if kind.is_traced() {
                let document = stage.finished_document(answer).await?;
                self.check_document(&document)?;
                // An instance that serves many at once was created ahead of them.
                let cold = document.annotations.get("cold_start") == Some(&json!(true));
                ensure(cold != kind.is_managed(), format!("cold_start is {cold}"))?;
            }
        }
        stage.settle().await?;
        silent_unless_traced(&stage, &kind)?;
        let reported = stage.reported("outcome");
        let expected = if self.message.is_some() { kind.at_once } else { 0 };
        let fit = reported.iter().all(|line| line["level"] == "ERROR" && line["outcome"] == self.outcome);
        ensure(fit && reported.len() == expected, format!("{reported:?} instead of {expected} of {}", self.outcome))?;
        serves_on(&stage, &kind, 1).await
    }

    fn check_answer(&self, answer: &FunctionResponse, stage: &Stage, kind: &Kind) -> Tested {
        match self.error_type {
            Some(error_type) if !self.streamed => {
                let (posted, message) = function_error(answer)?;
                let told = self.message.is_some_and(|part| message.contains(part));
                ensure(posted == error_type && told, format!("{posted}: {message}"))
            }
            // lambda_runtime's loop cannot report a broken stream to the caller.
            Some(_) if kind.served_by == Loop::LambdaRuntime => {
                let whole = answer.result.as_ref().is_ok_and(|body| body.ends_with(b"chunk 0;chunk 1;chunk 2;"));
                ensure(answer.streamed && whole, format!("{answer:?}"))
            }
            // The part before the break was sent, and nothing besides the body. The trailer has the reason.
            Some(error_type) => {
                let (posted, message) = function_error(answer)?;
                let told = self.message.is_some_and(|part| message.contains(part));
                ensure(answer.streamed && posted == error_type && told, format!("{posted}: {message}"))?;
                let streamed = stage.function.timeline().into_iter().find_map(|event| match event.kind {
                    EventKind::StreamEnded { bytes, error_type } if event.request_id.as_deref() == Some(&answer.request_id) => {
                        Some((bytes, error_type))
                    }
                    _ => None,
                });
                ensure(streamed == Some((STREAMED, Some(error_type.to_owned()))), format!("{streamed:?}"))
            }
            None => ensure(answer.result.is_ok(), format!("{:?}", answer.result)),
        }
    }

    fn check_document(&self, document: &Document) -> Tested {
        ensure(document.annotation("outcome") == Some(self.outcome), format!("{:?}", document.annotations))?;
        ensure(document.fault == self.message.is_some(), format!("fault: {}", document.fault))?;
        match self.message {
            Some(part) => ensure(tells(document, part), format!("{:?}", document.exceptions())),
            None => ensure(document.exceptions().is_empty(), format!("{:?}", document.exceptions())),
        }
    }
}

fn tells(document: &Document, part: &str) -> bool {
    document.exceptions().iter().any(|exception| exception.message.as_deref().is_some_and(|message| message.contains(part)))
}

async fn at_once(stage: &Stage, kind: &Kind, event: Do) -> Result<Vec<FunctionResponse>, Failed> {
    at_once_within(stage, kind, None, event).await
}

async fn at_once_within(
    stage: &Stage,
    kind: &Kind,
    timeout: Option<Duration>,
    event: impl Display,
) -> Result<Vec<FunctionResponse>, Failed> {
    let payload = event.to_string();
    let event = || Event { payload: payload.clone().into(), timeout, ..Event::default() };
    all((0..kind.at_once).map(|_| stage.invoke_event(event()))).await
}

fn silent_unless_traced(stage: &Stage, kind: &Kind) -> Tested {
    ensure(kind.is_traced() || stage.traces.datagrams().is_empty(), "an invocation that is not sampled sent documents")
}

/// The environment can serve the next events.
async fn serves_on(stage: &Stage, kind: &Kind, processes: usize) -> Tested {
    for again in at_once(stage, kind, Do::Nothing).await? {
        ensure(again.result.is_ok(), format!("an invocation after it: {:?}", again.result))?;
    }
    stage.settle().await?;
    stage.documents_are_valid()?;
    ensure(stage.processes() == processes, format!("{} processes", stage.processes()))
}

/// Invocations in progress that wait forever.
async fn hanging(stage: &Stage, kind: &Kind) -> Result<Vec<Begun>, Failed> {
    let event = || Event { payload: Do::Hang.to_string().into(), ..Event::default() };
    let hanging: Vec<Begun> = (0..kind.at_once).map(|_| stage.begin(event())).collect();
    stage.happened_often("an event out", kind.at_once, |event| matches!(event.kind, EventKind::EventOut { .. })).await?;
    if kind.is_traced() {
        let unfinished = |document: &Document| document.in_progress && document.annotation("trigger").is_some();
        stage.traces.wait_for(kind.at_once, unfinished).await?;
    }
    Ok(hanging)
}

async fn deadline_while_blocking(kind: Kind) -> Tested {
    let stage = kind.stage(Probe::Value, |function| function.kill_delay(patience())).await?;
    // Only one: on Managed Instances more would block every thread, and with it the responses to the others.
    let event = Event { payload: Do::Block.to_string().into(), timeout: Some(UNTIL_KILLED), ..Event::default() };
    let begun = stage.begin(event);
    if kind.is_traced() {
        let reported = |document: &Document| {
            let blocked = document.annotation("outcome") == Some("blocked");
            blocked && document.fault && tells(document, "blocking query")
        };
        ensure(stage.traces.wait_for(1, reported).await?.len() == 1, "it is reported twice")?;
        stage.wait_for_code("handler_blocked", 1).await?;
    }
    stage.wait_for_logs("\"outcome\":\"blocked\"", 1).await?;
    stage.function.expire();
    let answer = begun.answer("a handler that blocks").await?;
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), format!("{:?}", answer.result))?;
    let problems = stage.problems();
    ensure(problems.len() == usize::from(kind.is_traced()), format!("{problems:?}"))?;
    silent_unless_traced(&stage, &kind)?;
    if kind.is_managed() {
        // The process is not killed. Tokio's scheduling decides whether other events are served meanwhile; tasks on the blocked thread are not.
        return ensure(stage.processes() == 1 && stage.function.pid().is_some(), "the process did not live");
    }
    serves_on(&stage, &kind, 2).await
}

async fn abort(kind: Kind) -> Tested {
    let stage = kind.stage(Probe::Value, |function| function).await?;
    for answer in at_once(&stage, &kind, Do::Abort).await? {
        ensure(matches!(answer.result, Err(Failure::Exited(_))), format!("{:?}", answer.result))?;
    }
    stage.settle().await?;
    silent_unless_traced(&stage, &kind)?;
    ensure(!kind.is_traced() || stage.unfinished() > 0, "the invocation is not in its trace")?;
    let processes = stage.processes();
    serves_on(&stage, &kind, processes + usize::from(!kind.is_managed())).await
}

async fn out_of_memory(kind: Kind) -> Tested {
    let groups = match ControlGroups::find() {
        Ok(groups) => groups,
        Err(error) => {
            println!("skipped: {error}");
            return Ok(());
        }
    };
    let stage = kind.stage(Probe::Value, |function| function.memory(128).limit(groups)).await?;
    for answer in at_once(&stage, &kind, Do::Allocate).await? {
        ensure(answer.result == Err(Failure::OutOfMemory { memory_mb: 128 }), format!("{:?}", answer.result))?;
    }
    stage.settle().await?;
    silent_unless_traced(&stage, &kind)?;
    if kind.is_traced() {
        ensure(stage.unfinished() > 0, "the invocation is not in its trace")?;
        let lambdas = |document: &Document| document.origin.as_deref() == Some("AWS::Lambda::Function");
        let segments = stage.traces.find(lambdas);
        let faults = segments.iter().filter(|segment| segment.fault).count();
        ensure(faults == kind.at_once, format!("{faults} faults in Lambda's segments {segments:?}"))?;
    }
    let processes = stage.processes();
    serves_on(&stage, &kind, processes + usize::from(!kind.is_managed())).await
}

async fn kill_by_the_platform(kind: Kind) -> Tested {
    let stage = kind.stage(Probe::Value, |function| function).await?;
    let hanging = hanging(&stage, &kind).await?;
    kill(&stage.function, "-KILL")?;
    for begun in hanging {
        let answer = begun.answer("a handler that hangs").await?;
        ensure(matches!(answer.result, Err(Failure::Exited(_))), format!("{:?}", answer.result))?;
    }
    stage.settle().await?;
    silent_unless_traced(&stage, &kind)?;
    let seen = stage.unfinished();
    ensure(seen == if kind.is_traced() { kind.at_once } else { 0 }, format!("{seen} are in their traces, unfinished"))?;
    serves_on(&stage, &kind, 2).await
}

async fn sigterm_while_idle(kind: Kind) -> Tested {
    let stage = kind.stage(Probe::Shutdown, |function| function).await?;
    for answer in at_once(&stage, &kind, Do::Nothing).await? {
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    }
    stage.settle().await?;
    let ended = within("the shutdown", stage.function.shutdown()).await?.ended;
    let [ended] = ended.as_slice() else { return Err(format!("{ended:?}").into()) };
    ensure(ended.sigterm && ended.exit == Exit::Code(0), format!("{ended:?}"))?;
    ensure(stage.logged("hook two").len() == 1 && stage.logged("hook one").len() == 1, "the hooks did not run")?;
    ensure(!kind.is_traced() || stage.unfinished() == 0, "an invocation is unfinished in its trace")
}

async fn sigterm_while_busy(kind: Kind) -> Tested {
    let stage = kind.stage(Probe::Shutdown, |function| function).await?;
    let hanging = hanging(&stage, &kind).await?;
    kill(&stage.function, "-TERM")?;
    for begun in hanging {
        let answer = begun.answer("a handler that hangs").await?;
        ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
    }
    stage.settle().await?;
    ensure(stage.logged("hook two").len() == 1 && stage.logged("hook one").len() == 1, "the hooks did not run")?;
    silent_unless_traced(&stage, &kind)?;
    let cut_off = |document: &Document| document.fault && document.annotation("outcome") == Some("shut_down");
    let seen = stage.traces.find(cut_off).len();
    ensure(seen == if kind.is_traced() { kind.at_once } else { 0 }, format!("{seen} are shut down in their traces"))?;
    serves_on(&stage, &kind, 2).await
}

async fn hung_work(kind: Kind) -> Tested {
    let budget = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE_BUDGET", "500");
    let stage = kind.stage(Probe::Value, budget).await?;
    for answer in &at_once(&stage, &kind, Do::HangingWork).await? {
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    }
    stage.wait_for_code("work_cancelled", kind.at_once).await?;
    if kind.is_traced() {
        let cancelled = |document: &Document| document.name == "after response" && document.fault;
        stage.traces.wait_for(kind.at_once, cancelled).await?;
    }
    silent_unless_traced(&stage, &kind)?;
    serves_on(&stage, &kind, 1).await
}

async fn panicking_hook(kind: Kind) -> Tested {
    let stage = kind.stage(Probe::Hooks, |function| function).await?;
    for answer in &at_once(&stage, &kind, Do::Nothing).await? {
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    }
    stage.wait_for_logs("hook three", kind.at_once).await?;
    stage.wait_for_code("hook_panicked", kind.at_once).await?;
    serves_on(&stage, &kind, 1).await
}

async fn hung_exporter(kind: Kind) -> Tested {
    let stage = kind.stage(Probe::Exporter, |function| function.env("EXPORTER", Exporting::Hangs.to_string())).await?;
    for answer in &at_once_within(&stage, &kind, Some(LATER), Do::Nothing).await? {
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
        if kind.is_traced() {
            stage.finished_document(answer).await?;
        }
    }
    silent_unless_traced(&stage, &kind)?;
    serves_on(&stage, &kind, 1).await
}

async fn absent_daemon(kind: Kind) -> Tested {
    // A port that was free a moment ago, and refuses datagrams now.
    let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let stage = kind.stage(Probe::Value, |function| function.xray(port)).await?;
    for _ in 0..3 {
        for answer in at_once(&stage, &kind, Do::Log).await? {
            ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
        }
        stage.settle().await?;
    }
    if kind.is_traced() {
        stage.wait_for_code("daemon_missing", 1).await?;
    }
    let problems = stage.problems();
    ensure(problems.len() == usize::from(kind.is_traced()), format!("{problems:?}"))?;
    serves_on(&stage, &kind, 1).await
}

async fn init(kind: Kind, probe: Probe, error_type: &'static str, part: &'static str) -> Tested {
    let budget = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_INIT_BUDGET", "300");
    let stage = kind.stage(probe, budget).await?;
    for answer in at_once(&stage, &kind, Do::Nothing).await? {
        ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
    }
    let timeline = stage.function.timeline();
    let posted = timeline.iter().find_map(|event| match &event.kind {
        EventKind::InitError { error_type, error_message } => Some((error_type, error_message)),
        _ => None,
    });
    let (posted, message) = posted.ok_or("no init error was posted")?;
    ensure(posted == error_type && message.contains(part), format!("{posted}: {message}"))?;
    ensure(!stage.reported_as("error_type", error_type).is_empty(), "it is not in the log")?;
    let exited = timeline.iter().any(|event| matches!(event.kind, EventKind::Exited { exit: Exit::Code(1) }));
    ensure(exited || timeline.iter().any(|event| event.kind == EventKind::Killed), "the process did not end")
}
