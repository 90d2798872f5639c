//! The execution environment against what AWS documents, with real processes: this binary is both the test and, where
//! `AWS_LAMBDA_RUNTIME_API` is set, the function under test.

mod ahead;
mod extensions;
mod failures;
mod headers;
mod http;
mod lifecycle;
mod limits;
mod logs;
mod managed;
mod probe;
mod program;
mod raw;
mod rejected;
mod responses;
mod support;

fn main() -> std::process::ExitCode {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        return probe::main();
    }
    if let Some(gate) = std::env::var_os(lifecycle::SANDBOX_TO_BE_KILLED) {
        return lifecycle::sandbox_to_be_killed(&gate);
    }
    if let Some(gate) = std::env::var_os(limits::SANDBOX_TO_BE_KILLED) {
        return limits::sandbox_to_be_killed(&gate);
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let tests = [
        lifecycle::tests(),
        failures::tests(),
        limits::tests(),
        responses::tests(),
        headers::tests(),
        extensions::tests(),
        http::tests(),
        managed::tests(),
        rejected::tests(),
        ahead::tests(),
        logs::tests(),
        program::tests(),
    ];
    libtest_mimic::run(&arguments, tests.into_iter().flatten().collect()).exit_code()
}
