//! Lines below the log's level: written where their invocation fails, or where it is sampled.

use crate::{
    function::{Do, Ending, Probe},
    lines::{Fields, fields, whole},
    own_subscriber,
    support::{Gate, Stage, Tested, all, ensure, kill, test},
};
use lambda_lifecycle_sandbox::{
    Event,
    function::{FunctionBuilder, TraceMode},
};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use std::time::Duration;

pub(crate) fn tests() -> Vec<Trial> {
    let kinds = [("on demand", 1), ("Managed Instances", 8)].into_iter().flat_map(|(kind, n)| {
        let named = |name: &str| format!("debug lines: {name}, {kind}");
        [
            test(named("none of an invocation that ends well"), move || well(n)),
            test(named("an error writes them"), move || ends(n, Ending::Fail)),
            test(named("a panic writes them"), move || ends(n, Ending::Panic)),
            test(named("the deadline writes them"), move || deadline(n)),
            test(named("a handler that blocks its thread has them written"), move || blocked(n)),
            test(named("SIGTERM writes them"), move || sigterm(n)),
            test(named("a response of 5xx writes them, through the log layer"), move || server_error(n)),
            test(named("an error's line comes behind them"), move || error_line(n)),
            test(named("those beyond the bound are counted"), move || beyond_the_bound(n)),
        ]
    });
    let others = [
        test("debug lines: none without the setting", without),
        test("debug lines: text has their time", text),
        test("debug lines: written where the log has no line of the error", unlogged),
        test("debug lines: those of sampled invocations", sampled),
        test("debug lines: an invalid setting is logged and nothing is kept", invalid),
    ];
    kinds.chain(others).collect()
}

/// Half a second before the deadline that `LAMBDA_LIFECYCLE_DEADLINE_RESERVE=40000` makes of it.
const SOON: Duration = Duration::from_secs(41);

async fn stage(
    probe: Probe,
    n: usize,
    mode: TraceMode,
    change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
) -> Result<Stage, Failed> {
    let managed = |function: FunctionBuilder| if n > 1 { function.managed(n) } else { function };
    Stage::with(probe, mode, |function| change(managed(function.env("LAMBDA_LIFECYCLE_LOG_BUFFER", "debug")))).await
}

fn event(ending: Ending, timeout: Option<Duration>) -> Event {
    Event { payload: json!(Do::Debug(ending)).to_string().into(), timeout, ..Event::default() }
}

/// The lines of an invocation, in the order of the log.
fn lines(stage: &Stage, request_id: &str) -> Vec<Fields> {
    let with_it =
        |found: &Fields| ["requestId", "invocation"].iter().any(|key| found.get(*key).is_some_and(|id| id == request_id));
    stage.logged("").iter().map(|line| whole(line)).filter(with_it).collect()
}

fn ids(stage: &Stage) -> Vec<String> {
    stage.logged("in between").iter().filter_map(|line| fields(line).remove("requestId")).collect()
}

/// The handler's lines, each once: the kept ones are marked, in order, with the time at which they were made, behind those that were written at once
/// and before the line with this code.
fn are_told(lines: &[Fields], error: &str) -> Tested {
    let at = |message: &str| lines.iter().position(|line| line.get("message").is_some_and(|found| found == message));
    let found = ["in between", "first step", "second step"].map(at);
    let [Some(between), Some(first), Some(second)] = found else { return Err(format!("{found:?} in {lines:#?}").into()) };
    let with_code = lines.iter().position(|line| line.get("code").is_some_and(|code| code == error));
    let error = with_code.or_else(|| at(error)).unwrap_or(usize::MAX);
    ensure(between < first && first < second && second < error, format!("not in order: {lines:#?}"))?;
    let marked: Vec<_> = lines.iter().filter(|line| line.get("buffered").is_some_and(|mark| mark == "true")).collect();
    ensure(marked.len() == 2 && marked.iter().all(|line| line["level"] == "DEBUG"), format!("{marked:#?}"))?;
    let time = |at: usize| &lines[at]["timestamp"];
    ensure(time(first) <= time(between) && time(between) <= time(second), format!("not their own times: {lines:#?}"))
}

async fn well(n: usize) -> Tested {
    for mode in [TraceMode::Active, TraceMode::NotSampled] {
        let stage = stage(Probe::Ours, n, mode, |function| function).await?;
        let answers = all((0..n).map(|_| stage.invoke_event(event(Ending::Well, None)))).await?;
        ensure(answers.iter().all(|answer| answer.result.is_ok()), format!("{answers:?}"))?;
        stage.settle().await?;
        let lines = stage.logged("step");
        ensure(lines.is_empty() && stage.problems().is_empty(), format!("{lines:?} {:?}", stage.problems()))?;
    }
    Ok(())
}

