//! A Runtime API that can fail in the ways that a real one can. It works over any connection: the tests of the loop reach it in
//! memory, and those of whole processes (`tests/runtime`) over TCP.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicU32},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::Notify,
};

/// A request as it was received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// `GET /path`.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Request {
    /// `next`, `response`, `error`, or the last part of any other path.
    pub(crate) fn endpoint(&self) -> &str {
        self.line.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        value(&self.trailers, name)
    }

    /// The id of the event that the request responds to.
    fn posted_for(&self) -> Option<&str> {
        let (id, _) = self.line.split_once("/invocation/")?.1.split_once('/')?;
        Some(id)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn value<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// A fault: the fake's response instead of the correct one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Closes the connection without a response.
    Close,
    /// Closes it before the request was read to its end.
    CloseEarly,
    /// Sends half of a head, then closes.
    HalfAHead,
    /// Sends half of a head, and then nothing.
    StallInHead,
    /// Sends the head and half of the body, then closes.
    HalfABody,
    /// Closes the connection with a reset.
    Reset,
    /// Reads the request, and then sends nothing.
    Stall,
    /// Like `Stall`, but closes the connection in the end.
    Hesitate,
    /// Sends the head and half of the body, and then nothing.
    StallInBody,
    /// Responds correctly, ten seconds late.
    Late,
    /// Sends data that is not HTTP.
    Garbage,
    /// Responds with a status.
    Status(u16),
    /// Responds with a status, sends half of the body, then closes.
    StatusHalfABody(u16),
    /// Responds correctly to a request of which only the head has arrived, then reads the rest.
    RespondEarly,
    /// Responds correctly to a request of which only the head has arrived, then closes.
    RespondEarlyAndClose,
    /// Reads the request's body slowly, like a caller with a slow connection.
    ReadSlowly,
    /// Responds correctly, and closes the connection.
    CloseAfter,
    /// An event without a request id.
    NoRequestId,
}

/// Decides the fault of an endpoint's next response.
type Script = Box<dyn FnMut(&str) -> Option<Wrong> + Send>;

