//! Programs as they are deployed.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// A copy written in one piece, as a deployment's is. What a linker wrote bit by bit lies in the page cache in small pieces, differently after each
/// build, and is mapped more slowly for it.
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
