//! The traces of a store, for every order and way in which documents arrive.

use lambda_lifecycle_sandbox::{
    wait::patience,
    xray::{Api, Daemon, Document, Forwarder, NotSeen, Problem, Severity, Source, TraceStore},
};
use serde_json::{Value, json};
use std::{future::Future, net::UdpSocket};

const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";
const ROOT: &str = "53995c3f42cd8ad8";

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    lambda_lifecycle_sandbox::wait::within(what, future).await.unwrap_or_else(|expired| panic!("{expired}"))
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
    // An identical copy is fine, because a datagram may arrive twice.
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
    let wait = store.wait_for(1, |document| document.id == ROOT);
    let (seen, ()) = tokio::join!(wait, async { writer.put_platform_segment(root()) });
    assert_eq!(seen.unwrap().len(), 1);
    tokio::time::pause();
    let error = store.wait_for(2, |document| document.id == ROOT).await.unwrap_err();
    assert!(matches!(&error, NotSeen::Expired { found: 1, expired } if expired.waited == patience()), "{error}");
}

#[tokio::test]
async fn a_wait_counts_documents_in_their_newest_state_and_looks_at_each_once() {
    let store = TraceStore::new();
    for index in 1..=3 {
        store.put_platform_segment(child(&format!("aaaaaaaaaaaaaaa{index}"), None));
    }
    let mut looked_at = 0;
    let in_progress = |document: &Document| {
        looked_at += 1;
        document.in_progress
    };
    let writer = store.clone();
    let ends = async {
        for index in 1..=2 {
            tokio::task::yield_now().await;
            writer.put_platform_segment(child(&format!("aaaaaaaaaaaaaaa{index}"), Some(1_700_000_002.0)));
        }
    };
    let (left, ()) = tokio::join!(store.wait_until(|found| found == 1, in_progress), ends);
    assert_eq!(left.unwrap()[0].id, "aaaaaaaaaaaaaaa3");
    assert_eq!(looked_at, 5);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn what_the_kernel_drops_is_counted_and_ends_a_wait() {
    let daemon = within("the daemon's start", Daemon::builder().receive_buffer(1).start()).await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let store = daemon.store();
    let datagram = vec![b' '; 60_000];
    // The reader empties the buffer meanwhile; at some point it is late.
    for _ in 0..100_000 {
        if daemon.dropped() > 0 {
            break;
        }
        for _ in 0..10 {
            socket.send_to(&datagram, daemon.address()).unwrap();
        }
    }
    let error = store.wait_for(1, |_| true).await.unwrap_err();
    assert!(matches!(error, NotSeen::Dropped { dropped: 1.., found: 0 }), "{error}");
}

#[tokio::test]
async fn a_larger_buffer_holds_more_than_the_default_one() {
    // Bound and not read: what waits in it is the kernel's.
    const DATAGRAMS: u64 = 300;
    let daemon = within("the daemon's start", Daemon::builder().receive_buffer(8 << 20).start()).await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for index in 0..DATAGRAMS {
        let document = child(&format!("{:016x}", index + 1), Some(1_700_000_002.0));
        socket.send_to(format!("{{\"format\":\"json\",\"version\":1}}\n{document}").as_bytes(), daemon.address()).unwrap();
    }
    within("judging the datagrams", daemon.settle()).await.unwrap();
    assert_eq!(daemon.store().history().len() as u64 + daemon.dropped(), DATAGRAMS);
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
    let freed = async {
        while UdpSocket::bind(&address).is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("the port to be free", freed).await;
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
    assert!(forwarder.failures()[0].contains("does not respond"), "{:?}", forwarder.failures());
    assert!(Forwarder::start(&store, "https://xray.eu-west-1.amazonaws.com").is_err());
}
