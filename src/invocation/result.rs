//! The result of an invocation: the errors that lead to its outcome, and whether a response may follow.

use super::{DeadlineExceeded, Invocation, Outcome, error_type, outcome::DEADLINE_EXCEEDED};
use crate::{
    clock, durable,
    notice::{self, Data, Warning},
};
use lambda_runtime::Diagnostic;
use opentelemetry::KeyValue;
use std::{fmt, sync::atomic::Ordering};

impl Invocation {
    /// Notes the status of the durable execution that the response has, if it is one.
    pub(crate) fn note_execution(&self, response: &str) {
        if !self.0.durable.load(Ordering::Relaxed) {
            return;
        }
        if let Some(status) = durable::status(response) {
            let mut notes = self.notes();
            notes.execution_failed = status == "FAILED";
            notes.annotations.push(KeyValue::new("annotation.durable_status", status));
        }
    }

    /// The error for work of this invocation that was cut off. If the handler returns an error that wraps it, the outcome is
    /// `deadline_exceeded`.
    pub(crate) fn exceed(&self) -> DeadlineExceeded {
        let exceeded = self.exceeded();
        self.notes().exceeded = Some(exceeded.clone());
        exceeded
    }

    pub(crate) fn exceeded(&self) -> DeadlineExceeded {
        DeadlineExceeded::new(clock::now().saturating_duration_since(self.0.facts.received))
    }

    /// True for an error that is, or wraps, the [`DeadlineExceeded`] that this invocation returned. A user's error need not be
    /// `'static`, so its `Debug` output is searched: it shows the parts of an error, through `anyhow`, boxes and enums alike.
    pub(crate) fn is_deadline_exceeded(&self, error: &dyn fmt::Debug) -> bool {
        let has_exceeded = self.notes().exceeded.is_some();
        has_exceeded && DeadlineExceeded::is_in(&format!("{error:?}"))
    }

    /// The outcome of an invocation whose handler returned this error.
    pub(crate) fn failure_of<E: Into<Diagnostic> + fmt::Debug>(&self, error: E) -> Outcome {
        let is_deadline = self.is_deadline_exceeded(&error);
        let outcome = Outcome::failed(error.into());
        match outcome {
            Outcome::Failed(diagnostic) if is_deadline => Outcome::exceeded_with(diagnostic.error_message),
            outcome => outcome,
        }
    }

    /// Logs the failure once, and returns the error to post.
    pub(crate) fn log_failure(&self, outcome: &Outcome) -> Diagnostic {
        let diagnostic = outcome.diagnostic().cloned().unwrap_or_else(|| Diagnostic {
            error_type: "Lifecycle.Failed".to_owned(),
            error_message: outcome.as_str().to_owned(),
        });
        let diagnostic = self.0.shared.settings.redacted(diagnostic);
        let data = Data { error_type: Some(&diagnostic.error_type), ..Data::error(&diagnostic.error_message) };
        // The line of the error would do the same, but the log's filter may leave it out.
        self.release_lines();
        notice::log(Warning::InvocationFailed, Data { outcome: Some(outcome.as_str()), ..data });
        self.notes().logged = Some(diagnostic.clone());
        diagnostic
    }

    /// The error of a message's handler, for Lambda.
    pub(crate) fn diagnostic_of<E: Into<lambda_runtime::Error>>(&self, error: E) -> Diagnostic {
        let error = error.into();
        let error_type = self.error_type_of::<E>(&error).to_owned();
        Diagnostic { error_type, error_message: error.to_string() }
    }

    /// The searchable type of an error that was an `E`.
    pub(crate) fn error_type_of<E>(&self, error: &lambda_runtime::Error) -> &'static str {
        if self.is_deadline_exceeded(error) { DEADLINE_EXCEEDED } else { error_type::<E>() }
    }

    /// The first outcome counts. Later ones are consequences of it, or of the environment's end.
    pub(crate) fn set_outcome(&self, outcome: Outcome) {
        let mut notes = self.notes();
        if !notes.cut_off {
            notes.outcome.get_or_insert(outcome);
        }
    }

    /// Called before a response is posted; a stream has no outcome yet. Returns false if the trace already says that the end of
    /// the environment cut this invocation off. It must not respond then.
    pub(crate) fn begin_response(&self, outcome: Option<Outcome>) -> bool {
        #[cfg(feature = "metrics-emf")]
        self.mark_handled();
        let mut notes = self.notes();
        if notes.cut_off {
            return false;
        }
        notes.responding = true;
        notes.outcome = notes.outcome.take().or(outcome);
        let is_fault = notes.execution_failed || notes.http_status.is_some_and(|status| status >= 500);
        drop(notes);
        if is_fault {
            self.release_lines();
        }
        true
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.notes().cut_off
    }

    /// Records that the response did not reach the caller. Returns false if the invocation had failed before, which remains its
    /// outcome.
    pub(crate) fn set_undelivered(&self, outcome: Outcome) -> bool {
        let mut notes = self.notes();
        let counts = notes.outcome.as_ref().is_none_or(|outcome| outcome.diagnostic().is_none());
        if counts {
            notes.outcome = Some(outcome);
        }
        counts
    }

    /// The reason why the invocation failed, if it is known by now.
    pub(crate) fn failure(&self) -> Option<Diagnostic> {
        self.notes().outcome.as_ref().and_then(Outcome::diagnostic).cloned()
    }
}
