//! Open questions about AWS, reported without a judgment.

use crate::{
    acts::RESPONDED,
    observed::{Observed, Progress, Question, Seen, see},
    parts::{Header, Part},
    target::{Failure, Target},
};
use serde_json::Value;

const DESCRIBE: &str = r#"{"act":"describe"}"#;

pub(crate) async fn ask(target: &Target, observed: &Observed, progress: Progress<'_>) -> Result<Vec<Question>, Failure> {
    let mut questions = Vec::new();
    let mut add = |asked, seen| questions.push(Question { asked, seen });
    progress("asking what is not known of AWS");

    let own_links = observed.orders.as_ref().map_or(0, |orders| {
        let documents = orders.worker_traces.iter().flat_map(|trace| &trace.documents);
        documents.filter(|document| document.origin.is_none()).map(|document| document.links.len()).sum()
    });
    add("Links of the library's own documents that X-Ray shows", own_links.to_string());

    let plain = &target.plain;
    let described = target.invoke(plain, DESCRIBE, Header::Sampled).await?;
    add("Address of the daemon", described.payload["daemon"].to_string());
    add("MTU of each interface of the function", described.payload["mtus"].to_string());
    if let Some(function) = &target.pass_through {
        for (asked, header) in [
            ("PassThrough's header, from a caller without one", Header::None),
            ("PassThrough's header, from a caller that samples", Header::Sampled),
        ] {
            let described = target.invoke(function, DESCRIBE, header).await?;
            add(asked, described.payload["trace_header"].to_string());
        }
    }

    let many = target.invoke(plain, r#"{"act":"many_spans"}"#, Header::Sampled).await?;
    let many = see(target, plain, many, RESPONDED, false).await?;
    add("Documents of an invocation with 1,000 spans", shown_of_sent(&many));
    let nested = target.invoke(plain, r#"{"act":"nested_spans"}"#, Header::Sampled).await?;
    let nested = see(target, plain, nested, RESPONDED, false).await?;
    add("Nested subsegments", shown_of_sent(&nested));

    if let Some(function) = &target.otlp {
        for (asked, header) in [
            ("Spans of an unsampled invocation that were sent as OTLP (T1U)", Header::NotSampled),
            ("Spans of a sampled invocation that were sent as OTLP (T1S)", Header::Sampled),
        ] {
            let invoked = target.invoke(function, r#"{"act":"nested_spans"}"#, header).await?;
            let trace = target.trace_now(&invoked.trace_id).await?;
            let shown = trace.map_or(0, |trace| trace.documents.iter().filter(|document| document.origin.is_none()).count());
            add(asked, format!("X-Ray shows {shown}"));
        }
    }

    if let Some(blocked) = observed.environments.get(&Part::Traced).and_then(|acts| acts.get("blocked")) {
        let hook = target.count_lines(plain, "the hook at SIGTERM ran").await?;
        let report = blocked.platform("platform.report").map_or(&Value::Null, |report| &report["record"]["status"]);
        add("SIGTERM at a timeout", format!("status {report}; {hook} lines of the hook at SIGTERM, also of other invocations"));
    }
    Ok(questions)
}

fn shown_of_sent(seen: &Seen) -> String {
    let is_shown = |document: &&Value| {
        let id = document["id"].as_str();
        id.is_some_and(|id| seen.trace.as_ref().is_some_and(|trace| trace.document(id).is_some()))
    };
    let shown = seen.sent.iter().filter(is_shown).count();
    let nested = seen.trace.iter().flat_map(|trace| &trace.documents).filter(|document| document.nested).count();
    let left_out = seen.metrics().find_map(|line| line["SpansLeftOut"].as_u64()).unwrap_or(0);
    format!("{} sent, {shown} shown, {nested} shown nested, left out by the library: {left_out}", seen.sent.len())
}
