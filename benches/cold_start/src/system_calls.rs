//! System calls to the first `/next`, those of the dynamic linker included.

use crate::{bootstrap, contender::Contender, error::Error, sinks::Sinks};
use bench_report::statistics::median;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

const STARTS: usize = 5;
const LONGEST: Duration = Duration::from_mins(1);

/// Whether there is an strace, and whether it may trace.
pub(crate) fn strace() -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    traced.is_ok_and(|status| status.success())
}

/// The median of some starts under strace, each killed at its first `/next`.
pub(crate) fn to_first_next(contender: &Contender, program: &Path, sinks: &Sinks) -> Result<u64, Error> {
    // STRACE_OUT keeps the calls, to be read.
    let kept = env::var_os("STRACE_OUT").map(|folder| Path::new(&folder).join(format!("{}.strace", contender.name)));
    let passing = env::temp_dir().join(format!("cold_start-{}.strace", process::id()));
    let log = kept.as_ref().unwrap_or(&passing);
    let counts: Result<Vec<f64>, Error> = (0..STARTS).map(|_| count(contender, program, sinks, log)).collect();
    let _ = fs::remove_file(&passing);
    Ok(median(&counts?) as u64)
}

fn count(contender: &Contender, program: &Path, sinks: &Sinks, log: &Path) -> Result<f64, Error> {
    let api = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new("strace");
    command.args(["--follow-forks", "--string-limit=64", "--output"]).arg(log).arg(program);
    bootstrap::environment(&mut command, contender, sinks, api.local_addr()?);
    let mut strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;

    let (sender, asked) = mpsc::channel();
    thread::spawn(move || sender.send(bootstrap::first_next(&api)));
    let connection = asked.recv_timeout(LONGEST).ok().flatten();
    let traced = fs::read_to_string(log)?;
    // strace itself ignores signals as long as its program lives.
    match traced.split_ascii_whitespace().next().and_then(|pid| pid.parse().ok()) {
        Some(pid) => kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(std::io::Error::from)?,
        None => strace.kill()?,
    }
    strace.wait()?;
    let incomplete = || Error::Incomplete { contender: contender.name, what: "its first /next under strace" };
    connection.ok_or_else(incomplete)?;
    calls(&fs::read_to_string(log)?).map(|calls| calls as f64).ok_or_else(incomplete)
}

/// A program whose system calls are counted, those of all its threads.
pub(crate) struct Strace {
    child: Child,
    log: PathBuf,
}

impl Strace {
    pub(crate) fn start(program: &Path, environment: impl FnOnce(&mut Command)) -> Result<Self, Error> {
        let log = env::temp_dir().join(format!("concurrent-{}.strace", process::id()));
        let mut command = Command::new("strace");
        command.args(["--follow-forks", "--string-limit=0", "--output"]).arg(&log).arg(program);
        environment(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child, log })
    }

    /// Ends the program and returns the number of its calls.
    pub(crate) fn end(mut self) -> Result<Option<f64>, Error> {
        let traced = fs::read_to_string(&self.log)?;
        // strace itself ignores signals as long as its program lives.
        match traced.split_ascii_whitespace().next().and_then(|pid| pid.parse().ok()) {
            Some(pid) => kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(std::io::Error::from)?,
            None => self.child.kill()?,
        }
        self.child.wait()?;
        fs::remove_file(&self.log)?;
        let calls = traced.lines().filter(|line| begins(line).is_some()).count();
        Ok((calls > 0).then_some(calls as f64))
    }
}

/// The thread of a line where a call begins. Ends, signals and second halves of calls are none.
fn begins(line: &str) -> Option<&str> {
    let (thread, call) = line.split_once(' ')?;
    call.trim_start().starts_with(|first: char| first.is_ascii_lowercase() || first == '_').then_some(thread)
}

/// The calls of the first thread up to the one that writes the request, which is counted too. Other threads run at their own pace, so their part
/// of a start depends on the machine.
fn calls(log: &str) -> Option<usize> {
    let first = log.split_ascii_whitespace().next()?;
    let asks = |line: &str| line.contains("\"GET /2018-06-01/runtime/invocation/next");
    let last = log.lines().position(asks)?;
    Some(log.lines().take(last + 1).filter(|line| begins(line) == Some(first)).count())
}
