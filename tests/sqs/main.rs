//! Batches from real queues, with real processes and the real SDK: this binary is both the test and, where `PROBE` names one, the
//! function under test.

mod backoff;
mod function;
mod hanging;
mod soak;
#[path = "../support/mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    if let Some(probe) = support::named("PROBE") {
        return function::main(probe);
    }
    support::run([backoff::tests(), hanging::tests(), soak::tests()])
}
