//! Instructions and system calls of an invocation at 64 at once: the part of its cost that hardly depends on the load of the machine.

use crate::{
    build,
    concurrent::{self, Events, ROWS},
    contender::CONCURRENT,
    error::Error,
    instructions::Callgrind,
    sinks::Sinks,
    system_calls,
};
use bench_report::{format, statistics::median};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::sleep};

/// Invocations of the shorter and of the longer run. The difference has no part of the start.
const INVOCATIONS: (u64, u64) = (500, 1_500);
/// Hash seeds and the order of threads differ from start to start.
const STARTS: usize = 3;
/// Under callgrind, beside other work.
const LONGEST: Duration = Duration::from_mins(3);

/// The table, made with events whose handler does not wait.
pub(crate) async fn table(contenders: &Path, sinks: &Sinks) -> Result<String, Error> {
    let mut rows = Vec::new();
    for (name, contender, sampled) in ROWS {
        let contender = CONCURRENT[contender];
        let program = build::build(contenders, contender)?.program;
        let run = Run { contender, program: &program, sampled, sinks };
        eprintln!("counting {name}");
        let instructions = run.of_one(Tool::Callgrind).await?;
        let calls = if system_calls::strace() { Some(run.of_one(Tool::Strace).await?) } else { None };
        rows.push((name, instructions, calls));
    }
    let mut text =
        String::from("\n### 64 at once, counted\n\nUser instructions and system calls of an invocation that does not wait.\n\n");
    format::head(&mut text, &["contender", "instructions", "above bare", "bare's, as a ratio to these", "system calls"]);
    let bare = rows[0].1;
    for (name, instructions, calls) in rows {
        let cells = [
            format::grouped(instructions.round() as u64),
            format!("{:+.0}", instructions - bare),
            format!("{:.3}", bare / instructions),
            calls.map_or_else(|| "not counted".to_owned(), |calls| format!("{calls:.1}")),
        ];
        format::line(&mut text, name, &cells);
    }
    Ok(text)
}

#[derive(Clone, Copy)]
enum Tool {
    Callgrind,
    Strace,
}

struct Run<'r> {
    contender: &'static crate::contender::Contender,
    program: &'r Path,
    sampled: Option<u64>,
    sinks: &'r Sinks,
}

impl Run<'_> {
    /// The median of some pairs of runs.
    async fn of_one(&self, tool: Tool) -> Result<f64, Error> {
        let (few, many) = INVOCATIONS;
        let mut counts = Vec::new();
        for _ in 0..STARTS {
            let base = self.count(tool, few).await?;
            counts.push((self.count(tool, many).await? - base) / (many - few) as f64);
        }
        Ok(median(&counts))
    }

    /// The count of a process whose workers all wait for the event after these invocations.
    async fn count(&self, tool: Tool, invocations: u64) -> Result<f64, Error> {
        let incomplete = || Error::Incomplete { contender: self.contender.name, what: "its last /next at 64 at once" };
        let api = TcpListener::bind("127.0.0.1:0").await?;
        let address = api.local_addr()?;
        let environment = |command: &mut _| concurrent::environment(command, self.contender, self.sinks, address);
        let events = Arc::new(Events::of(concurrent::NOT_WAITING, self.sampled, invocations));
        let served = tokio::spawn(concurrent::serve(api, Arc::clone(&events)));
        let all_wait = async {
            while events.waiting() < concurrent::AT_ONCE {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let counted = match tool {
            Tool::Callgrind => {
                let running = Callgrind::start("/dev/null", self.program, environment)?;
                let all_wait = tokio::time::timeout(LONGEST, all_wait).await.is_ok();
                running.end()?.filter(|_| all_wait)
            }
            Tool::Strace => {
                let running = system_calls::Strace::start(self.program, environment)?;
                let all_wait = tokio::time::timeout(LONGEST, all_wait).await.is_ok();
                running.end()?.filter(|_| all_wait)
            }
        };
        served.abort();
        counted.ok_or_else(incomplete)
    }
}
