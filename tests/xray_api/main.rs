//! Spans through X-Ray's API, with real processes: this binary is both the test and, where `PROBE` is set, the function under test.

mod exporter;
mod function;
mod inspect;
mod stage;

fn main() -> std::process::ExitCode {
    if std::env::var_os("PROBE").is_some() {
        return function::main();
    }
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, [exporter::tests(), inspect::tests()].into_iter().flatten().collect()).exit_code()
}
