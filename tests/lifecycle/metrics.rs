//! Metrics: what functions write is what CloudWatch reads, whatever becomes of the invocation.

use crate::{
    behavior::{Do, Probe},
    emf::{self, Metric},
    kind::{KINDS, Kind, NAMESPACE, SERVICE, SOON, long_reserve},
    support::{Gate, Stage, Tested, all, ensure, functions, test, within},
};
use lambda_lifecycle_sandbox::{
    Event, FunctionResponse,
    function::{Function, FunctionBuilder, Output, TraceMode},
};
use libtest_mimic::{Failed, Trial};
use proptest::{
    prelude::*,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const AT_ONCE: usize = 64;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("the lines of the documentation are valid", the_page),
        test("without a namespace no metric is written", without_a_namespace),
        test("an invalid namespace is logged, and no metric is written", an_invalid_namespace),
        test("Powertools' switch leaves out all metrics", disabled),
        test("spans that a trace has no room for are counted in the metrics", spans_left_out),
        test("the library's own metrics can be left out", without_the_built_in),
        test("metrics of the Init phase are written with the first invocation", of_init),
        test("metrics of the user and of the facade are what was recorded", of_the_user),
        test("what CloudWatch does not take is left out, counted and logged once", refused),
        test("values without end are written in between", a_lot),
        test("a metric that is recorded when its invocation is over is written", late),
        test("a batch is counted", batch),
        test("64 invocations at once, and no metric in a foreign one", never_mixed),
    ]
}

/// The metrics in a function's log, each line checked.
fn metrics(function: &Function) -> Result<Vec<Metric>, Failed> {
    let own = function.logs().into_iter().filter(|line| line.output == Output::Stdout);
    let parsed: Result<Vec<_>, String> = own.map(|line| emf::parse(&line.text)).collect();
    Ok(parsed?.concat())
}

fn named<'m>(metrics: &'m [Metric], name: &'m str) -> impl Iterator<Item = &'m Metric> {
    metrics.iter().filter(move |metric| metric.name == name)
}

fn sum(metrics: &[Metric], name: &str) -> f64 {
    named(metrics, name).flat_map(|metric| &metric.values).sum()
}

/// Waits until the function has written so many invocations' own metrics.
async fn written(function: &Function, outcome: &str, count: usize) -> Tested {
    let mut logs = function.subscribe_logs().from_start();
    let words = format!("\"outcome\":\"{outcome}\"");
    let waiting = async {
        for _ in 0..count {
            logs.find(|line| line.output == Output::Stdout && line.text.contains(&words)).await;
        }
    };
    Ok(within(format!("{count} invocations that are {outcome} in the metrics"), waiting).await?)
}

/// The outcomes of a case of the matrix, each with its number. `n` run at once.
fn outcomes(case: &str, kind: &Kind) -> Result<Vec<(&'static str, usize)>, Failed> {
    let n = kind.at_once;
    let word = match case {
        "response" | "deadline with cleanup" | "hung background work" | "panicking hook" | "hung exporter" => {
            return Ok(vec![("responded", 2 * n)]);
        }
        "`process::abort`" | "memory used up" | "kill by the platform" | "SIGTERM while idle" => {
            return Ok(vec![("responded", n)]);
        }
        "absent daemon" => return Ok(vec![("responded", 4 * n)]),
        // One, of which nothing more is heard on Managed Instances.
        "deadline while blocking" if kind.is_managed() => return Ok(vec![("blocked", 1)]),
        "deadline while blocking" => "blocked",
        "response refused as too large" => return Ok(vec![("response_too_large", 8), ("responded", n)]),
        "late response" => return Ok(vec![("late_response", 8), ("responded", n)]),
        "refused response" => return Ok(vec![("refused_response", 8), ("responded", n)]),
        "error" => "failed",
        "undecodable payload" => "undecodable_event",
        "error in `Serialize`" => "unencodable_response",
        "response too large" => "response_too_large",
        "deadline while awaiting" | "deadline in a stream" => "deadline_exceeded",
        "error in a stream" => "stream_broken",
        "SIGTERM while busy" => "shut_down",
        case if case.starts_with("panic in") => "panicked",
        case => return Err(format!("what do the metrics tell of {case:?}?").into()),
    };
    Ok(vec![(word, n), ("responded", n)])
}

