//! The console in a real browser: Chromium, driven over its DevTools protocol. This binary is both the tests and, where
//! `AWS_LAMBDA_RUNTIME_API` is set, the function that the console shows.
//!
//! Without a browser the tests are skipped, which is printed. `CHROME` names another program than the one in `PATH`.

mod browser;
mod function;
mod hostile;
mod looks;
mod pipeline;
mod replay;
mod spans;
mod support;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        return function::main();
    }
    let mut arguments = Arguments::from_args();
    // A browser each: more of them at a time only slow one another down.
    arguments.test_threads.get_or_insert(1);
    let browser = browser::program();
    if browser.is_none() {
        eprintln!("no Chromium in PATH and no CHROME: the tests of the console are skipped; apt-get install chromium");
    }
    let tests = [pipeline::tests(), replay::tests(), spans::tests(), hostile::tests(), looks::tests()];
    let tests: Vec<Trial> = tests.into_iter().flatten().map(|test| test.with_ignored_flag(browser.is_none())).collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}
