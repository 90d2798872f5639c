//! Programs as they are deployed.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Copies the program, so that its file is written in one piece, as a deployment's is. A linker writes in small steps, which
/// leaves small pieces in the page cache. Those are mapped more slowly, and differ after each build.
pub fn copy(program: &Path) -> io::Result<PathBuf> {
    let deployed = program.with_extension("deployed");
    // Never over a file that may be running, or in the page cache already.
    match fs::remove_file(&deployed) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(&deployed, fs::read(program)?)?;
    fs::set_permissions(&deployed, fs::metadata(program)?.permissions())?;
    Ok(deployed)
}
