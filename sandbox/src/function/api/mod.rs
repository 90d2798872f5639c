//! The HTTP server each environment's process talks to.

mod body;
pub(crate) mod call;
pub(crate) mod error;
mod extensions;
mod runtime;

use self::error::ApiError;
use super::message::Api;
use axum::Router;
use std::io;
use tokio::{net::TcpListener, task::AbortHandle};

/// One process' server; ends when dropped.
pub(crate) struct Server {
    /// `host:port`, which is `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) address: String,
    task: AbortHandle,
}

impl Server {
    pub(crate) async fn start(api: Api) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let routes = Router::new()
            .merge(runtime::routes())
            .merge(extensions::routes())
            .fallback(|| async { ApiError::not_found() })
            .with_state(api);
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { address, task: serving.abort_handle() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
