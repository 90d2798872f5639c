//! The functions under test and their events' tasks, each in one enum. A test names a variant, and the function does it.

use crate::support::named;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// The functions. `PROBE` selects the one that a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Probe {
    /// Does the task of each event, with the settings of the environment.
    Value,
    /// The same with a fallback response.
    Fallback,
    /// Receives events of a type with known fields.
    Typed,
    /// Panics before it returns a future.
    Constructor,
    /// Receives events of a type that panics when it is decoded.
    Deserialize,
    /// Returns a value that fails or panics when it is encoded.
    Serialize,
    /// Streams its response.
    Stream,
    /// An axum router.
    Http,
    HttpStream,
    /// An axum router that shows what reaches it.
    Fronts,
    /// An axum router in tower-http's layer, with the span of the documentation.
    HttpTraceLayer,
    /// The same with the layer's own span, at the level that is recorded.
    HttpTraceLayerDefault,
    /// A service that is not ready at first.
    Unready,

    OwnSubscriber,
    OwnSubscriberRedacting,
    StrangeSubscriber,
    FilteredSubscriber,
    ScopedBefore,
    Redacting,
    PanickingRedactor,
    NoBounds,

    Hooks,
    DeferringHook,
    HangingHook,
    Shutdown,
    ShutdownWithoutTimers,
    BlockingShutdown,
    HangingShutdown,

    /// With an exporter whose behavior `EXPORTER` selects.
    Exporter,
    /// With such an exporter, and an axum router.
    HttpExporter,
    ExporterWithoutThreads,
    ExporterAtShutdown,

    /// Records custom metrics, also with the facade.
    Metrics,
    /// The same for each message of a batch.
    MetricsBatch,

    InitWorks,
    InitFails,
    InitPanics,
    InitHangs,
    InitDropPanics,
    InitOptional,
    InitOptionalPanics,
    InitBlocks,
    InitBlocking,
    InitBlockingPanics,
    InitBlockingTraced,
    InitBlockingHangs,
    InitLeftOpen,
    /// With hooks around a snapshot, of which `FAILING` names one.
    SnapStart,

    /// Functions whose panics have payloads that panic when they are dropped.
    PanicPayload,
    PanicPayloadStream,
    PanicPayloadBatch,
    PanicPayloadHooks,
    PanicPayloadInit,
    PanicPayloadInitBlocking,
    PanicPayloadInitError,

    /// Functions whose errors are megabytes long.
    LongErrors,
    LongErrorsInit,
    LongErrorsBatch,

    /// With the user's own tower layers.
    UserLayers,
    UserLayersHttp,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The task of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do")]
pub(crate) enum Do {
    /// Return at once.
    #[default]
    Nothing,
    Fail,
    FailWith {
        secret: String,
    },
    Panic,
    PanicWith {
        secret: String,
    },
    Abort,
    /// Use twice the memory that the function has.
    Allocate,
    /// Return more than Lambda accepts.
    Big,
    /// Be refused by a layer of the function.
    Refuse,

    /// Never return.
    Hang,
    AnnotateAndHang,
    Sleep {
        ms: u64,
    },
    WaitAtGate {
        gate: String,
    },
    /// Return when the token is canceled.
    Stop,
    /// Return the error of a future that the deadline cut off.
    Within,
    /// Compute without end, and yield.
    Cooperate,
    /// Stream without end.
    Endless,
    /// Stream an error that panics when it is displayed.
    BadError,

    /// Block the thread.
    Block,
    BlockEveryThread,
    BlockAtGate {
        gate: String,
    },
    /// Wait, while a task that belongs to no invocation blocks the only thread.
    WaitForBlockedTask,
    Spin,
    /// Block the thread inside of a span that a remote caller waits for.
    ServeAndBlock,

    /// Log a line and create a span.
    Log,
    LogWith {
        secret: String,
    },
    LogErrors,
    LogManyErrorsAndFail,
    LogAtEndOfThread,
    /// Create a span with an argument.
    Instrument {
        secret: String,
    },
    ExplicitParent,
    /// Create a span with OpenTelemetry's global tracer, below one of `tracing`.
    GlobalTracer,
    /// Use OpenTelemetry's methods of a span.
    AskSpan,
    ManySpans {
        count: u64,
    },
    /// Create spans each of which is the parent of the next.
    ChainSpans,
    SpansAtEndOfThreads,
    /// Leave a span open in a task until the gate opens.
    Outlive {
        gate: String,
    },
    TooManyContexts,

    /// Return the frozen time.
    Idle,
    /// Return whether a spawned task belongs to the same invocation.
    Spawn,
    /// Background work that never ends.
    HangingWork,
    PanickingWork,
    /// Background work that ends when the token is canceled.
    WorkWithToken,
    /// Background work that stores more of it, and hangs.
    WorkBesideHangingWork,
    /// A task stores background work, through the task's own invocation.
    WorkOfTask {
        gate: String,
    },
    /// A task stores background work, through a handle of the invocation.
    WorkThroughHandle {
        gate: String,
    },
    /// A task stores background work when the invocation is over.
    WorkOfLateTask {
        gate: String,
    },
    WorkWithoutEnd,
    TickingWork {
        gate: String,
    },
    TickingSpans,

    /// Record these values, in the handler, in a task and after the response.
    Measure {
        values: Vec<i32>,
    },
    /// Record values that CloudWatch does not accept.
    MeasureBadly,
    /// Record a value in a task when the invocation is over.
    MeasureLate {
        gate: String,
    },
    /// Record values without end, until they are written.
    MeasureALot,
}

impl Do {
    /// The task of this event. An event without a task may have any form.
    pub(crate) fn asked_by(event: &Value) -> Self {
        match event.get("do") {
            Some(_) => serde_json::from_value(event.clone()).expect("a behavior"),
            None => Self::Nothing,
        }
    }

    /// The same, and background work that logs this note.
    pub(crate) fn then_work(self, note: &str) -> Value {
        let mut event = Value::from(self);
        event["after"] = json!(note);
        event
    }
}

impl From<Do> for Value {
    fn from(act: Do) -> Self {
        json!(act)
    }
}

/// The event as it is sent.
impl fmt::Display for Do {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        json!(self).fmt(f)
    }
}

/// The behavior of the function's exporter. `EXPORTER` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Exporting {
    #[default]
    Works,
    Fails,
    Panics,
    Hangs,
    Blocks,
    /// Waits at the gate in `EXPORTER_GATE`.
    WaitsAtGate,
    /// Prints each span as a line of JSON.
    Lists,
}

impl Exporting {
    pub(crate) fn of_this_process() -> Self {
        named("EXPORTER").unwrap_or_default()
    }
}

impl fmt::Display for Exporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
