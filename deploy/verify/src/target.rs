//! What is compared: the functions of a stack, and the clients that ask about them.

use crate::parts::{Class, Header, Part};
use aws_sdk_lambda::{operation::RequestId, primitives::Blob};
use aws_sdk_xray::{primitives::DateTime, types};
use bytes::Bytes;
use lambda_lifecycle_sandbox::xray::{Trace, TraceStore};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    error::Error,
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};
use time::OffsetDateTime;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How often AWS is asked again for a trace or a log line that is not there yet.
const ASKED: u32 = 60;
/// The same in the sandbox, where it is there in milliseconds. Only a hang takes so long.
const ASKED_SOON: u32 = 3_000;

/// A function and its log group.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) function: String,
    pub(crate) log_group: String,
}

/// Waits until all is sent that a sandbox will ever send.
pub(crate) type Settle = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> + Send + Sync>;

/// A kind of environment, and its functions.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) part: Part,
    pub(crate) functions: BTreeMap<Class, Named>,
}

/// A stack, on AWS or in the sandbox.
pub(crate) struct Target {
    pub(crate) region: String,
    pub(crate) environments: Vec<Environment>,
    /// The functions that open questions are asked of.
    pub(crate) plain: Named,
    pub(crate) pass_through: Option<Named>,
    pub(crate) otlp: Option<Named>,
    pub(crate) api: Named,
    pub(crate) worker: Named,
    pub(crate) orders_url: String,
    /// The worker of the FIFO queue, and the queue's URL.
    pub(crate) fifo: Option<(Named, String)>,
    /// The namespace of the metrics in CloudWatch.
    pub(crate) namespace: String,
    /// Traces are kept in CloudWatch Logs, and must be retrieved.
    pub(crate) transaction_search: bool,
    /// The pause before AWS is asked again.
    pub(crate) pause: Duration,
    /// `None` on AWS, where the only way is to ask again.
    pub(crate) settle: Option<Settle>,
    pub(crate) cloudwatch: aws_sdk_cloudwatch::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) xray: aws_sdk_xray::Client,
}

/// A node of the trace map, and the nodes that it calls.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) calls: Vec<i32>,
}

impl Node {
    fn read(service: &types::Service) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            id: service.reference_id().unwrap_or_default(),
            name: text(service.name()),
            kind: text(service.r#type()),
            calls: service.edges().iter().filter_map(types::Edge::reference_id).collect(),
        }
    }
}

/// The result of one invocation, as its caller sees it.
#[derive(Clone, Debug)]
pub(crate) struct Invoked {
    pub(crate) request_id: String,
    /// The one that was sent, if one was.
    pub(crate) trace_id: String,
    pub(crate) is_sampled: bool,
    /// `Unhandled` when the function failed.
    pub(crate) function_error: Option<String>,
    pub(crate) payload: Value,
    /// How long the caller waited.
    pub(crate) waited: Duration,
}

impl Invoked {
    /// The payload for a message, shortened.
    pub(crate) fn shown(&self) -> String {
        let mut text = self.payload.to_string();
        text.truncate(text.floor_char_boundary(300));
        text
    }
}

/// A trace id of now, in the format that X-Ray accepts.
fn trace_id() -> String {
    format!("1-{:08x}-{:08x}{:016x}", OffsetDateTime::now_utc().unix_timestamp(), fastrand::u32(..), fastrand::u64(..))
}

impl Target {
    /// Invokes a function with a complete trace header, so that Lambda decides as it says and the trace id is known; or with none.
    pub(crate) async fn invoke(&self, function: &Named, event: &str, header: Header) -> Result<Invoked, Failure> {
        let trace_id = trace_id();
        let is_sampled = header == Header::Sampled;
        let sent = format!("Root={trace_id};Parent={:016x};Sampled={}", fastrand::u64(1..), u8::from(is_sampled));
        let call = self.lambda.invoke().function_name(&function.function).payload(Blob::new(event));
        let call = call.customize().mutate_request(move |request| {
            if header != Header::None {
                request.headers_mut().insert("x-amzn-trace-id", sent.clone());
            }
        });
        let began = Instant::now();
        let output = call.send().await?;
        let waited = began.elapsed();
        let payload = output.payload.as_ref().map(|payload| Bytes::copy_from_slice(payload.as_ref())).unwrap_or_default();
        Ok(Invoked {
            request_id: output.request_id().unwrap_or_default().to_owned(),
            trace_id,
            is_sampled,
            function_error: output.function_error.clone(),
            payload: serde_json::from_slice(&payload).unwrap_or_default(),
            waited,
        })
    }

