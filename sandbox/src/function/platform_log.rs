//! The lines Lambda itself writes into a function's log.
//!
//! Text as in CloudWatch, JSON as in "Lambda Telemetry API `Event` schema reference" of AWS' developer guide.

use super::{
    logs::{LogLine, Output},
    settings::Settings,
    trace_header::Trace,
    trace_segments::ColdStart,
};
use crate::{Failure, history::History};
use serde_json::{Map, Value, json};
use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, SystemTime},
};
use time::OffsetDateTime;

/// The log of one process.
#[derive(Clone)]
pub(crate) struct PlatformLog {
    pub(crate) history: Arc<History<LogLine>>,
    pub(crate) environment: u32,
    pub(crate) pid: u32,
}

/// The report of a finished invocation.
pub(crate) struct Report<'a> {
    pub(crate) request_id: &'a str,
    /// The time it was given.
    pub(crate) timeout: Duration,
    pub(crate) trace: &'a Trace,
    pub(crate) took: Duration,
    pub(crate) cold_start: Option<ColdStart>,
    pub(crate) failure: Option<&'a Failure>,
}

impl PlatformLog {
    fn write(&self, text: String) {
        let (at, environment) = (SystemTime::now(), self.environment);
        self.history.write(LogLine { at, environment, output: Output::Platform, text });
    }

    fn write_json(&self, kind: &str, record: &Value) {
        self.write(json!({ "time": timestamp(SystemTime::now()), "type": kind, "record": record }).to_string());
    }

    pub(crate) fn init_start(&self, settings: &Settings) {
        if settings.logs_json() {
            let record = json!({
                "initializationType": settings.initialization_type(),
                "phase": "init",
                "functionName": settings.name,
                "functionVersion": settings.version,
            });
            self.write_json("platform.initStart", &record);
        } else {
            self.write("INIT_START Runtime Version: provided:al2023".to_owned());
        }
    }

    /// The Init phase failed.
    pub(crate) fn init_report(&self, settings: &Settings, took: Duration, suppressed: bool, failure: &Failure) {
        let phase = if suppressed { "invoke" } else { "init" };
        let (status, error_type) = status(Some(failure));
        if settings.logs_json() {
            let mut record = json!({
                "initializationType": settings.initialization_type(),
                "phase": phase,
                "status": status,
                "metrics": { "durationMs": milliseconds(took) },
            });
            if let Some(error_type) = error_type {
                record["errorType"] = json!(error_type);
            }
            self.write_json("platform.initReport", &record);
        } else {
            let mut line = format!("INIT_REPORT Init Duration: {:.2} ms\tPhase: {phase}\tStatus: {status}", milliseconds(took));
            if let Some(error_type) = error_type {
                let _ = write!(line, "\tError Type: {error_type}");
            }
            self.write(line);
        }
    }

    pub(crate) fn start(&self, settings: &Settings, request_id: &str) {
        let version = &settings.version;
        if settings.logs_json() {
            self.write_json("platform.start", &json!({ "requestId": request_id, "version": version }));
        } else {
            self.write(format!("START RequestId: {request_id} Version: {version}"));
        }
    }

    pub(crate) fn report(&self, settings: &Settings, report: &Report<'_>) {
        let metrics = self.metrics(settings, report);
        if settings.logs_json() {
            self.write_json("platform.report", &report.json(&metrics));
            return;
        }
        let request_id = report.request_id;
        match report.failure {
            Some(Failure::TimedOut { .. }) => {
                let (now, seconds) = (timestamp(SystemTime::now()), report.timeout.as_secs_f64());
                self.write(format!("{now} {request_id} Task timed out after {seconds:.2} seconds"));
            }
            Some(Failure::Exited(exit)) => {
                self.write(format!("RequestId: {request_id} Error: Runtime exited with error: {exit}\tRuntime.ExitError"));
            }
            Some(Failure::OutOfMemory { .. }) => {
                self.write(format!(
                    "RequestId: {request_id} Error: Runtime exited with error: signal: killed\tRuntime.ExitError"
                ));
            }
            _ => {}
        }
        self.write(format!("END RequestId: {request_id}"));
        self.write(report.text(&metrics));
    }

