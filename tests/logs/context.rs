//! The fields of a line besides its event: the fields of the enclosing spans, and keys.

use crate::{
    function::{Do, Probe},
    lines::{Fields, fields},
    support::{Stage, Tested, ensure, test},
};
use lambda_lifecycle_sandbox::{
    Event,
    function::{FunctionBuilder, TraceMode},
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    let formats = ["JSON", "Text"].into_iter().flat_map(|format| {
        [
            test(format!("a line has every field that lambda_runtime's subscriber writes, {format}"), move || theirs(format)),
            test(format!("neither sampling nor the trace's settings change the fields, {format}"), move || untraced(format)),
        ]
    });
    let others = [
        test("a warning has its context under RUST_LOG=warn", quiet),
        test("span fields can be switched off", switched_off),
        test("a JSON line has its fields at its top, each once", flat),
        test("a redactor covers span fields and keys", redacted),
        test("keys of the process, of the invocation and of spans override each other in this order", keys),
        test("executionArn and tenantId are at the top of a line", platform_keys),
    ];
    formats.chain(others).collect()
}

/// The lines that an invocation of a probe writes.
async fn lines(
    probe: Probe,
    act: Do,
    mode: TraceMode,
    change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
) -> Result<(Stage, Vec<String>), Failed> {
    let stage = Stage::with(probe, mode, change).await?;
    let answer = stage.invoke(json!(act)).await?;
    ensure(answer.result.is_ok(), format!("{answer:?}"))?;
    stage.settle().await?;
    let lines = stage.logged("");
    Ok((stage, lines))
}

/// The only line with this message.
fn only<'l>(lines: &'l [String], message: &str) -> Result<&'l str, Failed> {
    let mut found = lines.iter().filter(|line| line.contains(message));
    match (found.next(), found.next()) {
        (Some(line), None) => Ok(line),
        _ => Err(format!("not one line with {message:?}: {lines:#?}").into()),
    }
}

const MESSAGES: [&str; 4] = ["placed", "reserved", "kept", "spawned"];

async fn theirs(format: &'static str) -> Tested {
    let (_, theirs) = lines(Probe::Theirs, Do::Instrumented, TraceMode::Active, |function| function.log_format(format)).await?;
    let (_, ours) = lines(Probe::Ours, Do::Instrumented, TraceMode::Active, |function| function.log_format(format)).await?;
    for message in MESSAGES {
        let (theirs, ours) = (fields(only(&theirs, message)?), only(&ours, message)?);
        let mut missing = theirs.clone();
        let found = fields(ours);
        // The ids differ from run to run, and our trace id is the root of their trace header.
        for (their_key, our_key) in [("requestId", "requestId"), ("xrayTraceId", "traceId")] {
            ensure(missing.remove(their_key).is_some() && found.contains_key(our_key), format!("{theirs:?}\n{ours}"))?;
        }
        ensure(missing.len() > 5, format!("they have few fields: {theirs:?}"))?;
        missing.retain(|key, value| found.get(key) != Some(value));
        ensure(missing.is_empty(), format!("{missing:?} are missing in {ours}"))?;
    }
    Ok(())
}

/// The fields of the handler's lines.
fn expected(message: &str) -> Vec<(&'static str, &'static str)> {
    let mut expected = vec![("customer", "ada"), ("price", "1.5"), ("express", "true"), ("note", "late"), ("order_id", "42")];
    if message == "reserved" {
        expected[0].1 = "eve";
        expected[4].1 = "43";
        expected.push(("attempt", "3"));
    }
    expected
}

fn has_all(line: &str, message: &str) -> Tested {
    let found: Fields = fields(line);
    let missing = expected(message).into_iter().find(|(key, value)| found.get(*key).map(String::as_str) != Some(value));
    ensure(missing.is_none(), format!("{missing:?} is missing in {line}"))?;
    ensure(found.contains_key("requestId"), format!("no request id in {line}"))
}

async fn untraced(format: &'static str) -> Tested {
    let settings = [("", ""), ("LAMBDA_LIFECYCLE_TRACE_FILTER", "off"), ("LAMBDA_LIFECYCLE_TRACE", "off")];
    for (mode, (variable, value)) in [TraceMode::NotSampled, TraceMode::Active, TraceMode::Active].into_iter().zip(settings) {
        let change = |function: FunctionBuilder| {
            let function = function.log_format(format);
            if variable.is_empty() { function } else { function.env(variable, value) }
        };
        let (_, lines) = lines(Probe::Ours, Do::Instrumented, mode, change).await?;
        for message in MESSAGES {
            has_all(only(&lines, message)?, message)?;
        }
    }
    Ok(())
}

