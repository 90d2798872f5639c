//! Batches from real queues, with real processes and the real SDK: this binary is both the test and, where `PROBE` names one, the
//! function under test.

mod function;
mod hanging;
mod soak;
mod stage;

fn main() -> std::process::ExitCode {
    if let Some(probe) = std::env::var_os("PROBE") {
        return function::main(&probe.to_string_lossy());
    }
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, hanging::tests().into_iter().chain(soak::tests()).collect()).exit_code()
}
