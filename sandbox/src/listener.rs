//! A listener on the loopback interface that serves routes until it is dropped.

use axum::Router;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};
use tokio::{net::TcpListener, task::AbortHandle};

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

impl Listener {
    /// Port 0 of an address chooses a free one. The routes learn the address of their client.
    pub(crate) async fn start_at(address: SocketAddr, routes: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let service = routes.into_make_service_with_connect_info::<SocketAddr>();
        let serving = tokio::spawn(async move { axum::serve(listener, service).await });
        Ok(Self { address, task: serving.abort_handle() })
    }

    /// On a free port.
    pub(crate) async fn start(routes: Router) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), routes).await
    }

    /// `http://127.0.0.1:<port>`, as clients of the AWS SDKs take it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `http://127.0.0.1:<port>/`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}
