//! Facts about the execution environment: Lambda's environment variables, read once.
//!
//! Facts of the whole process (the kind of environment, whether this is still the cold start) are stored only here, so that
//! clones of a service do not count them again.

use crate::runtime_api::Endpoint;
use std::{
    env, fmt,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// How Lambda created this environment: `AWS_LAMBDA_INITIALIZATION_TYPE`.
///
/// See [Defined runtime environment variables](https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum InitializationType {
    /// Created when a request needed it, or shortly before.
    #[default]
    OnDemand,
    /// Created ahead of requests, by configuration.
    ProvisionedConcurrency,
    /// Restored from a snapshot.
    SnapStart,
    /// A long-lived process that handles many requests at once.
    ManagedInstances,
}

/// The kind of environment, which is needed before the first event. The other variables are read later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) initialization_type: InitializationType,
    max_concurrency: u32,
}

impl Kind {
    /// True if several invocations run at once.
    pub(crate) fn is_concurrent(self) -> bool {
        self.max_concurrency > 1
    }

    /// How many invocations may run at once.
    pub(crate) fn max_concurrency(self) -> u32 {
        self.max_concurrency
    }

    fn read() -> Self {
        Self {
            initialization_type: match text("AWS_LAMBDA_INITIALIZATION_TYPE").as_str() {
                "provisioned-concurrency" => InitializationType::ProvisionedConcurrency,
                "snap-start" => InitializationType::SnapStart,
                "lambda-managed-instances" => InitializationType::ManagedInstances,
                _ => InitializationType::OnDemand,
            },
            max_concurrency: text("AWS_LAMBDA_MAX_CONCURRENCY").parse().unwrap_or(1).max(1),
        }
    }
}

/// The kind of this environment, read at the first call.
pub(crate) fn kind() -> Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    *KIND.get_or_init(Kind::read)
}

/// `AWS_XRAY_DAEMON_ADDRESS`, unchanged; `None` if it is unset or empty.
pub(crate) fn xray_daemon_address() -> Option<String> {
    variable("AWS_XRAY_DAEMON_ADDRESS").filter(|address| !address.trim().is_empty())
}

/// A variable that is not empty. A value that is not UTF-8 is always invalid, and the setting that reads it is reported.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}

fn text(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Whether the function has less than one core, which depends on its memory: 1,769 MB give one core. See "Configure Lambda
/// function memory" in AWS's developer guide.
pub(crate) fn has_less_than_a_core() -> bool {
    text(MEMORY_SIZE).parse().is_ok_and(|mb: u32| mb < 1_769)
}

/// The execution environment as its variables describe it.
///
/// ```
/// use lambda_lifecycle::{Environment, InitializationType};
///
/// let environment = Environment::current();
/// assert_eq!(environment.initialization_type, InitializationType::OnDemand);
/// assert!(!environment.is_concurrent());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Environment {
    /// `AWS_LAMBDA_FUNCTION_NAME`; empty outside Lambda.
    pub function_name: String,
    /// `AWS_LAMBDA_FUNCTION_VERSION`.
    pub function_version: String,
    /// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`, in MB; 0 outside Lambda.
    pub memory_size: u32,
    /// `POWERTOOLS_SERVICE_NAME`: the service that the function is a part of, as Powertools for AWS Lambda names it.
    pub service: Option<String>,
    /// `AWS_REGION`.
    pub region: String,
    /// `AWS_LAMBDA_LOG_GROUP_NAME`.
    pub log_group: String,
    /// `AWS_LAMBDA_LOG_STREAM_NAME`.
    pub log_stream: String,
    /// `AWS_LAMBDA_INITIALIZATION_TYPE`.
    pub initialization_type: InitializationType,
    /// `AWS_LAMBDA_MAX_CONCURRENCY`: how many invocations this process handles at once. 1 if the variable is missing.
    pub max_concurrency: u32,
    /// `AWS_XRAY_DAEMON_ADDRESS`, unchanged. `None` if it is unset or empty: the daemon is then expected at `127.0.0.1:2000`.
    pub xray_daemon_address: Option<String>,
}

