//! The outcomes of invocations, with real processes. This binary is both the test and, if `PROBE` is set, the function under
//! test.

mod after_response;
mod behavior;
mod deadline;
mod delivery;
#[path = "../emf/mod.rs"]
mod emf;
mod exporters;
mod fronts;
mod function;
mod held;
mod http;
mod http_stream;
mod init;
mod invocation;
mod kind;
mod logs;
mod long_errors;
mod metrics;
mod odd;
mod outcomes;
mod panic_payloads;
mod recording;
mod redaction;
mod runtime_api;
mod settings;
mod shutdown;
mod snap_start;
mod subscriber;
#[path = "../support/mod.rs"]
mod support;
mod trace;
mod user_layers;

fn main() -> std::process::ExitCode {
    if let Some(probe) = support::named("PROBE") {
        return function::main(probe);
    }
    support::run([
        outcomes::tests(),
        invocation::tests(),
        init::tests(),
        deadline::tests(),
        after_response::tests(),
        shutdown::tests(),
        snap_start::tests(),
        trace::tests(),
        redaction::tests(),
        exporters::tests(),
        recording::tests(),
        subscriber::tests(),
        logs::tests(),
        long_errors::tests(),
        metrics::tests(),
        http::tests(),
        fronts::tests(),
        odd::tests(),
        http_stream::tests(),
        settings::tests(),
        runtime_api::tests(),
        panic_payloads::tests(),
        user_layers::tests(),
    ])
}
