//! The hops, with real processes and the real SDKs. This binary is both the test and, if `PROBE` is set, the function under test.

mod consumers;
mod correlation;
mod function;
mod headers;
mod runtime_api;
mod services;
#[path = "../support/mod.rs"]
mod support;
mod w3c;

fn main() -> std::process::ExitCode {
    if let Some(probe) = support::named("PROBE") {
        return function::main(probe);
    }
    support::run([headers::tests(), consumers::tests(), w3c::tests(), correlation::tests()])
}