/// The handler of these cases counts its calls.
fn counts_calls(case: &str) -> bool {
    !case.contains("stream") && !case.contains('`') && !case.contains("constructor") && !case.contains("undecodable")
}

/// The metrics of the functions of this thread's test tell of the outcomes of this case, of each invocation once.
pub(crate) async fn tell_of(case: &str, kind: &Kind) -> Tested {
    let functions = functions();
    match (case, functions.as_slice()) {
        // Skipped, where memory cannot be limited.
        ("memory used up", []) => Ok(()),
        ("init failure" | "init over budget", [function]) => {
            let metrics = metrics(function)?;
            ensure(sum(&metrics, "InitFailures") >= 1.0, format!("{metrics:?}"))?;
            ensure(named(&metrics, "Invocations").next().is_none(), format!("{metrics:?}"))?;
            ensure(
                named(&metrics, "InitDuration").any(|metric| metric.dimension("initializer") == Some("database")),
                format!("{metrics:?}"),
            )
        }
        ("broken connection", [resent, lost]) => {
            let n = kind.at_once;
            tells(resent, &[("responded", 2 * n)], kind, true).await?;
            // On Managed Instances no more events are sent.
            let after: &[_] = if kind.is_managed() { &[] } else { &[("responded", n)] };
            tells(lost, &[&[("undelivered_response", n)], after].concat(), kind, true).await
        }
        (_, [function]) => tells(function, &outcomes(case, kind)?, kind, counts_calls(case)).await,
        (_, functions) => Err(format!("{} functions", functions.len()).into()),
    }
}

async fn tells(function: &Function, expected: &[(&str, usize)], kind: &Kind, counts_calls: bool) -> Tested {
    for (outcome, count) in expected {
        written(function, outcome, *count).await?;
    }
    let metrics = metrics(function)?;
    let mut found = BTreeMap::<&str, usize>::new();
    let mut requests = BTreeSet::new();
    for metric in named(&metrics, "Invocations") {
        let outcome = metric.dimension("outcome").ok_or("no outcome")?;
        *found.entry(outcome).or_default() += 1;
        ensure(metric.values == [1.0] && metric.unit == "Count", format!("{metric:?}"))?;
        ensure(metric.request_id.is_some() && requests.insert(&metric.request_id), format!("counted twice: {metric:?}"))?;
        let is_fault = metric.line["Faults"] == 1;
        ensure(is_fault == (outcome != "responded"), format!("{metric:?}"))?;
        ensure(metric.line["HandlerDuration"].as_f64().is_some_and(|ms| ms >= 0.0), format!("{metric:?}"))?;
        let responded = !matches!(outcome, "blocked" | "shut_down");
        ensure(metric.line["ResponseDuration"].is_number() == responded, format!("{metric:?}"))?;
    }
    ensure(found == expected.iter().copied().collect(), format!("{found:?} instead of {expected:?}"))?;
    for metric in &metrics {
        let dimensions = (metric.dimension("service"), metric.dimension("function_name"));
        let function_name = (metric.name != "Calls").then_some("probe");
        ensure(metric.namespace == NAMESPACE && dimensions == (Some(SERVICE), function_name), format!("{metric:?}"))?;
    }
    if counts_calls {
        let calls: BTreeSet<_> = named(&metrics, "Calls").map(|metric| &metric.request_id).collect();
        ensure(calls == requests, format!("calls of {calls:?}, invocations {requests:?}"))?;
        ensure(named(&metrics, "Calls").count() == calls.len(), "a call is written twice")?;
    }
    let cold = named(&metrics, "ColdStart").count();
    ensure(if kind.is_managed() { cold == 0 } else { cold > 0 }, format!("{cold} cold starts"))
}

fn the_page() -> Tested {
    let page = include_str!("../../docs/metrics.md");
    let blocks = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut shown = BTreeSet::new();
    for block in blocks {
        let line: String = block.lines().map(str::trim).collect();
        shown.extend(emf::parse(&line)?.into_iter().map(|metric| metric.name));
    }
    ensure(shown.contains("Invocations") && shown.contains("OrdersPlaced"), format!("{shown:?}"))
}

fn on_demand() -> Kind {
    KINDS[1].clone()
}

fn managed(at_once: usize) -> Kind {
    Kind { at_once, ..KINDS[3].clone() }
}

