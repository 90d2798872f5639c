//! One invocation, from the event to the freeze.

use super::{
    api::{
        call::{NextEvent, Outcome, Post, PostKind},
        error::ApiError,
    },
    job::{Clock, Job, timed_out},
    platform_log::{PlatformLog, Report},
    post_fault::PostFault,
    settings::Settings,
    timeline::{EventKind, Timeline},
    trace_segments::{ColdStart, Segments},
};
use crate::{Failure, StreamPart, ids::new_request_id};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use bytes::Bytes;
use std::time::{Instant, UNIX_EPOCH};
use tokio::sync::mpsc;

/// A started invocation.
pub(crate) struct Invocation {
    job: Job,
    pub(crate) clock: Clock,
    /// Whether the runtime has the event.
    pub(crate) sent: bool,
    /// Its deadline has passed, and what follows from that is done.
    pub(crate) overdue: bool,
    /// Lambda's segments of it are complete.
    ended: bool,
    stage: Stage,
    segments: Segments,
    /// The first failure. The caller may still have a response, if the failure came afterwards.
    failure: Option<Failure>,
    /// When the runtime got the event.
    started: Option<Instant>,
    cold_start: Option<ColdStart>,
    log: PlatformLog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// The runtime is writing its response.
    Posting,
    /// The connection broke off in the middle of the response.
    Truncated,
    Posted,
    /// The deadline has passed.
    TimedOut,
}

impl Invocation {
    pub(crate) fn new(settings: &Settings, mut job: Job, cold_start: Option<ColdStart>, log: PlatformLog) -> Self {
        let mut segments = Segments::new(&job.trace, &job.request_id, &job.event, job.received);
        segments.begin(settings, cold_start);
        // After the segments: the first of them has the schema compiled.
        let clock = job.start_clock(settings);
        Self {
            job,
            clock,
            sent: false,
            overdue: false,
            ended: false,
            stage: Stage::Running,
            segments,
            failure: None,
            started: None,
            cold_start,
            log,
        }
    }

    /// The runtime gets the event.
    pub(crate) fn start(&mut self, settings: &Settings) {
        self.sent = true;
        self.started = Some(Instant::now());
        self.log.start(settings, &self.job.request_id);
    }

    /// The response to the runtime's poll.
    pub(crate) fn next_event(&self, settings: &Settings) -> NextEvent {
        let deadline = self.clock.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let event = &self.job.event;
        let fields = [
            ("lambda-runtime-aws-request-id", Some(self.job.request_id.clone())),
            // One attempt of the request; runtimes return it with the response.
            ("lambda-runtime-invocation-id", Some(new_request_id())),
            ("lambda-runtime-deadline-ms", Some(deadline.to_string())),
            ("lambda-runtime-invoked-function-arn", Some(settings.arn())),
            ("lambda-runtime-trace-id", self.job.trace.header.clone()),
            ("lambda-runtime-client-context", event.client_context.clone()),
            ("lambda-runtime-aws-tenant-id", event.tenant_id.clone()),
        ];
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in fields {
            let Some(value) = value else { continue };
            match HeaderValue::from_bytes(value.as_bytes()) {
                Ok(value) => drop(headers.insert(HeaderName::from_static(name), value)),
                Err(error) => {
                    tracing::warn!(%error, name, "left out: the value cannot be sent in a header");
                }
            }
        }
        NextEvent { headers, payload: event.payload.clone() }
    }

    /// The event for an extension that subscribes to INVOKE.
    pub(crate) fn extension_event(&self, settings: &Settings) -> serde_json::Value {
        serde_json::json!({
            "eventType": "INVOKE",
            "deadlineMs": self.clock.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
            "requestId": self.job.request_id,
            "invokedFunctionArn": settings.arn(),
            "tracing": { "type": "X-Amzn-Trace-Id", "value": self.job.trace.header.as_deref().unwrap_or_default() },
        })
    }

    /// Sets the receiver of a stream in progress, if there is one.
    pub(crate) fn post_begins(&mut self, kind: PostKind) -> Result<Option<mpsc::Sender<StreamPart>>, ApiError> {
        match self.stage {
            Stage::Running => {
                self.stage = Stage::Posting;
                let stream = self.job.stream.take().filter(|_| kind == PostKind::Streamed);
                if let Some(stream) = &stream {
                    let (request_id, trace_id) = (self.job.request_id.clone(), self.job.trace.root.clone());
                    // Nothing is in the channel yet.
                    let _ = stream.try_send(StreamPart::Begun { request_id, trace_id });
                }
                Ok(stream)
            }
            Stage::TimedOut => Err(ApiError::gone()),
            Stage::Posting | Stage::Truncated => Err(ApiError::invalid_state("InvocationResponse", "InvocationResponse")),
            Stage::Posted => Err(ApiError::invalid_state("ResponseSent", "InvocationResponse")),
        }
    }