/// Headers and body.
pub(crate) type NextEvent = (Vec<(&'static str, String)>, String);

#[derive(Default)]
pub(crate) struct Api {
    pub(crate) requests: Vec<Request>,
    pub(crate) connections: usize,
    pub(crate) events: VecDeque<NextEvent>,
    /// Ids of the events whose head was sent.
    pub(crate) handed_out: Vec<String>,
    pub(crate) script: Option<Script>,
    /// Ids of the events that have a response. A second one is refused.
    pub(crate) responded: Vec<String>,
    /// No process listens.
    pub(crate) gone: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Fake {
    api: Arc<Mutex<Api>>,
    changed: Arc<Notify>,
    /// The number of connections to refuse.
    pub(crate) refusals: Arc<AtomicU32>,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

impl Fake {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Api> {
        self.api.lock().expect("no panic")
    }

    pub(crate) fn event(&self, id: &str, headers: &[(&'static str, &str)], body: &str) {
        let mut all = vec![("lambda-runtime-aws-request-id", id.to_owned()), ("lambda-runtime-deadline-ms", "0".to_owned())];
        for (name, value) in headers {
            all.retain(|(known, _)| known != name);
            all.push((*name, (*value).to_owned()));
        }
        self.lock().events.push_back((all, body.to_owned()));
        self.changed.notify_waiters();
    }

    pub(crate) fn wrong(&self, endpoint: &'static str, what: impl IntoIterator<Item = Wrong>) {
        let mut what: VecDeque<Wrong> = what.into_iter().collect();
        self.lock().script = Some(Box::new(move |here| if here == endpoint { what.pop_front() } else { None }));
    }

    /// Waits for a request that matches the condition.
    pub(crate) async fn request(&self, wanted: impl Fn(&Request) -> bool) -> Request {
        loop {
            let changed = self.changed.notified();
            let found = self.lock().requests.iter().find(|request| wanted(request)).cloned();
            match found {
                Some(request) => return request,
                None => changed.await,
            }
        }
    }

    /// Waits for the last post for an event.
    pub(crate) async fn posted(&self, id: &str) -> Request {
        let of_it = format!("/invocation/{id}/");
        self.request(|request| request.line.contains(&of_it)).await
    }

    fn next_wrong(&self, endpoint: &str) -> Option<Wrong> {
        self.lock().script.as_mut().and_then(|script| script(endpoint))
    }

    /// Serves a connection to its end.
    pub(crate) async fn serve(self, connection: impl AsyncRead + AsyncWrite + Unpin) -> End {
        let mut connection = BufReader::new(connection);
        loop {
            match self.exchange(&mut connection).await {
                Some(None) => {}
                Some(Some(end)) => return end,
                None => return End::Closed,
            }
        }
    }

    /// One request and its response, and how the connection ends if it does.
    async fn exchange(&self, connection: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>) -> Option<Option<End>> {
        let (line, headers) = head(connection).await?;
        let mut request = Request { line: line.rsplit_once(' ')?.0.to_owned(), headers, ..Request::default() };
        let is_next = request.line.ends_with("/invocation/next");
        let wrong = self.next_wrong(request.endpoint());
        match wrong {
            Some(Wrong::CloseEarly) => return None,
            Some(Wrong::Reset) => return Some(Some(End::Reset)),
            _ => {}
        }
        let early = matches!(wrong, Some(Wrong::RespondEarly | Wrong::RespondEarlyAndClose));
        if early {
            connection.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.ok()?;
            connection.flush().await.ok()?;
        }
        if wrong == Some(Wrong::RespondEarlyAndClose) {
            return None;
        }
        let slowly = wrong == Some(Wrong::ReadSlowly);
        if request.header("transfer-encoding").is_some() {
            (request.body, request.trailers) = chunks(connection, slowly).await?;
        } else if let Some(length) = request.header("content-length") {
            request.body = vec![0; length.parse().ok()?];
            read(connection, &mut request.body, slowly).await?;
        }
        let is_registration = request.endpoint() == "register";
        let waits_for_ever = request.line.ends_with("/event/next");
        let posted_for = request.posted_for().map(str::to_owned);
        self.lock().requests.push(request);
        self.changed.notify_waiters();
        if early {
            self.lock().responded.extend(posted_for);
            return Some(None);
        }
        match wrong {
            Some(Wrong::Close) => return None,
            Some(Wrong::Stall) => std::future::pending().await,
            Some(Wrong::Hesitate) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                return None;
            }
            Some(Wrong::Garbage) => {
                connection.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n").await.ok()?;
                return Some(None);
            }
            Some(Wrong::Late) => tokio::time::sleep(Duration::from_secs(10)).await,
            None if waits_for_ever => std::future::pending().await,
            _ => {}
        }
        let has_event = is_next && !matches!(wrong, Some(Wrong::Status(_) | Wrong::StatusHalfABody(_)));
        let event = if has_event { self.next_event().await } else { (Vec::new(), r#"{"status":"OK"}"#.to_owned()) };
        let again = posted_for.as_ref().is_some_and(|id| self.lock().responded.contains(id));
        let half = matches!(wrong, Some(Wrong::HalfAHead | Wrong::StallInHead));
        if half && has_event {
            // The client cannot have received it.
            self.lock().events.push_front(event.clone());
        }
        let (mut headers, body) = event;
        let mut status = if is_next { 200 } else { 202 };
        match wrong {
            Some(Wrong::Status(other) | Wrong::StatusHalfABody(other)) => status = other,
            _ if again => status = 400,
            Some(Wrong::NoRequestId) => headers.retain(|(name, _)| !name.ends_with("request-id")),
            _ => {}
        }
        if is_registration {
            headers.push(("lambda-extension-identifier", "extension-1".to_owned()));
        }
        let mut response = format!("HTTP/1.1 {status} Some\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in &headers {
            response.push_str(&format!("{name}: {value}\r\n"));
        }
        let half_a_head = response.len() - 5;
        response.push_str("\r\n");
        let half_a_body = response.len() + body.len() / 2;
        response.push_str(&body);
        let sent = match wrong {
            Some(Wrong::HalfAHead | Wrong::StallInHead) => half_a_head,
            Some(Wrong::HalfABody | Wrong::StatusHalfABody(_) | Wrong::StallInBody) => half_a_body,
            _ => response.len(),
        };
        if status == 202 && !half {
            self.lock().responded.extend(posted_for);
        }
        let id = headers.iter().find(|(name, _)| *name == "lambda-runtime-aws-request-id");
        if let Some((_, id)) = id.filter(|_| !half) {
            let mut api = self.lock();
            api.responded.retain(|responded| responded != id);
            api.handed_out.push(id.clone());
        }
        connection.write_all(&response.as_bytes()[..sent]).await.ok()?;
        connection.flush().await.ok()?;
        if matches!(wrong, Some(Wrong::StallInHead | Wrong::StallInBody)) {
            std::future::pending::<()>().await;
        }
        let closes = matches!(wrong, Some(Wrong::HalfAHead | Wrong::HalfABody | Wrong::StatusHalfABody(_) | Wrong::CloseAfter));
        Some(closes.then_some(End::Closed))
    }

    async fn next_event(&self) -> NextEvent {
        loop {
            let changed = self.changed.notified();
            let event = self.lock().events.pop_front();
            match event {
                Some(event) => return event,
                None => changed.await,
            }
        }
    }
}

async fn line(connection: &mut BufReader<impl AsyncRead + Unpin>) -> Option<String> {
    let mut line = String::new();
    let read = connection.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

async fn head(connection: &mut BufReader<impl AsyncRead + Unpin>) -> Option<(String, Vec<(String, String)>)> {
    let first = line(connection).await?;
    Some((first, fields(connection).await?))
}

async fn fields(connection: &mut BufReader<impl AsyncRead + Unpin>) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let field = line(connection).await?;
        match field.split_once(':') {
            Some((name, value)) => fields.push((name.to_owned(), value.trim().to_owned())),
            None => return Some(fields),
        }
    }
}

type Chunked = (Vec<u8>, Vec<(String, String)>);

/// Fills the buffer. With `slowly` it comes in pieces, each later than any time limit that a loop may have for a whole request.
async fn read(connection: &mut BufReader<impl AsyncRead + Unpin>, buffer: &mut [u8], slowly: bool) -> Option<()> {
    let piece = if slowly { 64 * 1024 } else { buffer.len().max(1) };
    for piece in buffer.chunks_mut(piece) {
        if slowly {
            tokio::time::sleep(Duration::from_secs(50)).await;
        }
        connection.read_exact(piece).await.ok()?;
    }
    Some(())
}

async fn chunks(connection: &mut BufReader<impl AsyncRead + Unpin>, slowly: bool) -> Option<Chunked> {
    let mut body = Vec::new();
    loop {
        let length = usize::from_str_radix(&line(connection).await?, 16).ok()?;
        if length == 0 {
            return Some((body, fields(connection).await?));
        }
        let begun = body.len();
        body.resize(begun + length, 0);
        read(connection, &mut body[begun..], slowly).await?;
        line(connection).await?;
    }
}

/// Random numbers for faults, reproducible by their seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}
