//! The user's browser.

use std::{io, process::Stdio};
use tokio::process::Command;

#[cfg(target_os = "macos")]
const OPENERS: [&str; 1] = ["open"];
#[cfg(not(target_os = "macos"))]
const OPENERS: [&str; 3] = ["xdg-open", "gio", "wslview"];

/// Opens a page in the user's browser, with the system's program for that.
///
/// # Errors
///
/// When the system has no such program, or it fails to start.
pub fn open(url: &str) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for opener in OPENERS {
        let mut command = Command::new(opener);
        if opener == "gio" {
            command.arg("open");
        }
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            // Tokio reaps it.
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