    /// Asks until the result is as wanted, or has had its time. The last result is returned in both cases, because what it lacks is what
    /// the report says.
    pub(crate) async fn ask<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        ask: impl Fn() -> F,
        is_whole: impl Fn(&T) -> bool,
        keeps_running: bool,
    ) -> Result<T, Failure> {
        // A process of Managed Instances sends its last documents while it already waits for events, so the sandbox is asked again too.
        let (most, pause) = match &self.settle {
            Some(settle) => {
                settle().await?;
                (if keeps_running { ASKED_SOON } else { 1 }, self.pause.max(Duration::from_millis(10)))
            }
            None => (ASKED, self.pause),
        };
        let mut found = ask().await?;
        for _ in 1..most {
            if is_whole(&found) {
                break;
            }
            tokio::time::sleep(pause).await;
            found = ask().await?;
        }
        Ok(found)
    }

    /// The trace, once `is_whole` holds for it.
    pub(crate) async fn trace(&self, id: &str, is_whole: impl Fn(&Trace) -> bool) -> Result<Option<Trace>, Failure> {
        self.trace_of(id, is_whole, false).await
    }

    /// The same of a function that may keep running between events.
    pub(crate) async fn trace_of(
        &self,
        id: &str,
        is_whole: impl Fn(&Trace) -> bool,
        keeps_running: bool,
    ) -> Result<Option<Trace>, Failure> {
        let ask = || async { if self.transaction_search { self.retrieved(id).await } else { self.fetched(id).await } };
        self.ask(ask, |trace: &Option<Trace>| trace.as_ref().is_some_and(&is_whole), keeps_running).await
    }

    /// The trace as it is now.
    pub(crate) async fn trace_now(&self, id: &str) -> Result<Option<Trace>, Failure> {
        if let Some(settle) = &self.settle {
            settle().await?;
        }
        if self.transaction_search { self.retrieved(id).await } else { self.fetched(id).await }
    }

    async fn fetched(&self, id: &str) -> Result<Option<Trace>, Failure> {
        let output = self.xray.batch_get_traces().trace_ids(id).send().await?;
        let documents = output.traces().iter().flat_map(types::Trace::segments).filter_map(types::Segment::document);
        read(id, documents)
    }

    async fn retrieved(&self, id: &str) -> Result<Option<Trace>, Failure> {
        let token = self.retrieval(id).await?;
        let mut documents = Vec::new();
        let mut page = None;
        loop {
            let list = self.xray.list_retrieved_traces().retrieval_token(&token).set_next_token(page.take());
            let output = list.send().await?;
            if is_pending(output.retrieval_status()) {
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

    /// Starts a retrieval, and returns its token.
    async fn retrieval(&self, id: &str) -> Result<String, Failure> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let start = self.xray.start_trace_retrieval().trace_ids(id);
        let started = start.start_time(DateTime::from_secs(now - 3600)).end_time(DateTime::from_secs(now + 60)).send().await?;
        started.retrieval_token.ok_or_else(|| "StartTraceRetrieval returned no token".into())
    }

    /// The trace map of a trace, once it has a queue.
    pub(crate) async fn map(&self, id: &str) -> Result<Vec<Node>, Failure> {
        let ask = || async { if self.transaction_search { self.retrieved_map(id).await } else { self.fetched_map(id).await } };
        self.ask(ask, |nodes: &Vec<Node>| nodes.iter().any(|node| node.kind.starts_with("AWS::SQS")), false).await
    }

    async fn fetched_map(&self, id: &str) -> Result<Vec<Node>, Failure> {
        let output = self.xray.get_trace_graph().trace_ids(id).send().await?;
        Ok(output.services().iter().map(Node::read).collect())
    }

    async fn retrieved_map(&self, id: &str) -> Result<Vec<Node>, Failure> {
        let token = self.retrieval(id).await?;
        loop {
            let output = self.xray.get_retrieved_traces_graph().retrieval_token(&token).send().await?;
            if is_pending(output.retrieval_status()) {
                tokio::time::sleep(self.pause).await;
                continue;
            }
            return Ok(output.services().iter().filter_map(types::RetrievedService::service).map(Node::read).collect());
        }
    }

    /// The lines of a log that contain `term` and are JSON, once `is_whole` holds for them.
    pub(crate) async fn lines(&self, of: &Named, term: &str, is_whole: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>, Failure> {
        self.ask(|| self.found_lines(of, term), |lines: &Vec<Value>| is_whole(lines), false).await
    }

    /// The same while the stack is still busy.
    pub(crate) async fn soon(&self, of: &Named, term: &str, is_whole: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>, Failure> {
        let pause = self.pause.max(Duration::from_millis(20));
        let mut left = if self.settle.is_some() { ASKED_SOON } else { ASKED };
        loop {
            let lines = self.found_lines(of, term).await?;
            left -= 1;
            if is_whole(&lines) || left == 0 {
                return Ok(lines);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The lines of a log with `term`, of which one need not be JSON.
    pub(crate) async fn count_lines(&self, of: &Named, term: &str) -> Result<usize, Failure> {
        Ok(self.messages(of, term, None).await?.len())
    }

    /// The lines with `term` that are JSON and not older than `from`, in seconds since 1970.
    pub(crate) async fn lines_since(&self, of: &Named, term: &str, from: i64) -> Result<Vec<Value>, Failure> {
        self.json(of, term, Some(from)).await
    }

    async fn found_lines(&self, of: &Named, term: &str) -> Result<Vec<Value>, Failure> {
        self.json(of, term, None).await
    }

    async fn json(&self, of: &Named, term: &str, from: Option<i64>) -> Result<Vec<Value>, Failure> {
        let messages = self.messages(of, term, from).await?;
        Ok(messages.iter().filter_map(|message| serde_json::from_str(message).ok()).collect())
    }

    async fn messages(&self, of: &Named, term: &str, from: Option<i64>) -> Result<Vec<String>, Failure> {
        let filter = self.logs.filter_log_events().log_group_name(&of.log_group).filter_pattern(format!("\"{term}\""));
        let filter = filter.set_start_time(from.map(|seconds| seconds * 1000));
        let mut pages = filter.into_paginator().send();
        let mut messages = Vec::new();
        while let Some(page) = pages.next().await {
            messages.extend(page?.events().iter().filter_map(|event| event.message().map(str::to_owned)));
        }
        Ok(messages)
    }
}

fn is_pending(status: Option<&types::RetrievalStatus>) -> bool {
    matches!(status, Some(types::RetrievalStatus::Running | types::RetrievalStatus::Scheduled))
}

fn read<'a>(id: &str, documents: impl Iterator<Item = &'a str>) -> Result<Option<Trace>, Failure> {
    let store = TraceStore::new();
    for document in documents {
        store.put_fetched(serde_json::from_str(document)?);
    }
    Ok(store.trace(id))
}
