//! Prints what a function does.

use lambda_lifecycle_sandbox::{
    Event, FunctionResponse, Invoke, StreamPart,
    function::{EventKind, Function, LogLine, Output, TimelineEvent},
    render,
    xray::{Daemon, Document},
};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// How long documents are waited for that say they are unfinished.
const LAST_DOCUMENT: Duration = Duration::from_millis(200);

/// A function of which every invocation's trace is printed after its end.
pub(crate) struct Watched {
    function: Function,
    responses: mpsc::UnboundedSender<FunctionResponse>,
}

impl Watched {
    pub(crate) fn new(function: Function, daemon: Daemon) -> Self {
        let (responses, mut responded) = mpsc::unbounded_channel();
        let watched = function.clone();
        let daemon = Arc::new(daemon);
        tokio::spawn(async move {
            while let Some(response) = responded.recv().await {
                // One that works on for long does not hold up the others.
                tokio::spawn(print_invocation(watched.clone(), Arc::clone(&daemon), response));
            }
        });
        Self { function, responses }
    }

    fn watch<'a>(
        &'a self,
        response: impl Future<Output = FunctionResponse> + Send + 'a,
    ) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + 'a>> {
        Box::pin(async move {
            let response = response.await;
            let _ = self.responses.send(response.clone());
            response
        })
    }
}

impl Invoke for Watched {
    fn invoke(&self, event: Event) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        self.watch(self.function.invoke(event))
    }

    fn wait_for_room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.function.wait_for_room()
    }

    fn invoke_streaming(
        &self,
        event: Event,
        stream: mpsc::Sender<StreamPart>,
    ) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        self.watch(self.function.invoke_streaming(event, stream))
    }
}

/// Prints lines as they come.
pub(crate) struct Logs {
    task: JoinHandle<()>,
    last: oneshot::Sender<()>,
}

impl Logs {
    pub(crate) fn print(function: &Function) -> Self {
        let mut lines = function.subscribe_logs().from_start();
        let (last, mut asked) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    line = lines.next() => print_line(&line),
                    _ = &mut asked => break,
                }
            }
            // An event that is already there is ready at once.
            while let Ok(line) = tokio::time::timeout(Duration::ZERO, lines.next()).await {
                print_line(&line);
            }
        });
        Self { task, last }
    }

    /// Prints what is left.
    pub(crate) async fn finish(self) {
        let _ = self.last.send(());
        let _ = self.task.await;
    }
}

fn print_line(line: &LogLine) {
    let from = match line.output {
        Output::Stderr => "err",
        Output::Platform => "aws",
        _ => "out",
    };
    println!("{from} #{} │ {}", line.environment, line.text);
}

async fn print_invocation(function: Function, daemon: Arc<Daemon>, response: FunctionResponse) {
    let mut events = function.subscribe().from_start();
    tokio::select! {
        _ = events.find(|event| is_over(event, &response.request_id)) => {}
        // A process that failed in its Init phase has no such event.
        _ = function.wait_idle() => {}
    }
    let store = daemon.store();
    let unfinished = |document: &Document| document.in_progress && document.trace_id == response.trace_id;
    // A trace that stays unfinished is shown as that.
    let _ = daemon.settle().await;
    let _ = tokio::time::timeout(LAST_DOCUMENT, store.wait_until(|unfinished| unfinished == 0, unfinished)).await;
    let outcome = match &response.result {
        Ok(body) if response.streamed => format!("streamed {} bytes", body.len()),
        Ok(body) => format!("{} bytes", body.len()),
        Err(failure) => format!("failed: {failure}"),
    };
    let waterfall = store.trace(&response.trace_id).map(|trace| render::waterfall(&trace));
    // The log lines that are there already come first: their task is ready, on the only thread.
    tokio::task::yield_now().await;
    println!("\n{} {outcome}\n{}", response.request_id, waterfall.unwrap_or_default());
}

/// Nothing more is to come of this invocation.
fn is_over(event: &TimelineEvent, request_id: &str) -> bool {
    let ends = matches!(event.kind, EventKind::Frozen | EventKind::Exited { .. } | EventKind::NextCalled);
    ends && event.request_id.as_deref() == Some(request_id)
}
