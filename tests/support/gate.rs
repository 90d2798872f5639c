//! A gate at which a function waits until the test opens it, so that a test depends on the order of events and not on times.

use super::within;
use libtest_mimic::Failed;
use std::io::Read as _;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

/// The test's side.
pub(crate) struct Gate(TcpListener);

/// A client waits at the gate, until this is dropped.
#[must_use = "the waiting client continues when this is dropped"]
pub(crate) struct Held(TcpStream);

impl Gate {
    pub(crate) async fn new() -> Result<Self, Failed> {
        Ok(Self(TcpListener::bind("127.0.0.1:0").await?))
    }

    /// The gate's address, for the function.
    pub(crate) fn address(&self) -> Result<String, Failed> {
        Ok(self.0.local_addr()?.to_string())
    }

    /// Waits until the function has reached the gate.
    pub(crate) async fn held(&self) -> Result<Held, Failed> {
        Ok(Held(within("the function at the gate", self.0.accept()).await??.0))
    }
}

impl Held {
    pub(crate) fn release(self) {
        drop(self.0);
    }
}

/// The function's side: waits at the gate.
pub(crate) async fn wait_at(gate: &str) {
    if let Ok(mut stream) = TcpStream::connect(gate).await {
        let _ = stream.read(&mut [0]).await;
    }
}

/// The same, while blocking the thread.
pub(crate) fn hold_thread_at(gate: &str) {
    if let Ok(mut stream) = std::net::TcpStream::connect(gate) {
        let _ = stream.read(&mut [0]);
    }
}
