//! A WebSocket API of API Gateway in front of a function.
//!
//! See "Overview of WebSocket APIs in API Gateway" and "Use `@connections` commands in your backend service" in AWS's developer guide.

mod connection;
mod event;

use self::{
    connection::{Connections, command},
    event::Opened,
};
use crate::{Event, FunctionResponse, Invoke, listener::Listener};
use axum::{
    Router,
    body::Body,
    extract::{
        ConnectInfo, FromRequestParts, Path, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::sync::mpsc;

/// A WebSocket API on the loopback interface; ends when dropped, and so do its connections.
///
/// - `$connect` decides: a status from 200 to 299 lets the client in, any other is the response to its handshake.
/// - A message goes to the route that the [selection expression](WebSocketApiBuilder::route_selection) finds in it, or else to `$default`.
///   A binary message reaches the function as base64.
/// - Messages of one connection run at the same time, as on AWS. A client whose message fails gets `Internal server error`.
/// - `$disconnect` follows every connection that was let in.
/// - `@connections` below [`management_endpoint`](Self::management_endpoint) sends to a connection, shows it and ends it. A client of
///   `aws-sdk-apigatewaymanagement` uses it with any credentials.
///
/// ```no_run
/// use lambda_lifecycle_sandbox::{function::Function, url::WebSocketApi};
///
/// # async fn example() -> std::io::Result<()> {
/// let function = Function::builder("chat", "target/debug/bootstrap").build().await;
/// let api = WebSocketApi::builder(function).route("say").two_way().start().await?;
/// println!("websocat {}", api.url());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WebSocketApi {
    listener: Listener,
    api: Arc<Api>,
}

/// Options of a [`WebSocketApi`].
#[must_use = "an API listens only once it is started"]
pub struct WebSocketApiBuilder(Api);

struct Api {
    function: Arc<dyn Invoke>,
    stage: String,
    /// The keys that lead to the route's name in a message.
    selection: Vec<String>,
    routes: BTreeSet<String>,
    two_way: bool,
    connections: Connections,
}

impl WebSocketApi {
    /// Begins an API whose routes all reach `function`.
    pub fn builder(function: impl Invoke) -> WebSocketApiBuilder {
        WebSocketApiBuilder(Api {
            function: Arc::new(function),
            stage: "dev".to_owned(),
            selection: vec!["action".to_owned()],
            routes: BTreeSet::new(),
            two_way: false,
            connections: Connections::default(),
        })
    }

    /// `ws://127.0.0.1:<port>/<stage>`.
    pub fn url(&self) -> String {
        format!("ws://{}/{}", self.listener.address, self.api.stage)
    }

    /// `http://127.0.0.1:<port>/<stage>`, below which the `@connections` are.
    pub fn management_endpoint(&self) -> String {
        format!("http://{}/{}", self.listener.address, self.api.stage)
    }

    /// The ids of the connections that are open.
    pub fn connections(&self) -> Vec<String> {
        self.api.connections.ids()
    }
}

impl Drop for WebSocketApi {
    fn drop(&mut self) {
        self.api.connections.close_all();
    }
}

impl WebSocketApiBuilder {
    /// The stage's name. Default: `dev`.
    pub fn stage(mut self, stage: impl Into<String>) -> Self {
        self.0.stage = stage.into();
        self
    }

    /// The route selection expression, of the form `$request.body.action`, which is the default; further keys select nested values.
    ///
    /// # Panics
    ///
    /// When the expression has another form.
    pub fn route_selection(mut self, expression: &str) -> Self {
        let keys = expression.strip_prefix("$request.body.").filter(|keys| !keys.is_empty());
        let keys = keys.unwrap_or_else(|| panic!("{expression:?} is not of the form $request.body.action"));
        self.0.selection = keys.split('.').map(str::to_owned).collect();
        self
    }

    /// Adds a custom route. `$connect`, `$disconnect` and `$default` are there already.
    pub fn route(mut self, key: impl Into<String>) -> Self {
        self.0.routes.insert(key.into());
        self
    }

    /// Gives the routes of messages a route response: the `body` of the function's result is sent to the client. Default: no.
    pub fn two_way(mut self) -> Self {
        self.0.two_way = true;
        self
    }

    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// When no port of the loopback interface can be listened on.
    pub async fn start(self) -> io::Result<WebSocketApi> {
        self.start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Listens on an address; port 0 chooses a free one.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub async fn start_at(self, address: SocketAddr) -> io::Result<WebSocketApi> {
        let api = Arc::new(self.0);
        let root = format!("/{}", api.stage);
        let routes = Router::new()
            .route(&root, any(connect))
            .route(&format!("{root}/"), any(connect))
            .route(&format!("{root}/@connections/{{id}}"), any(manage))
            .with_state(Arc::clone(&api));
        Ok(WebSocketApi { listener: Listener::start_at(address, routes).await?, api })
    }
}

/// The part of a function's result that counts.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status_code: Option<u16>,
    body: Option<String>,
}

/// The status and the body of a result. `None` if the function failed, or if its result does not fit a proxy integration.
fn reply(response: &FunctionResponse) -> Option<(StatusCode, Option<String>)> {
    let Reply { status_code, body } = serde_json::from_slice(response.result.as_ref().ok()?).ok()?;
    Some((StatusCode::from_u16(status_code?).ok()?, body))
}

async fn manage(State(api): State<Arc<Api>>, Path(id): Path<String>, request: Request<Body>) -> Response {
    command(&api.connections, id, request).await
}

async fn connect(State(api): State<Arc<Api>>, ConnectInfo(client): ConnectInfo<SocketAddr>, request: Request<Body>) -> Response {
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &api).await {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.into_response(),
    };
    let opened = Arc::new(Opened::new(&parts, client, &api.stage));
    let event = Event { trace_header: opened.trace_header(), ..payload(&opened.connect()) };
    let allowed = reply(&api.function.invoke(event).await);
    match allowed {
        Some((status, _)) if status.is_success() => upgrade.on_upgrade(move |socket| serve(api, opened, socket)),
        Some((status, _)) => (status, json!({ "message": status.canonical_reason() }).to_string()).into_response(),
        None => (StatusCode::BAD_GATEWAY, json!({ "message": "Internal server error" }).to_string()).into_response(),
    }
}

