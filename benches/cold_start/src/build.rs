//! Builds a contender as it would be deployed, and counts what went into it.

use crate::{Error, contender::Contender};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::ErrorKind,
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

/// How a program comes to its C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linked {
    /// When it starts: what `cargo build` does.
    Dynamically,
    /// When it is built, to the machine's own glibc.
    Statically,
    /// When it is built, to musl, which Rust brings with the target.
    ToMusl,
}

impl Linked {
    /// The target to name, and what to tell the compiler. A named target keeps the flags from build scripts and macros.
    fn target(self) -> Option<(String, &'static str)> {
        let arch = std::env::consts::ARCH;
        match self {
            Self::Dynamically => None,
            Self::Statically => Some((format!("{arch}-unknown-linux-gnu"), "-C target-feature=+crt-static")),
            Self::ToMusl => Some((format!("{arch}-unknown-linux-musl"), "")),
        }
    }

    /// What is missing for it here.
    pub(crate) fn missing(self) -> Option<String> {
        let prints = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output();
            output.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())).unwrap_or_default()
        };
        match (self, self.target()) {
            (Self::Statically, _) => {
                // A name alone is the compiler's word for not found.
                let found = prints("cc", &["-print-file-name=libc.a"]).is_absolute();
                (!found).then(|| "no libc.a, a part of glibc's development package,".to_owned())
            }
            (Self::ToMusl, Some((target, _))) => {
                let found = prints("rustc", &["--print", "target-libdir", "--target", &target]).is_dir();
                (!found).then(|| format!("no target {target}"))
            }
            _ => None,
        }
    }
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
    let program = deploy(&program)?;
    Ok(Built { size: std::fs::metadata(&program)?.len(), program, crates: crates.len() - own })
}

/// A copy written in one piece, as a deployment's is. What a linker wrote bit by bit lies in the page cache in small pieces, differently after each
/// build, and is mapped more slowly for it.
fn deploy(program: &Path) -> Result<PathBuf, Error> {
    let deployed = program.with_extension("deployed");
    // Never over a file that may be running, or in the page cache already.
    match std::fs::remove_file(&deployed) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::fs::write(&deployed, std::fs::read(program)?)?;
    std::fs::set_permissions(&deployed, std::fs::metadata(program)?.permissions())?;
    Ok(deployed)
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
