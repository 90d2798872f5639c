//! X-Ray's API as the real SDK sees it.

use aws_sdk_xray::{
    Client,
    config::{BehaviorVersion, Config, Credentials, Region, retry::RetryConfig},
    primitives::DateTime,
};
use lambda_lifecycle_sandbox::xray::{Api, Source, TraceStore};
use serde_json::{Value, json};
use std::future::Future;

const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    lambda_lifecycle_sandbox::wait::within(what, future).await.unwrap_or_else(|expired| panic!("{expired}"))
}

async fn start() -> (TraceStore, Api, Client) {
    let store = TraceStore::new();
    let api = within("the API's start", Api::start(store.clone())).await.unwrap();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(api.endpoint())
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    (store, api, Client::from_conf(config))
}

fn document(id: u32, more: Value) -> Value {
    let mut document = json!({
        "type": "subsegment", "trace_id": TRACE, "parent_id": "00000000000000ff", "id": format!("{id:016x}"),
        "name": "work", "start_time": 1_700_000_000.123_456, "end_time": 1_700_000_001.5,
    });
    let Value::Object(more) = more else { panic!("an object") };
    document.as_object_mut().unwrap().extend(more);
    document
}

#[tokio::test]
async fn documents_are_put_and_got_as_they_were() {
    let (store, _api, client) = start().await;
    let nested = json!({"subsegments": [{"id": "00000000000000aa", "name": "n", "start_time": 1.7e9, "end_time": 1.7e9}]});
    let sent = [document(1, nested), document(2, json!({"annotations": {"order": 7}, "fault": true}))];
    let put = client.put_trace_segments().set_trace_segment_documents(Some(sent.iter().map(Value::to_string).collect()));
    let answer = within("putting", put.send()).await.unwrap();
    assert!(answer.unprocessed_trace_segments().is_empty(), "{answer:?}");
    assert!(store.history().iter().all(|document| document.source == Source::Api));

    let get = client.batch_get_traces().trace_ids(TRACE).trace_ids("1-00000000-000000000000000000000000");
    let answer = within("getting", get.send()).await.unwrap();
    let [trace] = answer.traces() else { panic!("{answer:?}") };
    assert_eq!(trace.id(), Some(TRACE));
    assert!((trace.duration().unwrap() - 1.5).abs() < 1e-6);
    let got: Vec<Value> =
        trace.segments().iter().map(|segment| serde_json::from_str(segment.document().unwrap()).unwrap()).collect();
    assert_eq!(got, sent);
    assert_eq!(trace.segments()[0].id(), Some("0000000000000001"));

    let summaries = client.get_trace_summaries().start_time(DateTime::from_secs(1_699_999_999));
    let summaries = summaries.end_time(DateTime::from_secs(1_700_000_001));
    let answer = within("the summaries", summaries.send()).await.unwrap();
    let [summary] = answer.trace_summaries() else { panic!("{answer:?}") };
    assert_eq!((summary.id(), summary.has_fault(), summary.has_error()), (Some(TRACE), Some(true), Some(false)));
    let order = summary.annotations().unwrap()["order"][0].annotation_value().unwrap();
    assert!((order.as_number_value().unwrap() - 7.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_bad_document_is_unprocessed_and_costs_no_other() {
    let (store, _api, client) = start().await;
    let documents = [
        document(1, json!({})).to_string(),
        document(2, json!({"namespace": "local"})).to_string(),
        "{".to_owned(),
        document(3, json!({"metadata": {"default": {"x": "x".repeat(66_000)}}})).to_string(),
        document(4, json!({})).to_string(),
    ];
    let put = client.put_trace_segments().set_trace_segment_documents(Some(documents.to_vec()));
    let answer = within("putting", put.send()).await.unwrap();
    let unprocessed: Vec<_> = answer.unprocessed_trace_segments().iter().map(|one| (one.id(), one.message().unwrap())).collect();
    assert_eq!(unprocessed.len(), 3, "{unprocessed:?}");
    assert_eq!(unprocessed[0], (Some("0000000000000002"), "/namespace: must be \"aws\", \"remote\" or absent"));
    assert!(unprocessed[1].0.is_none() && unprocessed[1].1.starts_with("not one JSON document"), "{unprocessed:?}");
    assert!(unprocessed[2].1.contains("bytes (at most 65536)"), "{unprocessed:?}");
    assert_eq!(store.history().len(), 2);
    assert_eq!(store.rejected().len(), 3);
}

#[tokio::test]
async fn a_call_of_fifty_full_documents_is_taken() {
    let (store, _api, client) = start().await;
    let full = |id| document(id, json!({"metadata": {"default": {"x": "x".repeat(60_000)}}})).to_string();
    let put = client.put_trace_segments().set_trace_segment_documents(Some((1..=50).map(full).collect()));
    within("putting", put.send()).await.unwrap();
    assert_eq!(store.history().len(), 50);
}

#[tokio::test]
async fn a_call_without_its_list_is_invalid() {
    let (_store, _api, client) = start().await;
    let error = within("the error", client.batch_get_traces().send()).await.unwrap_err().into_service_error();
    assert!(error.is_invalid_request_exception(), "{error:?}");
}
