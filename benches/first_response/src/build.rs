//! Builds a contender as it would be deployed.

use crate::{contender::Contender, error::Error};
use bench_report::deployed;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub(crate) fn build(contenders: &Path, contender: &Contender) -> Result<PathBuf, Error> {
    let Contender { name, package, build, linked_statically, .. } = *contender;
    let mut args: Vec<String> =
        ["build", "--locked", "--release", "--message-format=json", "-p", package].map(str::to_owned).into();
    if !build.is_empty() {
        // Build scripts would run again each time that one is built after the other.
        args.extend(["--target-dir".to_owned(), format!("target/{name}")]);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    if linked_statically {
        // A named target keeps the flags from build scripts and macros.
        args.extend(["--target".to_owned(), format!("{}-unknown-linux-gnu", std::env::consts::ARCH)]);
        command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    }
    let output = command.args(&args).current_dir(contenders).envs(build.iter().copied()).stderr(Stdio::inherit()).output()?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = messages.lines().rev().find_map(executable).filter(|_| output.status.success());
    let program = program.ok_or_else(|| Error::Cargo(args.join(" ")))?;
    Ok(deployed::copy(&program)?)
}

fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some(message["executable"].as_str()?.into())
}
