//! HTTP in front of a function: a [function URL](FunctionUrl), [API Gateway, a load balancer or VPC Lattice](HttpFront), a
//! [WebSocket API](WebSocketApi), and the `Invoke` API.
//!
//! # The function URL
//!
//! Requests become events of payload format 2.0, and results become HTTP again, as described in "Invoking Lambda function URLs" in AWS'
//! developer guide. A streamed response is passed on in parts.
//!
//! As with AWS' emulator, one path belongs to Lambda: a post to `/2015-03-31/functions/function/invocations` is an unchanged event, and its
//! response follows the rules of the `Invoke` API. A function error has the header `x-amz-function-error`, and `x-amz-invocation-type:
//! Event` gets 202 at once.
//!
//! ```no_run
//! use lambda_lifecycle_sandbox::{function::Function, url::FunctionUrl};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let function = Function::builder("orders", "target/debug/bootstrap").build().await;
//! let url = FunctionUrl::start(function).await?;
//! println!("curl {}orders/7", url.url());
//! # Ok(())
//! # }
//! ```

mod gateway;
mod invoke_api;
mod lambda_api;
mod request;
mod response;
mod stream;
mod websocket;

pub use self::{
    gateway::{Gateway, HttpFront},
    lambda_api::LambdaApi,
    websocket::{WebSocketApi, WebSocketApiBuilder},
};

use crate::{Invoke, listener::Listener};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::Request,
    response::Response,
    routing::post,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// An HTTP listener on the loopback interface that passes its requests to a function; ends when dropped.
#[derive(Debug)]
pub struct FunctionUrl(Listener);

impl FunctionUrl {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// When no port of the loopback interface can be listened on.
    pub async fn start(function: impl Invoke) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), function).await
    }

    /// Listens on an address; port 0 chooses a free one.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub async fn start_at(address: SocketAddr, function: impl Invoke) -> io::Result<Self> {
        let function: Arc<dyn Invoke> = Arc::new(function);
        let routes = Router::new()
            .route("/2015-03-31/functions/{name}/invocations", post(invoke_api::invoke))
            .fallback(serve)
            .with_state(function);
        Ok(Self(Listener::start_at(address, routes).await?))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// `http://127.0.0.1:<port>/`.
    pub fn url(&self) -> String {
        self.0.url()
    }
}

async fn serve(
    State(function): State<Arc<dyn Invoke>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    match request::event(request, client).await {
        Ok(event) => stream::invoke(function, event).await,
        Err(refused) => refused,
    }
}
