//! The function without a runtime: calls of the Runtime and Extensions API that `lambda_runtime` does not make.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::ExitCode,
    thread,
};
use tokio::signal::unix::{SignalKind, signal};

const RUNTIME: &str = "/2018-06-01/runtime";
const EXTENSION: &str = "/2020-01-01/extension";

/// The response of an API.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }
}

/// Writes a request unchanged and reads the response.
pub(crate) fn send(address: &str, request: &[u8]) -> std::io::Result<Reply> {
    exchange(TcpStream::connect(address)?, request)
}

fn exchange(mut stream: TcpStream, request: &[u8]) -> std::io::Result<Reply> {
    stream.write_all(request)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut reply = Reply { status: line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0), ..Reply::default() };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((key, value)) = line.trim_end().split_once(':') else {
            break;
        };
        reply.headers.push((key.to_owned(), value.trim().to_owned()));
    }
    reader.read_to_string(&mut reply.body)?;
    if reply.header("transfer-encoding") == Some("chunked") {
        reply.body = unchunked(&reply.body).unwrap_or_default();
    }
    Ok(reply)
}

/// `None` when the body is not whole.
fn unchunked(mut chunks: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(rest.get(..size)?);
        chunks = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// One request with a body of known length.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\n");
    for (key, value) in headers {
        let _ = write!(head, "{key}: {value}\r\n");
    }
    let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn api() -> String {
    std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default()
}

fn call(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    send(&api(), &request(method, path, headers, body)).unwrap_or_default()
}

fn next() -> (String, Reply) {
    let event = call("GET", &format!("{RUNTIME}/invocation/next"), &[], b"");
    (event.header("lambda-runtime-aws-request-id").unwrap_or_default().to_owned(), event)
}

fn respond(id: &str, body: &[u8]) -> Reply {
    call("POST", &format!("{RUNTIME}/invocation/{id}/response"), &[], body)
}

fn say(what: &str, reply: &Reply) {
    println!("{what}: {} {}", reply.status, reply.body);
}

pub(crate) fn init_error(error_type: &str, message: &str) {
    let body = format!(r#"{{"errorType":"{error_type}","errorMessage":"{message}"}}"#);
    call("POST", &format!("{RUNTIME}/init/error"), &[], body.as_bytes());
}

/// A request of which the runtime streams the body.
fn streamed(id: &str, chunks: &[&str], end: &str) -> Vec<u8> {
    let mut text = format!(
        "POST {RUNTIME}/invocation/{id}/response HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\n\
         lambda-runtime-function-response-mode: streaming\r\ntransfer-encoding: chunked\r\n\
         trailer: lambda-runtime-function-error-type, lambda-runtime-function-error-body\r\n\r\n"
    );
    for chunk in chunks {
        let _ = write!(text, "{:x}\r\n{chunk}\r\n", chunk.len());
    }
    text.push_str(end);
    text.into_bytes()
}

pub(crate) fn main(scenario: &str) -> ExitCode {
    if matches!(scenario, "late" | "straddling") {
        return late(scenario).unwrap_or(ExitCode::FAILURE);
    }
    if let Some(millis) = scenario.strip_prefix("polls-and-exits-after ") {
        if let Ok(mut stream) = TcpStream::connect(api()) {
            let _ = stream.write_all(&request("GET", &format!("{RUNTIME}/invocation/next"), &[], b""));
            let _ = stream.set_read_timeout(millis.parse().ok().map(std::time::Duration::from_millis));
            let _ = stream.read(&mut [0]);
        }
        return ExitCode::SUCCESS;
    }
    loop {
        let (id, event) = next();
        match scenario {
            "refusals" => refusals(&id),
            "trailer" => {
                // base64 of {"errorType":"Probe.Half","errorMessage":"half way"}
                let body = "eyJlcnJvclR5cGUiOiJQcm9iZS5IYWxmIiwiZXJyb3JNZXNzYWdlIjoiaGFsZiB3YXkifQ==";
                let end = format!(
                    "0\r\nLambda-Runtime-Function-Error-Type: Probe.Half\r\nLambda-Runtime-Function-Error-Body: {body}\r\n\r\n"
                );
                say("trailer", &send(&api(), &streamed(&id, &["one", "two"], &end)).unwrap_or_default());
            }
            "broken-stream" => {
                if let Ok(mut stream) = TcpStream::connect(api()) {
                    let _ = stream.write_all(&streamed(&id, &["one"], ""));
                }
            }
            "headers" => {
                let header = |name: &str| event.header(name).unwrap_or("-").to_owned();
                println!("trace: {}", header("lambda-runtime-trace-id"));
                println!("type: {}", header("content-type"));
                respond(&id, event.body.as_bytes());
            }
            _ => return ExitCode::FAILURE,
        }
    }
}

fn refusals(id: &str) {
    say("no answer", &call("GET", &format!("{RUNTIME}/invocation/next"), &[], b""));
    say("wrong id", &respond("00000000-0000-4000-8000-000000000000", b"1"));
    say("no snapshot", &call("GET", &format!("{RUNTIME}/restore/next"), &[], b""));
    say("no restore", &call("POST", &format!("{RUNTIME}/restore/error"), &[], b"{}"));
    say("no path", &call("GET", "/2018-06-01/runtime/nothing", &[], b""));
    say("init error", &call("POST", &format!("{RUNTIME}/init/error"), &[], b"{}"));
    say("answer", &respond(id, b"true"));
    say("again", &respond(id, b"false"));
}

/// Ends its response when SIGTERM has come, which is after the deadline. "straddling" starts it before.
fn late(scenario: &str) -> Option<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let mut terminated = runtime.block_on(async { signal(SignalKind::terminate()) }).ok()?;
    internal_extension("");
    let (id, _) = next();
    let whole = streamed(&id, &["begun"], "0\r\n\r\n");
    let (begin, end) = if scenario == "late" { (&[][..], &whole[..]) } else { whole.split_at(whole.len() - 5) };
    let mut stream = TcpStream::connect(api()).ok()?;
    stream.write_all(begin).ok()?;
    runtime.block_on(terminated.recv());
    say("late", &exchange(stream, end).ok()?);
    Some(ExitCode::SUCCESS)
}

fn register(name: &str, events: &str) -> Reply {
    call("POST", &format!("{EXTENSION}/register"), &[("lambda-extension-name", name)], events.as_bytes())
}

fn extension_next(headers: &[(&str, &str)]) -> Reply {
    call("GET", &format!("{EXTENSION}/event/next"), headers, b"")
}

/// Comes to a gate and waits there.
fn wait_at(gate: Option<String>) {
    if let Some(mut stream) = gate.and_then(|gate| TcpStream::connect(gate).ok()) {
        let _ = stream.read(&mut [0]);
    }
}

/// Registers an internal extension that waits for its events on a separate thread.
pub(crate) fn internal_extension(how: &str) {
    let registered = register("inside", if how.contains("invoke") { r#"{"events":["INVOKE"]}"# } else { r#"{"events":[]}"# });
    say("registered", &registered);
    let Some(id) = registered.header("lambda-extension-identifier").map(str::to_owned) else {
        return;
    };
    let refused = how.contains("refused");
    if refused {
        say("shutdown", &register("second", r#"{"events":["SHUTDOWN"]}"#));
        say("same name", &register("inside", ""));
        say("unknown", &extension_next(&[("lambda-extension-identifier", "nobody")]));
        say("no identifier", &extension_next(&[]));
    }
    if how.contains("ignores-sigterm") || how.contains("handles-sigterm") {
        on_sigterm(how.contains("handles-sigterm"));
    }
    let fail = how.split_once("fails ").map(|(_, path)| path.to_owned());
    thread::spawn(move || {
        let fail = |at: &str| {
            if let Some(path) = fail.as_deref().filter(|path| path.starts_with(at)) {
                let body = br#"{"errorType":"Extension.Probe","errorMessage":"no agent"}"#;
                let headers = [("lambda-extension-identifier", id.as_str()), ("lambda-extension-function-error-type", "x")];
                say("failed", &call("POST", &format!("{EXTENSION}/{path}"), &headers, body));
            }
        };
        fail("init");
        wait_at(std::env::var("EXTENSION_INIT_GATE").ok());
        loop {
            let event = extension_next(&[("lambda-extension-identifier", &id)]);
            if event.status != 200 {
                return;
            }
            println!("extension: {}", event.body);
            if refused {
                say("too late", &register("third", ""));
            }
            fail("exit");
            wait_at(std::env::var("EXTENSION_GATE").ok());
        }
    });
}

fn on_sigterm(exits: bool) {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::spawn(async move {
        loop {
            terminated.recv().await;
            println!("SIGTERM");
            if exits {
                std::process::exit(42);
            }
        }
    });
}
