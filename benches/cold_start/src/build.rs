//! Builds a contender as it would be deployed, and counts what went into it.

use crate::{contender::Contender, error::Error};
use bench_report::deployed;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub(crate) struct Built {
    pub(crate) program: PathBuf,
    /// Of the stripped program, in bytes.
    pub(crate) size: u64,
    /// The crates it is made of, itself and the handler they share not counted.
    pub(crate) crates: usize,
}

pub(crate) fn build(contenders: &Path, contender: &Contender) -> Result<Built, Error> {
    let Contender { package, program, .. } = *contender;
    let mut args = vec!["build", "--locked", "--release", "--message-format=json", "-p", package, "--bin", program];
    let target = contender.linked.target();
    let mut flags = None;
    if let Some((target, wanted)) = &target {
        args.extend(["--target", target]);
        flags = Some(*wanted).filter(|flags| !flags.is_empty());
    }
    let messages = run(contenders, &args, flags)?;
    let program = messages.lines().rev().find_map(executable).ok_or_else(|| Error::Cargo(args.join(" ")))?;
    let tree = cargo(contenders, &["tree", "--locked", "-p", package, "-e", "normal", "--prefix", "none", "--no-dedupe"])?;
    let crates: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (proc-macro)")).collect();
    let own = crates.iter().filter(|line| line.starts_with(&format!("{package} v")) || line.starts_with("work v")).count();
    let program = deployed::copy(&program)?;
    Ok(Built { size: std::fs::metadata(&program)?.len(), program, crates: crates.len() - own })
}

/// What `cargo` says on its standard output.
pub(crate) fn cargo(folder: &Path, args: &[&str]) -> Result<String, Error> {
    run(folder, args, None)
}

fn run(folder: &Path, args: &[&str], flags: Option<&str>) -> Result<String, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(folder).envs(flags.map(|flags| ("RUSTFLAGS", flags)));
    let output = command.stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Error::Cargo(args.join(" ")))
    }
}

fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some(message["executable"].as_str()?.into())
}
