//! Spans through X-Ray's API, with real processes: this binary is both the test and, where `PROBE` is set, the function under test.

mod api;
mod exporter;
mod function;
mod inspect;
#[path = "../support/mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    if std::env::var_os("PROBE").is_some() {
        return function::main();
    }
    support::run([exporter::tests(), inspect::tests()])
}
