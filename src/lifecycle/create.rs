//! How a lifecycle is made, and the layers for a subscriber that is set before.

use super::Lifecycle;
use crate::{builder::Builder, init::InitPhase, invocation::Shared, logs, subscriber::subscribe, trace};
use tower::layer::util::Identity;
use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

impl Lifecycle {
    /// A lifecycle with the defaults and the [settings](crate::settings) of the environment. Call it first in `main`.
    ///
    /// If no global subscriber is set, this sets one for the log and the trace. If you have your own subscriber, add
    /// [`Lifecycle::tracing_layer`] to it first.
    pub fn from_env() -> Self {
        Self::builder().build()
    }

    /// Options that the environment cannot set.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The layer that records spans for X-Ray, for your own subscriber.
    ///
    /// It has its own filter, so no log level disables the trace, as long as your filter applies only to the log
    /// (`fmt::layer().with_filter(..)`) and not to the whole subscriber (`registry().with(filter)`). Set the subscriber before
    /// [`Lifecycle::from_env`].
    ///
    /// ```no_run
    /// use lambda_lifecycle::Lifecycle;
    /// use tracing_subscriber::prelude::*;
    ///
    /// tracing_subscriber::registry().with(Lifecycle::tracing_layer()).with(tracing_subscriber::fmt::layer()).init();
    /// let life = Lifecycle::from_env();
    /// ```
    ///
    /// Two situations end the process with any subscriber that is built on `tracing_subscriber::registry()`. A layer cannot
    /// prevent them. The library's own subscriber, which it sets if none is set, handles both.
    ///
    /// - A span that is created, entered or dropped while a thread drops its thread-locals: `tracing-subscriber` panics, and a
    ///   panic in such a drop aborts the process.
    /// - A chain of thousands of spans in which each holds its parent, and only the last one is held: closing the last one closes
    ///   all of them recursively, and overflows the stack. Tasks that spawn the next task inside of their span create such a
    ///   chain.
    pub fn tracing_layer<S>() -> impl Layer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        trace::layer()
    }

    /// The log as a layer for your own subscriber: the lines that the library's own subscriber writes.
    ///
    /// It has its own filter, which `RUST_LOG` and `AWS_LAMBDA_LOG_LEVEL` set, as [`logs`](crate::logs) describes. The builder's
    /// settings apply to lines inside of an invocation. Only variables apply to lines outside of one.
    ///
    /// ```no_run
    /// use lambda_lifecycle::Lifecycle;
    /// use tracing_subscriber::prelude::*;
    /// # let other_layer = tracing_subscriber::layer::Identity::new();
    ///
    /// tracing_subscriber::registry().with(Lifecycle::tracing_layer()).with(Lifecycle::log_layer()).with(other_layer).init();
    /// let life = Lifecycle::from_env();
    /// ```
    pub fn log_layer<S>() -> impl Layer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        logs::layer()
    }
}

impl Builder {
    /// Builds the lifecycle. Sets the global subscriber, if the log or the trace is enabled and none is set.
    pub fn build(self) -> Lifecycle {
        let Self { mut settings, given, hooks, on_shutdown, snapstart, install_tracer, mut problems } = self;
        problems.extend(settings.read_env());
        problems.extend(subscribe(&settings));
        for problem in problems {
            problem.log_once();
        }
        tracing::debug!("{settings:?}");
        if let Some(install) = install_tracer.filter(|_| settings.trace) {
            install();
        }
        let shared = Shared::new(settings, hooks, given);
        tracing::debug!("spans go to: {}", shared.destinations.describe());
        let init = InitPhase::begin(&shared);
        Lifecycle { shared, on_shutdown, init, snapstart, layers: Identity::new() }
    }
}
