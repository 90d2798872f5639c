//! Shared by the tests with real processes: the form of a test, the stage that a function runs on, and a gate to hold it at.
#![allow(dead_code, unused_imports, reason = "each test program uses its part")]

mod gate;
mod named;
mod stage;
mod xray;

pub(crate) use gate::{Gate, hold_thread_at, wait_at};
pub(crate) use lambda_lifecycle_sandbox::wait::{patience, within};
pub(crate) use named::named;
pub(crate) use stage::{Begun, Stage, all, code, function_error, functions, kill, this_program, value};
pub(crate) use xray::XRay;

use lambda_lifecycle::Error;
use libtest_mimic::{Arguments, Failed, Trial};
use std::{future::Future, process::ExitCode, thread};
use tokio::runtime::Builder;

/// The result of a test: `?` on anything that can be printed.
pub(crate) type Tested = Result<(), Failed>;

/// The limit of a test, as a number of waits. Each wait ends by itself, with an error that names it.
const WAITS_OF_A_TEST: u32 = 5;

/// The concurrent tests for each core. Most of their time they wait for a deadline.
const AT_ONCE: usize = 8;

/// A test with a separate runtime.
pub(crate) fn test<F>(name: impl Into<String>, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Tested>,
{
    test_after(name, || Ok(()), |()| body())
}

/// A test with a preparation that has its own time limit, such as a build.
pub(crate) fn test_after<P, F>(
    name: impl Into<String>,
    prepare: impl FnOnce() -> Result<P, Failed> + Send + 'static,
    body: impl FnOnce(P) -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = Tested>,
{
    Trial::test(name, move || {
        let prepared = prepare()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let bounded = async { tokio::time::timeout(patience().saturating_mul(WAITS_OF_A_TEST), body(prepared)).await };
        let tested = runtime.block_on(bounded).unwrap_or_else(|_| Err("the test does not end".into()));
        let shown = tested.map_err(stage::with_states);
        stage::forget();
        shown
    })
}

/// A test without a time limit. Every wait in it must end by itself.
pub(crate) fn test_unbounded<F>(name: impl Into<String>, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Tested>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let shown = runtime.block_on(body()).map_err(stage::with_states);
        stage::forget();
        shown
    })
}

/// Runs the tests that the command line selects.
pub(crate) fn run(tests: impl IntoIterator<Item = Vec<Trial>>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(AT_ONCE * cores);
    libtest_mimic::run(&arguments, tests.into_iter().flatten().collect()).exit_code()
}

/// Runs a function under test, and ends like its `fn main() -> Result<(), Error>`.
pub(crate) fn function_main(mut runtime: Builder, function: impl Future<Output = Result<(), Error>>) -> ExitCode {
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    match runtime.block_on(function) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn ensure(holds: bool, otherwise: impl Into<String>) -> Tested {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}
