//! X-Ray's API instead of its daemon, for environments without one: documents are sent with `PutTraceSegments`.
//!
//! ```no_run
//! use lambda_lifecycle::{Lifecycle, xray_api::XRayApi};
//!
//! # async fn example() {
//! let client = aws_sdk_xray::Client::new(&aws_config::load_from_env().await);
//! let life = Lifecycle::builder().xray_api(XRayApi::new(client)).build();
//! # }
//! ```
//!
//! In Lambda the daemon is cheaper: a datagram takes microseconds, and a call of the API takes billed milliseconds. The
//! function's role needs `xray:PutTraceSegments`. An invocation that is killed is not in the trace, because only the daemon gets
//! a document when an invocation starts.

use crate::{
    clock::timers_run,
    notice::{Problem, Warning},
};
use aws_sdk_xray::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::put_trace_segments::PutTraceSegmentsError,
    types::UnprocessedTraceSegment,
};
use serde::Deserialize;
use std::{
    borrow::Cow,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// The most documents in one call, which is also the daemon's number.
pub const MAX_DOCUMENTS: usize = 50;

/// The most bytes of documents in one call. AWS documents no limit, and losing a call of this size is acceptable.
pub const MAX_CALL: usize = 1024 * 1024;

/// Sends documents to X-Ray's API. For [`Builder::xray_api`](crate::Builder::xray_api).
///
/// Clones share their counts, so keep one and give the other to the builder.
#[derive(Clone, Debug)]
pub struct XRayApi {
    client: Client,
    counts: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    left_out: AtomicU64,
    retried: AtomicU64,
    unprocessed: AtomicU64,
    unsent: AtomicU64,
}

/// The number of documents by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// X-Ray accepted them.
    pub sent: u64,
    /// They did not fit into the trace's budget: `LAMBDA_LIFECYCLE_TRACE_BUDGET`. The invocation's document has their number.
    pub left_out: u64,
    /// They were sent a second time, because X-Ray did not process them the first time.
    pub retried: u64,
    /// X-Ray did not process them the second time either.
    pub unprocessed: u64,
    /// Their call failed.
    pub unsent: u64,
}

/// The reason why documents did not reach X-Ray.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XRayApiError {
    /// No response arrived.
    #[error("X-Ray's API does not respond ({reason}): check the client's region and endpoint, and the function's network access")]
    Unreachable {
        /// The SDK's error with its causes.
        reason: String,
    },
    /// The call could not be made: credentials or a region are missing.
    #[error("cannot call X-Ray's API ({reason}): check the client's credentials and region")]
    NoCall {
        /// The SDK's error with its causes.
        reason: String,
    },
    /// The service responded with an error.
    #[error("X-Ray's API refuses: {code}: {message}; the function's role needs xray:PutTraceSegments")]
    Refused {
        /// The service's error code, such as `AccessDeniedException`.
        code: String,
        /// The service's message.
        message: String,
    },
    /// The service accepted the call, but not all of its documents.
    #[error("X-Ray did not process a document, sent twice: {code}: {message}")]
    Unprocessed {
        /// The number of documents. Code and message are the first one's.
        count: usize,
        /// The service's error code.
        code: String,
        /// The service's message.
        message: String,
    },
}

impl XRayApiError {
    fn warning(&self) -> Warning {
        match self {
            Self::Unreachable { .. } => Warning::XRayApiUnreachable,
            Self::NoCall { .. } => Warning::XRayApiNotCalled,
            Self::Refused { .. } => Warning::XRayApiRefused,
            Self::Unprocessed { .. } => Warning::XRayApiUnprocessed,
        }
    }
}

impl XRayApi {
    /// A destination with your own client, and so with your region, credentials, retries and HTTP client.
    pub fn new(client: Client) -> Self {
        Self { client, counts: Arc::default() }
    }

