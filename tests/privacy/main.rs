//! Which outputs of a function hold what came in, and which never do: a canary for each way in, looked for in each output of real processes.
//!
//! This binary is both the test and, where `PROBE` names one, the function under test.

mod calls;
mod function;
mod outputs;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod table;

fn main() -> std::process::ExitCode {
    if let Some(probe) = support::named("PROBE") {
        return function::main(probe);
    }
    support::run([table::tests(), settings::tests()])
}
