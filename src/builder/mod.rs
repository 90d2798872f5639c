//! The lifecycle's options.

// In the order of the API documentation.
mod log;

mod trace;

mod exporters;

#[cfg(feature = "metrics-emf")]
mod metrics;

mod hooks;

use crate::{
    Unfinished,
    export::Given,
    invocation::Hooks,
    notice::Problem,
    runtime::Resources,
    settings::Settings,
    shutdown::OnShutdown,
    xray::{Redaction, Redactor},
};
use std::time::Duration;

/// Options of a [`Lifecycle`](crate::Lifecycle). An [environment variable](crate::settings) overrides the option.
///
/// ```no_run
/// use lambda_lifecycle::{Lifecycle, xray::Redaction};
///
/// let life = Lifecycle::builder()
///     .annotations(["tenant", "order.id"])
///     .redact(|key, _| if key.contains("card") { Redaction::Remove } else { Redaction::Keep })
///     .build();
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    pub(crate) settings: Settings,
    pub(crate) given: Given,
    pub(crate) hooks: Hooks,
    pub(crate) on_shutdown: Option<OnShutdown>,
    pub(crate) snapstart: Resources,
    /// Makes the tracer the global one, if an exporter needs it.
    pub(crate) install_tracer: Option<fn()>,
    /// The invalid options.
    pub(crate) problems: Vec<Problem>,
}

/// Deadlines, budgets and redaction.
impl Builder {
    /// Decides about every value that the library writes, before it is sent to any destination.
    ///
    /// The function receives a key and a value, and returns whether the value is kept, replaced or removed. Numbers and booleans are shown as
    /// text, arrays element by element. A value for which the function panics is removed.
    ///
    /// | covered | keys |
    /// |---|---|
    /// | spans, for X-Ray and for your exporters: attributes of spans, events and links | the attribute's key |
    /// | their names and status | `span.name`, `event.name`, `status.description` |
    /// | errors of the invocation and of an initializer, in the trace, in the log and as reported to Lambda | `exception.type`, `exception.message`, `exception.stacktrace` |
    /// | lines of the library's log | `message`, and each field's name |
    /// | the resource that your exporters receive | the attribute's key |
    /// | dimensions and metadata of metrics | the dimension's name, the key |
    ///
    /// The function is called for each field that holds a text, so it must return the same result for its own replacement.
    ///
    /// Not covered: responses of your handler that are not errors, log lines that your own subscriber writes, and text that the
    /// library does not write. The standard panic hook prints panic messages to standard error; to have them redacted, log them
    /// instead:
    ///
    /// ```
    /// std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    /// ```
    ///
    /// Without a redactor nothing is checked, at no cost.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Lifecycle, xray::Redaction};
    ///
    /// let life = Lifecycle::builder()
    ///     .redact(|key, value| match key {
    ///         _ if value.contains('@') => Redaction::Replace("(address)".into()),
    ///         "card" => Redaction::Remove,
    ///         _ => Redaction::Keep,
    ///     })
    ///     .build();
    /// ```
    pub fn redact(mut self, redactor: impl Fn(&str, &str) -> Redaction + Send + Sync + 'static) -> Self {
        self.settings.redactor = Some(Redactor::new(redactor));
        self
    }

    /// The time that all initializers of the Init phase have together. Default: 9 s, one less than the platform's limit; none
    /// where the platform allows minutes (provisioned concurrency, SnapStart, Managed Instances).
    pub fn init_budget(mut self, budget: Duration) -> Self {
        self.settings.init_budget = Some(budget);
        self
    }

    /// Whether the library uses the time until the first event: it starts the watchdog's thread, and runs its code for spans and
    /// documents once. The first response comes sooner by as much. Nothing is sent, and no exporter, subscriber or redactor of yours
    /// sees it. Default: yes.
    ///
    /// The code runs in the Init phase if the function has less than 1,769 MB of memory, because that phase runs at full speed, and in
    /// functions with SnapStart. It does not apply to `lambda_runtime`'s loop.
    ///
    /// The memory is what the first traced invocation would take, about 60 KB. Switch it off in a function that Lambda rarely samples and
    /// whose first event comes at once: that event waits for the rest of it.
    pub fn warm_up(mut self, on: bool) -> Self {
        self.settings.warm_up = on;
        self
    }

    /// Whether the token is cancelled and an error response is sent before the platform's deadline. Default: yes.
    pub fn deadline(mut self, on: bool) -> Self {
        self.settings.deadline = on;
        self
    }

    /// Time from the token's cancellation to the error response. Default: 5 % of the invocation's time, 50 ms to 500 ms and a
    /// quarter of it at most.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = Some(grace);
        self
    }

    /// Time from the error response to the platform's kill. Default: 5 % of the invocation's time, 50 ms to 500 ms and a quarter
    /// of it at most.
    pub fn reserve(mut self, reserve: Duration) -> Self {
        self.settings.reserve = Some(reserve);
        self
    }

    /// Whether a handler that blocks its thread past the deadline is reported. Default: yes.
    ///
    /// The report needs a thread. It starts while the function waits for its first event, or in the Init phase if the function has less
    /// than 1,769 MB of memory.
    pub fn watchdog(mut self, on: bool) -> Self {
        self.settings.watchdog = on;
        self
    }

    /// How to treat work after the response that is not done in its time. Default: [`Unfinished::Wait`].
    pub fn unfinished(mut self, policy: Unfinished) -> Self {
        self.settings.unfinished = policy;
        self
    }

    /// The time limit for work after the response. Default: until the invocation's hard deadline.
    pub fn after_response_budget(mut self, budget: Duration) -> Self {
        self.settings.after_response_budget = Some(budget);
        self
    }

    /// Time from SIGTERM to the end of the last flush. Invocations in progress have two thirds of it. Shutdown hooks have until
    /// eight ninths of it. Default: 450 ms, because Lambda sends SIGKILL 500 ms after SIGTERM. A function with external
    /// extensions has 2 s.
    pub fn shutdown_budget(mut self, budget: Duration) -> Self {
        self.settings.shutdown_budget = budget;
        self
    }
}

#[cfg(test)]
mod tests;