async fn without_a_namespace() -> Tested {
    let stage = Stage::new(Probe::Metrics, TraceMode::NotSampled).await?;
    for act in [Do::Measure { values: vec![1] }, Do::MeasureBadly, Do::MeasureALot] {
        let answer = stage.invoke(act).await?;
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    }
    stage.settle().await?;
    ensure(stage.logged("CloudWatchMetrics").is_empty() && stage.problems().is_empty(), format!("{:?}", stage.problems()))
}

async fn an_invalid_namespace() -> Tested {
    for (name, namespace) in [("POWERTOOLS_METRICS_NAMESPACE", "Läden"), ("LAMBDA_LIFECYCLE_METRICS_NAMESPACE", "AWS/Lambda")] {
        let invalid = |function: FunctionBuilder| function.env(name, namespace);
        let stage = Stage::with(Probe::Metrics, TraceMode::NotSampled, invalid).await?;
        stage.invoke(json!({})).await?;
        stage.settle().await?;
        ensure(stage.codes() == ["setting_invalid"], format!("{:?}", stage.problems()))?;
        ensure(stage.reported_as("name", name).len() == 1, "another setting is named")?;
        ensure(stage.logged("CloudWatchMetrics").is_empty(), "metrics are written")?;
    }
    Ok(())
}

async fn disabled() -> Tested {
    for (value, codes) in [("true", &[][..]), ("1", &[]), ("perhaps", &["setting_invalid"])] {
        let stage = on_demand().stage(Probe::Metrics, |function| function.env("POWERTOOLS_METRICS_DISABLED", value)).await?;
        let answer = stage.invoke(Do::Measure { values: vec![1] }).await?;
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
        stage.settle().await?;
        ensure(stage.codes() == codes, format!("{:?}", stage.problems()))?;
        ensure(stage.logged("CloudWatchMetrics").is_empty() == codes.is_empty(), format!("with {value} metrics are otherwise"))?;
    }
    Ok(())
}

async fn spans_left_out() -> Tested {
    let budget = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_TRACE_BUDGET", "20000");
    let stage = KINDS[0].stage(Probe::Value, budget).await?;
    let answer = stage.invoke(Do::ManySpans { count: 500 }).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    let line = stage.wait_for_logs("\"SpansLeftOut\":", 1).await?;
    stage.settle().await?;
    let metrics = metrics(&stage.function)?;
    let [left_out] = named(&metrics, "SpansLeftOut").collect::<Vec<_>>()[..] else { return Err(line.into()) };
    ensure(left_out.unit == "Count" && left_out.request_id.as_deref() == Some(&answer.request_id), format!("{left_out:?}"))?;
    let sent = stage.traces.find(|document| document.annotation("outcome").is_none() && !document.in_progress).len();
    ensure(left_out.values[0] > 0.0 && left_out.values[0] < 500.0, format!("{left_out:?}, and {sent} are sent"))
}

async fn without_the_built_in() -> Tested {
    let stage = on_demand().stage(Probe::Metrics, |function| function.env("LAMBDA_LIFECYCLE_METRICS_BUILT_IN", "off")).await?;
    stage.invoke(Do::Measure { values: vec![1] }).await?;
    stage.wait_for_logs("\"AfterResponse\":1", 1).await?;
    let metrics = metrics(&stage.function)?;
    let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    ensure(
        names == BTreeSet::from(["AfterResponse", "Calls", "Last", "Own", "Started", "Starts", "Sum", "Wait"]),
        format!("{names:?}"),
    )
}

async fn of_init() -> Tested {
    let stage = on_demand().stage(Probe::Metrics, |function| function.memory(1)).await?;
    for _ in 0..2 {
        stage.invoke(json!({})).await?;
    }
    written(&stage.function, "responded", 2).await?;
    let metrics = metrics(&stage.function)?;
    let of = |name: &'static str| named(&metrics, name).collect::<Vec<_>>();
    let initializers: Vec<_> = of("InitDuration").iter().map(|metric| metric.dimension("initializer")).collect();
    ensure(initializers == [None, Some("first"), Some("second")], format!("{initializers:?}"))?;
    ensure(of("ColdStart").len() == 1 && of("Invocations").len() == 2, format!("{metrics:?}"))?;
    let outside: Vec<_> =
        of("Started").into_iter().chain(of("Starts")).map(|metric| (&metric.request_id, &metric.values)).collect();
    ensure(outside == [(&None, &vec![1.0]); 2], format!("{outside:?}"))?;
    // The function has less memory than any program needs.
    ensure(
        of("MemoryUsed").first().is_some_and(|used| used.values[0] > 1.0 && used.unit == "Megabytes"),
        format!("{metrics:?}"),
    )?;
    ensure(stage.codes() == ["memory_near_limit"], format!("{:?}", stage.problems()))?;
    let dimensions = of("ColdStart")[0].dimensions.clone();
    let expected = [("service", SERVICE), ("environment", "test"), ("function_name", "probe")];
    ensure(dimensions == expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), format!("{dimensions:?}"))
}

