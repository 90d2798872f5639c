//! The report, as Markdown and as JUnit's XML.

use crate::{
    acts::{ACTS, NOT_WALKED},
    assertions::ASSERTIONS,
    checks::{Verdict, reported},
    metrics::{Metric, written},
    observed::{Observed, Question, Seen},
    parts::Part,
};
use serde_json::Value;
use std::{collections::BTreeSet, fmt::Write, fs, io, path::Path, process::Command};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// US dollars, of us-east-1 and arm64: <https://aws.amazon.com/lambda/pricing/>, <https://aws.amazon.com/xray/pricing/>,
/// <https://aws.amazon.com/sqs/pricing/> and <https://aws.amazon.com/cloudwatch/pricing/>, November 2026, without the free tiers.
const REQUEST: f64 = 0.20 / 1e6;
const GIGABYTE_SECOND: f64 = 0.000_013_333_4;
const TRACE: f64 = 5.0 / 1e6;
const LOG_GIGABYTE: f64 = 0.50;
/// Metrics are charged by the hour in which they have values.
const METRIC_HOUR: f64 = 0.30 / 720.0;

/// Of `GetMetricData`.
const METRIC_ASKED: f64 = 0.01 / 1e3;

/// Invocations of the hops and the questions, with as many retries as there can be.
const FURTHER_INVOCATIONS: f64 = 24.0;
/// Metrics of the functions behind the hops and the questions.
const FURTHER_METRICS: f64 = 40.0;

/// What a run is about, and what came of it.
pub(crate) struct Report {
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) results: Vec<(&'static str, Verdict)>,
    rows: Vec<String>,
    times: Vec<String>,
    questions: Vec<Question>,
    date: String,
}

impl Report {
    pub(crate) fn new(region: &str, observed: &Observed) -> Self {
        let results = ASSERTIONS.iter().map(|assertion| (assertion.id, (assertion.check)(observed))).collect();
        let date = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let facts = vec![
            ("date", date.clone()),
            ("region", region.to_owned()),
            ("lambda-lifecycle", version(include_str!("../../../Cargo.toml"), "version = \"")),
            ("rustc", rustc()),
            ("template", version(include_str!("../../template.yaml"), "    Version: ")),
            ("estimated cost of the run, at list prices of us-east-1", format!("{:.6} USD", cost(observed))),
        ];
        let (rows, times) = (rows(observed), times(observed));
        Self { facts, results, rows, times, questions: observed.questions.clone(), date }
    }

    /// The ids of the assertions that fail.
    pub(crate) fn failed(&self) -> Vec<&'static str> {
        self.results.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Failed(_))).map(|(id, _)| *id).collect()
    }

    fn skipped(&self) -> usize {
        self.results.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Skipped(_))).count()
    }

    pub(crate) fn markdown(&self) -> String {
        let (failed, skipped) = (self.failed().len(), self.skipped());
        let passed = self.results.len() - failed - skipped;
        let mut text = format!("# Verification: {passed} passed, {failed} failed, {skipped} skipped\n\n| | |\n|---|---|\n");
        for (key, value) in &self.facts {
            let _ = writeln!(text, "| {key} | {} |", cell(value));
        }
        text.push_str("\n## Asserted\n\n| assertion | claim | read from | result |\n|---|---|---|---|\n");
        for (assertion, (id, verdict)) in ASSERTIONS.iter().zip(&self.results) {
            let shown = match verdict {
                Verdict::Passed => "passed".to_owned(),
                Verdict::Failed(reason) => format!("**failed**: {}", cell(reason)),
                Verdict::Skipped(reason) => format!("skipped: {reason}"),
            };
            let _ = writeln!(text, "| `{id}` | {} | {} | {shown} |", assertion.claim, assertion.source);
        }
        text.push_str("\n## Outcomes walked\n\n| outcome | traced | not sampled | PassThrough | Managed Instances |\n|---|---|---|---|---|\n");
        self.rows.iter().for_each(|row| text.push_str(row));
        text.push_str("\n## Times\n\n| act | the caller waited (ms) | duration (ms) | billed (ms) |\n|---|---|---|---|\n");
        self.times.iter().for_each(|row| text.push_str(row));
        text.push_str("\n## Reported, not asserted\n\n| question | seen |\n|---|---|\n");
        for Question { asked, seen } in &self.questions {
            let _ = writeln!(text, "| {asked} | {} |", cell(seen));
        }
        text
    }

    pub(crate) fn junit(&self) -> String {
        let (tests, failures, skipped) = (self.results.len(), self.failed().len(), self.skipped());
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"verify\" tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\" timestamp=\"{}\">\n  <properties>\n",
            self.date
        );
        for (key, value) in &self.facts {
            let _ = writeln!(text, "    <property name=\"{}\" value=\"{}\"/>", escape(key), escape(value));
        }
        text.push_str("  </properties>\n");
        for (assertion, (id, verdict)) in ASSERTIONS.iter().zip(&self.results) {
            let _ = write!(text, "  <testcase classname=\"{}\" name=\"{id}\">", escape(assertion.source));
            match verdict {
                Verdict::Passed => {}
                Verdict::Failed(reason) => drop(write!(text, "<failure message=\"{}\"/>", escape(reason))),
                Verdict::Skipped(reason) => drop(write!(text, "<skipped message=\"{}\"/>", escape(reason))),
            }
            text.push_str("</testcase>\n");
        }
        text.push_str("</testsuite>\n");
        text
    }

    /// Writes `verify.md` and `verify.xml`.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("verify.md"), self.markdown())?;
        fs::write(folder.join("verify.xml"), self.junit())
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    escaped.chars().filter(|c| !c.is_control()).collect()
}

