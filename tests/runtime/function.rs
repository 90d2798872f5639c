//! The functions under test.

use crate::support::function_main;
use bytes::Bytes;
use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, Report, service_fn, xray::Redaction};
use lambda_runtime::{BoxFuture, FunctionResponse, MetadataPrelude, SnapStartResource, StreamResponse};
use nix::{
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::fork,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fmt::{self, Display, Formatter},
    pin::Pin,
    process::ExitCode,
    sync::Arc,
};
use tokio::runtime::Builder;

/// The functions. `PROBE` names the one that a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Probe {
    /// Does what its events ask for.
    Serve,
    /// The same with a shutdown hook.
    Shutdown,
    /// The same without `_X_AMZN_TRACE_ID`.
    NoVariable,
    /// The same with a redactor.
    Redacting,
    /// Has an initializer that fails.
    InitFails,
    /// Is restored twice from one snapshot: its copy has the Runtime API at `SECOND_API`.
    TwoRestores,
}

/// The request of an event; any other event is returned as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do")]
pub(crate) enum Do {
    Fail,
    Panic,
    /// Return the client context and the identity as bytes.
    Raw,
    /// Return the trace header in the environment.
    Variable,
    /// Return the trace header that a call would have.
    TraceHeader,
    /// Return the context.
    Context,
    Stream,
    /// Break off the stream.
    StreamAndFail,
}

impl Display for Do {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        json!(self).fmt(f)
    }
}

/// Resources with SnapStart hooks, in the order of their registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Resource {
    /// Hooks of the builder.
    Ground,
    Foundation,
    House,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hook {
    BeforeSnapshot,
    AfterRestore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failing {
    Fails,
    Panics,
}

/// The hook that fails, if one does, and how. `SNAPSTART` is one of these as JSON where there are hooks.
pub(crate) type FailingHook = Option<(Resource, Hook, Failing)>;

pub(crate) fn main(probe: Probe) -> ExitCode {
    let concurrent = std::env::var_os("AWS_LAMBDA_MAX_CONCURRENCY").is_some();
    let builder = if concurrent { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    if probe == Probe::TwoRestores {
        return two_restores();
    }
    function_main(builder, run(probe))
}

/// After a snapshot all environments have the same memory, as the two processes after a fork have. The copy ends with this process.
#[allow(unsafe_code, reason = "nothing else copies a process, and there is one thread here")]
fn two_restores() -> ExitCode {
    let init = async {
        let life = Lifecycle::from_env();
        life.init("place", async { Ok::<_, Error>(()) }).await?;
        Ok::<_, Error>(life)
    };
    let initialized = Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(init);
    let life = initialized.expect("an initializer that succeeds");
    if unsafe { fork() }.expect("a copy").is_child() {
        set_pdeathsig(Signal::SIGKILL).expect("it ends with its parent");
        let api = std::env::var("SECOND_API").expect("its address");
        unsafe { std::env::set_var("AWS_LAMBDA_RUNTIME_API", api) };
    }
    function_main(Builder::new_current_thread(), life.run(service_fn(handler)))
}

async fn run(probe: Probe) -> Result<(), Error> {
    let mut life = Lifecycle::builder().after_response(async |report: Report| {
        let (id, outcome) = (report.invocation.request_id(), report.outcome.map_or("none", |outcome| outcome.as_str()));
        println!("{}", json!({ "ended": id, "as": outcome }));
    });
    if probe == Probe::Shutdown {
        life = life.on_shutdown(async || println!("shut down"));
    }
    if probe == Probe::NoVariable {
        life = life.trace_variable(false);
    }
    if probe == Probe::Redacting {
        life = life.redact(
            |_, value| if value.contains("no stock") { Redaction::Replace("(redacted)".into()) } else { Redaction::Keep },
        );
    }
    let hooks: Option<FailingHook> = std::env::var("SNAPSTART").ok().map(|hooks| serde_json::from_str(&hooks)).transpose()?;
    if let Some(failing) = hooks {
        let hooks = Hooks { resource: Resource::Ground, failing };
        life = life
            .before_snapshot(move || async move { hooks.run(Hook::BeforeSnapshot).await })
            .after_restore(move || async move { hooks.run(Hook::AfterRestore).await });
    }
    let mut life = life.build();
    if let Some(failing) = hooks {
        for resource in [Resource::Foundation, Resource::House] {
            life = life.register_snapstart_resource(Arc::new(Hooks { resource, failing }));
        }
    }
    if probe == Probe::InitFails {
        life.init("database", async { Err::<(), _>("no database") }).await?;
    }
    life.run_concurrent(service_fn(handler)).await
}

/// Prints each of its hooks that runs.
#[derive(Clone, Copy)]
struct Hooks {
    resource: Resource,
    failing: FailingHook,
}

impl Hooks {
    async fn run(&self, hook: Hook) -> Result<(), Error> {
        println!("{}", json!({ "hook": (self.resource, hook) }));
        match self.failing {
            Some((resource, failing, how)) if (resource, failing) == (self.resource, hook) => match how {
                Failing::Fails => Err("no new connection".into()),
                Failing::Panics => panic!("fuse was lit"),
            },
            _ => Ok(()),
        }
    }
}

impl SnapStartResource for Hooks {
    fn before_snapshot(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.run(Hook::BeforeSnapshot))
    }

    fn after_restore(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.run(Hook::AfterRestore))
    }
}

type Chunks = Pin<Box<dyn futures_core::Stream<Item = Result<Bytes, Error>> + Send>>;

async fn handler(event: LambdaEvent<Value>) -> Result<FunctionResponse<Value, Chunks>, Error> {
    let Ok(act) = serde_json::from_value(event.payload.clone()) else {
        return Ok(FunctionResponse::BufferedResponse(event.payload));
    };
    match act {
        Do::Fail => Err("no stock".into()),
        Do::Panic => panic!("fuse was lit"),
        Do::Raw => {
            let invocation = Invocation::current();
            let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let raw = json!({ "client": text(invocation.client_context()), "identity": text(invocation.cognito_identity()) });
            Ok(FunctionResponse::BufferedResponse(raw))
        }
        Do::TraceHeader => {
            let header = Invocation::current().trace_header().map(|header| header.to_string());
            Ok(FunctionResponse::BufferedResponse(json!(header)))
        }
        Do::Variable => Ok(FunctionResponse::BufferedResponse(json!(std::env::var("_X_AMZN_TRACE_ID").ok()))),
        Do::Context => Ok(FunctionResponse::BufferedResponse(serde_json::to_value(&event.context)?)),
        Do::Stream | Do::StreamAndFail => {
            let stream = futures_util::stream::unfold(0, move |chunk| {
                let fails = act == Do::StreamAndFail;
                async move {
                    match chunk {
                        0..3 => Some((Ok(Bytes::from(format!("chunk {chunk};"))), chunk + 1)),
                        3 if fails => Some((Err("pipe burst".into()), 4)),
                        _ => None,
                    }
                }
            });
            let metadata_prelude = MetadataPrelude::default();
            Ok(FunctionResponse::StreamingResponse(StreamResponse { metadata_prelude, stream: Box::pin(stream) }))
        }
    }
}
