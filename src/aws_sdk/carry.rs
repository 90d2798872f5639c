//! Adds W3C's fields to the serialized requests of calls that can carry them: in message attributes of SQS and SNS, and in the
//! client context of `lambda:Invoke`.
//!
//! Requests are changed as text, so the clients' types are not needed. Fields that cannot be added are left out, and the call is
//! made anyway.

use crate::{
    notice::{self, Data, Warning},
    propagation::{Fields, TRACEPARENT, X_CORRELATION_ID, add_to_client_context},
    scan::{elements, members},
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use std::sync::Once;

/// The message attributes that SQS accepts, and SNS if a subscription delivers raw messages.
const MOST: usize = 10;

/// The bytes of a request, and of its messages, that every queue and topic accepts by default.
const LARGEST: usize = 256 * 1024;

const CLIENT_CONTEXT: &str = "x-amz-client-context";

/// Adds the fields to a request, if it has a place and room for them.
pub(super) fn carry(service: &str, operation: &str, request: &mut HttpRequest, fields: &Fields<'_>) {
    if fields.is_empty() {
        return;
    }
    match (service, operation) {
        ("SQS", "SendMessage" | "SendMessageBatch") => change_body(request, |body| {
            let one = operation == "SendMessage";
            body.starts_with(b"{").then(|| add_to_json(body, one, fields))
        }),
        ("SNS", "Publish" | "PublishBatch") => change_body(request, |body| {
            body.starts_with(b"Action=").then(|| add_to_query(body, operation == "Publish", fields))?
        }),
        ("Lambda", "Invoke" | "InvokeWithResponseStream") => add_to_invocation(request, fields),
        _ => {}
    }
}

fn left_out(name: &'static str) {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| notice::log(Warning::TraceContextNotSent, Data::name(name)));
}

fn change_body(request: &mut HttpRequest, change: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
    let Some(before) = request.body().bytes() else { return };
    let Some(after) = change(before).filter(|after| after.len() != before.len()) else { return };
    if after.len() > LARGEST {
        return left_out(TRACEPARENT);
    }
    if request.headers().contains_key("content-length") {
        request.headers_mut().insert("content-length", after.len().to_string());
    }
    *request.body_mut() = SdkBody::from(after);
}

/// A text to insert, and its position.
type Insertion = (usize, String);

fn add_to_json(body: &[u8], one: bool, fields: &Fields<'_>) -> Vec<u8> {
    let mut insertions = Vec::new();
    if one {
        insertions.extend(of_message(body, body, fields));
    } else if let Some((_, entries)) = members(body).find(|(name, _)| *name == b"Entries") {
        insertions.extend(elements(entries).filter_map(|entry| of_message(body, entry, fields)));
    }
    let mut changed = Vec::with_capacity(body.len() + insertions.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut done = 0;
    for (at, text) in insertions {
        changed.extend_from_slice(&body[done..at]);
        changed.extend_from_slice(text.as_bytes());
        done = at;
    }
    changed.extend_from_slice(&body[done..]);
    changed
}

/// The attributes to insert into the message at the start of `message`, which is a part of `body`.
fn of_message(body: &[u8], message: &[u8], fields: &Fields<'_>) -> Option<Insertion> {
    // Both are parts of one slice.
    let at = |part: &[u8]| body.len() - (part.as_ptr_range().end as usize - part.as_ptr() as usize);
    let there = members(message).find(|(name, _)| *name == b"MessageAttributes").map(|(_, value)| value);
    let there = there.filter(|value| value.starts_with(b"{"));
    let (mut count, mut known, mut correlated) = (0, false, false);
    for (name, _) in there.into_iter().flat_map(members) {
        count += 1;
        known |= name == TRACEPARENT.as_bytes();
        correlated |= name == X_CORRELATION_ID.as_bytes();
    }
    if known {
        return None;
    }
    let mut text = String::new();
    for (name, value) in with_room(count, fields, correlated) {
        let value = serde_json::to_string(value).ok()?;
        text.push_str(&format!(r#""{name}":{{"DataType":"String","StringValue":{value}}},"#));
    }
    if text.is_empty() {
        return None;
    }
    match there {
        Some(attributes) => {
            if count == 0 {
                text.pop();
            }
            Some((at(attributes) + 1, text))
        }
        None => {
            text.pop();
            Some((at(message) + 1, format!(r#""MessageAttributes":{{{text}}},"#)))
        }
    }
}

/// The fields that fit into a message with `count` attributes.
fn with_room<'f>(count: usize, fields: &'f Fields<'_>, correlated: bool) -> impl Iterator<Item = (&'static str, &'f str)> {
    let room = MOST.saturating_sub(count);
    let wanted = fields.iter().filter(move |(name, _)| !(correlated && *name == X_CORRELATION_ID));
    wanted.enumerate().filter_map(move |(index, field)| {
        if index < room {
            return Some(field);
        }
        left_out(field.0);
        None
    })
}

/// The message of a query.
#[derive(Default)]
struct QueryMessage {
    /// The prefix of its parameters: empty, or `PublishBatchRequestEntries.member.1.`.
    prefix: String,
    attributes: usize,
    known: bool,
    /// It has a correlation id already.
    correlated: bool,
}

/// `None` if nothing is to be added. Messages to phones and devices have no place for the fields.
fn add_to_query(body: &[u8], one: bool, fields: &Fields<'_>) -> Option<Vec<u8>> {
    const ENTRY: &str = "PublishBatchRequestEntries.member.";
    let mut messages: Vec<QueryMessage> = Vec::new();
    let (mut to_topic, mut size) = (false, 0);
    if one {
        messages.push(QueryMessage::default());
    }
    for (key, value) in form_urlencoded::parse(body) {
        size += value.len();
        to_topic |= key == "TopicArn";
        let prefix = match key.strip_prefix(ENTRY).and_then(|rest| rest.split('.').next()) {
            Some(number) => format!("{ENTRY}{number}."),
            None => String::new(),
        };
        let index = messages.iter().position(|message| message.prefix == prefix);
        if index.is_none() && prefix.is_empty() {
            continue;
        }
        let index = index.unwrap_or_else(|| {
            messages.push(QueryMessage { prefix, ..QueryMessage::default() });
            messages.len() - 1
        });
        let message = &mut messages[index];
        if key[message.prefix.len()..].starts_with("MessageAttributes.entry.") && key.ends_with(".Name") {
            message.attributes += 1;
            message.known |= value == TRACEPARENT;
            message.correlated |= value == X_CORRELATION_ID;
        }
    }
    let mut added = form_urlencoded::Serializer::new(String::new());
    for message in messages.iter().filter(|message| to_topic && !message.known) {
        for (index, (name, value)) in with_room(message.attributes, fields, message.correlated).enumerate() {
            let entry = format!("{}MessageAttributes.entry.{}.", message.prefix, message.attributes + index + 1);
            added.append_pair(&format!("{entry}Name"), name);
            added.append_pair(&format!("{entry}Value.DataType"), "String");
            added.append_pair(&format!("{entry}Value.StringValue"), value);
            size += name.len() + "String".len() + value.len();
        }
    }
    let added = added.finish();
    if added.is_empty() {
        return None;
    }
    if size > LARGEST {
        left_out(TRACEPARENT);
        return None;
    }
    Some([body, b"&", added.as_bytes()].concat())
}

/// Lambda passes a client context only to synchronous invocations.
fn add_to_invocation(request: &mut HttpRequest, fields: &Fields<'_>) {
    if request.headers().get("x-amz-invocation-type").is_some_and(|kind| kind != "RequestResponse") {
        return;
    }
    let there = match request.headers().get(CLIENT_CONTEXT) {
        Some(context) => match BASE64_STANDARD.decode(context) {
            Ok(context) => Some(context),
            Err(_) => return,
        },
        None => None,
    };
    if let Some(context) = add_to_client_context(there.as_deref(), fields, left_out) {
        let _ = request.headers_mut().try_insert(CLIENT_CONTEXT, context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fields(count: usize) -> Fields<'static> {
        let value = |name: &'static str, at| (at < count).then(|| name.into());
        Fields { traceparent: value("p", 0), tracestate: value("s=1", 1), baggage: value("b=\"1\"&", 2), correlation: None }
    }

    fn changed(service: &str, operation: &str, body: &str, fields: &Fields<'_>) -> String {
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.headers_mut().insert("content-length", body.len().to_string());
        carry(service, operation, &mut request, fields);
        let after = request.body().bytes().expect("a body").to_vec();
        assert_eq!(request.headers().get("content-length"), Some(after.len().to_string().as_str()));
        String::from_utf8(after).expect("text")
    }

    fn json_of(operation: &str, body: &Value, fields: &Fields<'_>) -> Value {
        serde_json::from_str(&changed("SQS", operation, &body.to_string(), fields)).expect("JSON")
    }

    fn text(value: &str) -> Value {
        json!({ "DataType": "String", "StringValue": value })
    }

    fn attributes(count: usize) -> Value {
        (0..count).map(|number| (format!("a{number}"), text("{\"x\":[]}"))).collect::<serde_json::Map<_, _>>().into()
    }

    #[test]
    fn a_correlation_id_of_the_users_stays() {
        let sent = Fields { correlation: Some("c-1".into()), ..Fields::default() };
        let own = json!({ "MessageBody": "{}", "MessageAttributes": { X_CORRELATION_ID: text("mine") } });
        assert_eq!(json_of("SendMessage", &own, &sent), own);
        let bare = json_of("SendMessage", &json!({ "MessageBody": "{}" }), &sent);
        assert_eq!(bare["MessageAttributes"], json!({ X_CORRELATION_ID: text("c-1") }));
        let own = "Action=Publish&TopicArn=t&MessageAttributes.entry.1.Name=x-correlation-id";
        assert_eq!(changed("SNS", "Publish", own, &sent), own);
        let bare = changed("SNS", "Publish", "Action=Publish&TopicArn=t", &sent);
        assert!(bare.contains("Name=x-correlation-id") && bare.ends_with("StringValue=c-1"), "{bare}");
    }

    #[test]
    fn a_message_of_sqs_gets_attributes_while_it_has_room() {
        for there in [None, Some(0), Some(1), Some(7), Some(8), Some(9), Some(10)] {
            let mut body = json!({ "QueueUrl": "u", "MessageBody": "{\"MessageAttributes\":{}}", "DelaySeconds": 1 });
            if let Some(there) = there {
                body["MessageAttributes"] = attributes(there);
            }
            let after = json_of("SendMessage", &body, &fields(3));
            let mut expected = body.clone();
            for (name, value) in fields(3).iter().take(10 - there.unwrap_or_default()) {
                expected["MessageAttributes"][name] = text(value);
            }
            assert_eq!(after, expected, "{there:?}");
        }
    }

    #[test]
    fn each_message_of_a_batch_gets_its_own() {
        let entry = |attributes: Value| json!({ "Id": "1", "MessageBody": "b", "MessageAttributes": attributes });
        let own = json!({ "traceparent": text("mine") });
        let entries = json!([{ "Id": "0", "MessageBody": "b" }, entry(attributes(1)), entry(own.clone()), entry(attributes(10))]);
        let after = json_of("SendMessageBatch", &json!({ "Entries": entries, "QueueUrl": "u" }), &fields(1));
        let of = |at: usize| &after["Entries"][at]["MessageAttributes"];
        assert_eq!((of(0)["traceparent"].clone(), of(1)["traceparent"].clone()), (text("p"), text("p")));
        assert_eq!((of(1)["a0"].is_object(), of(2), of(3)), (true, &own, &attributes(10)));
        assert_eq!(after["QueueUrl"], "u");
    }

    #[test]
    fn a_message_of_sns_gets_attributes_while_it_has_room() {
        let base = "Action=Publish&Version=2010-03-31&TopicArn=arn&Message=a%26b%3Dc";
        for there in [0, 1, 8, 10] {
            let mut body = base.to_owned();
            for number in 1..=there {
                body +=
                    &format!("&MessageAttributes.entry.{number}.Name=a&MessageAttributes.entry.{number}.Value.DataType=String");
                body += &format!("&MessageAttributes.entry.{number}.Value.StringValue=x");
            }
            let after = changed("SNS", "Publish", &body, &fields(3));
            assert!(after.starts_with(&body), "{after}");
            let mut expected = Vec::new();
            for (index, (name, value)) in fields(3).iter().take(10 - there).enumerate() {
                let entry = format!("MessageAttributes.entry.{}.", there + index + 1);
                expected.push((format!("{entry}Name"), name.to_owned()));
                expected.push((format!("{entry}Value.DataType"), "String".to_owned()));
                expected.push((format!("{entry}Value.StringValue"), value.to_owned()));
            }
            let added: Vec<_> = form_urlencoded::parse(&after.as_bytes()[body.len()..]).into_owned().collect();
            assert_eq!(added, expected, "{there}");
        }
    }

    #[test]
    fn a_batch_of_sns_gets_them_for_each_message() {
        let entry = |number: usize| format!("&PublishBatchRequestEntries.member.{number}.Id={number}");
        let known = "&PublishBatchRequestEntries.member.2.MessageAttributes.entry.1.Name=traceparent";
        let body = format!("Action=PublishBatch&TopicArn=arn{}{}{known}{}", entry(1), entry(2), entry(10));
        let after = changed("SNS", "PublishBatch", &body, &fields(1));
        let named: Vec<_> =
            form_urlencoded::parse(&after.as_bytes()[body.len()..]).filter(|(_, value)| value == "traceparent").collect();
        let keys: Vec<&str> = named.iter().map(|(key, _)| &**key).collect();
        let expected = [1, 10].map(|at| format!("PublishBatchRequestEntries.member.{at}.MessageAttributes.entry.1.Name"));
        assert_eq!(keys, expected);
    }

    #[test]
    fn what_is_full_or_no_message_stays_as_it_is() {
        let full = json!({ "MessageBody": "x".repeat(LARGEST - 60) }).to_string();
        let full_topic = format!("Action=Publish&TopicArn=arn&Message={}", "x".repeat(LARGEST - 10));
        for (service, operation, body) in [
            ("SQS", "SendMessage", full.as_str()),
            ("SQS", "SendMessage", "not JSON"),
            ("SQS", "SendMessageBatch", "{\"Entries\":null}"),
            ("SQS", "ReceiveMessage", "{}"),
            ("SNS", "Publish", "Action=Publish&PhoneNumber=1&Message=m"),
            ("SNS", "Publish", full_topic.as_str()),
            ("EventBridge", "PutEvents", "{\"Entries\":[{\"Detail\":\"{}\"}]}"),
        ] {
            assert_eq!(changed(service, operation, body, &fields(3)), body, "{operation}");
        }
        assert_eq!(changed("SQS", "SendMessage", "{\"MessageBody\":\"b\"}", &Fields::default()), "{\"MessageBody\":\"b\"}");
    }

    #[test]
    fn an_invocation_gets_a_client_context() {
        let context = |kind: Option<&'static str>, there: Option<&str>| {
            let mut request = HttpRequest::new(SdkBody::from("{}"));
            for (name, value) in [("x-amz-invocation-type", kind), (CLIENT_CONTEXT, there)] {
                if let Some(value) = value {
                    request.headers_mut().insert(name, value.to_owned());
                }
            }
            carry("Lambda", "Invoke", &mut request, &fields(1));
            request.headers().get(CLIENT_CONTEXT).map(str::to_owned)
        };
        let decoded = |text: Option<String>| -> Value {
            serde_json::from_slice(&BASE64_STANDARD.decode(text.expect("a context")).expect("base64")).expect("JSON")
        };
        let expected = json!({ "custom": { "traceparent": "p" } });
        assert_eq!(decoded(context(None, None)), expected);
        assert_eq!(decoded(context(Some("RequestResponse"), None)), expected);
        assert_eq!(context(Some("Event"), None), None);
        let mine = BASE64_STANDARD.encode(r#"{"custom":{"a":"b"}}"#);
        assert_eq!(decoded(context(None, Some(&mine))), json!({ "custom": { "a": "b", "traceparent": "p" } }));
        assert_eq!(context(None, Some("(no base64)")).as_deref(), Some("(no base64)"));
    }
}
