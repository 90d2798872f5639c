#![doc = include_str!("../links.md")]
#![doc = include_str!("../../docs/init.md")]

mod blocking;
mod cell;
mod optional;
mod report;

pub(crate) use blocking::off_the_executor;
pub use cell::WriteOnce;
pub use optional::Optional;

use crate::{
    Environment, InitializationType, budget,
    cut::{self, Cut},
    environment::{self, EnvironmentError},
    invocation::{Shared, error_type},
    metrics,
    notice::{self, Data, Warning},
    panics, settings,
    trace::{TRACER, exception},
    urls,
    xray::{Redaction, Redactor},
};
use lambda_runtime::{Diagnostic, Error};
use opentelemetry::{
    Context, KeyValue,
    context::FutureExt as _,
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer},
};
use std::{
    borrow::Cow,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

/// One second below the platform's limit, which leaves time to post an error.
pub(crate) const BUDGET: Duration = Duration::from_secs(9);

/// An initializer of the Init phase failed. The error has been posted to Lambda; returned from `main`, it ends the process with
/// status 1.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The initializer returned an error.
    #[error("init of {name} failed: {}", Cut(source))]
    Failed {
        /// The initializer's name.
        name: Cow<'static, str>,
        /// The error that it returned.
        source: Error,
    },
    /// The initializer panicked.
    #[error("init of {name} panicked: {message}")]
    Panicked {
        /// The initializer's name.
        name: Cow<'static, str>,
        /// The panic's message.
        message: String,
    },
    /// The initializer was not done when the phase's budget was used up.
    #[error(
        "init of {name} was not done within the Init phase's {} s: do it at first use, make it faster, or give the function provisioned concurrency",
        budget.as_secs_f32()
    )]
    OverBudget {
        /// The initializer's name.
        name: Cow<'static, str>,
        /// The budget of all initializers together.
        budget: Duration,
    },
    /// This process does not run in a Lambda environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

/// `main` prints an error with `Debug`, so it must be as readable as `Display`, and be one line of the log.
impl fmt::Debug for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&urls::without_secrets(&self.to_string()))
    }
}

impl InitError {
    /// The error that is posted to Lambda.
    fn diagnostic(&self, error_type: &str) -> Diagnostic {
        let kind = match self {
            Self::Failed { .. } => error_type,
            Self::Panicked { .. } => "Lifecycle.InitPanic",
            Self::OverBudget { .. } => "Lifecycle.InitOverBudget",
            Self::Environment(_) => "Lifecycle.Environment",
        };
        let mut error_type = kind.to_owned();
        cut::error_type(&mut error_type);
        Diagnostic { error_type, error_message: urls::without_secrets(&self.to_string()).into_owned() }
    }

    /// The redacted error for the log, the trace, the report to Lambda, and `main`, which prints it.
    fn redacted(self, redactor: Option<&Redactor>) -> Self {
        let Some(redactor) = redactor else { return self };
        let redact = |text: &str| match redactor.ask("exception.message", text) {
            Redaction::Keep => None,
            Redaction::Replace(other) => Some(other.into_owned()),
            Redaction::Remove => Some(String::new()),
        };
        match self {
            Self::Failed { name, source } => {
                let source = redact(&source.to_string()).map_or(source, Error::from);
                Self::Failed { name, source }
            }
            Self::Panicked { name, message } => {
                let message = redact(&message).unwrap_or(message);
                Self::Panicked { name, message }
            }
            other => other,
        }
    }
}

/// The Init phase of this process.
pub(crate) struct InitPhase {
    began: Instant,
    budget: Option<Duration>,
    shared: Arc<Shared>,
}

