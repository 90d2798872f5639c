//! Lambda's own two segments of a sampled invocation.

use super::{
    builder::{ACCOUNT, Settings},
    trace_header::{Incoming, Trace, new_segment_id},
};
use crate::{Event, Failure};
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// X-Ray takes this many linked traces of one segment.
const MOST_LINKS: usize = 20;

/// The phases of one invocation as Lambda's segments show them.
#[derive(Debug)]
pub(crate) struct Segments {
    trace: Trace,
    request_id: String,
    links: Vec<Value>,
    /// When the caller's request came in.
    received: SystemTime,
    /// The cold start this invocation had to wait for, or profited from first.
    init: Option<(SystemTime, SystemTime)>,
    began: SystemTime,
    answered: Option<SystemTime>,
}

impl Segments {
    pub(crate) fn new(trace: &Trace, request_id: &str, event: &Event, received: SystemTime) -> Self {
        let links = event.linked.iter().filter_map(|header| {
            let came = Incoming::parse(header);
            Some(json!({ "trace_id": came.root?, "id": came.parent? }))
        });
        Self {
            trace: trace.clone(),
            request_id: request_id.to_owned(),
            links: links.take(MOST_LINKS).collect(),
            received,
            init: None,
            began: received,
            answered: None,
        }
    }

    /// The runtime has the event: both segments are in progress.
    pub(crate) fn begin(&mut self, settings: &Settings, init: Option<(SystemTime, SystemTime)>) {
        self.init = init;
        self.began = SystemTime::now();
        self.put(settings, None);
    }

    pub(crate) fn answered(&mut self) {
        self.answered.get_or_insert_with(SystemTime::now);
    }

    /// The invocation is over, for the reason its caller was told.
    pub(crate) fn end(&self, settings: &Settings, failure: Option<&Failure>) {
        self.put(settings, Some((SystemTime::now(), failure)));
    }

    fn put(&self, settings: &Settings, end: Option<(SystemTime, Option<&Failure>)>) {
        if self.trace.sampled {
            settings.traces.put_platform_segment(self.service(settings, end));
            settings.traces.put_platform_segment(self.function(settings, end));
        }
    }

    fn service(&self, settings: &Settings, end: Option<(SystemTime, Option<&Failure>)>) -> Value {
        let mut segment = json!({
            "name": settings.name,
            "id": self.trace.service_id,
            "trace_id": self.trace.root,
            "start_time": seconds(self.received),
            "origin": "AWS::Lambda",
            "resource_arn": settings.arn(),
            "aws": { "request_id": self.request_id, "account_id": ACCOUNT },
        });
        if let Some(segment) = segment.as_object_mut() {
            if let Some(parent) = &self.trace.parent {
                segment.insert("parent_id".into(), json!(parent));
            }
            if !self.links.is_empty() {
                segment.insert("links".into(), json!(self.links));
            }
            if end.is_some() {
                // The Invoke API answers 200 for a function that failed, too.
                segment.insert("http".into(), json!({ "response": { "status": 200 } }));
            }
            finish(segment, end.map(|(over, failure)| (self.answered.unwrap_or(over), failure)));
        }
        segment
    }

    fn function(&self, settings: &Settings, end: Option<(SystemTime, Option<&Failure>)>) -> Value {
        let mut segment = json!({
            "name": settings.name,
            "id": self.trace.function_id,
            "trace_id": self.trace.root,
            "parent_id": self.trace.service_id,
            "start_time": seconds(self.began),
            "origin": "AWS::Lambda::Function",
            "aws": { "account_id": ACCOUNT, "function_arn": settings.arn(), "request_id": self.request_id },
        });
        if let Some(segment) = segment.as_object_mut() {
            if let Some((over, _)) = end {
                segment.insert("subsegments".into(), Value::Array(self.phases(over)));
            }
            finish(segment, end);
        }
        segment
    }

    /// Initialization lies before the segment it is in, as Lambda writes it. Overhead is what follows the answer: the extensions'
    /// and the runtime's last work, up to the freeze.
    fn phases(&self, over: SystemTime) -> Vec<Value> {
        let answered = self.answered.unwrap_or(over);
        let mut phases = Vec::new();
        if let Some((from, to)) = self.init {
            phases.push(phase("Initialization", from, to));
        }
        phases.push(phase("Invocation", self.began, answered));
        phases.push(phase("Overhead", answered, over));
        phases
    }
}

fn phase(name: &str, from: SystemTime, to: SystemTime) -> Value {
    json!({ "name": name, "id": new_segment_id(), "start_time": seconds(from), "end_time": seconds(to.max(from)) })
}

fn finish(segment: &mut Map<String, Value>, end: Option<(SystemTime, Option<&Failure>)>) {
    let Some((over, failure)) = end else {
        segment.insert("in_progress".into(), json!(true));
        return;
    };
    segment.insert("end_time".into(), json!(seconds(over)));
    match failure {
        Some(Failure::TimedOut { .. } | Failure::Exited(_)) => segment.insert("fault".into(), json!(true)),
        Some(Failure::Function { .. } | Failure::TooLarge) => segment.insert("error".into(), json!(true)),
        None => None,
    };
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