/// What follows `key` in the first line that begins with it.
fn version(text: &str, key: &str) -> String {
    let found = text.lines().find_map(|line| line.strip_prefix(key));
    found.map_or_else(|| "unknown".to_owned(), |rest| rest.trim_matches(['"', '\'', ' ']).to_owned())
}

/// The compiler of this machine, which builds the functions.
fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output().ok().filter(|output| output.status.success());
    output.map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A row for each documented outcome: where it was walked, or why it was not.
fn rows(observed: &Observed) -> Vec<String> {
    let walked = ACTS.iter().filter_map(|act| Some((act.row?, act.label)));
    let mut rows: Vec<String> = walked
        .map(|(row, label)| {
            let cells = [Part::Traced, Part::NotSampled, Part::PassThrough, Part::Managed].map(|part| {
                let is_walked = observed.environments.get(&part).is_some_and(|acts| acts.contains_key(label));
                if is_walked { "walked" } else { "" }
            });
            format!("| {row} | {} |\n", cells.join(" | "))
        })
        .collect();
    rows.extend(NOT_WALKED.map(|(row, reason)| format!("| {row} | no: {reason} | | | |\n")));
    rows
}

fn times(observed: &Observed) -> Vec<String> {
    let row = |label: &str, seen: &Seen| {
        let reported = |metric| reported(seen, metric).map_or_else(|| "unknown".to_owned(), |found| format!("{found}"));
        let waited = seen.invoked.waited.as_secs_f64() * 1e3;
        format!("| {label} | {waited:.1} | {} | {} |\n", reported("durationMs"), reported("billedDurationMs"))
    };
    observed.environments.get(&Part::Traced).into_iter().flatten().map(|(label, seen)| row(label, seen)).collect()
}

fn cost(observed: &Observed) -> f64 {
    let seen = || observed.environments.values().flat_map(|acts| acts.values());
    let gigabyte_seconds = |seen: &Seen| {
        let memory = reported(seen, "memorySizeMB").unwrap_or(0.0);
        reported(seen, "billedDurationMs").unwrap_or(0.0) / 1e3 * memory / 1024.0
    };
    let computed: f64 = seen().map(gigabyte_seconds).sum();
    let logged: usize =
        seen().flat_map(|seen| seen.lines.iter().chain(&seen.sent)).map(|line: &Value| line.to_string().len()).sum();
    let invocations = seen().count() as f64 + FURTHER_INVOCATIONS;
    let metrics: BTreeSet<Metric> = seen().flat_map(Seen::metrics).flat_map(written).map(|written| written.metric).collect();
    let asked = observed.counted.as_ref().map_or(0, |counted| counted.asked);
    invocations * (REQUEST + TRACE)
        + computed * GIGABYTE_SECOND
        + logged as f64 / 1e9 * LOG_GIGABYTE
        + (metrics.len() as f64 + FURTHER_METRICS) * METRIC_HOUR
        + asked as f64 * METRIC_ASKED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_counted_once_for_each_value_of_its_dimensions() {
        let line = |outcome: &str| {
            serde_json::json!({
                "_aws": { "Timestamp": 1, "CloudWatchMetrics": [
                    { "Namespace": "Shop", "Dimensions": [["service"]], "Metrics": [{ "Name": "ColdStart" }, { "Name": "Faults" }] },
                    { "Namespace": "Shop", "Dimensions": [["service", "outcome"]], "Metrics": [{ "Name": "Invocations" }] },
                ] },
                "service": "orders", "outcome": outcome,
            })
        };
        let lines = [line("responded"), line("failed"), line("responded")];
        let names: BTreeSet<Metric> = lines.iter().flat_map(written).map(|written| written.metric).collect();
        assert_eq!(names.len(), 4, "{names:?}");
    }

    #[test]
    fn the_versions_are_those_of_the_library_and_the_template() {
        let facts = Report::new("nowhere", &Observed::default()).facts;
        let fact = |key: &str| facts.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone()).unwrap();
        assert!(fact("rustc").starts_with("rustc "), "{facts:?}");
        assert_eq!(fact("lambda-lifecycle"), fact("template"));
        assert!(fact("template").split('.').count() == 3, "{facts:?}");
    }
}
