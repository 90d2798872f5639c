//! The example `inspect_trace`, against a trace that a function has sent.

use crate::{
    api::WithApi,
    support::{Tested, ensure, test_after, within},
};
use lambda_lifecycle_sandbox::{function::TraceMode, render, xray::TraceStore};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command as AsyncCommand,
};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test_after(
            "inspect_trace prints the waterfall of the trace, and nothing differs from what the function printed",
            program,
            same,
        ),
        test_after("inspect_trace --check names what is missing, different and extra", program, different),
        test_after("inspect_trace reads documents that the service has put together", program, nested),
        test_after("inspect_trace retrieves a trace from Transaction Search, page by page", program, retrieved),
        test_after("inspect_trace shows a file, in the terminal and in the browser", program, file),
        test_after("inspect_trace mentions Transaction Search when it finds no trace", program, not_found),
    ]
}

/// The example as a program, built at the first call.
fn program() -> Result<PathBuf, Failed> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let build = || {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--example", "inspect_trace"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let status = build.status().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err("the example did not build".to_owned()) }
    };
    BUILT.get_or_init(build).clone()?;
    let deps = std::env::current_exe()?;
    let target = deps.parent().and_then(|deps| deps.parent()).ok_or("a test runs in target/*/deps")?;
    Ok(target.join("examples").join("inspect_trace"))
}

async fn inspect(program: &Path, arguments: &[&str], input: &str) -> Result<Output, Failed> {
    let mut process = AsyncCommand::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // A process that does not read its input has ended, and its status shows the reason.
    if let Some(mut stdin) = process.stdin.take() {
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    Ok(within("the end of inspect_trace", process.wait_with_output()).await??)
}

/// A function that prints what it sends.
async fn printing() -> Result<(WithApi, String, Vec<Value>), Failed> {
    let stage = WithApi::with(|function, endpoint| {
        function.env("XRAY_ENDPOINT", endpoint).env("LAMBDA_LIFECYCLE_TRACE_PRINT", "on").trace_mode(TraceMode::Active)
    })
    .await?;
    let trace_id = stage.make_spans(3).await?.trace_id;
    let printed: Vec<Value> =
        stage.logged("\"type\":\"subsegment\"").iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    ensure(printed.len() == 4, format!("{printed:?}"))?;
    Ok((stage, trace_id, printed))
}

fn lines(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("{document}\n")).collect()
}

async fn same(program: PathBuf) -> Tested {
    let (stage, trace_id, _) = printing().await?;
    let log: String = stage.function.logs().iter().map(|line| format!("{}\n", line.text)).collect();
    let output = inspect(&program, &[&trace_id, "--endpoint", &stage.api.endpoint(), "--check", "-"], &log).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure(output.status.success(), format!("{output:?}"))?;
    let trace = stage.traces.trace(&trace_id).ok_or("no trace")?;
    ensure(said.starts_with(&render::waterfall_in(&trace, render::Color::Off)), said.clone())?;
    ensure(said.ends_with("4 documents sent, 0 differences\n"), said)
}