impl fmt::Debug for InitPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InitPhase").field("began", &self.began).field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl InitPhase {
    pub(crate) fn begin(shared: &Arc<Shared>) -> Self {
        // Elsewhere the platform allows minutes.
        let bounded = environment::kind().initialization_type == InitializationType::OnDemand;
        Self {
            began: Instant::now(),
            budget: shared.settings.init_budget.or(bounded.then_some(BUDGET)),
            shared: Arc::clone(shared),
        }
    }

    /// Runs an initializer and posts its failure.
    pub(crate) async fn run<T, E>(
        &self,
        name: Cow<'static, str>,
        setup: impl Future<Output = Result<T, E>>,
    ) -> Result<T, InitError>
    where
        E: Into<Error>,
    {
        Environment::check()?;
        let ended = self.attempt(name, setup).await;
        if let Err(error) = &ended {
            let mut diagnostic = error.diagnostic(error_type::<E>());
            if let Some(redactor) = &self.shared.settings.redactor {
                diagnostic.error_type = redactor.error_type(diagnostic.error_type);
            }
            // A misspelled setting may be the reason.
            settings::warn_of_unknown_variables();
            let data = Data { error_type: Some(&diagnostic.error_type), ..Data::error(&diagnostic.error_message) };
            notice::log(Warning::InitFailed, data);
            metrics::init_failed(&self.shared);
            report::post(&diagnostic).await;
        }
        ended
    }

    /// Runs an initializer; the caller reports a failure.
    pub(crate) async fn attempt<T, E>(
        &self,
        name: Cow<'static, str>,
        setup: impl Future<Output = Result<T, E>>,
    ) -> Result<T, InitError>
    where
        E: Into<Error>,
    {
        let context = if self.shared.settings.trace { begin_span(&name) } else { Context::new() };
        let timer = metrics::InitTimer::begin(&self.shared, &name);
        let ended = self.bounded(name, setup).with_context(context.clone()).await;
        timer.end(&self.shared);
        let ended = ended.map_err(|error| error.redacted(self.shared.settings.redactor.as_ref()));
        let span = context.span();
        if let Err(error) = &ended {
            let diagnostic = error.diagnostic(error_type::<E>());
            span.add_event("exception", exception(diagnostic.error_type, diagnostic.error_message));
            span.set_status(Status::error("init failed"));
        }
        span.end();
        ended
    }

    async fn bounded<T, E>(&self, name: Cow<'static, str>, setup: impl Future<Output = Result<T, E>>) -> Result<T, InitError>
    where
        E: Into<Error>,
    {
        let mut setup = pin!(Some(setup));
        let until = self.budget.and_then(|budget| Some((budget, self.began.checked_add(budget)?)));
        let ends = until.map(|(_, until)| until);
        let guarded = poll_fn(|cx| {
            let polled_at = Instant::now();
            let poll = || setup.as_mut().as_pin_mut().map_or(Poll::Pending, |setup| setup.poll(cx));
            let polled = budget::poll_until(ends, || panics::catch(poll));
            if let Some((budget, until)) = until
                && polled_at < until
            {
                let now = Instant::now();
                // No timer can interrupt an initializer that blocks its thread, and others would be cancelled instead.
                if now >= until {
                    report_blocked(&name, now - polled_at, budget);
                }
            }
            match polled {
                Ok(poll) => poll.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        let ended = match until {
            Some((budget, until)) if crate::clock::timers_run() => {
                match tokio::time::timeout_at(until.into(), guarded).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        // The panic hook reports a panic in its drop, which must not keep the error from Lambda.
                        let _ = panics::catch(|| setup.set(None));
                        return Err(InitError::OverBudget { name, budget });
                    }
                }
            }
            _ => guarded.await,
        };
        match ended {
            Ok(Ok(value)) => Ok(value),
            // The error is formatted in here as well, because its `Display` may panic.
            Ok(Err(error)) => match panics::catch(|| with_text(error.into())) {
                Ok(source) => Err(InitError::Failed { name, source }),
                Err(panic) => Err(InitError::Panicked { name, message: panic.to_string() }),
            },
            Err(panic) => Err(InitError::Panicked { name, message: panic.to_string() }),
        }
    }
}

/// Reports the initializer that blocked its thread until the budget was used up.
#[cold]
#[inline(never)]
fn report_blocked(name: &str, blocked: Duration, budget: Duration) {
    let ms = |time: Duration| Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    notice::log(Warning::InitBlocked, Data { elapsed_ms: ms(blocked), budget_ms: ms(budget), ..Data::name(name) });
}

/// The same error, after its text was formatted.
fn with_text(error: Error) -> Error {
    drop(error.to_string());
    error
}

fn begin_span(name: &str) -> Context {
    let span = SpanBuilder::from_name(format!("init {name}")).with_kind(SpanKind::Internal);
    let mut span = TRACER.build_with_context(span, &Context::new());
    span.set_attribute(KeyValue::new("lambda.stage", "init"));
    Context::new().with_span(span)
}
