//! Instructions to the first `/next`: the one figure that does not depend on what else the machine does.

use crate::{bootstrap, contender::Contender, error::Error, sinks::Sinks};
use bench_report::statistics::median;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Hash seeds and addresses differ from start to start.
const STARTS: usize = 5;
const LONGEST: Duration = Duration::from_mins(1);

/// Whether there is a valgrind.
pub(crate) fn valgrind() -> bool {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// The median of some starts under callgrind, each ended at its first `/next`.
pub(crate) fn to_first_next(contender: &Contender, program: &Path, sinks: &Sinks) -> Result<u64, Error> {
    let mut counts = Vec::new();
    for _ in 0..STARTS {
        counts.push(count(contender, program, sinks)?);
    }
    Ok(median(&counts) as u64)
}

fn count(contender: &Contender, program: &Path, sinks: &Sinks) -> Result<f64, Error> {
    let incomplete = || Error::Incomplete { contender: contender.name, what: "its first /next under valgrind" };
    let api = TcpListener::bind("127.0.0.1:0")?;
    // CALLGRIND_OUT keeps the profile, to be read with callgrind_annotate.
    let profile =
        std::env::var("CALLGRIND_OUT").map_or("/dev/null".to_owned(), |folder| format!("{folder}/{}.out", contender.name));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={profile}")]).arg(program);
    bootstrap::environment(&mut command, contender, sinks, api.local_addr()?);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;

    let (sender, asked) = mpsc::channel();
    thread::spawn(move || sender.send(bootstrap::first_next(&api)));
    let stderr = child.stderr.take().ok_or_else(incomplete)?;
    let (sender, log) = mpsc::channel();
    thread::spawn(move || sender.send(io::read_to_string(stderr)));
    let connection = asked.recv_timeout(LONGEST).ok().flatten();
    if let Ok(pid) = i32::try_from(child.id()) {
        // Not SIGTERM, which a shutdown hook waits for: what it does then would be counted. Not SIGINT, which a job in a shell's background ignores.
        let _ = kill(Pid::from_raw(pid), Signal::SIGUSR1);
    }
    let log = log.recv_timeout(LONGEST);
    // It has ended, or never will by itself.
    child.kill()?;
    child.wait()?;
    connection.ok_or_else(incomplete)?;
    let log = log.map_err(|_| incomplete())??;
    let collected = log.lines().find_map(|line| line.split_once("Collected :"));
    collected.and_then(|(_, count)| count.trim().parse().ok()).ok_or_else(incomplete)
}
