//! The memory and the threads of a process that waits for its first event. No sandbox runs, so only the program and the kernel
//! count.

use crate::{bootstrap, contender::Contender, error::Error, sinks::Sinks};
use bench_report::{
    process::{self, Usage},
    statistics::median,
};
use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Addresses differ between starts, and so do the pages that are used.
const STARTS: usize = 31;
const LONGEST: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_micros(200);

/// Medians; memory in bytes.
#[derive(Debug)]
pub(crate) struct Footprint {
    pub(crate) resident: f64,
    /// Resident memory without a file behind it: heap, stacks, and pages that the program wrote.
    pub(crate) anonymous: f64,
}

pub(crate) fn at_first_next(contender: &Contender, program: &Path, sinks: &Sinks) -> Result<Footprint, Error> {
    let (mut resident, mut anonymous) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let usage = one(contender, program, sinks)?;
        resident.push(usage.resident);
        anonymous.push(usage.anonymous);
    }
    Ok(Footprint { resident: median(&resident), anonymous: median(&anonymous) })
}

fn one(contender: &Contender, program: &Path, sinks: &Sinks) -> Result<Usage, Error> {
    let api = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new(program);
    bootstrap::environment(&mut command, contender, sinks, api.local_addr()?);
    command.envs(contender.without_warm_up());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let usage = waiting(&mut child, api);
    child.kill()?;
    child.wait()?;
    usage?.ok_or(Error::Incomplete { contender: contender.name, what: "its first /next" })
}

/// Measures the process once it has asked for an event and sleeps. Before that, it could still use another page.
fn waiting(child: &mut Child, api: TcpListener) -> std::io::Result<Option<Usage>> {
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || sender.send(bootstrap::first_next(&api)));
    // Open until it was looked at.
    let Ok(Some(_connection)) = asked.recv_timeout(LONGEST) else { return Ok(None) };
    let asked = Instant::now();
    while !process::sleeps(child.id())? {
        if child.try_wait()?.is_some() || asked.elapsed() > LONGEST {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
    Usage::of(child.id()).map(Some)
}