    /// The number of documents by result, so far.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            sent: read(&self.counts.sent),
            left_out: read(&self.counts.left_out),
            retried: read(&self.counts.retried),
            unprocessed: read(&self.counts.unprocessed),
            unsent: read(&self.counts.unsent),
        }
    }

    /// Sends documents, in calls of at most [`MAX_DOCUMENTS`] and [`MAX_CALL`] bytes. Documents that X-Ray does not process are
    /// sent once more.
    ///
    /// The first call without a response is the last one. Its documents and the remaining ones are [counted](Self::counts) as
    /// unsent.
    async fn send(&self, documents: Vec<String>) -> Result<(), XRayApiError> {
        let mut calls = into_calls(documents).into_iter();
        let mut first = None;
        while let Some(call) = calls.next() {
            if let Err(error) = self.put(call).await {
                let hopeless = !matches!(error, XRayApiError::Unprocessed { .. });
                first.get_or_insert(error);
                if hopeless {
                    add(&self.counts.unsent, calls.by_ref().map(|call| call.len()).sum());
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Sends documents in a separate task and waits for it, at most until `until`. An error is logged once.
    pub(crate) async fn send_until(&self, documents: Vec<String>, until: Option<Instant>) {
        let api = self.clone();
        let sending = tokio::spawn(async move {
            if let Err(error) = api.send(documents).await {
                Problem::new(error.warning()).because(error).log_once();
            }
        });
        let waited = match until {
            Some(until) if timers_run() => tokio::time::timeout_at(until.into(), sending).await.is_ok(),
            _ => sending.await.is_ok(),
        };
        if !waited {
            Problem::new(Warning::XRayApiDelayed).log_once();
        }
    }

    pub(crate) fn count_left_out(&self, documents: u32) {
        add(&self.counts.left_out, documents as usize);
    }

    async fn put(&self, documents: Vec<String>) -> Result<(), XRayApiError> {
        let refused = self.call(documents.clone()).await?;
        if refused.is_empty() {
            return Ok(());
        }
        let again: Vec<String> = documents.into_iter().filter(|document| is_among(document, &refused)).collect();
        // A document without an id in the response cannot be sent again.
        let mut lost = refused.len().saturating_sub(again.len());
        let mut reason = refused.into_iter().next();
        let mut error = None;
        if !again.is_empty() {
            add(&self.counts.retried, again.len());
            match self.call(again).await {
                Ok(refused) if refused.is_empty() => {}
                Ok(refused) => {
                    lost += refused.len();
                    reason = refused.into_iter().next();
                }
                Err(failed) => error = Some(failed),
            }
        }
        add(&self.counts.unprocessed, lost);
        match (error, reason) {
            (Some(error), _) => Err(error),
            (None, Some(reason)) if lost > 0 => Err(XRayApiError::Unprocessed {
                count: lost,
                code: reason.error_code.unwrap_or_default(),
                message: reason.message.unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// Makes one call. Counts the accepted documents, or all of them as unsent if the call failed.
    async fn call(&self, documents: Vec<String>) -> Result<Vec<UnprocessedTraceSegment>, XRayApiError> {
        let count = documents.len();
        match self.client.put_trace_segments().set_trace_segment_documents(Some(documents)).send().await {
            Ok(response) => {
                let refused = response.unprocessed_trace_segments.unwrap_or_default();
                add(&self.counts.sent, count.saturating_sub(refused.len()));
                Ok(refused)
            }
            Err(error) => {
                add(&self.counts.unsent, count);
                Err(typed(&error))
            }
        }
    }
}

fn into_calls(documents: Vec<String>) -> Vec<Vec<String>> {
    let mut calls: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for document in documents {
        match calls.last_mut() {
            Some(call) if call.len() < MAX_DOCUMENTS && bytes + document.len() <= MAX_CALL => {
                bytes += document.len();
                call.push(document);
            }
            _ => {
                bytes = document.len();
                calls.push(vec![document]);
            }
        }
    }
    calls
}

fn is_among(document: &str, refused: &[UnprocessedTraceSegment]) -> bool {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    serde_json::from_str::<Named<'_>>(document)
        .is_ok_and(|document| refused.iter().any(|one| one.id() == Some(document.id.as_ref())))
}

fn typed<R>(error: &SdkError<PutTraceSegmentsError, R>) -> XRayApiError
where
    R: std::fmt::Debug,
{
    match error {
        SdkError::ServiceError(response) => XRayApiError::Refused {
            code: response.err().code().unwrap_or("an error without a code").to_owned(),
            message: response.err().message().unwrap_or("without a message").to_owned(),
        },
        SdkError::ConstructionFailure(_) => XRayApiError::NoCall { reason: reason(error) },
        // Credentials are requested during the call.
        SdkError::DispatchFailure(failure) if failure.is_user() || failure.is_other() => {
            XRayApiError::NoCall { reason: reason(error) }
        }
        _ => XRayApiError::Unreachable { reason: reason(error) },
    }
}

/// The SDK's errors are only useful with their causes.
fn reason<R: std::fmt::Debug>(error: &SdkError<PutTraceSegmentsError, R>) -> String {
    let mut reason = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        // Some errors repeat their cause.
        if !reason.ends_with(&words) {
            if !reason.is_empty() {
                reason.push_str(": ");
            }
            reason.push_str(&words);
        }
        next = cause.source();
    }
    if reason.is_empty() { error.to_string() } else { reason }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_bounded_by_number_and_by_bytes() {
        let sizes = |lengths: &[usize]| {
            into_calls(lengths.iter().map(|length| "x".repeat(*length)).collect()).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[10; 120]), [50, 50, 20]);
        assert_eq!(sizes(&[64_000; 40]), [16, 16, 8]);
        assert_eq!(sizes(&[MAX_CALL, 1]), [1, 1]);
        assert!(sizes(&[]).is_empty());
    }

    #[test]
    fn a_document_is_told_by_its_own_id_and_not_by_one_it_names() {
        let refused = [UnprocessedTraceSegment::builder().id("00000000000000aa").build()];
        assert!(is_among(r#"{"name":"x","id":"00000000000000aa"}"#, &refused));
        assert!(!is_among(
            r#"{"id":"00000000000000bb","parent_id":"00000000000000aa","links":[{"id":"00000000000000aa"}]}"#,
            &refused
        ));
        assert!(!is_among(r#"{"id":"00000000000000bb"}"#, &[UnprocessedTraceSegment::builder().build()]));
    }
}
