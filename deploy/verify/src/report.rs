//! The report, as Markdown and as JUnit's XML.

use crate::{assertions::ASSERTIONS, walk::Observed};
use std::{fmt::Write, fs, io, path::Path};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// US dollars, of us-east-1 and arm64: <https://aws.amazon.com/lambda/pricing/>, <https://aws.amazon.com/xray/pricing/> and
/// <https://aws.amazon.com/cloudwatch/pricing/>, November 2026, without the free tiers.
const REQUEST: f64 = 0.20 / 1e6;
const GIGABYTE_SECOND: f64 = 0.000_013_333_4;
const TRACE: f64 = 5.0 / 1e6;
const LOG_GIGABYTE: f64 = 0.50;

/// What a run is about, and what came of it.
pub(crate) struct Report {
    pub(crate) region: String,
    pub(crate) results: Vec<(&'static str, Result<(), String>)>,
    pub(crate) notes: Vec<String>,
    pub(crate) cost: f64,
    pub(crate) date: String,
}

impl Report {
    pub(crate) fn new(region: &str, observed: &Observed) -> Self {
        let results = ASSERTIONS.iter().map(|assertion| (assertion.id, (assertion.check)(observed))).collect();
        let date = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        Self { region: region.to_owned(), results, notes: notes(observed), cost: cost(observed), date }
    }

    /// The ids of the assertions that fail.
    pub(crate) fn failed(&self) -> Vec<&'static str> {
        self.results.iter().filter(|(_, result)| result.is_err()).map(|(id, _)| *id).collect()
    }

    pub(crate) fn markdown(&self) -> String {
        let failed = self.failed().len();
        let passed = self.results.len() - failed;
        let mut text = format!("# Verification: {passed} passed, {failed} failed\n\n");
        let version = env!("CARGO_PKG_VERSION");
        let _ =
            writeln!(text, "| | |\n|---|---|\n| date | {} |\n| region | {} |\n| verify | {version} |", self.date, self.region);
        let _ = writeln!(text, "| cost of the invocations, at list prices | {:.6} USD |\n", self.cost);
        let _ = writeln!(text, "| assertion | claim | read from | result |\n|---|---|---|---|");
        for (assertion, (id, result)) in ASSERTIONS.iter().zip(&self.results) {
            let shown = result
                .as_ref()
                .map_or_else(|reason| format!("**failed**: {}", reason.replace('|', "\\|")), |()| "passed".to_owned());
            let _ = writeln!(text, "| `{id}` | {} | {} | {shown} |", assertion.claim, assertion.source);
        }
        let _ = writeln!(text, "\nReported, not asserted:\n");
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    pub(crate) fn junit(&self) -> String {
        let failures = self.failed().len();
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"verify\" tests=\"{}\" failures=\"{failures}\" timestamp=\"{}\">\n",
            self.results.len(),
            self.date
        );
        for (assertion, (id, result)) in ASSERTIONS.iter().zip(&self.results) {
            let _ = write!(text, "  <testcase classname=\"{}\" name=\"{id}\">", escape(assertion.source));
            if let Err(reason) = result {
                let _ = write!(text, "<failure message=\"{}\"/>", escape(reason));
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

fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    escaped.chars().filter(|c| !c.is_control()).collect()
}

/// What is not known of AWS, and is therefore reported.
fn notes(observed: &Observed) -> Vec<String> {
    let documents = observed.worker_traces.iter().flat_map(|trace| &trace.documents);
    let own: usize = documents.filter(|document| document.origin.is_none()).map(|document| document.links.len()).sum();
    let sent: usize = observed.acts.values().map(|seen| seen.sent.len()).sum();
    let reports = observed.acts.values().flat_map(|seen| &seen.lines).filter(|line| line["type"] == "platform.report");
    let header = reports.clone().find_map(|line| line["record"]["tracing"]["value"].as_str()).unwrap_or("not reported");
    vec![
        format!("Links of the library's own documents that X-Ray shows in the worker's traces: {own}."),
        format!("Documents that the functions logged as sent: {sent}."),
        format!("Invocations with a platform.report: {}.", reports.clone().count()),
        format!("A trace header in platform.report: `{header}`."),
    ]
}

fn cost(observed: &Observed) -> f64 {
    let reports = observed.acts.values().flat_map(|seen| &seen.lines).filter(|line| line["type"] == "platform.report");
    let gigabyte_seconds = |line: &serde_json::Value| {
        let metrics = &line["record"]["metrics"];
        metrics["billedDurationMs"].as_f64().unwrap_or(0.0) / 1e3 * metrics["memorySizeMB"].as_f64().unwrap_or(0.0) / 1024.0
    };
    let computed: f64 = reports.map(gigabyte_seconds).sum();
    let lines = observed.acts.values().flat_map(|seen| seen.lines.iter().chain(&seen.sent));
    let logged: usize = lines.map(|line| line.to_string().len()).sum();
    // The two orders, their worker's invocations, and at most as many retries.
    let invocations = observed.acts.len() + 6;
    invocations as f64 * (REQUEST + TRACE) + computed * GIGABYTE_SECOND + logged as f64 / 1e9 * LOG_GIGABYTE
}
