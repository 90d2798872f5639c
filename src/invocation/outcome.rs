//! The outcome of an invocation.

use crate::{cut, deadline::DeadlineExceeded, panics::Panic};
use lambda_runtime::Diagnostic;

/// The outcome of an invocation: the annotation `outcome` of its trace.
///
/// The annotation has two more values, for invocations that did not end by themselves: `blocked` and `shut_down`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The handler responded.
    Responded,
    /// The handler returned an error.
    Failed(Diagnostic),
    /// The handler, or the encoding or decoding of its types, panicked.
    Panicked(Diagnostic),
    /// The event could not be decoded into the handler's type.
    Undecodable(Diagnostic),
    /// The response could not be encoded.
    Unencodable(Diagnostic),
    /// The response is larger than Lambda accepts.
    TooLarge(Diagnostic),
    /// No response was ready at the deadline.
    DeadlineExceeded(Diagnostic),
    /// The body of a streamed response ended early.
    StreamBroken(Diagnostic),
    /// The response came after the function's timeout: the caller has an error instead.
    Late(Diagnostic),
    /// Lambda refused the response.
    Refused(Diagnostic),
    /// The connection to Lambda broke, and the response did not arrive.
    Undelivered(Diagnostic),
}

/// The diagnostic of an outcome, by shared or by mutable reference.
macro_rules! diagnostic {
    ($outcome:expr) => {
        match $outcome {
            Outcome::Responded => None,
            Outcome::Failed(diagnostic)
            | Outcome::Panicked(diagnostic)
            | Outcome::Undecodable(diagnostic)
            | Outcome::Unencodable(diagnostic)
            | Outcome::TooLarge(diagnostic)
            | Outcome::DeadlineExceeded(diagnostic)
            | Outcome::StreamBroken(diagnostic)
            | Outcome::Late(diagnostic)
            | Outcome::Refused(diagnostic)
            | Outcome::Undelivered(diagnostic) => Some(diagnostic),
        }
    };
}

impl Outcome {
    /// The searchable word of the outcome.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Responded => "responded",
            Self::Failed(_) => "failed",
            Self::Panicked(_) => "panicked",
            Self::Undecodable(_) => "undecodable_event",
            Self::Unencodable(_) => "unencodable_response",
            Self::TooLarge(_) => "response_too_large",
            Self::DeadlineExceeded(_) => "deadline_exceeded",
            Self::StreamBroken(_) => "stream_broken",
            Self::Late(_) => "late_response",
            Self::Refused(_) => "refused_response",
            Self::Undelivered(_) => "undelivered_response",
        }
    }

    /// The error that was posted to Lambda instead of a response.
    pub fn diagnostic(&self) -> Option<&Diagnostic> {
        diagnostic!(self)
    }

    /// Its message, shortened to the length that Lambda accepts.
    pub(crate) fn cut(mut self) -> Self {
        if let Some(diagnostic) = self.diagnostic_mut() {
            cut::error_type(&mut diagnostic.error_type);
            cut::error_message(&mut diagnostic.error_message);
        }
        self
    }

    fn diagnostic_mut(&mut self) -> Option<&mut Diagnostic> {
        diagnostic!(self)
    }

    /// An error of the handler. A boxed error's type name only says that it is an error, in forty characters, so it is replaced.
    pub(crate) fn failed(mut diagnostic: Diagnostic) -> Self {
        if diagnostic.error_type.contains("dyn core::error::Error") {
            "Error".clone_into(&mut diagnostic.error_type);
        }
        Self::Failed(diagnostic)
    }

    pub(crate) fn unencodable(error: &serde_json::Error) -> Self {
        Self::Unencodable(Diagnostic {
            error_type: "Lifecycle.UnencodableResponse".to_owned(),
            error_message: format!("the response does not encode as JSON: {error}"),
        })
    }

    pub(crate) fn panicked(during: &str, panic: &Panic) -> Self {
        Self::Panicked(Diagnostic {
            error_type: "Lifecycle.Panic".to_owned(),
            error_message: format!("{during} panicked: {panic}"),
        })
    }

    pub(crate) fn exceeded(exceeded: &DeadlineExceeded) -> Self {
        Self::exceeded_with(exceeded.to_string())
    }

    pub(crate) fn exceeded_with(error_message: String) -> Self {
        Self::DeadlineExceeded(Diagnostic { error_type: DEADLINE_EXCEEDED.to_owned(), error_message })
    }
}

/// The error type of work that exceeded its deadline.
pub(crate) const DEADLINE_EXCEEDED: &str = "Lifecycle.DeadlineExceeded";

/// The readable name of an error's type. Of a boxed error the type is unknown.
pub(crate) fn error_type<E>() -> &'static str {
    let name = std::any::type_name::<E>();
    if name.contains("dyn core::error::Error") { "Error" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_message_are_cut() {
        let long = Diagnostic { error_type: "T".repeat(7_000_000), error_message: "m".repeat(7_000_000) };
        let outcome = Outcome::failed(long).cut();
        let diagnostic = outcome.diagnostic().expect("an error");
        assert!(diagnostic.error_type.len() < 1_100 && diagnostic.error_type.ends_with("… (cut, 7000000 bytes)"));
        assert!(diagnostic.error_message.len() < 33_000 && diagnostic.error_message.ends_with("… (cut, 7000000 bytes)"));
    }
}
