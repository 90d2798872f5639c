//! Durable executions as the durable execution SDK shows them: the names of its spans, its event and its response.
//!
//! The names are a documented contract of the SDK, in its module `observability`. The event and the response are those of
//! [Lambda durable functions](https://docs.aws.amazon.com/lambda/latest/dg/durable-functions.html).

use crate::scan::{elements, members, string};
use opentelemetry::KeyValue;

/// The crate of the SDK, as the root of its targets.
pub(crate) const SDK: &str = "aws_durable_execution_sdk";
/// The span around a handler in one invocation, and around each of its branches.
pub(crate) const EXECUTION: &str = "durable_execution";
/// The span around the body of a step.
pub(crate) const OPERATION: &str = "durable_operation";
/// The field of these spans that is true while results that are already recorded are returned.
pub(crate) const IS_REPLAY: &str = "isReplay";
/// Their field with Lambda's request id.
pub(crate) const REQUEST_ID: &str = "requestId";

/// True for spans and events of the SDK.
pub(crate) fn is_of_sdk(target: &str) -> bool {
    target.strip_prefix(SDK).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Adds the facts of an execution that its event has, as annotations.
pub(crate) fn of_event(event: &[u8], attributes: &mut Vec<KeyValue>) {
    let (mut resumed, mut state) = (false, None);
    for (name, value) in members(event) {
        match name {
            b"DurableExecutionArn" => {
                let arn = string(value).and_then(|arn| std::str::from_utf8(arn).ok());
                if let Some(arn) = arn.filter(|arn| !arn.contains('\\')) {
                    attributes.push(KeyValue::new("annotation.durable_execution_arn", arn.to_owned()));
                }
            }
            b"InitialExecutionState" => state = Some(value),
            _ => {}
        }
    }
    for (name, value) in state.into_iter().flat_map(members) {
        match name {
            // The first operation is the execution itself.
            b"Operations" => resumed |= elements(value).nth(1).is_some(),
            b"NextMarker" => resumed |= string(value).is_some_and(|marker| !marker.is_empty()),
            _ => {}
        }
    }
    attributes.push(KeyValue::new("annotation.durable_resumed", resumed));
}

/// The status of an execution in the response to one of its invocations.
pub(crate) fn status(response: &str) -> Option<&'static str> {
    let status = members(response.as_bytes()).find(|(name, _)| *name == b"Status")?.1;
    ["PENDING", "SUCCEEDED", "FAILED"].into_iter().find(|known| string(status) == Some(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn annotations(event: &Value) -> Vec<(String, String)> {
        let mut attributes = Vec::new();
        of_event(event.to_string().as_bytes(), &mut attributes);
        attributes.into_iter().map(|attribute| (attribute.key.to_string(), attribute.value.to_string())).collect()
    }

    #[test]
    fn an_event_names_its_execution_and_whether_it_is_resumed() {
        let (execution, step) = (json!({ "Id": "e", "Type": "EXECUTION" }), json!({ "Id": "s", "Type": "STEP" }));
        for (state, resumed) in [
            (json!({ "Operations": [execution] }), "false"),
            (json!({ "Operations": [execution, step] }), "true"),
            (json!({ "Operations": [execution], "NextMarker": "page 2" }), "true"),
            (json!({ "Operations": [execution], "NextMarker": "" }), "false"),
            (json!({ "NextMarker": null }), "false"),
            (json!([]), "false"),
        ] {
            let event = json!({ "DurableExecutionArn": "arn:a", "CheckpointToken": "t", "InitialExecutionState": state });
            let arn = ("annotation.durable_execution_arn".to_owned(), "arn:a".to_owned());
            assert_eq!(annotations(&event), [arn, ("annotation.durable_resumed".to_owned(), resumed.to_owned())], "{event}");
        }
        for arn in [json!(1), json!(null), json!("\u{1}")] {
            assert_eq!(annotations(&json!({ "DurableExecutionArn": arn })).len(), 1, "{arn}");
        }
    }

    #[test]
    fn only_known_statuses_are_taken() {
        for (response, expected) in [
            (r#"{"Status":"PENDING"}"#, Some("PENDING")),
            (r#"{"Result":"{\"Status\":\"FAILED\"}","Status":"SUCCEEDED"}"#, Some("SUCCEEDED")),
            (r#"{"Error":{"Status":"x"},"Status":"FAILED"}"#, Some("FAILED")),
            (r#"{"Status":"an order"}"#, None),
            (r#"{"Status":1}"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(status(response), expected, "{response}");
        }
    }

    #[test]
    fn the_sdk_is_told_from_other_crates() {
        assert!(is_of_sdk("aws_durable_execution_sdk") && is_of_sdk("aws_durable_execution_sdk::lifecycle"));
        assert!(!is_of_sdk("aws_durable_execution_sdk_extras") && !is_of_sdk("aws_sdk_lambda"));
    }
}
