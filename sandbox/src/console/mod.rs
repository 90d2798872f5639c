//! A page in the browser that shows what the sandbox has on record: traces, the environments below them, logs, and messages.
//!
//! The page is part of this crate and loads nothing from elsewhere, so it works offline. It listens on the loopback interface only, and
//! refuses requests whose `Host` or `Origin` is another than its own with 403, because it can invoke functions.
//!
//! ```no_run
//! use lambda_lifecycle_sandbox::{console::Console, function::Function, xray::Daemon};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let daemon = Daemon::start().await?;
//! let function = Function::builder("orders", "target/debug/bootstrap")
//!     .xray(daemon.address())
//!     .trace_store(daemon.store())
//!     .build()
//!     .await;
//! let console = Console::builder().daemon(&daemon).function(&function).start().await?;
//! println!("{}", console.url());
//! # Ok(())
//! # }
//! ```

mod act;
mod assets;
mod browser;
mod feed;
mod guard;
mod served;
mod server;
mod shape;

pub use browser::open;

use self::feed::{Sample, Sources};
use crate::{
    function::Function,
    sqs::Queue,
    xray::{Daemon, TraceStore},
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};

/// A console that is listening. It stops when dropped.
#[derive(Debug)]
pub struct Console {
    address: SocketAddr,
    tasks: Vec<AbortHandle>,
}

/// The sources of a [`Console`].
#[derive(Debug, Default)]
#[must_use = "a console listens only once it is started"]
pub struct ConsoleBuilder {
    sources: Sources,
    port: u16,
}

impl Console {
    /// Begins to describe a console.
    pub fn builder() -> ConsoleBuilder {
        ConsoleBuilder::default()
    }

    /// Where the page is, as in `http://127.0.0.1:41234/`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Where the page shows one trace.
    pub fn trace_url(&self, trace_id: &str) -> String {
        format!("{}#/trace/{trace_id}", self.url())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl ConsoleBuilder {
    /// Shows the traces of this store, instead of those of an empty one.
    pub fn traces(mut self, traces: &TraceStore) -> Self {
        self.sources.traces = traces.clone();
        self
    }

    /// Shows the traces that this daemon receives, and offers to have it slow or absent for the time of an invocation.
    pub fn daemon(mut self, daemon: &Daemon) -> Self {
        self.sources.daemon = Some(daemon.switch().clone());
        self.traces(&daemon.store())
    }

    /// Shows this function's environments and logs, and offers to invoke it. From now on its events are kept, up to 64 MB, so that an
    /// invocation can be repeated.
    pub fn function(mut self, function: &Function) -> Self {
        function.records().calls.keep();
        self.sources.functions.push(function.clone());
        self
    }

    /// Shows the messages of this queue, and offers to send one. Queues of one endpoint share their record.
    pub fn queue(mut self, queue: &Queue) -> Self {
        self.sources.add_queue(queue);
        self
    }

    /// Offers an event beside the samples that the page has for each event source: JSON for a function, or the body of a message for a
    /// queue.
    pub fn sample(mut self, target: impl Into<String>, title: impl Into<String>, event: impl Into<String>) -> Self {
        self.sources.samples.push(Sample { target: target.into(), title: title.into(), event: event.into() });
        self
    }

    /// The port of the loopback interface to listen on. Default: a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// When the port cannot be listened on.
    pub async fn start(self) -> io::Result<Console> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        let address = listener.local_addr()?;
        let (changed, changes) = watch::channel(0_u64);
        let sources = Arc::new(self.sources);
        let mut tasks = sources.forward_changes(&Arc::new(changed));
        let router = server::router(sources, changes, address.port());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        tasks.push(serving.abort_handle());
        Ok(Console { address, tasks })
    }
}