impl Environment {
    /// The environment of this process, read at the first call.
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<Environment> = OnceLock::new();
        CURRENT.get_or_init(Self::read)
    }

    /// True if several invocations run at once. A pause or a flush must not delay any of them.
    pub fn is_concurrent(&self) -> bool {
        self.max_concurrency > 1
    }

    /// Checks that the variables which a function needs are set.
    ///
    /// # Errors
    /// [`EnvironmentError`] names every variable that is missing or malformed. `lambda_runtime` would panic.
    pub fn check() -> Result<(), EnvironmentError> {
        Self::runtime_api().map(drop)
    }

    /// Like [`check`](Self::check), but returns the address of the Runtime API.
    pub(crate) fn runtime_api() -> Result<Endpoint, EnvironmentError> {
        let (mut problems, mut endpoint) = (Vec::new(), None);
        for name in [RUNTIME_API, "AWS_LAMBDA_FUNCTION_NAME", MEMORY_SIZE, "AWS_LAMBDA_FUNCTION_VERSION"] {
            match env::var(name) {
                Err(env::VarError::NotPresent) => problems.push(format!("{name} is not set")),
                Err(env::VarError::NotUnicode(_)) => problems.push(format!("{name} is not UTF-8")),
                Ok(value) if name == RUNTIME_API => {
                    endpoint = Endpoint::parse(&value);
                    if endpoint.is_none() {
                        problems.push(format!("{name}={value:?} {NO_ADDRESS}"));
                    }
                }
                Ok(value) if name == MEMORY_SIZE && value.parse::<i32>().is_err() => {
                    problems.push(format!("{name}={value:?} is not a number of megabytes"));
                }
                Ok(_) => {}
            }
        }
        endpoint.filter(|_| problems.is_empty()).ok_or(EnvironmentError { problems })
    }

    fn read() -> Self {
        let Kind { initialization_type, max_concurrency } = kind();
        Self {
            function_name: text("AWS_LAMBDA_FUNCTION_NAME"),
            function_version: text("AWS_LAMBDA_FUNCTION_VERSION"),
            memory_size: text(MEMORY_SIZE).parse().unwrap_or_default(),
            service: variable("POWERTOOLS_SERVICE_NAME"),
            region: text("AWS_REGION"),
            log_group: text("AWS_LAMBDA_LOG_GROUP_NAME"),
            log_stream: text("AWS_LAMBDA_LOG_STREAM_NAME"),
            initialization_type,
            max_concurrency,
            xray_daemon_address: xray_daemon_address(),
        }
    }
}

const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
const MEMORY_SIZE: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";
const NO_ADDRESS: &str = "is not a valid address; expected host:port, or a URL that begins with http://";

/// This process was not started by Lambda or by a substitute for it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this program is a Lambda function and found no Lambda to run in ({}). Run it on AWS Lambda, under `cargo lambda watch`, \
     or in the sandbox: https://docs.rs/lambda-lifecycle-sandbox",
    problems.join("; ")
)]
pub struct EnvironmentError {
    problems: Vec<String>,
}

/// `main` prints an error with `Debug`, so it must be as readable as `Display`.
impl fmt::Debug for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The phase that an invocation waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Start {
    /// Nothing: its environment was ready.
    #[default]
    Warm,
    /// The Init phase.
    Cold,
    /// The restore of a snapshot.
    Restored,
}

/// The phase that the first invocation of this process waited for. Every later call returns [`Start::Warm`]. So does the first
/// one if the environment was created ahead of its requests. A snapshot is taken before the first invocation, so each restored
/// copy has a first one.
pub(crate) fn take_start() -> Start {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Start::Warm;
    }
    match kind().initialization_type {
        InitializationType::OnDemand => Start::Cold,
        InitializationType::SnapStart => Start::Restored,
        InitializationType::ProvisionedConcurrency | InitializationType::ManagedInstances => Start::Warm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_runtime_says_what_to_do_in_debug_as_in_display() {
        let error = EnvironmentError { problems: vec!["AWS_LAMBDA_RUNTIME_API is not set".into()] };
        let text = format!("{error:?}");
        assert!(text.contains("AWS_LAMBDA_RUNTIME_API is not set") && text.contains("cargo lambda watch"), "{text}");
    }
}
