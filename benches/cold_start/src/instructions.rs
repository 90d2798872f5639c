//! Instructions to the first `/next` and of a warm invocation. No other figure is independent of the machine's load.

use crate::{bootstrap, contender::Contender, error::Error, served, sinks::Sinks};
use bench_report::statistics::median;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Hash seeds and addresses differ from start to start.
const STARTS: usize = 5;
/// The first invocations initialize shared state: threads, the subscriber's caches, and reused buffers.
const WARM: (u64, u64) = (10, 30);
const LONGEST: Duration = Duration::from_mins(1);

/// Whether there is a valgrind.
pub(crate) fn valgrind() -> bool {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// The median of some starts under callgrind, each ended at its first `/next`.
pub(crate) fn to_first_next(contender: &Contender, program: &Path, sinks: &Sinks) -> Result<u64, Error> {
    let counts: Result<Vec<f64>, Error> = (0..STARTS).map(|_| count(contender, program, sinks, 0)).collect();
    Ok(median(&counts?) as u64)
}

/// The instructions of one sampled invocation, from `/next` to `/next`, after the first ones have initialized shared state.
pub(crate) fn of_a_warm_invocation(contender: &Contender, program: &Path, sinks: &Sinks) -> Result<u64, Error> {
    let (few, many) = WARM;
    let mut counts = Vec::new();
    for _ in 0..STARTS {
        // The larger profile is the one that stays.
        let base = count(contender, program, sinks, few)?;
        let more = count(contender, program, sinks, many)? - base;
        counts.push(more / (many - few) as f64);
    }
    Ok(median(&counts) as u64)
}

/// The instructions of a process that asks for its next event after so many invocations.
fn count(contender: &Contender, program: &Path, sinks: &Sinks, invocations: u64) -> Result<f64, Error> {
    let incomplete = || Error::Incomplete { contender: contender.name, what: "its last /next under valgrind" };
    let api = TcpListener::bind("127.0.0.1:0")?;
    // CALLGRIND_OUT keeps the profile, to be read with callgrind_annotate.
    let what = if invocations == 0 { "" } else { ".warm" };
    let profile =
        std::env::var("CALLGRIND_OUT").map_or("/dev/null".to_owned(), |folder| format!("{folder}/{}{what}.out", contender.name));
    let address = api.local_addr()?;
    let running = Callgrind::start(&profile, program, |command| {
        bootstrap::environment(command, contender, sinks, address);
        command.envs(contender.without_warm_up());
    })?;
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || served::invocations(&api, invocations, &sender));
    let asked = asked.recv_timeout(LONGEST);
    let collected = running.end()?;
    asked.map_err(|_| incomplete())?;
    collected.ok_or_else(incomplete)
}

/// A program that runs under callgrind.
pub(crate) struct Callgrind {
    child: Child,
    log: mpsc::Receiver<io::Result<String>>,
}

impl Callgrind {
    /// Starts a program, and keeps its profile in a file.
    pub(crate) fn start(profile: &str, program: &Path, environment: impl FnOnce(&mut Command)) -> Result<Self, Error> {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", &format!("--callgrind-out-file={profile}")]).arg(program);
        environment(&mut command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take();
        let (sender, log) = mpsc::channel();
        // Read while it runs, so that the pipe never fills.
        thread::spawn(move || sender.send(stderr.map_or(Ok(String::new()), io::read_to_string)));
        Ok(Self { child, log })
    }

    /// Ends the program and returns its instructions, if callgrind has counted them.
    pub(crate) fn end(mut self) -> Result<Option<f64>, Error> {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // Not SIGTERM, which a shutdown hook waits for: what it does then would be counted. Not SIGINT, which a job in a shell's background ignores.
            let _ = kill(Pid::from_raw(pid), Signal::SIGUSR1);
        }
        let log = self.log.recv_timeout(LONGEST);
        // It has either ended or would never end by itself.
        self.child.kill()?;
        self.child.wait()?;
        let Ok(log) = log else { return Ok(None) };
        let log = log?;
        let collected = log.lines().find_map(|line| line.split_once("Collected :"));
        Ok(collected.and_then(|(_, count)| count.trim().parse().ok()))
    }
}
