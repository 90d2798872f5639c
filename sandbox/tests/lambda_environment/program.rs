//! The program `lambda-sandbox`, with this binary as the function.

use crate::{
    limits::permitted,
    raw::{Reply, request, send},
    support::{Gate, Outcome, ensure, ensure_eq, trial},
};
use libtest_mimic::{Failed, Trial};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    os::unix::fs::MetadataExt,
    process::{Output, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("the_program_shows_logs_and_trace_of_every_invocation", shows),
        trial("the_program_runs_a_function_as_managed_instances_do", managed),
        trial("the_program_serves_each_front", fronts),
        trial("the_program_tells_a_failed_invocation", failure),
        trial("limit_the_program_limits_a_function", limited),
        trial("limit_the_program_says_why_it_cannot", not_limited),
        trial("the_program_ends_with_everything_it_started", ends),
        trial("the_program_says_what_is_wrong_with_its_command_line", usage),
    ]
}

const INVOKE: &str = "/2015-03-31/functions/function/invocations";

/// The running program.
struct Sandbox {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
    seen: String,
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lambda-sandbox"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Sandbox {
    async fn start(options: &[&str]) -> Result<Self, Failed> {
        Self::behind("function URL", options).await
    }

    /// Behind the front whose address is printed after these words.
    async fn behind(front: &str, options: &[&str]) -> Result<Self, Failed> {
        let mut child = program().args(["--port", "0"]).args(options).arg(std::env::current_exe()?).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("a pipe")?).lines();
        let mut sandbox = Self { child, lines, address: String::new(), seen: String::new() };
        let line = sandbox.read_to(front).await?;
        let url = line.split_whitespace().last().unwrap_or_default();
        let address = url.split_once("://").ok_or("an address")?.1;
        sandbox.address = address.split('/').next().unwrap_or_default().to_owned();
        sandbox.read_to("Ctrl-C").await?;
        Ok(sandbox)
    }

    /// Reads on to the first line with these words.
    async fn read_to(&mut self, words: &str) -> Result<String, Failed> {
        while let Some(line) = self.lines.next_line().await? {
            self.seen += &format!("{line}\n");
            if line.contains(words) {
                return Ok(line);
            }
        }
        Err(format!("no {words:?} in\n{}", self.seen).into())
    }

    async fn post(&self, path: &'static str, body: Value) -> Result<Reply, Failed> {
        let (address, body) = (self.address.clone(), body.to_string());
        let headers = [("content-type", "application/json")];
        let exchange = move || send(&address, &request("POST", path, &headers, body.as_bytes()));
        Ok(tokio::task::spawn_blocking(exchange).await??)
    }

    fn interrupt(&self) -> Outcome {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).ok_or("it runs")?;
        Ok(kill(Pid::from_raw(pid), Signal::SIGINT)?)
    }
}

