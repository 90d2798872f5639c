//! A start timed with nothing in between: a blocking Runtime API that has an event waiting. The sandbox does more between two moments than a start
//! takes, so what it does would be most of what is measured.

use crate::{bootstrap, contender::Contender, error::Error, samples::Samples, sinks::Sinks};
use std::{
    io::Write,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const EVENT: &str = r#"{"order":7,"sku":"tea"}"#;

/// Times one start, to the first `/next` and to the first response.
pub(crate) fn measure(contender: &Contender, program: &Path, sinks: &Sinks, samples: &mut Samples) -> Result<(), Error> {
    let api = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new(program);
    bootstrap::environment(&mut command, contender, sinks, api.local_addr()?);
    // The pipes hold all that one invocation writes, so they need not be read meanwhile.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let event = bootstrap::event(1, true, EVENT);

    let began = Instant::now();
    let mut child = command.spawn()?;
    let served = serve(&api, &event, began);
    child.kill()?;
    child.wait()?;
    let (next, answer) = served.ok_or(Error::Incomplete { contender: contender.name, what: "its first response" })?;
    samples.to_next.push(next.as_secs_f64() * 1e9);
    samples.first_answer.push(answer.as_secs_f64() * 1e9);
    Ok(())
}

fn serve(api: &TcpListener, event: &str, began: Instant) -> Option<(Duration, Duration)> {
    let mut connection = bootstrap::first_next(api)?;
    let next = began.elapsed();
    connection.write_all(event.as_bytes()).ok()?;
    let answered = bootstrap::request(&mut connection)?.starts_with(b"POST ");
    answered.then(|| (next, began.elapsed()))
}
