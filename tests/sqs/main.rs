//! Batches from real queues, with real processes and the real SDK: this binary is both the test and, where `PROBE` names one, the
//! function under test.

mod function;
mod hanging;
mod soak;
#[path = "../support/mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    if let Some(probe) = std::env::var_os("PROBE") {
        return function::main(&probe.to_string_lossy());
    }
    support::run([hanging::tests(), soak::tests()])
}