async fn quiet() -> Tested {
    let (_, lines) =
        lines(Probe::Ours, Do::Instrumented, TraceMode::NotSampled, |function| function.env("RUST_LOG", "warn")).await?;
    ensure(lines.len() == 1, format!("{lines:?}"))?;
    has_all(only(&lines, "kept")?, "kept")
}

async fn switched_off() -> Tested {
    for mode in [TraceMode::Active, TraceMode::NotSampled] {
        let off = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_LOG_SPAN_FIELDS", "off");
        let (_, lines) = lines(Probe::Ours, Do::Instrumented, mode, off).await?;
        let found = fields(only(&lines, "placed")?);
        ensure(found.contains_key("item") && !found.contains_key("order_id"), format!("{found:?}"))?;
    }
    Ok(())
}

async fn flat() -> Tested {
    let (_, lines) = lines(Probe::Ours, Do::Instrumented, TraceMode::Active, |function| function).await?;
    for message in MESSAGES {
        let line = only(&lines, message)?;
        let parsed: Value = serde_json::from_str(line)?;
        let nested = parsed.as_object().into_iter().flatten().find(|(_, value)| value.is_object() || value.is_array());
        ensure(nested.is_none(), format!("{nested:?} in {line}"))?;
        let names = parsed.as_object().into_iter().flatten().map(|(key, _)| key);
        for name in names {
            ensure(line.matches(&format!("\"{name}\":")).count() == 1, format!("{name} twice in {line}"))?;
        }
    }
    Ok(())
}

async fn redacted() -> Tested {
    let (_, lines) = lines(Probe::Redacting, Do::Instrumented, TraceMode::NotSampled, |function| function).await?;
    ensure(lines.iter().all(|line| !line.contains("marked")), format!("{lines:#?}"))?;
    for message in MESSAGES {
        let found = fields(only(&lines, message)?);
        ensure(found.get("card").is_some_and(|card| card == "(redacted)"), format!("{found:?}"))?;
        has_all(only(&lines, message)?, message)?;
    }
    Ok(())
}

async fn keys() -> Tested {
    for format in ["JSON", "Text"] {
        let change = |function: FunctionBuilder| function.log_format(format).env("POWERTOOLS_SERVICE_NAME", "shop").version("7");
        let (stage, all) = lines(Probe::Keys, Do::Keys, TraceMode::NotSampled, change).await?;
        let has = |message: &str, pairs: &[(&str, &str)]| {
            let line = only(&all, message)?;
            let found = fields(line);
            let missing = pairs.iter().find(|(key, value)| found.get(*key).map(String::as_str) != Some(*value));
            ensure(missing.is_none(), format!("{missing:?} is missing in {line}"))
        };
        let standard = [("function_name", "probe"), ("function_version", "7"), ("service", "shop")];
        has("the function begins", &[("stage", "production"), ("release", "42")])?;
        has("the function begins", &standard)?;
        has("with keys", &standard)?;
        has("with keys", &[("cold_start", "true"), ("function_memory_size", "128"), ("function_arn", &stage.function.arn())])?;
        has("with keys", &[("stage", "production"), ("release", "43"), ("order_id", "42"), ("plan", "gold")])?;
        has("overridden", &[("order_id", "7"), ("plan", "silver"), ("release", "43")])?;
        has("after the response", &[("order_id", "42"), ("plan", "gold")])?;
        stage.invoke(json!(Do::Plain)).await?;
        stage.settle().await?;
        let later = stage.logged("plain");
        let found = fields(only(&later, "plain")?);
        ensure(found.get("cold_start").is_some_and(|cold| cold == "false"), format!("{found:?}"))?;
        ensure(
            !found.contains_key("order_id") && !found.contains_key("plan"),
            format!("keys of an earlier invocation: {found:?}"),
        )?;
    }
    Ok(())
}

async fn platform_keys() -> Tested {
    let stage = Stage::new(Probe::Ours, TraceMode::NotSampled).await?;
    let event = Event { payload: json!(Do::Durable).to_string().into(), tenant_id: Some("blue".to_owned()), ..Event::default() };
    let answer = stage.invoke_event(event).await?;
    stage.settle().await?;
    let line: Value = serde_json::from_str(only(&stage.logged("a step"), "a step")?)?;
    let execution = line["executionArn"].as_str().unwrap_or_default();
    ensure(execution.contains("/durable-execution/") && line["tenantId"] == "blue", line.to_string())?;
    ensure(line["requestId"] == answer.request_id && line["fields"].is_null(), line.to_string())
}
