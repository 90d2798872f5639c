//! Documents that the daemon accepts, and documents that it rejects.

use bytes::Bytes;
use lambda_lifecycle_sandbox::xray::{Cause, Daemon, Kind, MAX_DATAGRAM_BYTES, Problem, SHED_ABOVE_BYTES, TraceStore};
use serde_json::{Value, json};
use std::{future::Future, net::UdpSocket};

const HEADER: &str = "{\"format\":\"json\",\"version\":1}\n";
const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    lambda_lifecycle_sandbox::wait::within(what, future).await.unwrap_or_else(|expired| panic!("{expired}"))
}

/// Sends datagrams to a fresh daemon and waits until all of them are judged.
async fn receive(datagrams: &[Vec<u8>]) -> TraceStore {
    let daemon = within("the daemon's start", Daemon::start()).await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in datagrams {
        socket.send_to(datagram, daemon.address()).unwrap();
    }
    within("judging the datagrams", daemon.settle()).await.unwrap();
    daemon.store()
}

async fn send(document: &Value) -> TraceStore {
    receive(&[format!("{HEADER}{document}").into_bytes()]).await
}

/// The reasons for which the one document is rejected; empty if it is accepted.
async fn reasons(document: &Value) -> Vec<String> {
    let store = send(document).await;
    let rejected = store.rejected();
    assert_eq!(rejected.len() + usize::from(!store.history().is_empty()), 1, "{document}");
    rejected.into_iter().flat_map(|rejected| rejected.reasons).collect()
}

/// A sound subsegment with some fields set or, with null, taken away.
fn subsegment(changes: Value) -> Value {
    let mut document = json!({
        "type": "subsegment", "trace_id": TRACE, "parent_id": "53995c3f42cd8ad8", "id": "53995c3f42cd8ad9",
        "name": "work", "start_time": 1_700_000_000.25, "end_time": 1_700_000_001.5,
    });
    let Value::Object(changes) = changes else { panic!("an object of changes") };
    for (key, value) in changes {
        let fields = document.as_object_mut().unwrap();
        match value {
            Value::Null => fields.remove(&key),
            value => fields.insert(key, value),
        };
    }
    document
}

