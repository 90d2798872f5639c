//! Every ending of an invocation, with real processes: this binary is both the test and, where `PROBE` names one, the function
//! under test.

mod bombs;
mod delivery;
mod edges;
mod emulator;
mod function;
mod held;
mod hostile;
mod init;
mod invocation;
mod kind;
mod layers;
mod long;
mod matrix;
mod odd;
mod payload;
mod recording;
mod shutdown;
mod stages;
#[path = "../support/mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    if let Some(probe) = std::env::var_os("PROBE") {
        return function::main(&probe.to_string_lossy());
    }
    support::run([
        matrix::tests(),
        invocation::tests(),
        payload::tests(),
        init::tests(),
        stages::tests(),
        shutdown::tests(),
        recording::tests(),
        emulator::tests(),
        hostile::tests(),
        edges::tests(),
        bombs::tests(),
        long::tests(),
        layers::tests(),
    ])
}
