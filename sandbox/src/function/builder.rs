//! Describes a function.

use super::{Function, TraceMode, trace_header::new_request_id};
use crate::xray::TraceStore;
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::process::Command;

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "us-east-1";

const ON_DEMAND: &str = "on-demand";

/// What the Runtime API does with a response instead of taking it: see [`FunctionBuilder::post_fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostFault {
    /// It is refused with 413, and the caller gets [`Failure::TooLarge`](crate::Failure::TooLarge).
    TooLarge,
    /// It is refused with 410, and the caller gets [`Failure::TimedOut`](crate::Failure::TimedOut).
    Late,
    /// It is refused with 400, and the caller gets a function error of type `Runtime.InvalidResponse`.
    Refused,
    /// The connection is closed before the response is read.
    Broken,
}

/// The faults that are still to come.
#[derive(Clone, Debug, Default)]
pub(crate) struct PostFaults(Option<(PostFault, Arc<AtomicUsize>)>);

impl PostFaults {
    pub(crate) fn next(&self) -> Option<PostFault> {
        let (fault, left) = self.0.as_ref()?;
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok().map(|_| *fault)
    }
}

/// Everything that is decided before a function runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    pub(crate) timeout: Duration,
    /// How much later than on AWS the platform acts on what is overdue.
    pub(crate) kill_delay: Duration,
    exit_grace: Option<Duration>,
    init_limit: Option<Duration>,
    pub(crate) restore_limit: Duration,
    pub(crate) memory_mb: u32,
    pub(crate) version: String,
    handler: String,
    pub(crate) trace_mode: TraceMode,
    xray: Option<String>,
    pub(crate) traces: TraceStore,
    initialization_type: String,
    /// Invocations that one environment runs at once; only Managed Instances have more than one.
    pub(crate) concurrency: usize,
    pub(crate) managed: bool,
    log_format: String,
    pub(crate) max_environments: usize,
    pub(crate) post_faults: PostFaults,
}

