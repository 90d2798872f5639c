//! How a program is linked to its C library.

use std::{path::PathBuf, process::Command};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linked {
    /// When it starts, which is the default of `cargo build`.
    Dynamically,
    /// When it is built, to the machine's own glibc.
    Statically,
    /// When it is built, to musl, which Rust brings with the target.
    ToMusl,
}

impl Linked {
    /// The target, and the compiler's flags. With a named target, the flags do not apply to build scripts and macros.
    pub(crate) fn target(self) -> Option<(String, &'static str)> {
        let arch = std::env::consts::ARCH;
        match self {
            Self::Dynamically => None,
            Self::Statically => Some((format!("{arch}-unknown-linux-gnu"), "-C target-feature=+crt-static")),
            Self::ToMusl => Some((format!("{arch}-unknown-linux-musl"), "")),
        }
    }

    /// The tool that this machine lacks for this target.
    pub(crate) fn missing(self) -> Option<String> {
        let prints = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output();
            output.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())).unwrap_or_default()
        };
        match (self, self.target()) {
            (Self::Statically, _) => {
                // The compiler prints the bare name when it finds no such file.
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
