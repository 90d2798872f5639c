//! Lambda's own two segments of a sampled invocation.

use super::{
    settings::{ACCOUNT, Settings},
    trace_header::{Incoming, Trace},
};
use crate::{Event, Failure, ids::new_segment_id};
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// X-Ray takes this many linked traces of one segment.
const MOST_LINKS: usize = 20;

/// The phases before the first invocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColdStart {
    pub(crate) phase: &'static str,
    pub(crate) from: SystemTime,
    pub(crate) to: SystemTime,
}

/// The phases of one invocation as Lambda's segments show them.
#[derive(Debug)]
pub(crate) struct Segments {
    trace: Trace,
    request_id: String,
    links: Vec<Value>,
    /// When the caller's request came in.
    received: SystemTime,
    /// The cold start this invocation had to wait for, or profited from first.
    cold_start: Option<ColdStart>,
    began: SystemTime,
    responded: Option<SystemTime>,
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
            cold_start: None,
            began: received,
            responded: None,
        }
    }

    /// The runtime has the event: both segments are in progress.
    pub(crate) fn begin(&mut self, settings: &Settings, cold_start: Option<ColdStart>) {
        self.cold_start = cold_start;
        self.began = SystemTime::now();
        self.put(settings, None);
    }

    pub(crate) fn responded(&mut self) {
        self.responded.get_or_insert_with(SystemTime::now);
    }

    /// The invocation is over, for the reason that its caller got.
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
            "aws": { "request_id": self.request_id },
        });
        if let Some(segment) = segment.as_object_mut() {
            if let Some(parent) = &self.trace.parent {
                segment.insert("parent_id".into(), json!(parent));
            }
            if !self.links.is_empty() {
                segment.insert("links".into(), json!(self.links));
            }
            if end.is_some() {
                // The Invoke API responds with 200 for a function that failed, too.
                segment.insert("http".into(), json!({ "response": { "status": 200 } }));
            }
            finish(segment, end.map(|(over, failure)| (self.responded.unwrap_or(over), failure)));
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
            "aws": {
                "account_id": ACCOUNT,
                "function_arn": settings.arn(),
                "cloudwatch_logs": [{ "log_group": settings.log_group() }],
                "resource_names": [settings.name],
            },
        });
        if let Some(segment) = segment.as_object_mut() {
            if let Some((over, _)) = end {
                segment.insert("subsegments".into(), Value::Array(self.phases(&settings.arn(), over)));
            }
            finish(segment, end);
        }
        segment
    }

    /// Initialization, or SnapStart's Restore, lies before its segment, as Lambda writes it. Overhead is the time after the response: the last work of the
    /// extensions and the runtime, up to the freeze.
    fn phases(&self, arn: &str, over: SystemTime) -> Vec<Value> {
        let responded = self.responded.unwrap_or(over);
        let phase = |name: &str, from: SystemTime, to: SystemTime| {
            json!({
                "name": name,
                "id": new_segment_id(),
                "start_time": seconds(from),
                "end_time": seconds(to.max(from)),
                "aws": { "function_arn": arn },
            })
        };
        let mut phases = Vec::new();
        if let Some(ColdStart { phase: name, from, to }) = self.cold_start {
            phases.push(phase(name, from, to));
        }
        phases.push(phase("Invocation", self.began, responded));
        phases.push(phase("Overhead", responded, over));
        phases
    }
}