impl Settings {
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", self.name)
    }

    pub(crate) fn is_on_demand(&self) -> bool {
        self.is_initialized_as(ON_DEMAND)
    }

    pub(crate) fn initialization_type(&self) -> &str {
        &self.initialization_type
    }

    pub(crate) fn logs_json(&self) -> bool {
        self.log_format.eq_ignore_ascii_case("json")
    }

    pub(crate) fn is_initialized_as(&self, kind: &str) -> bool {
        self.initialization_type == kind
    }

    /// How long the Init phase may take: 10 s, or, where it lies ahead of all requests, 130 s or the function's timeout if that
    /// is longer. See "Understanding the Lambda execution environment lifecycle" in AWS' developer guide.
    pub(crate) fn init_limit(&self) -> Duration {
        let usual = if self.is_on_demand() { Duration::from_secs(10) } else { Duration::from_secs(130).max(self.timeout) };
        self.init_limit.unwrap_or(usual)
    }

    /// Between the first signal, or a reported failure, and SIGKILL.
    pub(crate) fn exit_grace(&self, usual: Duration) -> Duration {
        self.exit_grace.unwrap_or(usual)
    }

    pub(crate) fn log_group(&self) -> String {
        format!("/aws/lambda/{}", self.name)
    }

    pub(crate) fn handler(&self) -> &str {
        &self.handler
    }

    /// The process of one environment, with the variables Lambda sets.
    ///
    /// See "Defined runtime environment variables" in AWS' developer guide. `_X_AMZN_TRACE_ID` is not among them: with a custom
    /// runtime it is the runtime that sets it, for each invocation.
    pub(crate) fn command(&self, runtime_api: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear();
        for kept in ["PATH", "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        let root = self.program.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        command
            .env("LANG", "en_US.UTF-8")
            .env("TZ", ":UTC")
            .env("LAMBDA_TASK_ROOT", root)
            .env("LAMBDA_RUNTIME_DIR", "/var/runtime")
            .env("_HANDLER", &self.handler)
            .env("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023")
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "sandbox")
            .env("AWS_SESSION_TOKEN", "sandbox")
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
            .env("AWS_LAMBDA_FUNCTION_NAME", &self.name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", &self.version)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", self.memory_mb.to_string())
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", &self.initialization_type)
            .env("AWS_LAMBDA_LOG_FORMAT", &self.log_format)
            .env("AWS_LAMBDA_LOG_GROUP_NAME", self.log_group())
            .env("AWS_LAMBDA_LOG_STREAM_NAME", self.log_stream())
            .env("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR");
        if self.managed {
            command.env("AWS_LAMBDA_MAX_CONCURRENCY", self.concurrency.to_string());
        }
        if let Some(address) = &self.xray {
            command.env("AWS_XRAY_DAEMON_ADDRESS", address);
            if let Some((host, port)) = address.rsplit_once(':') {
                command.env("_AWS_XRAY_DAEMON_ADDRESS", host).env("_AWS_XRAY_DAEMON_PORT", port);
            }
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    fn log_stream(&self) -> String {
        let today = time::OffsetDateTime::from(SystemTime::now());
        let (year, month, day) = (today.year(), u8::from(today.month()), today.day());
        format!("{year}/{month:02}/{day:02}/[{}]{}", self.version, new_request_id().replace('-', ""))
    }
}

/// Describes a function; begun by [`Function::builder`].
#[derive(Clone, Debug)]
#[must_use = "a function runs only once it is built"]
pub struct FunctionBuilder(Settings);

impl FunctionBuilder {
    pub(crate) fn new(name: String, program: PathBuf) -> Self {
        Self(Settings {
            name,
            program,
            args: Vec::new(),
            env: Vec::new(),
            timeout: Duration::from_secs(3),
            kill_delay: Duration::ZERO,
            exit_grace: None,
            init_limit: None,
            restore_limit: Duration::from_secs(10),
            memory_mb: 128,
            version: "$LATEST".to_owned(),
            handler: "bootstrap".to_owned(),
            trace_mode: TraceMode::default(),
            xray: None,
            traces: TraceStore::default(),
            initialization_type: ON_DEMAND.to_owned(),
            concurrency: 1,
            managed: false,
            log_format: "Text".to_owned(),
            max_environments: 1,
            post_faults: PostFaults::default(),
        })
    }

    /// Adds an argument of the program. A function on AWS has none; a test binary may need one.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.args.push(arg.as_ref().to_owned());
        self
    }

    /// Sets an environment variable of the function, also one of those that Lambda sets.
    ///
    /// The function inherits nothing of the sandbox's own environment but `PATH`, `LD_LIBRARY_PATH`, and, so that coverage can
    /// be measured, `LLVM_PROFILE_FILE`.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.0.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The function's timeout, which every invocation is told as its deadline: 3 s where none is set, as on AWS.
    ///
    /// What happens then is up to [`kill_delay`](Self::kill_delay).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = timeout;
        self
    }

    /// How much later than the deadline that was told, or than the limit of Init or restore, the platform acts: it kills the
    /// process, or, with [`managed`](Self::managed), tells the caller. None where nothing is set, as on AWS.
    ///
    /// Set it in tests that are about the function's deadline and not about the kill: on a busy machine the function then has the
    /// time to do what it does at its deadline. [`Function::expire`] ends the delay early. A runtime of Managed Instances has as much
    /// longer to open all its polls.
    pub fn kill_delay(mut self, delay: Duration) -> Self {
        self.0.kill_delay = delay;
        self
    }

    /// How long a process that is to end may still take before SIGKILL. As on AWS 500 ms after the SIGTERM of a shutdown and 600 ms
    /// after that of a timeout where none is set, and 100 ms after a reported failure.
    ///
    /// The last lines of a process that has ended are waited for as long, at least 200 ms.
    pub fn exit_grace(mut self, grace: Duration) -> Self {
        self.0.exit_grace = Some(grace);
        self
    }

    /// How long the Init phase may take. As on AWS 10 s where none is set, after which Init is repeated inside the first
    /// invocation; 130 s, or the function's timeout if that is longer, with every other initialization type than `on-demand`.
    pub fn init_limit(mut self, limit: Duration) -> Self {
        self.0.init_limit = Some(limit);
        self
    }

    /// How long the runtime's hooks may take after SnapStart's restore: 10 s where none is set, as on AWS.
    pub fn restore_limit(mut self, limit: Duration) -> Self {
        self.0.restore_limit = limit;
        self
    }

    /// Memory in MB, 128 where none is set. The function is told; nothing limits it.
    pub fn memory_mb(mut self, memory: u32) -> Self {
        self.0.memory_mb = memory;
        self
    }

    /// Version of the function, `$LATEST` where none is set.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.0.version = version.into();
        self
    }

    /// `_HANDLER`, `bootstrap` where none is set.
    pub fn handler(mut self, handler: impl Into<String>) -> Self {
        self.0.handler = handler.into();
        self
    }

    /// What the function is told of its trace. The default is [`TraceMode::Active`], other than on AWS.
    pub fn trace_mode(mut self, mode: TraceMode) -> Self {
        self.0.trace_mode = mode;
        self
    }

    /// Address of the X-Ray daemon, `ip:port`.
    pub fn xray(mut self, address: impl Into<String>) -> Self {
        self.0.xray = Some(address.into());
        self
    }

    /// No X-Ray daemon: `AWS_XRAY_DAEMON_ADDRESS` is not set, as outside Lambda.
    pub fn without_xray(mut self) -> Self {
        self.0.xray = None;
        self
    }

    /// Where Lambda's own two segments of every sampled invocation go.
    pub fn trace_store(mut self, traces: TraceStore) -> Self {
        self.0.traces = traces;
        self
    }

    /// `AWS_LAMBDA_INITIALIZATION_TYPE`, `on-demand` where none is set.
    ///
    /// - `provisioned-concurrency`: the Init phase may take longer, see [`init_limit`](Self::init_limit). Await
    ///   [`Function::warm_up`] to have it ahead of the first invocation.
    /// - `snap-start`: the Init phase ends when the runtime asks for `/restore/next`; there the process is frozen, as if a
    ///   snapshot of it were taken, and "restored" by the first invocation, which waits for the runtime's hooks.
    ///   Every process is restored once: the sandbox cannot copy processes.
    /// - `lambda-managed-instances`: use [`managed`](Self::managed), which sets it.
    pub fn initialization_type(mut self, kind: impl Into<String>) -> Self {
        self.0.initialization_type = kind.into();
        self
    }

    /// What goes wrong with the first `times` responses, errors among them, that the function posts.
    ///
    /// On AWS these are rare and hard to bring about; a runtime must bear them all the same.
    pub fn post_fault(mut self, fault: PostFault, times: usize) -> Self {
        self.0.post_faults = PostFaults(Some((fault, Arc::new(AtomicUsize::new(times)))));
        self
    }

    /// Runs the function as Lambda Managed Instances do: one process, up to `concurrency` invocations in it at a time (at least
    /// 1), which is `AWS_LAMBDA_MAX_CONCURRENCY`; `AWS_LAMBDA_INITIALIZATION_TYPE` is `lambda-managed-instances`.
    ///
    /// [`build`](Self::build) starts the process, ahead of requests. It is never frozen, and timeouts are not enforced: at the
    /// deadline the caller gets [`Failure::TimedOut`](crate::Failure::TimedOut), the process runs on, and a late answer is
    /// refused with 410.
    pub fn managed(mut self, concurrency: usize) -> Self {
        self.0.managed = true;
        self.0.concurrency = concurrency.max(1);
        self.initialization_type("lambda-managed-instances")
    }

    /// `AWS_LAMBDA_LOG_FORMAT`: `Text`, which is the default, or `JSON`. The function is told, and Lambda's own lines in
    /// [`Function::logs`] follow it.
    pub fn log_format(mut self, format: impl Into<String>) -> Self {
        self.0.log_format = format.into();
        self
    }

    /// How many environments there may be at once; at least and by default 1, so that calls queue.
    ///
    /// With more, a call that finds every environment busy starts another one, as Lambda scales.
    pub fn max_environments(mut self, count: usize) -> Self {
        self.0.max_environments = count.max(1);
        self
    }

    #[cfg(test)]
    pub(crate) fn into_settings(self) -> Settings {
        self.0
    }

    /// The function, which has no process yet: the first invocation starts one. With [`managed`](Self::managed) one is started
    /// here; [`Function::warm_up`] waits until it is ready.
    ///
    /// # Panics
    ///
    /// Never by itself; it must run inside a tokio runtime, which the function's tasks are then spawned on.
    pub async fn build(self) -> Function {
        // Lambda's segments are judged like all others: without this the first invocation would wait for that.
        let _ = tokio::task::spawn_blocking(crate::xray::compile_schema).await;
        Function::start(self.0)
    }
}
