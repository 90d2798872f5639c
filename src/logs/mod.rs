#![doc = include_str!("../links.md")]
#![doc = include_str!("../../docs/logs.md")]
//!
//! # Levels and format
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `AWS_LAMBDA_LOG_FORMAT` | `JSON` or `Text` | `Text` |
//! | `RUST_LOG` | levels by target: `info,my_crate=debug` | |
//! | `AWS_LAMBDA_LOG_LEVEL` | `TRACE` to `FATAL`, where `RUST_LOG` is not set | `INFO` |
//!
//! `RUST_LOG` has levels by target only. A directive for spans or fields is ignored, and a warning names it. If `RUST_LOG` is
//! set, `AWS_LAMBDA_LOG_LEVEL` is ignored.
//!
//! The log and the trace have separate filters: no log level disables the trace. See [Lambda's advanced logging
//! controls](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html).
//!
#![doc = include_str!("../../docs/warnings.md")]

mod fields;
mod layer;
mod levels;
mod line;
mod records;
mod scope;

pub(crate) use layer::{layer, layer_is_taken};
pub(crate) use records::{normalized, take as take_records};
pub(crate) use scope::{Scope, is_recorded, keep, record};

pub(crate) use crate::invocation::write_lines;

use crate::{
    directives,
    durable::EXECUTION,
    environment::variable,
    notice::Problem,
    settings::{LogKeys, Settings},
    xray::Redactor,
};
use levels::{Fate, Levels};
use line::{Format, Keys, Origin, Place};
use scope::is_own;
use std::cell::RefCell;
use tracing::{Event, Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::filter::Targets;

/// The largest buffer that a thread keeps for its lines.
const LONGEST_KEPT: usize = 256 * 1024;

/// Writes log lines to standard output, where Lambda collects them.
pub(crate) struct Log {
    format: Format,
    levels: Levels,
    span_fields: bool,
    // For lines outside of an invocation.
    redactor: Option<Redactor>,
    keys: LogKeys,
}

impl Log {
    /// True for events that become lines, always or in some invocations.
    pub(crate) fn wants(&self, metadata: &Metadata<'_>) -> bool {
        // The handler's layer logs the handler's errors, once and with their type.
        let twice = || metadata.target() == "lambda_runtime::layers::panic";
        metadata.is_event() && !twice() && self.levels.may_want(metadata)
    }

    /// True for spans whose fields are added to the lines inside of them. Those of INFO and above count at every level of the
    /// log, so that a warning has its context too. Others depend on their level. Spans of a disabled target never count.
    pub(crate) fn keeps(&self, metadata: &Metadata<'_>) -> bool {
        if !metadata.is_span() || metadata.fields().is_empty() || is_own(metadata) {
            return false;
        }
        // Without the fields of spans, only a replay is of interest.
        if !self.span_fields && metadata.name() != EXECUTION {
            return false;
        }
        // `lambda_runtime` has a span whose fields are those of every line.
        let (target, info) = (metadata.target(), *metadata.level() <= Level::INFO);
        let level = if info { Level::ERROR } else { *metadata.level() };
        let of_runtime = target.strip_prefix("lambda_runtime").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        !of_runtime && self.levels.would_enable(target, level)
    }

    pub(crate) fn max_level(&self) -> LevelFilter {
        let highest = self.levels.highest();
        if self.span_fields && highest > LevelFilter::OFF { highest.max(LevelFilter::INFO) } else { highest }
    }

    /// Writes the line of an event, or has its invocation keep it. An error has the invocation write what it has kept before.
    pub(crate) fn event(&self, event: &Event<'_>, metadata: &Metadata<'_>, scope: impl FnOnce() -> Scope) {
        thread_local! { static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) }; }
        if !self.wants(metadata) {
            return;
        }
        let mut scope = scope();
        // An earlier invocation of the durable execution has written this line. The library's own are about this one.
        if !is_own(metadata) && scope::event_replays(event).unwrap_or(scope.replays) {
            return;
        }
        if !self.span_fields {
            scope.fields.clear();
        }
        let place = Place::of(metadata, &scope);
        let invocation = place.invocation.as_ref();
        let fate = if self.levels.is_always(metadata) { Fate::Write } else { self.levels.fate(metadata, invocation) };
        match (fate, invocation) {
            (Fate::Ignore, _) => return,
            (Fate::Write, Some(invocation)) if *metadata.level() == Level::ERROR => invocation.release_lines(),
            _ => {}
        }
        let is_kept = fate == Fate::Keep;
        let origin = Origin { event, metadata, scope: &scope, place: &place, is_kept };
        let write = |line: &mut Vec<u8>| {
            line.clear();
            line.shrink_to(LONGEST_KEPT);
            self.format.write(line, &origin, Keys { redactor: self.redactor.as_ref(), keys: &self.keys });
            if !invocation.is_some_and(|invocation| is_kept && invocation.keep_line(line)) {
                write_lines(line);
            }
        };
        // A user's `Debug` may log while the line is being written, and a thread may log when it ends.
        let written = LINE.try_with(|line| line.try_borrow_mut().map(|mut line| write(&mut line)).is_ok());
        if !written.unwrap_or(false) {
            write(&mut Vec::new());
        }
    }
}

/// The log as the environment configures it, and the invalid settings.
pub(crate) fn from_env(settings: &Settings) -> (Log, Vec<Problem>) {
    let mut problems = Vec::new();
    let format = match variable("AWS_LAMBDA_LOG_FORMAT") {
        Some(format) if format.eq_ignore_ascii_case("json") => Format::Json,
        Some(format) if !format.eq_ignore_ascii_case("text") => {
            problems.push(Problem::invalid("AWS_LAMBDA_LOG_FORMAT", &format, "JSON or Text"));
            Format::Text
        }
        _ => Format::Text,
    };
    let always = match variable("RUST_LOG") {
        Some(text) => {
            directives::parse("RUST_LOG", &text, &mut problems).unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
        }
        None => Targets::new().with_default(lambda_level(&mut problems)),
    };
    let (span_fields, redactor, keys) = (settings.log_span_fields, settings.redactor.clone(), settings.log_keys.clone());
    let levels = Levels { always, sampled: settings.log_sampled.clone(), kept: settings.log_buffer.clone() };
    (Log { format, levels, span_fields, redactor, keys }, problems)
}

fn lambda_level(problems: &mut Vec<Problem>) -> LevelFilter {
    let Some(level) = variable("AWS_LAMBDA_LOG_LEVEL") else { return LevelFilter::INFO };
    match level.to_ascii_uppercase().as_str() {
        "TRACE" => LevelFilter::TRACE,
        "DEBUG" => LevelFilter::DEBUG,
        "INFO" => LevelFilter::INFO,
        "WARN" => LevelFilter::WARN,
        "ERROR" | "FATAL" => LevelFilter::ERROR,
        _ => {
            problems.push(Problem::invalid("AWS_LAMBDA_LOG_LEVEL", &level, "TRACE, DEBUG, INFO, WARN, ERROR or FATAL"));
            LevelFilter::INFO
        }
    }
}