fn recorded(file: &str) -> Value {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn documents_recorded_from_other_sdks_are_accepted_with_a_warning_for_unknown_fields() {
    for file in ["awsValidAwsFields.txt", "serverSample.txt", "minInProgress.txt"] {
        let store = send(&recorded(file)).await;
        assert!(store.rejected().is_empty(), "{file}: {:?}", store.rejected());
        let [document] = &store.history()[..] else { panic!("{file}: one document") };
        assert_eq!(document.warnings, ["/Dummy: a field that X-Ray does not know"], "{file}");
    }
    let store = send(&recorded("indepSubsegment.txt")).await;
    let [document] = &store.history()[..] else { panic!("{:?}", store.rejected()) };
    assert_eq!(document.kind, Kind::Subsegment);
    assert_eq!(document.parent_id.as_deref(), Some("defdfd9912dc5a56"));
    assert_eq!(document.namespace.as_deref(), Some("remote"));
    let http = document.http.as_ref().unwrap();
    assert_eq!((http.method.as_deref(), http.status, http.content_length), (Some("POST"), Some(200), Some(861)));
    assert!(document.warnings.is_empty(), "{:?}", document.warnings);
}

#[tokio::test]
async fn nested_subsegments_are_judged_and_found_below_the_one_they_came_in() {
    let mut document = recorded("ddbSample.txt");
    assert_eq!(
        reasons(&document).await,
        ["schema: /subsegments/0/annotations: Additional properties are not allowed \
             ('DDB.DescribeExistingTableAndPutToMissingTable.Annotation' was unexpected)"]
    );
    document["subsegments"][0]["annotations"] = json!({"DescribeExistingTable": "anno"});

    let store = send(&document).await;
    assert!(store.rejected().is_empty(), "{:?}", store.rejected());
    let trace = store.trace("1-5f29ab21-d4ebf299219a65bd5c31d6da").unwrap();
    let root = trace.document("88ad1df59cd7a7be").unwrap();
    assert_eq!(root.exceptions()[0].kind.as_deref(), Some("dynamodb.ResourceNotFoundException"));
    assert_eq!(root.exceptions()[0].stack[0].line, Some(203));
    let calls = trace.named("dynamodb");
    assert_eq!(calls.len(), 2, "{:?}", trace.documents.iter().map(|one| &one.name).collect::<Vec<_>>());
    for call in calls {
        assert!(call.nested);
        assert_eq!(call.trace_id, trace.id);
        assert!(trace.document(call.parent_id.as_deref().unwrap()).is_some());
    }
    assert!(store.check().is_empty(), "{:?}", store.check());
}

#[tokio::test]
async fn the_segments_that_lambda_itself_writes_are_accepted_with_their_links() {
    let recorded = recorded("traceWithLinks01.json");
    let store = TraceStore::new();
    for segment in recorded["Segments"].as_array().unwrap() {
        store.put_platform_segment(segment.clone());
    }
    assert!(store.rejected().is_empty(), "{:?}", store.rejected());
    assert!(store.check().is_empty(), "{:?}", store.check());
    let linked = store.find(|document| !document.links.is_empty());
    assert_eq!(linked.len(), 1);
    assert_eq!(linked[0].name, "Invocation");
    assert_eq!(linked[0].links[0].trace_id, "1-654c0558-630340be09e985eb352a72e6");
    assert_eq!(linked[0].links[0].attributes["aws.xray.reserved.reference_type"], "child");
}

#[tokio::test]
async fn datagrams_that_are_no_document_are_kept_with_the_reason() {
    let sound = subsegment(json!({})).to_string();
    let cases: [(Vec<u8>, &str); 8] = [
        (sound.clone().into(), "the header line is"),
        (format!("{{\"format\": \"json\", \"version\": 1}}\n{sound}").into(), "the header line is"),
        (format!("{{\"format\":\"json\",\"version\":1}}{sound}").into(), "the header line is"),
        (HEADER.into(), "not one JSON document"),
        (format!("{HEADER}{sound}{sound}").into(), "not one JSON document: trailing characters"),
        (format!("{HEADER}[{sound}]").into(), "the document is not a JSON object"),
        (format!("{HEADER}{}", sound.replacen('{', "{\"id\":\"0123456789abcdef\",", 1)).into(), "the key `id` occurs twice"),
        (format!("{HEADER}T1SCg==").into(), "OTLP"),
    ];
    let datagrams: Vec<Vec<u8>> = cases.iter().map(|(datagram, _)| datagram.clone()).collect();
    let store = receive(&datagrams).await;
    assert_eq!(store.datagrams(), datagrams.iter().map(|datagram| Bytes::from(datagram.clone())).collect::<Vec<_>>());
    let rejected = store.rejected();
    assert_eq!(rejected.len(), cases.len());
    for (rejected, (datagram, reason)) in rejected.iter().zip(cases) {
        assert_eq!(rejected.bytes, datagram);
        assert!(rejected.reasons[0].contains(reason), "{:?} is not for `{reason}`", rejected.reasons);
    }
    assert!(store.check().iter().all(|problem| matches!(problem, Problem::Rejected { .. })));
}

/// One broken rule is named, in at most two ways: some rules are the schema's too.
async fn assert_rejected(changes: Value, reason: &str) {
    let reasons = reasons(&subsegment(changes.clone())).await;
    let named = reasons.iter().any(|one| one.contains(reason));
    assert!(named && reasons.len() <= 2, "{changes}: {reasons:?}, expected `{reason}`");
}

#[tokio::test]
async fn what_the_schema_forbids_is_rejected() {
    let cases = [
        (json!({"name": null}), "\"name\" is a required property"),
        (json!({"id": null}), "\"id\" is a required property"),
        (json!({"start_time": null}), "\"start_time\" is a required property"),
        (json!({"start_time": "now"}), "/start_time: \"now\" is not of type \"number\""),
        (json!({"name": "a{b}"}), "/name: \"a{b}\" does not match the pattern"),
        (json!({"name": "a".repeat(201)}), "/name: must have 1 to 200 characters"),
        (json!({"name": " "}), "/name: must have 1 to 200 characters"),
        (json!({"annotations": {"a.b": 1}}), "'a.b' was unexpected"),
        (json!({"annotations": {"a": [1]}}), "/annotations/a: [1] is not of types"),
        (json!({"annotations": {"a": "x".repeat(1001)}}), "/annotations/a:"),
        (json!({"metadata": {"default": 1}}), "/metadata/default: 1 is not of type \"object\""),
        (json!({"aws": {"operation": 1}}), "/aws/operation: 1 is not of type \"string\""),
        (json!({"http": {"request": {"url": "u".repeat(251)}}}), "/http/request/url:"),
        (json!({"cause": {"exceptions": [{"message": "m"}]}}), "\"id\" is a required property"),
    ];
    for (changes, reason) in cases {
        assert_rejected(changes, reason).await;
    }
}

#[tokio::test]
async fn bad_identities_and_times_are_rejected() {
    let cases = [
        (json!({"trace_id": null}), "a subsegment sent on its own needs `trace_id`"),
        (json!({"parent_id": null}), "a subsegment sent on its own needs `parent_id`"),
        (json!({"type": "segment"}), "/type: must be \"subsegment\" or absent"),
        (json!({"trace_id": "1-5759e988-bd862e3fe1be46a9942727931"}), "/trace_id: `1-5759e988-bd862e3fe1be46a9942727931` is not"),
        (json!({"trace_id": "2-5759e988-bd862e3fe1be46a994272793"}), "/trace_id: `2-5759e988-bd862e3fe1be46a994272793` is not"),
        (json!({"id": "53995c3f42cd8adg"}), "/id: `53995c3f42cd8adg` is not 16 hexadecimal digits"),
        (json!({"id": "0000000000000000"}), "/id: `0000000000000000` is not 16 hexadecimal digits"),
        (json!({"parent_id": "53995c3f42cd8ad9"}), "/parent_id: is the document's own id"),
        (json!({"parent_id": "53995c3f42cd8adx"}), "/parent_id: `53995c3f42cd8adx` is not"),
        (json!({"end_time": null}), "has neither `end_time` nor `in_progress`"),
        (json!({"end_time": null, "in_progress": false}), "has neither `end_time` nor `in_progress`"),
        (json!({"in_progress": true}), "has both `end_time` and `in_progress`"),
        (json!({"end_time": 1_700_000_000.0}), "/end_time: 1700000000 is before start_time"),
        (
            json!({"start_time": 1_700_000_000_250_u64, "end_time": null, "in_progress": true}),
            "/start_time: 1700000000250 is not a time",
        ),
    ];
    for (changes, reason) in cases {
        assert_rejected(changes, reason).await;
    }
}

#[tokio::test]
async fn bad_annotations_metadata_and_blocks_are_rejected() {
    let many = |count: usize| {
        let annotations = (0..count).map(|index| (format!("k{index}"), json!(index)));
        annotations.collect::<serde_json::Map<_, _>>()
    };
    let cases = [
        (json!({"namespace": "local"}), "/namespace: must be \"aws\", \"remote\" or absent"),
        (json!({"annotations": many(51)}), "/annotations: 51 of them (at most 50)"),
        (json!({"metadata": {"AWS.x": {}}}), "/metadata: `AWS.x`: keys that begin with `AWS.` are reserved"),
        (json!({"metadata": {"default": {"AWS.x": 1}}}), "/metadata: `AWS.x`: keys that begin with `AWS.` are reserved"),
        (json!({"aws": {"request_id": "r".repeat(251)}}), "/aws/request_id: a string of 251 characters"),
        (json!({"http": {"response": {"status": 99}}}), "/http/response/status: 99 is not an HTTP status"),
        (json!({"http": {"response": {"content_length": -1}}}), "/http/response/content_length: -1 is not a length"),
    ];
    for (changes, reason) in cases {
        assert_rejected(changes, reason).await;
    }
}

#[tokio::test]
async fn bad_causes_links_and_nested_subsegments_are_rejected() {
    let exception = |id: &str| json!({"id": id, "type": "Error", "message": "m"});
    let link = json!({"trace_id": TRACE, "id": "53995c3f42cd8ad1"});
    let cases = [
        (json!({"cause": "53995c3f42cd8ad1"}), "/cause: `53995c3f42cd8ad1` is the id of no exception"),
        (json!({"cause": {"exceptions": [exception("53995c3f42cd8adz")]}}), "/cause/exceptions/0/id: `53995c3f42cd8adz` is not"),
        (
            json!({"cause": {"exceptions": vec![exception("53995c3f42cd8ad1"); 2]}}),
            "/cause/exceptions/1/id: `53995c3f42cd8ad1` occurs twice",
        ),
        (json!({"links": {}}), "/links: must be an array"),
        (json!({"links": vec![link.clone(); 21]}), "/links: 21 of them (at most 20)"),
        (json!({"links": [{"trace_id": TRACE}]}), "/links/0/id: must be 16"),
        (json!({"links": [{"trace_id": "x", "id": "53995c3f42cd8ad1"}]}), "/links/0/trace_id: must be"),
        (
            json!({"links": [{"trace_id": TRACE, "id": "53995c3f42cd8ad1", "attributes": 1}]}),
            "/links/0/attributes: must be an object",
        ),
        (json!({"links": [{"trace_id": TRACE, "id": "53995c3f42cd8ad1", "span": 1}]}), "/links/0/span: is not a field of a link"),
        (
            json!({"subsegments": [{"id": "53995c3f42cd8ad9", "name": "n", "start_time": 1.7e9, "end_time": 1.7e9}]}),
            "/subsegments/0/id: `53995c3f42cd8ad9` occurs twice",
        ),
        (json!({"subsegments": [{"id": "53995c3f42cd8ada", "name": "n", "start_time": 1.7e9}]}), "/subsegments/0: has neither"),
    ];
    for (changes, reason) in cases {
        assert_rejected(changes, reason).await;
    }
}

#[tokio::test]
async fn whatever_the_format_allows_is_accepted() {
    let cases = [
        json!({}),
        json!({"name": "EP @ test_15.testing-dömain.org#GO"}),
        json!({"name": "名前 /v1/orders?"}).as_object().map(|_| json!({"name": "名前 /v1/orders"})).unwrap(),
        json!({"name": "n".repeat(200)}),
        json!({"trace_id": "1-00000000-bd862e3fe1be46a994272793"}),
        json!({"trace_id": "1-632BB806-bd862e3fe1be46a994272793"}),
        json!({"end_time": 1_700_000_000.25}),
        json!({"end_time": null, "in_progress": true}),
        json!({"namespace": "aws", "aws": {"operation": "SendMessage", "queue_url": "https://sqs/q", "retries": 1}}),
        json!({"annotations": {"a": "x".repeat(1000), "b": 1.5, "c": true}}),
        json!({"metadata": {"default": {"anything": [1, {"x": null}]}}}),
        json!({"error": true, "throttle": true, "http": {"response": {"status": 429}}}),
        json!({"fault": true, "cause": {"working_directory": "/", "paths": [], "exceptions": [
            {"id": "53995c3f42cd8ad1", "type": "A", "message": "m".repeat(3000), "cause": "53995c3f42cd8ad2"},
            {"id": "53995c3f42cd8ad2", "stack": [{"path": "p", "line": 1, "label": "l"}]}]}}),
        json!({"links": [{"trace_id": TRACE, "id": "53995c3f42cd8ad1", "attributes": {"a": 1}}]}),
    ];
    for changes in cases {
        let store = send(&subsegment(changes.clone())).await;
        assert!(store.rejected().is_empty(), "{changes}: {:?}", store.rejected());
        assert!(store.history()[0].warnings.is_empty(), "{changes}: {:?}", store.history()[0].warnings);
    }
}

#[tokio::test]
async fn a_document_above_our_own_limit_is_accepted_with_a_warning_and_its_size() {
    let empty = subsegment(json!({"metadata": {"default": {"x": ""}}})).to_string().len();
    let sized = |size: usize| subsegment(json!({"metadata": {"default": {"x": "x".repeat(size - empty)}}}));
    let largest = MAX_DATAGRAM_BYTES - HEADER.len();
    for (size, warned) in [(SHED_ABOVE_BYTES, false), (SHED_ABOVE_BYTES + 1, true), (largest, true)] {
        let store = send(&sized(size)).await;
        assert_eq!(store.history()[0].size, size);
        assert_eq!(!store.history()[0].warnings.is_empty(), warned, "{size}: {:?}", store.history()[0].warnings);
    }
}

#[tokio::test]
async fn an_exception_told_elsewhere_in_the_document_may_be_a_cause() {
    let document = subsegment(json!({"fault": true, "cause": "53995c3f42cd8ad1", "subsegments": [{
        "id": "53995c3f42cd8ada", "name": "n", "start_time": 1.7e9, "end_time": 1.7e9,
        "cause": {"exceptions": [{"id": "53995c3f42cd8ad1"}]},
    }]}));
    let store = send(&document).await;
    assert!(store.rejected().is_empty(), "{:?}", store.rejected());
    assert_eq!(store.history()[0].cause, Some(Cause::Exception("53995c3f42cd8ad1".into())));
}
