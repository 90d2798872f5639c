//! The tables. Each row runs in several processes, and the best round is printed.

use lambda_lifecycle_benches::measure::Cost;
use std::process::{Command, Stdio};

/// As Lambda sets them, and no limit to what is sent of a trace.
const COMMON: &[(&str, &str)] = &[
    ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/orders"),
    ("LAMBDA_LIFECYCLE_TRACE_BUDGET", "1000000000000"),
];

/// A line of a table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) env: &'static [(&'static str, &'static str)],
}

/// Rows and, in columns, how many.
pub(crate) struct Table {
    rows: &'static [Row],
    counts: &'static [u32],
    best: Vec<Vec<Option<Cost>>>,
}

impl Table {
    pub(crate) fn new(rows: &'static [Row], counts: &'static [u32]) -> Self {
        Self { rows, counts, best: vec![vec![None; counts.len()]; rows.len()] }
    }

    /// Measures each row once more, in turn, so that drift affects all rows equally.
    pub(crate) fn round(&mut self, daemon: &str) {
        for (column, count) in self.counts.iter().enumerate() {
            for (row, best) in self.rows.iter().zip(&mut self.best) {
                let Some(cost) = start(row, *count, daemon) else { continue };
                let known = best[column].unwrap_or(cost);
                best[column] = Some(Cost { answer: known.answer.min(cost.answer), cpu: known.cpu.min(cost.cpu) });
            }
        }
    }

    pub(crate) fn print(&self, title: &str, against: usize, value: fn(Cost, f64) -> f64) {
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

    /// True when no measurement failed.
    pub(crate) fn is_complete(&self) -> bool {
        self.best.iter().flatten().all(Option::is_some)
    }
}

/// Measures a row in a separate process.
fn start(row: &Row, count: u32, daemon: &str) -> Option<Cost> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.env("ROW", format!("{} {count}", row.name)).env("AWS_XRAY_DAEMON_ADDRESS", daemon).stdout(Stdio::piped());
    command.envs(COMMON.iter().chain(row.env).copied());
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let (answer, cpu) = said.lines().rev().find_map(|line| line.strip_prefix("measured "))?.split_once(' ')?;
    Some(Cost { answer: answer.parse().ok()?, cpu: cpu.parse().ok()? })
}