fn finish(segment: &mut Map<String, Value>, end: Option<(SystemTime, Option<&Failure>)>) {
    let Some((over, failure)) = end else {
        segment.insert("in_progress".into(), json!(true));
        return;
    };
    segment.insert("end_time".into(), json!(seconds(over)));
    match failure {
        Some(Failure::TimedOut { .. } | Failure::Exited(_) | Failure::OutOfMemory { .. }) => {
            segment.insert("fault".into(), json!(true))
        }
        Some(Failure::Function { .. } | Failure::TooLarge | Failure::Throttled) => segment.insert("error".into(), json!(true)),
        None => None,
    };
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::TraceMode;
    use std::time::Duration;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
    const LINK: &str = "Root=1-5759e988-000000000000000000000001;Parent=00000000000000aa;Sampled=1";

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_500_000_000_000 + millis)
    }

    /// Received at 0, Init from 10 to 50, started at 60, response at 80.
    fn segments(linked: Vec<String>) -> (Settings, Segments) {
        let settings = Settings::new("orders".into(), "bootstrap".into());
        let incoming = format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1");
        let trace = Trace::new(&TraceMode::Active, "orders", Some(&incoming));
        let event = Event { linked, ..Event::default() };
        let mut segments = Segments::new(&trace, "request", &event, at(0));
        segments.cold_start = Some(ColdStart { phase: "Initialization", from: at(10), to: at(50) });
        segments.began = at(60);
        segments.responded = Some(at(80));
        (settings, segments)
    }

    fn names_and_times(document: &Value) -> Vec<(String, f64, f64)> {
        let phases = document["subsegments"].as_array().cloned().unwrap_or_default();
        let time = |phase: &Value, key: &str| ((phase[key].as_f64().unwrap_or(0.0) - 1.5e9) * 1e3).round();
        let row = |phase: &Value| {
            let name = phase["name"].as_str().unwrap_or_default().to_owned();
            (name, time(phase, "start_time"), time(phase, "end_time"))
        };
        phases.iter().map(row).collect()
    }

    #[test]
    fn the_two_segments_hang_together_and_on_the_callers() {
        let (settings, segments) = segments(vec![]);
        let service = segments.service(&settings, Some((at(90), None)));
        let function = segments.function(&settings, Some((at(90), None)));
        assert_eq!(service["parent_id"], "53995c3f42cd8ad8");
        assert_eq!(service["origin"], "AWS::Lambda");
        assert_eq!(service["resource_arn"], settings.arn());
        assert_eq!(service["http"]["response"]["status"], 200);
        assert_eq!(function["parent_id"], service["id"]);
        assert_eq!(function["origin"], "AWS::Lambda::Function");
        assert_eq!((&function["trace_id"], &service["trace_id"]), (&json!(ROOT), &json!(ROOT)));
        assert!(segments.trace.header.as_ref().is_some_and(|header| header.contains(&segments.trace.function_id)));
        assert_eq!(function["id"], segments.trace.function_id);
    }

    #[test]
    fn the_phases_are_before_in_and_after_the_invocation() {
        let (settings, mut segments) = segments(vec![]);
        let expected = |name: &str, from, to| (name.to_owned(), f64::from(from), f64::from(to));
        let phases = names_and_times(&segments.function(&settings, Some((at(90), None))));
        let warm = vec![expected("Invocation", 60, 80), expected("Overhead", 80, 90)];
        assert_eq!(phases, [vec![expected("Initialization", 10, 50)], warm.clone()].concat());
        segments.cold_start = None;
        assert_eq!(names_and_times(&segments.function(&settings, Some((at(90), None)))), warm);
    }

    #[test]
    fn a_segment_is_in_progress_until_its_end() {
        let (settings, segments) = segments(vec![]);
        for document in [segments.service(&settings, None), segments.function(&settings, None)] {
            assert_eq!((&document["in_progress"], &document["end_time"]), (&json!(true), &Value::Null));
        }
        let over = segments.service(&settings, Some((at(90), None)));
        assert_eq!((&over["in_progress"], &over["fault"], &over["error"]), (&Value::Null, &Value::Null, &Value::Null));
        assert!((over["end_time"].as_f64().unwrap_or(0.0) - 1_500_000_000.080).abs() < 1e-6, "ends with the response");
    }

    #[test]
    fn a_kill_is_a_fault_and_a_posted_error_an_error() {
        let (settings, segments) = segments(vec![]);
        let (error_type, error_message) = (String::new(), String::new());
        for (failure, flag) in [
            (Failure::TimedOut { seconds: 3 }, "fault"),
            (Failure::Exited(String::new()), "fault"),
            (Failure::OutOfMemory { memory_mb: 128 }, "fault"),
            (Failure::Function { error_type, error_message }, "error"),
            (Failure::TooLarge, "error"),
        ] {
            for document in [
                segments.service(&settings, Some((at(90), Some(&failure)))),
                segments.function(&settings, Some((at(90), Some(&failure)))),
            ] {
                assert_eq!(document[flag], true, "{failure:?}");
            }
        }
    }

    #[test]
    fn twenty_messages_are_linked_and_malformed_headers_are_not() {
        let mut linked = vec!["junk".to_owned(), format!("Root={ROOT}")];
        linked.extend(std::iter::repeat_n(LINK.to_owned(), 25));
        let (settings, segments) = segments(linked);
        let service = segments.service(&settings, None);
        let link = json!({ "trace_id": "1-5759e988-000000000000000000000001", "id": "00000000000000aa" });
        assert_eq!(service["links"], json!(vec![link; 20]));
    }
}
