//! `ReportBatchItemFailures`, as strict as Lambda: "Handling errors for an SQS event source in Lambda", AWS Lambda Developer Guide.

use serde_json::Value;
use std::collections::HashSet;

/// The result of a batch, as the function's response says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All messages are done.
    Success,
    /// All but these are done.
    Partial(HashSet<String>),
    /// Nothing is done, because of this.
    Failure(String),
}

/// Reads the response to a batch of the messages `ids`.
///
/// An object without a list, or with an empty one, and `null` mean success. Invalid JSON, and a list with an entry that names no message of
/// the batch, fail the whole batch.
pub(super) fn read(answer: &[u8], ids: &[&str]) -> Verdict {
    let answer: Value = match serde_json::from_slice(answer) {
        Ok(answer) => answer,
        Err(error) => return Verdict::Failure(format!("the response is not JSON: {error}")),
    };
    let failures = match &answer {
        Value::Null => return Verdict::Success,
        Value::Object(fields) => match fields.get("batchItemFailures") {
            None | Some(Value::Null) => return Verdict::Success,
            Some(Value::Array(failures)) => failures,
            Some(other) => {
                return Verdict::Failure(format!("batchItemFailures is not a list but {other}"));
            }
        },
        other => return Verdict::Failure(format!("the response is not an object: {other}")),
    };
    let mut failed = HashSet::new();
    for failure in failures {
        match failure.get("itemIdentifier") {
            None => return Verdict::Failure(format!("{failure} has no itemIdentifier")),
            Some(Value::String(id)) if id.is_empty() => {
                return Verdict::Failure("an itemIdentifier is empty".into());
            }
            Some(Value::String(id)) if !ids.contains(&id.as_str()) => {
                return Verdict::Failure(format!("the itemIdentifier {id} is not a message of the batch"));
            }
            Some(Value::String(id)) => {
                failed.insert(id.clone());
            }
            Some(other) => {
                return Verdict::Failure(format!("an itemIdentifier is not a string: {other}"));
            }
        }
    }
    if failed.is_empty() { Verdict::Success } else { Verdict::Partial(failed) }
}
