//! The kinds of environments, and the times of an invocation whose deadline passes.
//!
//! The library posts at the hard deadline. A quarter into the reserve after it, the watchdog reports the handler as blocked. With
//! the default reserve, the post could take that long on a busy machine, so tests of the post have a long reserve.

use crate::{behavior::Probe, support::Stage};
use lambda_lifecycle_sandbox::function::{FunctionBuilder, TraceMode};
use libtest_mimic::Failed;
use std::time::Duration;

/// The time of a handler that misses its deadline: half a second with a long grace, a second with a long reserve.
pub(crate) const SOON: Duration = Duration::from_secs(41);

/// The time of a handler that streams until it misses its deadline: four seconds with a long reserve.
pub(crate) const STREAMING: Duration = Duration::from_secs(44);

/// The time of a handler that responds in time, after which something else misses the deadline.
pub(crate) const LATER: Duration = Duration::from_secs(4);

/// The time of a handler that blocks its thread until the kill.
pub(crate) const UNTIL_KILLED: Duration = Duration::from_secs(1);

/// Forty seconds from the hard deadline to the deadline of the event.
pub(crate) fn long_reserve(function: FunctionBuilder) -> FunctionBuilder {
    function.env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", "40000")
}

/// Forty seconds from the soft deadline to the hard one.
pub(crate) fn long_grace(function: FunctionBuilder) -> FunctionBuilder {
    function.env("LAMBDA_LIFECYCLE_DEADLINE_GRACE", "40000")
}

/// The namespace and the service of the metrics of every function in an environment of a kind.
pub(crate) const NAMESPACE: &str = "Shop";
pub(crate) const SERVICE: &str = "orders";

/// A kind of environment.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) mode: TraceMode,
    /// The number of concurrent invocations: more than one on Managed Instances.
    pub(crate) at_once: usize,
    pub(crate) served_by: Loop,
}

/// The loop that fetches events and posts responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    /// The library's loop, in `Lifecycle::run`.
    Ours,
    /// `lambda_runtime::Runtime`, with the library's layers.
    LambdaRuntime,
}

impl Kind {
    pub(crate) fn under(&self, served_by: Loop) -> Self {
        Self { served_by, ..self.clone() }
    }

    pub(crate) fn is_traced(&self) -> bool {
        self.mode == TraceMode::Active
    }

    pub(crate) fn is_managed(&self) -> bool {
        self.at_once > 1
    }

    /// The function `probe` in an environment of this kind.
    pub(crate) async fn stage(
        &self,
        probe: Probe,
        change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
    ) -> Result<Stage, Failed> {
        let managed = |function: FunctionBuilder| if self.is_managed() { function.managed(self.at_once) } else { function };
        let served = |function: FunctionBuilder| match self.served_by {
            Loop::Ours => function,
            Loop::LambdaRuntime => function.env("LOOP", "lambda_runtime"),
        };
        let measured = |function: FunctionBuilder| {
            function.env("POWERTOOLS_METRICS_NAMESPACE", NAMESPACE).env("POWERTOOLS_SERVICE_NAME", SERVICE)
        };
        Stage::with(probe, self.mode.clone(), |function| measured(served(managed(change(function))))).await
    }
}

/// The kinds of environment in which every outcome is tested.
pub(crate) const KINDS: [Kind; 4] = [
    Kind { name: "on-demand, traced", mode: TraceMode::Active, at_once: 1, served_by: Loop::Ours },
    Kind { name: "on-demand, not sampled", mode: TraceMode::NotSampled, at_once: 1, served_by: Loop::Ours },
    Kind { name: "on-demand, PassThrough", mode: TraceMode::PassThrough, at_once: 1, served_by: Loop::Ours },
    Kind { name: "Managed Instances, 8 at a time", mode: TraceMode::Active, at_once: 8, served_by: Loop::Ours },
];