async fn of_the_user() -> Tested {
    let stage = KINDS[0].stage(Probe::Metrics, |function| function).await?;
    let answer = stage.invoke(Do::Measure { values: vec![5, -7, 5] }).await?;
    stage.wait_for_logs("\"AfterResponseDuration\":", 1).await?;
    stage.wait_for_logs("\"AfterResponse\":", 1).await?;
    let metrics = metrics(&stage.function)?;
    let found: Vec<_> = ["Own", "Sum", "Last", "Wait", "AfterResponse"]
        .into_iter()
        .flat_map(|name| named(&metrics, name))
        .map(|metric| {
            (
                metric.name.as_str(),
                metric.unit.as_str(),
                metric.values.clone(),
                metric.dimension("where"),
                metric.dimension("plan"),
            )
        })
        .collect();
    let expected = [
        ("Own", "Count", vec![5.0, -7.0, 5.0], None, None),
        ("Own", "Count", vec![5.0, -7.0, 5.0], Some("task"), None),
        ("Sum", "None", vec![17.0], None, None),
        ("Last", "None", vec![5.0], None, Some("gold")),
        ("Wait", "Microseconds", vec![0.005, -0.007, 0.005], None, None),
        ("AfterResponse", "Count", vec![5.0, -7.0, 5.0], None, None),
    ];
    ensure(found == expected, format!("{found:?}"))?;
    ensure(metrics.iter().all(|metric| metric.high_resolution == (metric.dimension("where") == Some("task"))), "resolution")?;
    let root = answer.trace_id.as_str();
    for metric in metrics.iter().filter(|metric| metric.name == "Own") {
        ensure(metric.line["values"] == 3 && metric.line["traceId"] == root, format!("{metric:?}"))?;
    }
    for name in ["FlushDuration", "AfterResponseDuration"] {
        let [metric] = named(&metrics, name).collect::<Vec<_>>()[..] else { return Err(format!("no {name}").into()) };
        ensure(metric.request_id.as_deref() == Some(&answer.request_id), format!("{metric:?}"))?;
    }
    Ok(())
}

async fn refused() -> Tested {
    let stage = on_demand().stage(Probe::Metrics, |function| function).await?;
    for _ in 0..2 {
        let answer = stage.invoke(Do::MeasureBadly).await?;
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    }
    written(&stage.function, "responded", 2).await?;
    stage.wait_for_logs("\"Bare\":1", 2).await?;
    let metrics = metrics(&stage.function)?;
    let left_out: Vec<_> = named(&metrics, "MetricsLeftOut").flat_map(|metric| metric.values.clone()).collect();
    ensure(left_out == [5.0, 5.0], format!("{left_out:?}"))?;
    ensure(named(&metrics, "Crowded").all(|metric| metric.dimensions.len() == 30), "not 30 dimensions")?;
    ensure(named(&metrics, "Bare").all(|metric| metric.dimensions.len() == 2), "an empty dimension")?;
    let codes: BTreeSet<String> = stage.codes().into_iter().collect();
    let expected = ["metric_dimension_refused", "metric_metadata_refused", "metric_refused"].map(str::to_owned).into();
    ensure(codes == expected && stage.codes().len() == 3, format!("{:?}", stage.problems()))
}

async fn a_lot() -> Tested {
    let stage = on_demand().stage(Probe::Metrics, |function| function).await?;
    stage.invoke(Do::MeasureALot).await?;
    written(&stage.function, "responded", 1).await?;
    stage.wait_for_logs("\"Started\":1", 1).await?;
    let metrics = metrics(&stage.function)?;
    let values: Vec<f64> = named(&metrics, "Many").flat_map(|metric| metric.values.clone()).collect();
    ensure(values == (0..2_500).map(f64::from).collect::<Vec<_>>(), format!("{} values", values.len()))
}

