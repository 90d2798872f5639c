//! A Runtime API that hands out some events at once, and keeps the request after the last of them waiting.

use crate::bootstrap;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::Sender,
    },
    thread,
};

const EVENT: &str = r#"{"order":7,"sku":"tea"}"#;
const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

/// Serves so many sampled invocations, and says when the event after them is asked for.
pub(crate) fn invocations(api: &TcpListener, count: u64, done: &Sender<()>) {
    let served = Arc::new(AtomicU64::new(0));
    while let Ok((connection, _)) = api.accept() {
        let (served, done) = (Arc::clone(&served), done.clone());
        thread::spawn(move || serve(connection, &served, count, &done));
    }
}

fn serve(mut connection: TcpStream, served: &AtomicU64, count: u64, done: &Sender<()>) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    loop {
        let request = request(&mut connection)?;
        if !request.starts_with(bootstrap::NEXT) {
            let accepted = if request.starts_with(bootstrap::REGISTER) { bootstrap::REGISTERED } else { ACCEPTED };
            connection.write_all(accepted).ok()?;
            continue;
        }
        let number = served.fetch_add(1, Ordering::Relaxed);
        if number == count {
            // The process may have ended for another reason meanwhile.
            let _ = done.send(());
            return connection.read(&mut [0]).ok().map(|_| ());
        }
        connection.write_all(bootstrap::event(number, true, EVENT).as_bytes()).ok()?;
    }
}

/// A request with its body, whose end says its length or its last chunk.
fn request(connection: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = bootstrap::request(connection)?;
    let head = request.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = header("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    let chunked = header("transfer-encoding:") == Some("chunked");
    while request.len() < head + length || (chunked && !request.ends_with(b"0\r\n\r\n")) {
        let mut part = [0; 4096];
        let read = connection.read(&mut part).ok().filter(|&read| read > 0)?;
        request.extend_from_slice(&part[..read]);
    }
    Some(request)
}
