//! The invocations that each destination gets.

use crate::{
    behavior::{Do, Exporting, Probe},
    http::http_event,
    support::{Gate, Stage, Tested, ensure, test, value},
};
use lambda_lifecycle_sandbox::{
    Event, FunctionResponse,
    function::{FunctionBuilder, TraceMode},
    xray::{OtlpSpan, Problem, Source},
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
const PARENT: &str = "53995c3f42cd8ad8";

/// The trace header that Lambda sends with the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Sampled,
    NotSampled,
    /// PassThrough: the caller's decision is sent on, or there is none.
    RootOnly,
    /// PassThrough in its other form.
    PassThroughNotSampled,
    Nothing,
}

impl Sent {
    fn mode(self) -> TraceMode {
        match self {
            Self::Sampled => TraceMode::Active,
            Self::NotSampled => TraceMode::Raw(format!("Root={ROOT};Parent={PARENT};Sampled=0")),
            Self::PassThroughNotSampled => TraceMode::Raw(format!("Root={ROOT};Parent={PARENT};Sampled=0;Lineage=1:a87bd80c:0")),
            Self::RootOnly => TraceMode::Raw(format!("Root={ROOT};Lineage=1:a87bd80c:0")),
            Self::Nothing => TraceMode::Absent,
        }
    }

    fn has_parent(self) -> bool {
        !matches!(self, Self::RootOnly | Self::Nothing)
    }

    /// The end of the header that is sent on.
    fn decision(self) -> Option<&'static str> {
        match self {
            Self::Sampled => Some("1"),
            Self::NotSampled | Self::PassThroughNotSampled => Some("0"),
            Self::RootOnly | Self::Nothing => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destinations {
    XRay,
    Exporter,
    Both,
    /// X-Ray gets OTLP in place of documents.
    OtlpUdp,
}

impl Destinations {
    fn have_documents(self) -> bool {
        matches!(self, Self::XRay | Self::Both)
    }

    fn have_exporter(self) -> bool {
        matches!(self, Self::Exporter | Self::Both)
    }

    /// The transport to X-Ray.
    fn export(self) -> &'static str {
        match self {
            Self::XRay | Self::Both => "udp",
            Self::Exporter => "none",
            Self::OtlpUdp => "otlp-udp",
        }
    }
}

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        test("the sampler of the environment decides only for the exporters", sampler),
        test("an unknown sampler is reported once, and the exporters get everything", unknown_sampler),
        test("with X-Ray disabled, no warning asks to enable active tracing", no_hint),
        test("events are span events for the exporters, from the configured level", events),
        test("a server span is named after the method and the route for the exporters", route),
        test("spans of OpenTelemetry's global tracer are recorded", global_tracer),
        test("the spans of short work go to the exporter with the invocation's, in one call", one_call),
        test("one line at the start names the invocations of each destination", described),
        test("a span that outlives an invocation in a W3C caller's trace is below that invocation in X-Ray", late_of_continued),
        test("OTLP over UDP: 3,000 spans arrive once each, whatever the budget of documents is", many_as_otlp),
        test("OTLP over UDP: a span that is too long loses its longest parts, and no other loses any", long_as_otlp),
        test("OTLP over UDP: what a deadline ends arrives", ended_as_otlp),
    ];
    for sent in [Sent::Sampled, Sent::NotSampled, Sent::RootOnly, Sent::PassThroughNotSampled, Sent::Nothing] {
        for managed in [false, true] {
            let kind = if managed { "Managed Instances" } else { "on demand" };
            let name = format!("{kind}, {sent:?}: each destination gets its spans, in one trace");
            tests.push(test(name, move || row(sent, managed)));
        }
    }
    tests
}

async fn row(sent: Sent, managed: bool) -> Tested {
    for destinations in [Destinations::XRay, Destinations::Exporter, Destinations::Both, Destinations::OtlpUdp] {
        cell(sent, destinations, managed)
            .await
            .map_err(|failed| Failed::from(format!("{sent:?}, {destinations:?}: {}", failed.message().unwrap_or_default())))?;
    }
    Ok(())
}

/// A function that does its work in a span, and has these destinations.
async fn stage(sent: Sent, destinations: Destinations, managed: bool) -> Result<Stage, Failed> {
    let probe = if destinations.have_exporter() { Probe::Exporter } else { Probe::Value };
    let configure = |function: FunctionBuilder| {
        let function = function.env("EXPORTER", Exporting::Lists.to_string());
        let function = if managed { function.managed(8) } else { function };
        function.env("LAMBDA_LIFECYCLE_TRACE_EXPORT", destinations.export())
    };
    Stage::with(probe, sent.mode(), configure).await
}

