use super::{transport::Udp, *};
use crate::{
    export::fixtures::{TRACE, sending, span, within},
    xray::UdpEmitter,
};
use futures_util::FutureExt as _;
use std::{cell::RefCell, collections::BTreeSet, net::UdpSocket, pin::pin, time::Duration};
use tokio::sync::Mutex;

/// Documents that are sent to a socket without a reader.
pub(in crate::export) fn documents() -> (Documents, UdpSocket) {
    let daemon = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = daemon.local_addr().expect("an address");
    let emitter = || UdpEmitter::connect(address).expect("a socket");
    let udp = Udp { immediate: SyncMutex::new(emitter()), paced: Mutex::new(emitter()) };
    let documents = Documents { transport: OnceLock::new(), ..Documents::default() };
    documents.transport.set(Some(Transport::Udp(Box::new(udp)))).expect("it is empty");
    (documents, daemon)
}

/// As many batches as invocations may be cut off, each with its own span and a few others.
fn batches() -> Vec<(Vec<SpanData>, Option<Sending>)> {
    let batch = |_| {
        let spans: Vec<SpanData> = (0..64).map(|_| span()).collect();
        let main = spans[0].span_context.span_id();
        let frame = Frame::under(TRACE, SpanId::from(1)).invocation();
        (spans, Some(Sending { main, frame, ..sending() }))
    };
    (0..64).map(batch).collect()
}

#[tokio::test]
async fn the_documents_of_a_shutdown_do_not_leave_in_one_burst() {
    let (documents, _daemon) = documents();
    let batches = batches();
    let mut sending = pin!(documents.send_last(&batches, Some(Instant::now() + Duration::from_secs(60))));
    assert_eq!(sending.as_mut().now_or_never(), None);
    within(sending).await;
}

#[tokio::test]
async fn what_the_pace_has_no_time_for_leaves_at_the_end() {
    let (documents, daemon) = documents();
    daemon.set_nonblocking(true).expect("a socket");
    let batch = || (vec![span()], None);
    let batches = [batch(), batch(), batch()];
    let turn = match documents.transport() {
        Some(Transport::Udp(udp)) => udp.paced.lock().await,
        _ => unreachable!("it is a socket"),
    };
    // The turn is taken until after the end.
    for until in [Some(Instant::now()), None] {
        within(documents.send_last(&batches, until)).await;
        let mut came = BTreeSet::new();
        let mut datagram = [0; 2_000];
        while let Ok(length) = daemon.recv(&mut datagram) {
            came.insert(datagram[..length].to_vec());
        }
        assert_eq!(came.len(), 3);
    }
    drop(turn);
}

#[tokio::test]
async fn where_too_much_waits_the_main_span_waits_alone_and_says_how_many_were_left_out() {
    let (documents, daemon) = documents();
    documents.queued.store(QUEUED, Ordering::Relaxed);
    let main = span();
    let sending = Sending {
        main: main.span_context.span_id(),
        frame: Frame::under(TRACE, SpanId::from(1)).invocation(),
        not_recorded: 2,
        ..sending()
    };
    let Some(Transport::Udp(udp)) = documents.transport() else { unreachable!("it is a socket") };
    let turn = udp.paced.lock().await;
    let kept = RefCell::new(Vec::new());
    let keep = |spans: Vec<SpanData>| kept.borrow_mut().push(spans.len());
    // One ends while the main one waits.
    let mut sent = pin!(documents.send(3, || vec![main, span()], || vec![span(), span()], &sending, true, keep));
    assert_eq!(sent.as_mut().now_or_never(), None);
    assert_eq!(*kept.borrow(), [2]);
    drop(turn);
    assert_eq!(within(sent).await, 5);
    assert_eq!(*kept.borrow(), [2, 2]);
    let mut datagram = [0; 2_000];
    let length = daemon.recv(&mut datagram).expect("a datagram");
    let document = String::from_utf8_lossy(&datagram[..length]);
    assert!(document.contains(r#""spans_left_out":5"#), "{document}");
}
