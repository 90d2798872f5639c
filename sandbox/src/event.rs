//! Invocations that the platform is asked to run, and their results.

use bytes::Bytes;
use std::{
    future::Future,
    pin::Pin,
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc;

/// One event for a function.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// The JSON the handler receives.
    pub payload: Bytes,
    /// An `x-amzn-trace-id` of the request, whose trace is continued. Without one a new trace starts.
    pub trace_header: Option<String>,
    /// Trace headers of the messages in this event; Lambda puts links to them on its own `AWS::Lambda` segment.
    pub linked: Vec<String>,
    /// `Lambda-Runtime-Client-Context`.
    pub client_context: Option<String>,
    /// `Lambda-Runtime-Aws-Tenant-Id`.
    pub tenant_id: Option<String>,
    /// The time this one invocation is given, instead of the function's timeout. AWS has no such thing: it lets a test meet a short
    /// deadline in one invocation and give all others of the same function plenty.
    pub timeout: Option<Duration>,
}

/// The result of an invocation, as its caller sees it.
#[derive(Clone, Debug)]
pub struct FunctionResponse {
    /// The invocation's request id.
    pub request_id: String,
    /// `Root` of the trace this invocation belongs to, as in `1-5759e988-bd862e3fe1be46a994272793`.
    pub trace_id: String,
    /// The function's response, or the reason why there is none.
    pub result: Result<Bytes, Failure>,
    /// True if the function streamed its response.
    pub streamed: bool,
    /// The time when the caller had the whole response.
    pub at: SystemTime,
}

/// A streamed response in progress.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StreamPart {
    /// The function has started to stream.
    Begun {
        /// The invocation's request id.
        request_id: String,
        /// `Root` of the trace this invocation belongs to.
        trace_id: String,
    },
    /// The next part. The first bytes are the head, as `lambda_runtime` writes it.
    Data(Bytes),
}

/// Why a caller got no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The function posted an error: `{"errorType", "errorMessage"}`.
    #[error("function error {error_type}: {error_message}")]
    Function {
        /// `errorType` of the posted document.
        error_type: String,
        /// `errorMessage` of the posted document.
        error_message: String,
    },
    /// The deadline passed and the process was killed.
    #[error("Task timed out after {seconds}.00 seconds")]
    TimedOut {
        /// The function's timeout, rounded.
        seconds: u64,
    },
    /// The process ended without a response.
    #[error("Runtime exited: {0}")]
    Exited(String),
    /// The kernel killed the process because it used more memory than the function has; see
    /// [`FunctionBuilder::limit`](crate::function::FunctionBuilder::limit).
    #[error("Runtime exited with error: signal: killed (the process used more than {memory_mb} MB)")]
    OutOfMemory {
        /// The function's memory.
        memory_mb: u32,
    },
    /// All workers of a function on Managed Instances were busy, so it was not invoked: 429 and `TooManyRequestsException` to the caller.
    #[error("TooManyRequestsException: Rate Exceeded. ({})", Failure::THROTTLE_REASON)]
    Throttled,
    /// The response was larger than 6 MB (413 to the runtime).
    #[error("Response payload size exceeded maximum allowed payload size (6291556 bytes).")]
    TooLarge,
}

impl Failure {
    /// `Reason` of the exception: of those in AWS's API reference, the one about invocations at the same time.
    pub(crate) const THROTTLE_REASON: &'static str = "ConcurrentInvocationLimitExceeded";
}

/// Whatever can run an event: a function of the sandbox, or a stand-in for one in a test.
pub trait Invoke: Send + Sync + 'static {
    /// Runs one event and returns its result. Waits while the function is busy, unless the function rejects events then.
    fn invoke(&self, event: Event) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>>;

    /// Waits until a function that rejected an event with [`Failure::Throttled`] may have room. Ends at once by default.
    fn wait_for_room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::task::yield_now())
    }

    /// Runs one event and returns its result. Passes on the parts that the function streams in the meantime.
    ///
    /// A receiver that is slow slows the function down; one that is dropped does not. By default everything is in the result
    /// only.
    fn invoke_streaming(
        &self,
        event: Event,
        stream: mpsc::Sender<StreamPart>,
    ) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        drop(stream);
        self.invoke(event)
    }
}

impl<T: Invoke + ?Sized> Invoke for std::sync::Arc<T> {
    fn invoke(&self, event: Event) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        (**self).invoke(event)
    }

    fn wait_for_room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        (**self).wait_for_room()
    }

    fn invoke_streaming(
        &self,
        event: Event,
        stream: mpsc::Sender<StreamPart>,
    ) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        (**self).invoke_streaming(event, stream)
    }
}

/// Runs one event for a service that tries again where the function is throttled: asynchronous invocations and event source mappings.
///
/// Lambda does so with a back-off. Here the next attempt is made when the function has room.
pub(crate) async fn invoke_until_accepted(function: &dyn Invoke, event: Event) -> FunctionResponse {
    loop {
        let response = function.invoke(event.clone()).await;
        if response.result != Err(Failure::Throttled) {
            return response;
        }
        function.wait_for_room().await;
    }
}