async fn cell(sent: Sent, destinations: Destinations, managed: bool) -> Tested {
    let stage = stage(sent, destinations, managed).await?;
    let answer = stage.invoke(Do::Log).await?;
    if destinations.have_exporter() {
        stage.wait_for_logs("\"exported\"", 2).await?;
    }
    let to_xray = destinations.have_documents() && sent == Sent::Sampled;
    if to_xray {
        stage.finished_document(&answer).await?;
    }
    let as_otlp = destinations == Destinations::OtlpUdp;
    if as_otlp {
        stage.traces.wait_for(2, |document| document.source == Source::Otlp).await?;
    }
    stage.settle().await?;
    let otlp = stage.traces.otlp_spans();
    ensure(as_otlp || otlp.is_empty(), format!("{otlp:?}"))?;
    ensure(otlp.iter().all(|span| span.sampled == (sent == Sent::Sampled)), format!("{otlp:?}"))?;
    let exported = if as_otlp { otlp.iter().map(listed).collect() } else { exported(&stage) };
    let (server, work) = (named(&exported, "probe"), named(&exported, "work"));
    let expected = usize::from(destinations.have_exporter() || as_otlp);
    ensure((server.len(), work.len(), exported.len()) == (expected, expected, 2 * expected), format!("{exported:?}"))?;
    let trace = trace_of(sent, &answer, server.first());
    if let ([server], [work]) = (server.as_slice(), work.as_slice()) {
        ensure(server["trace_id"] == work["trace_id"] && work["parent_id"] == server["span_id"], format!("{exported:?}"))?;
        ensure(xray_form(&server["trace_id"]) == trace, format!("{exported:?} is not in {trace}"))?;
        let flags = u8::from(!as_otlp || sent == Sent::Sampled);
        ensure(exported.iter().all(|span| span["flags"] == flags), format!("{exported:?}"))?;
        let of_xray = |span: &Value| span["attributes"].to_string().contains("annotation.");
        ensure(!exported.iter().any(of_xray), format!("{exported:?}"))?;
        let parent = server["parent_id"].as_str().unwrap_or_default();
        let expected = if sent.has_parent() { parent != "0000000000000000" } else { parent == "0000000000000000" };
        ensure(expected && (sent == Sent::Sampled || !sent.has_parent() || parent == PARENT), format!("{server}"))?;
        let is_lambdas = || stage.traces.trace(&trace).is_some_and(|trace| trace.document(parent).is_some());
        ensure(!as_otlp || sent != Sent::Sampled || is_lambdas(), format!("{server} is not below Lambda's segment"))?;
    }
    ensure(otlp.iter().all(|span| span.resource["faas.name"] == "probe"), format!("{otlp:?}"))?;
    documents(&stage, to_xray, server.first())?;
    same_trace_everywhere(&stage, sent, destinations, &answer, &trace, server.first())
}

/// Checks the documents, and that they are the same spans as the exporter's.
fn documents(stage: &Stage, to_xray: bool, server: Option<&&Value>) -> Tested {
    let is_ours = |name: &str, outcome: Option<&str>| name == "work" || outcome.is_some();
    let of_ours =
        stage.traces.find(|document| document.source != Source::Otlp && is_ours(&document.name, document.annotation("outcome")));
    ensure(of_ours.len() == if to_xray { 2 } else { 0 }, format!("{} documents", of_ours.len()))?;
    // If Lambda does not sample, the sandbox sends no segment for it.
    stage.check(|problem| !matches!(problem, Problem::Orphan { parent_id, .. } if parent_id == PARENT))?;
    let own = of_ours.iter().find(|document| document.annotation("outcome").is_some());
    if let (Some(document), Some(server)) = (own, server) {
        let same = server["span_id"] == document.id && server["parent_id"] == document.parent_id.as_deref().unwrap_or_default();
        ensure(same, format!("{server} is {} below {:?}", document.id, document.parent_id))?;
    }
    Ok(())
}

