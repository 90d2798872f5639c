//! The HTTP endpoint.

use super::{
    ACCOUNT, REGION,
    operations::TRACE_HEADER,
    queue::{Queue, QueueError, QueueOptions},
    service::Service,
};
use awsim_core::{AppState, gateway};
use axum::{Router, extract::State, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::{net::TcpListener, task::AbortHandle};

/// An SQS endpoint on the loopback address, without TLS; signatures are not checked. It stops when dropped, its queues live on for
/// the mappings that read them.
///
/// ```no_run
/// use lambda_lifecycle_sandbox::sqs::{QueueOptions, Sqs};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let sqs = Sqs::start().await?;
/// let orders = sqs.create_queue("orders", QueueOptions::default()).await?;
/// println!("endpoint_url = {}, queue_url = {}", sqs.endpoint(), orders.url);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sqs {
    address: SocketAddr,
    service: Arc<Service>,
    task: AbortHandle,
}

impl Sqs {
    /// Starts an endpoint without queues on a free port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let service = Arc::new(Service::new(address.to_string()));
        let mut state = AppState::new(REGION.into(), ACCOUNT.into());
        state.endpoint_override = Some(address.to_string());
        state.register(service.clone(), Vec::new());
        let router = Router::new().fallback(dispatch).with_state(state);
        let task = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { address, service, task })
    }

    /// As in `http://127.0.0.1:41234`: the `endpoint_url` of a client, and `AWS_ENDPOINT_URL_SQS` of a function.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates a queue; the name of a FIFO queue ends in `.fifo`.
    ///
    /// It fails as `CreateQueue` does: on a bad name, and on a name that exists with other options.
    pub async fn create_queue(&self, name: &str, options: QueueOptions) -> Result<Queue, QueueError> {
        Queue::create(&self.service, name, options).await
    }
}

impl Drop for Sqs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn dispatch(State(state): State<AppState>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let trace_header = headers.get("x-amzn-trace-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    // The gateway hands no headers to its services, but it calls them in this task.
    let (response, _) = TRACE_HEADER.scope(trace_header, gateway::dispatch_request(&state, method, uri, headers, body)).await;
    response
}
