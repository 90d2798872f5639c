//! What is compared: the functions of a stack, and the clients that ask about them.

use aws_config::SdkConfig;
use aws_sdk_lambda::{operation::RequestId, primitives::Blob};
use aws_sdk_xray::types;
use bytes::Bytes;
use lambda_lifecycle_sandbox::xray::{Trace, TraceStore};
use serde_json::Value;
use std::{error::Error, future::Future, pin::Pin, time::Duration};
use time::OffsetDateTime;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How often AWS is asked again for a trace or a log line that is not there yet.
const ASKED: u32 = 40;

/// A function and its log group.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) function: String,
    pub(crate) log_group: String,
}

/// Waits until all is sent that a sandbox will ever send.
pub(crate) type Settle = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> + Send + Sync>;

/// A stack, on AWS or in the sandbox.
pub(crate) struct Target {
    pub(crate) region: String,
    /// Ends as its event says.
    pub(crate) outcomes: Named,
    /// The same function. In the sandbox one with a timeout so short that waiting for it is cheap.
    pub(crate) deadline: Named,
    pub(crate) api: Named,
    pub(crate) worker: Named,
    pub(crate) orders_url: String,
    /// Traces are kept in CloudWatch Logs, and must be retrieved.
    pub(crate) transaction_search: bool,
    /// The pause before AWS is asked again.
    pub(crate) pause: Duration,
    /// `None` on AWS, where the only way is to ask again.
    pub(crate) settle: Option<Settle>,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    pub(crate) xray: aws_sdk_xray::Client,
}

/// The clients of a configuration.
pub(crate) fn clients(config: &SdkConfig) -> (aws_sdk_lambda::Client, aws_sdk_cloudwatchlogs::Client, aws_sdk_xray::Client) {
    (aws_sdk_lambda::Client::new(config), aws_sdk_cloudwatchlogs::Client::new(config), aws_sdk_xray::Client::new(config))
}

/// The result of one invocation, as its caller sees it.
#[derive(Debug)]
pub(crate) struct Invoked {
    pub(crate) request_id: String,
    pub(crate) trace_id: String,
    /// `Unhandled` when the function failed.
    pub(crate) function_error: Option<String>,
    pub(crate) payload: Value,
}

/// A trace id of now, in the format that X-Ray accepts.
fn trace_id() -> String {
    format!("1-{:08x}-{:08x}{:016x}", OffsetDateTime::now_utc().unix_timestamp(), fastrand::u32(..), fastrand::u64(..))
}

impl Target {
    /// Invokes a function with a complete trace header, so that Lambda samples it and the trace id is known.
    pub(crate) async fn invoke(&self, function: &Named, event: &Value) -> Result<Invoked, Failure> {
        let trace_id = trace_id();
        let header = format!("Root={trace_id};Parent={:016x};Sampled=1", fastrand::u64(1..));
        let call = self.lambda.invoke().function_name(&function.function).payload(Blob::new(event.to_string()));
        let call = call.customize().mutate_request(move |request| {
            request.headers_mut().insert("x-amzn-trace-id", header.clone());
        });
        let output = call.send().await?;
        let payload = output.payload.as_ref().map(|payload| Bytes::copy_from_slice(payload.as_ref())).unwrap_or_default();
        Ok(Invoked {
            request_id: output.request_id().unwrap_or_default().to_owned(),
            trace_id,
            function_error: output.function_error.clone(),
            payload: serde_json::from_slice(&payload).unwrap_or_default(),
        })
    }

    /// Asks until the result is as wanted, or has had its time. The last result is returned in both cases, because what it lacks is what
    /// the report says.
    async fn ask<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        ask: impl Fn() -> F,
        is_whole: impl Fn(&T) -> bool,
    ) -> Result<T, Failure> {
        if let Some(settle) = &self.settle {
            settle().await?;
            return ask().await;
        }
        let mut found = ask().await?;
        for _ in 1..ASKED {
            if is_whole(&found) {
                break;
            }
            tokio::time::sleep(self.pause).await;
            found = ask().await?;
        }
        Ok(found)
    }

    /// The trace, once `is_whole` holds for it.
    pub(crate) async fn trace(&self, id: &str, is_whole: impl Fn(&Trace) -> bool) -> Result<Option<Trace>, Failure> {
        let ask = || async { if self.transaction_search { self.retrieved(id).await } else { self.fetched(id).await } };
        self.ask(ask, |trace: &Option<Trace>| trace.as_ref().is_some_and(&is_whole)).await
    }

    async fn fetched(&self, id: &str) -> Result<Option<Trace>, Failure> {
        let output = self.xray.batch_get_traces().trace_ids(id).send().await?;
        let documents = output.traces().iter().flat_map(types::Trace::segments).filter_map(types::Segment::document);
        read(id, documents)
    }

    async fn retrieved(&self, id: &str) -> Result<Option<Trace>, Failure> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let start = self.xray.start_trace_retrieval().trace_ids(id);
        let (from, to) =
            (aws_sdk_xray::primitives::DateTime::from_secs(now - 3600), aws_sdk_xray::primitives::DateTime::from_secs(now + 60));
        let started = start.start_time(from).end_time(to).send().await?;
        let token = started.retrieval_token.ok_or("StartTraceRetrieval returned no token")?;
        let mut documents = Vec::new();
        let mut page = None;
        loop {
            let list = self.xray.list_retrieved_traces().retrieval_token(&token).set_next_token(page.take());
            let output = list.send().await?;
            if let Some(types::RetrievalStatus::Running | types::RetrievalStatus::Scheduled) = output.retrieval_status() {
                tokio::time::sleep(self.pause).await;
                continue;
            }
            let spans = output.traces().iter().flat_map(types::RetrievedTrace::spans);
            documents.extend(spans.filter_map(types::Span::document).map(str::to_owned));
            page = output.next_token;
            if page.is_none() {
                break;
            }
        }
        read(id, documents.iter().map(String::as_str))
    }

    /// The lines of a log that contain `term` and are JSON, once `is_whole` holds for them.
    pub(crate) async fn lines(&self, of: &Named, term: &str, is_whole: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>, Failure> {
        self.ask(|| self.found_lines(of, term), |lines: &Vec<Value>| is_whole(lines)).await
    }

    async fn found_lines(&self, of: &Named, term: &str) -> Result<Vec<Value>, Failure> {
        let mut pages = self
            .logs
            .filter_log_events()
            .log_group_name(&of.log_group)
            .filter_pattern(format!("\"{term}\""))
            .into_paginator()
            .send();
        let mut lines = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page?;
            lines.extend(page.events().iter().filter_map(|event| serde_json::from_str(event.message()?).ok()));
        }
        Ok(lines)
    }
}

fn read<'a>(id: &str, documents: impl Iterator<Item = &'a str>) -> Result<Option<Trace>, Failure> {
    let store = TraceStore::new();
    for document in documents {
        store.put_fetched(serde_json::from_str(document)?);
    }
    Ok(store.trace(id))
}