async fn different(program: PathBuf) -> Tested {
    let (stage, trace_id, mut printed) = printing().await?;
    // One the service never saw, one that was other than it is there, and one that was not sent.
    let mut unseen = printed[2].clone();
    unseen["id"] = json!("00000000000000aa");
    printed[1]["annotations"] = json!({ "size": "XL" });
    let extra = printed.remove(2);
    printed.push(unseen);
    let file = std::env::temp_dir().join(format!("lambda-lifecycle-{trace_id}.jsonl"));
    std::fs::write(&file, lines(&printed))?;
    let output =
        inspect(&program, &[&trace_id, "--endpoint", &stage.api.endpoint(), "--check", &file.to_string_lossy()], "").await;
    std::fs::remove_file(&file)?;
    let output = output?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure(output.status.code() == Some(1), format!("{output:?}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for expected in [
        "missing    00000000000000aa \"step\"".to_owned(),
        format!("different  {} \"step\": annotations", text(&printed[1]["id"])),
        format!("extra      {} \"step\"", text(&extra["id"])),
        "4 documents sent, 3 differences".to_owned(),
    ] {
        ensure(said.contains(&expected), format!("{expected} is not in {said}"))?;
    }
    Ok(())
}

async fn file(program: PathBuf) -> Tested {
    const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";
    let document = json!({
        "trace_id": TRACE, "id": "00000000000000bb", "name": "work", "start_time": 1_700_000_000.0, "end_time": 1_700_000_001.5,
    });
    let folder = std::env::temp_dir().join(format!("lambda-lifecycle-file-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let answer = json!({ "Traces": [{ "Segments": [{ "Id": "00000000000000bb", "Document": document.to_string() }] }] });
    for (name, text) in
        [("lines.jsonl", format!("{document}\n")), ("list.json", json!([document]).to_string()), ("aws.json", answer.to_string())]
    {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        let output = inspect(&program, &[&path.to_string_lossy()], "").await?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure(output.status.success() && said.contains(TRACE) && said.contains("work"), format!("{name}: {output:?}"))?;
    }
    let path = folder.join("list.json");
    let mut process =
        AsyncCommand::new(&program).arg("--console").arg(&path).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
    let url = within("the console's address", lines.next_line()).await??.ok_or("no address")?;
    let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix(&format!("/#/trace/{TRACE}")));
    let address = address.ok_or_else(|| format!("{url} is not an address of the trace"))?;
    let mut stream = within("the console", TcpStream::connect(address)).await??;
    stream.write_all(format!("GET /api/snapshot HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut response = String::new();
    within("the snapshot", stream.read_to_string(&mut response)).await??;
    ensure(response.contains("00000000000000bb"), response)?;
    process.kill().await?;
    Ok(std::fs::remove_dir_all(&folder)?)
}

/// AWS responds with segments that contain their subsegments.
async fn nested(program: PathBuf) -> Tested {
    const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";
    let store = TraceStore::new();
    let api = lambda_lifecycle_sandbox::xray::Api::start(store.clone()).await?;
    let (start, end) = (1_700_000_000.0, 1_700_000_001.5);
    let inner =
        json!({ "id": "00000000000000bb", "name": "work", "start_time": start, "end_time": end, "annotations": { "n": 1 } });
    store.put_fetched(json!({
        "id": "00000000000000aa", "trace_id": TRACE, "name": "probe", "origin": "AWS::Lambda::Function",
        "start_time": start, "end_time": end, "subsegments": [inner],
    }));
    let sent = json!({
        "type": "subsegment", "trace_id": TRACE, "parent_id": "00000000000000aa", "id": "00000000000000bb", "name": "work",
        "start_time": start, "end_time": end, "annotations": { "n": 1 },
    });
    let output = inspect(&program, &[TRACE, "--endpoint", &api.endpoint(), "--check", "-"], &lines(&[sent])).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure(output.status.success() && said.contains("1 documents sent, 0 differences"), format!("{output:?}"))?;
    let moved = json!({ "trace_id": TRACE, "parent_id": "00000000000000cc", "id": "00000000000000bb", "start_time": start });
    let output = inspect(&program, &[TRACE, "--endpoint", &api.endpoint(), "--check", "-"], &lines(&[moved])).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure(output.status.code() == Some(1) && said.contains("parent_id"), format!("{output:?}"))
}

async fn retrieved(program: PathBuf) -> Tested {
    let (stage, trace_id, printed) = printing().await?;
    stage.api.keep_in_transaction_search();
    let output = inspect(&program, &[&trace_id, "--endpoint", &stage.api.endpoint(), "--check", "-"], &lines(&printed)).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure(output.status.success(), format!("{output:?}"))?;
    let trace = stage.traces.trace(&trace_id).ok_or("no trace")?;
    ensure(said.starts_with(&render::waterfall_in(&trace, render::Color::Off)), said.clone())?;
    ensure(said.ends_with("4 documents sent, 0 differences\n"), said)
}

async fn not_found(program: PathBuf) -> Tested {
    let stage = WithApi::new().await?;
    let output = inspect(&program, &["1-5759e988-bd862e3fe1be46a994272793", "--endpoint", &stage.api.endpoint()], "").await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure(output.status.code() == Some(1) && said.contains("Transaction Search"), format!("{output:?}"))?;
    let output = inspect(&program, &["--endpoint"], "").await?;
    ensure(output.status.code() == Some(2) && String::from_utf8_lossy(&output.stderr).contains("usage"), format!("{output:?}"))
}
