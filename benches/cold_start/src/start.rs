//! A start timed with nothing in between: a blocking Runtime API that has an event waiting. The sandbox does more between two moments than a start
//! takes, so what it does would be most of what is measured.

use crate::{Error, bootstrap, contender::Contender, samples::Samples, sinks::Sinks};
use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const LONGEST: Duration = Duration::from_secs(10);
const EVENT: &str = r#"{"order":7,"sku":"tea"}"#;

/// Times one start, to the first `/next` and to the first answer.
pub(crate) fn measure(contender: &Contender, program: &Path, sinks: &Sinks, samples: &mut Samples) -> Result<(), Error> {
    let api = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new(program);
    bootstrap::environment(&mut command, contender, sinks, api.local_addr()?);
    // Pipes that hold what one invocation writes, so that nobody needs to read them meanwhile.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let event = event()?;

    let began = Instant::now();
    let mut child = command.spawn()?;
    let served = serve(&api, &event, began);
    child.kill()?;
    child.wait()?;
    let (next, answer) = served?.ok_or(Error::Incomplete { contender: contender.name, what: "its first answer" })?;
    samples.to_next.push(next.as_secs_f64() * 1e9);
    samples.first_answer.push(answer.as_secs_f64() * 1e9);
    Ok(())
}

fn serve(api: &TcpListener, event: &str, began: Instant) -> std::io::Result<Option<(Duration, Duration)>> {
    let (mut connection, _) = api.accept()?;
    connection.set_read_timeout(Some(LONGEST))?;
    connection.set_nodelay(true)?;
    Ok(exchange(&mut connection, event, began))
}

fn exchange(connection: &mut TcpStream, event: &str, began: Instant) -> Option<(Duration, Duration)> {
    bootstrap::request(connection)?.starts_with(bootstrap::NEXT).then_some(())?;
    let next = began.elapsed();
    connection.write_all(event.as_bytes()).ok()?;
    let answered = bootstrap::request(connection)?.starts_with(b"POST ");
    answered.then(|| (next, began.elapsed()))
}

/// The answer to `/next`.
fn event() -> Result<String, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(std::io::Error::other)?;
    let (deadline, epoch) = (now.as_millis() + 30_000, now.as_secs());
    let head = [
        "HTTP/1.1 200 OK".to_owned(),
        "content-type: application/json".to_owned(),
        format!("content-length: {}", EVENT.len()),
        "lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned(),
        format!("lambda-runtime-deadline-ms: {deadline}"),
        "lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:123456789012:function:orders".to_owned(),
        format!("lambda-runtime-trace-id: Root=1-{epoch:08x}-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1"),
    ];
    Ok(format!("{}\r\n\r\n{EVENT}", head.join("\r\n")))
}