    pub(crate) fn post_ends(
        &mut self,
        post: Post,
        environment: u32,
        settings: &Settings,
        timeline: &Timeline,
    ) -> Result<(), ApiError> {
        let streamed = post.kind == PostKind::Streamed;
        let id = self.job.request_id.clone();
        if streamed {
            let error_type = match &post.outcome {
                Outcome::Error(error) => Some(error.error_type.clone()),
                Outcome::Truncated => Some("Runtime.TruncatedResponse".to_owned()),
                Outcome::TooLarge => Some("Function.ResponseSizeTooLarge".to_owned()),
                Outcome::Response(_) | Outcome::Refused(_) => None,
            };
            timeline.write(environment, Some(&id), EventKind::StreamEnded { bytes: post.bytes, error_type });
        }
        let (result, refused) = match post.outcome {
            _ if self.stage == Stage::TimedOut => (None, Some(ApiError::gone())),
            // The end of a process says more than the connection it left behind: its end, or the deadline, decides.
            Outcome::Truncated => (None, Some(ApiError::truncated())),
            Outcome::Response(body) => (Some(Ok(body)), None),
            Outcome::Error(error) => {
                let (error_type, error_message) = (error.error_type, error.error_message);
                (Some(Err(Failure::Function { error_type, error_message })), None)
            }
            Outcome::TooLarge | Outcome::Refused(PostFault::TooLarge) => {
                (Some(Err(Failure::TooLarge)), Some(ApiError::too_large()))
            }
            Outcome::Refused(PostFault::Late) => (Some(Err(timed_out(self.job.timeout(settings)))), Some(ApiError::gone())),
            Outcome::Refused(_) => {
                let (error_type, error_message) = ("Runtime.InvalidResponse".to_owned(), "The response was refused".to_owned());
                (Some(Err(Failure::Function { error_type, error_message })), Some(ApiError::invalid_request_id()))
            }
        };
        let status = refused.as_ref().map_or(202, |refused| refused.status.as_u16());
        let error = post.kind == PostKind::Error;
        timeline.write(environment, Some(&id), EventKind::ResponseIn { status, bytes: post.bytes, error });
        match result {
            Some(result) => {
                self.stage = Stage::Posted;
                self.respond(result, streamed, settings);
            }
            None if self.stage == Stage::Posting => self.stage = Stage::Truncated,
            None => {}
        }
        refused.map_or(Ok(()), Err)
    }

    fn respond(&mut self, result: Result<Bytes, Failure>, streamed: bool, settings: &Settings) {
        self.segments.responded();
        if let (Err(failure), None) = (&result, &self.failure) {
            self.failure = Some(failure.clone());
        }
        self.end_with_response(settings);
        self.job.respond(result, streamed);
    }

    /// The runtime requests its next event, which is allowed only once it has responded to this one.
    pub(crate) fn next_called(&mut self, settings: &Settings) -> Result<(), ApiError> {
        match self.stage {
            Stage::Posted => Ok(()),
            Stage::Running | Stage::Posting => Err(ApiError::invalid_state("Running", "Ready")),
            Stage::TimedOut => Err(ApiError::gone()),
            Stage::Truncated => {
                let (error_type, error_message) =
                    ("Runtime.TruncatedResponse".to_owned(), "The response was truncated".to_owned());
                self.stage = Stage::Posted;
                self.respond(Err(Failure::Function { error_type, error_message }), true, settings);
                Ok(())
            }
        }
    }

    pub(crate) fn is_posted(&self) -> bool {
        self.stage == Stage::Posted
    }

    /// The runtime has nothing more to write for it.
    pub(crate) fn is_written(&self) -> bool {
        !matches!(self.stage, Stage::Running | Stage::Posting)
    }

    /// The deadline has passed. A response that the caller already has stays.
    pub(crate) fn time_out(&mut self, settings: &Settings) {
        self.stage = Stage::TimedOut;
        self.fail(timed_out(self.job.timeout(settings)), settings);
    }

    /// The process will not go on with it.
    pub(crate) fn fail(&mut self, failure: Failure, settings: &Settings) {
        self.failure.get_or_insert_with(|| failure.clone());
        self.end_with_response(settings);
        self.job.respond(Err(failure), false);
    }

    /// With several invocations at once, Lambda's segments end with the response, because any of them could be the one that a `/next` ends.
    fn end_with_response(&mut self, settings: &Settings) {
        if settings.managed {
            self.end(settings);
        }
    }

    /// The runtime and the extensions are done with it, or gone.
    pub(crate) fn end(&mut self, settings: &Settings) {
        if !std::mem::replace(&mut self.ended, true) {
            self.segments.end(settings, self.failure.as_ref());
            let report = Report {
                request_id: &self.job.request_id,
                timeout: self.job.timeout(settings),
                trace: &self.job.trace,
                took: self.started.map(|started| started.elapsed()).unwrap_or_default(),
                cold_start: self.cold_start,
                failure: self.failure.as_ref(),
            };
            self.log.report(settings, &report);
        }
    }
}
