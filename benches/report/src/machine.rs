//! Where and when it was measured.

use std::{fs, process::Command};

pub struct Machine {
    /// To the minute, UTC.
    pub date: String,
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
}

impl Machine {
    pub fn here() -> std::io::Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo")?;
        let name = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            cpu: name.map_or("unknown CPU", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: said("uname", &["-sr"]),
        })
    }

    /// The date without the time of day.
    pub fn day(&self) -> &str {
        self.date.split(' ').next().unwrap_or_default()
    }
}

/// The first line a program says of itself.
pub fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    output.lines().next().map_or("unknown", str::trim).to_owned()
}
