//! Whether groups can be made at a place: only trying shows it.

use super::{
    group::{GroupError, Hierarchy},
    share::CpuQuota,
};
use std::process::{Child, Command, Stdio};

/// Makes a group there, moves a process into it, limits it, and removes both.
pub(super) fn try_out(place: &Hierarchy) -> Result<(), GroupError> {
    let mut group = place.create()?;
    let tried = limit_a_process(&group, place);
    group.remove();
    tried
}

fn limit_a_process(group: &super::Group, place: &Hierarchy) -> Result<(), GroupError> {
    group.limit_memory(64 << 20)?;
    let idle = || Command::new("/bin/sh").args(["-c", "read -r line"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let path = place.folders().swap_remove(0);
    let mut process = idle().map(Idle).map_err(|source| GroupError { action: "start /bin/sh for".to_owned(), path, source })?;
    group.add(process.0.id())?;
    group.limit_cpu(CpuQuota::of_memory(128))?;
    group.release();
    process.end();
    Ok(())
}

/// Ends with the attempt, whatever comes of it.
struct Idle(Child);

impl Idle {
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.end();
    }
}