async fn ends(n: usize, ending: Ending) -> Tested {
    for mode in [TraceMode::Active, TraceMode::NotSampled] {
        let stage = stage(Probe::Ours, n, mode, |function| function).await?;
        let answers = all((0..n).map(|_| stage.invoke_event(event(ending.clone(), None)))).await?;
        stage.settle().await?;
        for answer in &answers {
            ensure(answer.result.is_err(), format!("{answer:?}"))?;
            are_told(&lines(&stage, &answer.request_id), "invocation_failed")?;
        }
        let of_span = stage.logged("second step").iter().filter(|line| line.contains("order_id")).count();
        ensure(of_span == n, "lines without the fields of their span")?;
        ensure(stage.logged("too fine").is_empty(), "a line below the buffer's level is written")?;
        // The next one begins anew.
        stage.invoke_event(event(Ending::Well, None)).await?;
        stage.settle().await?;
        ensure(stage.logged("first step").len() == n, "lines of an invocation that ended well")?;
    }
    Ok(())
}

async fn deadline(n: usize) -> Tested {
    let reserve = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", "40000");
    let stage = stage(Probe::Ours, n, TraceMode::NotSampled, reserve).await?;
    let answers = all((0..n).map(|_| stage.invoke_event(event(Ending::Hang, Some(SOON))))).await?;
    stage.settle().await?;
    for answer in &answers {
        ensure(answer.result.is_err(), format!("{answer:?}"))?;
        are_told(&lines(&stage, &answer.request_id), "invocation_failed")?;
    }
    Ok(())
}

async fn blocked(n: usize) -> Tested {
    for mode in [TraceMode::NotSampled, TraceMode::Active] {
        let stage = stage(Probe::Ours, n, mode, |function| function).await?;
        let gate = Gate::new().await?;
        // More of them would block the same thread.
        let blocked = stage.begin(event(Ending::Block { gate: gate.address()? }, Some(Duration::from_secs(1))));
        stage.wait_for_code("handler_blocked", 1).await?;
        let [id] = &ids(&stage)[..] else { return Err("not one invocation".into()) };
        are_told(&lines(&stage, id), "handler_blocked")?;
        // Its later lines are written at once.
        gate.held().await?.release();
        let line = whole(&stage.wait_for_logs("third step", 1).await?);
        ensure(!line.contains_key("buffered"), format!("{line:?}"))?;
        drop(blocked);
    }
    Ok(())
}

async fn sigterm(n: usize) -> Tested {
    let stage = stage(Probe::Shutdown, n, TraceMode::NotSampled, |function| function).await?;
    let hanging: Vec<_> = (0..n).map(|_| stage.begin(event(Ending::Hang, None))).collect();
    stage.wait_for_logs("in between", n).await?;
    kill(&stage.function, "-TERM")?;
    stage.wait_for_logs("second step", n).await?;
    for begun in hanging {
        let answer = begun.answer("a handler that hangs").await?;
        are_told(&lines(&stage, &answer.request_id), "none")?;
    }
    Ok(())
}

async fn server_error(n: usize) -> Tested {
    let stage = stage(Probe::LogLayer, n, TraceMode::NotSampled, |function| function).await?;
    let payload = own_subscriber::event("/broken").to_string();
    let event = || Event { payload: payload.clone().into(), ..Event::default() };
    let answers = all((0..n).map(|_| stage.invoke_event(event()))).await?;
    stage.settle().await?;
    for answer in &answers {
        let lines = lines(&stage, &answer.request_id);
        ensure(lines.len() == 3, format!("{lines:#?}"))?;
        are_told(&lines, "none")?;
    }
    Ok(())
}

async fn error_line(n: usize) -> Tested {
    let stage = stage(Probe::Ours, n, TraceMode::NotSampled, |function| function).await?;
    let answers = all((0..n).map(|_| stage.invoke_event(event(Ending::Error, None)))).await?;
    stage.settle().await?;
    for answer in &answers {
        let lines = lines(&stage, &answer.request_id);
        are_told(&lines, "lost")?;
        let last = lines.last().ok_or("no line")?;
        ensure(last["message"] == "third step" && !last.contains_key("buffered"), format!("{last:?}"))?;
    }
    Ok(())
}

