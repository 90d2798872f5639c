//! Streams and topics with real processes: this binary is both the test and, where `PROBE` names one, the function under test.

mod function;
mod kafka_trace;
mod malformed;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod windows;

fn main() -> std::process::ExitCode {
    if let Some(probe) = support::named("PROBE") {
        return function::main(probe);
    }
    support::run([malformed::tests(), kafka_trace::tests(), soak::tests(), windows::tests()])
}
