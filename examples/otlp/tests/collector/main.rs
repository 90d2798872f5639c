//! The clients of `opentelemetry-otlp`, against a collector: this binary is both the tests and, where `CLIENT` names one, the function.

mod collector;
mod function;
#[path = "../../../../tests/support/mod.rs"]
mod support;

use collector::{Collector, Protocol, text};
use function::{Ask, Client, Policy};
use lambda_lifecycle_sandbox::function::{FunctionBuilder, TraceMode};
use libtest_mimic::Failed;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use support::{Stage, Tested, ensure, test, test_unbounded, within};

fn main() -> std::process::ExitCode {
    if let Some(client) = support::named("CLIENT") {
        return function::main(client);
    }
    let mut tests = vec![
        test("the example sends its spans to the collector, with the vendor's key", example),
        test("the resource is what opentelemetry-aws detects, and what the variables and the code say", resource),
        test("a collector that refuses is left alone, and gets what waited when it takes spans again", refusing),
    ];
    for (client, flavor, managed, invocations) in [
        (Client::Default, "current_thread", false, 1_000),
        (Client::Default, "multi_thread", false, 100),
        (Client::Default, "multi_thread", true, 100),
        (Client::Reqwest, "current_thread", false, 100),
        (Client::Reqwest, "multi_thread", true, 100),
        (Client::Hyper, "current_thread", false, 100),
        (Client::Hyper, "multi_thread", true, 100),
        (Client::Grpc, "current_thread", false, 100),
        (Client::Grpc, "multi_thread", true, 100),
    ] {
        let kind = if managed { "Managed Instances" } else { "on demand" };
        let name = format!("{client:?}, {flavor}, {kind}: every span of {invocations} invocations arrives once");
        tests.push(test_unbounded(name, move || every_span(client, flavor, managed, invocations)));
    }
    for client in [Client::Reqwest, Client::Hyper, Client::Grpc] {
        tests.push(test(format!("{client:?}, in the task of the invocation: every span of 100 invocations arrives once"), move || {
            here(client)
        }));
    }
    for client in [Client::Default, Client::Reqwest, Client::Hyper, Client::Grpc] {
        for policy in [Policy::EveryInvocation, Policy::EveryHour, Policy::OnShutdown] {
            tests.push(test(format!("{client:?}, {policy:?}: spans leave when the policy says so"), move || flushes(client, policy)));
        }
    }
    support::run([tests])
}

/// A function in an environment without active tracing.
async fn stage(
    client: Client,
    collector: &Collector,
    change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
) -> Result<Stage, Failed> {
    let address = collector.address().to_owned();
    Stage::of_program(support::this_program(), |function| {
        let function = function.env("CLIENT", format!("{client:?}")).env("OTEL_EXPORTER_OTLP_ENDPOINT", address);
        change(function.trace_mode(TraceMode::PassThroughNotSampled))
    })
    .await
}

/// The work of the invocation with this number.
fn ask(number: usize) -> Ask {
    match number {
        _ if number % 500 == 42 => Ask::Hang,
        _ if number % 10 == 1 => Ask::Fail,
        _ if number % 10 == 2 => Ask::Later,
        _ => Ask::Work,
    }
}

async fn every_span(client: Client, flavor: &'static str, managed: bool, invocations: usize) -> Tested {
    let protocol = if client == Client::Grpc { Protocol::Grpc } else { Protocol::Http };
    let collector = Collector::start(protocol).await?;
    let configure = |function: FunctionBuilder| {
        // On a busy machine the watchdog may report a handler that hangs before its deadline does.
        let function = function.env("FLAVOR", flavor).env("LAMBDA_LIFECYCLE_WATCHDOG", "off");
        if managed { function.managed(8) } else { function }
    };
    let stage = stage(client, &collector, configure).await?;
    let mut asked = HashMap::new();
    for number in 0..invocations {
        let (ask, event) = (ask(number), json!(ask(number)));
        let answer = match ask {
            // The library posts its error long before this passes, however busy the machine is.
            Ask::Hang => stage.invoke_within(Duration::from_secs(4), event).await?,
            _ => stage.invoke(event).await?,
        };
        ensure(answer.result.is_ok() == matches!(ask, Ask::Work | Ask::Later), format!("{ask:?}: {:?}", answer.result))?;
        asked.insert(answer.request_id, ask);
    }
    let expected = |ask: &Ask| if *ask == Ask::Later { 4 } else { 2 };
    let count = asked.values().map(expected).sum();
    within(format!("{count} spans"), collector.wait_for(count)).await?;
    stage.settle().await?;
    let spans = collector.spans();
    ensure(stage.processes() == 1 && spans.len() == count, format!("{} spans of {count}", spans.len()))?;
    let ids: HashSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    ensure(ids.len() == count, "a span came twice")?;
    invocations_are_complete(&spans, &asked)
}

async fn here(client: Client) -> Tested {
    let collector = Collector::start(if client == Client::Grpc { Protocol::Grpc } else { Protocol::Http }).await?;
    let stage = stage(client, &collector, |function| function.env("HERE", "on")).await?;
    for _ in 0..100 {
        stage.invoke(json!(Ask::Work)).await?;
    }
    stage.settle().await?;
    let spans = collector.spans();
    let ids: HashSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    ensure(ids.len() == 200 && spans.len() == 200 && stage.problems().is_empty(), format!("{} spans", spans.len()))
}