fn payload(event: &Value) -> Event {
    Event { payload: event.to_string().into(), ..Event::default() }
}

/// One connection, from its start to `$disconnect`.
async fn serve(api: Arc<Api>, opened: Arc<Opened>, mut socket: WebSocket) {
    let (sender, mut outgoing) = mpsc::unbounded_channel();
    api.connections.add(&opened, sender);
    let (code, reason) = loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => spawn(&api, &opened, text.as_bytes(), false),
                Some(Ok(Message::Binary(bytes))) => spawn(&api, &opened, &bytes, true),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => api.connections.seen(&opened.id),
                Some(Ok(Message::Close(close))) => {
                    break close.map_or((1005, String::new()), |close| (close.code, close.reason.to_string()));
                }
                Some(Err(_)) | None => break (1006, String::new()),
            },
            sent = outgoing.recv() => match sent {
                Some(message) => drop(socket.send(message).await),
                // Ended with `DELETE`, or with the API.
                None => {
                    let _ = socket.send(Message::Close(None)).await;
                    break (1000, String::new());
                }
            },
        }
    };
    api.connections.remove(&opened.id);
    drop(api.function.invoke(payload(&opened.disconnect(code, &reason))).await);
}

/// Runs the function for a message, and sends what is to be sent to the client.
fn spawn(api: &Arc<Api>, opened: &Arc<Opened>, message: &[u8], binary: bool) {
    api.connections.seen(&opened.id);
    let event = payload(&opened.message(api.route_of(message), message, binary));
    let (api, opened) = (Arc::clone(api), Arc::clone(opened));
    tokio::spawn(async move {
        let response = api.function.invoke(event).await;
        let text = match reply(&response) {
            Some((_, body)) => body.filter(|_| api.two_way),
            None => {
                let (message, id) = ("Internal server error", &response.request_id);
                Some(json!({ "message": message, "connectionId": opened.id, "requestId": id }).to_string())
            }
        };
        if let Some(text) = text {
            api.connections.send(&opened.id, Message::text(text));
        }
    });
}

impl Api {
    fn route_of(&self, message: &[u8]) -> &str {
        let selected = || {
            let message: Value = serde_json::from_slice(message).ok()?;
            let selected = self.selection.iter().try_fold(&message, |value, key| value.get(key))?;
            let selected = selected.as_str().map_or_else(|| selected.to_string(), str::to_owned);
            self.routes.get(&selected)
        };
        selected().map_or("$default", String::as_str)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("stage", &self.stage).field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl fmt::Debug for WebSocketApiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
