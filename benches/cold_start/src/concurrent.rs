//! Many events at once, as on Managed Instances: the responses of a process per second, and the CPU time of each.
//!
//! This Runtime API only sends events and counts responses, because it shares the machine with the measured process.

use crate::{
    bootstrap,
    build::{self, Built},
    contender::{CONCURRENT, Contender},
    error::Error,
    sinks::Sinks,
};
use bench_report::{
    format,
    process::Usage,
    statistics::{median, order},
};
use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// `AWS_LAMBDA_MAX_CONCURRENCY`.
pub(crate) const AT_ONCE: u64 = 64;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);

/// The handler's work, and the title of its column.
const WORKS: [(&str, &str); 2] = [("waiting 10 ms", r#"{"order":7,"sku":"tea","wait":10}"#), ("not waiting", NOT_WAITING)];
pub(crate) const NOT_WAITING: &str = r#"{"order":7,"sku":"tea"}"#;

/// The rows of a table: the name, the contender, and that one event in so many is sampled.
pub(crate) const ROWS: [(&str, usize, Option<u64>); 5] = [
    ("bare", 0, None),
    ("ours, none sampled", 1, None),
    ("ours, 1 in 20 sampled", 1, Some(20)),
    ("ours, all sampled", 1, Some(1)),
    ("spans_alone", 2, None),
];

/// A line of the table.
pub(crate) struct Row {
    name: &'static str,
    contender: usize,
    /// One event in so many is sampled.
    sampled: Option<u64>,
    /// For each of the works.
    runs: [Runs; WORKS.len()],
}

#[derive(Default)]
struct Runs {
    per_second: Vec<f64>,
    /// CPU time of an invocation, in nanoseconds.
    cpu: Vec<f64>,
    /// The kernel's part of it, in percent.
    kernel: Vec<f64>,
    /// At the end, in bytes.
    resident: Vec<f64>,
}

pub(crate) async fn measure(contenders: &Path, sinks: &Sinks, rounds: usize) -> Result<Vec<Row>, Error> {
    let built: Vec<Built> = CONCURRENT.iter().map(|contender| build::build(contenders, contender)).collect::<Result<_, _>>()?;
    let mut rows = ROWS.map(|(name, contender, sampled)| Row { name, contender, sampled, runs: Default::default() });
    for round in 0..rounds {
        eprint!("\r{AT_ONCE} at once, round {} of {rounds}", round + 1);
        for (work, (_, payload)) in WORKS.iter().enumerate() {
            for index in order(rows.len(), round) {
                let row = &mut rows[index];
                let program = &built[row.contender].program;
                run(CONCURRENT[row.contender], program, sinks, Events::new(payload, row.sampled), &mut row.runs[work]).await?;
            }
        }
    }
    eprintln!();
    Ok(rows.into())
}

/// The variables of a contender on Managed Instances.
pub(crate) fn environment(command: &mut Command, contender: &Contender, sinks: &Sinks, api: SocketAddr) {
    bootstrap::environment(command, contender, sinks, api);
    command.env("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances");
    command.env("AWS_LAMBDA_MAX_CONCURRENCY", AT_ONCE.to_string());
}

async fn run(contender: &Contender, program: &Path, sinks: &Sinks, events: Events, runs: &mut Runs) -> Result<(), Error> {
    let api = TcpListener::bind("127.0.0.1:0").await?;
    let mut command = Command::new(program);
    environment(&mut command, contender, sinks, api.local_addr()?);
    let events = Arc::new(events);
    let served = tokio::spawn(serve(api, Arc::clone(&events)));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let measured = observe(child.id(), &events, runs).await;
    served.abort();
    child.kill()?;
    child.wait()?;
    measured?.ok_or(Error::Incomplete { contender: contender.name, what: "one of many responses" })
}

async fn observe(pid: u32, events: &Events, runs: &mut Runs) -> std::io::Result<Option<()>> {
    let began = Instant::now();
    while events.answered.load(Relaxed) == 0 {
        if began.elapsed() > LONGEST {
            return Ok(None);
        }
        sleep(Duration::from_millis(5)).await;
    }
    sleep(WARM_UP).await;
    let (began, count, before) = (Instant::now(), events.answered.load(Relaxed), Usage::of(pid)?);
    sleep(MEASURED).await;
    let (took, count, after) = (began.elapsed(), events.answered.load(Relaxed) - count, Usage::of(pid)?);
    runs.per_second.push(count as f64 / took.as_secs_f64());
    runs.cpu.push((after.cpu - before.cpu) / count.max(1) as f64);
    let [user, kernel] = [after.ticks.0 - before.ticks.0, after.ticks.1 - before.ticks.1];
    runs.kernel.push(100.0 * kernel / (user + kernel).max(1.0));
    runs.resident.push(after.resident);
    Ok(Some(()))
}

/// The events that were sent, and the responses to them.
pub(crate) struct Events {
    payload: &'static str,
    sampled: Option<u64>,
    count: u64,
    handed: AtomicU64,
    answered: AtomicU64,
}

impl Events {
    /// Events without end.
    fn new(payload: &'static str, sampled: Option<u64>) -> Self {
        Self::of(payload, sampled, u64::MAX)
    }

    /// So many events; requests after them wait.
    pub(crate) fn of(payload: &'static str, sampled: Option<u64>, count: u64) -> Self {
        Self { payload, sampled, count, handed: AtomicU64::new(0), answered: AtomicU64::new(0) }
    }

    /// The requests that wait because there are no more events.
    pub(crate) fn waiting(&self) -> u64 {
        self.handed.load(Relaxed).saturating_sub(self.count)
    }

    async fn next(&self) -> String {
        let number = self.handed.fetch_add(1, Relaxed);
        if number >= self.count {
            std::future::pending::<()>().await;
        }
        bootstrap::event(number, self.sampled.is_some_and(|each| number.is_multiple_of(each)), self.payload)
    }
}

pub(crate) async fn serve(api: TcpListener, events: Arc<Events>) {
    while let Ok((connection, _)) = api.accept().await {
        tokio::spawn(answer(connection, Arc::clone(&events)));
    }
}

/// Responds to the requests of a connection until it closes.
async fn answer(mut connection: TcpStream, events: Arc<Events>) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut received = Vec::with_capacity(4096);
    loop {
        let request = loop {
            if let Some(length) = length(&received) {
                break length;
            }
            connection.read_buf(&mut received).await.ok().filter(|&read| read > 0)?;
        };
        if received.starts_with(bootstrap::NEXT) {
            connection.write_all(events.next().await.as_bytes()).await.ok()?;
        } else {
            if received.windows(10).take(128).any(|part| part == b"/response ") {
                events.answered.fetch_add(1, Relaxed);
            }
            connection.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.ok()?;
        }
        received.drain(..request);
    }
}

/// Of the first request, if all of it is there.
fn length(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let lines = received[..head].split(|&byte| byte == b'\n').filter_map(|line| line.split_first_chunk::<15>());
    let body = lines.filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length:")).find_map(|(_, value)| {
        let value = std::str::from_utf8(value).ok()?;
        value.trim().parse::<usize>().ok()
    });
    let length = head + body.unwrap_or(0);
    (received.len() >= length).then_some(length)
}

