//! The way to AWS: a stack that the SAM CLI deploys, describes and removes. A script stands for the CLI, and a sandbox in another process for AWS.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(600);

struct Aws {
    variables: Vec<(String, String)>,
    folder: PathBuf,
    _sandbox: Child,
}

/// Starts the sandbox, and a `sam` that notes its calls.
async fn aws(name: &str) -> Aws {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let outputs = folder.join("outputs.json");
    let mut sandbox = Command::new(env!("CARGO_BIN_EXE_verify"));
    sandbox.arg("--serve").arg(&outputs).stdout(Stdio::piped()).kill_on_drop(true);
    let mut sandbox = sandbox.spawn().unwrap();
    let mut lines = BufReader::new(sandbox.stdout.take().unwrap()).lines();
    let mut variables = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty()) {
        let (key, value) = line.strip_prefix("export ").and_then(|line| line.split_once('=')).unwrap();
        variables.push((key.to_owned(), value.to_owned()));
    }
    assert_eq!(variables.len(), 6, "{variables:?}");
    let sam = folder.join("sam");
    let script = format!("#!/bin/sh\necho \"$@\" >> {0}/calls\n[ $1 != list ] || cat {0}/outputs.json\n", folder.display());
    fs::write(&sam, script).unwrap();
    fs::set_permissions(&sam, fs::Permissions::from_mode(0o755)).unwrap();
    Aws { variables, folder, _sandbox: sandbox }
}

impl Aws {
    fn verify(&self, arguments: &[&str]) -> Command {
        let mut verify = Command::new(env!("CARGO_BIN_EXE_verify"));
        verify
            .args(["--stack", "orders", "--pause", "1"])
            .args(arguments)
            .envs(self.variables.iter().cloned())
            .kill_on_drop(true);
        let path = format!("{}:{}", self.folder.display(), std::env::var("PATH").unwrap());
        verify.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::piped());
        verify
    }

    /// The subcommands of `sam`, in the order of their calls.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        calls.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_stack_is_deployed_compared_and_removed() {
    let aws = aws("compared").await;
    let report = aws.folder.join("report");
    let mut verify = aws.verify(&["--deploy", "arm64", "--yes", "--report", &report.to_string_lossy()]);
    let output = tokio::time::timeout(PATIENCE, verify.output()).await.unwrap().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert_eq!(aws.calls(), ["deploy", "list", "delete"]);
    assert_eq!(fs::read_to_string(report.join("verify.md")).unwrap(), shown);
    let xml = fs::read_to_string(report.join("verify.xml")).unwrap();
    assert!(xml.contains("tests=\"16\" failures=\"0\""), "{xml}");
}

#[tokio::test]
async fn nothing_is_created_without_a_yes() {
    let aws = aws("refused").await;
    let output = tokio::time::timeout(PATIENCE, aws.verify(&["--deploy", "arm64"]).output()).await.unwrap().unwrap();
    assert!(!output.status.success());
    assert_eq!(aws.calls(), [""; 0]);
}

#[tokio::test]
async fn a_stack_is_removed_after_ctrl_c() {
    let aws = aws("interrupted").await;
    let mut verify = aws.verify(&["--deploy", "arm64", "--yes"]);
    let mut verify = verify.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(verify.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("it invokes functions").starts_with("invoking") {}
    let interrupt = Command::new("kill").args(["-INT", &verify.id().unwrap().to_string()]).status().await.unwrap();
    assert!(interrupt.success());
    let status = tokio::time::timeout(PATIENCE, verify.wait()).await.unwrap().unwrap();
    assert!(!status.success());
    assert_eq!(aws.calls(), ["deploy", "list", "delete"]);
}
