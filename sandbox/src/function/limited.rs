//! The control group of one process, and its end.
//!
//! A process is in its group from its first instruction on, so that all of its memory counts, and whatever it starts is in there too. The standard
//! library can start no process in a group. So a shell is started, which waits until it was moved there, and then becomes the program.

use super::reaper::Reaper;
use crate::control_groups::{ControlGroups, CpuQuota, Group, GroupError};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::process::{ChildStdin, Command};

/// The process keeps its id, and gets neither the shell's variables nor its standard input.
const SCRIPT: &str = r#"read -r go || exit 125; unset PWD OLDPWD SHLVL; exec "$@" </dev/null"#;

/// How often it is tried to remove a group whose processes are on their way out, and how long that may take in all.
const BETWEEN_TRIES: Duration = Duration::from_millis(5);
const TRIES: usize = 2_000;

/// A command that becomes `program`, with the arguments that follow, as soon as it is [released](release).
pub(crate) fn waiting(program: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "sh"]).arg(program);
    command
}

/// Lets a waiting command go on. A few bytes do not block a pipe.
pub(crate) fn release(stdin: ChildStdin) -> io::Result<()> {
    File::from(stdin.into_owned_fd()?).write_all(b"go\n")
}

/// Limits one process, and what it starts. With it the group goes, and whatever is left in it.
pub(crate) struct Limited {
    left: Option<Leftover>,
    quota: CpuQuota,
    applied: bool,
}

/// A group that is to be removed.
struct Leftover {
    group: Group,
    /// It removes the group where this process cannot.
    reaper: Arc<Reaper>,
}

impl Limited {
    /// A group with the memory of the function, which may use all cores.
    pub(crate) fn new(groups: &ControlGroups, memory_mb: u32, reaper: &Arc<Reaper>) -> Result<Self, GroupError> {
        let left = Leftover { group: groups.create()?, reaper: Arc::clone(reaper) };
        for folder in left.group.folders() {
            reaper.add_folder(folder);
        }
        let limited = Self { left: Some(left), quota: CpuQuota::of_memory(memory_mb), applied: false };
        limited.group().map_or(Ok(()), |group| group.limit_memory(u64::from(memory_mb) << 20))?;
        Ok(limited)
    }

    fn group(&self) -> Option<&Group> {
        self.left.as_ref().map(|left| &left.group)
    }

    pub(crate) fn add(&self, pid: u32) -> Result<(), GroupError> {
        self.group().map_or(Ok(()), |group| group.add(pid))
    }

    /// The process has no more than its share from here on. `None` where that was so before.
    pub(crate) fn limit_cpu(&mut self) -> Result<Option<CpuQuota>, GroupError> {
        if self.applied {
            return Ok(None);
        }
        self.group().map_or(Ok(()), |group| group.limit_cpu(self.quota))?;
        self.applied = true;
        Ok(Some(self.quota))
    }

    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.group().is_some_and(Group::is_out_of_memory)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let Some(mut left) = self.left.take() else { return };
        // A killed process ends sooner at full speed.
        left.group.release();
        if !left.remove() {
            // Should there be no thread, or should this process end first, the reaper does it.
            let _ = thread::Builder::new().name("control-group".to_owned()).spawn(move || left.remove_soon());
        }
    }
}

impl Leftover {
    fn remove(&mut self) -> bool {
        for pid in self.group.processes() {
            // 0 is a process that this namespace does not see, and as a target it is this very process group.
            if pid > 1 {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let before = self.group.folders().to_vec();
        let removed = self.group.remove();
        for folder in before.iter().filter(|folder| !self.group.folders().contains(folder)) {
            self.reaper.remove_folder(folder);
        }
        removed
    }

    fn remove_soon(mut self) {
        for _ in 0..TRIES {
            thread::sleep(BETWEEN_TRIES);
            if self.remove() {
                return;
            }
        }
        tracing::warn!(folders = ?self.group.folders(), "a control group still has processes after SIGKILL: remove it by hand");
    }
}
