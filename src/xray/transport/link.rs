//! Measures datagrams on a link with a small MTU: two network namespaces that the test creates, connected by a pair of virtual
//! Ethernet devices.
//!
//! As root, on Linux: `cargo test --lib transport::link -- --ignored --nocapture`

use super::{UdpEmitter, pacer::Pace};
use nix::sched::{CloneFlags, setns};
use std::{
    cell::Cell,
    fs::File,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

/// Linux's default for `SO_RCVBUF`, which applies to a daemon that sets none.
const BUFFER: usize = 212_992;

/// An address like the one of the daemon on Lambda, so that the tested code treats it as another machine's.
const DAEMON: Ipv4Addr = Ipv4Addr::new(169, 254, 79, 129);

const SIZES: [usize; 12] = [300, 640, 1_000, 1_472, 1_473, 2_900, 4_000, 6_000, 7_500, 16_000, 32_000, 64_000];

/// Two namespaces and their link, which are removed when this is dropped.
struct Link {
    function: String,
    daemon: String,
}

impl Link {
    fn new(mtu: u32) -> Self {
        let name = |end: &str| format!("lifecycle-{end}-{}-{mtu}", std::process::id());
        let link = Self { function: name("function"), daemon: name("daemon") };
        let (function, daemon) = (link.function.as_str(), link.daemon.as_str());
        ip(&format!("netns add {function}"));
        ip(&format!("netns add {daemon}"));
        ip(&format!("link add end0 netns {function} type veth peer name end1 netns {daemon}"));
        for (namespace, device, address) in [(function, "end0", Ipv4Addr::new(169, 254, 79, 130)), (daemon, "end1", DAEMON)] {
            ip(&format!("-n {namespace} address add {address}/30 dev {device}"));
            ip(&format!("-n {namespace} link set {device} mtu {mtu} up"));
        }
        link.wait_until_it_carries();
        link
    }

    fn wait_until_it_carries(&self) {
        let receiver = self.receiver();
        let mut emitter = self.emitter(receiver.local_addr().expect("an address"));
        let began = Instant::now();
        while drain(&receiver) == 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "the link carries nothing");
            emitter.send(b"probe");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs `make` in a namespace. A socket stays in the namespace in which it was created.
    fn within<T: Send>(namespace: &str, make: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace");
            setns(file, CloneFlags::CLONE_NEWNET).expect("permission to enter it");
            make()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("no panic"))
    }

    fn receiver(&self) -> UdpSocket {
        let receiver = Self::within(&self.daemon, || UdpSocket::bind((DAEMON, 0)).expect("a socket"));
        receiver.set_nonblocking(true).expect("a socket");
        receiver
    }

    fn emitter(&self, address: SocketAddr) -> UdpEmitter {
        Self::within(&self.function, || UdpEmitter::connect(address).expect("a socket"))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for namespace in [&self.function, &self.daemon] {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("the command `ip`");
    assert!(status.success(), "ip {arguments}: run this as root");
}

fn drain(receiver: &UdpSocket) -> usize {
    let mut buffer = [0; 65_536];
    std::iter::from_fn(|| receiver.recv(&mut buffer).ok()).count()
}

/// The number of datagrams of a size that a buffer holds without a reader.
fn held(link: &Link, size: usize) -> usize {
    let receiver = link.receiver();
    let mut emitter = link.emitter(receiver.local_addr().expect("an address"));
    let datagram = vec![b'x'; size];
    for _ in 0..400 {
        emitter.send(&datagram);
    }
    drain(&receiver)
}

#[test]
#[ignore = "makes network namespaces, as root"]
fn no_datagram_takes_more_of_the_buffer_than_it_is_charged() {
    let (ethernet, jumbo) = (Link::new(1_500), Link::new(9_001));
    let mut wrong = Vec::new();
    println!("   bytes  fragments  held at 1,500  held at 9,001  charge  held by the charge");
    for size in SIZES {
        let held = [&ethernet, &jumbo].map(|link| held(link, size));
        let (charge, fragments) = (Pace::charge(size), (size + 8).div_ceil(1_480));
        let by_charge = BUFFER / charge as usize;
        println!("{size:8} {fragments:10} {:14} {:14} {charge:7} {by_charge:19}", held[0], held[1]);
        wrong.extend(Some(size).filter(|_| held.iter().any(|held| *held < by_charge)));
    }
    assert!(wrong.is_empty(), "datagrams of these sizes take more than they are charged: {wrong:?}");
}

#[test]
#[ignore = "makes network namespaces, as root"]
fn at_the_pace_fragments_are_lost_neither_in_a_burst_nor_while_the_reader_pauses() {
    const DOCUMENTS: usize = 2_000;
    const READER: Duration = Duration::from_millis(5);
    let link = Link::new(1_500);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut lost = Vec::new();
    println!("   bytes  arrived in a burst  arrived at the pace  of {DOCUMENTS}  milliseconds");
    for size in SIZES {
        let datagram = vec![b'x'; size];
        let burst = held(&link, size).min(DOCUMENTS);
        let receiver = link.receiver();
        let mut emitter = link.emitter(receiver.local_addr().expect("an address"));
        let (began, arrived, read) = (Instant::now(), Cell::new(0), Cell::new(Instant::now()));
        // The receiver reads in the sender's pauses, so that no other process on the machine lengthens them.
        let pause = async |wait| {
            tokio::time::sleep(wait).await;
            if read.get().elapsed() >= READER {
                arrived.set(arrived.get() + drain(&receiver));
                read.set(Instant::now());
            }
        };
        let datagrams = std::iter::repeat_n(datagram.as_slice(), DOCUMENTS);
        let sent = runtime.block_on(emitter.send_all(datagrams, pause));
        assert_eq!(sent as usize, DOCUMENTS);
        let arrived = arrived.get() + drain(&receiver);
        println!("{size:8} {burst:19} {arrived:20} {:>14} {:13}", "", began.elapsed().as_millis());
        lost.extend(Some(size).filter(|_| arrived < DOCUMENTS));
    }
    assert!(lost.is_empty(), "documents of these sizes were lost: {lost:?}");
}

#[test]
#[ignore = "makes network namespaces, as root"]
fn a_daemon_that_is_absent_stays_unheard_though_its_refusals_are_limited() {
    let link = Link::new(1_500);
    let address = {
        let receiver = link.receiver();
        receiver.local_addr().expect("an address")
    };
    let mut emitter = link.emitter(address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let began = Instant::now();
    let (mut tries, mut heard) = (0, 0);
    while began.elapsed() < Duration::from_secs(12) {
        if emitter.is_worth_a_try() {
            tries += 1;
            runtime.block_on(emitter.send_all(std::iter::repeat_n(b"document".as_slice(), 100), tokio::time::sleep));
            heard += u32::from(!emitter.is_unheard());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("{tries} tries, {heard} of them believed; {:?}", emitter.stats());
    assert_eq!(heard, 0);
}

#[test]
#[ignore = "makes network namespaces, as root"]
fn where_refusals_are_filtered_documents_leave_at_the_pace_and_nothing_fails() {
    const DOCUMENTS: usize = 1_000;
    let link = Link::new(1_500);
    // Without this address nothing is received, and no refusal is reported.
    ip(&format!("-n {} address flush dev end1", link.daemon));
    let mut emitter = link.emitter((DAEMON, 2_000).into());
    let datagram = vec![b'x'; 600];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let began = Instant::now();
    let sent = runtime.block_on(emitter.send_all(std::iter::repeat_n(datagram.as_slice(), DOCUMENTS), tokio::time::sleep));
    println!("{sent} documents without a receiver in {:?}; {:?}", began.elapsed(), emitter.stats());
    assert_eq!((sent as usize, emitter.stats().failed, emitter.is_unheard()), (DOCUMENTS, 0, false));
}
