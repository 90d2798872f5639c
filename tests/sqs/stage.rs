//! How tests here are written.

use lambda_lifecycle_sandbox::{
    function::{Function, FunctionBuilder},
    xray::Daemon,
};
use libtest_mimic::{Failed, Trial};
use std::{future::Future, time::Duration};

pub(crate) type Tested = Result<(), Failed>;

/// A test with a runtime of its own and a bound on its time.
pub(crate) fn test<F>(name: impl Into<String>, patience: Duration, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Tested>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(patience, body()).await? })
    })
}

pub(crate) fn ensure(holds: bool, otherwise: impl Into<String>) -> Tested {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}

/// A function of this program's, traced.
pub(crate) fn function(probe: &str, daemon: &Daemon) -> FunctionBuilder {
    let program = std::env::current_exe().expect("a running program has a path");
    Function::builder(probe, program).env("PROBE", probe).xray(daemon.address()).trace_store(daemon.store()).log_format("JSON")
}
