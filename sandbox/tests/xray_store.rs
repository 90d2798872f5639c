//! What a store makes of the documents it receives, in what order and by what way they come.

use lambda_lifecycle_sandbox::xray::{Api, Daemon, Forwarder, Problem, Severity, Source, TraceStore};
use serde_json::{Value, json};
use std::{future::Future, net::UdpSocket, time::Duration};

const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";
const ROOT: &str = "53995c3f42cd8ad8";
const LONG: Duration = Duration::from_secs(30);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(LONG, future).await else {
        panic!("not within {LONG:?}: {what}");
    };
    value
}

fn root() -> Value {
    json!({"trace_id": TRACE, "id": ROOT, "name": "orders", "start_time": 1_700_000_000.0, "end_time": 1_700_000_009.0})
}

fn child(id: &str, end: Option<f64>) -> Value {
    let mut document = json!({
        "type": "subsegment", "trace_id": TRACE, "parent_id": ROOT, "id": id, "name": format!("work-{id}"),
        "start_time": 1_700_000_001.0,
    });
    match end {
        Some(end) => document["end_time"] = json!(end),
        None => document["in_progress"] = json!(true),
    }
    document
}

async fn receive(documents: &[Value]) -> TraceStore {
    let daemon = within("the daemon's start", Daemon::start()).await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for document in documents {
        let datagram = format!("{{\"format\":\"json\",\"version\":1}}\n{document}");
        socket.send_to(datagram.as_bytes(), daemon.address()).unwrap();
    }
    within("judging the datagrams", daemon.settle()).await.unwrap();
    daemon.store()
}

#[tokio::test]
async fn a_finished_document_replaces_the_one_in_progress_in_either_order() {
    let (begun, ended) = (child("aaaaaaaaaaaaaaa1", None), child("aaaaaaaaaaaaaaa1", Some(1_700_000_002.0)));
    for order in [[root(), begun.clone(), ended.clone()], [root(), ended, begun]] {
        let store = receive(&order).await;
        let trace = store.trace(TRACE).unwrap();
        assert_eq!(trace.documents.len(), 2);
        let document = trace.document("aaaaaaaaaaaaaaa1").unwrap();
        assert!(!document.in_progress);
        assert_eq!(document.duration(), Some(1.0));
        assert_eq!(store.history().len(), 3);
        assert_eq!(store.check(), []);
    }
}

#[tokio::test]
async fn check_finds_orphans_duplicates_rejected_and_unfinished_documents() {
    let mut orphan = child("aaaaaaaaaaaaaaa1", Some(1_700_000_002.0));
    orphan["parent_id"] = json!("bbbbbbbbbbbbbbbb");
    let twice = child("aaaaaaaaaaaaaaa2", Some(1_700_000_002.0));
    let mut differs = twice.clone();
    differs["name"] = json!("other");
    let unfinished = child("aaaaaaaaaaaaaaa3", None);
    let mut bad = child("aaaaaaaaaaaaaaa4", Some(1.0));
    bad["end_time"] = json!("late");
    // An identical copy is no problem: a datagram may come twice.
    let copy = twice.clone();
    let store = receive(&[root(), orphan, twice, copy, differs, unfinished, bad]).await;

    let problems = store.check();
    let [Problem::Rejected { reasons }, rest @ ..] = &problems[..] else { panic!("{problems:?}") };
    assert!(reasons[0].contains("/end_time"), "{reasons:?}");
    assert_eq!(
        rest,
        [
            Problem::Orphan {
                trace_id: TRACE.into(),
                id: "aaaaaaaaaaaaaaa1".into(),
                name: "work-aaaaaaaaaaaaaaa1".into(),
                parent_id: "bbbbbbbbbbbbbbbb".into(),
            },
            Problem::Duplicate {
                trace_id: TRACE.into(),
                id: "aaaaaaaaaaaaaaa2".into(),
                names: ["work-aaaaaaaaaaaaaaa2".into(), "other".into()],
            },
            Problem::Unfinished { trace_id: TRACE.into(), id: "aaaaaaaaaaaaaaa3".into(), name: "work-aaaaaaaaaaaaaaa3".into() },
        ]
    );
    let info = problems.iter().filter(|problem| problem.severity() == Severity::Info).count();
    assert_eq!(info, 1);
}

#[tokio::test]
async fn a_trace_above_500_kilobytes_is_a_problem() {
    let store = TraceStore::new();
    store.put_platform_segment(root());
    for index in 0..9 {
        assert_eq!(store.check(), [], "after {index} documents");
        let mut document = child(&format!("aaaaaaaaaaaaaaa{index}"), Some(1_700_000_002.0));
        document["metadata"] = json!({"default": {"x": "x".repeat(60_000)}});
        store.put_platform_segment(document);
    }
    let problems = store.check();
    assert!(matches!(&problems[..], [Problem::TraceTooLarge { bytes, .. }] if *bytes > 540_000), "{problems:?}");
}

