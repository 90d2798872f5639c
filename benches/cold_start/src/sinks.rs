//! The destinations of the contenders' spans: a daemon and a collector that receive everything and do nothing. Each has its own
//! thread, so the receiver's cost is not measured.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

pub(crate) struct Sinks {
    /// Address of the X-Ray daemon.
    pub(crate) xray: String,
    /// Endpoint of the OTLP collector.
    pub(crate) otlp: String,
    received: Arc<AtomicU64>,
}

impl Sinks {
    pub(crate) fn start() -> std::io::Result<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let daemon = UdpSocket::bind("127.0.0.1:0")?;
        let xray = daemon.local_addr()?.to_string();
        let count = Arc::clone(&received);
        thread::spawn(move || {
            let mut document = vec![0; 65_536];
            while daemon.recv(&mut document).is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let collector = TcpListener::bind("127.0.0.1:0")?;
        let otlp = format!("http://{}", collector.local_addr()?);
        let count = Arc::clone(&received);
        thread::spawn(move || {
            for connection in collector.incoming().flatten() {
                let count = Arc::clone(&count);
                thread::spawn(move || answer(&connection, &count));
            }
        });
        Ok(Self { xray, otlp, received })
    }

    /// Addresses without a listener.
    pub(crate) fn absent() -> std::io::Result<Self> {
        let xray = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let otlp = format!("http://{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?);
        Ok(Self { xray, otlp, received: Arc::default() })
    }

    /// Documents and requests received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Responds to every request of a connection with an empty success until it closes.
fn answer(connection: &TcpStream, count: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        count.fetch_add(1, Ordering::Relaxed);
        let mut connection = connection;
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}
