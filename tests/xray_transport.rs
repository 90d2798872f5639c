//! Datagrams that leave at a pace, and failures that cost nothing else.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use lambda_lifecycle::xray::{Batch, DaemonAddress, Sent, UdpEmitter, UdpLoss, UdpStats};

fn receiver() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn drain(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 65_536];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
}

#[tokio::test]
async fn what_a_reader_takes_only_while_we_wait_arrives_whole() {
    for (number, size) in [(1_000, 600), (60, 5_600), (5, 60_000)] {
        let (socket, address) = receiver();
        let mut emitter = UdpEmitter::connect(address).unwrap();
        let document = vec![b'x'; size];
        let documents = (0..number).map(|_| document.as_slice());
        let arrived = std::cell::Cell::new(0);
        let sleep = |wait| tokio::time::sleep(wait).then_do(|| arrived.set(arrived.get() + drain(&socket)));
        let sent = emitter.send_all(documents, sleep).await;
        assert_eq!((sent as usize, arrived.get() + drain(&socket)), (number, number), "documents of {size} bytes");
        let mut expected = UdpStats::default();
        (expected.sent, expected.bytes) = (number as u64, (number * size) as u64);
        assert_eq!(emitter.stats(), expected);
        assert_eq!(emitter.first_loss(), None);
    }
}

trait ThenDo: Future<Output = ()> + Sized {
    async fn then_do(self, work: impl FnOnce()) {
        self.await;
        work();
    }
}

impl<F: Future<Output = ()>> ThenDo for F {}

#[tokio::test]
async fn an_absent_daemon_costs_one_line_and_no_error() {
    let (socket, address) = receiver();
    drop(socket);
    let mut emitter = UdpEmitter::connect(address).unwrap();
    let clone = emitter.try_clone().unwrap();
    let documents = || (0..10).map(|_| b"document".as_slice());
    assert!(emitter.send_all(documents(), tokio::time::sleep).await < 10, "the rest would be lost");
    let stats = emitter.stats();
    assert!(stats.refused > 0 && stats.failed == 0 && stats.sent + stats.skipped == 10, "{stats:?}");
    assert_eq!(emitter.first_loss(), Some(UdpLoss::NoDaemon));
    let tried = std::time::Instant::now();
    assert_eq!(emitter.send_all(documents(), tokio::time::sleep).await, 1, "one probe");
    assert_eq!(emitter.first_loss(), None);
    assert!(emitter.is_unheard() && clone.is_unheard());
    // On any machine, no probe is due before this time has passed.
    assert!(!emitter.is_worth_a_try() || tried.elapsed() >= Duration::from_millis(100), "a probe before its time");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(emitter.is_worth_a_try());
}

#[tokio::test]
async fn a_daemon_that_comes_back_has_every_document_from_then_on() {
    let (socket, address) = receiver();
    drop(socket);
    let mut emitter = UdpEmitter::connect(address).unwrap();
    let documents = || (0..10).map(|_| b"document".as_slice());
    for _ in 0..2 {
        emitter.send_all(documents(), tokio::time::sleep).await;
    }
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    for _ in 0..2 {
        assert_eq!(emitter.send_all(documents(), tokio::time::sleep).await, 10);
        assert_eq!(drain(&socket), 10);
        assert!(!emitter.is_unheard());
    }
    // A refusal concerns the previous datagram but is reported by the next one, which arrives.
    drop(socket);
    emitter.send(b"document");
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    assert_eq!(emitter.send_all(documents(), tokio::time::sleep).await, 10);
    assert_eq!(drain(&socket), 10);
}

#[tokio::test]
async fn a_document_too_long_costs_no_other() {
    let (socket, address) = receiver();
    let mut emitter = UdpEmitter::connect(address).unwrap();
    let (long, short) = (vec![b'x'; 65_508], b"short");
    let documents = [short.as_slice(), &long, short];
    assert_eq!(emitter.send_all(documents, tokio::time::sleep).await, 2);
    assert_eq!(drain(&socket), 2);
    let mut expected = UdpStats::default();
    (expected.sent, expected.bytes, expected.too_large) = (2, 10, 1);
    assert_eq!(emitter.stats(), expected);
    assert_eq!(emitter.send(&long), Sent::TooLarge);
    assert_eq!(emitter.send(&long[..65_507]), Sent::Yes);
    assert_eq!(drain(&socket), 1);
}

#[test]
fn sending_may_run_on_any_thread() {
    fn movable<T: Send>(_: T) {}
    let (_socket, address) = receiver();
    let (mut emitter, batch) = (UdpEmitter::connect(address).unwrap(), Batch::new());
    movable(emitter.send_all(batch.datagrams(), tokio::time::sleep));
}

#[test]
fn a_clone_sends_over_the_same_socket_with_its_own_counts() {
    let (socket, address) = receiver();
    let emitter = UdpEmitter::connect(address).unwrap();
    let mut watchdog = emitter.try_clone().unwrap();
    assert_eq!(watchdog.send(b"overdue"), Sent::Yes);
    assert_eq!((watchdog.stats().sent, emitter.stats().sent, drain(&socket)), (1, 0, 1));
}

#[test]
fn names_and_ipv6_are_resolved_and_nonsense_is_not() {
    let resolved = |text: &str| DaemonAddress::parse(text).unwrap().resolve();
    assert!(resolved("localhost:2000").unwrap().ip().is_loopback());
    assert_eq!(resolved("[::1]:2000").unwrap(), "[::1]:2000".parse().unwrap());
    assert_eq!(resolved("tcp:1.2.3.4:1 UDP:5.6.7.8:2").unwrap(), "5.6.7.8:2".parse().unwrap());
    let error = resolved("no-such-host.invalid:2000").unwrap_err().to_string();
    assert!(error.contains("no-such-host.invalid"), "{error}");
    for text in [
        "",
        "1.2.3.4",
        "::1:2000",
        "[::1]",
        "[x]:1",
        "host:0",
        "host:65536",
        "udp:a:1 udp:b:2",
        "a:1 udp:b:2",
        "http://a:1",
        "a:1 b:2",
    ] {
        assert!(DaemonAddress::parse(text).is_err(), "{text}");
    }
}
