//! The hops, with real processes and the real SDKs: this binary is both the test and, where `PROBE` names one, the function under
//! test.

mod consumers;
mod function;
mod headers;
mod runtime_api;
mod stage;

fn main() -> std::process::ExitCode {
    if let Some(probe) = std::env::var_os("PROBE") {
        return function::main(&probe.to_string_lossy());
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let tests = [headers::tests(), consumers::tests()];
    libtest_mimic::run(&arguments, tests.into_iter().flatten().collect()).exit_code()
}
