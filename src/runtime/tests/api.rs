//! A Runtime API in memory, in paused time, that can do wrong what a real one can.

use crate::{
    runtime::Shared,
    runtime_api::{Client, Endpoint},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream},
    sync::{Notify, mpsc},
};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// `GET /path`.
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
}

impl Request {
    /// `next`, `response`, `error`, or what else the path ends with.
    pub(super) fn endpoint(&self) -> &str {
        self.line.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    pub(super) fn trailer(&self, name: &str) -> Option<&str> {
        value(&self.trailers, name)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn value<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// What is done instead of responding as one should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Closes the connection without a word.
    Close,
    /// Closes it before the request was read to its end.
    CloseEarly,
    /// Sends half of a head, then closes.
    HalfAHead,
    /// Sends the head and half of the body, then closes.
    HalfABody,
    /// Reads the request, and nothing more happens.
    Stall,
    /// Sends the head and half of the body, and nothing more happens.
    StallInBody,
    /// Sends what is not HTTP.
    Garbage,
    /// Responds with a status.
    Status(u16),
    /// Responds well, and closes the connection.
    CloseAfter,
    /// An event without a request id.
    NoRequestId,
}

pub(super) struct Api {
    pub(super) requests: Vec<Request>,
    pub(super) connections: usize,
    /// Headers and body of the events to come.
    pub(super) events: VecDeque<(Vec<(&'static str, String)>, String)>,
    /// An endpoint, and what is done wrong there in turn.
    pub(super) wrong: (&'static str, VecDeque<Wrong>),
    /// What is done wrong with every request for an event.
    pub(super) gone: bool,
}

#[derive(Clone)]
pub(super) struct Fake {
    pub(super) api: Arc<Mutex<Api>>,
    changed: Arc<Notify>,
}

impl Fake {
    /// The Runtime API, and what a runtime needs to reach it.
    pub(super) fn start(workers: u32) -> (Self, Shared) {
        let (connect, mut connections) = mpsc::unbounded_channel();
        let api =
            Api { requests: Vec::new(), connections: 0, events: VecDeque::new(), wrong: ("", VecDeque::new()), gone: false };
        let fake = Self { api: Arc::new(Mutex::new(api)), changed: Arc::new(Notify::new()) };
        let server = fake.clone();
        tokio::spawn(async move {
            while let Some(connection) = connections.recv().await {
                server.lock().connections += 1;
                if !server.lock().gone {
                    tokio::spawn(server.clone().serve(connection));
                }
            }
        });
        (fake, Shared::new(Client::new(Endpoint::in_memory(connect)), workers))
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Api> {
        self.api.lock().expect("no panic")
    }

    pub(super) fn event(&self, id: &str, headers: &[(&'static str, &str)], body: &str) {
        let mut all = vec![("lambda-runtime-aws-request-id", id.to_owned()), ("lambda-runtime-deadline-ms", "0".to_owned())];
        all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        self.lock().events.push_back((all, body.to_owned()));
        self.changed.notify_waiters();
    }

    pub(super) fn wrong(&self, endpoint: &'static str, what: impl IntoIterator<Item = Wrong>) {
        self.lock().wrong = (endpoint, what.into_iter().collect());
    }

    /// Waits for a request that the condition is true of.
    pub(super) async fn request(&self, wanted: impl Fn(&Request) -> bool) -> Request {
        loop {
            let changed = self.changed.notified();
            let found = self.lock().requests.iter().find(|request| wanted(request)).cloned();
            match found {
                Some(request) => return request,
                None => changed.await,
            }
        }
    }

    /// Waits for what is posted for an event: the last request of it.
    pub(super) async fn posted(&self, id: &str) -> Request {
        let of_it = format!("/invocation/{id}/");
        self.request(|request| request.line.contains(&of_it)).await
    }

    fn next_wrong(&self, endpoint: &str) -> Option<Wrong> {
        let mut api = self.lock();
        if api.wrong.0 == endpoint { api.wrong.1.pop_front() } else { None }
    }

    async fn serve(self, connection: DuplexStream) {
        let mut connection = BufReader::new(connection);
        while self.exchange(&mut connection).await.is_some() {}
    }

    /// One request and its response; `None` when the connection is over.
    async fn exchange(&self, connection: &mut BufReader<DuplexStream>) -> Option<()> {
        let (line, headers) = head(connection).await?;
        let mut request = Request { line: line.rsplit_once(' ')?.0.to_owned(), headers, ..Request::default() };
        let wrong = self.next_wrong(request.endpoint());
        if wrong == Some(Wrong::CloseEarly) {
            return None;
        }
        if request.header("transfer-encoding").is_some() {
            (request.body, request.trailers) = chunks(connection).await?;
        } else if let Some(length) = request.header("content-length") {
            request.body = vec![0; length.parse().ok()?];
            connection.read_exact(&mut request.body).await.ok()?;
        }
        let is_next = request.endpoint() == "next";
        self.lock().requests.push(request);
        self.changed.notify_waiters();
        let (mut headers, body) =
            if is_next && !matches!(wrong, Some(Wrong::Close | Wrong::Stall | Wrong::Garbage | Wrong::Status(_))) {
                self.next_event().await
            } else {
                (Vec::new(), r#"{"status":"OK"}"#.to_owned())
            };
        let mut status = if is_next { 200 } else { 202 };
        match wrong {
            Some(Wrong::Close | Wrong::CloseEarly) => return None,
            Some(Wrong::Stall) => std::future::pending().await,
            Some(Wrong::Garbage) => {
                connection.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n").await.ok()?;
                return Some(());
            }
            Some(Wrong::Status(other)) => status = other,
            Some(Wrong::NoRequestId) => headers.retain(|(name, _)| !name.ends_with("request-id")),
            _ => {}
        }
        let mut response = format!("HTTP/1.1 {status} Some\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            response.push_str(&format!("{name}: {value}\r\n"));
        }
        let half_a_head = response.len() - 5;
        response.push_str("\r\n");
        let half_a_body = response.len() + body.len() / 2;
        response.push_str(&body);
        let sent = match wrong {
            Some(Wrong::HalfAHead) => half_a_head,
            Some(Wrong::HalfABody | Wrong::StallInBody) => half_a_body,
            _ => response.len(),
        };
        connection.write_all(&response.as_bytes()[..sent]).await.ok()?;
        if wrong == Some(Wrong::StallInBody) {
            std::future::pending::<()>().await;
        }
        (!matches!(wrong, Some(Wrong::HalfAHead | Wrong::HalfABody | Wrong::CloseAfter))).then_some(())
    }

    async fn next_event(&self) -> (Vec<(&'static str, String)>, String) {
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

async fn line(connection: &mut BufReader<DuplexStream>) -> Option<String> {
    let mut line = String::new();
    let read = connection.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

async fn head(connection: &mut BufReader<DuplexStream>) -> Option<(String, Vec<(String, String)>)> {
    let first = line(connection).await?;
    Some((first, fields(connection).await?))
}

async fn fields(connection: &mut BufReader<DuplexStream>) -> Option<Vec<(String, String)>> {
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

async fn chunks(connection: &mut BufReader<DuplexStream>) -> Option<Chunked> {
    let mut body = Vec::new();
    loop {
        let length = usize::from_str_radix(&line(connection).await?, 16).ok()?;
        if length == 0 {
            return Some((body, fields(connection).await?));
        }
        let begun = body.len();
        body.resize(begun + length, 0);
        connection.read_exact(&mut body[begun..]).await.ok()?;
        line(connection).await?;
    }
}