async fn late() -> Tested {
    let stage = managed(2).stage(Probe::Metrics, |function| function).await?;
    let gate = Gate::new().await?;
    let answer = stage.invoke(Do::MeasureLate { gate: gate.address()? }).await?;
    let held = gate.held().await?;
    stage.wait_for_logs("\"FlushDuration\"", 1).await?;
    held.release();
    stage.wait_for_logs("\"Late\":1", 1).await?;
    let metrics = metrics(&stage.function)?;
    let late: Vec<_> = named(&metrics, "Late").map(|metric| metric.request_id.clone()).collect();
    ensure(late == [Some(answer.request_id)], format!("{late:?}"))
}

async fn batch() -> Tested {
    let stage = on_demand().stage(Probe::MetricsBatch, long_reserve).await?;
    let record = |(number, body): (usize, &str)| {
        json!({
            "messageId": format!("m{number}"), "receiptHandle": "r", "body": body, "attributes": { "SentTimestamp": "1700000000000" },
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders", "awsRegion": "eu-west-1",
        })
    };
    let records: Vec<_> = ["ok", "fail", "ok", "hang", "ok"].into_iter().enumerate().map(record).collect();
    let answer = stage.invoke_within(SOON, json!({ "Records": records })).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.wait_for_logs("BatchItemsProcessed", 1).await?;
    let metrics = metrics(&stage.function)?;
    let of = |name| sum(&metrics, name);
    let counts = (of("BatchItemsProcessed"), of("BatchItemsFailed"), of("BatchItemsReturned"));
    let expected =
        if named(&metrics, "BatchItemsFailed").any(|metric| metric.values == [2.0]) { (2.0, 2.0, 3.0) } else { (2.0, 1.0, 3.0) };
    ensure(counts == expected, format!("{counts:?}"))?;
    // Years, as the message was sent in 2023.
    ensure(of("BatchOldestItemAge") > 1e10, format!("{metrics:?}"))?;
    ensure(named(&metrics, "BatchItemsReturned").all(|metric| metric.dimension("event_source") == Some("sqs")), "no source")
}

async fn never_mixed() -> Tested {
    let mut runner = TestRunner::deterministic();
    let plan = prop::collection::vec(any::<i32>(), 1..8);
    let plans: Vec<Vec<i32>> = (0..4 * AT_ONCE)
        .map(|_| Ok(plan.new_tree(&mut runner)?.current()))
        .collect::<Result<_, proptest::test_runner::Reason>>()
        .map_err(|reason| reason.to_string())?;
    let stage = managed(AT_ONCE).stage(Probe::Metrics, |function| function).await?;
    let mut answers: Vec<(FunctionResponse, &Vec<i32>)> = Vec::new();
    for plans in plans.chunks(AT_ONCE) {
        let stage = &stage;
        let events = plans.iter().map(|values| async move {
            let payload = Do::Measure { values: values.clone() }.to_string().into();
            Ok((stage.invoke_event(Event { payload, ..Event::default() }).await?, values))
        });
        answers.extend(all(events).await?);
    }
    written(&stage.function, "responded", plans.len()).await?;
    stage.wait_for_logs("\"AfterResponse\":", plans.len()).await?;
    let metrics = metrics(&stage.function)?;
    let mut by_request = BTreeMap::<&str, Vec<&Metric>>::new();
    for metric in &metrics {
        by_request.entry(metric.request_id.as_deref().unwrap_or_default()).or_default().push(metric);
    }
    for (answer, values) in &answers {
        let of = |name: &str, place: Option<&str>| -> Vec<f64> {
            let own = by_request.get(answer.request_id.as_str()).into_iter().flatten();
            own.filter(|metric| metric.name == name && metric.dimension("where") == place)
                .flat_map(|metric| metric.values.clone())
                .collect()
        };
        let expected: Vec<f64> = values.iter().copied().map(f64::from).collect();
        let sum: f64 = values.iter().map(|value| f64::from(value.unsigned_abs())).sum();
        let found = [of("Own", None), of("Own", Some("task")), of("AfterResponse", None), of("Sum", None), of("Calls", None)];
        let wanted = [expected.clone(), expected.clone(), expected, vec![sum], vec![1.0]];
        ensure(found == wanted, format!("{found:?} instead of {wanted:?}"))?;
    }
    ensure(by_request.len() == answers.len() + 1, format!("metrics of {} invocations", by_request.len()))
}
