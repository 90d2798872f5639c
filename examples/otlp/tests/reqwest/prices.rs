//! A service that counts its connections and keeps what it was asked.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::TcpListener;

/// Method and trace header of a request.
type Asked = (String, Option<String>);

#[derive(Clone, Debug)]
pub(crate) struct Prices {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Asked>>>,
}

impl Prices {
    /// Serves until the test's runtime ends.
    pub(crate) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let prices = Self { address: listener.local_addr()?, connections: Arc::default(), requests: Arc::default() };
        let serving = prices.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let serving = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| serving.clone().take(request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(prices)
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
        let header = request.headers().get("x-amzn-trace-id").and_then(|header| header.to_str().ok()).map(str::to_owned);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push((request.method().to_string(), header));
        Ok(Response::new(Empty::new()))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/tea", self.address)
    }

    /// That were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn methods(&self) -> Vec<String> {
        self.requests().into_iter().map(|(method, _)| method).collect()
    }
}
