//! `ReportBatchItemFailures`, as strict as Lambda: "Configuring partial batch response", AWS Lambda Developer Guide.

use serde_json::Value;

/// The result of a batch, as the function's response says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<T> {
    /// All records are done.
    Success,
    /// These are not.
    Partial(Vec<T>),
    /// Nothing is done, because of this.
    Failure(String),
}

/// Reads a response. `read` makes a record of a batch of an `itemIdentifier`, or says why there is none.
///
/// An object without a list, or with an empty one, and `null` mean success. Everything else that is not a list of identifiers of the
/// batch's records fails the whole batch.
pub(crate) fn failures<T>(response: &[u8], mut read: impl FnMut(&Value) -> Result<T, String>) -> Verdict<T> {
    let response: Value = match serde_json::from_slice(response) {
        Ok(response) => response,
        Err(error) => return Verdict::Failure(format!("the response is not JSON: {error}")),
    };
    let failures = match &response {
        Value::Null => return Verdict::Success,
        Value::Object(fields) => match fields.get("batchItemFailures") {
            None | Some(Value::Null) => return Verdict::Success,
            Some(Value::Array(failures)) if failures.is_empty() => return Verdict::Success,
            Some(Value::Array(failures)) => failures,
            Some(other) => return Verdict::Failure(format!("batchItemFailures is not a list but {other}")),
        },
        other => return Verdict::Failure(format!("the response is not an object: {other}")),
    };
    let identifiers = failures.iter().map(|failure| {
        let identifier = failure.get("itemIdentifier").ok_or_else(|| format!("{failure} has no itemIdentifier"))?;
        read(identifier)
    });
    identifiers.collect::<Result<_, _>>().map_or_else(Verdict::Failure, Verdict::Partial)
}
