//! The log, with real processes: this binary is both the test and, where `PROBE` names one, the function under test.

mod buffer;
mod context;
mod function;
mod lines;
mod mixed;
mod own_subscriber;
mod page;
#[path = "../support/mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    if let Some(probe) = support::named("PROBE") {
        return function::main(probe);
    }
    support::run([buffer::tests(), context::tests(), own_subscriber::tests(), page::tests(), mixed::tests()])
}
