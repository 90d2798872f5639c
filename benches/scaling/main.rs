//! How the cost grows with the spans of an invocation and with the invocations at once, beside rivals that can be called in-process.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --features rivals --bench scaling`. Settings, subscriber and provider are made once
//! a process, so each measurement is a process of its own, this program started again with `ROW`, in rounds; the best round counts. What
//! stands for `lambda_runtime` speaks no HTTP, so that a ratio to none of ours is far above that of a real invocation.

mod concurrent;
mod rivals;
mod spans;

use lambda_lifecycle_benches::measure::Cost;
use std::{
    net::UdpSocket,
    process::{Command, ExitCode, Stdio},
    thread,
};

const ROUNDS: usize = 5;

/// As Lambda sets them, and no limit to what is sent of a trace.
const COMMON: &[(&str, &str)] = &[
    ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/orders"),
    ("LAMBDA_LIFECYCLE_TRACE_BUDGET", "1000000000000"),
];

/// A line of a table.
struct Row {
    name: &'static str,
    what: &'static str,
    env: &'static [(&'static str, &'static str)],
}

/// Rows and, in columns, how many.
struct Table {
    rows: &'static [Row],
    counts: &'static [u32],
    best: Vec<Vec<Option<Cost>>>,
}

fn main() -> ExitCode {
    if let Ok(row) = std::env::var("ROW") {
        return measure(&row);
    }
    let daemon = match drained_socket() {
        Ok(address) => address,
        Err(error) => {
            eprintln!("no socket for the documents: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut tables = [Table::new(spans::ROWS, spans::COUNTS), Table::new(concurrent::ROWS, concurrent::COUNTS)];
    for round in 1..=ROUNDS {
        eprint!("\rround {round} of {ROUNDS}");
        tables.iter_mut().for_each(|table| table.round(&daemon));
    }
    eprintln!();
    let [spans, concurrent] = &tables;
    spans.print("SPANS AN INVOCATION: µs a span to the answer, × ours sampled", spans::OURS, |cost, count| cost.answer / count);
    spans.print("SPANS AN INVOCATION: µs of CPU a span in all, × ours sampled", spans::OURS, |cost, count| cost.cpu / count);
    concurrent.print(
        "INVOCATIONS AT ONCE, 1 ms of waiting, ten spans: µs of CPU an invocation, × none of ours",
        0,
        |cost, _| cost.cpu,
    );
    let complete = tables.iter().all(|table| table.best.iter().flatten().all(Option::is_some));
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn drained_socket() -> std::io::Result<String> {
    let daemon = UdpSocket::bind("127.0.0.1:0")?;
    let address = daemon.local_addr()?.to_string();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while daemon.recv(&mut buffer).is_ok() {}
    });
    Ok(address)
}

impl Table {
    fn new(rows: &'static [Row], counts: &'static [u32]) -> Self {
        Self { rows, counts, best: vec![vec![None; counts.len()]; rows.len()] }
    }

    /// Measures each once more, the rows by turns, so that drift hits all alike.
    fn round(&mut self, daemon: &str) {
        for (column, count) in self.counts.iter().enumerate() {
            for (row, best) in self.rows.iter().zip(&mut self.best) {
                let Some(cost) = start(row, *count, daemon) else { continue };
                let known = best[column].unwrap_or(cost);
                best[column] = Some(Cost { answer: known.answer.min(cost.answer), cpu: known.cpu.min(cost.cpu) });
            }
        }
    }

    fn print(&self, title: &str, against: usize, value: fn(Cost, f64) -> f64) {
        println!("\n{title}\n{:58}{}", "", self.counts.iter().map(|count| format!("{count:>18}")).collect::<String>());
        for (row, best) in self.rows.iter().zip(&self.best) {
            let cells =
                best.iter().zip(&self.best[against]).zip(self.counts).map(|((cost, against), count)| match (cost, against) {
                    (Some(cost), Some(against)) => {
                        let (value, against) = (value(*cost, f64::from(*count)), value(*against, f64::from(*count)));
                        format!("{:>18}", format!("{:.2} ({:.2} ×)", value / 1e3, value / against))
                    }
                    _ => format!("{:>18}", "failed"),
                });
            println!("{:58}{}", row.what, cells.collect::<String>());
        }
    }
}

/// Measures a row in a process of its own.
fn start(row: &Row, count: u32, daemon: &str) -> Option<Cost> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.env("ROW", format!("{} {count}", row.name)).env("AWS_XRAY_DAEMON_ADDRESS", daemon).stdout(Stdio::piped());
    command.envs(COMMON.iter().chain(row.env).copied());
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let (answer, cpu) = said.lines().rev().find_map(|line| line.strip_prefix("measured "))?.split_once(' ')?;
    Some(Cost { answer: answer.parse().ok()?, cpu: cpu.parse().ok()? })
}

fn measure(row: &str) -> ExitCode {
    let Some((name, count)) = row.rsplit_once(' ').and_then(|(name, count)| Some((name, count.parse().ok()?))) else {
        return ExitCode::FAILURE;
    };
    match concurrent::run(name, count).or_else(|| spans::run(name, count)) {
        Some(Ok(Cost { answer, cpu })) => {
            println!("\nmeasured {answer} {cpu}");
            ExitCode::SUCCESS
        }
        Some(Err(error)) => {
            eprintln!("{row}: {error}");
            ExitCode::FAILURE
        }
        None => ExitCode::FAILURE,
    }
}