/// Checks that the log and outgoing calls name the same trace, and that Lambda's decision is sent on.
fn same_trace_everywhere(
    stage: &Stage,
    sent: Sent,
    destinations: Destinations,
    answer: &FunctionResponse,
    trace: &str,
    server: Option<&&Value>,
) -> Tested {
    let has_trace = sent != Sent::Nothing || destinations != Destinations::XRay;
    let lines = stage.logged("the user's line");
    let line: Value = serde_json::from_str(lines.first().ok_or("no line")?)?;
    ensure(!has_trace || line.to_string().contains(trace), format!("{line} is not of {trace}"))?;
    let header = value(answer)?["header"].as_str().unwrap_or_default().to_owned();
    let by_hand = value(answer)?["by_hand"].as_str().unwrap_or_default().to_owned();
    let named = |header: &str| header.split(";Lineage=").next().map(str::to_owned);
    // A Root without a Parent is in no context of OpenTelemetry's.
    let is_in_context = sent.has_parent() || destinations != Destinations::XRay;
    ensure(!is_in_context || named(&by_hand) == named(&header), format!("{by_hand}, and {header}"))?;
    let field = |name: &str| header.split(';').find_map(|field| field.strip_prefix(name)).map(str::to_owned);
    let same = field("Root=").as_deref() == has_trace.then_some(trace) && field("Sampled=").as_deref() == sent.decision();
    ensure(same, format!("{header:?} is not of {trace}"))?;
    match server {
        Some(server) => ensure(field("Parent=").as_deref() == server["span_id"].as_str(), format!("{header}: {server}")),
        None if sent == Sent::Sampled => Ok(()),
        // The header of an invocation that is not recorded is passed on unchanged.
        None => ensure(field("Parent=").is_some() == sent.has_parent(), header),
    }
}

/// The trace that all of them must name.
fn trace_of(sent: Sent, answer: &FunctionResponse, server: Option<&&Value>) -> String {
    match sent {
        Sent::Sampled => answer.trace_id.clone(),
        Sent::Nothing => server.map(|server| xray_form(&server["trace_id"])).unwrap_or_default(),
        _ => ROOT.to_owned(),
    }
}

fn xray_form(trace: &Value) -> String {
    let digits = trace.as_str().unwrap_or_default();
    if digits.len() < 8 { String::new() } else { format!("1-{}-{}", &digits[..8], &digits[8..]) }
}

fn exported(stage: &Stage) -> Vec<Value> {
    let lines = stage.logged("\"exported\"");
    lines.iter().filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["exported"].take())).collect()
}

/// The same as a function's exporter lists it.
fn listed(span: &OtlpSpan) -> Value {
    json!({
        "name": span.name,
        "trace_id": span.trace_id.trim_start_matches("1-").replace('-', ""),
        "span_id": span.id,
        "parent_id": span.parent_id.as_deref().unwrap_or("0000000000000000"),
        "flags": span.trace_flags,
        "attributes": span.attributes,
    })
}

fn named<'s>(spans: &'s [Value], name: &str) -> Vec<&'s Value> {
    spans.iter().filter(|span| span["name"] == name).collect()
}

