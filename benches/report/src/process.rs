//! The kernel's statistics of a process.

use std::{fs, io};

/// "No such process".
const ESRCH: i32 = 3;

/// One look at a process.
#[derive(Debug)]
pub struct Usage {
    /// CPU time of all its living threads, in nanoseconds.
    pub cpu: f64,
    /// Ticks of the clock in user code, and in the kernel.
    pub ticks: (f64, f64),
    /// Minor and major page faults.
    pub faults: f64,
    /// Resident memory, in bytes.
    pub resident: f64,
    /// The part of it without a file behind it, in bytes.
    pub anonymous: f64,
    pub threads: f64,
}

impl Usage {
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut cpu = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            match fs::read_to_string(task?.path().join("schedstat")) {
                Ok(schedstat) => cpu += number(schedstat.split_ascii_whitespace().next())?,
                // The thread has ended since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) => {}
                Err(error) => return Err(error),
            }
        }
        let stat = stat(pid)?;
        let fields: Vec<&str> = stat.split_ascii_whitespace().collect();
        let field = |field: usize| number(fields.get(field - 3).copied());
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = |key| number(status.lines().find_map(|line| line.strip_prefix(key)?.split_ascii_whitespace().next()));
        Ok(Self {
            cpu: cpu as f64,
            ticks: (field(14)? as f64, field(15)? as f64),
            faults: (field(10)? + field(12)?) as f64,
            resident: (line("VmRSS:")? * 1024) as f64,
            anonymous: (line("RssAnon:")? * 1024) as f64,
            threads: line("Threads:")? as f64,
        })
    }
}

/// Whether its main thread waits for something.
pub fn sleeps(pid: u32) -> io::Result<bool> {
    Ok(stat(pid)?.trim_start().starts_with('S'))
}

/// The line from field 3, the state, on: the name before it, in parentheses, may hold spaces.
fn stat(pid: u32) -> io::Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(stat.rsplit(')').next().unwrap_or_default().to_owned())
}

fn number(text: Option<&str>) -> io::Result<u64> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| io::Error::other("/proc says something else than expected"))
}