async fn beyond_the_bound(n: usize) -> Tested {
    const LINES: u32 = 50;
    let bound = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_LOG_BUFFER_BYTES", "2000");
    let stage = stage(Probe::Ours, n, TraceMode::NotSampled, bound).await?;
    let answers = all((0..n).map(|_| stage.invoke_event(event(Ending::Lines(LINES), None)))).await?;
    stage.settle().await?;
    for answer in &answers {
        let lines = lines(&stage, &answer.request_id);
        let numbers: Vec<u32> = lines.iter().filter_map(|line| line.get("number")?.parse().ok()).collect();
        let first = LINES - u32::try_from(numbers.len())?;
        ensure(!numbers.is_empty() && numbers == (first..LINES).collect::<Vec<_>>(), format!("{numbers:?}"))?;
        let dropped: Vec<_> =
            lines.iter().filter(|line| line.get("code").is_some_and(|code| code == "log_lines_dropped")).collect();
        let [dropped] = dropped[..] else { return Err(format!("{dropped:?}").into()) };
        // And the two steps before them.
        ensure(dropped["dropped"] == (first + 2).to_string(), format!("{dropped:?}, and the first one is {first}"))?;
        let kept = stage.logged("").into_iter().filter(|line| line.contains("buffered") && line.contains(&answer.request_id));
        ensure(kept.map(|line| line.len() + 1).sum::<usize>() <= 2_000, "more bytes than may be kept")?;
    }
    Ok(())
}

async fn without() -> Tested {
    let stage = Stage::new(Probe::Ours, TraceMode::Active).await?;
    stage.invoke_event(event(Ending::Fail, None)).await?;
    stage.settle().await?;
    ensure(stage.logged("step").is_empty() && !stage.logged("in between").is_empty(), format!("{:?}", stage.logged("")))
}

async fn text() -> Tested {
    let stage = stage(Probe::Ours, 1, TraceMode::NotSampled, |function| function.log_format("Text")).await?;
    let answer = stage.invoke_event(event(Ending::Fail, None)).await?;
    stage.settle().await?;
    let lines = stage.logged("step");
    let [first, second] = &lines[..] else { return Err(format!("{lines:?}").into()) };
    let time = |line: &str| fields(line).remove("timestamp").unwrap_or_default();
    ensure(!time(first).is_empty() && time(first) <= time(second), format!("{lines:?}"))?;
    ensure(lines.iter().all(|line| line.contains(" buffered=true ") && line.contains(&answer.request_id)), format!("{lines:?}"))
}

async fn unlogged() -> Tested {
    let levels = |function: FunctionBuilder| {
        function.env("RUST_LOG", "info,lambda_lifecycle=off").env("LAMBDA_LIFECYCLE_LOG_BUFFER", "debug,lambda_lifecycle=off")
    };
    let stage = stage(Probe::Ours, 1, TraceMode::NotSampled, levels).await?;
    stage.invoke_event(event(Ending::Fail, None)).await?;
    stage.settle().await?;
    ensure(stage.logged("step").len() == 2 && stage.problems().is_empty(), format!("{:?}", stage.logged("")))
}

async fn sampled() -> Tested {
    let all = ["first step", "in between", "second step", "third step"];
    for (mode, expected) in [(TraceMode::Active, &all[..]), (TraceMode::NotSampled, &all[1..2])] {
        let stage = Stage::with(Probe::Ours, mode, |function| function.env("LAMBDA_LIFECYCLE_LOG_SAMPLED", "debug")).await?;
        let answer = stage.invoke_event(event(Ending::Well, None)).await?;
        stage.settle().await?;
        let lines = lines(&stage, &answer.request_id);
        let own: Vec<_> = lines.iter().filter(|line| line["target"] != "lambda_lifecycle").collect();
        let messages: Vec<_> = own.iter().map(|line| line["message"].as_str()).collect();
        ensure(messages == expected && lines.iter().all(|line| !line.contains_key("buffered")), format!("{lines:#?}"))?;
    }
    Ok(())
}

async fn invalid() -> Tested {
    let settings = |function: FunctionBuilder| {
        let function =
            function.env("LAMBDA_LIFECYCLE_LOG_BUFFER", "orders=loud").env("LAMBDA_LIFECYCLE_LOG_BUFFER_BYTES", "20 KB");
        function.env("LAMBDA_LIFECYCLE_LOG_SAMPLED", "[span]=debug")
    };
    let stage = stage(Probe::Ours, 1, TraceMode::Active, settings).await?;
    stage.invoke_event(event(Ending::Fail, None)).await?;
    stage.settle().await?;
    let invalid = stage.codes().iter().filter(|code| *code == "setting_invalid").count();
    ensure(invalid == 3 && stage.logged("step").is_empty(), format!("{:?}", stage.logged("")))
}