    fn metrics(&self, settings: &Settings, report: &Report<'_>) -> Map<String, Value> {
        let mut metrics = Map::new();
        let mut billed = report.took;
        metrics.insert("durationMs".to_owned(), json!(rounded(report.took)));
        if let Some(ColdStart { phase, from, to }) = report.cold_start {
            let took = to.duration_since(from).unwrap_or_default();
            if phase == "Restore" {
                metrics.insert("restoreDurationMs".to_owned(), json!(rounded(took)));
                billed += took;
            } else if settings.is_on_demand() {
                // Billed for all functions since August 2025; Init ahead of requests is billed apart from them.
                metrics.insert("initDurationMs".to_owned(), json!(rounded(took)));
                billed += took;
            }
        }
        if !settings.managed {
            metrics.insert("billedDurationMs".to_owned(), json!(milliseconds(billed).ceil()));
        }
        metrics.insert("memorySizeMB".to_owned(), json!(settings.memory_mb));
        // Of a process that was killed for it, the kernel no longer says so.
        let used = match report.failure {
            Some(Failure::OutOfMemory { memory_mb }) => Some(u64::from(*memory_mb)),
            _ => peak_memory_mb(self.pid),
        };
        if let Some(used) = used {
            metrics.insert("maxMemoryUsedMB".to_owned(), json!(used));
        }
        metrics
    }
}

impl Report<'_> {
    fn json(&self, metrics: &Map<String, Value>) -> Value {
        let (status, error_type) = status(self.failure);
        let mut record = json!({ "requestId": self.request_id, "metrics": metrics, "status": status });
        if let Some(error_type) = error_type {
            record["errorType"] = json!(error_type);
        }
        if self.trace.sampled {
            record["tracing"] =
                json!({ "type": "X-Amzn-Trace-Id", "spanId": self.trace.function_id, "value": self.trace.header });
        }
        record
    }

    fn text(&self, metrics: &Map<String, Value>) -> String {
        let mut line = format!("REPORT RequestId: {}", self.request_id);
        for (key, title, unit) in [
            ("durationMs", "Duration", "ms"),
            ("billedDurationMs", "Billed Duration", "ms"),
            ("memorySizeMB", "Memory Size", "MB"),
            ("maxMemoryUsedMB", "Max Memory Used", "MB"),
            ("initDurationMs", "Init Duration", "ms"),
            ("restoreDurationMs", "Restore Duration", "ms"),
        ] {
            let Some(value) = metrics.get(key).and_then(Value::as_f64) else { continue };
            let digits = if matches!(title, "Duration" | "Init Duration" | "Restore Duration") { 2 } else { 0 };
            let _ = write!(line, "\t{title}: {value:.digits$} {unit}");
        }
        let (status, error_type) = status(self.failure);
        if self.failure.is_some() {
            let _ = write!(line, "\tStatus: {status}");
        }
        if let Some(error_type) = error_type {
            let _ = write!(line, "\tError Type: {error_type}");
        }
        if self.trace.sampled {
            let _ = write!(line, "\tXRAY TraceId: {}\tSegmentId: {}\tSampled: true", self.trace.root, self.trace.function_id);
        }
        line
    }
}

fn status(failure: Option<&Failure>) -> (&'static str, Option<&str>) {
    match failure {
        None => ("success", None),
        Some(Failure::TimedOut { .. }) => ("timeout", None),
        Some(Failure::Exited(_)) => ("error", Some("Runtime.ExitError")),
        Some(Failure::OutOfMemory { .. }) => ("error", Some("Runtime.OutOfMemory")),
        Some(Failure::Function { error_type, .. }) => ("error", Some(error_type)),
        Some(Failure::Throttled) => ("error", Some("TooManyRequestsException")),
        Some(Failure::TooLarge) => ("error", Some("Function.ResponseSizeTooLarge")),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// To a microsecond, as Lambda has it.
fn rounded(duration: Duration) -> f64 {
    (milliseconds(duration) * 1e3).round() / 1e3
}

/// The most memory that the process itself has had; `None` when it is gone, or where there is no `/proc`.
fn peak_memory_mb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes.div_ceil(1024))
}

/// As in `2026-11-21T22:05:00.123Z`.
fn timestamp(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (date, (hour, minute, second, millis)) = (at.date(), at.time().as_hms_milli());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}
