//! Data that is recorded only when a setting asks for it.

use crate::{
    calls::{ask, batch, call},
    function::{Do, Probe},
    outputs::{Output, Outputs, Way},
    support::{Tested, ensure, test},
};
use lambda_lifecycle_sandbox::function::FunctionBuilder;
use libtest_mimic::Trial;
use std::collections::BTreeSet;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("the group ids of a FIFO queue are recorded where the batch asks for them", group_ids),
        test("lines of the log are in spans where a variable asks for them, past the redactor", events),
        test("the messages of AWS errors are recorded where a variable asks for them, and the codes always", aws_messages),
    ]
}

async fn group_ids() -> Tested {
    let outputs = Outputs::of(vec![call(Probe::SqsWithGroups, &batch())], Way::Plain, |function| function).await?;
    let found = outputs.with("MARKED-message-group-x");
    ensure(found == BTreeSet::from([Output::Datagrams, Output::Exporter]), format!("{found:?}"))
}

async fn events() -> Tested {
    let calls = || vec![ask(Probe::Value, Do::LogInfo, "MARKED")];
    let usual = Outputs::of(calls(), Way::Plain, |function| function).await?;
    ensure(usual.with("MARKED") == BTreeSet::from([Output::LogText]), format!("{:?}", usual.with("MARKED")))?;
    let wanted = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_TRACE_EVENTS", "info");
    let asked = Outputs::of(calls(), Way::Plain, wanted).await?;
    let everywhere = BTreeSet::from([Output::Datagrams, Output::Exporter, Output::LogText]);
    ensure(asked.with("MARKED") == everywhere, format!("{:?}", asked.with("MARKED")))?;
    let redacted = Outputs::of(calls(), Way::Plain, |function| wanted(function).env("REDACT", "1")).await?;
    ensure(redacted.with("MARKED").is_empty(), redacted.example("MARKED"))
}

async fn aws_messages() -> Tested {
    let acts = [Do::AwsJson, Do::AwsXml, Do::AwsJsonTraced, Do::AwsXmlTraced];
    let calls = || acts.map(|act| ask(Probe::Value, act, "MARKED")).into();
    let trace = BTreeSet::from([Output::Datagrams, Output::Exporter]);
    let asked =
        Outputs::of(calls(), Way::Plain, |function| function.env("LAMBDA_LIFECYCLE_TRACE_AWS_ERROR_MESSAGES", "on")).await?;
    ensure(asked.with("MARKED") == trace, format!("{:?}", asked.with("MARKED")))?;
    let usual = Outputs::of(calls(), Way::Plain, |function| function).await?;
    ensure(usual.with("MARKED").is_empty(), usual.example("MARKED"))?;
    for code in ["InvalidMessageContents", "InvalidParameter"] {
        ensure(usual.with(code) == trace, format!("{code} is in {:?}", usual.with(code)))?;
    }
    Ok(())
}
