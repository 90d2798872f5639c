//! X-Ray for a function: a daemon, and queries about its traces.

use super::{Tested, ensure};
use lambda_lifecycle_sandbox::{
    FunctionResponse,
    xray::{Daemon, Document, Problem, TraceStore},
};
use libtest_mimic::Failed;
use std::sync::Arc;

/// Enough for the documents of every test, even if they are not read, if the system permits it.
const RECEIVE_BUFFER: usize = 64 << 20;

pub(crate) struct XRay {
    pub(crate) daemon: Daemon,
    pub(crate) traces: TraceStore,
}

impl XRay {
    pub(crate) async fn start() -> Result<Self, Failed> {
        let daemon = Daemon::builder().receive_buffer(RECEIVE_BUFFER).start().await?;
        Ok(Self { traces: daemon.store(), daemon })
    }

    /// Waits until everything that was sent is stored.
    pub(crate) async fn settle(&self) -> Tested {
        super::within("the X-Ray daemon to have read its datagrams", self.daemon.settle()).await??;
        self.nothing_is_lost()
    }

    pub(crate) fn nothing_is_lost(&self) -> Tested {
        let dropped = self.daemon.dropped();
        ensure(dropped == 0, format!("the kernel dropped {dropped} datagrams"))
    }

    /// The only document that matches.
    pub(crate) fn only(&self, what: &str, wanted: impl FnMut(&Document) -> bool) -> Result<Arc<Document>, Failed> {
        let found = self.traces.find(wanted);
        match found.as_slice() {
            [document] => Ok(Arc::clone(document)),
            others => {
                let names: Vec<&str> = others.iter().map(|document| document.name.as_str()).collect();
                Err(format!("{} documents instead of one are {what}: {names:?}", others.len()).into())
            }
        }
    }

    /// The current document of an invocation.
    pub(crate) fn of_invocation(&self, answer: &FunctionResponse) -> Result<Arc<Document>, Failed> {
        self.only("the invocation's", |document| document.trace_id == answer.trace_id && document.annotation("trigger").is_some())
    }

    /// The number of documents of invocations that have started and not ended.
    pub(crate) fn unfinished(&self) -> usize {
        self.traces.find(|document| document.in_progress && document.annotation("trigger").is_some()).len()
    }

    /// A trace beyond X-Ray's size is valid, and a kill leaves unfinished documents.
    pub(crate) fn documents_are_valid(&self) -> Tested {
        self.check(|problem| !matches!(problem, Problem::Unfinished { .. } | Problem::TraceTooLarge { .. }))
    }

    /// Checks that X-Ray found no error at all.
    pub(crate) fn is_sound(&self) -> Tested {
        self.check(|_| true)
    }

    pub(crate) fn check(&self, wrong: impl Fn(&Problem) -> bool) -> Tested {
        let problems: Vec<String> =
            self.traces.check().iter().filter(|problem| wrong(problem)).map(ToString::to_string).collect();
        ensure(problems.is_empty(), problems.join("; "))
    }
}
