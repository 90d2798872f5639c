//! A pool of connections, one for each concurrent request: one on demand, one for each worker on Managed Instances.

use super::{Body, Connection, Endpoint, Failure, Progress, Reply};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{HOST, USER_AGENT},
};
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    user_agent: HeaderValue,
    idle: Mutex<Vec<Connection>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    /// `None` if the Runtime API's address is missing or invalid.
    pub(crate) fn from_env() -> Option<Self> {
        std::env::var("AWS_LAMBDA_RUNTIME_API").ok().and_then(|value| Endpoint::parse(&value)).map(Self::new)
    }

    pub(crate) fn new(endpoint: Endpoint) -> Self {
        // Lambda reads the user agent. This is the one of all Rust runtimes.
        let request = lambda_runtime_api_client::build_request().body(()).unwrap_or_default();
        let user_agent = request.headers().get(USER_AGENT).cloned().unwrap_or(HeaderValue::from_static("aws-lambda-rust"));
        Self { endpoint, user_agent, idle: Mutex::default() }
    }

    pub(crate) fn request(&self, method: Method, uri: Uri, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(USER_AGENT, self.user_agent.clone());
        headers.insert(HOST, self.endpoint.host.clone());
        *request.headers_mut() = headers;
        request
    }

    /// Opens the connection of the next request in advance. A failure is that request's to report.
    pub(crate) async fn connect(&self) {
        if let Ok(connection) = Connection::open(&self.endpoint).await {
            self.keep(connection);
        }
    }

    /// Sends a request and reads the response. A connection that was closed while it was idle is replaced.
    pub(crate) async fn send(
        &self,
        request: Request<Body>,
        long_poll: bool,
        progress: Option<&Progress>,
    ) -> (Result<Reply, Failure>, Option<Connection>) {
        let mut request = request;
        loop {
            let (mut connection, was_idle) = match self.take() {
                Some(mut connection) => {
                    if !connection.is_ready().await {
                        continue;
                    }
                    (connection, true)
                }
                None => match Connection::open(&self.endpoint).await {
                    Ok(connection) => (connection, false),
                    Err(error) => return (Err(Failure::Unreachable(Box::new(request), error)), None),
                },
            };
            match connection.exchange(request, long_poll, progress).await {
                Err(Failure::NotSent(unsent)) if was_idle => request = *unsent,
                ended => return (ended, Some(connection)),
            }
        }
    }

    /// Like [`send`](Self::send), for a request that is not repeated. Its connection is kept if possible. A refusal counts as a
    /// response, even if its body is lost.
    pub(crate) async fn call(&self, request: Request<Body>, long_poll: bool) -> Result<Reply, Failure> {
        let (ended, connection) = self.send(request, long_poll, None).await;
        match (ended, connection) {
            (Ok(reply), connection) => {
                if let Some(connection) = connection {
                    self.keep(connection);
                }
                Ok(reply)
            }
            (Err(Failure::BodyBroken(parts, _) | Failure::BodyStalled(parts)), _) if !parts.status.is_success() => {
                Ok(Reply { parts: *parts, body: Bytes::new() })
            }
            (Err(failure), _) => Err(failure),
        }
    }

    /// Keeps the connection for another request. If it is no longer usable then, it is dropped.
    pub(crate) fn keep(&self, connection: Connection) {
        self.idle().push(connection);
    }

    fn take(&self) -> Option<Connection> {
        self.idle().pop()
    }

    /// Drops the connections that were opened before a snapshot, because a restore breaks them.
    pub(crate) fn forget_connections(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request without a body to an endpoint of the Runtime API.
    pub(crate) fn get(&self, uri: Uri) -> Request<Body> {
        self.request(Method::GET, uri, Body::Empty)
    }

    pub(crate) fn post(&self, uri: Uri, headers: &[(&'static str, HeaderValue)], body: Body) -> Request<Body> {
        let mut request = self.request(Method::POST, uri, body);
        for (name, value) in headers {
            request.headers_mut().append(HeaderName::from_static(name), value.clone());
        }
        request
    }
}
