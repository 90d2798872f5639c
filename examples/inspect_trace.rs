//! Fetches a trace from X-Ray by its id and prints it as a waterfall; with `--check`, compares it with what a function says it sent.
//!
//!     cargo run --example inspect_trace -- 1-5759e988-bd862e3fe1be46a994272793
//!
//! Where X-Ray's index does not have the trace, as with Transaction Search, the spans of the trace are retrieved from CloudWatch Logs, which takes
//! some seconds.
//!
//! Credentials and region are found as everywhere in AWS; the role needs `xray:BatchGetTraces`, `xray:StartTraceRetrieval` and
//! `xray:ListRetrievedTraces`. `--endpoint http://…` asks the API of a sandbox instead, and needs neither.
//!
//! `--console` shows it in the browser instead, until Ctrl-C. Its argument may also be a file with segments or documents as JSON: one a
//! line, or a list of them.
//!
//! For `--check FILE` (`-` for standard input), let the function print what it sends with `LAMBDA_LIFECYCLE_TRACE_PRINT=on`, and hand
//! over its log: lines that are not documents of this trace are passed over. Exit status 1 when the trace is not there, or is not what
//! was sent.

use aws_config::Region;
use aws_sdk_xray::{
    Client,
    config::Credentials,
    error::DisplayErrorContext,
    operation::start_trace_retrieval::StartTraceRetrievalError,
    primitives::DateTime,
    types::{RetrievalStatus, RetrievedTrace, TraceFormatType},
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_lifecycle_sandbox::{
    console::Console,
    render,
    xray::{Document, Kind, Trace, TraceStore},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io::Read,
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const USAGE: &str = "usage: inspect_trace [--console] TRACE_ID|FILE [--endpoint URL] [--check FILE]

  TRACE_ID        as in 1-5759e988-bd862e3fe1be46a994272793
  FILE            segments or documents as JSON, one a line or as a list, such as LAMBDA_LIFECYCLE_TRACE_PRINT=on writes them
  --console       show the trace in the browser
  --endpoint URL  X-Ray's API elsewhere than in AWS: a sandbox's
  --check FILE    compare with the documents in FILE, one a line; - is standard input";

const NOT_FOUND: &str = "X-Ray knows no such trace. It may be too new (a trace is there after some seconds) or over 30 days old, in \
another region or account, or not sampled. It is not in Transaction Search (aws/spans) either.";

/// How often a retrieval is asked for its result, and how long it may take.
const POLL: Duration = Duration::from_millis(500);
const POLLS: usize = 240;

#[derive(Debug)]
struct Arguments {
    trace_id: String,
    endpoint: Option<String>,
    check: Option<String>,
    console: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(arguments) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    let store = TraceStore::new();
    let mut trace_id = arguments.trace_id.clone();
    if Path::new(&trace_id).is_file() {
        for segment in segments(&read(&trace_id)?) {
            store.put_fetched(segment);
        }
        let Some(first) = store.traces().into_iter().next() else {
            eprintln!("{trace_id} has no segment or document as JSON");
            return Ok(ExitCode::FAILURE);
        };
        trace_id = first.id;
    } else {
        let client = client(arguments.endpoint.as_deref()).await;
        let found = match fetch(&client, &trace_id).await {
            Ok(segments) if segments.is_empty() => retrieve(&client, &trace_id).await,
            found => found,
        };
        match found {
            Ok(segments) => {
                for segment in segments {
                    store.put_fetched(serde_json::from_str(&segment)?);
                }
            }
            Err(error) => {
                eprintln!("X-Ray's API: {error}");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let Some(trace) = store.trace(&trace_id) else {
        eprintln!("{NOT_FOUND}");
        return Ok(ExitCode::FAILURE);
    };
    if arguments.console {
        let console = Console::builder().traces(&store).start().await?;
        println!("{}\nCtrl-C ends it.", console.trace_url(&trace_id));
        tokio::signal::ctrl_c().await?;
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", render::waterfall(&trace));
    let Some(file) = &arguments.check else { return Ok(ExitCode::SUCCESS) };
    let sent = documents(&read(file)?, &trace_id);

    let differences = compare(&sent, &trace);
    println!();
    for difference in &differences {
        println!("{difference}");
    }
    if sent.is_empty() {
        println!("nothing to compare with: the file has no document of this trace");
        return Ok(ExitCode::FAILURE);
    }
    println!("{} documents sent, {} differences", sent.len(), differences.len());
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn arguments(mut given: impl Iterator<Item = String>) -> Option<Arguments> {
    let (mut trace_id, mut endpoint, mut check, mut console) = (None, None, None, false);
    while let Some(argument) = given.next() {
        let place = match argument.as_str() {
            "--endpoint" => &mut endpoint,
            "--check" => &mut check,
            "--console" => {
                console = true;
                continue;
            }
            other if other.starts_with("--") => return None,
            _ => {
                if trace_id.replace(argument).is_some() {
                    return None;
                }
                continue;
            }
        };
        *place = Some(given.next()?);
    }
    Some(Arguments { trace_id: trace_id?, endpoint, check, console })
}

fn read(file: &str) -> Result<String, Box<dyn Error>> {
    let mut text = Vec::new();
    if file == "-" {
        std::io::stdin().read_to_end(&mut text)?;
    } else {
        text = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The segments and documents of a file: values that have a trace id, a list of them, or what `BatchGetTraces` returns.
fn segments(text: &str) -> Vec<Value> {
    let mut open: Vec<Value> = match serde_json::from_str(text) {
        Ok(whole) => vec![whole],
        Err(_) => text.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect(),
    };
    let mut found = Vec::new();
    while let Some(value) = open.pop() {
        match value {
            Value::Array(values) => open.extend(values),
            Value::Object(fields) if fields.contains_key("trace_id") && fields.contains_key("start_time") => {
                found.push(Value::Object(fields));
            }
            Value::Object(fields) => {
                let inside = ["Traces", "Segments", "Document"].iter().filter_map(|key| fields.get(*key));
                open.extend(inside.map(|value| match value {
                    Value::String(document) => serde_json::from_str(document).unwrap_or_default(),
                    other => other.clone(),
                }));
            }
            _ => {}
        }
    }
    found
}

async fn client(endpoint: Option<&str>) -> Client {
    let https = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut loader = aws_config::from_env().http_client(https);
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        // The sandbox does not check signatures.
        let anybody = Credentials::new("anybody", "none", None, None, "inspect_trace");
        loader = loader.region(Region::new("eu-west-1")).credentials_provider(anybody);
    }
    let mut config = aws_sdk_xray::config::Builder::from(&loader.load().await);
    config.set_endpoint_url(endpoint.map(str::to_owned));
    Client::from_conf(config.build())
}

/// The trace's segments, each with what the service put together below it.
async fn fetch(client: &Client, trace_id: &str) -> Result<Vec<String>, String> {
    let mut segments = Vec::new();
    let mut next = None;
    loop {
        let call = client.batch_get_traces().trace_ids(trace_id).set_next_token(next);
        let answer = call.send().await.map_err(|error| DisplayErrorContext(error).to_string())?;
        for trace in answer.traces() {
            segments.extend(trace.segments().iter().filter_map(|segment| segment.document()).map(str::to_owned));
        }
        next = answer.next_token;
        if next.is_none() {
            return Ok(segments);
        }
    }
}

/// The trace's segments from Transaction Search, which keeps the traces that X-Ray's index does not have.
async fn retrieve(client: &Client, trace_id: &str) -> Result<Vec<String>, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (from, to) = span_of(trace_id, now);
    let [from, to] = [from, to].map(|seconds| DateTime::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)));
    let started = client.start_trace_retrieval().trace_ids(trace_id).start_time(from).end_time(to).send().await;
    let started = match started {
        Ok(started) => started,
        // Where Transaction Search was never switched on.
        Err(error) if error.as_service_error().is_some_and(StartTraceRetrievalError::is_resource_not_found_exception) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(DisplayErrorContext(error).to_string()),
    };
    let mut segments = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..POLLS {
        let call = client.list_retrieved_traces().set_retrieval_token(started.retrieval_token.clone());
        let call = call.trace_format(TraceFormatType::Xray).set_next_token(next.take());
        let answer = call.send().await.map_err(|error| DisplayErrorContext(error).to_string())?;
        match answer.retrieval_status() {
            Some(RetrievalStatus::Scheduled | RetrievalStatus::Running) => {
                tokio::time::sleep(POLL).await;
                continue;
            }
            Some(RetrievalStatus::Complete) => {}
            other => return Err(format!("the retrieval from Transaction Search ended as {other:?}")),
        }
        for span in answer.traces().iter().flat_map(RetrievedTrace::spans) {
            segments.extend(span.document().map(str::to_owned));
        }
        next = answer.next_token;
        if next.is_none() {
            return Ok(segments);
        }
    }
    Err("the retrieval from Transaction Search takes longer than two minutes".to_owned())
}

/// When the trace may have been, in seconds since the epoch. Its id begins with its first second, unless another tracer than X-Ray's made it.
fn span_of(trace_id: &str, now: u64) -> (u64, u64) {
    const HOUR: u64 = 3_600;
    let began = trace_id.split('-').nth(1).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match began.filter(|began| (now.saturating_sub(30 * 24 * HOUR)..=now).contains(began)) {
        Some(began) => (began - HOUR, now.min(began + 24 * HOUR) + 1),
        None => (now.saturating_sub(24 * HOUR), now + 1),
    }
}

/// The documents of a trace among the lines of a log, by id. Where one came twice, the one that is finished counts.
fn documents(log: &str, trace_id: &str) -> BTreeMap<String, Value> {
    let mut documents = BTreeMap::new();
    let all = log.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
    for document in all.filter(|document| document["trace_id"] == trace_id && document["start_time"].is_number()) {
        let Some(id) = document["id"].as_str() else { continue };
        if document["in_progress"] != true || !documents.contains_key(id) {
            documents.insert(id.to_owned(), document);
        }
    }
    documents
}

/// Documents of `sent` that the trace lacks or shows differently, and subsegments below them that were not sent.
fn compare(sent: &BTreeMap<String, Value>, trace: &Trace) -> Vec<String> {
    let mut differences = Vec::new();
    for (id, document) in sent {
        let name = &document["name"];
        match trace.document(id) {
            None => differences.push(format!("missing    {id} {name}")),
            Some(found) => {
                let keys = differing(document, found);
                if !keys.is_empty() {
                    differences.push(format!("different  {id} {name}: {}", keys.join(", ")));
                }
            }
        }
    }
    // A segment below belongs to the callee.
    let extra = |document: &&Document| {
        document.kind == Kind::Subsegment
            && !sent.contains_key(&document.id)
            && document.parent_id.as_ref().is_some_and(|parent| sent.contains_key(parent))
    };
    for document in trace.documents.iter().map(AsRef::as_ref).filter(extra) {
        differences.push(format!("extra      {} {:?}", document.id, document.name));
    }
    differences
}

/// The keys that were sent and are missing or changed. The service adds other keys.
fn differing<'a>(sent: &'a Value, found: &Document) -> Vec<&'a str> {
    let keys: BTreeSet<&str> = sent.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let differs = |key: &&str| match *key {
        // Where the service puts a subsegment into its parent, its place says what these said.
        "trace_id" | "type" | "subsegments" => false,
        "parent_id" => sent["parent_id"].as_str() != found.parent_id.as_deref(),
        key => !same(&sent[key], &found.raw[key]),
    };
    keys.into_iter().filter(differs).collect()
}

/// Equal, but for what a number may lose on its way: less than a microsecond.
fn same(sent: &Value, found: &Value) -> bool {
    match (sent, found) {
        (Value::Number(sent), Value::Number(found)) => {
            sent == found || sent.as_f64().zip(found.as_f64()).is_some_and(|(sent, found)| (sent - found).abs() < 1e-6)
        }
        (Value::Array(sent), Value::Array(found)) => {
            sent.len() == found.len() && sent.iter().zip(found).all(|(sent, found)| same(sent, found))
        }
        (Value::Object(sent), Value::Object(found)) => {
            sent.len() == found.len() && sent.iter().all(|(key, value)| found.get(key).is_some_and(|found| same(value, found)))
        }
        _ => sent == found,
    }
}
