//! Starts a bootstrap without the sandbox: its environment variables and its requests.

use crate::{contender::Contender, sinks::Sinks};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const LONGEST: Duration = Duration::from_mins(1);

/// The memory that functions are told, in MB. Here they have whole cores, of which Lambda gives one from this size on.
pub(crate) const MEMORY_MB: u32 = 1_769;

/// How a request for the next event begins.
pub(crate) const NEXT: &[u8] = b"GET /2018-06-01/runtime/invocation/next ";

/// The variables Lambda sets, and the contender's own.
pub(crate) fn environment(command: &mut Command, contender: &Contender, sinks: &Sinks, api: SocketAddr) {
    command.env_clear();
    command.envs(std::env::var_os("PATH").map(|value| ("PATH", value)));
    for (key, value) in [
        ("_HANDLER", "bootstrap"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &MEMORY_MB.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/orders"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]0123456789abcdef"),
        ("AWS_LAMBDA_LOG_FORMAT", contender.log_format),
        ("AWS_XRAY_DAEMON_ADDRESS", &sinks.xray),
    ] {
        command.env(key, value);
    }
    command.env("AWS_LAMBDA_RUNTIME_API", api.to_string()).envs(contender.env(sinks));
}

/// Reads a request's head, and what came with it.
pub(crate) fn request(connection: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 4096];
        let read = connection.read(&mut part).ok().filter(|&read| read > 0)?;
        request.extend_from_slice(&part[..read]);
    }
    Some(request)
}

/// Waits for the first request for an event and returns its connection. Extensions that register before it are accepted.
pub(crate) fn first_next(api: &TcpListener) -> Option<TcpStream> {
    loop {
        let (mut connection, _) = api.accept().ok()?;
        connection.set_read_timeout(Some(LONGEST)).ok()?;
        connection.set_nodelay(true).ok()?;
        let request = request(&mut connection)?;
        if request.starts_with(NEXT) {
            return Some(connection);
        }
        if request.starts_with(REGISTER) {
            connection.write_all(REGISTERED).ok()?;
        }
        // It asks for its next event on this connection, and waits for it as long as it lives.
        thread::spawn(move || while connection.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {});
    }
}

/// How the registration of an extension begins.
pub(crate) const REGISTER: &[u8] = b"POST /2020-01-01/extension/register ";
pub(crate) const REGISTERED: &[u8] = b"HTTP/1.1 200 OK\r\nlambda-extension-identifier: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
    content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// A response to a request for the next event. Each number gives it a different trace.
pub(crate) fn event(number: u64, sampled: bool, payload: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (deadline, epoch, sampled) = (now.as_millis() + 30_000, now.as_secs(), u8::from(sampled));
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-{number:012x}\r\nlambda-runtime-deadline-ms: {deadline}\r\n\
         lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:123456789012:function:orders\r\n\
         lambda-runtime-trace-id: Root=1-{epoch:08x}-{number:024x};Parent=0123456789abcdef;Sampled={sampled}\r\n\r\n{payload}",
        payload.len()
    )
}
