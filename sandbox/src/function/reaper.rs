//! Sees to it that no process outlives its function, however the sandbox ends.
//!
//! The kernel's parent-death signal follows the *thread* that spawned, and needs `unsafe`. A pipe does not: the reaper is a
//! shell that receives the id of every process group, and kills what is left when its standard input is closed. That happens when the
//! function is dropped, and also when the sandbox itself is killed. The folders of control groups, which outlive their processes, are removed then,
//! too.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fmt::Display,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

const SCRIPT: &str = r#"
set -f
IFS='
'
alive= folders= tries=0
while IFS=' ' read -r verb what; do
    case $verb in
    add) alive="$alive$IFS$what" ;;
    del) rest=; for one in $alive; do [ "$one" = "$what" ] || rest="$rest$IFS$one"; done; alive=$rest ;;
    folder) folders="$folders$IFS$what" ;;
    removed) rest=; for one in $folders; do [ "$one" = "$what" ] || rest="$rest$IFS$one"; done; folders=$rest ;;
    esac
done
for one in $alive; do kill -9 "-$one"; done
for one in $folders; do
    until rmdir "$one" || [ ! -d "$one" ] || [ $tries -ge 200 ]; do
        while read -r pid; do [ "$pid" -gt 1 ] && kill -9 "$pid"; done < "$one/cgroup.procs"
        sleep 0.05
        tries=$((tries + 1))
    done
done
"#;

pub(crate) struct Reaper(Mutex<State>);

struct State {
    groups: BTreeSet<i32>,
    /// Of control groups.
    folders: BTreeSet<PathBuf>,
    shell: Option<(Child, ChildStdin)>,
}

impl Reaper {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { groups: BTreeSet::new(), folders: BTreeSet::new(), shell: None }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, group: Pid) {
        let mut state = self.state();
        state.groups.insert(group.as_raw());
        state.tell("add", group);
    }

    /// A control group has this folder.
    pub(crate) fn add_folder(&self, folder: &Path) {
        let mut state = self.state();
        state.folders.insert(folder.to_owned());
        state.tell("folder", folder.display());
    }

    pub(crate) fn remove_folder(&self, folder: &Path) {
        let mut state = self.state();
        if state.folders.remove(folder) {
            state.tell("removed", folder.display());
        }
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
    fn tell(&mut self, verb: &str, what: impl Display) {
        if self.shell.is_none() {
            self.shell = start();
        }
        // A few bytes, far below a pipe's capacity: this does not block.
        if let Some((_, stdin)) = &mut self.shell {
            let _ = writeln!(stdin, "{verb} {what}");
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.kill_all();
        let mut state = self.state();
        let Some((mut shell, stdin)) = state.shell.take() else { return };
        drop(stdin);
        if state.folders.is_empty() {
            let _ = shell.kill();
            let _ = shell.wait();
        } else {
            // It removes them by itself, which takes as long as their last processes do.
            std::thread::spawn(move || shell.wait());
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