#[tokio::test]
async fn a_trace_lists_parents_before_children_that_start_at_the_same_time() {
    let mut grandchild = child("aaaaaaaaaaaaaaa2", Some(1_700_000_001.5));
    grandchild["parent_id"] = json!("aaaaaaaaaaaaaaa1");
    let store = receive(&[grandchild, child("aaaaaaaaaaaaaaa1", Some(1_700_000_002.0)), root()]).await;
    let trace = store.trace(TRACE).unwrap();
    let ids: Vec<&str> = trace.documents.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(ids, [ROOT, "aaaaaaaaaaaaaaa1", "aaaaaaaaaaaaaaa2"]);
    assert_eq!(trace.children(ROOT).len(), 1);
    assert!((trace.duration() - 9.0).abs() < 1e-9);
}

#[tokio::test]
async fn parents_in_a_circle_end_no_reader() {
    let mut first = child("aaaaaaaaaaaaaaa1", Some(1_700_000_002.0));
    first["parent_id"] = json!("aaaaaaaaaaaaaaa2");
    let mut second = child("aaaaaaaaaaaaaaa2", Some(1_700_000_002.0));
    second["parent_id"] = json!("aaaaaaaaaaaaaaa1");
    let store = receive(&[first, second]).await;
    assert_eq!(store.trace(TRACE).unwrap().documents.len(), 2);
}

#[tokio::test]
async fn waiting_ends_with_the_document_and_with_the_timeout() {
    let store = TraceStore::new();
    let writer = store.clone();
    let wait = store.wait_for(|store| store.traces().len() == 1, LONG);
    let (seen, ()) = within("the document", async { tokio::join!(wait, async { writer.put_platform_segment(root()) }) }).await;
    seen.unwrap();
    let error = within("the timeout", store.wait_for(|store| store.traces().len() == 2, Duration::from_millis(1)));
    let error = error.await.unwrap_err().to_string();
    assert!(error.starts_with("not seen within 1ms; the store has TraceStore { traces: 1, documents: 1"), "{error}");
}

#[tokio::test]
async fn datagrams_paced_below_the_default_buffer_all_arrive() {
    let daemon = within("the daemon's start", Daemon::start()).await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let store = daemon.store();
    for index in 0..1_000_u32 {
        let document = child(&format!("{:016x}", index + 1), Some(1_700_000_002.0));
        let datagram = format!("{{\"format\":\"json\",\"version\":1}}\n{document}");
        socket.send_to(datagram.as_bytes(), daemon.address()).unwrap();
        // The buffer of 212,992 bytes also pays for the bookkeeping: a hundred small datagrams are well below what it holds.
        if index % 100 == 99 {
            within("judging a hundred datagrams", daemon.settle()).await.unwrap();
        }
    }
    assert_eq!(store.history().len(), 1_000);
    assert!(store.rejected().is_empty());
}

#[tokio::test]
async fn a_dropped_daemon_frees_its_port() {
    let daemon = within("the daemon's start", Daemon::start()).await.unwrap();
    let address = daemon.address();
    drop(daemon);
    let begun = std::time::Instant::now();
    while UdpSocket::bind(&address).is_err() {
        assert!(begun.elapsed() < LONG, "the port is still taken");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_forwards_its_documents_to_an_endpoint_that_takes_them() {
    let far = TraceStore::new();
    let api = within("the API's start", Api::start(far.clone())).await.unwrap();
    let near = TraceStore::new();
    near.put_platform_segment(root());
    let forwarder = Forwarder::start(&near, &api.endpoint()).unwrap();
    for index in 0..60 {
        near.put_platform_segment(child(&format!("{:016x}", index + 1), Some(1_700_000_002.0)));
    }
    within("forwarding", forwarder.flush()).await;
    assert_eq!(forwarder.failures(), Vec::<String>::new());
    assert_eq!(far.history().len(), 61);
    assert!(far.history().iter().all(|document| document.source == Source::Api));
    assert_eq!(far.history()[0].raw, root());
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let store = TraceStore::new();
    store.put_platform_segment(root());
    let forwarder = Forwarder::start(&store, &endpoint).unwrap();
    within("the failure", forwarder.flush()).await;
    assert!(forwarder.failures()[0].contains("does not answer"), "{:?}", forwarder.failures());
    assert!(Forwarder::start(&store, "https://xray.eu-west-1.amazonaws.com").is_err());
}