async fn flushes(client: Client, policy: Policy) -> Tested {
    let collector = Collector::start(if client == Client::Grpc { Protocol::Grpc } else { Protocol::Http }).await?;
    let stage = stage(client, &collector, |function| function.env("FLUSH", format!("{policy:?}"))).await?;
    for invocations in 1..=3 {
        stage.invoke(json!(Ask::Work)).await?;
        stage.settle().await?;
        let expected = if policy == Policy::EveryInvocation { 2 * invocations } else { 0 };
        let spans = collector.spans().len();
        ensure(spans == expected, format!("{spans} spans after {invocations} invocations"))?;
    }
    within("the shutdown", stage.function.shutdown()).await?;
    let spans = collector.spans().len();
    ensure(spans == 6 && stage.problems().is_empty(), format!("{spans} spans at the end, {:?}", stage.problems()))
}

/// Each invocation has its spans in a separate trace, and the outcome that was asked for.
fn invocations_are_complete(spans: &[Span], asked: &HashMap<String, Ask>) -> Tested {
    for (request, ask) in asked {
        let is_own = |span: &&Span| text(&span.attributes, "faas.invocation_id") == Some(request);
        let own: Vec<&Span> = spans.iter().filter(is_own).collect();
        let [own] = own.as_slice() else { return Err(format!("{} server spans of {request}", own.len()).into()) };
        let mut of_trace: Vec<&str> = spans.iter().filter(|span| span.trace_id == own.trace_id).map(|span| &*span.name).collect();
        of_trace.sort_unstable();
        let expected: &[&str] =
            if *ask == Ask::Later { &["after response", "later", "probe", "work"] } else { &["probe", "work"] };
        ensure(of_trace == expected, format!("{ask:?}: {of_trace:?}"))?;
        let outcome = match ask {
            Ask::Work | Ask::Later => "responded",
            Ask::Fail => "failed",
            Ask::Hang => "deadline_exceeded",
        };
        let is_error = own.status.as_ref().is_some_and(|status| status.code == 2);
        let ended = text(&own.attributes, "outcome") == Some(outcome) && is_error == (outcome != "responded");
        ensure(ended && own.kind == SpanKind::Server as i32, format!("{ask:?}: {own:?}"))?;
    }
    Ok(())
}

async fn example() -> Tested {
    let collector = Collector::start(Protocol::Http).await?;
    let address = collector.address().to_owned();
    let stage = Stage::of_program(env!("CARGO_BIN_EXE_otlp-example").into(), |function| {
        let function = function.env("OTEL_EXPORTER_OTLP_ENDPOINT", address).env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=4711");
        function.trace_mode(TraceMode::PassThrough)
    })
    .await?;
    let answer = stage.invoke(json!({ "sku": "tea" })).await?;
    ensure(support::value(&answer)?["price"] == 300, format!("{:?}", answer.result))?;
    within("the spans", collector.wait_for(2)).await?;
    stage.settle().await?;
    let mut names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    names.sort();
    let key = collector.headers().get("api-key").map(|key| key.as_bytes().to_vec());
    let documents = stage.traces.find(|_| true).len();
    ensure(
        names == ["price", "probe"] && key.as_deref() == Some(b"4711") && documents == 0,
        format!("{names:?} {key:?} {documents}"),
    )
}

async fn resource() -> Tested {
    let collector = Collector::start(Protocol::Http).await?;
    let stage = stage(Client::Default, &collector, |function| {
        let function = function.env("OTEL_SERVICE_NAME", "checkout");
        function.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,team=of the variable,service.name=other")
    })
    .await?;
    stage.invoke(json!(Ask::Work)).await?;
    within("the spans", collector.wait_for(2)).await?;
    let found = collector.resource();
    let detected = stage.logged("\"detected\"");
    ensure(detected.len() >= 7, format!("{detected:?}"))?;
    for line in detected {
        let line: Value = serde_json::from_str(&line)?;
        let key = line["detected"].as_str().unwrap_or_default();
        ensure(found.iter().any(|attribute| attribute.key == key), format!("{key} is not in {found:?}"))?;
        let Some(text) = text(&found, key) else { continue };
        ensure(line["value"] == text, format!("{key} is {text}, and not {}", line["value"]))?;
    }
    for (key, value) in [
        ("service.name", "checkout"),
        ("service.namespace", "shop"),
        ("deployment.environment.name", "test"),
        ("team", "of the variable"),
        ("telemetry.sdk.language", "rust"),
    ] {
        ensure(text(&found, key) == Some(value), format!("{key}: {found:?}"))?;
    }
    Ok(())
}

async fn refusing() -> Tested {
    let collector = Collector::start(Protocol::Http).await?;
    collector.refuse(1);
    let stage = stage(Client::Default, &collector, |function| function).await?;
    stage.invoke(json!(Ask::Work)).await?;
    stage.settle().await?;
    ensure(
        collector.refused() == 1 && stage.codes().iter().any(|code| code == "exporter_failed"),
        format!("{:?}", stage.problems()),
    )?;
    let mut invocations = 0;
    let arrived = async {
        while collector.spans().is_empty() {
            stage.invoke(json!(Ask::Work)).await?;
            stage.settle().await?;
            invocations += 1;
        }
        Ok::<_, Failed>(())
    };
    within("spans after the pause", arrived).await??;
    let spans = collector.spans().len();
    ensure(spans == 2 * invocations && collector.refused() == 1, format!("{spans} spans of {invocations} invocations"))
}