async fn late_of_continued() -> Tested {
    for export in ["udp", "otlp-udp"] {
        let configure = |function: FunctionBuilder| {
            let function = function.env("OTEL_PROPAGATORS", "xray,tracecontext").env("EXPORTER", Exporting::Lists.to_string());
            function.managed(2).env("LAMBDA_LIFECYCLE_TRACE_EXPORT", export)
        };
        let stage = Stage::with(Probe::Exporter, TraceMode::Active, configure).await?;
        let gate = Gate::new().await?;
        let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let payload = Do::Outlive { gate: gate.address()? }.to_string().into();
        let client_context = Some(json!({ "custom": { "traceparent": caller } }).to_string());
        let answer = stage.invoke_event(Event { payload, client_context, ..Event::default() }).await?;
        let span = gate.held().await?;
        stage
            .traces
            .wait_for(1, |document| document.name == "probe" && !document.in_progress && document.source != Source::Platform)
            .await?;
        span.release();
        stage.wait_for_logs("outlived its invocation", 1).await?;
        // It is sent with the next invocation.
        stage.invoke(json!({})).await?;
        let late = stage.traces.wait_for(1, |document| document.name == "outliving").await?;
        let own = stage.traces.find(|document| {
            document.trace_id == answer.trace_id && document.name == "probe" && document.source != Source::Platform
        });
        let below = late[0].parent_id.as_ref() == own.first().map(|own| &own.id) && late[0].trace_id == answer.trace_id;
        ensure(below && own.len() == 1, format!("{export}: {late:?} is not below {own:?}"))?;
        stage.documents_are_valid()?;
        stage.wait_for_logs("\"name\":\"outliving\",\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"", 1).await?;
    }
    Ok(())
}

/// A function whose spans leave as OTLP.
async fn otlp_stage(sent: Sent, configure: impl FnOnce(FunctionBuilder) -> FunctionBuilder) -> Result<Stage, Failed> {
    Stage::with(Probe::Value, sent.mode(), |function| {
        configure(function.env("LAMBDA_LIFECYCLE_TRACE_EXPORT", Destinations::OtlpUdp.export()))
    })
    .await
}

async fn many_as_otlp() -> Tested {
    const SPANS: u64 = 3_000;
    for sent in [Sent::Sampled, Sent::RootOnly] {
        let stage = otlp_stage(sent, |function| function.env("LAMBDA_LIFECYCLE_TRACE_BUDGET", "10000")).await?;
        stage.invoke(Do::ManySpans { count: SPANS }).await?;
        stage.settle().await?;
        let spans = stage.traces.otlp_spans();
        let mut ids: Vec<&str> = spans.iter().map(|span| &*span.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = (spans.len(), ids.len(), stage.traces.rejected().len(), stage.traces.dropped());
        ensure(found == (SPANS as usize + 1, SPANS as usize + 1, 0, 0), format!("{found:?}"))?;
    }
    Ok(())
}

async fn long_as_otlp() -> Tested {
    let stage = otlp_stage(Sent::Sampled, |function| function).await?;
    for length in [70_000, 10, 200_000] {
        stage.invoke(Do::Instrument { secret: "x".repeat(length) }).await?;
    }
    stage.settle().await?;
    let spans = stage.traces.otlp_spans();
    let dropped = |span: &OtlpSpan| span.dropped_attributes + span.dropped_events + span.dropped_links;
    let cut: Vec<bool> = spans.iter().filter(|span| span.kind != "SERVER").map(|span| dropped(span) > 0).collect();
    let servers = spans.iter().filter(|span| span.kind == "SERVER" && dropped(span) == 0).count();
    ensure((cut.as_slice(), servers) == (&[true, false, true], 3), format!("{cut:?} {servers}"))?;
    let reported = stage.reported_as("code", "span_too_long");
    ensure(reported.len() == 1 && stage.traces.rejected().is_empty(), format!("{reported:?} {:?}", stage.traces.rejected()))
}

async fn ended_as_otlp() -> Tested {
    // On a busy machine the watchdog may report the handler before its deadline does.
    let stage = otlp_stage(Sent::PassThroughNotSampled, |function| function.env("LAMBDA_LIFECYCLE_WATCHDOG", "off")).await?;
    stage.invoke_within(std::time::Duration::from_secs(4), Do::Hang).await?;
    stage.settle().await?;
    let ended = |spans: &[OtlpSpan]| {
        let outcomes = spans.iter().map(|span| (span.sampled, span.attributes.get("outcome").cloned()));
        outcomes.collect::<Vec<_>>()
    };
    let spans = stage.traces.otlp_spans();
    ensure(ended(&spans) == [(false, Some(json!("deadline_exceeded")))], format!("{spans:?}"))?;
    ensure(spans[0].error.is_some() && spans[0].parent_id.as_deref() == Some(PARENT), format!("{spans:?}"))
}

async fn sampler() -> Tested {
    for (name, argument, sent, expected) in [
        ("always_off", "", Sent::Sampled, 0),
        ("parentbased_always_on", "", Sent::NotSampled, 0),
        ("parentbased_always_on", "", Sent::RootOnly, 1),
        ("parentbased_always_off", "", Sent::Sampled, 1),
        ("parentbased_always_off", "", Sent::Nothing, 0),
        ("traceidratio", "0", Sent::Sampled, 0),
        ("traceidratio", "1", Sent::Nothing, 1),
        ("parentbased_traceidratio", "0", Sent::Sampled, 1),
    ] {
        let configure = |function: FunctionBuilder| {
            let function = function.env("EXPORTER", Exporting::Lists.to_string());
            function.env("OTEL_TRACES_SAMPLER", name).env("OTEL_TRACES_SAMPLER_ARG", argument)
        };
        let stage = Stage::with(Probe::Exporter, sent.mode(), configure).await?;
        let answer = stage.invoke(Do::Log).await?;
        stage.settle().await?;
        let spans = exported(&stage);
        ensure(named(&spans, "probe").len() == expected, format!("{name} {argument}, {sent:?}: {spans:?}"))?;
        let documents = stage.traces.find(|document| document.annotation("outcome").is_some()).len();
        ensure(documents == usize::from(sent == Sent::Sampled), format!("{name}, {sent:?}: {documents} documents"))?;
        // A decision against it leaves Lambda's unchanged.
        let header = value(&answer)?["header"].to_string();
        let decision = sent.decision().is_none_or(|decision| header.contains(&format!("Sampled={decision}")));
        ensure(decision && stage.problems().is_empty(), format!("{name}, {sent:?}: {header} {:?}", stage.problems()))?;
    }
    Ok(())
}

async fn unknown_sampler() -> Tested {
    let configure = |function: FunctionBuilder| {
        function.env("EXPORTER", Exporting::Lists.to_string()).env("OTEL_TRACES_SAMPLER", "sometimes")
    };
    let stage = Stage::with(Probe::Exporter, TraceMode::PassThrough, configure).await?;
    for _ in 0..2 {
        stage.invoke(Do::Log).await?;
        stage.settle().await?;
    }
    ensure(named(&exported(&stage), "work").len() == 2, format!("{:?}", exported(&stage)))?;
    let reported = stage.reported_as("code", "setting_invalid");
    ensure(reported.len() == 1 && reported[0]["value"] == "sometimes", format!("{reported:?}"))
}

async fn no_hint() -> Tested {
    let stage = stage(Sent::PassThroughNotSampled, Destinations::Exporter, false).await?;
    stage.invoke(Do::Log).await?;
    stage.settle().await?;
    ensure(stage.reported_as("code", "not_sampled").is_empty(), "the hint appears")?;
    let stage = self::stage(Sent::PassThroughNotSampled, Destinations::Both, false).await?;
    stage.invoke(Do::Log).await?;
    stage.settle().await?;
    ensure(stage.reported_as("code", "not_sampled").len() == 1, "no hint")
}

async fn described() -> Tested {
    let configure = |function: FunctionBuilder| {
        function
            .env("AWS_LAMBDA_LOG_LEVEL", "DEBUG")
            .env("OTEL_TRACES_SAMPLER", "traceidratio")
            .env("OTEL_TRACES_SAMPLER_ARG", "0.25")
    };
    let stage = Stage::with(Probe::Exporter, TraceMode::Active, configure).await?;
    stage.invoke(Do::Log).await?;
    let lines = stage.logged("TraceIdRatioBased(0.25)");
    ensure(lines.len() == 1 && lines[0].contains("X-Ray daemon") && lines[0].contains("DEBUG"), format!("{lines:?}"))
}

async fn events() -> Tested {
    for (level, expected) in [("error", 0), ("info", 1)] {
        let configure = |function: FunctionBuilder| {
            function.env("EXPORTER", Exporting::Lists.to_string()).env("LAMBDA_LIFECYCLE_TRACE_EVENTS", level)
        };
        let stage = Stage::with(Probe::Exporter, TraceMode::PassThrough, configure).await?;
        stage.invoke(Do::Log).await?;
        stage.settle().await?;
        let spans = exported(&stage);
        let events = spans.iter().filter_map(|span| span["events"].as_array()).flatten();
        let found = events.filter(|event| *event == "the user's line").count();
        ensure(found == expected, format!("{level}: {spans:?}"))?;
    }
    Ok(())
}

async fn route() -> Tested {
    let configure = |function: FunctionBuilder| function.env("EXPORTER", Exporting::Lists.to_string());
    let stage = Stage::with(Probe::HttpExporter, TraceMode::Active, configure).await?;
    let answer = stage.invoke(http_event("/orders/7")).await?;
    let document = stage.document(&answer).await?;
    let spans = exported(&stage);
    let server = named(&spans, "GET /orders/{id}");
    ensure(server.len() == 1 && document.name == "probe", format!("{spans:?} {}", document.name))
}

async fn global_tracer() -> Tested {
    let stage = stage(Sent::Sampled, Destinations::Both, false).await?;
    let answer = stage.invoke(Do::GlobalTracer).await?;
    stage.document(&answer).await?;
    let spans = exported(&stage);
    let (outer, inner) = (named(&spans, "outer"), named(&spans, "inner"));
    let ([outer], [inner]) = (outer.as_slice(), inner.as_slice()) else { return Err(format!("{spans:?}").into()) };
    ensure(inner["parent_id"] == outer["span_id"] && inner["scope"] == "a library", format!("{spans:?}"))?;
    let document = stage.xray.only("the library's", |document| document.name == "inner")?;
    ensure(inner["span_id"] == document.id, format!("{:?}", document.raw))
}

async fn one_call() -> Tested {
    let stage = stage(Sent::NotSampled, Destinations::Exporter, false).await?;
    stage.invoke(json!({ "after": "the work" })).await?;
    stage.settle().await?;
    let (calls, spans) = (stage.logged("{\"call\":"), exported(&stage));
    // The invocation's span and the work's.
    ensure(calls.len() == 1 && spans.len() == 2, format!("{calls:?} {spans:?}"))
}
