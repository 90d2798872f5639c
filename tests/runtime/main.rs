//! Whole processes behind a fault-injecting Runtime API over TCP. This binary is both the test and, where `PROBE`
//! names one, the function under test.

#[path = "../../src/runtime/tests/api.rs"]
#[allow(dead_code, reason = "some faults are for the tests in memory")]
mod api;
mod contract;
mod crash;
mod faults;
mod function;
mod stage;
#[path = "../support/mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    if let Some(probe) = support::named("PROBE") {
        return function::main(probe);
    }
    support::run([contract::tests(), faults::tests(), crash::tests()])
}
