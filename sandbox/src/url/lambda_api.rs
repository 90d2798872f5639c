//! Lambda's `Invoke` API for several functions, by their names.

use super::invoke_api;
use crate::{Invoke, function::Function, listener::Listener};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{Request, StatusCode},
    response::Response,
    routing::post,
};
use std::{collections::HashMap, io, sync::Arc};

type Functions = HashMap<String, Arc<dyn Invoke>>;

/// `Invoke` for functions by their names, without TLS and signatures; ends when dropped.
///
/// A client of `aws-sdk-lambda` talks to it with [`endpoint`](Self::endpoint) as its `endpoint_url` and any credentials. A name may carry a
/// version or an alias, which is ignored.
#[derive(Debug)]
pub struct LambdaApi(Listener);

impl LambdaApi {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// When no port of the loopback interface can be listened on.
    pub async fn start(functions: impl IntoIterator<Item = Function>) -> io::Result<Self> {
        let named = |function: Function| (function.name().to_owned(), Arc::new(function) as Arc<dyn Invoke>);
        let functions: Arc<Functions> = Arc::new(functions.into_iter().map(named).collect());
        let router = Router::new().route("/2015-03-31/functions/{name}/invocations", post(invoke)).with_state(functions);
        Ok(Self(Listener::start(router).await?))
    }

    /// As in `http://127.0.0.1:41234`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.0.address)
    }
}

async fn invoke(State(functions): State<Arc<Functions>>, Path(name): Path<String>, request: Request<Body>) -> Response {
    match functions.get(name.split(':').next().unwrap_or_default()) {
        Some(function) => invoke_api::invoke(State(Arc::clone(function)), request).await,
        None => invoke_api::refuse(StatusCode::NOT_FOUND, "ResourceNotFoundException", &format!("Function not found: {name}")),
    }
}
