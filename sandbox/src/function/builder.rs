//! Describes a function.

use super::{
    Function, TraceMode,
    post_fault::{PostFault, PostFaults},
    settings::Settings,
};
use crate::{control_groups::ControlGroups, xray::TraceStore};
use std::{ffi::OsStr, path::PathBuf, time::Duration};

/// Describes a function. [`Function::builder`] creates one.
#[derive(Clone, Debug)]
#[must_use = "a function runs only once it is built"]
pub struct FunctionBuilder(Settings);

impl Function {
    /// Begins to describe a function that runs `program`: a path, or a name to be found in `PATH`.
    pub fn builder(name: impl Into<String>, program: impl Into<PathBuf>) -> FunctionBuilder {
        FunctionBuilder(Settings::new(name.into(), program.into()))
    }
}

impl FunctionBuilder {
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

    /// The function's timeout, which sets the deadline of every invocation. Default: 3 s, as on AWS.
    ///
    /// [`kill_delay`](Self::kill_delay) decides what happens then.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = timeout;
        self
    }

    /// How much later than the deadline that the function received, or than the limit of Init or restore, the platform acts: it kills the
    /// process, or, with [`managed`](Self::managed), gives the caller an error. Default: none, as on AWS.
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

    /// Memory in MB, 128 where none is set. The function finds it in `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`; [`limit`](Self::limit) enforces it.
    pub fn memory(mut self, mb: u32) -> Self {
        self.0.memory_mb = mb;
        self
    }

    /// Gives each process the CPU share and the memory that Lambda gives a function of this [memory](Self::memory) size. Without this, nothing
    /// limits it.
    ///
    /// - CPU: memory / 1,769 MB of a core, as a quota for each 20 ms, from the end of the Init phase on. Init itself runs at full speed, except
    ///   under provisioned concurrency, on Managed Instances, and where it is repeated inside an invocation.
    /// - Memory: from the start. A process that needs more is killed by the kernel, and its invocation fails with
    ///   [`Failure::OutOfMemory`](crate::Failure::OutOfMemory).
    ///
    /// [`EventKind::CpuLimited`](super::EventKind::CpuLimited) is on the timeline when the quota applies.
    pub fn limit(mut self, groups: ControlGroups) -> Self {
        self.0.limit = Some(groups);
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

    /// The trace header that the function receives. The default is [`TraceMode::Active`], unlike on AWS.
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

    /// The fault of the first `times` responses, including errors, that the function posts.
    ///
    /// On AWS these are rare and hard to cause, but a runtime must handle them.
    pub fn post_fault(mut self, fault: PostFault, times: usize) -> Self {
        self.0.post_faults = PostFaults::new(fault, times);
        self
    }

    /// Runs the function as Lambda Managed Instances do: one process, up to `concurrency` invocations in it at a time (at least
    /// 1), which is `AWS_LAMBDA_MAX_CONCURRENCY`; `AWS_LAMBDA_INITIALIZATION_TYPE` is `lambda-managed-instances`.
    ///
    /// [`build`](Self::build) starts the process, ahead of requests. It is never frozen, and timeouts are not enforced: at the
    /// deadline the caller gets [`Failure::TimedOut`](crate::Failure::TimedOut), the process runs on, and a late response is
    /// refused with 410.
    ///
    /// Where all workers are busy, a synchronous invocation is rejected with [`Failure::Throttled`](crate::Failure::Throttled). A worker is
    /// busy until it asks for its next event. Asynchronous invocations and event source mappings try again.
    pub fn managed(mut self, concurrency: usize) -> Self {
        self.0.managed = true;
        self.0.concurrency = concurrency.max(1);
        self.initialization_type("lambda-managed-instances")
    }

    /// Lets events that find all workers of Managed Instances busy wait, instead of rejecting them with
    /// [`Failure::Throttled`](crate::Failure::Throttled). AWS has no such thing: a test with more invocations than workers needs no retries
    /// with it.
    pub fn queue_when_busy(mut self) -> Self {
        self.0.queue_when_busy = true;
        self
    }

    /// `AWS_LAMBDA_LOG_FORMAT`: `Text`, which is the default, or `JSON`. The function receives the variable, and Lambda's lines in
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
