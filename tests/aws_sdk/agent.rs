//! The agent that gives an environment its credentials: under SnapStart, on ECS and on EKS.

use axum::{Json, Router, http::HeaderMap};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpListener;

/// Its credentials number `n` have the key `CONTAINER<n>`, counted from 1.
pub(crate) struct Agent {
    address: SocketAddr,
    /// The tokens that the requests had.
    tokens: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    /// Gives credentials that expire then. The last moment counts for all that follow.
    pub(crate) async fn start(expirations: &'static [&'static str]) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let tokens = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&tokens);
        let respond = move |headers: HeaderMap| {
            let token = headers.get("authorization").and_then(|token| token.to_str().ok()).unwrap_or_default();
            let mut tokens = kept.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.push(token.to_owned());
            let number = tokens.len();
            let expiration = expirations.get(number - 1).or(expirations.last());
            let credentials = json!({
                "AccessKeyId": format!("CONTAINER{number}"),
                "SecretAccessKey": "s",
                "Token": "t",
                "Expiration": expiration,
            });
            async move { Json(credentials) }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(respond)).await });
        Ok(Self { address, tokens })
    }

    /// For `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/credentials", self.address)
    }

    pub(crate) fn tokens(&self) -> Vec<String> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
