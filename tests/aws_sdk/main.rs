//! Clients of the AWS SDK, with real processes and a service on TLS: their configuration, and connections that are open before the first
//! invocation. This binary is both the test and, where `PROBE` names one, the function under test.

mod agent;
mod configuration;
mod connections;
mod function;
mod service;
#[path = "../support/mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    if let Some(probe) = support::named("PROBE") {
        return function::main(probe);
    }
    support::run([configuration::tests(), connections::tests()])
}
