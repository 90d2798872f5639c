//! The way to AWS: a stack that the SAM CLI deploys, describes and removes. A script stands for the CLI, and a sandbox in another process for AWS.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

/// Only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(600);

struct Aws {
    variables: Vec<(String, String)>,
    folder: PathBuf,
    _sandbox: Child,
}

/// Starts the sandbox, and a `sam` that notes the begin and the end of its calls. Where the file `hold` exists, a deployment takes until it is gone.
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
    assert_eq!(variables.len(), 9, "{variables:?}");
    let sam = folder.join("sam");
    let script = "#!/bin/sh\ncd FOLDER\necho \"begin $1\" >> calls\n[ $1 != list ] || cat outputs.json\n\
        while [ $1 = deploy ] && [ -e hold ]; do sleep 0.05; done\necho \"end $1\" >> calls\n";
    fs::write(&sam, script.replace("FOLDER", &folder.display().to_string())).unwrap();
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

    /// The subcommands of `sam`, in the order of their begins and ends.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

async fn output(mut verify: Command) -> Output {
    timeout(PATIENCE, verify.output()).await.unwrap().unwrap()
}

/// A process of `verify` whose progress the test reads.
struct Running {
    verify: Child,
    progress: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(mut verify: Command) -> Self {
        let mut verify = verify.stderr(Stdio::piped()).spawn().unwrap();
        let progress = BufReader::new(verify.stderr.take().unwrap()).lines();
        Self { verify, progress }
    }

    async fn wait_for(&mut self, beginning: &str) {
        let found = async { while !self.progress.next_line().await.unwrap().expect(beginning).starts_with(beginning) {} };
        timeout(PATIENCE, found).await.expect(beginning);
    }

    async fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.verify.id().unwrap().to_string()]).status().await;
        assert!(sent.unwrap().success());
    }

    async fn fails(mut self) {
        // The pipe must not fill up.
        let reading = async { while let Ok(Some(_)) = self.progress.next_line().await {} };
        let (status, ()) = timeout(PATIENCE, async { tokio::join!(self.verify.wait(), reading) }).await.unwrap();
        assert!(!status.unwrap().success());
    }
}

#[tokio::test]
async fn a_stack_is_deployed_compared_and_removed() {
    let aws = aws("compared").await;
    let report = aws.folder.join("report");
    let output = output(aws.verify(&["--deploy", "arm64", "--yes", "--report", &report.to_string_lossy()])).await;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert_eq!(aws.calls(), ["begin deploy", "end deploy", "begin list", "end list", "begin delete", "end delete"]);
    assert_eq!(fs::read_to_string(report.join("verify.md")).unwrap(), shown);
    let xml = fs::read_to_string(report.join("verify.xml")).unwrap();
    // No property, and no output of the stack, says the account.
    assert!(xml.contains(" failures=\"0\"") && !xml.contains("123456789012"), "{xml}");
    for fact in ["name=\"region\" value=\"eu-west-1\"", "name=\"rustc\" value=\"rustc ", "name=\"template\"", "name=\"date\""] {
        assert!(xml.contains(fact), "{fact} is not in {xml}");
    }
}

#[tokio::test]
async fn nothing_is_created_without_a_yes_and_account_and_region_are_shown_before() {
    let aws = aws("refused").await;
    let mut verify = aws.verify(&["--deploy", "arm64"]);
    let mut verify = verify.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    verify.stdin.take().unwrap().write_all(b"yes, please\n").await.unwrap();
    let output = timeout(PATIENCE, verify.wait_with_output()).await.unwrap().unwrap();
    assert!(!output.status.success());
    let (asked, before) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(asked.contains("[y/N]") && before.contains("123456789012") && before.contains("eu-west-1"), "{before}{asked}");
    assert_eq!(aws.calls(), [""; 0]);
}

#[tokio::test]
async fn a_y_is_enough() {
    let aws = aws("agreed").await;
    let mut verify = aws.verify(&["--deploy", "arm64"]);
    let mut verify = verify.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    fs::write(aws.folder.join("outputs.json"), "[]").unwrap();
    verify.stdin.take().unwrap().write_all(b"y\n").await.unwrap();
    let output = timeout(PATIENCE, verify.wait_with_output()).await.unwrap().unwrap();
    assert!(!output.status.success(), "a stack without outputs cannot be compared");
    assert_eq!(aws.calls(), ["begin deploy", "end deploy", "begin list", "end list", "begin delete", "end delete"]);
}

#[tokio::test]
async fn nothing_is_asked_of_an_account_that_is_not_known() {
    let aws = aws("unknown").await;
    let mut verify = aws.verify(&["--deploy", "arm64", "--yes"]);
    verify.env("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9").env("AWS_MAX_ATTEMPTS", "1");
    assert!(!output(verify).await.status.success());
    assert_eq!(aws.calls(), [""; 0]);
}

#[tokio::test]
async fn a_stack_is_removed_after_ctrl_c() {
    for signal in ["INT", "TERM"] {
        let aws = aws(&format!("interrupted-{signal}")).await;
        let mut running = Running::start(aws.verify(&["--deploy", "arm64", "--yes"]));
        running.wait_for("invoking").await;
        running.signal(signal).await;
        running.fails().await;
        assert_eq!(aws.calls(), ["begin deploy", "end deploy", "begin list", "end list", "begin delete", "end delete"]);
    }
}

#[tokio::test]
async fn a_stack_that_is_being_created_is_removed_once_it_is_there() {
    let aws = aws("early").await;
    let hold = aws.folder.join("hold");
    fs::write(&hold, "").unwrap();
    let mut running = Running::start(aws.verify(&["--deploy", "arm64", "--yes"]));
    running.wait_for("creating").await;
    running.signal("INT").await;
    running.wait_for("waiting until").await;
    // Another one changes nothing.
    running.signal("INT").await;
    assert!(!aws.calls().contains(&"begin delete".to_owned()), "it was removed while it was created: {:?}", aws.calls());
    fs::remove_file(&hold).unwrap();
    running.fails().await;
    assert_eq!(aws.calls(), ["begin deploy", "end deploy", "begin delete", "end delete"]);
}
