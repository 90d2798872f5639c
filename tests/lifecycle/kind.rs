//! The kinds of environments, and the times of an invocation whose deadline passes.
//!
//! The library posts at the hard deadline, and a quarter into the reserve behind it the watchdog takes the handler for blocked. With the
//! default reserve a busy machine could take that long for the post, so where the post is the subject the reserve is long.

use crate::{behavior::Probe, support::Stage};
use lambda_lifecycle_sandbox::function::{FunctionBuilder, TraceMode};
use libtest_mimic::Failed;
use std::time::Duration;

/// For a handler that is to miss its deadline: half a second after the begin with a long grace, a second with a long reserve.
pub(crate) const SOON: Duration = Duration::from_secs(41);

/// For one that is to stream until it misses its deadline: four seconds after the begin with a long reserve.
pub(crate) const STREAMING: Duration = Duration::from_secs(44);

/// For one that is to respond in time, whereupon something else misses the deadline.
pub(crate) const LATER: Duration = Duration::from_secs(4);

/// For one that blocks its thread until the kill.
pub(crate) const UNTIL_KILLED: Duration = Duration::from_secs(1);

/// There are forty seconds from the hard deadline to the deadline of the event.
pub(crate) fn long_reserve(function: FunctionBuilder) -> FunctionBuilder {
    function.env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", "40000")
}

/// There are forty seconds from the soft deadline to the hard one.
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
    /// How many invocations run at once: more than one on Managed Instances.
    pub(crate) at_once: usize,
    pub(crate) served_by: Loop,
}

/// The loop that fetches events and posts responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    /// The library's, as `Lifecycle::run` has it.
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

/// Every kind of environment an outcome is shown in.
pub(crate) const KINDS: [Kind; 4] = [
    Kind { name: "on-demand, traced", mode: TraceMode::Active, at_once: 1, served_by: Loop::Ours },
    Kind { name: "on-demand, not sampled", mode: TraceMode::NotSampled, at_once: 1, served_by: Loop::Ours },
    Kind { name: "on-demand, PassThrough", mode: TraceMode::PassThrough, at_once: 1, served_by: Loop::Ours },
    Kind { name: "Managed Instances, 8 at a time", mode: TraceMode::Active, at_once: 8, served_by: Loop::Ours },
];
