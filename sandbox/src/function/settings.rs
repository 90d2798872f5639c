//! Everything that is decided before a function runs.

use super::{limited, post_fault::PostFaults, trace_header::TraceMode};
use crate::{control_groups::ControlGroups, ids::new_request_id, xray::TraceStore};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tokio::process::Command;

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "us-east-1";

const ON_DEMAND: &str = "on-demand";

/// A function's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(crate) timeout: Duration,
    /// How much later than on AWS the platform acts on what is overdue.
    pub(crate) kill_delay: Duration,
    pub(super) exit_grace: Option<Duration>,
    pub(super) init_limit: Option<Duration>,
    pub(crate) restore_limit: Duration,
    pub(crate) memory_mb: u32,
    /// Where the groups are made that limit its processes to their CPU share and memory.
    pub(crate) limit: Option<ControlGroups>,
    pub(crate) version: String,
    pub(super) handler: String,
    pub(crate) trace_mode: TraceMode,
    pub(super) xray: Option<String>,
    pub(crate) traces: TraceStore,
    pub(super) initialization_type: String,
    /// Invocations that one environment runs at once; only Managed Instances have more than one.
    pub(crate) concurrency: usize,
    pub(crate) queue_when_busy: bool,
    pub(crate) managed: bool,
    pub(super) log_format: String,
    pub(crate) max_environments: usize,
    pub(crate) post_faults: PostFaults,
}

impl Settings {
    pub(crate) fn new(name: String, program: PathBuf) -> Self {
        Self {
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
            limit: None,
            version: "$LATEST".to_owned(),
            handler: "bootstrap".to_owned(),
            trace_mode: TraceMode::default(),
            xray: None,
            traces: TraceStore::default(),
            initialization_type: ON_DEMAND.to_owned(),
            concurrency: 1,
            queue_when_busy: false,
            managed: false,
            log_format: "Text".to_owned(),
            max_environments: 1,
            post_faults: PostFaults::default(),
        }
    }

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

    /// Whether Lambda lets the Init phase run at full speed. See "Understanding the Lambda execution environment lifecycle" in AWS' developer
    /// guide: it does so on demand, but neither where Init lies ahead of requests for good, nor where it is repeated inside an invocation.
    pub(crate) fn is_init_boosted(&self) -> bool {
        self.is_on_demand() || self.is_initialized_as("snap-start")
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

    /// Whether an event that finds every worker busy is rejected. See "Lambda Managed Instances execution environment" in AWS's developer guide.
    pub(crate) fn rejects(&self) -> bool {
        self.managed && !self.queue_when_busy
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
        let mut command = match &self.limit {
            Some(_) => limited::waiting(&self.program),
            None => Command::new(&self.program),
        };
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
