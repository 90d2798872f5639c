//! A bootstrap without the sandbox: what it is told, and what it asks.

use crate::{contender::Contender, sinks::Sinks};
use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    process::Command,
};

/// How a request for the next event begins.
pub(crate) const NEXT: &[u8] = b"GET /2018-06-01/runtime/invocation/next ";

/// The variables Lambda sets, and the contender's own.
pub(crate) fn environment(command: &mut Command, contender: &Contender, sinks: &Sinks, api: SocketAddr) {
    command.env_clear();
    for kept in ["PATH", "LD_LIBRARY_PATH"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    for (key, value) in [
        ("_HANDLER", "bootstrap"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
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