pub(crate) fn table(text: &mut String, rows: &[Row]) {
    text.push_str(
        "\n### 64 at once\n\n`run_concurrent` on tokio's default runtime, `AWS_LAMBDA_MAX_CONCURRENCY=64`, ten spans each, medians. A handler \
         that waits 10 ms before its spans, as for a database, and one that does not wait and keeps the machine busy.\n\n",
    );
    let mut titles = vec!["contender".to_owned()];
    for (title, _) in WORKS {
        titles.extend(
            ["a second", "ratio to bare", "CPU µs each", "kernel's part, %", "resident KB"]
                .map(|column| format!("{title}: {column}")),
        );
    }
    format::head(text, &titles.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        let cells = row.runs.iter().zip(&rows[0].runs).flat_map(|(runs, bare)| {
            // Of each round by itself: what else ran then was the same for both.
            let ratios: Vec<f64> = runs.per_second.iter().zip(&bare.per_second).map(|(count, bare)| count / bare).collect();
            [
                format::grouped(median(&runs.per_second).round() as u64),
                format!("{:.3}", median(&ratios)),
                format!("{:.1}", median(&runs.cpu) / 1e3),
                format!("{:.0}", median(&runs.kernel)),
                format::kilobytes(median(&runs.resident)),
            ]
        });
        format::line(text, row.name, &cells.collect::<Vec<_>>());
    }
}