async fn shows() -> Outcome {
    let mut sandbox = Sandbox::start(&["--memory", "512"]).await?;
    let reply = sandbox.post("/", json!({ "print": "from the function", "answer": "hello" })).await?;
    ensure_eq((reply.status, reply.body.as_str()), (200, r#""hello""#))?;
    sandbox.read_to("from the function").await?;
    sandbox.read_to("7 bytes").await?;
    let report = sandbox.seen.lines().find(|line| line.contains("REPORT RequestId: ")).ok_or("a report")?.to_owned();
    ensure(report.contains("Memory Size: 512 MB"), &report)?;
    let trace_id = reply.header("x-amzn-trace-id").and_then(|header| header.strip_prefix("Root=")).ok_or("a trace")?;
    sandbox.read_to(trace_id).await?;
    sandbox.read_to("Invocation").await?;
    let reply = sandbox.post(INVOKE, json!({ "context": true })).await?;
    let context: Value = serde_json::from_str(&reply.body)?;
    ensure_eq(Some(&context["memory"]), Some(&json!(512)))?;
    sandbox.read_to(reply.header("x-amzn-requestid").ok_or("an id")?).await?;
    Ok(())
}

async fn limited() -> Outcome {
    if permitted().is_none() {
        return Ok(());
    }
    let mut sandbox = Sandbox::start(&["--memory", "128", "--limit"]).await?;
    let reply = sandbox.post(INVOKE, json!({ "allocate": 256 })).await?;
    let error: Value = serde_json::from_str(&reply.body)?;
    ensure_eq(Some(&error["errorType"]), Some(&json!("Runtime.ExitError")))?;
    sandbox.read_to("Runtime.OutOfMemory").await?;
    let reply = sandbox.post(INVOKE, json!({ "allocate": 16, "answer": 1 })).await?;
    ensure_eq(reply.body.as_str(), "1")
}

async fn not_limited() -> Outcome {
    let this = std::env::current_exe()?;
    let mut command = program();
    // Who may do this is not who is refused.
    if std::fs::metadata("/proc/self")?.uid() == 0 {
        command.uid(65_534);
    } else if permitted().is_some() {
        println!("skipped: this user may make control groups, and cannot become another one");
        return Ok(());
    }
    let output = match command.args([OsStr::new("--limit"), this.as_os_str()]).output().await {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: another user cannot run the program: {error}");
            return Ok(());
        }
    };
    let error = String::from_utf8_lossy(&output.stderr);
    ensure_eq(output.status.code(), Some(1))?;
    ensure(
        error.starts_with("lambda-sandbox: ") && error.contains("control groups") && error.contains("without the limit"),
        error,
    )
}

async fn managed() -> Outcome {
    let gate = Gate::new().await?;
    let sandbox = Sandbox::start(&["--managed=2", "--trace", "not-sampled"]).await?;
    let task = json!({ "gate": gate.address()?, "answer": 1 });
    let both = async { tokio::try_join!(sandbox.post(INVOKE, task.clone()), sandbox.post(INVOKE, task.clone())) };
    let released = async { Ok::<_, Failed>((gate.held().await?, gate.held().await?)) };
    let (replies, ()) = tokio::try_join!(both, async { released.await.map(drop) })?;
    ensure_eq((replies.0.body.as_str(), replies.1.body.as_str()), ("1", "1"))
}

async fn fronts() -> Outcome {
    let only_here = [
        ("http-api", "HTTP API", "/", "/rawPath"),
        ("rest-api", "REST API", "/prod/orders", "/multiValueHeaders"),
        ("alb", "load balancer", "/", "/requestContext/elb"),
        ("lattice", "VPC Lattice", "/", "/requestContext/serviceNetworkArn"),
    ];
    for (front, name, path, place) in only_here {
        let mut sandbox = Sandbox::behind(name, &["--front", front]).await?;
        let response = json!({ "statusCode": 201, "body": "placed" });
        let reply = sandbox.post(path, json!({ "print_event": true, "answer": response })).await?;
        ensure_eq((front, reply.status, reply.body.as_str()), (front, 201, "placed"))?;
        let line = sandbox.read_to("print_event").await?;
        let event: Value = serde_json::from_str(line.split_once("│ ").ok_or("a line")?.1)?;
        for (_, _, _, other) in only_here {
            // Its format is described where the sandbox's fronts are tested; here is only which of them it is.
            ensure(event.pointer(other).is_some() == (other == place), format!("{front}, {other}: {event}"))?;
        }
    }
    let mut sandbox = Sandbox::behind("WebSocket API", &["--front", "websocket"]).await?;
    // Closed after the response, which the server would otherwise wait with for another request.
    let handshake = "GET /dev HTTP/1.1\r\nhost: sandbox\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let address = sandbox.address.clone();
    let exchange = move || send(&address, handshake.as_bytes());
    // The function returns nothing that would let the client in.
    ensure_eq(tokio::task::spawn_blocking(exchange).await??.status, 502)?;
    sandbox.read_to("REPORT RequestId: ").await.map(drop)
}

async fn failure() -> Outcome {
    let mut sandbox = Sandbox::start(&["--timeout", "300ms"]).await?;
    ensure_eq(sandbox.post("/", json!({ "hang": true })).await?.status, 502)?;
    sandbox.read_to("failed: Task timed out").await?;
    sandbox.read_to("fault").await?;
    Ok(())
}

async fn ends() -> Outcome {
    let gate = Gate::new().await?;
    let mut sandbox = Sandbox::start(&["--env", "PROBE=extension handles-sigterm"]).await?;
    let call = sandbox.post(INVOKE, json!({ "gate": gate.address()?, "answer": 1 }));
    let (reply, held) = tokio::join!(call, async { gate.held().await?.keep_open().await });
    ensure_eq(reply?.body.as_str(), "1")?;
    sandbox.interrupt()?;
    sandbox.read_to("SIGTERM").await?;
    sandbox.read_to("ended: exit status 42").await?;
    held?.gone().await;
    ensure_eq(sandbox.child.wait().await?.code(), Some(0))
}

async fn output(args: &[&OsStr]) -> Result<Output, Failed> {
    Ok(program().args(args).output().await?)
}

async fn usage() -> Outcome {
    let this = std::env::current_exe()?;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = taken.local_addr()?.port().to_string();
    let os = OsStr::new;
    for (args, code, message) in [
        (vec![], 2, "no program to run; see lambda-sandbox --help"),
        (vec![os("--bogus")], 2, "unknown option --bogus"),
        (vec![os("./does/not/exist")], 2, "./does/not/exist: no such program; build it first"),
        (vec![os("--port"), os(&port), this.as_os_str()], 1, "choose another --port"),
    ] {
        let output = output(&args).await?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure_eq(output.status.code(), Some(code))?;
        ensure(error.starts_with("lambda-sandbox: ") && error.contains(message), error)?;
    }
    let help = output(&[os("--help")]).await?;
    ensure(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--managed N"), "the usage")
}
