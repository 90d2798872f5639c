//! The [client context](https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_RequestSyntax) of a direct invocation.
//!
//! OpenTelemetry's instrumentations of `lambda:Invoke` write the fields into `custom`. AWS's newer runtimes read them from `w3c`.

use super::{
    Fields,
    event::{fields_of, member},
};

/// The bytes of base64 that Lambda accepts.
#[cfg(feature = "aws-sdk")]
const LONGEST_CLIENT_CONTEXT: usize = 3_583;

/// The fields in the JSON of a client context.
pub(crate) fn of_client_context(json: &[u8]) -> Option<Fields<'_>> {
    let context = json.trim_ascii_start();
    [b"custom".as_slice(), b"w3c"].into_iter().find_map(|key| fields_of(member(context, key)?))
}

/// The base64 of `json`, or of a new client context, with as many of the fields as fit. `None` if none fit, if the context
/// already has a parent, or if it is not a JSON object of the expected form.
#[cfg(feature = "aws-sdk")]
pub(crate) fn add_to_client_context(
    json: Option<&[u8]>,
    fields: &Fields<'_>,
    mut left_out: impl FnMut(&'static str),
) -> Option<String> {
    use super::TRACEPARENT;
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde_json::{Map, Value, json};

    let mut context = match json {
        Some(json) => serde_json::from_slice(json).ok()?,
        None => Value::Object(Map::new()),
    };
    let custom = context.as_object_mut()?.entry("custom").or_insert_with(|| json!({}));
    if custom.get(TRACEPARENT).is_some() {
        return None;
    }
    custom.as_object()?;
    let mut written = None;
    for (name, value) in fields.iter() {
        if context["custom"].get(name).is_some() {
            continue;
        }
        context["custom"][name] = json!(value);
        let encoded = BASE64_STANDARD.encode(context.to_string());
        if encoded.len() > LONGEST_CLIENT_CONTEXT {
            context["custom"].as_object_mut()?.remove(name);
            left_out(name);
        } else {
            written = Some(encoded);
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent_in(json: &str) -> Option<String> {
        of_client_context(json.as_bytes())?.traceparent.map(Into::into)
    }

    #[test]
    fn both_conventions_are_read() {
        assert_eq!(parent_in(r#"{"custom":{"traceparent":"p","n":1}}"#).as_deref(), Some("p"));
        assert_eq!(parent_in(r#"{"w3c":{"traceparent":"p","tracestate":""}}"#).as_deref(), Some("p"));
        assert_eq!(parent_in(r#"{"custom":{"a":"b"},"w3c":{"traceparent":"p"}}"#).as_deref(), Some("p"));
        for odd in
            ["", "warm", "null", "[]", "1", "{}", r#"{"custom":null}"#, r#"{"custom":[1]}"#, r#"{"custom":{"traceparent":1}}"#]
        {
            assert_eq!(of_client_context(odd.as_bytes()), None, "{odd}");
        }
    }

    #[cfg(feature = "aws-sdk")]
    mod writing {
        use super::super::*;
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        use serde_json::Value;

        fn write(json: Option<&str>, fields: &Fields<'_>) -> (Option<Value>, Vec<&'static str>) {
            let mut left_out = Vec::new();
            let written = add_to_client_context(json.map(str::as_bytes), fields, |name| left_out.push(name));
            let decoded = written.map(|text| {
                assert!(text.len() <= LONGEST_CLIENT_CONTEXT);
                serde_json::from_slice(&BASE64_STANDARD.decode(text).expect("base64")).expect("JSON")
            });
            (decoded, left_out)
        }

        #[test]
        fn fields_are_added_to_what_is_there() {
            let fields = Fields { traceparent: Some("p".into()), baggage: Some("a=1".into()), ..Fields::default() };
            let custom = serde_json::json!({ "traceparent": "p", "baggage": "a=1" });
            assert_eq!(write(None, &fields).0.expect("a context")["custom"], custom);
            let (context, _) = write(Some(r#"{"client":{"x":1},"custom":{"mine":true}}"#), &fields);
            let context = context.expect("a context");
            assert_eq!((&context["client"]["x"], &context["custom"]["mine"]), (&1.into(), &true.into()));
            assert_eq!(context["custom"]["traceparent"], "p");
        }

        #[test]
        fn what_is_not_ours_stays() {
            let fields = Fields { traceparent: Some("p".into()), ..Fields::default() };
            for json in ["warm", "null", "[]", r#"{"custom":null}"#, r#"{"custom":"x"}"#, r#"{"custom":{"traceparent":"q"}}"#] {
                assert_eq!(write(Some(json), &fields).0, None, "{json}");
            }
            assert_eq!(write(None, &Fields::default()).0, None);
        }

        #[test]
        fn what_does_not_fit_is_left_out() {
            let long = "x".repeat(2_680);
            let fields = Fields {
                traceparent: Some("p".into()),
                tracestate: Some(long.clone().into()),
                baggage: Some("a=1".into()),
                correlation: None,
            };
            let (context, left_out) = write(Some(r#"{"custom":{"mine":1}}"#), &fields);
            assert_eq!(
                context.expect("a context")["custom"],
                serde_json::json!({ "mine": 1, "traceparent": "p", "baggage": "a=1" })
            );
            assert_eq!(left_out, ["tracestate"]);
            let full = serde_json::json!({ "custom": { "mine": "x".repeat(2_660) } }).to_string();
            assert_eq!(write(Some(&full), &fields), (None, vec!["traceparent", "tracestate", "baggage"]));
        }
    }
}
