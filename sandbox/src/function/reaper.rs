//! Sees to it that no process outlives its function, however the sandbox ends.
//!
//! The kernel's parent-death signal follows the *thread* that spawned, and needs `unsafe`. A pipe does not: the reaper is a
//! shell that is told of every process group, and kills what is left when its standard input is closed. That happens when the
//! function is dropped, and also when the sandbox itself is killed.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

const SCRIPT: &str = r#"
alive=
while read -r verb group; do
    case $verb in
    add) alive="$alive $group" ;;
    del) rest=; for one in $alive; do [ "$one" = "$group" ] || rest="$rest $one"; done; alive=$rest ;;
    esac
done
for one in $alive; do kill -9 "-$one"; done
"#;

pub(crate) struct Reaper(Mutex<State>);

struct State {
    groups: BTreeSet<i32>,
    shell: Option<(Child, ChildStdin)>,
}

impl Reaper {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { groups: BTreeSet::new(), shell: None }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, group: Pid) {
        let mut state = self.state();
        state.groups.insert(group.as_raw());
        if state.shell.is_none() {
            state.shell = start();
        }
        state.tell("add", group);
    }

    pub(crate) fn remove(&self, group: Pid) {
        let mut state = self.state();
        if state.groups.remove(&group.as_raw()) {
            state.tell("del", group);
        }
    }

    pub(crate) fn kill_all(&self) {
        let mut state = self.state();
        for group in std::mem::take(&mut state.groups) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            state.tell("del", Pid::from_raw(group));
        }
    }
}

impl State {
    fn tell(&mut self, verb: &str, group: Pid) {
        // A few bytes, far below a pipe's capacity: this does not block.
        if let Some((_, stdin)) = &mut self.shell {
            let _ = writeln!(stdin, "{verb} {group}");
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.kill_all();
        if let Some((mut shell, stdin)) = self.state().shell.take() {
            drop(stdin);
            let _ = shell.kill();
            let _ = shell.wait();
        }
    }
}

/// Its own process group, so that a Ctrl-C at the terminal does not end it before its work is done.
fn start() -> Option<(Child, ChildStdin)> {
    let started = Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    match started {
        Ok(mut shell) => shell.stdin.take().map(|stdin| (shell, stdin)),
        Err(error) => {
            tracing::warn!(%error, "no /bin/sh: functions will outlive a sandbox that is killed");
            None
        }
    }
}
